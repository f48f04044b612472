//! A summary made of sums is the one made of every record: row by row, number by number.

use proptest::prelude::*;

use super::{history::History, open, settle, write};
use crate::{
    devices::Leases,
    event::{Entry, FlowId, Record, Timestamp, Traffic},
    filter::{Filter, Query, RawFilter},
    store::{Reader, files::segment_path},
    summary::{By, Keys, Row, Span, Summary},
};

const BEGUN: u64 = 1_700_000_000;
const SECOND: u64 = 1_000_000_000;

/// Long after all that is told.
const NOW: Timestamp = Timestamp(4_000_000_000 * SECOND);

/// And how many blocks were opened for them.
fn rows(reader: &Reader, filter: &Filter, by: impl Into<Keys>) -> (Vec<Row>, u64) {
    let span = Span { since: filter.since, until: filter.until, now: NOW };
    let mut summary = Summary::new(by, Leases::default(), span);
    let query = Query { filter: filter.clone(), ..Query::default() };
    let flows = reader.in_window(&query, &mut summary).unwrap();
    let rollups = reader.rollups_in_window(filter, &mut summary).unwrap();
    (summary.into_rows(), flows.blocks_read.max(rollups.blocks_read))
}

/// Counters that a host could have: sums that don't reach the end of their type.
fn with_counters(entries: &mut [Entry], history: &mut History) {
    let mut sent = std::collections::HashMap::<FlowId, Traffic>::new();
    for entry in entries {
        match entry {
            Entry::Flow(record) => {
                let traffic = sent.entry(record.egress.flow).or_default();
                traffic.sent_bytes += history.random(1 << 30);
                traffic.sent_packets += history.random(1 << 10);
                traffic.received_bytes += history.random(1 << 30);
                traffic.received_packets += history.random(1 << 10);
                record.egress.traffic = *traffic;
            }
            Entry::Rollup(rollup) => rollup.traffic.sent_bytes = history.random(1 << 30),
            Entry::Notice { .. } | Entry::Lookup(_) => {}
        }
    }
}

/// Windows with bounds anywhere, and such that hold or just miss all that a flow did.
fn filters(entries: &[Entry], history: &mut History) -> Vec<Filter> {
    let flows: Vec<&Record> = entries
        .iter()
        .filter_map(|entry| if let Entry::Flow(record) = entry { Some(record) } else { None })
        .collect();
    let bounds = |history: &mut History| {
        let Some(last) = flows.len().checked_sub(1) else { return Timestamp(BEGUN * SECOND) };
        let record = flows[history.random(last as u64 + 1) as usize];
        let egress = &record.egress;
        let at = if history.random(2) == 0 { egress.started_at } else { egress.last_at };
        match history.random(4) {
            0 => Timestamp(at.0 + 1),
            1 => Timestamp(at.0 + history.random(100 * SECOND)),
            2 => at.hour(),
            _ => at,
        }
    };
    let mut filters = vec![Filter::default()];
    for _ in 0..8 {
        let mut raw = RawFilter::default();
        if history.random(4) == 0 {
            raw.country = Some("CN,US".into());
        }
        if history.random(4) == 0 {
            raw.verdict = Some("unapproved,local".into());
        }
        let mut maybe = |of: &mut Option<String>, texts: &[&str]| {
            if history.random(20) == 0 {
                *of = Some(texts[history.random(texts.len() as u64) as usize].to_owned());
            }
        };
        maybe(&mut raw.phase, &["sent", "attempt"]);
        maybe(&mut raw.process, &["prog1", "prog2,prog3", "/opt/v1/prog2", "live.py"]);
        maybe(&mut raw.script, &["live.py", "/opt/live.py", "/srv/live.py"]);
        maybe(&mut raw.user, &["me", "1,2"]);
        maybe(&mut raw.unit, &["chrony"]);
        maybe(&mut raw.container, &["0123abcd", ""]);
        maybe(&mut raw.hash, &["07070707", "ffffffff"]);
        maybe(&mut raw.operator, &["64501", "örtliche"]);
        maybe(&mut raw.port, &["443,80", "0"]);
        maybe(&mut raw.transport, &["udp", "1,132"]);
        maybe(&mut raw.origin, &["forwarded,process"]);
        maybe(&mut raw.verdict_reason, &["country,rule:ntp", "operator"]);
        maybe(&mut raw.certainty, &["full", "partial,disputed"]);
        maybe(&mut raw.destination, &["example.com"]);
        maybe(&mut raw.pid, &["101"]);
        maybe(&mut raw.min_bytes, &["1KiB"]);
        let filter = raw.parse(NOW).unwrap().filter;
        let (a, b) = (bounds(history), bounds(history));
        let since = (history.random(3) > 0).then_some(a.min(b));
        let until = (history.random(3) > 0).then_some(Timestamp(a.max(b).0 + 1));
        filters.push(Filter { since, until, ..filter });
    }
    filters
}

