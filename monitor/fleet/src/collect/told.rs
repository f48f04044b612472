//! What ledgers that arrived say by themselves: of boots and times, of what was watched, of violations. Reads; takes
//! and decides nothing.

use std::collections::BTreeSet;

use geofenced::fleet::{
    Entry, Notice, Process, Record, Time, Timestamp, printable, shipped::Shipped,
};

/// Flows that are told of one block.
const TOLD_MOST: usize = 8;

/// Boots, and earliest and latest instant, of blocks.
pub(super) type Told = (BTreeSet<String>, Option<(Timestamp, Timestamp)>);

/// What the blocks from this number on say of boots, and of when there was life.
pub(super) fn told(read: &Shipped, bytes: &[u8], from: u64) -> Told {
    let (mut boots, mut span): Told = (BTreeSet::new(), None);
    for block in read.blocks.iter().filter(|it| it.number() >= from) {
        let mut last = None;
        for entry in block.entries(bytes).unwrap_or_default() {
            let (at, boot) = match &entry {
                Entry::Flow(record) => {
                    (Some(record.egress.started_at), record.timeline.map(|it| it.boot))
                }
                Entry::Notice { at, notice } => match notice {
                    Notice::Started { .. } | Notice::Alive => (Some(*at), None),
                    Notice::ClockRead(moment) => (Some(*at), Some(moment.timeline.boot)),
                    Notice::Watching(it) => (Some(*at), Some(it.clock.timeline.boot)),
                    // Some are told as of what was before them.
                    _ => (None, None),
                },
                _ => (None, None),
            };
            if let Some(at) = at {
                let (from, to) = span.unwrap_or((at, at));
                span = Some((from.min(at), to.max(at)));
            }
            if boot.is_some() && boot != last {
                boots.extend(boot.map(|it| it.to_string()));
                last = boot;
            }
        }
    }
    (boots, span)
}

/// Violations among these, a line each.
pub(super) fn violations(entries: &[Entry]) -> Vec<String> {
    let flows = entries.iter().filter_map(|entry| match entry {
        Entry::Flow(record) if record.is_violation() => Some(record),
        _ => None,
    });
    let line = |record: &Record| {
        let to = record.egress.remote.map_or("?".to_owned(), |it| it.to_string());
        let country = record.place.country.code().map_or("??".to_owned(), |it| it.to_string());
        let program = record.sender.process().map_or("?".into(), Process::program);
        let at = Time(Timestamp(record.egress.started_at.0));
        let at = at.to_jiff().map_or_else(String::new, |it| it.to_string());
        printable(&format!("{at} {program} sent to {to} in {country}")).into_owned()
    };
    flows.take(TOLD_MOST).map(line).collect()
}

/// Instants as numbers.
pub(super) fn span_ns((from, to): (Timestamp, Timestamp)) -> (u64, u64) {
    (from.0, to.0)
}
