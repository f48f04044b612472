//! geofenced at work, from a checkout: builds it as quickly as can be and starts its own demo, which sends
//! nothing to a real network and leaves nothing behind.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    build::{self, Profile},
    console::{Console, say},
    host,
};

pub fn run(console: &Console) -> Result<()> {
    if !host::is_root() {
        bail!("attaching probes needs root; run: sudo env \"PATH=$PATH\" cargo xtask demo");
    }
    let began = Instant::now();
    let before = age().unwrap_or_default();
    let geofenced = build::daemon(console, Profile::Demo)?;
    let status = Command::new(&geofenced).arg("demo").status().context("the demo")?;
    ensure!(status.success(), "the demo failed: {status}");
    let took = before + began.elapsed();
    let (minutes, seconds) = (took.as_secs() / 60, took.as_secs() % 60);
    say(format_args!("      {minutes} min {seconds:02} s, from the first build on"));
    Ok(())
}

/// Of this process, which was the cargo that built us before it became us (execve(2) keeps the time of start).
fn age() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // Of proc(5) the 22nd, and the second may hold spaces.
    let started = stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse::<u64>().ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let up = uptime.split(' ').next()?.parse::<f64>().ok()?;
    let started = started as f64 / rustix::param::clock_ticks_per_second() as f64;
    Duration::try_from_secs_f64(up - started).ok()
}
