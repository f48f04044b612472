//! HTTP and JSON on the Unix socket: what the command line asks the daemon. The server reads what it
//! is given behind these traits and changes nothing.

pub mod client;
mod current;
pub mod group;
mod ledger;
mod located;
mod marking;
pub mod page;
mod reasoning;
mod request;
mod rows;
pub mod server;
mod slots;
pub mod status;
mod stream;

use std::{fmt, net::IpAddr, ops::ControlFlow, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::{
    clock,
    config::Reread,
    coverage::{Alive, Coverage, Watched},
    devices::Leases,
    ecs::{AutonomousSystem, Geo, Time},
    event::{FlowIds, Lookup, Mark, Record, Rollup, Timestamp},
    filter::{Filter, Query},
    metrics::Metrics,
    summary::{By, Keys, ROWS_MAX, Row, Sort, Span, Summary, Totals},
};

pub use current::Current;
pub use located::located;
pub use marking::{MarkRefusal, Marks};
pub use status::Status;
pub(crate) use stream::SLOW_CLIENT;

/// Gets each hit; says when it has enough.
pub type Each<'a, T> = &'a mut dyn FnMut(T) -> ControlFlow<()>;

/// Why stored events can't be read, in one line.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

/// Where stored events are read from: the ledger, beside its writer. Calls block.
pub trait EventSource: Send + Sync {
    /// The same source for an answer that ends with an error as soon as this says that it is over.
    fn until(self: Arc<Self>, is_over: IsOver) -> Arc<dyn EventSource>;
    /// The same source as it is now, if it is one that changes: flows and roll-ups of one moment.
    fn of_now(&self) -> Option<Arc<dyn EventSource>> {
        None
    }
    /// What names the devices behind this host; nothing of a store that is another host's.
    fn leases(&self) -> Leases {
        Leases::read()
    }
    /// Of what an answer may hold in memory, one in so many.
    fn one_in(&self) -> usize {
        1
    }
    /// Whether flows and roll-ups that were read since then were all of that moment.
    fn is_still_so(&self) -> bool {
        true
    }
    /// The latest state of each flow that matches, in the order asked for.
    fn query(&self, query: &Query, each: Each<'_, Record>) -> Result<(), SourceError>;
    /// The flows of the filter's window, and how much of each left in it.
    fn totals(&self, query: &Query, totals: &mut dyn Totals) -> Result<(), SourceError> {
        self.query(query, &mut |record| {
            let row = totals.flow(&record);
            totals.more(row, record.egress.traffic, 0);
            ControlFlow::Continue(())
        })
    }
    /// Roll-ups that can match; none when the filter asks for what they don't hold.
    fn rollups(&self, filter: &Filter, each: Each<'_, Rollup>) -> Result<(), SourceError>;
    /// The same, added up.
    fn rollup_totals(&self, filter: &Filter, totals: &mut dyn Totals) -> Result<(), SourceError> {
        self.rollups(filter, &mut |rollup| {
            totals.rollup(&rollup);
            ControlFlow::Continue(())
        })
    }
    /// Every state of these flows, in the order in which they were told; of a source that keeps only
    /// the latest, that.
    fn states(&self, ids: FlowIds, each: Each<'_, Record>) -> Result<(), SourceError> {
        let [since, until] = ids.starts();
        let until = until.0.checked_add(1).map(Timestamp);
        let filter = Filter { since: Some(since), until, ..Filter::default() };
        self.query(&Query { filter, ..Query::default() }, &mut |record| {
            if ids.holds(record.egress.flow) { each(record) } else { ControlFlow::Continue(()) }
        })
    }
    /// Lookups that match, in the order asked for; none when the filter asks for what they don't
    /// hold.
    fn lookups(&self, query: &Query, each: Each<'_, Lookup>) -> Result<(), SourceError>;
    /// Marks in the order of the ledger.
    fn marks(&self) -> Result<Vec<Arc<Mark>>, SourceError> {
        Ok(Vec::new())
    }
    /// The policy whose hash begins so.
    fn policy(&self, _begins: &str) -> Result<Option<PolicyText>, SourceError> {
        Ok(None)
    }
    /// The policies in force in a window.
    fn policies(
        &self,
        _window: (Option<Timestamp>, Timestamp),
    ) -> Result<PoliciesInForce, SourceError> {
        Ok(PoliciesInForce::default())
    }
    /// Who watched in a window, and by what.
    fn watching(
        &self,
        _window: (Option<Timestamp>, Timestamp),
    ) -> Result<Vec<Watched>, SourceError> {
        Ok(Vec::new())
    }
    /// What of a window was watched; without a beginning from the first entry on. `alive`: what the
    /// daemon that answers says of itself.
    fn coverage(
        &self,
        window: (Option<Timestamp>, Timestamp),
        alive: Option<Alive>,
    ) -> Result<Coverage, SourceError>;
}

/// Whether nobody waits for an answer any more.
pub type IsOver = Arc<dyn Fn() -> bool + Send + Sync>;

/// Where an address is, whose it is, and what the policy says of it: `locate`, here and there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    pub destination: LocatedDestination,
    pub geofenced: LocatedJudgement,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocatedDestination {
    pub ip: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo: Option<Geo<'static>>,
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub autonomous_system: Option<AutonomousSystem<'static>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocatedJudgement {
    pub verdict: String,
    pub certainty: String,
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_country: Option<String>,
    /// What the second country database says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_country: Option<String>,
    /// The address is announced from many places.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anycast: bool,
    /// What was said of the operator instead of what its database says, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correction: Option<String>,
    /// What the answer rests on: database, override or special range, in the order asked.
    pub databases: Vec<String>,
    /// How the verdict came about, a sentence a step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub explanation: Vec<String>,
}

/// Everything the server answers from.
#[derive(Clone)]
pub struct Api {
    pub events: Arc<dyn EventSource>,
    pub live: broadcast::Sender<Arc<Record>>,
    pub watching_since: Timestamp,
    pub status: Arc<dyn Fn() -> Status + Send + Sync>,
    pub locate: Arc<dyn Fn(IpAddr) -> Located + Send + Sync>,
    pub marks: Arc<dyn Marks>,
    /// Signs for all that is stored, and says what was signed last.
    pub seal: Arc<dyn Fn() -> Option<status::Evidence> + Send + Sync>,
    pub metrics: Arc<Metrics>,
}

impl fmt::Debug for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").finish_non_exhaustive()
    }
}

/// What a policy's hash is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyText {
    pub sha256: String,
    pub text: String,
}

/// Which policies were in force in a window, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoliciesInForce {
    pub policies: Vec<PolicyInForce>,
    /// Changes beyond the most that are told.
    #[serde(default)]
    pub untold: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyInForce {
    /// When it was noted that it is in force: the last time before the window, or in it.
    pub noted_at: Time,
    pub sha256: String,
    /// What its hash is of, where the ledger holds it whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl PolicyInForce {
    /// By its text: it only learned.
    pub fn is_learning(&self) -> bool {
        let read = self.text.as_deref().and_then(Reread::from_text);
        read.is_some_and(|it| it.policy.is_learning())
    }
}

/// Body of every answer that is an error, and last line of a stream that broke off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: String,
}

