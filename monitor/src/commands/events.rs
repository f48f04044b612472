//! `events`: stored egress records from the daemon, else from the ledger; or live ones.

use std::{
    io::{self, Write},
    ops::ControlFlow,
    sync::Arc,
};

use anstyle::Style;

use super::{Failure, Outcome, coverage, load, lookups, out, summary, timelines::Timelines};
use crate::{
    api::{
        EventSource, LostLine,
        client::{Client, ClientError},
    },
    cli::{EventsArgs, Exit, Global, Output},
    ecs::{self, Event, Time},
    event::{Certainty, Origin, Phase, Record, Timestamp, Transport},
    filter::{Query, RawFilter},
    marks::Intervals,
    summary::By,
    table::{self, Column, Listing, Times, WIDTH_UNKNOWN, bytes, printable, verdict_style},
};

const fn column(head: &'static str, least: usize, share: usize) -> Column {
    Column { head, least, share, is_number: false }
}

const SENT: Column = Column { head: "SENT", least: 10, share: 0, is_number: true };

/// For terminals narrower than [`FULL_WIDTH`]. On one of 80 columns an IPv4 address with its port fits.
const NARROW: [Column; 6] = [
    column("TIME", 14, 0),
    column("VERDICT", 10, 0),
    column("CC", 2, 0),
    column("PROCESS", 12, 2),
    column("DESTINATION", 21, 3),
    SENT,
];

const FULL: [Column; 9] = [
    column("TIME", 20, 0),
    column("VERDICT", 10, 0),
    column("CC", 2, 0),
    column("PROCESS", 20, 2),
    column("DESTINATION", 21, 3),
    column("PROTO", 5, 0),
    SENT,
    column("ORIGIN", 13, 0),
    column("REASON", 10, 1),
];
const FULL_WIDTH: usize = 124;

/// Shows events in the form that was asked for.
struct Printer {
    out: out::Stdout,
    form: Form,
    is_live: bool,
    shown: u64,
    violations: u64,
    /// Of what was shown.
    earliest: Option<Timestamp>,
    timelines: Timelines,
}

enum Form {
    Json,
    Csv,
    Table { listing: Listing, clock: Times, color: bool, is_full: bool, is_wide: bool },
}

pub(super) fn run(global: &Global, args: &EventsArgs) -> Outcome {
    let args = &EventsArgs { filter: load::filter(&args.filter, args.utc)?, ..args.clone() };
    if args.lookups {
        return lookups::run(global, args);
    }
    let query = load::query(global, &args.filter)?;
    let window = (query.filter.since, query.filter.until);
    let mut printer = Printer::new(global, args);
    let asked = ask_daemon(global, args, &mut printer);
    match asked {
        Err(Asked::Client(error)) if error.is_absent() && !args.follow => {
            let reader = load::ledger_instead(global, &error)?;
            read_ledger(reader.as_ref(), &query, &mut printer)?;
        }
        Err(Asked::Client(error)) => return Err(error.into()),
        Err(Asked::Other(failure)) => return Err(failure),
        Ok(()) => {}
    }
    printer.finish()?;
    if printer.shown == 0 && !args.follow {
        eprintln!("no events match");
    }
    let found =
        args.fail_on_violation && (printer.violations > 0 || were_added_up(global, args, query)?);
    let covered = if args.follow {
        Exit::Fine
    } else {
        let (since, until) = window;
        coverage::end(global, args.gap, (since.or(printer.earliest), until))?
    };
    Ok(if found { Exit::Violations } else { covered })
}

/// Whether there are violations that have no record of their own: those of users whose share of the
/// store is used up.
fn were_added_up(global: &Global, args: &EventsArgs, query: Query) -> Result<bool, Failure> {
    if args.follow {
        return Ok(false);
    }
    let filter = RawFilter { limit: None, ..args.filter.clone() };
    let query = Query { limit: None, ..query };
    let rows = summary::rows(global, By::Verdict, &filter, query)?;
    let violations: u64 = rows.iter().map(|row| row.violations).sum();
    if violations > 0 {
        eprintln!("{violations} violations were only added up; `geofenced summary` tells them");
    }
    Ok(violations > 0)
}

/// What can end the asking.
enum Asked {
    Client(ClientError),
    Other(Failure),
}

