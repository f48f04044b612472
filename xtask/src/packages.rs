//! The package in a Debian root of its own: installed, run, upgraded, removed and purged; and, with `--boot`, the
//! same under a systemd of its own. What must hold stands in tests/packages; this makes the places.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    apt,
    build::{self, Profile},
    console::{Console, ask, own, say, stream},
    dist, host, paths,
};

const SUITE: &str = "bookworm";
const TOOLS: [apt::Wanted<'static>; 2] = [
    ("debootstrap", "a Debian root in which the package is installed"),
    ("iproute2", "ip: a network that leads nowhere"),
];
/// What the scripts are told the packages are called.
const DEBS: [&str; 2] = ["/packages/this.deb", "/packages/newer.deb"];

#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// This package, as `cargo xtask dist` makes it, instead of one of the debug build
    #[arg(long)]
    deb: Option<PathBuf>,
    /// Also under a systemd of its own, in a container
    #[arg(long)]
    boot: bool,
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    let deb = match &args.deb {
        Some(deb) => deb.clone(),
        None => pack(&build::daemon(console, Profile::Debug)?)?,
    };
    try_out(console, args, &deb)
}

/// The debug build that was tested, which is not built again: with what only tests need, it is another.
pub fn run_tested(console: &Console) -> Result<()> {
    let deb = pack(&Profile::Debug.directory().join("geofenced"))?;
    try_out(console, &Args::default(), &deb)
}

fn pack(binary: &Path) -> Result<PathBuf> {
    own("pack the debug build", || dist::of_debug(binary))
}

fn try_out(console: &Console, args: &Args, deb: &Path) -> Result<()> {
    ensure!(host::is_root(), "a Debian root is made as root: run this as root");
    apt::install(console, &TOOLS)?;
    let root = root(console)?;
    own("two packages", || put(deb, &root))?;
    installed(&root)?;
    if args.boot {
        apt::install(console, &[("systemd-container", "systemd-nspawn: boots the root")])?;
        booted(&root)?;
    }
    Ok(())
}

/// A root that is made once and copied for each run.
fn root(console: &Console) -> Result<PathBuf> {
    let folder = paths::target().join("packages");
    let (base, root) = (folder.join("base"), folder.join("root"));
    if !base.join("made").exists() {
        fs::create_dir_all(&folder)?;
        if base.exists() {
            fs::remove_dir_all(&base)?;
        }
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=minbase", "--include=systemd-sysv,dbus", SUITE]).arg(&base);
        console.step(&format!("debootstrap {SUITE}"), &mut debootstrap)?;
        // Hundred megabytes of packages that are installed already.
        let cache = base.join("var/cache/apt/archives");
        fs::remove_dir_all(&cache).with_context(|| format!("remove {}", cache.display()))?;
        fs::write(base.join("made"), "")?;
    }
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    console.step("copy the root", Command::new("cp").arg("-a").arg(&base).arg(&root))?;
    Ok(root)
}

/// The package, the same with a higher version, and the scripts.
fn put(deb: &Path, root: &Path) -> Result<()> {
    let folder = root.join("packages");
    fs::create_dir_all(&folder)?;
    let [this, newer] = DEBS.map(|path| root.join(path.trim_start_matches('/')));
    fs::copy(deb, this).with_context(|| format!("no package at {}", deb.display()))?;
    let unpacked = folder.join("unpacked");
    succeed(Command::new("dpkg-deb").arg("-R").arg(deb).arg(&unpacked))?;
    let control = unpacked.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let version = format!("Version: {}", dist::VERSION);
    ensure!(text.contains(&version), "{} has another version", deb.display());
    fs::write(&control, text.replace(&version, &format!("{version}+newer")))?;
    succeed(
        Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Znone", "--build"])
            .arg(&unpacked)
            .arg(newer),
    )?;
    fs::remove_dir_all(unpacked)?;
    for script in ["installed.sh", "booted.sh"] {
        fs::copy(paths::root().join("tests/packages").join(script), folder.join(script))?;
    }
    Ok(())
}

/// In a cgroup, a network and with mounts of its own, all of which end with it.
fn installed(root: &Path) -> Result<()> {
    let cgroup = Cgroup::new()?;
    let inside = cgroup.0.display();
    let at = root.display();
    let script = format!(
        "set -e\n\
         echo $$ >{inside}/cgroup.procs\n\
         ip link set lo up\n\
         ip link add d0 type veth peer name d1\n\
         ip addr add 192.0.2.1/24 dev d0\n\
         ip link set d1 up\n\
         ip link set d0 up arp off\n\
         ip route add default dev d0\n\
         for each in proc sys dev; do mount --rbind /$each {at}/$each; done\n\
         exec chroot {at} /bin/bash /packages/installed.sh {} {} {inside}\n",
        DEBS[0], DEBS[1]
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--net", "--mount", "sh", "-c", &script]);
    unshare.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
    let status = stream("the package without systemd", &mut unshare, |_| {})?;
    ensure!(status.success(), "the package without systemd: {status}");
    Ok(())
}

/// A cgroup of the second version, for what a test starts.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let mount = fields.find(|it| it.get(2) == Some(&"cgroup2")).context("no cgroup2 here")?;
        let path = Path::new(mount[1]).join(format!("geofenced-packages-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Whatever a failed script has left in it.
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let gone = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            fs::remove_dir(&self.0).is_ok()
        });
        if !gone {
            say(format_args!("      left behind: {}", self.0.display()));
        }
    }
}

/// By a unit of the container's, which ends it.
fn booted(root: &Path) -> Result<()> {
    let log = root.join("packages/booted.log");
    let unit = format!(
        "[Service]\nType=oneshot\n\
         ExecStart=/bin/bash /packages/booted.sh {} {}\n\
         ExecStart=/bin/sh -c 'echo done'\n\
         ExecStopPost=/bin/systemctl --no-block poweroff\n\
         StandardOutput=append:/packages/booted.log\nStandardError=inherit\n",
        DEBS[0], DEBS[1]
    );
    let units = root.join("etc/systemd/system");
    fs::write(units.join("packages-test.service"), unit)?;
    fs::create_dir_all(units.join("multi-user.target.wants"))?;
    std::os::unix::fs::symlink(
        "../packages-test.service",
        units.join("multi-user.target.wants/packages-test.service"),
    )?;
    let mut nspawn = Command::new("timeout");
    nspawn.args(["--signal=KILL", "300", "systemd-nspawn", "--quiet", "--boot"]);
    nspawn.args(["--register=no", "--keep-unit", "--private-network", "--console=pipe", "-D"]);
    own("the package in a container that systemd boots", || {
        ask(nspawn.arg(root)).context("the container did not boot, or did not end")
    })?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    print!("{said}");
    if !said.lines().any(|line| line == "done") {
        bail!("the package under systemd: see above");
    }
    Ok(())
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.stdout(std::process::Stdio::null()).status()?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}
