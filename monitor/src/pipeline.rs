//! The pipeline: one function, single-threaded and synchronous, which owns its state and takes no
//! locks. Samples come in at one end, records leave at the other; nothing flows back.

mod bypass;
mod changed;
mod clock;
mod confirm;
mod deliver;
mod digests;
mod losses;
mod probes;
mod rename;
mod senders;
mod unitemised;
mod untold;
mod via;

use std::{net::IpAddr, sync::Arc};

use monitor_ebpf::{
    loss::Loss,
    places::UNASKED,
    sample::{EgressSample, FlowCounters, FlowKey, SocketEndSample, flags, path, phase},
};

use self::{
    bypass::Bypasses, changed::Changed, deliver::deliver, probes::Broken, senders::asked_for,
    unitemised::Sums,
};
pub use self::{probes::DETACHED, unitemised::SHARE};
use crate::{
    attribute::{self, Clock, Processes},
    clock::Steps,
    config::{Policy, RecordMode},
    decode::{Sample, decode, verdict},
    event::{
        Country, DatabaseId, Egress, Entry, Judgement, Lookup, Mac, Notice, Origin, Passage, Phase,
        Place, Provenance, Reason, Sender, ServerName, Timeline, Timestamp, Transport, Verdict,
        Way,
    },
    judge::{judge, judge_place},
    locate::{ClassRow, Locator},
    metrics::{CLASSIFIED_BY_DAEMON, CLASSIFIED_BY_KERNEL, Metrics},
    names::{self, Learned, NameSample, Names, Resolvers, dns::Question},
    outputs::{Kept, Outputs},
    probe::{self, ProbeError, Source},
    track::{self, Due, Flows, Observed, has_addresses, remote},
};

/// `stage` of what the probes lose.
pub const STAGE: &str = "probe";

/// What verdicts rest on; swapped as a whole.
#[derive(Debug)]
pub struct Rules {
    pub policy: Policy,
    pub locator: Locator,
    /// As records carry it.
    provenance: Arc<Provenance>,
    /// How samples name the tables that the probes have of these rules; 0: they have none.
    pub generation: u32,
}

impl Rules {
    pub fn new(policy: Policy, locator: Locator) -> Self {
        let databases = locator.databases().iter().map(|database| DatabaseId {
            label: database.label.into(),
            name: database.name.as_str().into(),
            dated: database.built_at,
            sha256: database.sha256,
        });
        let databases = databases.collect();
        let provenance = Arc::new(Provenance { policy_sha256: policy.sha256, databases });
        Self { policy, locator, provenance, generation: 0 }
    }

    /// The verdict on each class of addresses, without the policy's rules: for the probes. They say
    /// nothing of the first class, which is all that the tables can't tell.
    pub fn verdicts(&self) -> Vec<Option<Verdict>> {
        let classes = self.locator.image().classes().iter().enumerate();
        let verdict = |class: &ClassRow| judge_place(&self.policy, &class.place()).verdict;
        let verdicts =
            classes.map(|(at, class)| (at != usize::from(UNASKED)).then(|| verdict(class)));
        verdicts.collect()
    }

    /// The class that the probes found for a new flow, if it is of these rules.
    fn class(&self, sample: &EgressSample) -> Option<u16> {
        let is_ours = sample.generation == self.generation && self.generation != 0;
        (is_ours && sample.class != UNASKED && has_addresses(sample.path)).then_some(sample.class)
    }

    fn locate(&self, class: Option<u16>, egress: &Egress) -> Place {
        if egress.passage.way == Way::Loopback {
            return Place { country: Country::Local, ..Place::unknown() };
        }
        match (egress.remote, class) {
            (Some(remote), Some(class)) => self.locator.locate_in(class, remote.ip()),
            (Some(remote), None) => self.locator.locate(remote.ip()),
            (None, _) => Place::unknown(),
        }
    }

    pub fn provenance(&self) -> &Arc<Provenance> {
        &self.provenance
    }
}

/// What was found out about a flow, and by which rules: their mark alone, since they hold a whole
/// image, and a silent flow can be hours old.
#[derive(Debug)]
struct Details {
    sender: Sender,
    place: Place,
    judgement: Judgement,
    /// As records tell it.
    verdict_now: Option<Verdict>,
    provenance: Arc<Provenance>,
    /// By which its start is told; one for all that began by it.
    timeline: Option<Arc<Timeline>>,
    kept: Kept,
    /// It was counted as a violation, which is done once.
    is_counted: bool,
    /// It was told of this very process that it sends on the connection.
    is_sender_known: bool,
}

