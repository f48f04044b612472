//! Debian's kernel packages of every release, by way of an apt configuration of our own: where the
//! archive is, is read from this machine's sources; its own package lists stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use super::machine::Flavour;
use crate::console::{Console, ask};

/// Releases, and whether their security archive is apart.
const SUITES: [(&str, bool); 6] = [
    ("bullseye", true),
    ("bookworm", true),
    ("bookworm-backports", false),
    ("trixie", true),
    ("sid", false),
    ("experimental", false),
];
const PARTS: [&str; 2] = ["linux-binary-", "linux-modules-"];
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Package lists older than this are fetched again.
const FRESH: Duration = Duration::from_hours(24);

/// An unpacked kernel.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Debian's version of the package, such as `6.12.117-1`.
    pub(super) version: String,
    pub(super) image: PathBuf,
    /// The whole of the unpacked package.
    directory: PathBuf,
}

impl Kernel {
    /// The directory that is named like `uname -r`.
    pub(super) fn modules(&self) -> Option<PathBuf> {
        let below = |directory: &str| fs::read_dir(self.directory.join(directory)).into_iter();
        let all =
            ["lib/modules", "usr/lib/modules"].into_iter().flat_map(below).flatten().flatten();
        all.map(|entry| entry.path()).find(|path| path.join("kernel").is_dir())
    }
}

/// The packages of one kind of kernel.
#[derive(Debug)]
pub(super) struct Archive {
    /// Of apt, for one architecture.
    directory: PathBuf,
    /// Unpacked ones.
    kernels: PathBuf,
    flavour: Flavour,
    /// Versions of its package, newest first.
    versions: Vec<String>,
}

