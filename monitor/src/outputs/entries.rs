//! From states of flows to entries of the ledger: one by one or added up, by the policy's verdict and at the
//! expense of whose they are. Counts no flow and listens to nobody.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    Delivery, Kept, LOOKUPS, Sum,
    noted::Noter,
    rollup,
    rollup::RollupTable,
    shares::{Holder, Shares, Worth},
    store::{Progress, StoreQueue},
    view,
};
use crate::{
    config::{RecordMode, StoreConfig},
    event::{Entry, Judgement, Notice, Phase, Record, Timestamp, Traffic, Verdict},
    metrics::Metrics,
};

/// The log is told again of the same user after so long.
const SHARE_WARNING_NS: u64 = 3_600_000_000_000;

/// What a holder had no room for since it was told last.
#[derive(Clone, Copy, Debug, Default)]
struct Unpaid {
    flows: u64,
    attempts: u64,
}

#[derive(Debug)]
pub(super) struct Entries {
    metrics: Arc<Metrics>,
    pub(super) mode: RecordMode,
    pub(super) rollups: RollupTable,
    pub(super) store: StoreQueue,
    pub(super) shares: Shares,
    /// By user; `None`: whoever has none.
    unpaid: BTreeMap<Option<u32>, Unpaid>,
    /// How many, and when the first was.
    lookups_unpaid: (u64, Option<Timestamp>),
    /// When the log was told of each, by the boot clock, so that it is not told of each again.
    warned: BTreeMap<Option<u32>, u64>,
    /// The boot clock at the last tick, in nanoseconds.
    now: u64,
}

impl Entries {
    pub(super) fn new(metrics: Arc<Metrics>, config: &StoreConfig, store: StoreQueue) -> Self {
        Self {
            mode: config.record,
            rollups: RollupTable::new(Arc::clone(&metrics)),
            metrics,
            store,
            shares: Shares::of(config),
            unpaid: BTreeMap::new(),
            lookups_unpaid: (0, None),
            warned: BTreeMap::new(),
            now: 0,
        }
    }

    pub(super) fn deliver(&mut self, told: Delivery, kept: Kept) -> Kept {
        let kept = self.keep(&told.record, kept);
        if kept == Kept::Itemised {
            // Where no other output holds it, it is ours alone and moves on uncopied.
            self.store.push(Entry::Flow(Arc::unwrap_or_clone(told.record)));
        } else {
            let flows = u64::from(told.begins);
            self.rollups.add(&told.record, flows, told.growth, &mut self.shares);
        }
        kept
    }

    pub(super) fn meter(&mut self, record: &Record, growth: Traffic, kept: Kept) {
        let is_added = match kept {
            Kept::Itemised => false,
            Kept::Unpaid => true,
            Kept::Added => !self.is_itemised(&record.judgement),
        };
        if is_added {
            self.rollups.add(record, 0, growth, &mut self.shares);
        }
    }

    /// Decides where a flow goes, and lets its user pay for it.
    fn keep(&mut self, record: &Record, kept: Kept) -> Kept {
        match kept {
            Kept::Itemised => {
                self.shares.charge(record);
                Kept::Itemised
            }
            Kept::Unpaid => Kept::Unpaid,
            Kept::Added if !self.is_itemised(&record.judgement) => Kept::Added,
            Kept::Added if self.shares.pay(record, Worth::of(record)) => Kept::Itemised,
            Kept::Added => {
                self.miss(record);
                Kept::Unpaid
            }
        }
    }

    /// Counts a flow that has no place of its own.
    fn miss(&mut self, record: &Record) {
        let labels = [rollup::STAGE, rollup::SHARE];
        self.metrics.events_lost_total.with_label_values(&labels).inc();
        let unpaid = self.unpaid.entry(Holder::of(record).user_id()).or_default();
        match record.egress.phase {
            Phase::Sent => unpaid.flows += 1,
            Phase::Attempt => unpaid.attempts += 1,
        }
    }

    pub(super) fn add_up(&mut self, sum: Sum) {
        let user = sum.user.as_ref().map(|user| user.id);
        self.unpaid.entry(user).or_default().flows += sum.flows;
        self.rollups.add_sum(sum);
    }