#[derive(Debug)]
pub struct Pipeline {
    processes: Processes,
    names: Names,
    flows: Flows<Details>,
    rules: Arc<Rules>,
    outputs: Outputs,
    metrics: Arc<Metrics>,
    interfaces: probe::Names,
    /// Questions to resolvers are records of their own.
    tells_lookups: bool,
    names_told: names::Counters,
    unattributed_told: u64,
    bypasses: Bypasses,
    broken: Broken,
    sums: Sums,
    /// By which times are told now.
    timeline: Option<Arc<Timeline>>,
    steps: Steps,
    /// Samples found missing since the last sweep.
    missing: u64,
    losses_told: [u64; Loss::ALL.len()],
    digests_lost_told: [u64; attribute::digests::REASONS.len()],
    /// Processes with their digests, since the last sweep.
    digested: Changed,
}

impl Pipeline {
    /// `capacity`: flows the source can count. `wall_offset_ns`: wall clock less the source's.
    pub fn new(
        processes: Processes,
        rules: Arc<Rules>,
        outputs: Outputs,
        metrics: Arc<Metrics>,
        capacity: u32,
        wall_offset_ns: i64,
    ) -> Self {
        let mut processes = processes;
        processes.set_rule_paths(&rules.policy.rule_paths());
        let flows = Flows::new(capacity, wall_offset_ns);
        let losses_told = [0; Loss::ALL.len()];
        Self {
            processes,
            names: Names::default(),
            flows,
            rules,
            outputs,
            metrics,
            interfaces: probe::Names::default(),
            tells_lookups: false,
            names_told: names::Counters::default(),
            unattributed_told: 0,
            bypasses: Bypasses::default(),
            broken: Broken::default(),
            sums: Sums::default(),
            timeline: None,
            steps: Steps::default(),
            missing: 0,
            losses_told,
            digests_lost_told: [0; attribute::digests::REASONS.len()],
            digested: Changed::default(),
        }
    }

    /// Makes each question to a resolver, and its answer, a record of its own.
    pub fn tell_lookups(&mut self) {
        self.tells_lookups = true;
    }

    /// Whose answers may satisfy a rule that allows.
    pub fn trust(&mut self, resolvers: Resolvers) {
        self.names.trust(resolvers);
        self.flows.set_namespace(self.names.namespace());
    }

    /// New rules, for flows that begin and for live ones when they are told again.
    pub fn adopt(&mut self, rules: Arc<Rules>, mode: RecordMode) {
        self.processes.set_rule_paths(&rules.policy.rule_paths());
        self.rename_files();
        self.rules = rules;
        self.outputs.set_mode(mode);
    }

    /// The names of interfaces, before the samples that need them.
    pub fn set_interfaces(&mut self, names: probe::Names) {
        self.interfaces = names;
    }

    /// Takes in one sample.
    pub fn accept(&mut self, bytes: &[u8]) {
        match decode(bytes) {
            Ok(Sample::Exec(exec)) => {
                self.processes.learn_exec(&exec);
                self.correct(exec.process.executed_ns);
            }
            Ok(Sample::Fork(fork)) => self.processes.learn_fork(&fork),
            Ok(Sample::Exit(exit)) => self.processes.forget(&exit),
            Ok(Sample::SocketEnd(end)) => self.close(&end),
            Ok(Sample::Egress(egress)) => self.egress(&egress),
            Ok(Sample::Name(sample)) => self.name(&sample),
            Ok(Sample::Sender(sender)) => self.sent_by(&sender),
            Err(error) => {
                self.metrics.decode_errors_total.with_label_values(&[error.reason()]).inc();
            }
        }
    }

    fn close(&mut self, end: &SocketEndSample) {
        self.names.end(end.cookie);
        self.tell_unread(end.at_ns);
        self.flows.close(end.cookie);
        for (flow, sender) in self.processes.closed(end) {
            self.learn_sender(&flow, sender, end.at_ns);
        }
    }

