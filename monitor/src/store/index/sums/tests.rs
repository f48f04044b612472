//! Which flows are added up, and that sums come back as they were.

use super::*;
use crate::{
    event::Rollup,
    store::{ledger::frame::Summary, tests::history::History},
};

fn head(number: u64) -> Head {
    Head {
        payload_bytes: 9,
        raw_bytes: 9,
        payload_crc: 0,
        number,
        previous: [0; 32],
        follows_unsynced: false,
        summary: Summary::default(),
    }
}

fn read(pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<Option<Sums>, Malformed> {
    let mut pairs: Vec<_> = pairs.iter().collect();
    pairs.sort();
    let mut reader = SumsReader::default();
    for (_, value) in pairs {
        reader.add(value);
    }
    reader.finish(true)
}

fn sorted(mut sums: Sums) -> Sums {
    sums.loose.sort_by_key(|it| it.flow);
    for kinds in [&mut sums.flows, &mut sums.rollups] {
        kinds.sort_by_key(|(kind, _)| stored_kind(*kind));
    }
    sums
}

#[test]
fn sums_come_back_as_they_were_and_not_without_a_part_of_them() {
    let mut history = History::new(3);
    let mut builder = SumsBuilder::of(7, 100);
    for number in 40..60 {
        let entries = history.entries(30);
        builder.add(number * 1000, &head(number), &entries);
    }
    let sums = builder.sums(7, true).unwrap();
    assert!(sums.flows.len() > 20 && sums.rollups.len() > 10 && sums.loose.len() > 5);
    assert_eq!((sums.next_block, sums.end), (60, 59_137));
    let mut pairs = builder.finish();
    assert_eq!(read(&pairs).unwrap().map(sorted), Some(sorted(sums)));
    assert_eq!(read(&[]), Ok(None));
    let last = pairs.iter().max().unwrap().clone();
    for value in [&last.1[..last.1.len() - 1], &[]] {
        let short = (last.0.clone(), value.to_vec());
        pairs.retain(|pair| pair.0 != last.0);
        pairs.push(short);
        assert_eq!(read(&pairs), Err(Malformed));
    }
}

#[test]
fn a_flow_is_added_up_where_it_is_told_whole_and_else_told_by_itself() {
    let mut history = History::new(5);
    let mut builder = SumsBuilder::of(1, 0);
    let mut record = history.begin();
    let mut tell = |revision: u32, is_over: bool| {
        record.egress.revision = revision;
        record.egress.ended_at = is_over.then_some(record.egress.last_at);
        builder.add(0, &head(1), &[Entry::Flow(record.clone())]);
        let sums = builder.sums(1, true).unwrap();
        (sums.flows.len(), sums.loose.iter().map(|it| it.begins).collect::<Vec<_>>())
    };
    assert_eq!(tell(0, false), (0, vec![true]));
    assert_eq!(tell(1, false), (0, vec![true]));
    assert_eq!(tell(2, true), (1, vec![]));
    // Of another, that began before.
    assert_eq!(tell(1, false), (1, vec![false]));
    assert_eq!(tell(2, true), (1, vec![false]));
}

#[test]
fn a_segment_that_too_many_flows_go_beyond_has_no_sums() {
    let mut history = History::new(5);
    let mut builder = SumsBuilder::of(1, 0);
    for number in 0..=LOOSE_MAX as u64 {
        assert!(builder.sums(1, true).is_some());
        let mut record = history.begin();
        record.egress.ended_at = None;
        record.egress.flow = FlowId(number.into());
        builder.add(number, &head(number), &[Entry::Flow(record)]);
    }
    assert_eq!((builder.sums(1, true), builder.finish()), (None, Vec::new()));
    assert!(builder.is_at(1, LOOSE_MAX as u64 + head(1).block_bytes()));
}

#[test]
fn rollups_of_a_kind_are_one_sum() {
    let mut history = History::new(5);
    let mut builder = SumsBuilder::of(1, 0);
    let rollups: Vec<Rollup> = std::iter::repeat_with(|| history.entry())
        .filter_map(|entry| if let Entry::Rollup(it) = entry { Some(it) } else { None })
        .take(999)
        .collect();
    let entries: Vec<Entry> = rollups.iter().cloned().map(Entry::Rollup).collect();
    builder.add(0, &head(1), &entries);
    let sums = builder.sums(1, false).unwrap().rollups;
    let flows = sums.iter().map(|(_, sum)| sum.counts.flows).sum::<u64>();
    assert_eq!(flows, rollups.iter().map(|it| it.flows).sum::<u64>());
    assert!(sums.len() < 99, "{}", sums.len());
}
