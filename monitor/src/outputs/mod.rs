//! Where records go: metrics, roll-ups, the store's queue, the live stream. Called by the pipeline,
//! never waits: what an output cannot take is dropped and counted.

mod backlog;
mod due;
mod entries;
mod ledger;
pub mod live;
pub mod log;
pub mod lost;
pub mod marking;
mod metrics;
mod noted;
pub mod rollup;
mod shares;
pub mod store;
mod top;
pub mod view;
pub mod writer;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use crate::{
    config::{RecordMode, Rule, StoreConfig},
    event::{
        Attribution, CountryCode, Entry, Judgement, Origin, Place, Provenance, Reason, Record,
        Timestamp, Traffic, Transport, User, Verdict,
    },
    metrics::{COUNTRY_NONE, KnownLabels, Metrics, TRANSPORT_OTHER},
    store::STORE_EVENTS,
};
use entries::Entries;
use metrics::Meters;
use store::StoreQueue;
use top::Top;

/// Why a flow can be a violation, rules aside.
const OBJECTIONS: [Reason; 5] =
    [Reason::Country, Reason::Operator, Reason::Unlocated, Reason::Undetermined, Reason::Malformed];
/// Violations that are to be at 0 once these rules are in force. Where a rule names no country, any of all
/// can be: their series begin with their violation.
pub fn violations_of(rules: &[Rule]) -> impl Iterator<Item = (String, String)> {
    rules.iter().filter(|rule| !rule.allow).flat_map(|rule| {
        let reason = Reason::Rule(Arc::clone(&rule.name)).to_string();
        let named = rule.country.iter().map(ToString::to_string);
        named.chain([COUNTRY_NONE.to_owned()]).map(move |country| (country, reason.clone()))
    })
}

/// Stage of the losses of lookups.
const LOOKUPS: &str = "lookups";

/// Somewhere records go besides the ledger. It never waits: what it has no room for, it drops and counts
/// under a stage of its own.
pub trait Output: fmt::Debug + Send {
    /// A new state of a flow.
    fn deliver(&mut self, told: &Delivery);

    /// Growth that is not worth a state. It is in the totals of the next state, and not in its growth.
    fn meter(&mut self, _record: &Record, _growth: Traffic) {}

    /// Flows that have no records of their own.
    fn add_up(&mut self, _sum: &Sum) {}

    /// About every second, by the boot clock.
    fn tick(&mut self, _boot_ns: u64) {}

    /// The end has come.
    fn flush(&mut self) {}
}

/// A new state of a flow, and what is news of it.
#[derive(Debug)]
pub struct Delivery {
    pub record: Arc<Record>,
    /// What came since the last state, or was metered since: each byte is told once.
    pub growth: Traffic,
    /// It is the first state, and the flow has not sent.
    pub attempts: bool,
    /// It is the first state in which the flow has sent.
    pub begins: bool,
    /// It is the first in which it is a violation.
    pub violates: bool,
}

/// How a flow is in the ledger. It decides once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kept {
    /// Added up, for what it was judged; told one by one once it is judged otherwise.
    #[default]
    Added,
    /// Added up to its end, for want of room in the share of its user.
    Unpaid,
    /// One by one to its end: else its last state there would be an old one.
    Itemised,
}

/// Flows that nobody knows one by one.
#[derive(Debug)]
pub struct Sum {
    pub at: Timestamp,
    pub user: Option<User>,
    pub place: Place,
    pub judgement: Judgement,
    pub provenance: Option<Arc<Provenance>>,
    pub flows: u64,
    pub traffic: Traffic,
}

/// The outputs of one pipeline.
#[derive(Debug)]
pub struct Outputs {
    entries: Entries,
    others: Vec<Box<dyn Output>>,
}

impl Outputs {
    pub fn new(
        metrics: Arc<Metrics>,
        config: &StoreConfig,
        store: StoreQueue,
        live: live::Sender,
    ) -> Self {
        let others: Vec<Box<dyn Output>> =
            vec![Box::new(Meters::new(Arc::clone(&metrics))), Box::new(live::Stream(live))];
        metrics.store_max_bytes.set(config.max_bytes.cast_signed());
        metrics.store_retention_seconds.set(config.retention.as_secs().cast_signed());
        Self { entries: Entries::new(metrics, config, store), others }
    }

    /// So many units and operators have a series of their own; with 0 there are none.
    pub fn counting_top(mut self, most: u32, metrics: &Metrics) -> Self {
        if most > 0 {
            self.others.push(Box::new(Top::new(most as usize, metrics)));
        }
        self
    }

