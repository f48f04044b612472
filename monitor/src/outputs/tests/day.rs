//! How much a day writes: the outputs and the real store, by clocks that run as fast as the processor allows. What
//! waits is written and synced when the writer's thread would do it.

use std::{ops::ControlFlow, path::Path, time::Instant};

use super::*;
use crate::{
    clock::fake::FakeClock,
    event::{Country, FlowId, Sender},
    filter::Filter,
    outputs::due::Due,
    store::{
        Store,
        verify::{Trust, own_keys, verify},
    },
};

const DAY: u64 = 24 * 3600;
/// 2026-06-01.
const BEGIN: Timestamp = Timestamp::from_secs(1_780_272_000);
/// Of a ground station: planning, maps, updates, mail, a browser, time, and what a system does by itself.
const PROGRAMS: usize = 30;
const COUNTRIES: [&str; 8] = ["US", "US", "US", "DE", "CA", "IE", "NL", "GB"];
/// Approved flows, questions to the local resolver, and violations, a day.
const APPROVED: u64 = 60_000;
const LOCAL: u64 = 20_000;
const VIOLATIONS: u64 = 480;
/// What the store may take in a day in the default mode.
const BYTES_MAX: u64 = 20_000_000;

struct Day {
    random: fastrand::Rng,
    clock: FakeClock,
    outputs: Outputs,
    live: Vec<(u64, Record, Kept)>,
    flows: u64,
    added: u64,
    itemised: u64,
}

impl Day {
    fn record(&mut self, verdict: Verdict) -> Record {
        let mut record = full_record();
        let now = self.clock.now().wall();
        self.flows += 1;
        record.egress.flow = FlowId((u128::from(now.0) << 64) | u128::from(self.flows));
        (record.egress.started_at, record.egress.last_at) = (now, now);
        (record.egress.revision, record.egress.ended_at) = (0, None);
        let number = self.random.usize(..PROGRAMS);
        let address = [203, 0, 113, self.random.u8(..)];
        record.egress.remote = Some((std::net::Ipv4Addr::from(address), 443).into());
        let country = match verdict {
            Verdict::Local => Country::Local,
            Verdict::Approved => code(COUNTRIES[self.random.usize(..COUNTRIES.len())]),
            _ => code("CN"),
        };
        let findings = Arc::make_mut(&mut record.findings);
        findings.place.country = country;
        findings.judgement.verdict = verdict;
        findings.timeline = Some(self.clock.now().timeline);
        let Sender::Process { process, .. } = &mut findings.sender else { panic!("no process") };
        let process = Arc::make_mut(process);
        process.pid = 1_000 + self.random.u32(..5_000);
        process.name = format!("program-{number}").into();
        process.executable = Some(format!("/usr/lib/station/program-{number}").into());
        record
    }

    fn begins(&mut self, verdict: Verdict) {
        let record = self.record(verdict);
        let violates = record.is_violation();
        let growth = sent(60 + self.random.u64(..1_500), 3);
        let told = Arc::new(record.clone());
        let kept = self.outputs.deliver(
            Delivery { record: told, growth, begins: true, violates, attempts: false },
            Kept::Added,
        );
        match kept {
            Kept::Itemised => self.itemised += 1,
            Kept::Added | Kept::Unpaid => self.added += 1,
        }
        // A third goes on for some minutes.
        let ends = self.clock.now().boot_ns + self.random.u64(1..300) * SECOND;
        if self.flows.is_multiple_of(3) || violates {
            self.live.push((ends, record, kept));
        }
    }

    /// Each live flow has grown; those that are over say so.
    fn minute(&mut self) {
        let moment = self.clock.now();
        let mut live = std::mem::take(&mut self.live);
        for (ends, record, kept) in &mut live {
            let growth = sent(self.random.u64(..200_000), 20);
            record.egress.last_at = moment.wall();
            record.egress.traffic.sent_bytes += growth.sent_bytes;
            if *kept == Kept::Itemised {
                record.egress.revision += 1;
                let is_over = *ends <= moment.boot_ns;
                record.egress.ended_at = is_over.then(|| moment.wall());
                let told = Arc::new(record.clone());
                let told = Delivery {
                    record: told,
                    growth,
                    begins: false,
                    violates: false,
                    attempts: false,
                };
                *kept = self.outputs.deliver(told, *kept);
            } else {
                self.outputs.meter(record, growth, *kept);
            }
        }
        live.retain(|(ends, ..)| *ends > moment.boot_ns);
        self.live = live;
        self.outputs.note(Entry::Notice { at: moment.wall(), notice: Notice::Alive });
    }

