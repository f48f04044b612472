//! Everything that must hold before a change is merged, and the total of it in one last line.

use std::{ffi::OsString, fs, path::PathBuf, process::Command, time::Instant};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt::{self, Wanted},
    build,
    console::{Console, say, stream},
    host, lint, metadata, packages, paths, python,
    tally::Tally,
    tidy,
};

/// Debian packages that the tests use.
const PACKAGES: [Wanted<'static>; 12] = [
    ("btrfs-progs", "mkfs.btrfs: a disk with a quota"),
    ("dnsmasq-base", "dnsmasq: leases addresses to a device on the LAN of the lab"),
    ("ethtool", "ethtool: segmentation off, so that packets on the wire can be counted"),
    ("golang-go", "go: a verifier of evidence that is not ours"),
    (
        "golang-golang-x-mod-dev",
        "the reference implementation of signed notes and transparent logs",
    ),
    ("iproute2", "ip: network namespaces and veth pairs for real packets"),
    ("linux-libc-dev", "asm/unistd.h: the numbers of the system calls that the unit allows"),
    ("nftables", "nft: a datagram the firewall drops is an attempt, not sent"),
    ("openssl", "openssl: verifies a signature as docs/evidence.md says"),
    ("strace", "strace: what a writer of the store did, for the test of power cuts"),
    ("systemd", "systemd-analyze: the unit is verified"),
    ("udhcpc", "udhcpc: the device that asks for an address"),
];

/// A real Prometheus scrapes the daemon, and promtool reads its metrics. Unpacked, not installed:
/// the package would start a service.
const PROMETHEUS: &str = "prometheus";

/// Units of whatever may bring a network up: a boot with all of them has no cycle. Unpacked as well, lest the
/// machine get a second manager of its network.
const BOOT: [&str; 6] = ["cloud-init", "dbus", "ifupdown", "network-manager", "systemd", "udev"];

/// A report is read in a real browser: any of these, the first that there is a package of is installed.
const BROWSERS: [&str; 3] = ["chromium-headless-shell", "chromium", "google-chrome"];

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Leaves out the kernel tests, which need root
    #[arg(long)]
    quick: bool,
    /// Only tests with this in their name; passed on to the test binaries
    #[arg(last = true)]
    filter: Vec<String>,
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    let started = Instant::now();
    let runner = if args.quick { None } else { Some(root_runner()?) };
    apt::install(console, &PACKAGES)?;
    prometheus(console)?;
    boot(console)?;
    browser(console)?;
    python::install(console)?;
    build::probes(console)?;
    if args.filter.is_empty() {
        lint::all(console)?;
        tidy::run()?;
    }

    let mut session = Session { console, args, tally: Tally::default(), broken: vec![] };
    let targets = metadata::test_targets()?;
    session.cargo_test("unit tests", &["--workspace", "--lib", "--bins"], &[])?;
    session.cargo_test("documentation tests", &["--workspace", "--doc"], &[])?;
    session.examples()?;
    session.targets("replay tests", &targets.daemon, None)?;
    if let Some(runner) = &runner {
        session.targets("kernel tests", &targets.kernel, Some(runner))?;
    }
    if runner.is_some() && args.filter.is_empty() {
        session.package();
    }
    session.finish(started)
}

/// One run of the tests: what came out so far.
struct Session<'a> {
    console: &'a Console,
    args: &'a Args,
    tally: Tally,
    /// Steps whose cargo failed; a binary that crashed says no `test result:`.
    broken: Vec<String>,
}

