//! What queries answer: by definition, by the ledger and by the index it is the same.

use std::{
    ops::ControlFlow,
    sync::{Arc, atomic::Ordering},
};

use proptest::prelude::*;

use super::{
    ask,
    history::{History, expected},
    open, settle, write,
};
use crate::{
    event::{Domain, DomainSource, Entry, Glance, Lookup, Notice, Record, Timestamp, Transport},
    filter::{Filter, Query},
    store::{
        Reader,
        stored::{Payload, Seen, Wanted, decode, flows, glances},
    },
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_the_same_with_the_index_without_it_and_by_definition(
        seed: u64,
        count in 1_usize..1200,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut history = History::new(seed);
        let mut entries = history.entries(count);
        let mut store = open(directory.path());
        write(&mut store, &entries, &mut history);
        if history.random(2) == 0 {
            // The index goes on where it was, in another process.
            settle(&store);
            drop(store);
            store = open(directory.path());
            let more = history.entries(count / 2);
            write(&mut store, &more, &mut history);
            entries.extend(more);
        }
        settle(&store);
        let alone = Reader::open(directory.path()).unwrap();
        for _ in 0..12 {
            let query = history.query();
            let right = expected(&entries, &query);
            prop_assert_eq!(&ask(&store.reader(), &query), &right, "with the index: {:?}", query);
            prop_assert_eq!(&ask(&alone, &query), &right, "without it: {:?}", query);
            let sparing = store.reader().sparing(4);
            prop_assert_eq!(&ask(&sparing, &query), &right, "in little memory: {:?}", query);
            let noted = expected_notices(&entries, &query.filter);
            let told = |reader: &Reader| told_notices(reader, &query.filter).0;
            let (found, all) = (told(&store.reader()), told(&alone));
            prop_assert_eq!(&found, &all);
            // Between them are some of the store's own.
            let mut rest = found.iter();
            let is_told = noted.iter().all(|noted| rest.any(|it| it == noted));
            prop_assert!(is_told, "{:?} in {:?}", noted, found);
            let lookups = history.query_of_lookups();
            let right = expected_lookups(&entries, &lookups.filter);
            let found = told_lookups(&store.reader(), &lookups).0;
            prop_assert_eq!(&found, &right, "with the index: {:?}", lookups);
            prop_assert_eq!(&told_lookups(&alone, &lookups).0, &right, "without it: {:?}", lookups);
        }
        prop_assert_eq!(store.counters().index_errors.load(Ordering::Relaxed), 0);
        prop_assert_eq!(store.counters().blocks_corrupt.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_seen_at_a_glance_is_what_the_record_says(seed: u64, count in 1_usize..300) {
        let entries = History::new(seed).entries(count);
        let mut payload = Payload::default();
        for entry in &entries {
            payload.push(entry);
        }
        let (raw, mut told) = (payload.finish(), Vec::new());
        glances(&raw, count, |seen| {
            told.push(match seen {
                Seen::Flow(glance) => format!("{glance:?}"),
                Seen::Other(entry) => format!("{entry:?}"),
            });
        })
        .unwrap();
        let right = decode(&raw, count).unwrap().into_iter().map(|entry| match entry {
            Entry::Flow(mut record) => {
                // That is of what the verdict rests on.
                if let Some(operator) = &mut record.place.operator {
                    Arc::make_mut(operator).is_anycast = false;
                }
                format!("{:?}", Glance::from(&record))
            }
            other => format!("{other:?}"),
        });
        prop_assert_eq!(told, right.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_decoded_does_not_match(seed: u64, count in 1_usize..300) {
        let mut history = History::new(seed);
        let entries = history.entries(count);
        let mut payload = Payload::default();
        for entry in &entries {
            payload.push(entry);
        }
        let raw = payload.finish();
        let all = || entries.iter().enumerate().filter_map(|(at, entry)| match entry {
            Entry::Flow(record) => Some((at as u16, record)),
            _ => None,
        });
        for _ in 0..20 {
            let filter = history.query().filter;
            let states = flows(&raw, count, Wanted::Matching(&filter)).unwrap();
            prop_assert_eq!(states.len(), all().count());
            for (state, (at, record)) in states.iter().zip(all()) {
                let egress = &record.egress;
                prop_assert_eq!((state.entry, state.flow), (at, egress.flow));
                prop_assert_eq!(state.revision, egress.revision);
                let right = filter.matches(record).then_some(record);
                prop_assert_eq!(state.record.as_deref(), right, "{:?}", &filter);
            }
        }
        let places: Vec<u16> = all().map(|(at, _)| at).step_by(7).collect();
        let found: Vec<Record> = flows(&raw, count, Wanted::At(&places))
            .unwrap()
            .into_iter()
            .filter_map(|state| state.record.map(|record| *record))
            .collect();
        let right: Vec<Record> = all().step_by(7).map(|(_, record)| record.clone()).collect();
        prop_assert_eq!(found, right);
    }
}

/// Of the filter's span, in the ledger's order.
fn expected_notices(entries: &[Entry], filter: &Filter) -> Vec<(Timestamp, Notice)> {
    let notices = entries.iter().filter_map(|entry| match entry {
        Entry::Notice { at, notice } if filter.overlaps(*at, *at) => Some((*at, notice.clone())),
        _ => None,
    });
    notices.collect()
}

/// With how many blocks were read.
fn told_notices(reader: &Reader, filter: &Filter) -> (Vec<(Timestamp, Notice)>, u64) {
    let mut told = Vec::new();
    let stats = reader.notices(filter.since, filter.until, |at, notice| {
        told.push((at, notice));
        ControlFlow::Continue(())
    });
    (told, stats.unwrap().blocks_read)
}

#[test]
fn notices_are_told_without_the_blocks_of_what_else_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(11);
    let mut store = open(directory.path());
    write(&mut store, &history.entries(2000), &mut history);
    settle(&store);
    let reader = store.reader();
    let (told, read) = told_notices(&reader, &Filter::default());
    let (all, all_read) = told_notices(&reader.without_index(), &Filter::default());
    assert_eq!(told, all);
    assert!(told.len() > 50 && read * 5 < all_read, "{read} of {all_read}");
}

/// In the ledger's order.
fn expected_lookups(entries: &[Entry], filter: &Filter) -> Vec<Lookup> {
    let lookups = entries.iter().filter_map(|entry| match entry {
        Entry::Lookup(lookup) if filter.matches_lookup(lookup) => Some(lookup.clone()),
        _ => None,
    });
    lookups.collect()
}

/// With how many blocks were read.
fn told_lookups(reader: &Reader, query: &Query) -> (Vec<Lookup>, u64) {
    let mut told = Vec::new();
    let stats = reader.lookups(query, |lookup| {
        told.push(lookup);
        ControlFlow::Continue(())
    });
    (told, stats.unwrap().blocks_read)
}

#[test]
fn who_asked_for_a_name_that_few_ask_for_is_found_without_the_blocks_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(8);
    let mut store = open(directory.path());
    let mut entries = history.entries(4000);
    let of = entries.iter().find_map(|entry| match entry {
        Entry::Lookup(lookup) => Some(lookup.clone()),
        _ => None,
    });
    let (at, answer) = (1000, Some(vec!["198.18.7.1".parse().unwrap()]));
    let rare = Lookup { name: "a.rare.example".into(), answer, ..of.unwrap() };
    entries.insert(at, Entry::Lookup(rare.clone()));
    write(&mut store, &entries, &mut history);
    settle(&store);
    let reader = store.reader();
    for destination in ["rare.example", "198.18.0.0/16"] {
        let destination = crate::select::DestinationSelector::parse(destination).unwrap();
        let filter = Filter { destinations: vec![destination.into()], ..Filter::default() };
        let query = Query { filter, ..Query::default() };
        let (told, read) = told_lookups(&reader, &query);
        let (all, all_read) = told_lookups(&reader.without_index(), &query);
        assert_eq!((&told, &all), (&vec![rare.clone()], &told));
        assert!(read * 20 < all_read, "{read} of {all_read}");
    }
}

#[test]
fn the_index_opens_fewer_blocks_than_the_ledger_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(5);
    let mut store = open(directory.path());
    let entries: Vec<Entry> = (0..4000)
        .map(|number| {
            let mut record = history.begin();
            record.egress.ended_at = Some(record.egress.last_at);
            record.place.domain = Some(Domain {
                name: format!("host{}.example", number / 50).into(),
                source: DomainSource::Dns,
                is_trusted: false,
            });
            Entry::Flow(record)
        })
        .collect();
    write(&mut store, &entries, &mut history);
    settle(&store);
    let destination = crate::select::DestinationSelector::parse("host3.example").unwrap();
    let filter = Filter { destinations: vec![destination.into()], ..Filter::default() };
    let query = Query { filter, ..Query::default() };
    let read = |reader: &Reader| reader.query(&query, |_| ControlFlow::Continue(())).unwrap();
    let (with, without) = (read(&store.reader()), read(&store.reader().without_index()));
    assert!(with.index_used && !without.index_used);
    assert_eq!((with.matched, without.matched), (50, 50));
    assert!(with.blocks_read * 5 < without.blocks_read, "{with:?} {without:?}");
}

fn by_domain(name: &str) -> Query {
    let destination = crate::select::DestinationSelector::parse(name).unwrap();
    let filter = Filter { destinations: vec![destination.into()], ..Filter::default() };
    Query { filter, ..Query::default() }
}

fn name(record: &mut Record, name: &str) {
    let (name, source) = (name.into(), DomainSource::Dns);
    record.place.domain = Some(Domain { name, source, is_trusted: false });
}

#[test]
fn flows_that_go_on_as_they_were_make_nobody_read_where_they_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(9);
    let mut store = open(directory.path());
    let (mut entries, mut going_on) = (Vec::new(), Vec::new());
    for number in 0..3000 {
        let mut record = history.begin();
        record.egress.ended_at = None;
        name(&mut record, &format!("host{}.example", number % 100));
        entries.push(Entry::Flow(record.clone()));
        going_on.push(record);
        // Each is told again, once, and not where those are that began with it.
        if number > 500 {
            let at = history.random(going_on.len() as u64) as usize;
            let mut record = going_on.swap_remove(at);
            record.egress.revision = 1;
            record.egress.last_at = Timestamp(record.egress.last_at.0 + 1);
            entries.push(Entry::Flow(record));
        }
    }
    write(&mut store, &entries, &mut history);
    settle(&store);
    let read = |reader: &Reader| {
        reader.query(&by_domain("host7.example"), |_| ControlFlow::Continue(())).unwrap()
    };
    let (with, without) = (read(&store.reader()), read(&store.reader().without_index()));
    assert_eq!((with.matched, without.matched), (30, 30));
    assert!(with.blocks_read * 2 < without.blocks_read, "{with:?} {without:?}");
}

