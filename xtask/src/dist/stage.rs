//! The files as they lie on a host where geofenced is installed, below a folder: what every kind of package
//! holds. Each file stands in one table; times and modes are set here, for all kinds.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};

use super::{Arch, VERSION, bill, template, tool};
use crate::{console::ask, paths};

/// Of the repository, and where they go. A folder is taken with all in it, where there is one.
const FILES: [(&str, &str); 12] = [
    ("deploy/systemd/geofenced.service", "usr/lib/systemd/system/geofenced.service"),
    (
        "deploy/systemd/geofenced-databases.service",
        "usr/lib/systemd/system/geofenced-databases.service",
    ),
    (
        "deploy/systemd/geofenced-databases.timer",
        "usr/lib/systemd/system/geofenced-databases.timer",
    ),
    ("deploy/sysusers/geofenced.conf", "usr/lib/sysusers.d/geofenced.conf"),
    ("deploy/tmpfiles/geofenced.conf", "usr/lib/tmpfiles.d/geofenced.conf"),
    ("deploy/config.toml", "etc/geofenced/config.toml"),
    ("deploy/policies", "usr/share/geofenced/policies"),
    ("deploy/prometheus", "usr/share/geofenced/prometheus"),
    ("deploy/grafana", "usr/share/geofenced/grafana"),
    ("README.md", "usr/share/doc/geofenced/README.md"),
    ("NOTICE", "usr/share/doc/geofenced/NOTICE"),
    ("CHANGELOG.md", "usr/share/doc/geofenced/NEWS.md"),
];
/// Licences go into the tarball alone: Debian has them in `copyright`.
const LICENCES: [&str; 3] = ["LICENSE-MIT", "LICENSE-APACHE", "monitor-ebpf/LICENSE-GPL2"];
const DOC: &str = "usr/share/doc/geofenced";
const SHELLS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/geofenced"),
    ("zsh", "usr/share/zsh/vendor-completions/_geofenced"),
    ("fish", "usr/share/fish/vendor_completions.d/geofenced.fish"),
];

#[derive(Debug)]
pub struct Stage {
    pub folder: PathBuf,
    /// Of every file, in seconds.
    pub epoch: u64,
}

impl Stage {
    /// Nothing yet, below `target/dist/stage`.
    pub fn empty(name: &str, epoch: u64) -> Result<Self> {
        let folder = paths::target().join("dist/stage").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        Ok(Self { folder, epoch })
    }

    /// `writer`: a binary that runs on this machine and writes pages and completions.
    pub fn collect(arch: Arch, binary: &Path, writer: &Path, epoch: u64) -> Result<Self> {
        let stage = Self::empty(arch.name(), epoch)?;
        stage.copy(binary, "usr/bin/geofenced")?;
        for (from, to) in FILES {
            stage.copy(&paths::root().join(from), to)?;
        }
        // Tests of the rules are the repository's own.
        let _ = fs::remove_file(stage.at("usr/share/geofenced/prometheus/rules_test.yml"));
        stage.write_pages(writer)?;
        let crates = bill::crates(arch)?;
        stage.write(&format!("{DOC}/sbom.cdx.json"), &bill::cyclonedx(&crates)?)?;
        stage.write(&format!("{DOC}/third-party-notices.txt"), &bill::notices(&crates)?)?;
        stage.write(&format!("{DOC}/copyright"), &template("copyright", &[])?)?;
        let date = ask(Command::new("date").args(["-Ru", "-d"]).arg(format!("@{epoch}")));
        let date = date.context("date failed")?;
        let words = [("version", VERSION), ("date", date.trim())];
        stage.write(&format!("{DOC}/changelog"), &template("changelog", &words)?)?;
        for page in ["changelog", "NEWS.md", "third-party-notices.txt", "sbom.cdx.json"] {
            stage.compress(&stage.at(&format!("{DOC}/{page}")))?;
        }
        stage.settle(&stage.folder)?;
        Ok(stage)
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The bill of materials, which is handed out beside the packages too.
    pub fn bill(&self) -> PathBuf {
        self.folder.with_extension("cdx.json")
    }

    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        let to = self.at(path);
        fs::create_dir_all(to.parent().context("no folder")?)?;
        fs::write(&to, text).with_context(|| format!("write {}", to.display()))?;
        if path.ends_with("sbom.cdx.json") {
            fs::write(self.bill(), text)?;
        }
        Ok(())
    }

    pub fn copy(&self, from: &Path, to: &str) -> Result<()> {
        let to = self.at(to);
        if !from.exists() {
            return Ok(());
        }
        fs::create_dir_all(to.parent().context("no folder")?)?;
        tool(Command::new("cp").arg("-r").arg(from).arg(&to))
    }

