//! `events`: stored egress records from the daemon, else from the ledger; or live ones.

mod follow;
mod layout;
mod tree;

use std::{io::Write, ops::ControlFlow, sync::Arc};

use layout::Layout;
pub(super) use layout::{destination, process};
use tree::Tree;

use super::{
    Failure, Outcome, coverage, hints, learning,
    load::{self, Asked},
    lookups, out,
    timelines::Timelines,
    totals,
};
use crate::{
    api::{EventSource, LostLine, client::Client},
    cli::{EventsArgs, Exit, Global, Output},
    ecs::{self, Event, Time},
    event::{Record, Timestamp},
    filter::{Query, RawFilter},
    marks::Intervals,
    summary::By,
    table::{Lines, Listing, Times, counted},
};

/// How they are shown, beside the form of every answer.
#[derive(Clone, Copy, Debug, Default)]
struct Manner {
    is_live: bool,
    is_wide: bool,
    utc: bool,
    /// As the tree of this process.
    tree: Option<u32>,
}

impl From<&EventsArgs> for Manner {
    fn from(args: &EventsArgs) -> Self {
        Self { is_live: args.follow, is_wide: args.wide, utc: args.utc, tree: args.tree }
    }
}

/// Shows events in the form that was asked for.
struct Printer {
    out: out::Stdout,
    form: Form,
    is_live: bool,
    shown: u64,
    violations: u64,
    unraised: u64,
    /// Of what was shown.
    earliest: Option<Timestamp>,
    timelines: Timelines,
}

enum Form {
    Json,
    Csv,
    Table {
        lines: Lines,
        layout: Layout,
    },
    /// Told at the end.
    Tree(Tree, Output),
}

