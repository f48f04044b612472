//! Everything that must hold before a change is merged, and the total of it in one last line.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    apt::{self, Wanted},
    build,
    console::{Console, own, say, stream},
    host, lanes, lint, metadata, packages, paths, probes, python,
    tally::Tally,
    tidy, vm,
};

/// Debian packages that the tests use.
const PACKAGES: [Wanted<'static>; 13] = [
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
    ("tmux", "tmux: the terminal that `top` draws on"),
    ("udhcpc", "udhcpc: the device that asks for an address"),
];

/// A real Prometheus scrapes the daemon, promtool reads its metrics, Alertmanager tells of them, nginx stands
/// before them: each with its programs. Unpacked, not installed: the packages would start services.
const UNPACKED: [(&str, &[&str]); 3] = [
    ("prometheus", &["prometheus", "promtool"]),
    ("prometheus-alertmanager", &["prometheus-alertmanager"]),
    ("nginx", &["nginx"]),
];

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
    unpacked(console)?;
    boot(console)?;
    browser(console)?;
    python::install(console)?;
    let has_packages = runner.is_some() && args.filter.is_empty() && host::is_root();
    thread::scope(|scope| {
        // It waits for a mirror and the disk, while all else waits for the compiler. Why it failed is told by
        // who needs it and tries once more.
        let ahead = has_packages.then(|| scope.spawn(|| packages::prepare(console)));
        tested(console, args, runner.as_ref(), started, || {
            ahead.map(thread::ScopedJoinHandle::join);
        })
    })
}

/// `prepared` returns as soon as a Debian root may be copied.
fn tested(
    console: &Console,
    args: &Args,
    runner: Option<&Runner>,
    started: Instant,
    prepared: impl FnOnce(),
) -> Result<()> {
    probes::compare(console)?;
    if args.filter.is_empty() {
        lint::all(console)?;
        tidy::run()?;
    }

    let mut session = Session { console, args, tally: Tally::default(), broken: vec![] };
    let targets = metadata::test_targets()?;
    session.cargo_test("unit tests", &["--lib", "--bins"])?;
    session.own_tests()?;
    session.cargo_test("documentation tests", &["--doc"])?;
    session.examples()?;
    session.targets("replay tests", &targets.daemon)?;
    session.targets("fleet tests", &targets.fleet)?;
    if let Some(runner) = runner {
        session.kernel_tests(&targets.kernel, runner)?;
    }
    prepared();
    if runner.is_some() && args.filter.is_empty() {
        session.package();
        session.machine();
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
        cargo.args(["build", "--locked", "--bins", "--examples"]).args(build::tested());
        self.console.step("build the programs under test", &mut cargo)
    }

    fn targets(&mut self, name: &str, targets: &[String]) -> Result<()> {
        if targets.is_empty() {
            return Ok(());
        }
        let arguments: Vec<&str> =
            targets.iter().flat_map(|target| ["--test", target.as_str()]).collect();
        self.cargo_test(name, &arguments)
    }

    /// Those of what builds and tests, of the crates that it was built with to run at all.
    fn own_tests(&mut self) -> Result<()> {
        let own = ["--profile", "demo", "--package", "xtask", "--package", "embed"];
        let mut cargo = self.cargo(&own);
        self.count("unit tests of xtask", &mut cargo)
    }

    /// Two binaries at a time, and of each one test at a time.
    fn kernel_tests(&mut self, targets: &[String], runner: &Runner) -> Result<()> {
        let binaries = build::tests(self.console, targets)?;
        let package = paths::root().join("monitor");
        let command = |binary: &Path| {
            let mut command = runner.command(binary);
            command.arg("--test-threads=1").args(&self.args.filter);
            command.current_dir(&package).env("PATH", search_path()).env("RUST_BACKTRACE", "0");
            command
        };
        let (name, tally) = ("kernel tests", &mut self.tally);
        let ran = own(name, || lanes::run(binaries, command, |line| tally.read(line)))?;
        self.broken.extend(ran.into_iter().map(|binary| format!("{name}: {binary}")));
        Ok(())
    }

    fn cargo_test(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        let packages: Vec<&str> = build::tested().collect();
        let mut cargo = self.cargo(&[&packages[..], arguments].concat());
        self.count(name, &mut cargo)
    }

    fn cargo(&self, arguments: &[&str]) -> Command {
        let mut cargo = host::cargo();
        cargo.args(["test", "--locked", "--no-fail-fast"]).args(arguments);
        cargo.arg("--").args(&self.args.filter);
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
        if let Err(error) = packages::run_tested(self.console) {
            self.broken.push(format!("packages: {error:#}"));
        }
    }

    /// What was tested on another kernel than this machine's.
    fn machine(&mut self) {
        if let Err(error) = vm::run_tested(self.console) {
            self.broken.push(format!("vm: {error:#}"));
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

/// How a kernel test is started: as it is when we are root, else by sudo.
struct Runner {
    is_root: bool,
}

impl Runner {
    fn command(&self, binary: &Path) -> Command {
        if self.is_root {
            return Command::new(binary);
        }
        let mut sudo = Command::new("sudo");
        sudo.args(["--preserve-env", "env"]);
        let mut path = OsString::from("PATH=");
        path.push(search_path());
        sudo.arg(path).arg(binary);
        sudo
    }
}

/// Fails before anything is built: kernel tests that were skipped must not look like success.
fn root_runner() -> Result<Runner> {
    if host::is_root() {
        return Ok(Runner { is_root: true });
    }
    if !host::sudo_works() {
        bail!(
            "the kernel tests need root: run as root, or `sudo -v` first, \
             or leave them out with --quick"
        );
    }
    Ok(Runner { is_root: false })
}

/// Makes sure that their programs are found: the system's, else unpacked here.
fn unpacked(console: &Console) -> Result<()> {
    for (package, programs) in UNPACKED {
        let folders = programs_of(package);
        let is_unpacked = |name: &&str| folders.iter().any(|it| it.join(name).is_file());
        let is_there = programs.iter().all(|name| paths::which(name).is_some());
        if !is_there && !programs.iter().all(is_unpacked) {
            apt::unpack(console, package, &tools().join(package))?;
        }
    }
    Ok(())
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

/// The `PATH` of the tests. What is unpacked may come first because there is nothing else in its
/// directories: a system directory there would hide rustup's compiler behind another.
fn search_path() -> OsString {
    let folders = UNPACKED.map(|(package, _)| programs_of(package));
    paths::search_path(folders.as_flattened())
}

fn tools() -> PathBuf {
    paths::target().join("tools")
}

/// Where an unpacked package has its programs.
fn programs_of(package: &str) -> [PathBuf; 2] {
    ["usr/bin", "usr/sbin"].map(|folder| tools().join(package).join(folder))
}