    /// Violations have lines of the log, as is wanted.
    pub fn logging(mut self, wanted: log::Wanted, metrics: &Metrics) -> Self {
        self.others.push(Box::new(log::Log::new(wanted, metrics)));
        self
    }

    /// After a reload.
    pub fn set_mode(&mut self, mode: RecordMode) {
        self.entries.mode = mode;
    }

    /// Hands a new state of a flow to every output. `kept`: what the call before for this flow gave back.
    pub fn deliver(&mut self, told: Delivery, kept: Kept) -> Kept {
        for output in &mut self.others {
            output.deliver(&told);
        }
        self.entries.deliver(told, kept)
    }

    pub fn meter(&mut self, record: &Record, growth: Traffic, kept: Kept) {
        for output in &mut self.others {
            output.meter(record, growth);
        }
        self.entries.meter(record, growth, kept);
    }

    pub fn add_up(&mut self, sum: Sum) {
        for output in &mut self.others {
            output.add_up(&sum);
        }
        self.entries.add_up(sum);
    }

    /// What a query is shown beside the ledger, with these flows.
    pub fn snapshot(&self, flows: Vec<Record>, left_out: u64) -> view::Snapshot {
        self.entries.snapshot(flows, left_out)
    }

    /// How far the store is, and how often roll-ups were handed to it.
    fn progress(&self) -> (store::Progress, Arc<AtomicU64>) {
        self.entries.progress()
    }

    /// By which somebody puts a notice into the ledger and waits for it.
    pub fn noter(&self) -> noted::Noter {
        self.entries.noter()
    }

    /// Entries that the store's queue can take now.
    pub fn room(&self) -> usize {
        self.entries.room()
    }

    /// Puts an entry that is no flow into the ledger.
    pub fn note(&mut self, entry: Entry) {
        self.entries.note(entry);
    }

    /// Appends the roll-ups that are due by the boot clock; cheap when none is. Call it about every
    /// second. `wall`: what the entries are stamped with.
    pub fn tick(&mut self, boot_ns: u64, wall: Timestamp) {
        for output in &mut self.others {
            output.tick(boot_ns);
        }
        self.entries.tick(boot_ns, wall);
    }

    /// The end has come, and nothing else is kept waiting: what is delivered from here on waits a while
    /// for room in a full queue.
    pub fn close(&mut self) {
        self.entries.close();
    }

    /// Appends all roll-ups, at the end. Once `self` is dropped, the store's writer writes the rest and
    /// ends.
    pub fn flush(&mut self, wall: Timestamp) {
        for output in &mut self.others {
            output.flush();
        }
        self.entries.flush(wall);
    }

    /// Whether a flow that is judged so is kept one by one.
    pub fn is_itemised(&self, judgement: &Judgement) -> bool {
        self.entries.is_itemised(judgement)
    }
}

/// The label values that this module knows. `countries`: those whose violations are to be at 0 from
/// the start, whatever the policy of the day. The caller adds the losses of its own stages, probes and maps.
pub fn known_labels(countries: &[CountryCode]) -> KnownLabels {
    let named = Transport::NAMED.iter().map(|(_, name)| (*name).to_owned());
    // An approved country can be objected to by its operator, or by the second database; and an
    // address of no country by either.
    let places = countries.iter().map(ToString::to_string).chain([COUNTRY_NONE.to_owned()]);
    let violations =
        places.flat_map(|place| OBJECTIONS.map(|reason| (place.clone(), reason.to_string())));
    let loss = |stage: &str, reason: &str| (stage.to_owned(), reason.to_owned());
    KnownLabels {
        verdicts: words(Verdict::ALL),
        transports: named.chain([TRANSPORT_OTHER.to_owned()]).collect(),
        attributions: words(Attribution::ALL),
        origins: words(Origin::ALL),
        violations: violations.collect(),
        losses: [store::STAGE, lost::NOTICES]
            .into_iter()
            .flat_map(|stage| store::losses().map(move |reason| loss(stage, reason)))
            .chain([
                loss(rollup::STAGE, rollup::TABLE_FULL),
                loss(rollup::STAGE, rollup::SHARE),
                loss(LOOKUPS, rollup::SHARE),
                loss(live::STAGE, crate::api::SLOW_CLIENT),
            ])
            .collect(),
        queues: vec![(store::STAGE.to_owned(), store::QUEUE_ENTRIES as u64)],
        store_events: STORE_EVENTS.map(str::to_owned).to_vec(),
        lacks: view::REASONS.map(str::to_owned).to_vec(),
        store_operations: store::OPERATIONS.map(str::to_owned).to_vec(),
        ..KnownLabels::default()
    }
}

fn words<T: fmt::Display>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests;