impl Archive {
    /// Fetches the package lists, unless they are there and of today.
    pub(super) fn open(console: &Console, work: &Path, flavour: Flavour) -> Result<Self> {
        let of = |name: &str| match flavour {
            Flavour::Amd64 => work.join(name),
            other => work.join(format!("{name}-{}", other.word())),
        };
        let directory = of("apt");
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(directory.join(part))?;
        }
        let mut archive = Self { directory, kernels: of("kernels"), flavour, versions: Vec::new() };
        let sources = archive.directory.join("sources.list");
        let is_fresh = fs::metadata(&sources)
            .and_then(|data| data.modified())
            .is_ok_and(|then| then.elapsed().is_ok_and(|age| age < FRESH));
        if is_fresh {
            archive.versions = archive.available();
        }
        if archive.versions.is_empty() {
            fs::write(&sources, sources_list(&own_sources())?)?;
            // One release that the mirror no longer has fails it, and the others are fetched all
            // the same; what counts is whether there are kernels afterwards.
            let fetched = console
                .step("apt-get update of every release", archive.apt("apt-get").arg("update"));
            archive.versions = archive.available();
            if archive.versions.is_empty() {
                let _ = fs::remove_file(&sources);
                fetched?;
                bail!("the archive has no package {}", flavour.package());
            }
        }
        Ok(archive)
    }

    fn apt(&self, program: &str) -> Command {
        let at = |part: &str| self.directory.join(part).display().to_string();
        let mut command = Command::new(program);
        command.env("LC_ALL", "C");
        for option in [
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc::SourceList={}", at("sources.list")),
            "Dir::Etc::SourceParts=/dev/null".into(),
            // The directories are ours, and so is everything that is put there.
            "APT::Sandbox::User=".into(),
            "Acquire::Languages=none".into(),
        ] {
            command.args(["-o", &option]);
        }
        if self.flavour.is_arm64() {
            // Nothing is installed: it is unpacked into a guest.
            command.args(["-o", "APT::Architecture=arm64", "-o", "APT::Architectures=arm64"]);
        }
        command
    }

    fn available(&self) -> Vec<String> {
        let listed = ask(self.apt("apt-cache").args(["madison", self.flavour.package()]));
        versions(&listed.unwrap_or_default())
    }

    /// Downloads and unpacks the newest kernel whose version begins as `wanted` says; where the archive lists one
    /// that it no longer has, the next.
    pub(super) fn fetch(&self, console: &Console, wanted: &str) -> Result<Kernel> {
        let mut failed = None;
        for version in matching(&self.versions, wanted) {
            match self.fetch_version(console, version) {
                Ok(kernel) => return Ok(kernel),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap_or_else(|| {
            anyhow::anyhow!("no kernel {wanted}; there are {}", self.versions.join(", "))
        }))
    }

    fn fetch_version(&self, console: &Console, version: &str) -> Result<Kernel> {
        let kept = self.kernels.join(version);
        let directory = kept.clone();
        let kernel =
            |image| Kernel { version: version.to_owned(), image, directory: directory.clone() };
        if let Some(kernel) = image_below(&kept).map(kernel)
            && kernel.modules().is_some()
        {
            return Ok(kernel);
        }
        if kept.exists() {
            fs::remove_dir_all(&kept)?;
        }
        // Moved in place when it is whole.
        let begun = kept.with_file_name(format!("{version}.part"));
        let downloads = begun.join("download");
        fs::create_dir_all(&downloads)?;
        let packages = self.packages_of(version)?;
        let mut download = self.apt("apt-get");
        download.arg("download").args(&packages).current_dir(&downloads);
        console.step(&format!("download kernel {version}"), &mut download)?;
        for entry in fs::read_dir(&downloads)? {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("--extract").arg(entry?.path()).arg(&begun);
            console.step(&format!("unpack kernel {version}"), &mut unpack)?;
        }
        fs::remove_dir_all(&downloads)?;
        fs::rename(&begun, &kept)?;
        image_below(&kept).map(kernel).with_context(|| format!("{packages:?} hold no kernel"))
    }

    /// `name=version` of the packages that a kernel is made of: until 6.x the image holds all of
    /// it, from 7 on it only depends on the binary and the modules.
    fn packages_of(&self, version: &str) -> Result<Vec<String>> {
        let package = self.flavour.package();
        let image = self
            .dependencies(package, version)
            .into_iter()
            .find(|name| name.starts_with("linux-image-"))
            .with_context(|| format!("{package} {version} names no image"))?;
        let parts = self.dependencies(&image, version);
        let is_part = |it: &String| PARTS.iter().any(|part| it.starts_with(part));
        let parts = parts.into_iter().filter(is_part);
        let mut packages: Vec<String> = parts.map(|name| format!("{name}={version}")).collect();
        if packages.is_empty() {
            packages.push(format!("{image}={version}"));
        }
        Ok(packages)
    }

    /// The newest version of any package of this architecture, unpacked below a folder of its own.
    fn unpacked(&self, console: &Console, package: &str) -> Result<PathBuf> {
        let root = self.directory.join("packages").join(package);
        let downloads = root.join("download");
        if root.is_dir() && !downloads.exists() {
            return Ok(root);
        }
        fs::create_dir_all(&downloads)?;
        let mut download = self.apt("apt-get");
        download.args(["download", package]).current_dir(&downloads);
        console.step(&format!("download {package}"), &mut download)?;
        for entry in fs::read_dir(&downloads)? {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("--extract").arg(entry?.path()).arg(&root);
            console.step(&format!("unpack {package}"), &mut unpack)?;
        }
        fs::remove_dir_all(&downloads)?;
        Ok(root)
    }

    /// A shell of this architecture.
    pub(super) fn busybox(&self, console: &Console) -> Result<PathBuf> {
        let root = self.unpacked(console, "busybox-static")?;
        let mut places = ["bin/busybox", "usr/bin/busybox"].map(|path| root.join(path)).into_iter();
        places.find(|it| it.is_file()).context("no busybox in its package")
    }

    fn dependencies(&self, package: &str, version: &str) -> Vec<String> {
        let mut show = self.apt("apt-cache");
        show.args(["show", &format!("{package}={version}")]);
        dependencies(&ask(&mut show).unwrap_or_default())
    }
}

/// `vmlinuz` lies in `boot`, or beside the modules.
fn image_below(directory: &Path) -> Option<PathBuf> {
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let in_boot = entries(directory.join("boot")).map(|entry| entry.path());
    let beside_modules =
        entries(directory.join("usr/lib/modules")).map(|entry| entry.path().join("vmlinuz"));
    in_boot.chain(beside_modules).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("vmlinuz") && path.is_file()
    })
}

/// Lines of `apt-cache madison` are `package | version | source`; a version can be in two suites.
fn versions(madison: &str) -> Vec<String> {
    let column = madison.lines().filter_map(|line| line.split('|').nth(1));
    let mut versions: Vec<String> = column.map(|version| version.trim().to_owned()).collect();
    versions.dedup();
    versions
}

