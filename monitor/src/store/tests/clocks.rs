//! What the store keeps while its host's clock is wrong, is set, goes back, or stands still: nothing
//! goes that is not old, all that is old goes, and the order stays.

use std::{ops::ControlFlow, time::Duration};

use super::{ask, config, history::History, small};
use crate::{
    clock::fake::FakeClock,
    event::{Entry, FlowId, Record, Timestamp},
    filter::Query,
    store::{Options, Store, ledger},
};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
const YEAR_SECONDS: i64 = 365 * 86_400;

/// A store, what was written to it, and its clock.
struct Rig {
    directory: tempfile::TempDir,
    fake: FakeClock,
    store: Option<Store>,
    history: History,
    written: Vec<FlowId>,
    options: Options,
    /// Between two flows.
    every: Duration,
}

impl Rig {
    fn at(wall: Timestamp) -> Self {
        let mut rig = Self {
            directory: tempfile::tempdir().unwrap(),
            fake: FakeClock::at(wall),
            store: None,
            history: History::new(6),
            written: Vec::new(),
            // Full after some hours of a flow a minute.
            options: Options { index: None, segment_bytes: 64 << 10, ..small() },
            every: Duration::from_mins(1),
        };
        rig.open();
        rig
    }

    fn open(&mut self) {
        drop(self.store.take());
        let config = config(self.directory.path());
        let opened = Store::open_by(&config, self.options, self.fake.clock());
        self.store = Some(opened.unwrap());
    }

    /// Comes up again with this on its clock.
    fn boot(&mut self, wall: Timestamp) {
        drop(self.store.take());
        self.fake.boot(wall);
        self.open();
    }

    /// Flows of now, one after the other, and the looks at what is too old that come with them.
    fn record(&mut self, time: Duration) {
        for _ in 0..time.as_secs() / self.every.as_secs() {
            let now = self.fake.now();
            let record = flow(&mut self.history, now.wall());
            self.written.push(record.egress.flow);
            let store = self.store.as_mut().unwrap();
            store.append(&Entry::Flow(record)).unwrap();
            store.sync().unwrap();
            store.retain().unwrap();
            self.fake.pass(self.every);
        }
        self.store.as_mut().unwrap().retain().unwrap();
    }

    /// What is there, in the order of the ledger.
    fn kept(&self) -> Vec<FlowId> {
        let reader = self.store.as_ref().unwrap().reader();
        let mut kept = Vec::new();
        for number in reader.scan().segments().unwrap() {
            let Some(mut segment) = reader.scan().segment(number).unwrap() else { continue };
            let mut heads = Vec::new();
            let each = |at, head: &ledger::frame::Head| {
                heads.push((at, *head));
                ControlFlow::Continue(())
            };
            assert_eq!(segment.walk(0, each).unwrap().corrupt, 0);
            for (at, head) in heads {
                let entries = segment.entries(at, &head).unwrap().unwrap();
                kept.extend(entries.iter().filter_map(|entry| match entry {
                    Entry::Flow(record) => Some(record.egress.flow),
                    _ => None,
                }));
            }
        }
        kept
    }

    fn assert_all_is_kept(&self) {
        let reader = self.store.as_ref().unwrap().reader();
        let kept = self.kept();
        assert!(kept == self.written, "{} of {}", kept.len(), self.written.len());
        assert_eq!(ask(&reader, &Query::default()).len(), self.written.len());
    }

    /// Of what was written all but the newest is gone: what was written within the bound, and what
    /// shares a segment with it.
    fn assert_kept_of_last(&self, time: Duration) {
        let flows = |time: Duration| (time.as_secs() / self.every.as_secs()) as usize;
        let (kept, least) = (self.kept(), flows(time));
        assert!(self.written.ends_with(&kept), "the oldest goes first");
        let most = least + flows(2 * self.options.segment_age);
        assert!((least..=most).contains(&kept.len()), "{} of {least}", kept.len());
    }
}

fn flow(history: &mut History, at: Timestamp) -> Record {
    let mut record = history.begin();
    record.egress.flow =
        FlowId(u128::from(at.0) << 64 | record.egress.flow.0 & u128::from(u64::MAX));
    (record.egress.started_at, record.egress.last_at) = (at, at);
    record.egress.ended_at = Some(at);
    record
}

