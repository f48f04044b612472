//! Who answers for a report, the daemon or else the ledger, and for which period they are asked. Asks; decides
//! nothing.

use std::ops::ControlFlow;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    super::{Failure, load},
    Seen,
};
use crate::{
    api::{
        EventSource, PoliciesInForce, Status,
        client::{Client, ClientError},
        summarize,
    },
    cli::Global,
    coverage::{Coverage, Watched},
    ecs::{Event, MarkEvent},
    event::{Mark, Phase, Timestamp, Verdict},
    filter::{Filter, Query, RawFilter},
    marks::Intervals,
    report::{Head, Signature},
    store::{Reader, prove},
    summary::{By, Row},
    when,
};

const HOUR_NS: u64 = 3_600_000_000_000;

/// A period, the same for each answer: as the daemon is asked, and as the ledger is.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    raw: RawFilter,
    filter: Filter,
    /// Where nobody said when it ends.
    now: Timestamp,
}

impl Asked {
    /// `typed`: with times as they are for a daemon anywhere.
    pub(super) fn new(
        typed: RawFilter,
        intervals: &Intervals,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let parse = |raw: &RawFilter| raw.parse_among(now, intervals).map_err(Failure::usage);
        let mut filter = parse(&typed)?.filter;
        let mut raw = typed;
        // One instant for all answers, and one interval, whatever is marked meanwhile.
        filter.until = filter.until.or(Some(now));
        raw.until = raw.until.or_else(|| Some(when::rfc3339(now)));
        if let Some(interval) = &filter.during {
            raw.interval = Some(format!("{}#{}", interval.name, interval.number));
        }
        Ok(Self { raw, filter, now })
    }

    fn bounds(&self) -> (Option<Timestamp>, Timestamp) {
        (self.filter.since, self.filter.until.unwrap_or(self.now))
    }

    /// What it is called, if it is an interval that was marked.
    pub(super) fn interval(&self) -> Option<&str> {
        self.raw.interval.as_deref()
    }

    /// What to call it beside another.
    pub(super) fn name(&self) -> String {
        self.interval().unwrap_or("this period").to_owned()
    }

    /// Whether no bound of it is within an hour.
    pub(super) fn is_of_whole_hours(&self) -> bool {
        let (since, until) = self.bounds();
        [since, Some(until)].into_iter().flatten().all(|it| it.0.is_multiple_of(HOUR_NS))
    }

    /// What of it are whole hours; `None`: it has none.
    pub(super) fn whole_hours(&self) -> Option<Self> {
        let (since, until) = self.bounds();
        let since = since.map(|it| Timestamp(it.0.div_ceil(HOUR_NS).saturating_mul(HOUR_NS)));
        let until = Timestamp(until.0 / HOUR_NS * HOUR_NS);
        if since.is_some_and(|since| since >= until) {
            return None;
        }
        let filter = Filter { since, until: Some(until), during: None, ..self.filter.clone() };
        let raw = RawFilter {
            since: since.map(when::rfc3339),
            until: Some(when::rfc3339(until)),
            interval: None,
            ..self.raw.clone()
        };
        Some(Self { raw, filter, now: self.now })
    }
}

/// Who answers.
pub(super) enum Source {
    Daemon(Client),
    Ledger(Box<Reader>),
}

