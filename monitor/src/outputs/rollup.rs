//! Adds up flows that are not itemised, by hour, program, user, country, verdict and what it rests
//! on. Holds only what came since the last flush, in a bounded table; totals are never lost, only detail, and counted.

use std::{
    collections::HashMap,
    hash::BuildHasherDefault,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rustc_hash::FxHasher;

use super::{
    Sum,
    shares::{Holder, Shares},
};
use crate::{
    event::{Country, Process, Provenance, Record, Rollup, Timestamp, Traffic, User, Verdict},
    metrics::Metrics,
};

/// Most rows between two flushes; what comes beyond is added up without program and user.
pub const ROWS_MAX: usize = 16_384;
/// Program of the rows of those whose share has no room for its name; and, without a user, of those
/// for which the table has none.
pub const OVERFLOW_PROGRAM: &str = "(others)";
/// A power cut loses at most this much of the roll-ups.
pub const FLUSH_SECONDS: u64 = 60;
const FLUSH_NS: u64 = FLUSH_SECONDS * 1_000_000_000;
pub const STAGE: &str = "rollup";
/// The totals are kept, program and user are not.
pub const TABLE_FULL: &str = "table-full";
/// The totals are kept; the flow is not told by itself, since its user's share of the store is used up.
pub const SHARE: &str = "share";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    hour: Timestamp,
    program: Arc<str>,
    user: Option<User>,
    country: Country,
    verdict: Verdict,
    provenance: Option<Arc<Provenance>>,
}

#[derive(Debug)]
pub(super) struct RollupTable {
    metrics: Arc<Metrics>,
    rows: HashMap<Key, (u64, Traffic), BuildHasherDefault<FxHasher>>,
    nobody: Arc<str>,
    overflow: Arc<str>,
    /// By the boot clock, in nanoseconds: the wall clock may be set.
    flushed_at: u64,
    /// How often rows were taken.
    flushes: Arc<AtomicU64>,
}

impl RollupTable {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            rows: HashMap::default(),
            nobody: "".into(),
            overflow: OVERFLOW_PROGRAM.into(),
            flushed_at: 0,
            flushes: Arc::default(),
        }
    }

    /// A row that is not there yet is paid for out of `shares`, if it is to have a program.
    pub(super) fn add(
        &mut self,
        record: &Record,
        flows: u64,
        growth: Traffic,
        shares: &mut Shares,
    ) {
        if flows == 0 && growth.is_zero() {
            return;
        }
        let process = record.sender.process();
        let program = process.map(Process::program);
        let mut key = Key {
            hour: record.egress.last_at.hour(),
            program: program.unwrap_or_else(|| Arc::clone(&self.nobody)),
            user: process.map(|it| it.user.clone()),
            country: record.place.country,
            verdict: record.judgement.verdict,
            provenance: record.provenance.clone(),
        };
        let is_new = !self.rows.contains_key(&key);
        if is_new && !shares.pay_row(Holder::of(record), &key.program) {
            key.program = Arc::clone(&self.overflow);
        }
        self.add_row(key, flows, growth);
    }

    /// Of flows of which no more is known.
    pub(super) fn add_sum(&mut self, sum: Sum) {
        let key = Key {
            hour: sum.at.hour(),
            program: Arc::clone(if sum.user.is_some() { &self.overflow } else { &self.nobody }),
            user: sum.user,
            country: sum.place.country,
            verdict: sum.judgement.verdict,
            provenance: sum.provenance,
        };
        self.add_row(key, sum.flows, sum.traffic);
    }

    fn add_row(&mut self, mut key: Key, flows: u64, growth: Traffic) {
        let is_new = !self.rows.contains_key(&key);
        if is_new && self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&key) {
            self.metrics.events_lost_total.with_label_values(&[STAGE, TABLE_FULL]).inc();
            key.program = Arc::clone(&self.overflow);
            key.user = None;
        }
        let (all_flows, all_traffic) = self.rows.entry(key).or_default();
        *all_flows += flows;
        *all_traffic = all_traffic.plus(growth);
    }

    pub(super) fn is_due(&self, boot_ns: u64) -> bool {
        !self.rows.is_empty() && self.is_time(boot_ns)
    }

    pub(super) fn is_time(&self, boot_ns: u64) -> bool {
        boot_ns >= self.flushed_at.saturating_add(FLUSH_NS)
    }

    /// Counts how often rows were taken, each time before anybody else can see them.
    pub(super) fn flushes(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.flushes)
    }

    /// What came since rows were taken last.
    pub(super) fn rows(&self) -> Vec<Rollup> {
        self.rows.iter().map(|(key, sums)| rollup(key.clone(), *sums)).collect()
    }

    /// What came since the last call, in a stable order.
    pub(super) fn take(&mut self, boot_ns: u64) -> Vec<Rollup> {
        self.flushed_at = boot_ns;
        self.flushes.fetch_add(1, Ordering::SeqCst);
        let mut rows: Vec<Rollup> =
            self.rows.drain().map(|(key, sums)| rollup(key, sums)).collect();
        rows.sort_by(|a, b| (a.hour, &a.program, a.verdict).cmp(&(b.hour, &b.program, b.verdict)));
        rows
    }
}

fn rollup(key: Key, (flows, traffic): (u64, Traffic)) -> Rollup {
    Rollup {
        hour: key.hour,
        program: key.program,
        user: key.user,
        country: key.country,
        verdict: key.verdict,
        provenance: key.provenance,
        flows,
        traffic,
    }
}