#[test]
fn what_was_recorded_in_1970_is_kept_when_the_clock_is_set() {
    let mut rig = Rig::at(Timestamp(0));
    rig.record(2 * HOUR);
    rig.fake.set(NOW);
    rig.record(HOUR);
    rig.assert_all_is_kept();
    rig.fake.trust(true);
    rig.record(HOUR);
    rig.assert_all_is_kept();
}

#[test]
fn each_boot_in_1970_is_dated_by_its_own_first_trusted_moment() {
    let mut rig = Rig::at(Timestamp(0));
    // Ten days, each of which the host sees for an hour, and of that 20 minutes in 1970.
    for day in 0..10 {
        rig.boot(Timestamp(0));
        rig.record(HOUR / 3);
        rig.fake.set(Timestamp(NOW.0 + (day * DAY).as_nanos() as u64));
        rig.fake.trust(true);
        rig.record(HOUR * 2 / 3);
    }
    rig.assert_all_is_kept();
    // Off for so long that six of them are too old.
    rig.boot(Timestamp(0));
    rig.record(HOUR);
    rig.assert_all_is_kept();
    rig.fake.set(Timestamp(NOW.0 + (35 * DAY).as_nanos() as u64));
    rig.fake.trust(true);
    rig.record(HOUR);
    let kept = rig.kept();
    assert!(rig.written.ends_with(&kept));
    // Four days and the last two hours; and what shares a segment with them.
    assert!((6 * 60..=8 * 60).contains(&kept.len()), "{}", kept.len());
}

#[test]
fn a_year_ahead_and_back_deletes_nothing_and_stops_no_expiry() {
    for is_trusted in [false, true] {
        let mut rig = Rig::at(NOW);
        rig.every = HOUR;
        rig.fake.trust(is_trusted);
        rig.record(2 * DAY);
        rig.fake.step(YEAR_SECONDS);
        rig.record(HOUR);
        rig.fake.step(-YEAR_SECONDS);
        rig.record(DAY);
        rig.assert_all_is_kept();
        rig.record(30 * DAY);
        rig.assert_kept_of_last(30 * DAY);
    }
}

#[test]
fn an_hour_back_under_traffic_deletes_nothing_and_keeps_the_order() {
    let mut rig = Rig::at(NOW);
    rig.fake.trust(true);
    rig.record(2 * HOUR);
    rig.fake.step(-3_600);
    rig.record(2 * HOUR);
    rig.assert_all_is_kept();
    let found = ask(&rig.store.as_ref().unwrap().reader(), &Query::default());
    assert!(found.is_sorted_by_key(|it| it.egress.started_at), "as it was asked for");
}

#[test]
fn a_host_that_is_never_synchronised_forgets_by_its_boot_clock() {
    let mut rig = Rig::at(Timestamp(0));
    rig.every = HOUR;
    rig.record(40 * DAY);
    rig.assert_kept_of_last(30 * DAY);
}

#[test]
fn a_suspended_host_grows_older() {
    let mut rig = Rig::at(NOW);
    rig.record(HOUR);
    // A new segment, so that the first has ended.
    rig.fake.pass(DAY);
    rig.record(HOUR);
    rig.fake.pass(29 * DAY);
    rig.record(HOUR);
    rig.assert_all_is_kept();
    rig.fake.pass(DAY);
    rig.record(HOUR);
    let kept = rig.kept();
    assert!(kept == rig.written[60..], "{} of {}", kept.len(), rig.written.len());
}

#[test]
fn retention_by_age_never_deletes_the_segment_that_is_written() {
    let mut rig = Rig::at(NOW);
    rig.record(HOUR);
    rig.fake.pass(365 * DAY);
    rig.store.as_mut().unwrap().retain().unwrap();
    rig.assert_all_is_kept();
    assert_eq!(rig.store.as_ref().unwrap().reader().scan().segments().unwrap().len(), 1);
}

#[test]
fn a_host_that_starts_again_and_again_makes_no_segment_each_time() {
    let mut rig = Rig::at(Timestamp(0));
    for _ in 0..50 {
        rig.boot(Timestamp(0));
        rig.record(Duration::from_mins(1));
    }
    rig.assert_all_is_kept();
    let segments = rig.store.as_ref().unwrap().reader().scan().segments().unwrap().len();
    assert!(segments < 10, "{segments}");
}