fn compare(reader: &Reader, entries: &[Entry], history: &mut History) -> Result<(), TestCaseError> {
    for filter in filters(entries, history) {
        for by in [By::Country.into(), By::Verdict.into(), any_keys(history)] {
            let (quick, _) = rows(reader, &filter, by);
            let (slow, _) = rows(&reader.without_index(), &filter, by);
            prop_assert_eq!(quick, slow, "{:?} by {}", filter, by);
        }
    }
    Ok(())
}

/// One, two or three.
fn any_keys(history: &mut History) -> Keys {
    let mut words: Vec<&str> = By::ALL.iter().map(|by| by.word()).collect();
    let count = 1 + history.random(3) as usize;
    let picked = (0..count).map(|_| words.swap_remove(history.random(words.len() as u64) as usize));
    Keys::parse(&picked.collect::<Vec<_>>().join(",")).unwrap()
}

/// Every key, every two, and some three, in one order.
fn all_keys() -> Vec<Keys> {
    let words = By::ALL.map(By::word);
    let mut all = Vec::new();
    for (at, first) in words.iter().enumerate() {
        all.push((*first).to_owned());
        for (next, second) in words.iter().enumerate().skip(at + 1) {
            all.push(format!("{first},{second}"));
            // Of the 364 of three some: the rest is tried at random.
            let more = words.iter().skip(next + 1).skip((at + next) % 4).step_by(4);
            all.extend(more.map(|it| format!("{first},{second},{it}")));
        }
    }
    all.iter().map(|it| Keys::parse(it).unwrap()).collect()
}

#[test]
fn by_every_key_and_with_others_sums_say_what_records_say() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(77);
    let mut entries = history.entries(160);
    with_counters(&mut entries, &mut history);
    let mut store = open(directory.path());
    write(&mut store, &entries, &mut history);
    settle(&store);
    let reader = store.reader();
    let (mut quick_read, mut slow_read) = (0, 0);
    for by in all_keys() {
        let (quick, read) = rows(&reader, &Filter::default(), by);
        let (slow, all) = rows(&reader.without_index(), &Filter::default(), by);
        assert_eq!(quick, slow, "by {by}");
        if !by.has(By::Hour) {
            (quick_read, slow_read) = (quick_read + read, slow_read + all);
        }
    }
    // But for those that have too many rows in so small a segment.
    assert!(quick_read * 2 < slow_read, "{quick_read} blocks read, {slow_read} without sums");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_summary_by_sums_is_the_one_by_records(
        seed: u64,
        count in 1_usize..1500,
        is_reopened: bool,
        removed in 0_usize..4,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut history = History::new(seed);
        let mut entries = history.entries(count);
        with_counters(&mut entries, &mut history);
        let mut store = open(directory.path());
        let (before, after) = entries.split_at(history.random(count as u64) as usize);
        write(&mut store, before, &mut history);
        if is_reopened {
            // In the middle of a segment.
            settle(&store);
            drop(store);
            store = open(directory.path());
        }
        write(&mut store, after, &mut history);
        settle(&store);
        let reader = store.reader();
        compare(&reader, &entries, &mut history)?;
        let behind = reader.stats().unwrap().index.unwrap().blocks_behind;
        let (_, blocks_read) = rows(&reader, &Filter::default(), By::Country);
        prop_assert!(blocks_read <= behind, "{} blocks read, {} behind", blocks_read, behind);
        // As retention would.
        let segments = reader.scan().segments().unwrap();
        for segment in segments.iter().take(removed.min(segments.len() - 1)) {
            std::fs::remove_file(segment_path(reader.scan().ledger(), *segment)).unwrap();
        }
        compare(&reader, &entries, &mut history)?;
    }

    #[test]
    fn flows_beside_the_ledger_count_once_in_a_summary(
        seed: u64,
        count in 1_usize..600,
        more in 1_usize..300,
        is_stored_meanwhile: bool,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut history = History::new(seed);
        let mut entries = history.entries(count + more);
        with_counters(&mut entries, &mut history);
        let (before, newer) = entries.split_at(count);
        let mut store = open(directory.path());
        write(&mut store, before, &mut history);
        settle(&store);
        let reader = store.reader().as_of_now();
        if is_stored_meanwhile {
            write(&mut store, newer, &mut history);
            settle(&store);
        }
        let mut latest = std::collections::BTreeMap::new();
        for entry in newer {
            if let Entry::Flow(record) = entry {
                latest.insert(record.egress.flow, record.clone());
            }
        }
        let latest: Vec<Record> = latest.into_values().collect();
        compare(&reader.beside(latest.into()), &entries, &mut history)?;
    }
}