    /// So many of a day happen in this second.
    fn happens(&mut self, a_day: u64) -> u64 {
        a_day / DAY + u64::from(self.random.u64(..DAY) < a_day % DAY)
    }

    fn second(&mut self) {
        for (verdict, a_day) in [
            (Verdict::Approved, APPROVED),
            (Verdict::Local, LOCAL),
            (Verdict::Unapproved, VIOLATIONS),
        ] {
            for _ in 0..self.happens(a_day) {
                self.begins(verdict);
            }
        }
        let moment = self.clock.now();
        self.outputs.tick(moment.boot_ns, moment.wall());
    }
}

fn code(text: &str) -> Country {
    Country::Known(CountryCode::new(text).unwrap())
}

/// Bytes of all files below.
fn size(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let each = entries.map(|it| match it.metadata() {
        Ok(data) if data.is_dir() => size(&it.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    });
    each.sum()
}

/// Where no disk is waited for.
fn directory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

#[test]
fn a_day_of_ordinary_traffic_takes_less_than_20_mb_in_the_default_mode() {
    let directory = directory();
    let interval = std::time::Duration::from_secs(10);
    let mut config = config(RecordMode::Unapproved);
    (config.path, config.sync) = (directory.path().join("store"), interval);
    let clock = FakeClock::at(BEGIN);
    let mut store = Store::open_at(&config, clock.clock()).unwrap();
    let metrics = metrics();
    let (queue, receiver, _shared) = store::queue(&metrics, 65_536);
    let outputs = Outputs::new(Arc::clone(&metrics), &config, queue, live::channel());
    let random = fastrand::Rng::with_seed(24);
    let mut day = Day { random, clock, outputs, live: vec![], flows: 0, added: 0, itemised: 0 };
    let (mut due, origin) = (Due::new(interval), Instant::now());
    for second in 0..DAY {
        day.second();
        if second.is_multiple_of(60) {
            day.minute();
        }
        let now = origin + std::time::Duration::from_secs(second);
        while let Ok(handed) = receiver.try_recv() {
            let Some(entry) = handed else { continue };
            due.took(&entry, now);
            store.append(&entry).unwrap();
        }
        if due.is_sync_due(now) {
            store.sync().unwrap();
            due.synced();
        } else if due.is_write_due(now) {
            store.write().unwrap();
            due.wrote();
        }
        day.clock.pass(std::time::Duration::from_secs(1));
    }
    let Day { mut outputs, clock, flows, added, itemised, .. } = day;
    outputs.flush(clock.now().wall());
    drop(outputs);
    while let Ok(handed) = receiver.try_recv() {
        if let Some(entry) = handed {
            store.append(&entry).unwrap();
        }
    }
    store.close().unwrap();

    let path = &config.path;
    let reader = crate::store::Reader::open(path).unwrap();
    let mut told = 0;
    let each = |rollup: Rollup| {
        told += rollup.flows;
        ControlFlow::Continue(())
    };
    reader.rollups(&Filter::default(), each).unwrap();
    let stats = reader.stats().unwrap();
    assert_eq!((told, stats.flows), (added, itemised), "of {flows} flows each is there");
    let trust = Trust { keys: own_keys(path).unwrap(), ..Trust::default() };
    let report = verify(path, &trust, &mut |_| {}).unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(report.checkpoints >= 24 * 4, "each quarter of an hour: {}", report.checkpoints);
    let [ledger, evidence, index] = ["ledger", "evidence", "index"].map(|it| size(&path.join(it)));
    let all = size(path);
    eprintln!(
        "{flows} flows, of which {itemised} one by one in {} states; {} sums; {} blocks, {} checkpoints: \
         ledger {ledger}, evidence {evidence}, index {index}, in all {all} bytes",
        stats.flow_states, stats.rollups, report.blocks, report.checkpoints
    );
    assert!(all < BYTES_MAX, "{all} bytes");
}