impl From<ClientError> for Asked {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

fn ask_daemon(global: &Global, args: &EventsArgs, printer: &mut Printer) -> Result<(), Asked> {
    let socket = load::socket(global).map_err(Asked::Other)?;
    let path = if args.follow { "/v1/events/stream" } else { "/v1/events" };
    Client::new(&socket)?.lines(path, &args.filter, |line| {
        printer.line(line).map_err(|error| Asked::Other(error.into()))?;
        let is_enough = args.follow && args.fail_on_violation && printer.violations > 0;
        Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
}

fn read_ledger(
    reader: &dyn EventSource,
    query: &Query,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let mut failed = None;
    let marks = reader.marks()?;
    let intervals = Intervals::of(marks.iter().map(Arc::as_ref));
    reader.query(query, &mut |record: Record| match printer
        .event(&Event::marked(&record, &intervals))
    {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

impl Printer {
    fn new(global: &Global, args: &EventsArgs) -> Self {
        let form = match global.output {
            Output::Json => Form::Json,
            Output::Csv => Form::Csv,
            Output::Table => {
                let width = out::terminal_width().filter(|_| !args.wide);
                let is_full = width.unwrap_or(WIDTH_UNKNOWN.max(FULL_WIDTH)) >= FULL_WIDTH;
                let columns: &'static [Column] = if is_full { &FULL } else { &NARROW };
                Form::Table {
                    listing: Listing::new(columns, width),
                    clock: Times::new(args.utc),
                    color: global.color_on_stdout(),
                    is_full,
                    is_wide: width.is_none(),
                }
            }
        };
        Self {
            out: out::stdout(),
            form,
            is_live: args.follow,
            shown: 0,
            violations: 0,
            earliest: None,
            timelines: Timelines::default(),
        }
    }

    /// A line of the daemon.
    fn line(&mut self, line: &[u8]) -> anyhow::Result<()> {
        if line.starts_with(br#"{"geofenced":{"lost":"#) {
            let lost: LostLine = serde_json::from_slice(line)?;
            self.out.flush()?;
            eprintln!("{} events were not shown: this reader is too slow", lost.geofenced.lost);
            return Ok(());
        }
        let event: Event<'static> = serde_json::from_slice(line).map_err(|error| {
            anyhow::anyhow!("the daemon's answer can't be understood: {error}; are daemon and command of one version?")
        })?;
        self.event(&event)
    }

    fn event(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        let is_first = self.shown == 0;
        match &self.form {
            Form::Json => out::json_line(&mut self.out, event)?,
            Form::Csv => {
                if is_first {
                    out::csv_head(&mut self.out, ecs::COLUMNS)?;
                }
                out::csv_line(&mut self.out, ecs::row(event)?)?;
            }
            Form::Table { listing, clock, color, is_full, is_wide } => {
                if is_first {
                    writeln!(self.out, "{}", listing.head())?;
                }
                let cells = cells(event, clock, *is_full, *is_wide);
                writeln!(self.out, "{}", listing.row(&cells, *color))?;
            }
        }
        self.shown += 1;
        self.timelines.add(event);
        self.violations += u64::from(event.is_violation());
        let Time(started_at) = event.timestamp;
        self.earliest = Some(self.earliest.map_or(started_at, |earliest| earliest.min(started_at)));
        if self.is_live {
            self.out.flush()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()?;
        for line in self.timelines.lines() {
            eprintln!("{line}");
        }
        Ok(())
    }
}

fn cells(event: &Event<'_>, clock: &Times, is_full: bool, is_wide: bool) -> Vec<(String, Style)> {
    let plain = |text: String| (text, Style::new());
    let verdict = event.geofenced.verdict.as_ref();
    let time =
        if is_full { clock.format(event.timestamp) } else { clock.format_short(event.timestamp) };
    let sent = if event.geofenced.phase == Phase::Attempt.word() {
        Phase::Attempt.to_string()
    } else {
        bytes(event.source.bytes)
    };
    let mut cells = vec![
        plain(time),
        (printable(verdict).into_owned(), verdict_style(verdict)),
        plain(country(event)),
        plain(process(event)),
        plain(destination(event, is_wide)),
    ];
    if is_full {
        let transport = event.network.transport.as_deref();
        cells.push(plain(transport.map_or_else(|| "-".to_owned(), protocol)));
    }
    cells.push(plain(sent));
    if is_full {
        cells.push(plain(printable(&event.geofenced.origin).into_owned()));
        cells.push(plain(reason(event)));
    }
    cells
}

/// With a mark where only the second database objects, or where later rules object no more.
fn reason(event: &Event<'_>) -> String {
    let reason = printable(&event.geofenced.reason);
    let is_disputed = event.geofenced.certainty == Certainty::Disputed.word();
    let disputed = if is_disputed { ", disputed" } else { "" };
    let now = event.geofenced.verdict_now.as_deref();
    let now = now.map(|verdict| format!(", now {}", printable(verdict))).unwrap_or_default();
    format!("{reason}{disputed}{now}")
}

fn country(event: &Event<'_>) -> String {
    let code = event.destination.geo.as_ref().map(|geo| printable(&geo.country_iso_code));
    code.map_or_else(|| "-".to_owned(), std::borrow::Cow::into_owned)
}

fn process(event: &Event<'_>) -> String {
    match &event.process {
        Some(it) => table::process(&it.name, it.pid, it.executable.is_some()),
        None if event.geofenced.origin == Origin::Process.word() => "(unknown)".to_owned(),
        None => match (&event.source.ip, &event.geofenced.origin) {
            (Some(device), origin) if *origin == Origin::Forwarded.word() => format!("({device})"),
            (_, origin) => format!("({})", printable(origin)),
        },
    }
}

fn destination(event: &Event<'_>, is_wide: bool) -> String {
    let to = &event.destination;
    let port = to.port.map(|port| format!(":{port}")).unwrap_or_default();
    let Some(ip) = to.ip else { return "(unknown)".to_owned() };
    match &to.domain {
        Some(domain) if is_wide => format!("{}{port} ({ip})", printable(domain)),
        Some(domain) => format!("{}{port}", printable(domain)),
        None if ip.is_ipv6() && to.port.is_some() => format!("[{ip}]{port}"),
        None => format!("{ip}{port}"),
    }
}

fn protocol(transport: &str) -> String {
    if Transport::parse(transport) == Some(Transport::ICMPV6) {
        return "icmp6".to_owned();
    }
    printable(transport).into_owned()
}