impl Session<'_> {
    /// The generator of egress and whatever else the tests start as a program of its own.
    fn examples(&self) -> Result<()> {
        let mut cargo = host::cargo();
        cargo.args(["build", "--locked", "--package", "monitor", "--bins", "--examples"]);
        self.console.step("build the programs under test", &mut cargo)
    }

    fn targets(&mut self, name: &str, targets: &[String], runner: Option<&Runner>) -> Result<()> {
        if targets.is_empty() {
            return Ok(());
        }
        let mut arguments = vec!["--package", "monitor"];
        for target in targets {
            arguments.extend(["--test", target]);
        }
        let Some(runner) = runner else { return self.cargo_test(name, &arguments, &[]) };
        // They share the machine's cgroup root, so one at a time.
        let serial = ["--test-threads=1"];
        let mut cargo = self.cargo(&arguments, &serial);
        if let Some((variable, value)) = &runner.0 {
            cargo.env(variable, value);
        }
        self.count(name, &mut cargo)
    }

    fn cargo_test(&mut self, name: &str, arguments: &[&str], libtest: &[&str]) -> Result<()> {
        let mut cargo = self.cargo(arguments, libtest);
        self.count(name, &mut cargo)
    }

    fn cargo(&self, arguments: &[&str], libtest: &[&str]) -> Command {
        let mut cargo = host::cargo();
        cargo.args(["test", "--locked", "--no-fail-fast"]).args(arguments).arg("--");
        cargo.args(libtest).args(&self.args.filter);
        // What a log keeps of a failure is what was said, not through which functions.
        cargo.env("PATH", search_path()).env("RUST_BACKTRACE", "0");
        cargo
    }

    fn count(&mut self, name: &str, cargo: &mut Command) -> Result<()> {
        let tally = &mut self.tally;
        let status = stream(name, cargo, |line| tally.read(line))?;
        if !status.success() {
            self.broken.push(name.to_owned());
        }
        Ok(())
    }

    /// The Debian package of what was tested, in a root of its own.
    fn package(&mut self) {
        if !host::is_root() {
            say("      left out, since sudo is not enough for it: sudo cargo xtask packages");
            return;
        }
        if let Err(error) = packages::run(self.console, &packages::Args::default()) {
            say(format_args!("FAIL  packages: {error:#}"));
            self.broken.push("packages".to_owned());
        }
    }

    fn finish(self, started: Instant) -> Result<()> {
        let seconds = started.elapsed().as_secs();
        say(format_args!("      {} min {:02} s", seconds / 60, seconds % 60));
        print!("{}", self.tally.failures());
        println!("{}", self.tally);
        if !self.broken.is_empty() {
            bail!("failed: {}", self.broken.join(", "));
        }
        if !self.tally.is_good() {
            bail!("no test ran, or some were left out");
        }
        Ok(())
    }
}

/// How cargo starts a kernel test: as it is when we are root, else by sudo, whose program and
/// arguments cargo takes from an environment variable.
struct Runner(Option<(String, String)>);

/// Fails before anything is built: kernel tests that were skipped must not look like success.
fn root_runner() -> Result<Runner> {
    if host::is_root() {
        return Ok(Runner(None));
    }
    if !host::sudo_works() {
        bail!(
            "the kernel tests need root: run as root, or `sudo -v` first, \
             or leave them out with --quick"
        );
    }
    let path = search_path();
    let path = path.to_str().context("PATH is not UTF-8")?;
    if path.contains(char::is_whitespace) {
        bail!("PATH holds a space, and cargo can't pass that on to sudo: run as root");
    }
    let variable = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", host::arch().to_uppercase());
    Ok(Runner(Some((variable, format!("sudo --preserve-env env PATH={path}")))))
}

/// Makes sure that `prometheus` and `promtool` are found: the system's, else unpacked here.
fn prometheus(console: &Console) -> Result<()> {
    let [unpacked_server, unpacked_tool] =
        [PROMETHEUS, "promtool"].map(|name| prometheus_directory().join(name).is_file());
    let [server, tool] = [PROMETHEUS, "promtool"].map(|name| paths::which(name).is_some());
    if (server && tool) || (unpacked_server && unpacked_tool) {
        return Ok(());
    }
    apt::unpack(console, PROMETHEUS, &unpacked())
}

/// Makes sure that `target/tools/boot` holds the units.
fn boot(console: &Console) -> Result<()> {
    let folder = paths::target().join("tools/boot");
    let (stamp, wanted) = (folder.join("unpacked"), BOOT.join("\n"));
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(());
    }
    for name in BOOT {
        apt::unpack(console, name, &folder)?;
    }
    fs::write(&stamp, wanted).with_context(|| format!("write {}", stamp.display()))
}

/// Makes sure that a browser is found.
fn browser(console: &Console) -> Result<()> {
    if BROWSERS.iter().any(|name| paths::which(name).is_some()) {
        return Ok(());
    }
    if apt::candidate(BROWSERS[0]).is_none() {
        apt::update(console)?;
    }
    let known = BROWSERS.iter().find(|name| apt::candidate(name).is_some());
    let name = known.unwrap_or(&BROWSERS[1]);
    apt::install(console, &[(*name, "a report is read in a real browser")])
}

/// The `PATH` of the tests. The unpacked Prometheus may come first because there is nothing else in
/// its directory: a system directory there would hide rustup's compiler behind another.
fn search_path() -> OsString {
    paths::search_path(&[prometheus_directory()])
}

fn unpacked() -> PathBuf {
    paths::target().join("tools").join(PROMETHEUS)
}

fn prometheus_directory() -> PathBuf {
    unpacked().join("usr/bin")
}
