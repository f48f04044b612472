//! What left in a window, by the states of flows around its bounds.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{
    history::{History, expected},
    open, settle, write,
};
use crate::{
    event::{Egress, Entry, FlowId, Record, Rollup, Timestamp, Traffic},
    filter::{Filter, Query},
    store::{Reader, Store},
    summary::{By, Counts, Kind, Like, Parts, Totals},
};

const BEGUN: u64 = 1_700_000_000;
const SECOND: u64 = 1_000_000_000;

/// By flow: what left, and bytes of spans that were divided.
#[derive(Default)]
struct Sums {
    flows: Vec<FlowId>,
    sums: BTreeMap<FlowId, (Traffic, u64)>,
}

impl Totals for Sums {
    fn flow(&mut self, record: &Record) -> u32 {
        self.flows.push(record.egress.flow);
        self.flows.len() as u32 - 1
    }
    fn part(&mut self, _: By, _: Like<'_>) -> u32 {
        unreachable!("takes no counts")
    }
    fn counted(&mut self, _: Parts, _: Kind, _: &Counts) -> u32 {
        unreachable!("takes no counts")
    }
    fn rollup(&mut self, _: &Rollup) {}
    fn more(&mut self, row: u32, traffic: Traffic, divided: u64) {
        let sum = self.sums.entry(self.flows[row as usize]).or_default();
        *sum = (sum.0.plus(traffic), sum.1 + divided);
    }
    fn less(&mut self, row: u32, traffic: Traffic, divided: u64) {
        let sum = self.sums.get_mut(&self.flows[row as usize]).unwrap();
        assert_eq!(
            traffic.since(sum.0),
            Traffic::default(),
            "less before a window than to its end"
        );
        *sum = (sum.0.since(traffic), sum.1 + divided);
    }
}

fn within(reader: &Reader, filter: &Filter, window: [u64; 2]) -> Sums {
    let [since, until] = window.map(|at| Some(Timestamp(at)));
    let filter = Filter { since, until, ..filter.clone() };
    let mut sums = Sums::default();
    reader.in_window(&Query { filter, ..Query::default() }, &mut sums).unwrap();
    sums
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn windows_that_adjoin_add_up_to_each_flow(seed: u64, count in 1_usize..900) {
        let directory = tempfile::tempdir().unwrap();
        let mut history = History::new(seed);
        let entries = history.entries(count);
        let mut store = open(directory.path());
        write(&mut store, &entries, &mut history);
        settle(&store);
        for _ in 0..3 {
            let filter = Filter { since: None, until: None, ..history.query().filter };
            let query = Query { filter: filter.clone(), ..Query::default() };
            let whole = expected(&entries, &query);
            let mut bounds: Vec<u64> =
                (0..9).map(|_| (BEGUN + history.random(count as u64 * 30)) * SECOND).collect();
            bounds.extend([0, u64::MAX]);
            bounds.sort_unstable();
            bounds.dedup();
            for reader in [store.reader(), store.reader().without_index()] {
                let mut sums: BTreeMap<FlowId, u64> = BTreeMap::new();
                for window in bounds.windows(2) {
                    for (flow, (traffic, _)) in within(&reader, &filter, [window[0], window[1]]).sums {
                        *sums.entry(flow).or_default() += traffic.received_bytes;
                    }
                }
                for record in &whole {
                    let Egress { flow, traffic, .. } = record.egress;
                    prop_assert_eq!(sums.remove(&flow), Some(traffic.received_bytes));
                }
                prop_assert!(sums.is_empty());
            }
        }
    }
}

/// A flow with these states: seconds after its start, and bytes by then.
fn told(store: &mut Store, states: &[(u64, u64)]) -> FlowId {
    let mut record = History::new(7).begin();
    let flow = record.egress.flow;
    record.egress.started_at = Timestamp(BEGUN * SECOND);
    for (revision, (at, bytes)) in states.iter().enumerate() {
        record.egress.revision = revision as u32;
        record.egress.last_at = Timestamp((BEGUN + at) * SECOND);
        record.egress.traffic = Traffic { sent_bytes: *bytes, ..Traffic::default() };
        store.append(&Entry::Flow(record.clone())).unwrap();
        store.sync().unwrap();
    }
    flow
}

#[test]
fn a_window_has_what_left_in_it_and_says_what_it_divided() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path());
    let states = [(0, 60), (60, 60_060), (120, 61_260), (3_720, 70_000), (3_770, 71_000)];
    let flow = told(&mut store, &states);
    for ([from, to], bytes, divided) in [
        ([0, 61], 60_060, 1_200),
        ([0, 30], 30_060, 60_000),
        ([30, 60], 30_000, 120_000),
        // Nothing was sent in a silence, though the next state is told after it.
        ([130, 3_650], 0, 0),
        ([3_650, 3_721], 8_740, 1_000),
        ([3_760, 9_000], 200, 1_000),
    ] {
        let window = [from, to].map(|at| (BEGUN + at) * SECOND);
        let (traffic, about) = within(&store.reader(), &Filter::default(), window).sums[&flow];
        // What left in the very second of the bound is in the later of two windows.
        let sent = traffic.sent_bytes.abs_diff(bytes);
        assert!(sent <= 30, "{from} to {to}: {traffic:?}, not {bytes}");
        assert_eq!(about, divided, "{from} to {to}");
    }
}
