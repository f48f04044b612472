//! Where records go: metrics, roll-ups, the store's queue, the live stream. Called by the pipeline,
//! never waits: what an output cannot take is dropped and counted.

mod backlog;
mod due;
mod ledger;
pub mod live;
pub mod rollup;
mod shares;
pub mod store;
pub mod view;
pub mod writer;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
};

use crate::{
    config::{RecordMode, StoreConfig},
    event::{
        Attribution, Country, CountryCode, Entry, Judgement, Notice, Origin, Phase, Place,
        Provenance, Reason, Record, Timestamp, Traffic, Transport, User, Verdict,
    },
    metrics::{COUNTRY_LOCAL, COUNTRY_NONE, KnownLabels, Metrics, TRANSPORT_OTHER},
    store::STORE_EVENTS,
};
use rollup::RollupTable;
use shares::{Holder, Shares, Worth};
use store::StoreQueue;

/// The log is told again of the same user after so long.
const SHARE_WARNING_NS: u64 = 3_600_000_000_000;
/// Why a flow can be a violation, rules aside.
const OBJECTIONS: [Reason; 5] =
    [Reason::Country, Reason::Operator, Reason::Unlocated, Reason::Undetermined, Reason::Malformed];
/// Stage of the losses of lookups.
const LOOKUPS: &str = "lookups";

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

/// What a holder had no room for since it was told last.
#[derive(Clone, Copy, Debug, Default)]
struct Unpaid {
    flows: u64,
    attempts: u64,
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
    metrics: Arc<Metrics>,
    mode: RecordMode,
    rollups: RollupTable,
    store: StoreQueue,
    live: live::Sender,
    shares: Shares,
    /// By user; `None`: whoever has none.
    unpaid: BTreeMap<Option<u32>, Unpaid>,
    lookups_unpaid: u64,
    /// When the log was told of each, by the boot clock, so that it is not told of each again.
    warned: BTreeMap<Option<u32>, u64>,
    /// The boot clock at the last tick, in nanoseconds.
    now: u64,
}

impl Outputs {
    pub fn new(
        metrics: Arc<Metrics>,
        config: &StoreConfig,
        store: StoreQueue,
        live: live::Sender,
    ) -> Self {
        let rollups = RollupTable::new(Arc::clone(&metrics));
        Self {
            metrics,
            mode: config.record,
            rollups,
            store,
            live,
            shares: Shares::of(config),
            unpaid: BTreeMap::new(),
            lookups_unpaid: 0,
            warned: BTreeMap::new(),
            now: 0,
        }
    }

    /// After a reload.
    pub fn set_mode(&mut self, mode: RecordMode) {
        self.mode = mode;
    }

    /// Hands a new state of a flow to every output.
    ///
    /// `growth` is what came since the last call for this flow, of this or of [`Self::meter`]: each
    /// byte is told once. `is_new`: this is the first telling of the flow as sent; flows and
    /// violations are counted then. An attempt is never counted, whatever `is_new` says.
    /// `kept`: what the call before for this flow gave back.
    pub fn deliver(&mut self, record: Record, growth: Traffic, is_new: bool, kept: Kept) -> Kept {
        let begins = is_new && record.egress.phase == Phase::Sent;
        if begins {
            self.count_flow(&record);
            if record.is_violation() {
                self.count_violation(&record);
            }
        }
        self.count_growth(&record, growth);
        let kept = self.keep(&record, kept);
        if kept == Kept::Itemised {
            let record = Arc::new(record);
            live::send(&self.live, Arc::clone(&record));
            // Without listeners the record is ours alone and moves on uncopied.
            self.store.push(Entry::Flow(Arc::unwrap_or_clone(record)));
        } else {
            self.rollups.add(&record, u64::from(begins), growth, &mut self.shares);
            live::send(&self.live, Arc::new(record));
        }
        kept
    }