/// A line of the live stream that is no event: how many a slow client did not get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostLine {
    pub geofenced: LostCount,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostCount {
    pub lost: u64,
}

/// Last line of totals whose total was asked for: of all rows, also of those that a limit leaves out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TotalLine {
    pub geofenced: LeftOut,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// First, so that the line is told from a row by how it begins.
    pub left_out: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Row>,
}

/// How totals are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub keys: Keys,
    pub sort: Sort,
    /// Only rows of which nothing was seen before.
    pub new_since: Option<Timestamp>,
}

impl From<By> for Asked {
    fn from(by: By) -> Self {
        Self { keys: by.into(), ..Self::default() }
    }
}

/// Rows of a period, and what they leave out.
#[derive(Clone, Debug)]
pub struct Answer {
    pub rows: Vec<Row>,
    pub left_out: u64,
    /// Of all rows; `None`: there are none.
    pub total: Option<Row>,
}

/// The rows of a period. `limit` and order of the query are those of the rows: the first by what is
/// sorted by, `newest_first` turns them round.
pub fn summarize(
    events: &dyn EventSource,
    mut query: Query,
    asked: impl Into<Asked>,
) -> Result<Answer, SourceError> {
    let Asked { keys, sort, new_since } = asked.into();
    let limit = query.limit.take().unwrap_or(usize::MAX);
    let (mut summary, is_of_one_moment) = fold(events, &query, keys)?;
    if !is_of_one_moment {
        // Roll-ups were stored meanwhile, as they are once a minute.
        (summary, _) = fold(events, &query, keys)?;
    }
    let mut rows = summary.into_rows();
    if let Some(at) = new_since {
        rows.retain(|row| row.first_seen >= Time(at));
    }
    sort.rows(&mut rows);
    let total = Row::total(&rows);
    let left_out = rows.len().saturating_sub(limit) as u64;
    rows.truncate(limit);
    if query.newest_first {
        rows.reverse();
    }
    Ok(Answer { rows, left_out, total })
}

fn fold(
    events: &dyn EventSource,
    query: &Query,
    keys: Keys,
) -> Result<(Summary, bool), SourceError> {
    let of_now = events.of_now();
    let events = of_now.as_deref().unwrap_or(events);
    let leases = if keys.has(By::Device) { events.leases() } else { Leases::default() };
    let (since, until) = (query.filter.since, query.filter.until);
    let span = Span { since, until, now: clock::wall() };
    let mut summary = Summary::new(keys, leases, span).at_most(ROWS_MAX / events.one_in());
    events.totals(query, &mut summary)?;
    events.rollup_totals(&query.filter, &mut summary)?;
    Ok((summary, events.is_still_so()))
}