    pub(super) fn progress(&self) -> (Progress, Arc<AtomicU64>) {
        (self.store.progress(), self.rollups.flushes())
    }

    /// What a query is shown beside the ledger, with these flows.
    pub(super) fn snapshot(&self, flows: Vec<Record>, left_out: u64) -> view::Snapshot {
        view::Snapshot {
            flows: flows.into(),
            rollups: self.rollups.rows(),
            left_out,
            handed: self.store.ask_to_write(),
            flushes: self.rollups.flushes().load(Ordering::SeqCst),
        }
    }

    pub(super) fn noter(&self) -> Noter {
        Noter::of(&self.store)
    }

    /// Entries that the store's queue can take now.
    pub(super) fn room(&self) -> usize {
        self.store.room()
    }

    /// Puts an entry that is no flow into the ledger.
    pub(super) fn note(&mut self, entry: Entry) {
        if let Entry::Lookup(lookup) = &entry
            && !self.shares.pay_lookup(lookup)
        {
            let (count, since) = &mut self.lookups_unpaid;
            *count += 1;
            *since = Some(since.map_or(lookup.at, |since| since.min(lookup.at)));
            self.metrics.events_lost_total.with_label_values(&[LOOKUPS, rollup::SHARE]).inc();
            return;
        }
        self.store.push(entry);
    }

    /// Appends the roll-ups that are due by the boot clock; cheap when none is. Call it about every
    /// second. `wall`: what the entries are stamped with.
    pub(super) fn tick(&mut self, boot_ns: u64, wall: Timestamp) {
        self.now = boot_ns;
        self.shares.tick(boot_ns);
        // What adds up waits where it does.
        if self.store.is_failing() {
            return;
        }
        if self.rollups.is_due(boot_ns) || self.has_unpaid() && self.rollups.is_time(boot_ns) {
            for entry in self.take_unpaid(wall) {
                self.store.push(entry);
            }
            for rollup in self.rollups.take(boot_ns) {
                self.store.push(Entry::Rollup(rollup));
            }
        }
    }

    /// The end has come, and nothing else is kept waiting: what is delivered from here on waits a while
    /// for room in a full queue.
    pub(super) fn close(&mut self) {
        self.store.close();
    }

    /// Appends all roll-ups, at the end. Once `self` is dropped, the store's writer writes the rest and
    /// ends.
    pub(super) fn flush(&mut self, wall: Timestamp) {
        self.close();
        for entry in self.take_unpaid(wall) {
            self.store.push(entry);
        }
        for rollup in self.rollups.take(self.now) {
            self.store.push(Entry::Rollup(rollup));
        }
    }

    fn has_unpaid(&self) -> bool {
        !self.unpaid.is_empty() || self.lookups_unpaid.0 > 0
    }

    /// Tells the ledger, and now and then the log, whose flows are only added up.
    fn take_unpaid(&mut self, at: Timestamp) -> Vec<Entry> {
        let now = self.now;
        self.warned.retain(|_, warned| now < *warned + SHARE_WARNING_NS);
        let mut notices = Vec::new();
        for (user, Unpaid { flows, attempts }) in std::mem::take(&mut self.unpaid) {
            if self.warned.insert(user, *self.warned.get(&user).unwrap_or(&now)).is_none() {
                let who = user.map_or("what has no user".to_owned(), |id| format!("user {id}"));
                tracing::warn!(
                    "{who} used up a share of the store or of the probes' tables: further flows are \
                     added up by country and verdict; [store] max_size and [capture] max_flows make \
                     shares larger"
                );
            }
            notices.push(Notice::AddedUp { user, flows, attempts });
        }
        if let (count @ 1.., since) = std::mem::take(&mut self.lookups_unpaid) {
            let (stage, reason) = (LOOKUPS.into(), rollup::SHARE.into());
            notices.push(Notice::Lost { stage, reason, count, since });
        }
        notices.into_iter().map(|notice| Entry::Notice { at, notice }).collect()
    }

    /// Whether a flow that is judged so is kept one by one.
    pub(super) fn is_itemised(&self, judgement: &Judgement) -> bool {
        self.mode == RecordMode::All
            || matches!(judgement.verdict, Verdict::Unapproved | Verdict::Unknown)
    }
}
