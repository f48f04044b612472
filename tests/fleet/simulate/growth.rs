//! How much memory it takes to ship a ledger: looked at while it goes on, early and late. It ships the ledger of a
//! station once more, into a box of its own.

use std::{fs, process::Stdio, thread, time::Duration};

use crate::simulation::{Fate, Fleet};

const LOOK_EACH: Duration = Duration::from_millis(2);
/// What the unit of `geofenced-fleet ship` may have.
const MOST_KIB: u64 = 64 << 10;

/// Of what it has made its own, and the most that it ever had with what it reads of files.
fn memory_kib(pid: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    Some((of("RssAnon:")?, of("VmHWM:")?))
}

pub fn told(fleet: &Fleet) -> String {
    let name = fleet.fates.iter().find(|(_, fate)| **fate == Fate::Plain).expect("a station").0;
    let folder = fleet.root.join("made").join(name);
    let [state, outbox] = ["growth-state", "growth-outbox"].map(|it| folder.join(it));
    fs::create_dir_all(&outbox).expect("make a directory");
    let mut ship = fleet.ship_command(&folder.join("store"), &state, &outbox);
    let mut child = ship.stderr(Stdio::null()).spawn().expect("ship");
    let (mut seen, mut most) = (Vec::new(), 0);
    while child.try_wait().expect("a child").is_none() {
        if let Some((own, peak)) = memory_kib(child.id()) {
            seen.push(own);
            most = most.max(peak);
        }
        thread::sleep(LOOK_EACH);
    }
    assert!(child.wait().expect("a child").success(), "{name} can't ship");
    for it in [state, outbox] {
        fs::remove_dir_all(it).expect("remove");
    }
    let greatest = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let quarter = seen.len().div_ceil(4);
    let (first, last) = (greatest(&seen[..quarter]), greatest(&seen[seen.len() - quarter..]));
    assert!(most < MOST_KIB, "{name} ships with {most} KiB");
    format!(
        "{first} in the first quarter of the time, {last} in the last; {most} at most, with its program"
    )
}