#[test]
fn a_flow_that_goes_by_another_name_by_now_is_not_found_by_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(10);
    let mut store = open(directory.path());
    let mut flow = history.begin();
    flow.egress.ended_at = None;
    name(&mut flow, "before.example");
    let mut entries = vec![Entry::Flow(flow.clone())];
    entries.extend((0..400).map(|_| Entry::Flow(history.begin())));
    flow.egress.revision = 1;
    name(&mut flow, "now.example");
    entries.push(Entry::Flow(flow.clone()));
    entries.extend((0..400).map(|_| Entry::Flow(history.begin())));
    write(&mut store, &entries, &mut history);
    settle(&store);
    let stats = store.reader().query(&by_domain("before.example"), |_| ControlFlow::Continue(()));
    assert!(stats.unwrap().index_used);
    assert_eq!(ask(&store.reader(), &by_domain("before.example")), vec![]);
    assert_eq!(ask(&store.reader(), &by_domain("now.example")), vec![flow]);
}

#[test]
fn a_flow_whose_latest_state_no_longer_matches_is_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    let mut history = History::new(77);
    let mut flow = history.begin();
    flow.egress.phase = crate::event::Phase::Attempt;
    flow.egress.ended_at = None;
    store.append(&Entry::Flow(flow.clone())).unwrap();
    store.sync().unwrap();
    let filter = Filter { phase: Some(crate::event::Phase::Attempt), ..Filter::default() };
    let query = Query { filter, ..Query::default() };
    assert_eq!(ask(&store.reader(), &query), vec![flow.clone()]);
    flow.egress.revision = 1;
    flow.egress.phase = crate::event::Phase::Sent;
    store.append(&Entry::Flow(flow.clone())).unwrap();
    store.sync().unwrap();
    assert_eq!(ask(&store.reader(), &query), vec![]);
    assert_eq!(ask(&store.reader(), &Query::default()), vec![flow]);
}

