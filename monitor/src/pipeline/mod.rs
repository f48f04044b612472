//! The pipeline: one function, single-threaded and synchronous, which owns its state and takes no
//! locks. Samples come in at one end, records leave at the other; nothing flows back.

mod begin;
mod bypass;
mod changed;
mod clock;
mod confirm;
mod deliver;
mod details;
mod digests;
mod located;
mod losses;
mod naming;
mod probes;
mod proof;
mod senders;
mod shared;
mod unitemised;
mod unreported;
mod via;
mod watching;

use std::sync::Arc;

use monitor_ebpf::{
    loss::Loss,
    sample::{FlowKey, SocketEndSample},
};
use prometheus::IntCounter;

use self::{
    bypass::Bypasses, changed::Changed, deliver::deliver, details::Details, located::Located,
    probes::Broken, shared::Shared, unitemised::Sums,
};
pub use self::{probes::DETACHED, unitemised::SHARE, watching::Watchers};
use crate::{
    attribute::{self, BootOffset, Processes},
    clock::Steps,
    config::RecordMode,
    decode::{Sample, decode},
    event::{Entry, Host, Notice, Timeline, Timestamp, Watching},
    flow::{self, Due, Flows},
    metrics::{CLASSIFIED_BY_DAEMON, CLASSIFIED_BY_KERNEL, Metrics},
    names::{self, Names, Resolvers},
    outputs::Outputs,
    probe::{self, ProbeError, Source},
    rules::Rules,
    self_test::SelfTest,
};

/// `stage` of what the probes lose.
pub const STAGE: &str = "probe";

#[derive(Debug)]
pub struct Pipeline {
    processes: Processes,
    names: Names,
    flows: Flows<Details>,
    rules: Arc<Rules>,
    outputs: Outputs,
    metrics: Arc<Metrics>,
    interfaces: probe::InterfaceNames,
    /// At which of them all that leaves is seen.
    seen: flow::SeenSince,
    watchers: Option<Watchers>,
    watching_told: Option<Arc<Watching>>,
    /// Questions to resolvers are records of their own.
    records_lookups: bool,
    names_counted: names::Counters,
    unattributed_counted: u64,
    bypasses: Bypasses,
    broken: Broken,
    sums: Sums,
    /// By which times are told now.
    timeline: Option<Timeline>,
    steps: Steps,
    /// Samples found missing since the last sweep, and when the first of their flows began.
    missing: (u64, Option<u64>),
    /// When the probes were asked last what they had lost.
    losses_asked_ns: Option<u64>,
    losses_counted: [u64; Loss::ALL.len()],
    digests_lost_counted: [u64; attribute::digests::REASONS.len()],
    /// Processes with their digests, since the last sweep.
    digested: Changed,
    /// What flows have in common, since the last sweep.
    shared: Shared,
    located: Located,
    self_test: Option<SelfTest>,
    /// Flows that the daemon located, and the kernel.
    classified: [IntCounter; 2],
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
        let losses_counted = [0; Loss::ALL.len()];
        let classified = [CLASSIFIED_BY_DAEMON, CLASSIFIED_BY_KERNEL]
            .map(|by| metrics.classified_flows_total.with_label_values(&[by]));
        Self {
            processes,
            names: Names::default(),
            flows,
            rules,
            outputs,
            metrics,
            interfaces: probe::InterfaceNames::default(),
            seen: flow::SeenSince::default(),
            watchers: None,
            watching_told: None,
            records_lookups: false,
            names_counted: names::Counters::default(),
            unattributed_counted: 0,
            bypasses: Bypasses::default(),
            broken: Broken::default(),
            sums: Sums::default(),
            timeline: None,
            steps: Steps::default(),
            missing: (0, None),
            losses_asked_ns: None,
            losses_counted,
            digests_lost_counted: [0; attribute::digests::REASONS.len()],
            digested: Changed::default(),
            shared: Shared::default(),
            located: Located::default(),
            self_test: None,
            classified,
        }
    }

    /// Makes each question to a resolver, and its answer, a record of its own.
    pub fn record_lookups(&mut self) {
        self.records_lookups = true;
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
        self.located.forget();
        self.rules = rules;
        self.outputs.set_mode(mode);
    }

    /// The names of interfaces, before the samples that need them.
    pub fn set_interfaces(&mut self, names: probe::InterfaceNames) {
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
        self.report_unread(end.at_ns);
        self.flows.close(end.cookie);
        for (flow, sender) in self.processes.closed(end) {
            self.learn_sender(&flow, sender, end.at_ns);
        }
    }

    fn report(&mut self, flow: &FlowKey, now_ns: u64) {
        if let Some((report, details)) = self.flows.report(flow, now_ns) {
            deliver(&mut self.outputs, &self.rules, &mut self.shared, report, details);
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
        self.processes.set_clock(BootOffset { wall_at_boot_ns });
        let now = source.now_ns();
        self.flows.begin_sweep(source.progress());
        self.count(source, now)?;
        let (missing, began_ns) = std::mem::take(&mut self.missing);
        self.learn_digests(now);
        for (flow, sender) in self.processes.ask_again(now) {
            self.learn_sender(&flow, sender, now);
        }
        self.report_bypassed(source, now);
        self.note_probes(source, now);
        self.note_self_test(now);
        self.shared.forget();
        let is_all = self.settle(source, now)?;
        self.processes.expire(now);
        self.names.expire(now);
        self.report_unread(now);
        self.count_names();
        self.count_attribution();
        let wall = Timestamp(now.saturating_add_signed(wall_offset_ns));
        let since = began_ns.map(|ns| self.flows.wall(ns));
        self.count_lost(flow::STAGE, flow::SAMPLE_MISSING, missing, (since, wall));
        self.tell_losses(source)?;
        self.add_up_unitemised(source, wall);
        self.count_unattributed(source.unattributed_bytes());
        self.count_no_losses(source)?;
        self.outputs.tick(now, wall);
        Ok(is_all)
    }

    /// Tells what is due and forgets what is over. `false`: there was no room for all of it.
    fn settle(&mut self, source: &mut dyn Source, now: u64) -> Result<bool, ProbeError> {
        let (outputs, rules, shared) = (&mut self.outputs, &self.rules, &mut self.shared);
        // New flows have the other half of the queue.
        let room = outputs.room() / 2;
        let settled = self.flows.settle(now, room, |due, details| match due {
            Due::Report(report) => deliver(outputs, rules, shared, report, details),
            Due::Meter(egress, growth) if !details.is_own => {
                outputs.meter(&details.record(egress), growth, details.kept);
            }
            Due::Meter(..) => {}
        });
        source.forget(&settled.over)?;
        self.bypasses.forget(&settled.over);
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
        self.missing.0 += orphans.len() as u64;
        for (flow, counters) in orphans {
            let began_ns = self.missing.1.unwrap_or(u64::MAX).min(counters.first_ns);
            self.missing.1 = Some(began_ns);
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

    /// Whose ledger it is.
    pub fn note_host(&mut self, at: Timestamp) {
        if let Some(host) = self.rules.provenance().host.clone() {
            self.note(at, Notice::Host(host));
        }
    }

    /// As records tell it.
    pub fn host(&self) -> Option<&Arc<Host>> {
        self.rules.provenance().host.as_ref()
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
        self.report_unread(now_ns);
        let (outputs, rules, shared) = (&mut self.outputs, &self.rules, &mut self.shared);
        let each = |report, details: &mut _| deliver(outputs, rules, shared, report, details);
        self.flows.finish(now_ns, each);
        self.outputs.flush(wall);
        self.outputs
    }
}
