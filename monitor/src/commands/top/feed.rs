//! Asks the daemon again and again, on a thread of its own, so that a daemon or a ledger that is slow holds up
//! no key. It keeps the last answer alone, and goes on asking where nobody answers.

use std::{
    ops::ControlFlow,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    api::{
        client::{Client, ClientError},
        status::Status,
    },
    clock,
    ecs::Event,
    event::Timestamp,
    filter::RawFilter,
    summary::{Keys, ROLLED_UP, Row},
    when,
};

/// Flows of one look at most, the newest; what more there are is told in the totals.
pub(super) const FLOWS_MAX: usize = 1000;
/// Rows of totals of one look at most.
const ROWS_MAX: usize = 1000;
/// What was active since so long before the last look may have grown since.
const OVERLAP: Duration = Duration::from_secs(3);
/// The first look is as far back.
const FIRST: Duration = Duration::from_secs(10);
/// Answers take this part of the time at most.
const SHARE: u32 = 4;

/// What is wanted to be known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ask {
    /// Added up by these instead of each flow by itself.
    pub(super) by: Option<Keys>,
    /// Without times.
    pub(super) filter: RawFilter,
    /// From when on totals are.
    pub(super) since: Timestamp,
}

/// What was found at one moment.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) ask: Ask,
    pub(super) at: Instant,
    /// By the daemon's wall clock, which is this one's.
    pub(super) wall: Timestamp,
    pub(super) status: Status,
    /// By verdict.
    pub(super) totals: Vec<Row>,
    pub(super) flows: Vec<Event<'static>>,
    /// What is added up, or all of it.
    pub(super) rows: Vec<Row>,
    /// There were more flows than these.
    pub(super) is_cut: bool,
}

#[derive(Debug)]
pub(super) enum News {
    Look(Box<Look>),
    /// Nobody answers, or not as hoped.
    Gone(String),
}

#[derive(Debug, Default)]
struct Shared {
    ask: Ask,
    news: Option<News>,
    is_over: bool,
}

/// Between who asks and who is asked for it.
#[derive(Clone, Debug, Default)]
pub(super) struct Feed(Arc<(Mutex<Shared>, Condvar)>);

impl Feed {
    /// Looks so often, as long as this is held.
    pub(super) fn begin(socket: &Path, ask: Ask, every: Duration) -> anyhow::Result<Self> {
        let feed = Self::default();
        feed.lock().ask = ask;
        let (other, client) = (feed.clone(), Client::new(socket)?);
        thread::Builder::new().name("feed".into()).spawn(move || other.run(&client, every))?;
        Ok(feed)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is new since the last call.
    pub(super) fn take(&self) -> Option<News> {
        self.lock().news.take()
    }

    /// Waits for it.
    pub(super) fn wait(&self) -> News {
        loop {
            if let Some(news) = self.take() {
                return news;
            }
            let waited = self.0.1.wait_timeout(self.lock(), Duration::from_millis(50));
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Asks for something else from now on.
    pub(super) fn ask(&self, ask: Ask) {
        let mut shared = self.lock();
        shared.ask = ask;
        shared.news = None;
        self.0.1.notify_all();
    }

    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.0.1.notify_all();
    }

    fn run(&self, client: &Client, every: Duration) {
        let mut before: Option<(Ask, Timestamp)> = None;
        loop {
            let ask = self.lock().ask.clone();
            let (began, wall) = (Instant::now(), clock::wall());
            let since = match &before {
                Some((asked, at)) if *asked == ask => back(*at, OVERLAP),
                _ => ask.since.min(back(wall, FIRST)),
            };
            let found = look(client, &ask, since, wall);
            let took = began.elapsed();
            before = found.is_ok().then(|| (ask.clone(), wall));
            let news = match found {
                Ok(look) => News::Look(Box::new(look)),
                Err(error) => News::Gone(error.to_string()),
            };
            let mut shared = self.lock();
            if shared.ask == ask {
                shared.news = Some(news);
            }
            self.0.1.notify_all();
            let rest = every.saturating_sub(took).max(took * SHARE);
            let waits = |shared: &mut Shared| !shared.is_over && shared.ask == ask;
            let waited = self.0.1.wait_timeout_while(shared, rest, waits);
            if waited.unwrap_or_else(PoisonError::into_inner).0.is_over {
                return;
            }
        }
    }
}

fn back(at: Timestamp, span: Duration) -> Timestamp {
    Timestamp(at.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
}

#[derive(Serialize)]
struct Totals<'a> {
    by: String,
    #[serde(flatten)]
    filter: &'a RawFilter,
}

fn look(
    client: &Client,
    ask: &Ask,
    since: Timestamp,
    wall: Timestamp,
) -> Result<Look, ClientError> {
    let nothing: [(&str, &str); 0] = [];
    let status = client.get("/v1/status", &nothing)?;
    let of = |since, limit: usize| RawFilter {
        since: Some(when::rfc3339(since)),
        limit: Some(limit.to_string()),
        ..ask.filter.clone()
    };
    let all = of(ask.since, ROWS_MAX);
    let summed = |by: &str, filter: &RawFilter| {
        lines::<Row>(client, "/v1/summary", &Totals { by: by.to_owned(), filter })
    };
    let totals = summed("verdict", &all)?;
    let (flows, rows) = if let Some(keys) = ask.by {
        (Vec::new(), summed(&keys.to_string(), &all)?)
    } else {
        let flows = lines(client, "/v1/events", &of(since, FLOWS_MAX))?;
        // Those alone that no record is kept of.
        let mut rows = summed("process,destination,country", &added_up(&all))?;
        rows.retain(|row| row.keys.get(1).is_some_and(|it| it == ROLLED_UP));
        (flows, rows)
    };
    let is_cut = flows.len() >= FLOWS_MAX;
    let at = Instant::now();
    Ok(Look { ask: ask.clone(), at, wall, status, totals, flows, rows, is_cut })
}

/// Most that is added up is approved or local; where something else was asked for, that.
fn added_up(filter: &RawFilter) -> RawFilter {
    let verdict = filter.verdict.clone().unwrap_or_else(|| "approved,local".to_owned());
    RawFilter { verdict: Some(verdict), ..filter.clone() }
}

fn lines<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    parameters: &impl Serialize,
) -> Result<Vec<T>, ClientError> {
    let mut all = Vec::new();
    client.lines(path, parameters, |line| {
        let read = serde_json::from_slice(line);
        all.push(read.map_err(|error| ClientError::NotUnderstood(error.to_string()))?);
        Ok::<_, ClientError>(ControlFlow::Continue(()))
    })?;
    Ok(all)
}
