//! The outputs together, over a ledger in memory.

mod day;
mod losses;
mod meters;
mod notes;
mod shares;

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use super::{lost::Lost, rollup::RollupTable, shares::Shares, store::Ledger, *};
use crate::{
    ecs::tests::{bare_record, full_record},
    event::{Moment, Notice, Phase, Rollup},
};

/// A test waits for no longer.
const SYNC: std::time::Duration = std::time::Duration::from_millis(20);
const READ_ONLY: &str = "read-only";
const FULL: &str = "full";

/// Holds its content where the test sees it; fails or waits when told to.
#[derive(Clone, Default)]
struct Memory {
    entries: Arc<Mutex<Vec<Entry>>>,
    failures: Arc<Mutex<Vec<&'static str>>>,
    gate: Option<Arc<Mutex<mpsc::Receiver<()>>>>,
    is_read_only: Arc<AtomicBool>,
    /// Entries that there is room for, if there is a bound.
    room: Option<usize>,
}

impl Memory {
    fn fails(&self, operation: &'static str) -> Result<(), &'static str> {
        if self.is_read_only.load(Ordering::Relaxed) {
            return Err(READ_ONLY);
        }
        let mut failures = self.failures.lock().unwrap();
        match failures.iter().position(|it| *it == operation) {
            Some(at) => Err(failures.remove(at)),
            None => Ok(()),
        }
    }
}

impl Ledger for Memory {
    type Error = &'static str;
    fn append(&mut self, entry: &Entry) -> Result<(), Self::Error> {
        if let Some(gate) = self.gate.take() {
            gate.lock().unwrap().recv().unwrap();
        }
        self.fails("append")?;
        if self.room.is_some_and(|room| self.entries.lock().unwrap().len() >= room) {
            return Err(FULL);
        }
        self.entries.lock().unwrap().push(entry.clone());
        Ok(())
    }
    fn write(&mut self) -> Result<(), Self::Error> {
        self.fails("write")
    }
    fn sync(&mut self) -> Result<(), Self::Error> {
        self.fails("sync")
    }
    fn failure(error: &&'static str) -> store::Failure {
        match *error {
            READ_ONLY => store::Failure::ReadOnly,
            FULL => store::Failure::Full,
            _ => store::Failure::Other,
        }
    }
    fn make_room(&mut self) -> Result<Lost, Self::Error> {
        self.fails("make-room")?;
        Ok(self.entries.lock().unwrap().drain(..10).map(|entry| Lost::of(&entry)).sum())
    }
    fn seal(&mut self) -> Result<(), Self::Error> {
        self.fails("seal")
    }
    fn retain(&mut self) -> Result<(), Self::Error> {
        self.fails("retain")
    }
    fn size(&self) -> Result<store::LedgerSize, Self::Error> {
        let records = self.entries.lock().unwrap().len() as u64;
        let size = store::LedgerSize { bytes: records * 100, records, ..Default::default() };
        self.fails("size").map(|()| size)
    }
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(&KnownLabels::default()).unwrap())
}

fn later() -> Timestamp {
    moment().wall()
}

/// Two seconds after what the records tell.
fn moment() -> Moment {
    let timeline = full_record().timeline.unwrap();
    Moment { boot_ns: timeline.boot_ns(Timestamp::from_secs(1_800_000_004)), timeline }
}

fn config(record: RecordMode) -> StoreConfig {
    StoreConfig {
        path: "/nowhere".into(),
        record,
        retention: std::time::Duration::from_hours(24 * 30),
        max_bytes: 512 << 20,
        sync: SYNC,
        shipping: None,
    }
}

const SECOND: u64 = 1_000_000_000;

struct Rig {
    outputs: Outputs,
    writer: writer::StoreWriter,
    metrics: Arc<Metrics>,
    memory: Memory,
    live: live::Sender,
}

fn rig(mode: RecordMode, memory: Memory, capacity: usize) -> Rig {
    let metrics = metrics();
    let (queue, writer) =
        writer::spawn_with(memory.clone(), Arc::clone(&metrics), capacity, SYNC, moment).unwrap();
    let live = live::channel();
    let outputs = Outputs::new(Arc::clone(&metrics), &config(mode), queue, live.clone());
    Rig { outputs, writer, metrics, memory, live }
}