    fn write_pages(&self, writer: &Path) -> Result<()> {
        let man = self.at("usr/share/man");
        fs::create_dir_all(&man)?;
        tool(Command::new(writer).arg("man").arg(&man))?;
        for section in fs::read_dir(&man)?.filter_map(Result::ok) {
            for page in fs::read_dir(section.path())?.filter_map(Result::ok) {
                self.compress(&page.path())?;
            }
        }
        for (shell, to) in SHELLS {
            let script = ask(Command::new(writer).args(["completions", shell]))
                .with_context(|| format!("geofenced completions {shell} failed"))?;
            self.write(to, &script)?;
        }
        Ok(())
    }

    /// Without name and time in its head.
    #[expect(clippy::unused_self, reason = "what is done to a stage reads as one")]
    pub fn compress(&self, path: &Path) -> Result<()> {
        tool(Command::new("gzip").args(["-9", "-n", "-f"]).arg(path))
    }

    /// One time and two modes, whoever builds with whatever mask.
    pub fn settle(&self, path: &Path) -> Result<()> {
        let name = path.file_name().unwrap_or_default();
        let is_script = ["postinst", "prerm", "postrm"].iter().any(|it| name == *it);
        let is_program = path.parent().is_some_and(|it| it.ends_with("bin")) || is_script;
        let mode = if path.is_dir() || is_program { 0o755 } else { 0o644 };
        if path.is_dir() {
            for entry in fs::read_dir(path)?.filter_map(Result::ok) {
                self.settle(&entry.path())?;
            }
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        let time = UNIX_EPOCH + Duration::from_secs(self.epoch);
        fs::File::open(path)?.set_modified(time)?;
        Ok(())
    }

    /// To be unpacked over a root: `tar -C / --strip-components=1 -xzf`.
    pub fn tarball(&self, arch: Arch, dist: &Path) -> Result<PathBuf> {
        let name = format!("geofenced-{VERSION}-linux-{arch}");
        let folder = self.folder.with_file_name(&name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        tool(Command::new("cp").arg("-r").arg(&self.folder).arg(&folder))?;
        for licence in LICENCES {
            tool(Command::new("cp").arg(paths::root().join(licence)).arg(folder.join(DOC)))?;
        }
        self.settle(&folder)?;
        let archive = dist.join(format!("{name}.tar.gz"));
        pack(&folder, &archive, self.epoch)?;
        fs::remove_dir_all(&folder)?;
        Ok(archive)
    }
}

/// Owned by root whoever packs it, and in one order.
pub fn pack(folder: &Path, archive: &Path, epoch: u64) -> Result<()> {
    let (parent, name) = folder.parent().zip(folder.file_name()).context("no folder")?;
    tool(
        Command::new("tar")
            .args(["--owner=0", "--group=0", "--numeric-owner", "--sort=name", "--format=gnu"])
            .arg(format!("--mtime=@{epoch}"))
            .arg("-czf")
            .arg(archive)
            .arg("-C")
            .arg(parent)
            .arg(name),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_packaged_is_in_the_repository() {
        // Dashboards come with the metrics that they show.
        for (from, _) in FILES.iter().filter(|(from, _)| *from != "deploy/grafana") {
            assert!(paths::root().join(from).exists(), "{from}");
        }
        for licence in LICENCES {
            assert!(paths::root().join(licence).exists(), "{licence}");
        }
    }

    #[test]
    fn two_tarballs_of_the_same_files_are_the_same_whenever_they_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, mode: u32| {
            let files = folder.path().join(name).join("geofenced-0");
            fs::create_dir_all(files.join("usr/bin")).unwrap();
            for file in ["usr/bin/geofenced", "b", "a"] {
                fs::write(files.join(file), file).unwrap();
                fs::set_permissions(files.join(file), fs::Permissions::from_mode(mode)).unwrap();
            }
            let stage = Stage { folder: files.clone(), epoch: 1_700_000_000 };
            stage.settle(&files).unwrap();
            let archive = folder.path().join(name).with_extension("tar.gz");
            pack(&files, &archive, stage.epoch).unwrap();
            archive
        };
        let (one, two) = (make("one", 0o600), make("two", 0o777));
        assert_eq!(fs::read(&one).unwrap(), fs::read(two).unwrap());
        let list = ask(Command::new("tar").arg("-tvzf").arg(one)).unwrap();
        let modes: Vec<_> = list.lines().map(|line| &line[..10]).collect();
        let (folder, file, program) = ("drwxr-xr-x", "-rw-r--r--", "-rwxr-xr-x");
        assert_eq!(modes, [folder, file, file, folder, folder, program], "{list}");
    }
}
