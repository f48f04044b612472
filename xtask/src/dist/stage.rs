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

use super::{Arch, Product, VERSION, bill, template, tool};
use crate::{console::ask, paths};

/// Licences go into the tarball alone: Debian has them in `copyright`.
const LICENCES: [&str; 3] = ["LICENSE-MIT", "LICENSE-APACHE", "monitor-ebpf/LICENSE-GPL2"];

#[derive(Debug)]
pub struct Stage {
    pub product: &'static Product,
    pub arch: Arch,
    pub folder: PathBuf,
    /// Of every file, in seconds.
    pub epoch: u64,
}

impl Stage {
    /// Nothing but the files of the repository.
    pub fn empty(product: &'static Product, arch: Arch, epoch: u64) -> Result<Self> {
        let folder = paths::target().join("dist/stage").join(product.name).join(arch.name());
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        let stage = Self { product, arch, folder, epoch };
        for (from, to) in product.files {
            stage.copy(&paths::root().join(from), to)?;
        }
        Ok(stage)
    }

    /// `writer`: a binary that runs on this machine and writes pages and completions.
    pub fn collect(
        product: &'static Product,
        arch: Arch,
        (binary, writer): (&Path, &Path),
        epoch: u64,
    ) -> Result<Self> {
        let stage = Self::empty(product, arch, epoch)?;
        stage.copy(binary, &format!("usr/bin/{}", product.name))?;
        // Tests of the rules are the repository's own.
        let _ = fs::remove_file(stage.at("usr/share/geofenced/prometheus/rules_test.yml"));
        stage.write_pages(writer)?;
        let (crates, to) = (bill::crates(arch, product.package)?, product.documents());
        stage.write(&format!("{to}/sbom.cdx.json"), &bill::cyclonedx(product, &crates)?)?;
        stage.write(&format!("{to}/third-party-notices.txt"), &bill::notices(product, &crates)?)?;
        stage.write(&format!("{to}/copyright"), &template(product, "copyright", &[])?)?;
        let date = ask(Command::new("date").args(["-Ru", "-d"]).arg(format!("@{epoch}")));
        let date = date.context("date failed")?;
        let words = [("version", VERSION), ("date", date.trim())];
        stage.write(&format!("{to}/changelog"), &template(product, "changelog", &words)?)?;
        for page in ["changelog", "NEWS.md", "third-party-notices.txt", "sbom.cdx.json"] {
            stage.compress(&stage.at(&format!("{to}/{page}")))?;
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

    fn copy(&self, from: &Path, to: &str) -> Result<()> {
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
        for (shell, to) in self.product.completions() {
            let script = ask(Command::new(writer).args(["completions", shell]))
                .with_context(|| format!("{} completions {shell} failed", self.product.name))?;
            self.write(&to, &script)?;
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
    pub fn tarball(&self, dist: &Path) -> Result<PathBuf> {
        let name = format!("{}-{VERSION}-linux-{}", self.product.name, self.arch);
        let folder = self.folder.with_file_name(&name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        tool(Command::new("cp").arg("-r").arg(&self.folder).arg(&folder))?;
        let documents = self.product.documents();
        for licence in LICENCES {
            tool(Command::new("cp").arg(paths::root().join(licence)).arg(folder.join(&documents)))?;
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
    use crate::dist::product::{ALL, DAEMON, DATABASES};

    #[test]
    fn everything_that_is_packaged_is_in_the_repository() {
        // Dashboards come with the metrics that they show.
        let files = ALL.into_iter().chain([&DATABASES]).flat_map(|it| it.files);
        for (from, _) in files.filter(|(from, _)| *from != "deploy/grafana") {
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
            let (arch, staged) = (Arch::X86, files.clone());
            let stage = Stage { product: &DAEMON, arch, folder: staged, epoch: 1_700_000_000 };
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