/// `6.1` is not `6.12`.
fn matching<'v>(versions: &'v [String], wanted: &str) -> impl Iterator<Item = &'v str> {
    let begins = move |version: &&String| {
        wanted == "newest"
            || version
                .strip_prefix(wanted)
                .is_some_and(|rest| rest.chars().next().is_none_or(|next| !next.is_ascii_digit()))
    };
    versions.iter().filter(begins).map(String::as_str)
}

/// Names in the `Depends` of `apt-cache show`, without versions and alternatives.
fn dependencies(show: &str) -> Vec<String> {
    let depends = show.lines().find_map(|line| line.strip_prefix("Depends: ")).unwrap_or_default();
    depends
        .split([',', '|'])
        .filter_map(|one| one.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

/// The text of every apt source of this machine.
fn own_sources() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let more = fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten();
    files.extend(more.map(|entry| entry.path()).filter(|path| {
        path.extension().is_some_and(|extension| extension == "list" || extension == "sources")
    }));
    let texts = files.iter().filter_map(|path| fs::read_to_string(path).ok());
    texts.collect::<Vec<_>>().join("\n")
}

/// Sources of every release, at the mirrors that `own` has for Debian and its security archive.
fn sources_list(own: &str) -> Result<String> {
    let uris = || own.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(uris_of);
    let ending =
        |end: &str| uris().map(|uri| uri.trim_end_matches('/')).find(|it| it.ends_with(end));
    let main = ending("/debian").context(
        "none of this machine's apt sources is Debian's archive, where the kernels come from",
    )?;
    let security = ending("/debian-security");
    let line = |uri: &str, suite: &str| format!("deb [signed-by={KEYRING}] {uri} {suite} main\n");
    let lines = SUITES.into_iter().flat_map(|(suite, is_secured)| {
        let secured = security.filter(|_| is_secured);
        let secured = secured.map(|uri| line(uri, &format!("{suite}-security")));
        [Some(line(main, suite)), secured]
    });
    Ok(lines.flatten().collect())
}

/// Of either form: `deb [options] URI suite ...`, and `URIs: URI ...`.
fn uris_of(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace().filter(|word| word.contains("://") || word.starts_with("file:/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_chosen_by_whole_numbers() {
        let versions = versions(
            "p | 7.3~rc7-1~exp1 | a\np | 6.12.117-1 | a\np | 6.12.117-1 | b\np | 6.1.9-1 | b",
        );
        assert_eq!(versions, ["7.3~rc7-1~exp1", "6.12.117-1", "6.1.9-1"]);
        let choose = |wanted| matching(&versions, wanted).next();
        assert_eq!(choose("6.1"), Some("6.1.9-1"));
        assert_eq!(choose("6.12"), Some("6.12.117-1"));
        assert_eq!(choose("7.3"), Some("7.3~rc7-1~exp1"));
        assert_eq!(choose("newest"), Some("7.3~rc7-1~exp1"));
        assert_eq!(choose("5.10"), None);
    }

    #[test]
    fn sources_of_both_forms_lead_to_every_release() {
        let deb822 = "Types: deb\n# http://old.example/debian\nURIs: http://mirror.example/debian/\n\n\
                      URIs: http://mirror.example/debian-security\n";
        let one_line = "deb [arch=amd64] https://mirror.example/debian bookworm main\n";
        let list = sources_list(deb822).unwrap();
        assert!(list.contains(" http://mirror.example/debian sid main\n"), "{list}");
        assert!(list.contains("/debian-security bullseye-security main\n"), "{list}");
        assert!(!list.contains("old.example"), "{list}");
        let list = sources_list(one_line).unwrap();
        assert!(list.contains(" https://mirror.example/debian trixie main\n"), "{list}");
        assert!(!list.contains("security"), "{list}");
        assert!(sources_list("deb http://mirror.example/ubuntu noble main").is_err());
    }

    #[test]
    fn dependencies_are_names_alone() {
        let show = "Package: a\nDepends: dracut | tools (>= 1), linux-binary-7 (= 7-1), x\n";
        assert_eq!(dependencies(show), ["dracut", "tools", "linux-binary-7", "x"]);
        assert!(dependencies("Package: a\n").is_empty());
    }
}
