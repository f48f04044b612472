//! What the ledger holds: states of flows, complete, and what was added up.

use std::{
    net::SocketAddr,
    ops::{Deref, DerefMut},
    sync::Arc,
};

use super::{
    Activity, Country, Egress, FlowId, Judgement, Lookup, Notice, Operator, Origin, Phase, Place,
    Process, Provenance, Sender, Timeline, Timestamp, Traffic, Transport, User, Verdict,
};

/// One state of one flow, complete: a half-filled one can't exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub egress: Egress,
    /// Read as if it were the record's own.
    pub findings: Arc<Findings>,
}

/// What was found out about a flow besides its packets: who, where, the verdict, and by which rules.
/// Of a hundred thousand flows most share it with others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings {
    pub sender: Sender,
    pub place: Place,
    pub judgement: Judgement,
    /// What rules say that came later, where they no longer object: a violation stays one, under the
    /// rules of its time.
    pub verdict_now: Option<Verdict>,
    /// `None`: stored by a version that did not tell.
    pub provenance: Option<Arc<Provenance>>,
    /// By which clock the flow's start is told; `None`: stored by a version that did not tell.
    pub timeline: Option<Timeline>,
}

impl Findings {
    /// Judged by a policy that only learned.
    pub fn is_learning(&self) -> bool {
        self.provenance.as_ref().is_some_and(|it| it.is_learning)
    }
}

impl Deref for Record {
    type Target = Findings;

    fn deref(&self) -> &Findings {
        &self.findings
    }
}

/// Of this record alone.
impl DerefMut for Record {
    fn deref_mut(&mut self) -> &mut Findings {
        Arc::make_mut(&mut self.findings)
    }
}

impl Record {
    /// An attempt never counts as a violation, nor what was judged by a policy that only learned.
    pub fn is_violation(&self) -> bool {
        self.is_unapproved() && !self.is_learning()
    }

    /// It would have been one, had the policy not only learned.
    pub fn is_unraised(&self) -> bool {
        self.is_unapproved() && self.is_learning()
    }

    fn is_unapproved(&self) -> bool {
        self.judgement.verdict == Verdict::Unapproved && self.egress.phase == Phase::Sent
    }
}

/// A state of a flow as it is seen at a glance: without what its verdict rests on.
#[derive(Clone, Debug)]
pub struct Glance<'a> {
    pub flow: FlowId,
    pub revision: u32,
    pub started_at: Timestamp,
    pub last_at: Timestamp,
    pub is_over: bool,
    pub phase: Phase,
    pub origin: Origin,
    pub transport: Transport,
    pub remote: Option<SocketAddr>,
    /// Since the flow began.
    pub traffic: Traffic,
    pub process: Option<&'a Arc<Process>>,
    pub country: Country,
    pub operator: Option<&'a Operator>,
    /// What a name server said.
    pub domain: Option<&'a str>,
    pub verdict: Verdict,
    pub activity: Option<&'a Activity>,
}

impl<'a> From<&'a Record> for Glance<'a> {
    fn from(record: &'a Record) -> Self {
        let Record { egress, findings } = record;
        let Findings { sender, place, judgement, .. } = &**findings;
        Self {
            flow: egress.flow,
            revision: egress.revision,
            started_at: egress.started_at,
            last_at: egress.last_at,
            is_over: egress.ended_at.is_some(),
            phase: egress.phase,
            origin: egress.origin,
            transport: egress.transport,
            remote: egress.remote,
            traffic: egress.traffic,
            process: match sender {
                Sender::Process { process, .. } => Some(process),
                Sender::Nobody => None,
            },
            country: place.country,
            operator: place.operator.as_deref(),
            domain: place.domain.as_ref().map(|it| &*it.name),
            verdict: judgement.verdict,
            activity: egress.activity.as_deref(),
        }
    }
}

/// Flows that are not itemised, added up by hour, program, user, country, verdict and what it rests
/// on. Rows with the same key add: the daemon appends what came since its last row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollup {
    /// Start of the hour.
    pub hour: Timestamp,
    /// As [`super::Process::program`] tells it; empty for egress without a process.
    pub program: Arc<str>,
    pub user: Option<User>,
    pub country: Country,
    pub verdict: Verdict,
    /// As that of a [`Record`].
    pub provenance: Option<Arc<Provenance>>,
    /// Flows that began.
    pub flows: u64,
    pub traffic: Traffic,
}

impl Rollup {
    /// Judged by a policy that only learned.
    pub fn is_learning(&self) -> bool {
        self.provenance.as_ref().is_some_and(|it| it.is_learning)
    }

    /// Of its hour.
    pub fn last_instant(&self) -> Timestamp {
        Timestamp(self.hour.0.saturating_add(3_600_000_000_000 - 1))
    }
}

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Flow(Record),
    Rollup(Rollup),
    Notice { at: Timestamp, notice: Notice },
    Lookup(Lookup),
}