    /// Counts growth that is not worth a stored state of its own. What grew here is in the totals
    /// of the next state delivered, but not again in its `growth`.
    pub fn meter(&mut self, record: &Record, growth: Traffic, kept: Kept) {
        self.count_growth(record, growth);
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

    /// Counts flows that nobody knows one by one, and adds them to the roll-ups.
    pub fn add_up(&mut self, sum: Sum) {
        let verdict = sum.judgement.verdict.word();
        let country = country_label(&sum.place.country);
        let flows = &self.metrics.egress_flows_total;
        flows.with_label_values(&[verdict, country, TRANSPORT_OTHER]).inc_by(sum.flows);
        if sum.judgement.verdict == Verdict::Unapproved {
            let reason = sum.judgement.reason.to_string();
            let violations = &self.metrics.violations_total;
            violations.with_label_values(&[country, &reason]).inc_by(sum.flows);
        }
        let labels = [verdict, country];
        let Traffic { sent_bytes, sent_packets, .. } = sum.traffic;
        self.metrics.egress_bytes_total.with_label_values(&labels).inc_by(sent_bytes);
        self.metrics.egress_packets_total.with_label_values(&labels).inc_by(sent_packets);
        let user = sum.user.as_ref().map(|user| user.id);
        self.unpaid.entry(user).or_default().flows += sum.flows;
        self.rollups.add_sum(sum);
    }

    /// What a query is shown beside the ledger, with these flows.
    pub fn snapshot(&self, flows: Vec<Record>, left_out: u64) -> view::Snapshot {
        view::Snapshot {
            flows: flows.into(),
            rollups: self.rollups.rows(),
            left_out,
            handed: self.store.ask_to_write(),
            flushes: self.rollups.flushes().load(Ordering::SeqCst),
        }
    }

    /// Entries that the store's queue can take now.
    pub fn room(&self) -> usize {
        self.store.room()
    }

    /// Puts an entry that is no flow into the ledger.
    pub fn note(&mut self, entry: Entry) {
        if let Entry::Lookup(lookup) = &entry
            && !self.shares.pay_lookup(lookup)
        {
            self.lookups_unpaid += 1;
            self.metrics.events_lost_total.with_label_values(&[LOOKUPS, rollup::SHARE]).inc();
            return;
        }
        self.store.push(entry);
    }

    /// Appends the roll-ups that are due by the boot clock; cheap when none is. Call it about every
    /// second. `wall`: what the entries are stamped with.
    pub fn tick(&mut self, boot_ns: u64, wall: Timestamp) {
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
    pub fn close(&mut self) {
        self.store.close();
    }

    /// Appends all roll-ups, at the end. Once `self` is dropped, the store's writer writes the rest and
    /// ends.
    pub fn flush(&mut self, wall: Timestamp) {
        self.close();
        for entry in self.take_unpaid(wall) {
            self.store.push(entry);
        }
        for rollup in self.rollups.take(self.now) {
            self.store.push(Entry::Rollup(rollup));
        }
    }

    fn has_unpaid(&self) -> bool {
        !self.unpaid.is_empty() || self.lookups_unpaid > 0
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
        if let count @ 1.. = std::mem::take(&mut self.lookups_unpaid) {
            let (stage, reason) = (LOOKUPS.into(), rollup::SHARE.into());
            notices.push(Notice::Lost { stage, reason, count });
        }
        notices.into_iter().map(|notice| Entry::Notice { at, notice }).collect()
    }

    /// Whether a flow that is judged so is kept one by one.
    pub fn is_itemised(&self, judgement: &Judgement) -> bool {
        self.mode == RecordMode::All
            || matches!(judgement.verdict, Verdict::Unapproved | Verdict::Unknown)
    }

    fn count_flow(&self, record: &Record) {
        let verdict = record.judgement.verdict.word();
        let country = country_label(&record.place.country);
        let transport = transport_label(record.egress.transport);
        self.metrics.egress_flows_total.with_label_values(&[verdict, country, transport]).inc();
        let attribution = record.sender.attribution().word();
        self.metrics.attribution_total.with_label_values(&[attribution]).inc();
    }

    /// [`Self::deliver`] counts those that are violations from their first packet on.
    pub fn count_violation(&self, record: &Record) {
        let country = country_label(&record.place.country);
        let reason = record.judgement.reason.to_string();
        self.metrics.violations_total.with_label_values(&[country, &reason]).inc();
    }

    fn count_growth(&self, record: &Record, growth: Traffic) {
        if growth.sent_packets == 0 && growth.sent_bytes == 0 {
            return;
        }
        let labels = [record.judgement.verdict.word(), country_label(&record.place.country)];
        self.metrics.egress_bytes_total.with_label_values(&labels).inc_by(growth.sent_bytes);
        self.metrics.egress_packets_total.with_label_values(&labels).inc_by(growth.sent_packets);
        // What is forwarded, wrapped or the kernel's own has no process to be named.
        let is_passing =
            matches!(record.egress.origin, Origin::Forwarded | Origin::Tunnel | Origin::Kernel);
        if record.sender.attribution() == Attribution::None && !is_passing {
            let origin = record.egress.origin.word();
            let bytes = &self.metrics.unattributed_bytes_total;
            bytes.with_label_values(&[origin]).inc_by(growth.sent_bytes);
        }
    }
}

fn country_label(country: &Country) -> &str {
    match country {
        Country::Known(code) => code.as_str(),
        Country::Unlocated => COUNTRY_NONE,
        Country::Local => COUNTRY_LOCAL,
    }
}

fn transport_label(transport: Transport) -> &'static str {
    transport.name().unwrap_or(TRANSPORT_OTHER)
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
        losses: vec![
            loss(store::STAGE, store::QUEUE_FULL),
            loss(store::STAGE, store::UNWRITTEN),
            loss(store::STAGE, store::GAVE_WAY),
            loss(store::STAGE, store::Failure::Full.reason()),
            loss(store::STAGE, store::Failure::ReadOnly.reason()),
            loss(store::STAGE, store::Failure::Other.reason()),
            loss(rollup::STAGE, rollup::TABLE_FULL),
            loss(rollup::STAGE, rollup::SHARE),
            loss(LOOKUPS, rollup::SHARE),
            loss(live::STAGE, crate::api::SLOW_CLIENT),
        ],
        queues: vec![(store::STAGE.to_owned(), store::QUEUE_ENTRIES as u64)],
        store_events: STORE_EVENTS.map(str::to_owned).to_vec(),
        lacks: view::REASONS.map(str::to_owned).to_vec(),
        store_operations: store::OPERATIONS.map(str::to_owned).to_vec(),
        ..KnownLabels::default()
    }
}

fn words<T: std::fmt::Display>(all: &[T]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests;
