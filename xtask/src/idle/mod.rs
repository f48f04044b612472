//! What the daemon costs where little happens: it runs with the default configuration while programs
//! start at a low rate and one of them sends where it should not every few seconds. Prints what its
//! threads took and what was written. Judges nothing; sends nothing to a real network.

mod counted;
mod daemon;
mod stop;
mod world;

use std::{
    fs,
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use self::{counted::Counted, daemon::Daemon, stop::Stop, world::World};
use crate::{
    apt, build,
    console::{Console, own, say},
    host,
};

/// What a daemon does once, after its start, is over by then.
const SETTLING: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// How long is counted
    #[arg(long, default_value_t = 300)]
    seconds: u64,
    /// Programs (`/bin/true`) that are started each second meanwhile
    #[arg(long, default_value_t = 10)]
    forks: u32,
    /// Seconds from one violation to the next; 0: none
    #[arg(long, default_value_t = 4)]
    every: u64,
    /// Counts this daemon instead of what is here, to compare with
    #[arg(long, value_name = "FILE")]
    daemon: Option<PathBuf>,
    #[command(flatten)]
    build: build::Args,
}

pub fn run(console: &Console, args: &Args) -> Result<()> {
    if !host::is_root() {
        bail!("attaching probes needs root; run: sudo env \"PATH=$PATH\" cargo xtask idle");
    }
    let stop = Stop::on_signals()?;
    apt::install(console, &[("iproute2", "ip: the namespaces that are sent in")])?;
    let geofenced = match &args.daemon {
        Some(other) => other.clone(),
        None => build::daemon(console, args.build.profile())?,
    };
    let directory = tempfile::Builder::new().prefix("geofenced-idle-").tempdir()?;
    let world = own("two network namespaces and a cable", World::new)?;
    // What others send on this machine is not measured, as far as that can be.
    let cgroup = Cgroup::new()?;
    let daemon = own("start the daemon", || {
        let settings = ("unapproved", cgroup.path.to_str().unwrap_or_default());
        Daemon::start(&geofenced, directory.path(), settings, &stop)
    })?;
    let beside = Beside { args, world: &world, cgroup: &cgroup, stop: &stop };
    own("let it settle", || beside.go_on_for(SETTLING))?;
    let count = || Counted::now(daemon.pid(), &directory.path().join("store"));
    let (before, began) = (count()?, Instant::now());
    own("count", || beside.go_on_for(Duration::from_secs(args.seconds)))?;
    let (after, took) = (count()?, began.elapsed());
    let what = format!("{} programs a second, a violation every {} s", args.forks, args.every);
    say(format_args!("\n{what}\n{}", after.since(&before, took)));
    own("stop the daemon", || daemon.stop())
}

/// What happens while it is counted.
struct Beside<'a> {
    args: &'a Args,
    world: &'a World,
    cgroup: &'a Cgroup,
    stop: &'a Stop,
}

impl Beside<'_> {
    fn go_on_for(&self, span: Duration) -> Result<()> {
        let began = Instant::now();
        let (mut forks, mut violations) = (0, 0);
        while began.elapsed() < span {
            self.stop.check()?;
            let elapsed = began.elapsed();
            if elapsed.as_secs_f64() * f64::from(self.args.forks) >= f64::from(forks) {
                let status = Command::new("/bin/true").status().context("/bin/true")?;
                ensure!(status.success(), "/bin/true: {status}");
                forks += 1;
            }
            if self.args.every > 0 && elapsed.as_secs() >= self.args.every * violations {
                violate(self.world, self.cgroup)?;
                violations += 1;
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// One datagram from a program of its own to a country that is not approved.
fn violate(world: &World, cgroup: &Cgroup) -> Result<()> {
    let mut command = world.host.command("bash");
    let enter = format!("echo $$ > {}/cgroup.procs", cgroup.path.display());
    let send = "echo idle > /dev/udp/203.0.113.77/8125";
    let status = command.args(["-c", &format!("{enter} && {send}")]).status()?;
    ensure!(status.success(), "bash: {status}");
    Ok(())
}

/// A cgroup of our own in the hierarchy of v2.
struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    fn new() -> Result<Self> {
        let table = fs::read_to_string("/proc/self/mountinfo")?;
        let mount = table.lines().find(|line| line.contains(" - cgroup2 "));
        let mount = mount.and_then(|line| line.split(' ').nth(4));
        let mount = PathBuf::from(mount.context("no hierarchy of cgroup v2 is mounted")?);
        let path = mount.join(format!("geofenced-idle-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self { path })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Whoever was in it has ended.
        let _ = fs::remove_dir(&self.path);
    }
}