#[test]
fn rollups_and_notices_come_back_as_they_were_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(3);
    let entries = history.entries(2000);
    let mut store = open(directory.path());
    write(&mut store, &entries, &mut history);
    settle(&store);
    let reader = store.reader();

    let mut rollups = Vec::new();
    let mut add = |rollup| {
        rollups.push(rollup);
        ControlFlow::Continue(())
    };
    reader.rollups(&Filter::default(), &mut add).unwrap();
    let written: Vec<_> = entries
        .iter()
        .filter_map(|entry| if let Entry::Rollup(it) = entry { Some(it.clone()) } else { None })
        .collect();
    assert_eq!(rollups, written);

    let since = Timestamp(1_700_000_000_000_000_000 + 10_000_000_000_000);
    let until = Timestamp(since.0 + 10_000_000_000_000);
    let mut notices: Vec<(Timestamp, Notice)> = Vec::new();
    let mut add = |at, notice| {
        notices.push((at, notice));
        ControlFlow::Continue(())
    };
    reader.notices(Some(since), Some(until), &mut add).unwrap();
    let written: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Notice { at, notice } if (since..until).contains(at) => {
                Some((*at, notice.clone()))
            }
            _ => None,
        })
        .collect();
    assert!(!written.is_empty());
    assert_eq!(notices, written);
}

