//! `events --lookups`: stored questions to resolvers and their answers, from the daemon, else from
//! the ledger.

use std::{io::Write, ops::ControlFlow};

use anstyle::Style;

use super::{
    Failure, Outcome, coverage,
    load::{self, Asked},
    out,
};
use crate::{
    api::client::Client,
    cli::{EventsArgs, Global, Output},
    ecs::{LOOKUP_COLUMNS, LookupEvent, ProcessFields, lookup_row},
    event::{Lookup, script_of},
    table::{self, Column, Lines, Listing, Times, printable},
};

const fn column(head: &'static str, least: usize, share: usize) -> Column {
    Column { head, least, share, is_number: false }
}

const COLUMNS: [Column; 6] = [
    column("TIME", 20, 0),
    column("PROCESS", 15, 1),
    column("TYPE", 5, 0),
    column("QUESTION", 20, 3),
    column("RESOLVER", 12, 1),
    column("ANSWER", 15, 2),
];

struct Printer {
    out: out::Stdout,
    form: Output,
    lines: Lines,
    clock: Times,
    shown: u64,
}

pub(super) fn run(global: &Global, args: &EventsArgs) -> Outcome {
    let query = load::query(global, &args.filter)?.of_lookups().map_err(Failure::usage)?;
    let width = out::terminal_width().filter(|_| !args.wide);
    let mut printer = Printer {
        out: out::stdout(),
        form: global.output,
        lines: Lines::new(Listing::new(COLUMNS, width), false, global.color_on_stdout()),
        clock: Times::new(args.utc),
        shown: 0,
    };
    let socket = load::socket(global)?;
    let asked = Client::new(&socket).map_err(Asked::from).and_then(|client| {
        client.lines("/v1/lookups", &args.filter, |line| {
            printer.line(line).map_err(|error| Asked::Other(error.into()))?;
            Ok(ControlFlow::Continue(()))
        })
    });
    match asked {
        Err(Asked::Client(error)) if error.is_absent() => {
            let reader = load::ledger_instead(global, &error)?;
            let mut failed = None;
            reader.lookups(&query, &mut |lookup: Lookup| match printer
                .lookup(&LookupEvent::from(&lookup))
            {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            })?;
            failed.map_or(Ok(()), Err)?;
        }
        Err(other) => {
            // What came before it broke off is shown.
            write!(printer.out, "{}", printer.lines.rest())?;
            printer.out.flush()?;
            return Err(other.into());
        }
        Ok(()) => {}
    }
    if printer.shown == 0 && matches!(printer.form, Output::Csv) {
        out::csv_head(&mut printer.out, LOOKUP_COLUMNS)?;
    }
    write!(printer.out, "{}", printer.lines.rest())?;
    printer.out.flush()?;
    if printer.shown == 0 {
        eprintln!("no lookups match; they are stored where the configuration has [names] queries");
    }
    if query.is_cut(printer.shown) {
        eprintln!("only the newest {} are shown; --until goes further back", printer.shown);
    }
    coverage::end(global, args.gap, (query.filter.since, query.filter.until))
}

impl Printer {
    fn line(&mut self, line: &[u8]) -> anyhow::Result<()> {
        let event: LookupEvent<'static> = serde_json::from_slice(line).map_err(|error| {
            anyhow::anyhow!("the daemon's answer can't be understood: {error}; are daemon and command of one version?")
        })?;
        self.lookup(&event)
    }

    fn lookup(&mut self, event: &LookupEvent<'_>) -> anyhow::Result<()> {
        let is_first = self.shown == 0;
        self.shown += 1;
        match self.form {
            Output::Json => out::json_line(&mut self.out, event)?,
            Output::Csv => {
                if is_first {
                    out::csv_head(&mut self.out, LOOKUP_COLUMNS)?;
                }
                out::csv_line(&mut self.out, lookup_row(event)?)?;
            }
            Output::Table => {
                let cells = cells(event, &self.clock).map(|text| (text, Style::new()));
                write!(self.out, "{}", self.lines.take(cells.to_vec()))?;
            }
        }
        Ok(())
    }
}

/// Who asked, as `events` tells who sent.
fn asker(process: &ProcessFields<'_>) -> String {
    let (executable, line) = (process.executable.as_deref(), process.command_line.as_deref());
    let script = executable.zip(line).and_then(|(executable, line)| {
        Some(table::script(script_of(executable, line)?, executable))
    });
    let name = script.as_deref().unwrap_or(&process.name);
    table::process(name, process.pid, executable.is_some())
}

fn cells(event: &LookupEvent<'_>, clock: &Times) -> [String; 6] {
    let process = event.process.as_ref();
    let addresses: Vec<String> = event.dns.resolved_ip.iter().map(ToString::to_string).collect();
    let answer = match event.dns.r#type.as_ref() {
        "query" => "?".to_owned(),
        _ if addresses.is_empty() => "-".to_owned(),
        _ => addresses.join(" "),
    };
    [
        clock.format(event.timestamp),
        process.map_or("-".into(), asker),
        printable(&event.dns.question.r#type).into_owned(),
        printable(&event.dns.question.name).into_owned(),
        event.destination.ip.to_string(),
        answer,
    ]
}