impl Rig {
    /// A state, as of a flow that has no violation counted yet.
    fn deliver(&mut self, record: Record, growth: Traffic, is_new: bool, kept: Kept) -> Kept {
        let begins = is_new && record.egress.phase == Phase::Sent;
        let violates = begins && record.is_violation();
        let attempts = is_new && !begins;
        let record = Arc::new(record);
        self.outputs.deliver(Delivery { record, growth, attempts, begins, violates }, kept)
    }

    /// Everything that reached the ledger.
    fn finish(self) -> (Vec<Entry>, Arc<Metrics>) {
        self.end(true)
    }

    /// `is_whole`: nothing is left that could not be written.
    fn end(mut self, is_whole: bool) -> (Vec<Entry>, Arc<Metrics>) {
        self.outputs.flush(later());
        drop(self.outputs);
        assert_eq!(self.writer.join(), is_whole);
        let entries = self.memory.entries.lock().unwrap().clone();
        (entries, self.metrics)
    }
}

fn approved() -> Record {
    let mut record = full_record();
    record.judgement.verdict = Verdict::Approved;
    record.judgement.reason = Reason::Country;
    record
}

fn sent(bytes: u64, packets: u64) -> Traffic {
    Traffic { sent_bytes: bytes, sent_packets: packets, ..Traffic::default() }
}

#[test]
fn who_asks_wakes_the_pipeline_and_gets_what_is_counted_and_nothing_once_it_has_ended() {
    let mut rig = rig(RecordMode::Unapproved, Memory::default(), 16);
    let (woken, is_woken) = mpsc::channel();
    let wake = Box::new(move || woken.send(()).unwrap());
    let view = Arc::new(view::View::new(wake, &rig.outputs, Arc::clone(&rig.metrics)));
    assert_eq!(view.asked(), None);
    let asking = thread::spawn({
        let view = Arc::clone(&view);
        move || view.ask()
    });
    is_woken.recv().unwrap();
    let asked = view.asked().unwrap();
    rig.deliver(full_record(), sent(1500, 3), true, Kept::Added);
    rig.deliver(approved(), sent(40, 1), true, Kept::Added);
    view.answer(asked, rig.outputs.snapshot(vec![full_record()], 7));
    let snapshot = asking.join().unwrap();
    assert_eq!(view.asked(), None);
    assert_eq!(snapshot.flows[..], [full_record()]);
    assert_eq!(snapshot.rollups.iter().map(|it| it.traffic).collect::<Vec<_>>(), [sent(40, 1)]);
    assert_eq!(rig.memory.entries.lock().unwrap().len(), 1, "what was handed over is written");
    assert!(!view.has_flushed_since(&snapshot));
    rig.outputs.flush(later());
    assert!(view.has_flushed_since(&snapshot));
    view.close();
    assert!(view.ask().flows.is_empty());
    let lacks = |reason| rig.metrics.answers_behind_total.with_label_values(&[reason]).get();
    assert_eq!(view::REASONS.map(lacks), [0, 0, 7]);
    rig.finish();
}

#[test]
fn an_unapproved_flow_is_itemised_counted_and_streamed() {
    let mut rig = rig(RecordMode::Unapproved, Memory::default(), 16);
    let mut listener = rig.live.subscribe();
    rig.deliver(full_record(), sent(1500, 3), true, Kept::Added);
    assert_eq!(*listener.try_recv().unwrap(), full_record());
    let (entries, metrics) = rig.finish();
    assert_eq!(entries, [Entry::Flow(full_record())]);
    let flows = metrics.egress_flows_total.with_label_values(&["unapproved", "CN", "tcp"]).get();
    let bytes = metrics.egress_bytes_total.with_label_values(&["unapproved", "CN"]).get();
    let violations = metrics.violations_total.with_label_values(&["CN", "rule:no-cn"]).get();
    let attributed = metrics.attribution_total.with_label_values(&["socket"]).get();
    assert_eq!((flows, bytes, violations, attributed), (1, 1500, 1, 1));
}

#[test]
fn a_violation_is_counted_when_the_attempt_becomes_a_packet_and_only_then() {
    let mut rig = rig(RecordMode::Unapproved, Memory::default(), 16);
    let mut attempt = full_record();
    attempt.egress.phase = Phase::Attempt;
    rig.deliver(attempt, Traffic::default(), true, Kept::Added);
    let violations = rig.metrics.violations_total.with_label_values(&["CN", "rule:no-cn"]);
    assert_eq!(violations.get(), 0);
    rig.deliver(full_record(), sent(40, 1), true, Kept::Added);
    rig.deliver(full_record(), sent(40, 1), false, Kept::Added);
    assert_eq!(violations.get(), 1);
    assert_eq!(rig.finish().0.len(), 3);
}

