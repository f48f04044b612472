//! `report`: a period as a document, from the daemon, else from the ledger. Asks and writes; what may be
//! said, `report` decides.

mod source;

use std::{
    collections::BTreeSet,
    io::{IsTerminal as _, Write as _, stdout},
};

use self::source::{Asked, Source};
use super::{Failure, Outcome, load, out};
use crate::{
    api::Status,
    cli::{COMMIT, Exit, Global, Output, ReportArgs, VERSION},
    coverage::Coverage,
    ecs::{self, Event, MarkEvent, Time},
    filter::RawFilter,
    locate::NOTICES,
    marks::Intervals,
    printable::printable,
    report::{
        Claim, Comparison, Database, Declared, Facts, LEARNING, Probe, Report, Scope, Side,
        Standing, Tables, Violations, WholeHours, html,
    },
    summary::{By, ROLLED_UP, Row, THIS_HOST},
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
        if report.learning {
            eprintln!("{LEARNING}");
        }
        if let Some([_, beside]) = report.comparison.as_ref().map(|it| &it.periods) {
            eprintln!("{}: {}", printable(&beside.name), beside.coverage.sentence());
        }
        for claim in &report.claims {
            eprintln!("{}: {}", claim.asked, claim.sentence);
        }
    }
    let found = args.fail_on_violation && report.totals.violations > 0;
    let beside = report.comparison.as_ref().is_some_and(Comparison::has_gaps);
    let has_gap = args.fail_on_gap && (beside || report.coverage.has_gaps());
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
    let window = load::filter(&args.period.typed(), args.utc)?;
    let source = Source::open(global)?;
    let marks = source.marks()?;
    let intervals = Intervals::of(&marks);
    let end = load::end(global)?;
    let asked = Asked::new(window, &intervals, end)?;
    let beside = args.compare.as_deref().map(|name| {
        let interval = Some(name.to_owned());
        Asked::new(RawFilter { interval, ..RawFilter::default() }, &intervals, end)
    });
    let beside = beside.transpose()?;
    let mut coverage = source.coverage(&asked)?;
    coverage.watching = source.watching(&asked)?;
    let marks: Vec<MarkEvent<'_>> = marks.iter().map(MarkEvent::from).collect();
    let mut seen =
        Seen { claims: args.claim.clone(), declared: Declared::of(&marks), ..Seen::default() };
    let status = source.status()?;
    let tables = tables(&source, &asked)?;
    let comparison = beside.map(|beside| compared(&source, [&asked, &beside], &coverage, &tables));
    let comparison = comparison.transpose()?;
    let whole_hours = whole_hours(&source, &asked, args, &tables)?;
    let devices = devices(source.rows(&asked, By::Device)?);
    source.events(&asked, &intervals, &mut seen)?;
    let databases = databases(global, std::mem::take(&mut seen.databases), status.as_ref())?;
    let Seen { violations, claims, declared, .. } = seen;
    let Tables { countries, operators, programs, verdicts, .. } = tables;
    Ok(Facts {
        made_at: Time(now),
        interval: asked.interval().map(ToOwned::to_owned),
        countries,
        operators,
        programs,
        devices,
        verdicts,
        whole_hours,
        comparison,
        policies: source.policies(&asked)?,
        scope: scope(&source, status.as_ref()),
        coverage,
        notices: NOTICES.iter().map(ToString::to_string).collect(),
        violations,
        databases,
        claims,
        declared,
        signature: source.signature(status.as_ref()),
    })
}

fn tables(source: &Source, asked: &Asked) -> Result<Tables, Failure> {
    let rows = |by| source.rows(asked, by);
    Ok(Tables {
        countries: rows(By::Country)?,
        operators: rows(By::Operator)?,
        destinations: rows(By::Destination)?,
        programs: rows(By::Process)?,
        verdicts: rows(By::Verdict)?,
    })
}

/// The period, of which all is known by now, beside another one.
fn compared(
    source: &Source,
    [asked, beside]: [&Asked; 2],
    coverage: &Coverage,
    known: &Tables,
) -> Result<Comparison, Failure> {
    let first = Side { name: asked.name(), coverage: coverage.clone(), tables: known.clone() };
    let second = Side {
        name: beside.name(),
        coverage: source.coverage(beside)?,
        tables: tables(source, beside)?,
    };
    Ok(Comparison::new(first, second))
}

/// Totals of the hours that no bound of the period cuts, where a claim is asked for and a bound does cut.
fn whole_hours(
    source: &Source,
    asked: &Asked,
    args: &ReportArgs,
    tables: &Tables,
) -> Result<Option<WholeHours>, Failure> {
    let has_sums = tables.operators.iter().any(|row| row.key == ROLLED_UP);
    if args.claim.is_empty() || !has_sums || asked.is_of_whole_hours() {
        return Ok(None);
    }
    let Some(whole) = asked.whole_hours() else {
        return Ok(Some(WholeHours::default()));
    };
    Ok(Some(WholeHours {
        countries: source.rows(&whole, By::Country)?,
        verdicts: source.rows(&whole, By::Verdict)?,
    }))
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
