//! The package in a Debian root of its own: installed, run, upgraded, removed and purged; and, with `--boot`, the
//! same in a machine that systemd boots. What must hold stands in tests/packages; this makes the places.

mod booted;
mod rpm;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    apt,
    build::{self, Profile},
    console::{Console, ask, own, say, stream},
    dist::{self, Arch, Product},
    host, paths,
};

const SUITE: &str = "bookworm";
const TOOLS: [apt::Wanted<'static>; 3] = [
    ("debootstrap", "a Debian root in which the package is installed"),
    ("iproute2", "ip: a network that leads nowhere"),
    ("rpm", "rpmbuild, rpm: the other kind of package"),
];
const INCLUDED: &str = "--include=systemd-sysv,dbus,udev,kmod,iproute2";
/// What the packages are called where the scripts find them.
const DEBS: [&str; 2] = ["this.deb", "newer.deb"];
const FLEET: &str = "fleet.deb";
const DATABASES: &str = "databases.deb";

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask packages
  cargo xtask packages --boot
  cargo xtask packages --boot --deb target/dist/packages/geofenced_0.1.0_arm64.deb")]
pub struct Args {
    /// This package, as `cargo xtask dist` makes it, instead of one of the debug build
    #[arg(long)]
    deb: Option<PathBuf>,
    /// Also in an emulated machine that systemd boots, with a cut of its power (some ten minutes); of a package
    /// for another architecture only this
    #[arg(long)]
    boot: bool,
    /// Whose kernel is booted: a version of Debian's, or its beginning
    #[arg(long, default_value = "6.12")]
    kernel: String,
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    let deb = match &args.deb {
        Some(deb) => deb.clone(),
        None => pack(console, &dist::DAEMON, &build::daemon(console, Profile::Debug)?)?,
    };
    let is_foreign = arch_of(&deb)? != Arch::of_host()?.debian();
    ensure!(
        args.boot || !is_foreign,
        "a package of another architecture runs only in a machine: --boot"
    );
    if !is_foreign {
        let fleet = match &args.deb {
            Some(deb) => beside(deb, "geofenced-fleet_", &format!("{}.deb", arch_of(deb)?))?,
            None => pack(console, &dist::FLEET, &build::fleet(console, Profile::Debug)?)?,
        };
        try_out(console, &deb, &fleet)?;
    }
    if args.boot {
        booted::try_out(console, &deb, &args.kernel)?;
    }
    Ok(())
}

/// The debug build that was tested, which is not built again: with what only tests need, it is another.
pub fn run_tested(console: &Console) -> Result<()> {
    let built = |product: &'static Product| {
        pack(console, product, &Profile::Debug.directory().join(product.name))
    };
    try_out(console, &built(&dist::DAEMON)?, &built(&dist::FLEET)?)
}

/// With that of the databases, where it has them inside.
fn pack(console: &Console, product: &'static Product, binary: &Path) -> Result<PathBuf> {
    apt::install(console, &TOOLS)?;
    own(&format!("pack the debug build of {}", product.name), || {
        if !product.configuration.is_empty() {
            dist::of_databases(binary)?;
        }
        dist::of_debug(product, binary)
    })
}

/// Another package that lies beside it.
fn beside(deb: &Path, prefix: &str, suffix: &str) -> Result<PathBuf> {
    let folder = deb.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let mut paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix) && name.ends_with(suffix)
    };
    paths.find(is_it).with_context(|| format!("no {prefix}*{suffix} in {}", folder.display()))
}

/// What takes long and can be made before there is a package.
pub fn prepare(console: &Console) -> Result<()> {
    apt::install(console, &TOOLS)?;
    base(console)?;
    Ok(())
}

fn try_out(console: &Console, deb: &Path, fleet: &Path) -> Result<()> {
    ensure!(host::is_root(), "a Debian root is made as root: run this as root");
    apt::install(console, &TOOLS)?;
    let root = root(console)?;
    own("four packages", || {
        let folder = root.join("packages");
        put(deb, &folder, &["installed.sh"])?;
        fs::copy(beside(deb, "geofenced-databases_", ".deb")?, folder.join(DATABASES))?;
        fs::copy(fleet, folder.join(FLEET)).context("the package of the fleet")?;
        Ok(())
    })?;
    installed(&root)?;
    let suffix = format!("{}.rpm", Arch::of_host()?.name());
    let of = |version| beside(deb, &format!("geofenced-{version}-"), &suffix);
    let (package, newer) = (of(dist::VERSION)?, of(dist::NEWER).ok());
    own("the package of rpm", || rpm::try_out(&root, &package, newer.as_deref()))
}

/// As the package says.
fn arch_of(deb: &Path) -> Result<String> {
    let told = ask(Command::new("dpkg-deb").arg("-f").arg(deb).arg("Architecture"));
    Ok(told.with_context(|| format!("no package at {}", deb.display()))?.trim().to_owned())
}

/// The root before anything of ours is in it, made once.
fn base(console: &Console) -> Result<PathBuf> {
    let folder = paths::target().join("packages");
    let base = folder.join("base");
    if !base.join("made").exists() {
        fs::create_dir_all(&folder)?;
        if base.exists() {
            fs::remove_dir_all(&base)?;
        }
        let mut debootstrap = debootstrap(&base, &[]);
        console.step(&format!("debootstrap {SUITE}"), &mut debootstrap)?;
        // Hundred megabytes of packages that are installed already.
        let cache = base.join("var/cache/apt/archives");
        fs::remove_dir_all(&cache).with_context(|| format!("remove {}", cache.display()))?;
        fs::write(base.join("made"), "")?;
    }
    Ok(base)
}

fn debootstrap(base: &Path, more: &[&str]) -> Command {
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", INCLUDED]).args(more).arg(SUITE).arg(base);
    debootstrap
}

/// A copy of it for this run.
fn root(console: &Console) -> Result<PathBuf> {
    let base = base(console)?;
    let root = base.with_file_name("root");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    console.step("copy the root", Command::new("cp").arg("-a").arg(&base).arg(&root))?;
    Ok(root)
}

/// The package, the same with a higher version, and scripts.
fn put(deb: &Path, folder: &Path, scripts: &[&str]) -> Result<()> {
    fs::create_dir_all(folder)?;
    let [this, newer] = DEBS.map(|name| folder.join(name));
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
    for script in scripts {
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
         exec chroot {at} /bin/bash /packages/installed.sh /packages/{} /packages/{} /packages/{DATABASES} {inside} /packages/{FLEET}\n",
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

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.stdout(std::process::Stdio::null()).status()?;
    ensure!(status.success(), "{command:?} failed: {status}");
    Ok(())
}