impl Source {
    pub(super) fn open(global: &Global) -> Result<Self, Failure> {
        let client = Client::new(&load::socket(global)?)?;
        match client.get::<Status>("/v1/status", &[(); 0]) {
            Ok(_) => Ok(Self::Daemon(client)),
            Err(error) if error.is_absent() => {
                let reader = load::ledger_alone(global, &error)?;
                eprintln!("no daemon answers: reading the ledger at {}", reader.path().display());
                Ok(Self::Ledger(Box::new(reader)))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn get<T: DeserializeOwned>(
        client: &Client,
        path: &str,
        asked: &impl Serialize,
    ) -> Result<T, Failure> {
        Ok(client.get(path, asked)?)
    }

    /// Objects of an answer, one a line.
    fn lines<T: DeserializeOwned>(
        client: &Client,
        path: &str,
        asked: &impl Serialize,
        mut each: impl FnMut(T) -> Result<(), ClientError>,
    ) -> Result<(), Failure> {
        client.lines(path, asked, |line| {
            let understood = serde_json::from_slice(line);
            each(understood.map_err(|it| ClientError::NotUnderstood(it.to_string()))?)?;
            Ok::<_, Failure>(ControlFlow::Continue(()))
        })
    }

    pub(super) fn status(&self) -> Result<Option<Status>, Failure> {
        match self {
            Self::Daemon(client) => Self::get(client, "/v1/status", &[(); 0]).map(Some),
            Self::Ledger(_) => Ok(None),
        }
    }

    pub(super) fn coverage(&self, asked: &Asked) -> Result<Coverage, Failure> {
        match self {
            Self::Daemon(client) => Self::get(client, "/v1/coverage", &asked.raw),
            Self::Ledger(reader) => Ok(reader.coverage(asked.bounds(), None)?),
        }
    }

    pub(super) fn watching(&self, asked: &Asked) -> Result<Vec<Watched>, Failure> {
        match self {
            Self::Daemon(client) => Self::get(client, "/v1/watching", &asked.raw),
            Self::Ledger(reader) => Ok(reader.watching(asked.bounds())?),
        }
    }

    pub(super) fn policies(&self, asked: &Asked) -> Result<PoliciesInForce, Failure> {
        match self {
            Self::Daemon(client) => Self::get(client, "/v1/policies", &asked.raw),
            Self::Ledger(reader) => Ok(EventSource::policies(reader.as_ref(), asked.bounds())?),
        }
    }

    /// In the order of the ledger.
    pub(super) fn marks(&self) -> Result<Vec<Mark>, Failure> {
        match self {
            Self::Daemon(client) => {
                let mut marks = Vec::new();
                Self::lines(client, "/v1/marks", &[(); 0], |event: MarkEvent<'static>| {
                    marks.push(event.mark().map_err(ClientError::NotUnderstood)?);
                    Ok(())
                })?;
                Ok(marks)
            }
            Self::Ledger(reader) => {
                let marks = EventSource::marks(reader.as_ref())?;
                Ok(marks.iter().map(|mark| Mark::clone(mark)).collect())
            }
        }
    }

    /// The daemon's last checkpoint, else that of the files.
    pub(super) fn signature(&self, status: Option<&Status>) -> Signature {
        let head = match self {
            Self::Daemon(_) => status.and_then(|it| it.evidence.clone()).map(|it| Head {
                origin: it.origin,
                size: it.size,
                root: it.root,
                signed_at: it.signed_at,
                key: Some(it.key),
                rolled_back_from: it.rolled_back_from,
            }),
            Self::Ledger(reader) => prove::head(reader.path()).ok().map(|it| Head {
                root: it.root_text(),
                origin: it.origin,
                size: it.size,
                signed_at: None,
                key: None,
                rolled_back_from: None,
            }),
        };
        Signature { head }
    }

    pub(super) fn rows(&self, asked: &Asked, by: By) -> Result<Vec<Row>, Failure> {
        #[derive(Serialize)]
        struct Parameters<'a> {
            by: By,
            #[serde(flatten)]
            window: &'a RawFilter,
        }
        match self {
            Self::Daemon(client) => {
                let mut rows = Vec::new();
                let parameters = Parameters { by, window: &asked.raw };
                Self::lines(client, "/v1/summary", &parameters, |row| {
                    rows.push(row);
                    Ok(())
                })?;
                Ok(rows)
            }
            Self::Ledger(reader) => {
                let query = Query { filter: asked.filter.clone(), ..Query::default() };
                Ok(summarize(reader.as_ref(), query, by)?.rows)
            }
        }
    }

    /// Claims are decided by all flows, else those in violation are enough.
    pub(super) fn events(
        &self,
        asked: &Asked,
        intervals: &Intervals,
        seen: &mut Seen,
    ) -> Result<(), Failure> {
        let verdict = seen.claims.is_empty().then_some(Verdict::Unapproved);
        let phase = Phase::Sent;
        match self {
            Self::Daemon(client) => {
                let verdict = verdict.map(|it| it.word().to_owned());
                let phase = Some(phase.word().to_owned());
                let asked = RawFilter { verdict, phase, ..asked.raw.clone() };
                Self::lines(client, "/v1/events", &asked, |event: Event<'static>| {
                    seen.event(&event);
                    Ok(())
                })
            }
            Self::Ledger(reader) => {
                let verdicts = verdict.into_iter().collect();
                let filter = Filter { verdicts, phase: Some(phase), ..asked.filter.clone() };
                let query = Query { filter, ..Query::default() };
                EventSource::query(reader.as_ref(), &query, &mut |record| {
                    seen.event(&Event::marked(&record, intervals));
                    ControlFlow::Continue(())
                })?;
                Ok(())
            }
        }
    }
}
