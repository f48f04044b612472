//! `report`: a period as a document, from the daemon, else from the ledger. Asks and writes; what may be
//! said, `report` decides.

use std::{
    collections::BTreeSet,
    io::{IsTerminal as _, Write as _, stdout},
    ops::ControlFlow,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{Failure, Outcome, load, out};
use crate::{
    api::{
        EventSource, PoliciesInForce, Status,
        client::{Client, ClientError},
        summarize,
    },
    cli::{COMMIT, Exit, Global, Output, ReportArgs, VERSION},
    coverage::{Coverage, Watched},
    ecs::{self, Event, MarkEvent, Time},
    event::{Phase, Timestamp, Verdict},
    filter::RawFilter,
    locate::NOTICES,
    marks::Intervals,
    report::{
        Claim, Database, Declared, Facts, Head, Probe, Report, Scope, Signature, Standing,
        Violations, html,
    },
    store::{Reader, prove},
    summary::{By, Row, THIS_HOST},
    when,
};

/// Databases that are told: after each reload there may be others.
const DATABASES_MAX: usize = 100;

pub(super) fn run(global: &Global, args: &ReportArgs) -> Outcome {
    match global.output {
        Output::Csv => {
            return Err(Failure::usage(anyhow::anyhow!(
                "a report is a page or, with -o json, one object; `geofenced summary` and `events` write CSV"
            )));
        }
        Output::Table if stdout().is_terminal() => {
            return Err(Failure::usage(anyhow::anyhow!(
                "a report is a page: write it to a file (> report.html), or ask for -o json"
            )));
        }
        Output::Table | Output::Json => {}
    }
    let report = Report::new(facts(global, args)?);
    let mut out = out::stdout();
    if global.output == Output::Json {
        out::json_line(&mut out, &report)?;
    } else {
        out.write_all(html::page(&report).as_bytes())?;
    }
    out.flush()?;
    if global.quiet == 0 {
        eprintln!("{}", report.coverage.sentence());
        for claim in &report.claims {
            eprintln!("{}: {}", claim.asked, claim.sentence);
        }
    }
    let found = args.fail_on_violation && report.totals.violations > 0;
    let has_gap = args.fail_on_gap && report.coverage.has_gaps();
    Ok(if found || report.has(Standing::Refuted) {
        Exit::Violations
    } else if has_gap || report.has(Standing::NotShown) {
        Exit::Integrity
    } else {
        Exit::Fine
    })
}

fn facts(global: &Global, args: &ReportArgs) -> Result<Facts, Failure> {
    let now = load::now();
    let typed = RawFilter {
        since: Some(args.since.clone().unwrap_or_else(|| "24h".to_owned())),
        // One instant for all answers.
        until: Some(args.until.clone().unwrap_or_else(|| when::rfc3339(now))),
        ..RawFilter::default()
    };
    let window = load::filter(&typed, args.utc)?;
    window.parse(now).map_err(Failure::usage)?;
    let source = Source::open(global)?;
    let mut coverage = source.coverage(&window)?;
    coverage.watching = source.watching(&window)?;
    let rows = |by| source.rows(&window, by);
    let (declared, claims) = (source.declared()?, args.claim.clone());
    let mut seen = Seen { claims, declared, ..Seen::default() };
    let status = source.status()?;
    let facts = Facts {
        made_at: Time(now),
        countries: rows(By::Country)?,
        operators: rows(By::Operator)?,
        programs: rows(By::Process)?,
        devices: devices(rows(By::Device)?),
        verdicts: rows(By::Verdict)?,
        policies: source.policies(&window)?,
        scope: scope(&source, status.as_ref()),
        coverage,
        notices: NOTICES.iter().map(ToString::to_string).collect(),
        violations: Violations::default(),
        databases: Vec::new(),
        claims: Vec::new(),
        declared: Declared::default(),
        signature: source.signature(status.as_ref()),
    };
    source.events(&window, &mut seen)?;
    let databases = databases(global, std::mem::take(&mut seen.databases), status.as_ref())?;
    let Seen { violations, claims, declared, .. } = seen;
    Ok(Facts { violations, databases, claims, declared, ..facts })
}

/// What one look at the flows of the period finds out.
#[derive(Default)]
struct Seen {
    violations: Violations,
    claims: Vec<Claim>,
    declared: Declared,
    databases: BTreeSet<Database>,
}

impl Seen {
    fn event(&mut self, event: &Event<'_>) {
        self.violations.add(event);
        self.declared.add(event);
        self.claims.iter_mut().for_each(|claim| claim.see(event));
        for found in &event.geofenced.database {
            if self.databases.len() < DATABASES_MAX {
                self.databases.insert(Database {
                    label: found.label.to_string(),
                    name: found.name.to_string(),
                    date: Some(found.date.to_string()),
                    sha256: found.sha256.to_string(),
                    named_by_records: true,
                });
            }
        }
    }
}

/// Who answers.
enum Source {
    Daemon(Client),
    Ledger(Box<Reader>),
}

impl Source {
    fn open(global: &Global) -> Result<Self, Failure> {
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
        window: &impl Serialize,
    ) -> Result<T, Failure> {
        Ok(client.get(path, window)?)
    }

    fn status(&self) -> Result<Option<Status>, Failure> {
        match self {
            Self::Daemon(client) => Self::get(client, "/v1/status", &[(); 0]).map(Some),
            Self::Ledger(_) => Ok(None),
        }
    }

    fn coverage(&self, window: &RawFilter) -> Result<Coverage, Failure> {
        match self {
            Self::Daemon(client) => Self::get(client, "/v1/coverage", window),
            Self::Ledger(reader) => Ok(reader.coverage(bounds(window)?, None)?),
        }
    }

    fn watching(&self, window: &RawFilter) -> Result<Vec<Watched>, Failure> {
        match self {
            Self::Daemon(client) => Self::get(client, "/v1/watching", window),
            Self::Ledger(reader) => Ok(reader.watching(bounds(window)?)?),
        }
    }

    fn policies(&self, window: &RawFilter) -> Result<PoliciesInForce, Failure> {
        match self {
            Self::Daemon(client) => Self::get(client, "/v1/policies", window),
            Self::Ledger(reader) => Ok(EventSource::policies(reader.as_ref(), bounds(window)?)?),
        }
    }

    fn declared(&self) -> Result<Declared, Failure> {
        match self {
            Self::Daemon(client) => {
                let mut marks: Vec<MarkEvent<'static>> = Vec::new();
                client.lines("/v1/marks", &[(); 0], |line| {
                    let mark = serde_json::from_slice(line);
                    marks.push(mark.map_err(|it| ClientError::NotUnderstood(it.to_string()))?);
                    Ok::<_, ClientError>(ControlFlow::Continue(()))
                })?;
                Ok(Declared::of(&marks))
            }
            Self::Ledger(reader) => {
                let marks = EventSource::marks(reader.as_ref())?;
                let marks: Vec<_> = marks.iter().map(|it| MarkEvent::from(it.as_ref())).collect();
                Ok(Declared::of(&marks))
            }
        }
    }

    /// The daemon's last checkpoint, else that of the files.
    fn signature(&self, status: Option<&Status>) -> Signature {
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

    fn rows(&self, window: &RawFilter, by: By) -> Result<Vec<Row>, Failure> {
        #[derive(Serialize)]
        struct Parameters<'a> {
            by: By,
            #[serde(flatten)]
            window: &'a RawFilter,
        }
        match self {
            Self::Daemon(client) => {
                let mut rows = Vec::new();
                client.lines("/v1/summary", &Parameters { by, window }, |line| {
                    let row = serde_json::from_slice(line);
                    rows.push(row.map_err(|it| ClientError::NotUnderstood(it.to_string()))?);
                    Ok::<_, ClientError>(ControlFlow::Continue(()))
                })?;
                Ok(rows)
            }
            Self::Ledger(reader) => {
                let query = window.parse(load::now()).map_err(Failure::usage)?;
                Ok(summarize(reader.as_ref(), query, by)?.rows)
            }
        }
    }

    /// Claims are decided by all flows, else those in violation are enough.
    fn events(&self, window: &RawFilter, seen: &mut Seen) -> Result<(), Failure> {
        let verdict = seen.claims.is_empty().then(|| Verdict::Unapproved.word().to_owned());
        let phase = Some(Phase::Sent.word().to_owned());
        let asked = RawFilter { verdict, phase, ..window.clone() };
        match self {
            Self::Daemon(client) => client.lines("/v1/events", &asked, |line| {
                let event: Event<'static> = serde_json::from_slice(line)
                    .map_err(|it| ClientError::NotUnderstood(it.to_string()))?;
                seen.event(&event);
                Ok::<_, Failure>(ControlFlow::Continue(()))
            }),
            Self::Ledger(reader) => {
                let query = asked.parse(load::now()).map_err(Failure::usage)?;
                let marks = EventSource::marks(reader.as_ref())?;
                let intervals = Intervals::of(marks.iter().map(AsRef::as_ref));
                EventSource::query(reader.as_ref(), &query, &mut |record| {
                    seen.event(&Event::marked(&record, &intervals));
                    ControlFlow::Continue(())
                })?;
                Ok(())
            }
        }
    }
}

/// Of a window whose times were resolved.
fn bounds(window: &RawFilter) -> Result<(Option<Timestamp>, Timestamp), Failure> {
    let filter = window.parse(load::now()).map_err(Failure::usage)?.filter;
    Ok((filter.since, filter.until.unwrap_or_else(load::now)))
}

fn scope(source: &Source, status: Option<&Status>) -> Scope {
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| Some(text.to_string_lossy().into_owned());
    let probe =
        |it: &crate::api::status::Probe| Probe { name: it.name.clone(), attached: it.attached };
    // Whose ledger it is, it does not say; who answers is on this host.
    let is_here = matches!(source, Source::Daemon(_));
    Scope {
        host: text(uname.nodename()).filter(|_| is_here),
        kernel: text(uname.release()).filter(|_| is_here),
        version: VERSION.to_owned(),
        commit: COMMIT.to_owned(),
        source: if is_here { "daemon" } else { "ledger" }.to_owned(),
        tier: status.map(|it| it.tier.clone()),
        probes: status.map(|it| it.probes.iter().map(probe).collect()).unwrap_or_default(),
        clock_trusted: status.and_then(|it| it.clock.as_ref()).map(|it| it.trusted),
        warnings: status.map(|it| it.warnings.clone()).unwrap_or_default(),
    }
}

/// Only of a host that forwards for others.
fn devices(rows: Vec<Row>) -> Vec<Row> {
    let forwards = rows.iter().any(|row| row.key != THIS_HOST && row.name.is_some())
        || rows.iter().any(|row| !row.addresses.is_empty());
    if forwards { rows } else { Vec::new() }
}

/// Those that records name, and those in force now: the daemon's, else the configuration's.
fn databases(
    global: &Global,
    named: BTreeSet<Database>,
    status: Option<&Status>,
) -> Result<Vec<Database>, Failure> {
    let mut found: Vec<Database> = named.into_iter().collect();
    let day = |at: Time| ecs::day(at.0);
    let in_force: Vec<Database> = match status {
        Some(status) => {
            let of = |it: &crate::api::status::Database| Database {
                label: it.label.clone(),
                name: it.name.clone(),
                date: it.built_at.map(day),
                sha256: it.sha256.clone(),
                named_by_records: false,
            };
            status.databases.iter().map(of).collect()
        }
        None if found.is_empty() => {
            let config = load::config(global)?;
            let locator = load::locator(&config)?;
            let of = |it: &crate::locate::Database| Database {
                label: it.label.to_string(),
                name: it.name.clone(),
                date: Some(day(Time(it.built_at))),
                sha256: ecs::hex(&it.sha256),
                named_by_records: false,
            };
            locator.databases().iter().map(of).collect()
        }
        None => Vec::new(),
    };
    for database in in_force {
        let is_known =
            |it: &Database| (&it.label, &it.sha256) == (&database.label, &database.sha256);
        if !found.iter().any(is_known) {
            found.push(database);
        }
    }
    Ok(found)
}