#[test]
fn rollups_are_filtered_by_what_they_know_and_by_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(11);
    let entries = history.entries(1500);
    let mut store = open(directory.path());
    write(&mut store, &entries, &mut history);
    let count = |raw: crate::filter::RawFilter| {
        let query = raw.parse(Timestamp(u64::MAX / 2)).unwrap();
        let mut count = 0;
        store
            .reader()
            .rollups(&query.filter, |_| {
                count += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        count
    };
    let by_name = crate::filter::RawFilter { process: Some("prog1".into()), ..Default::default() };
    let by_path =
        crate::filter::RawFilter { process: Some("/opt/v0/prog1".into()), ..Default::default() };
    let all = count(crate::filter::RawFilter::default());
    assert!(count(by_name.clone()) > 0 && count(by_name.clone()) < all);
    assert_eq!(count(by_name), count(by_path));
    let by_pid = crate::filter::RawFilter { pid: Some("1".into()), ..Default::default() };
    assert_eq!(count(by_pid), 0);
}

#[test]
fn what_only_some_flows_have_comes_back_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(11);
    let mut store = open(directory.path());
    let mut unread = crate::ecs::tests::bare_record();
    (unread.egress.transport, unread.egress.remote) = (Transport::UNKNOWN, None);
    let records = [crate::ecs::tests::full_record(), unread];
    assert!(records[0].sender.creator().is_some());
    let entries = records.clone().map(Entry::Flow);
    write(&mut store, &entries, &mut history);
    let query = Query::default();
    assert_eq!(ask(&store.reader(), &query), expected(&entries, &query));
}