    fn egress(&mut self, sample: &EgressSample) {
        match self.flows.observe(sample) {
            Observed::Known => {}
            Observed::NowSent(flow) => {
                // One process connected, or was when it did, another may send.
                self.attribute_again(&flow, sample);
                if sample.path == path::LOOPBACK {
                    self.judge_again(&flow);
                }
                self.tell(&flow, sample.at_ns);
            }
            Observed::Sends(flow) => self.attribute_again(&flow, sample),
            Observed::Leaves(flow) => {
                self.judge_again(&flow);
                self.tell(&flow, sample.at_ns);
            }
            Observed::Accepted(flow) => self.learn_accepted(&flow, sample),
            Observed::Found(flow) => self.learn_flow(&flow, sample),
            Observed::New => self.begin(sample),
        }
    }

    fn begin(&mut self, sample: &EgressSample) {
        self.supersede(sample);
        let (origin, sender) = self.processes.attribute(sample);
        if self.names.wants_namespace() && self.processes.is_of_host(&sender) {
            self.names.learn_namespace(sample.owner.netns_cookie);
            self.flows.set_namespace(self.names.namespace());
        }
        self.add(sample, origin, sender);
    }

    fn add(&mut self, sample: &EgressSample, origin: Origin, sender: Sender) {
        let egress = self.flows.state(sample, origin);
        self.enter(sample, egress, sender);
    }

    /// No sample tells of a flow that is counted: who sends it is not known.
    fn begin_orphan(&mut self, flow: FlowKey, counters: &FlowCounters) {
        let sample = EgressSample {
            phase: if counters.sent_packets > 0 { phase::SENT } else { phase::ATTEMPT },
            at_ns: counters.first_ns,
            flow,
            sent_bytes: counters.sent_bytes,
            sent_packets: counters.sent_packets,
            path: counters.path,
            ..EgressSample::default()
        };
        if self.flows.lose(&sample) == Observed::New {
            let origin = Processes::unknown(counters.path);
            let egress = Egress { local: None, ..self.flows.state(&sample, origin) };
            self.enter(&sample, egress, Sender::Nobody);
            self.flows.orphan(&flow);
        } else {
            self.tell(&flow, counters.last_ns);
        }
    }

    /// Whose its listener is was not known: the connection itself may say more.
    fn learn_accepted(&mut self, flow: &FlowKey, sample: &EgressSample) {
        self.processes.accepted(sample);
        let known = self.flows.look(flow);
        if known.is_some_and(|(_, _, details)| details.sender == Sender::Nobody)
            && let (_, sender @ Sender::Process { .. }) = self.processes.attribute(sample)
        {
            self.learn_sender(flow, sender, sample.at_ns);
        }
    }

    /// A flow was begun by its counters; now its sample has come.
    fn learn_flow(&mut self, flow: &FlowKey, sample: &EgressSample) {
        let (origin, sender) = self.processes.attribute(sample);
        self.flows.correct(flow, origin, self.passage(sample));
        if let Some((egress, _, details)) = self.flows.look(flow) {
            let named = match egress.remote {
                Some(remote) if origin != Origin::Accepted => self.names.name(sample, remote.ip()),
                _ => None,
            };
            let domain = details.place.domain.take();
            details.place.domain = asked_for(sample, named.or(domain));
            details.sender = sender;
            let way = egress.passage.way;
            details.place.via = via::via(sample).map(|to| self.rules.via(to, way));
            details.renew(&self.rules, egress);
            let is_sent = egress.phase == Phase::Sent;
            if is_sent {
                self.tell(flow, sample.at_ns);
            }
        }
    }

    fn enter(&mut self, sample: &EgressSample, mut egress: Egress, sender: Sender) {
        let origin = egress.origin;
        egress.passage = self.passage(sample);
        let class = self.rules.class(sample);
        let mut place = self.rules.locate(class, &egress);
        place.via = via::via(sample).map(|to| self.rules.via(to, egress.passage.way));
        // Who came to this host asked for no name of his own.
        if origin != Origin::Accepted
            && let Some(remote) = egress.remote
        {
            place.domain = asked_for(sample, self.names.name(sample, remote.ip()));
        }
        let judgement = judge(&self.rules.policy, &egress, &sender, &place);
        self.count_class(sample, class, &judgement);
        let is_sent = egress.phase == Phase::Sent;
        // Nothing more will be known of one that nobody counts.
        let is_uncounted = egress.passage.is_uncounted;
        if is_uncounted {
            egress.ended_at = Some(egress.last_at);
        }
        let is_last = is_uncounted || self.flows.is_crowded(sample);
        let provenance = Arc::clone(self.rules.provenance());
        let (kept, is_counted) = (Kept::default(), false);
        let is_sender_known = false;
        let timeline = self.timeline.clone();
        let mut details = Details {
            sender,
            place,
            judgement,
            verdict_now: None,
            provenance,
            timeline,
            kept,
            is_counted,
            is_sender_known,
        };
        self.ask_digest(&mut details.sender, &details.judgement);
        // One that waits for its digest is told by a sweep, if that does not come first.
        let is_ready = !self.waits_for_digest(&details.sender);
        self.flows.add(sample, egress, details);
        if is_last || is_sent && is_ready {
            self.tell(&sample.flow, sample.at_ns);
        }
        if is_last {
            self.flows.retire(&sample.flow);
        }
    }

