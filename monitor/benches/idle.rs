//! What the daemon costs where little happens: it runs with the default configuration while programs
//! start at a low rate and one of them sends where it should not every few seconds. Prints what its
//! threads took and what was written. Judges nothing; sends nothing to a real network. Needs root.
//! `cargo xtask idle`

use std::{
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use harness::{Counted, Lab, Site};

/// What a daemon does once, after its start, is over by then.
const SETTLING: Duration = Duration::from_secs(15);

#[derive(Debug, Parser)]
#[command(name = "idle", bin_name = "cargo xtask idle", max_term_width = 100)]
struct Args {
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
    /// Cargo says it to each benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    let binary = args.daemon.clone().unwrap_or_else(|| env!("CARGO_BIN_EXE_geofenced").into());
    let (lab, site) = (Lab::new(), Site::new(binary));
    // What others send on this machine is not measured, as far as that can be.
    let cgroup = lab.cgroup.path().display().to_string();
    let settings = format!("[capture]\ncgroup = {cgroup:?}\n[store]\nrecord = \"unapproved\"\n");
    site.drop_in("idle", &settings);
    let daemon = site.start();
    go_on_for(&args, &lab, SETTLING);
    let count = || Counted::now(daemon.pid(), &site.store());
    let (before, began) = (count(), Instant::now());
    go_on_for(&args, &lab, Duration::from_secs(args.seconds));
    let (after, took) = (count(), began.elapsed());
    let Args { forks, every, .. } = args;
    println!("{forks} programs a second, a violation every {every} s");
    println!("{}", after.since(&before, took));
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

/// What happens while it is counted.
fn go_on_for(args: &Args, lab: &Lab, span: Duration) {
    let began = Instant::now();
    let (mut forks, mut violations) = (0, 0);
    while began.elapsed() < span {
        let elapsed = began.elapsed();
        if elapsed.as_secs_f64() * f64::from(args.forks) >= f64::from(forks) {
            run(&mut Command::new("/bin/true"));
            forks += 1;
        }
        if args.every > 0 && elapsed.as_secs() >= args.every * violations {
            violate(lab);
            violations += 1;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// One datagram from a program of its own to a country that is not approved.
fn violate(lab: &Lab) {
    let mut command = Command::new("bash");
    command.args(["-c", "echo idle > /dev/udp/203.0.113.77/8125"]);
    lab.host.admit(&mut command);
    run(lab.cgroup.admit(&mut command));
}

fn run(command: &mut Command) {
    let status = command.status().expect("start a program");
    assert!(status.success(), "{command:?}: {status}");
}