#[test]
fn approved_traffic_is_rolled_up_to_the_byte_whether_delivered_or_metered() {
    let mut rig = rig(RecordMode::Unapproved, Memory::default(), 16);
    rig.deliver(approved(), sent(100, 1), true, Kept::Added);
    rig.outputs.meter(&approved(), sent(20, 1), Kept::Added);
    rig.deliver(approved(), sent(3, 1), false, Kept::Added);
    let (entries, metrics) = rig.finish();
    let record = approved();
    assert_eq!(
        entries,
        [Entry::Rollup(Rollup {
            hour: record.egress.last_at.hour(),
            program: "/usr/bin/curl".into(),
            user: record.sender.process().map(|process| process.user.clone()),
            country: record.place.country,
            verdict: Verdict::Approved,
            provenance: record.provenance.clone(),
            flows: 1,
            traffic: sent(123, 3),
        })]
    );
    assert_eq!(metrics.egress_bytes_total.with_label_values(&["approved", "CN"]).get(), 123);
}

#[test]
fn a_flow_that_was_stored_one_by_one_stays_so_when_it_is_approved_later() {
    let mut rig = rig(RecordMode::Unapproved, Memory::default(), 16);
    let kept = rig.deliver(full_record(), sent(100, 1), true, Kept::Added);
    assert_eq!(rig.deliver(approved(), sent(50, 1), false, kept), Kept::Itemised);
    rig.outputs.meter(&approved(), sent(7, 1), Kept::Itemised);
    assert_eq!(rig.finish().0, [Entry::Flow(full_record()), Entry::Flow(approved())]);
}

#[test]
fn in_mode_all_an_approved_flow_is_itemised_and_not_rolled_up() {
    let mut rig = rig(RecordMode::All, Memory::default(), 16);
    rig.deliver(approved(), sent(100, 1), true, Kept::Added);
    rig.outputs.meter(&approved(), sent(1, 1), Kept::Added);
    assert_eq!(rig.finish().0, [Entry::Flow(approved())]);
}