    /// The probes judge a class as this program judges its places: it is the same code.
    fn count_class(&self, sample: &EgressSample, class: Option<u16>, judgement: &Judgement) {
        // That verdict is on the address alone.
        let class = class.filter(|_| sample.flow.malformed == 0 && sample.flow.via == 0);
        let by = if class.is_some() { CLASSIFIED_BY_KERNEL } else { CLASSIFIED_BY_DAEMON };
        self.metrics.classified_flows_total.with_label_values(&[by]).inc();
        let is_by_rule = matches!(judgement.reason, Reason::Rule(_));
        if class.is_some() && !is_by_rule && verdict(sample.verdict) != Some(judgement.verdict) {
            tracing::debug!("the probes' verdict on class {:?} is another", class);
            self.metrics.verdict_disagreements_total.inc();
        }
    }

    fn name(&mut self, sample: &NameSample) {
        let (flow, at_ns) = (&sample.head.flow, sample.head.at_ns);
        for learned in self.names.learn(sample) {
            match learned {
                Learned::Said(said) => self.rename(flow, said, at_ns),
                Learned::Asked(question) => self.tell_lookup(sample, question, None),
                Learned::Answered(answer) => {
                    self.tell_lookup(sample, answer.question, Some(answer.addresses));
                }
            }
        }
        self.tell_unread(at_ns);
    }

    /// Flows whose own names could not be read.
    fn tell_unread(&mut self, now_ns: u64) {
        for flow in self.names.take_unread() {
            self.rename(&flow, ServerName::Undetermined, now_ns);
        }
    }

    /// A flow says itself where it goes, and is judged by that too from now on.
    fn rename(&mut self, flow: &FlowKey, said: ServerName, now_ns: u64) {
        let Some((egress, is_told, details)) = self.flows.look(flow) else { return };
        let is_news = details.say(said, &self.rules, egress);
        if is_news && is_told {
            self.tell(flow, now_ns);
        }
    }

    fn tell_lookup(
        &mut self,
        sample: &NameSample,
        question: Question,
        answer: Option<Vec<IpAddr>>,
    ) {
        if !self.tells_lookups {
            return;
        }
        let at = self.flows.wall(sample.head.at_ns);
        let flow = &sample.head.flow;
        let known = self.flows.look(flow);
        let sender = known.map_or(Sender::Nobody, |(_, _, details)| details.sender.clone());
        self.outputs.note(Entry::Lookup(Lookup {
            at,
            sender,
            server: remote(flow),
            transport: Transport(flow.transport),
            name: question.name,
            kind: question.kind,
            answer,
        }));
    }

    fn passage(&self, sample: &EgressSample) -> Passage {
        let name = |index| self.interfaces.get(&index).cloned();
        Passage {
            mac: (sample.mac != [0; 6]).then_some(Mac(sample.mac)),
            from: name(sample.from_ifindex),
            by: name(sample.ifindex),
            ethertype: ethertype(sample),
            is_uncounted: sample.flags & flags::UNCOUNTED != 0,
            is_malformed: sample.flow.malformed != 0 || via::is_untold(sample),
            way: match sample.path {
                path::LOOPBACK => Way::Loopback,
                // Nobody can note at an entry that is not there that an interface was given it.
                path::SOCKET if sample.flags & flags::UNCOUNTED != 0 => Way::Unconfirmed,
                _ => Way::Confirmed,
            },
        }
    }

    fn tell(&mut self, flow: &FlowKey, now_ns: u64) {
        if let Some((telling, details)) = self.flows.tell(flow, now_ns) {
            deliver(&mut self.outputs, &self.rules, telling, details);
        }
    }