pub(super) fn run(global: &Global, args: &EventsArgs) -> Outcome {
    let filter = RawFilter {
        tree: args.tree.map(|pid| pid.to_string()),
        ..load::filter(&args.filter, args.utc)?
    };
    let args = &EventsArgs { filter, ..args.clone() };
    if args.lookups {
        return lookups::run(global, args);
    }
    if args.tree.is_some() && global.output == Output::Csv {
        return Err(Failure::usage(anyhow::anyhow!(
            "--tree: a tree is told as a table or as JSON"
        )));
    }
    let query = load::query(global, &args.filter)?;
    learning::say(global);
    let window = (query.filter.since, query.filter.until);
    let mut printer = Printer::new(global, args.into());
    let asked = if args.follow {
        follow::run(global, args, &mut printer)
    } else {
        ask_daemon(global, args, &mut printer)
    };
    match asked {
        Err(Asked::Client(error)) if error.is_absent() && !args.follow => {
            let reader = load::ledger_instead(global, &error)?;
            read_ledger(reader.as_ref(), &query, &mut printer)?;
        }
        Err(other) => {
            // What came before it broke off is shown.
            printer.finish()?;
            return Err(other.into());
        }
        Ok(()) => {}
    }
    printer.finish()?;
    learning::say_unraised(global, printer.unraised);
    if printer.shown == 0 && !args.follow {
        eprintln!("no events match");
        hints::of_nothing(global, &args.filter)?;
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

/// Shows these alone.
pub(super) fn show(global: &Global, utc: bool, records: &[&Record]) -> anyhow::Result<()> {
    let mut printer = Printer::new(global, Manner { utc, ..Manner::default() });
    records.iter().try_for_each(|record| printer.event(&Event::from(*record)))?;
    printer.finish()
}

/// Whether there are violations that have no record of their own: those of users whose share of the
/// store is used up.
fn were_added_up(global: &Global, args: &EventsArgs, query: Query) -> Result<bool, Failure> {
    if args.follow {
        return Ok(false);
    }
    let filter = RawFilter { limit: None, ..args.filter.clone() };
    let query = Query { limit: None, ..query };
    let rows = totals::rows(global, By::Verdict, &filter, query)?.rows;
    let violations: u64 = rows.iter().map(|row| row.violations).sum();
    if violations > 0 {
        let were = counted(violations, "violation was", "violations were");
        eprintln!("{were} only added up; `geofenced summary` tells them");
    }
    Ok(violations > 0)
}

fn ask_daemon(global: &Global, args: &EventsArgs, printer: &mut Printer) -> Result<(), Asked> {
    let socket = load::socket(global).map_err(Asked::Other)?;
    Client::new(&socket)?.lines("/v1/events", &args.filter, |line| {
        printer.line(line).map_err(|error| Asked::Other(error.into()))?;
        Ok(ControlFlow::Continue(()))
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

/// A line of the daemon that is an event.
fn read(line: &[u8]) -> anyhow::Result<Event<'static>> {
    serde_json::from_slice(line).map_err(|error| {
        anyhow::anyhow!("the daemon's answer can't be understood: {error}; are daemon and command of one version?")
    })
}

const LOST: &[u8] = br#"{"geofenced":{"lost":"#;

impl Printer {
    fn new(global: &Global, manner: Manner) -> Self {
        let Manner { is_live, is_wide, utc, tree } = manner;
        let form = match (tree, global.output) {
            (Some(pid), output) => Form::Tree(Tree::of(pid), output),
            (None, Output::Json) => Form::Json,
            (None, Output::Csv) => Form::Csv,
            (None, Output::Table) => {
                let width = out::terminal_width().filter(|_| !is_wide);
                let layout = Layout::new(width, is_live, is_wide, Times::new(utc));
                let listing = Listing::new(layout.columns(), width);
                let lines = Lines::new(listing, is_live, global.color_on_stdout());
                Form::Table { lines, layout }
            }
        };
        Self {
            out: if is_live { out::stdout() } else { out::paged(global) },
            form,
            is_live,
            shown: 0,
            violations: 0,
            unraised: 0,
            earliest: None,
            timelines: Timelines::default(),
        }
    }

    /// A line of the daemon.
    fn line(&mut self, line: &[u8]) -> anyhow::Result<()> {
        if line.starts_with(LOST) {
            let lost: LostLine = serde_json::from_slice(line)?;
            self.out.flush()?;
            let events = counted(lost.geofenced.lost, "event was", "events were");
            eprintln!("{events} not shown: this reader is too slow");
            return Ok(());
        }
        self.event(&read(line)?)
    }

    fn event(&mut self, event: &Event<'_>) -> anyhow::Result<()> {
        let is_first = self.shown == 0;
        match &mut self.form {
            Form::Tree(tree, _) => {
                if !tree.add(event) {
                    return Ok(());
                }
            }
            Form::Json => out::json_line(&mut self.out, event)?,
            Form::Csv => {
                if is_first {
                    out::csv_head(&mut self.out, ecs::COLUMNS)?;
                }
                out::csv_line(&mut self.out, ecs::row(event)?)?;
            }
            Form::Table { lines, layout } => {
                write!(self.out, "{}", lines.take(layout.cells(event)))?;
            }
        }
        self.shown += 1;
        self.timelines.add(event);
        self.violations += u64::from(event.is_violation());
        self.unraised += u64::from(event.is_unraised());
        let Time(started_at) = event.timestamp;
        self.earliest = Some(self.earliest.map_or(started_at, |earliest| earliest.min(started_at)));
        if self.is_live {
            self.out.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }

    /// With what comes at the end; a pager has been left after it.
    fn finish(&mut self) -> anyhow::Result<()> {
        match &mut self.form {
            Form::Tree(tree, output) => {
                let tree = std::mem::replace(tree, Tree::of(0));
                let left_out = tree.left_out();
                match output {
                    _ if self.shown == 0 => {}
                    Output::Table => out::table(&mut self.out, &tree.table())?,
                    _ => tree.lines().try_for_each(|it| out::json_line(&mut self.out, &it))?,
                }
                if left_out > 0 {
                    let events = counted(left_out, "event is", "events are");
                    eprintln!("{events} of processes beyond those that are kept");
                }
            }
            Form::Csv if self.shown == 0 => out::csv_head(&mut self.out, ecs::COLUMNS)?,
            Form::Table { lines, .. } => write!(self.out, "{}", lines.rest())?,
            _ => {}
        }
        self.out.flush()?;
        self.out = out::stdout();
        for line in self.timelines.lines() {
            eprintln!("{line}");
        }
        Ok(())
    }
}