#[test]
fn rollups_are_appended_at_their_interval_and_not_before() {
    let mut rig = rig(RecordMode::Unapproved, Memory::default(), 16);
    let start = 7 * SECOND;
    // Whatever the wall clock shows: a day, 2038, 1970.
    for (number, wall) in
        [later(), Timestamp::from_secs(2_145_916_800), Timestamp(0)].into_iter().enumerate()
    {
        let start = start + number as u64 * 2 * rollup::FLUSH_SECONDS * SECOND;
        rig.deliver(approved(), sent(1, 1), true, Kept::Added);
        rig.outputs.tick(start + rollup::FLUSH_SECONDS * SECOND, wall);
        rig.deliver(approved(), sent(2, 1), false, Kept::Added);
        rig.outputs.tick(start + (2 * rollup::FLUSH_SECONDS - 1) * SECOND, later());
        rig.deliver(approved(), sent(4, 1), false, Kept::Added);
    }
    let bytes: Vec<u64> = rig
        .finish()
        .0
        .into_iter()
        .map(|entry| match entry {
            Entry::Rollup(rollup) => rollup.traffic.sent_bytes,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(bytes, [1, 7, 7, 6], "one each minute");
}

#[test]
fn a_full_table_of_rollups_loses_detail_and_no_byte() {
    let metrics = metrics();
    let mut table = RollupTable::new(Arc::clone(&metrics));
    let mut shares = Shares::of(&config(RecordMode::Unapproved));
    for number in 0..rollup::ROWS_MAX as u64 + 5 {
        let mut record = bare_record();
        // An hour apart each: rows of their own.
        record.egress.last_at = Timestamp::from_secs(number * 3_600);
        table.add(&record, 1, sent(10, 1), &mut shares);
    }
    let mut named = approved();
    named.egress.last_at = Timestamp::from_secs(0);
    table.add(&named, 1, sent(10, 1), &mut shares);
    let rows = table.take(0);
    let bytes: u64 = rows.iter().map(|row| row.traffic.sent_bytes).sum();
    assert_eq!(bytes, (rollup::ROWS_MAX as u64 + 6) * 10);
    assert!(rows.iter().any(|row| {
        row.program.as_ref() == rollup::OVERFLOW_PROGRAM && row.user.is_none() && row.flows == 1
    }));
    let lost = metrics.events_lost_total.with_label_values(&[rollup::STAGE, rollup::TABLE_FULL]);
    assert_eq!(lost.get(), 6);
}

#[test]
fn what_a_full_queue_drops_is_counted_and_told_in_the_ledger() {
    let (open, gate) = mpsc::channel();
    let memory = Memory { gate: Some(Arc::new(Mutex::new(gate))), ..Memory::default() };
    let mut rig = rig(RecordMode::All, memory, 2);
    // The writer holds one at most, the queue two: of ten at least seven find no room.
    for _ in 0..10 {
        rig.deliver(full_record(), sent(1, 1), true, Kept::Added);
    }
    let lost = rig.metrics.events_lost_total.with_label_values(&[store::STAGE, store::QUEUE_FULL]);
    let dropped = lost.get();
    assert!((7..=8).contains(&dropped), "{dropped}");
    open.send(()).unwrap();
    let (entries, metrics) = rig.finish();
    let kept = entries.iter().filter(|entry| matches!(entry, Entry::Flow(_))).count() as u64;
    assert_eq!(kept + dropped, 10);
    assert!(entries.iter().any(|entry| matches!(
        entry,
        Entry::Notice { notice: Notice::Lost { count, .. }, .. } if *count == dropped
    )));
    assert_eq!(metrics.queue_depth.with_label_values(&[store::STAGE]).get(), 0);
}

#[test]
fn what_was_handed_over_is_signed_when_somebody_asks_and_in_trouble_nobody_is_kept_waiting() {
    let memory = Memory::default();
    *memory.failures.lock().unwrap() = vec!["seal"];
    let mut rig = rig(RecordMode::All, memory, 16);
    rig.deliver(full_record(), sent(1, 1), true, Kept::Added);
    let (progress, _) = rig.outputs.progress();
    let until = std::time::Instant::now() + std::time::Duration::from_mins(1);
    for _ in 0..2 {
        let asked = progress.ask_to_seal();
        assert!(progress.wait_sealed(asked, until));
    }
    let (_, metrics) = rig.finish();
    assert_eq!(metrics.store_errors_total.with_label_values(&["seal"]).get(), 1);
}

#[test]
fn a_ledger_that_fails_is_counted_and_tried_again_until_nothing_is_missing() {
    let memory = Memory::default();
    *memory.failures.lock().unwrap() = vec!["append", "sync", "sync", "retain", "size"];
    let mut rig = rig(RecordMode::All, memory, 16);
    rig.deliver(full_record(), sent(1, 1), true, Kept::Added);
    rig.deliver(bare_record(), sent(1, 1), true, Kept::Added);
    let (entries, metrics) = rig.finish();
    assert_eq!(entries, [Entry::Flow(full_record()), Entry::Flow(bare_record())]);
    let expected = [
        ("append", 1),
        ("write", 0),
        ("sync", 2),
        ("make-room", 0),
        ("retain", 1),
        ("size", 1),
        ("seal", 0),
    ];
    assert_eq!(expected.map(|(operation, _)| operation), store::OPERATIONS);
    for (operation, expected) in expected {
        let errors = metrics.store_errors_total.with_label_values(&[operation]).get();
        assert_eq!(errors, expected, "{operation}");
    }
    assert_eq!(metrics.store_records.get(), 2);
    assert_eq!(metrics.store_writable.get(), 1);
}

#[test]
fn a_ledger_that_fails_to_the_end_does_not_keep_the_daemon_and_every_entry_is_counted() {
    let memory = Memory::default();
    *memory.failures.lock().unwrap() = vec!["sync"; 100];
    let mut rig = rig(RecordMode::All, memory, 16);
    rig.deliver(full_record(), sent(1, 1), true, Kept::Added);
    let (_, metrics) = rig.end(false);
    let lost = metrics.events_lost_total.with_label_values(&[store::STAGE, store::UNWRITTEN]);
    assert_eq!(lost.get(), 1);
    assert_eq!(metrics.store_writable.get(), 0);
}

/// Delivers flows of their own, each as there is room for it.
fn deliver_many(rig: &mut Rig, count: u64) {
    for _ in 0..count {
        while rig.outputs.room() == 0 {
            thread::yield_now();
        }
        rig.deliver(full_record(), sent(1, 1), true, Kept::Added);
    }
}

#[test]
fn while_nothing_can_be_written_the_queue_goes_on_and_each_entry_is_kept_or_counted_and_told() {
    const FLOWS: u64 = 60_000;
    let memory = Memory::default();
    memory.is_read_only.store(true, Ordering::Relaxed);
    let mut rig = rig(RecordMode::Unapproved, memory.clone(), 256);
    deliver_many(&mut rig, FLOWS);
    rig.deliver(approved(), sent(77, 1), true, Kept::Added);
    // What adds up waits, however long.
    rig.outputs.tick(3 * rollup::FLUSH_SECONDS * SECOND, later());
    while rig.metrics.queue_depth.with_label_values(&[store::STAGE]).get() > 0 {
        thread::yield_now();
    }
    assert_eq!(rig.metrics.store_writable.get(), 0);
    memory.is_read_only.store(false, Ordering::Relaxed);
    let (entries, metrics) = rig.finish();
    let lost = metrics.events_lost_total.with_label_values(&[store::STAGE, READ_ONLY]).get();
    let kept = entries.iter().filter(|entry| matches!(entry, Entry::Flow(_))).count() as u64;
    assert!(kept > 10_000 && lost > 0, "{kept} {lost}");
    assert_eq!(kept + lost, FLOWS);
    let told = entries.iter().filter_map(|entry| match entry {
        Entry::Notice { notice: Notice::Lost { reason, count, .. }, .. } => {
            Some((reason.as_ref(), *count))
        }
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [(READ_ONLY, lost)]);
    let rolled = entries
        .iter()
        .any(|entry| matches!(entry, Entry::Rollup(rollup) if rollup.traffic.sent_bytes == 77));
    assert!(rolled);
    assert_eq!(metrics.store_writable.get(), 1);
}

#[test]
fn on_a_full_disk_what_is_old_gives_way_and_is_counted() {
    const FLOWS: u64 = 1_000;
    let memory = Memory { room: Some(100), ..Memory::default() };
    let mut rig = rig(RecordMode::All, memory, 256);
    deliver_many(&mut rig, FLOWS);
    let (entries, metrics) = rig.finish();
    let gone = metrics.events_lost_total.with_label_values(&[store::STAGE, store::GAVE_WAY]).get();
    assert!(gone > 0 && entries.len() <= 100, "{gone} {}", entries.len());
    assert_eq!(entries.len() as u64 + gone, FLOWS);
}

#[test]
fn at_the_end_more_than_the_queue_holds_is_told() {
    let mut rig = rig(RecordMode::All, Memory::default(), 2);
    rig.outputs.close();
    for _ in 0..5_000 {
        rig.deliver(full_record(), sent(1, 1), true, Kept::Added);
    }
    let (entries, metrics) = rig.finish();
    let lost = metrics.events_lost_total.with_label_values(&[store::STAGE, store::QUEUE_FULL]);
    assert_eq!((entries.len(), lost.get()), (5_000, 0));
}

#[test]
fn latency_runs_from_the_kernel_until_a_query_can_show_it_for_first_states() {
    let mut rig = rig(RecordMode::All, Memory::default(), 16);
    let mut first = full_record();
    first.egress.revision = 0;
    rig.deliver(first, sent(1, 1), true, Kept::Added);
    rig.deliver(full_record(), sent(1, 1), false, Kept::Added);
    let (_, metrics) = rig.finish();
    assert_eq!(metrics.event_latency_seconds.get_sample_count(), 1);
    assert!((metrics.event_latency_seconds.get_sample_sum() - 2.0).abs() < 1e-9);
}

#[test]
fn known_labels_hold_every_violation_a_policy_can_find_by_country() {
    let known = known_labels(&[CountryCode::new("CN").unwrap()]);
    for place in ["CN", "none"] {
        for reason in ["country", "operator", "unlocated"] {
            let labels = (place.to_owned(), reason.to_owned());
            assert!(known.violations.contains(&labels), "{labels:?}");
        }
    }
    assert!(known.losses.contains(&("store".into(), "queue-full".into())));
}