    /// Reads the counters of every flow, tells what grew and what ended, and makes room. `false` if
    /// the outputs had no room for all that was due: sweep again soon.
    pub fn sweep(
        &mut self,
        source: &mut dyn Source,
        wall_offset_ns: i64,
    ) -> Result<bool, ProbeError> {
        self.flows.set_wall_offset(wall_offset_ns);
        let wall_at_boot_ns = u64::try_from(wall_offset_ns).unwrap_or(0);
        self.processes.set_clock(Clock { wall_at_boot_ns });
        let now = source.now_ns();
        self.flows.begin_sweep(source.progress());
        self.count(source, now)?;
        let missing = std::mem::take(&mut self.missing);
        self.learn_digests(now);
        for (flow, sender) in self.processes.ask_again(now) {
            self.learn_sender(&flow, sender, now);
        }
        self.tell_bypassed(source, now);
        self.tell_probes(source, now);
        let (outputs, rules) = (&mut self.outputs, &self.rules);
        // New flows have the other half of the queue.
        let room = outputs.room() / 2;
        let settled = self.flows.settle(now, room, |due, details| match due {
            Due::Tell(telling) => deliver(outputs, rules, telling, details),
            Due::Meter(egress, growth) => {
                outputs.meter(&details.record(egress.clone()), growth, details.kept);
            }
        });
        source.forget(&settled.over)?;
        self.bypasses.forget(&settled.over);
        self.processes.expire(now);
        self.names.expire(now);
        self.tell_unread(now);
        self.count_names();
        self.count_attribution();
        let wall = Timestamp(now.saturating_add_signed(wall_offset_ns));
        self.count_lost(track::STAGE, track::SAMPLE_MISSING, missing, wall);
        self.count_losses(source.losses()?, wall);
        self.tell_unitemised(source, wall);
        self.count_unattributed(source.unattributed_bytes());
        self.count_no_losses(source)?;
        self.outputs.tick(now, wall);
        Ok(settled.is_all)
    }

    /// Takes note of every counter.
    fn count(&mut self, source: &mut dyn Source, now: u64) -> Result<(), ProbeError> {
        let (flows, mut orphans) = (&mut self.flows, Vec::new());
        source.sweep(&mut |key, counters| {
            if flows.count(&key, &counters, now) {
                orphans.push((key, counters));
            }
        })?;
        self.missing += orphans.len() as u64;
        for (flow, counters) in orphans {
            self.begin_orphan(flow, &counters);
        }
        Ok(())
    }

    /// Something the ledger must tell besides flows.
    pub fn note(&mut self, at: Timestamp, notice: Notice) {
        // The last word, and what is told after it, may wait for room.
        if notice == Notice::Stopped {
            self.outputs.close();
        }
        self.outputs.note(Entry::Notice { at, notice });
    }

    /// Keeps what the policy's hash is of where the records are that name it.
    pub fn note_policy(&mut self, at: Timestamp) {
        let policy = &self.rules.policy;
        let lines = policy.text.lines().map(Arc::from).collect();
        self.note(at, Notice::Policy { sha256: policy.sha256, lines });
    }

    /// Flows that are live now.
    pub fn live_flows(&self) -> usize {
        self.flows.len()
    }

    /// Sockets below IP, which could send around every hook.
    pub fn below_ip(&self) -> usize {
        self.processes.below_ip().count()
    }

    /// Processes remembered, and how many can be.
    pub fn processes(&self) -> (usize, usize) {
        self.processes.entries()
    }

    /// Names remembered.
    pub fn names(&self) -> usize {
        self.names.entries().0
    }

    /// Tells what is untold and hands the outputs back, to be closed.
    pub fn finish(mut self, now_ns: u64, wall: Timestamp) -> Outputs {
        self.names.end_all();
        self.tell_unread(now_ns);
        let (outputs, rules) = (&mut self.outputs, &self.rules);
        self.flows.finish(now_ns, |telling, details| deliver(outputs, rules, telling, details));
        self.outputs.flush(wall);
        self.outputs
    }
}

/// What a frame holds in which no IP was found.
fn ethertype(sample: &EgressSample) -> Option<u16> {
    let is_frame = !has_addresses(sample.path) && sample.path != path::BYPASS;
    is_frame.then_some(sample.flow.remote_port)
}
