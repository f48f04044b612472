//! `replay`: judges stored records again, by another policy or other databases, and says what would
//! change. Reads the ledger itself, read-only; alters nothing.

mod rejudge;

use std::{collections::VecDeque, io::Write, ops::ControlFlow, path::Path};

use serde_json::{Value, json};

use self::rejudge::{Change, Rejudge, Tally, operator};
use super::{Failure, Outcome, events, load, out};
use crate::{
    api::EventSource,
    cli::{Exit, Global, Output, ReplayArgs},
    config::Config,
    ecs::{Event, Time},
    event::{Phase, Rollup},
    filter::Query,
    rules::Rules,
    store::Reader,
    table::{Times, bytes, printable, small, styled, verdict_style},
};

/// The word for the database in the program.
const EMBEDDED: &str = "embedded";
/// Changes that a table lists, unless told otherwise.
const LISTED: usize = 20;

const CSV_HEAD: [&str; 14] = [
    "@timestamp",
    "event.id",
    "geofenced.was.verdict",
    "geofenced.verdict",
    "geofenced.was.reason",
    "geofenced.reason",
    "geofenced.certainty",
    "process.name",
    "destination.ip",
    "destination.port",
    "destination.domain",
    "destination.geo.country_iso_code",
    "geofenced.operator",
    "source.bytes",
];

pub(super) fn run(global: &Global, args: &ReplayArgs) -> Outcome {
    let args = &ReplayArgs { filter: load::filter(&args.filter, args.utc)?, ..args.clone() };
    let mut query = load::query(global, &args.filter)?;
    let limit = query.limit.take();
    let config = load::config(global)?;
    let reader = Reader::open(&config.store.path)?;
    let rejudge = rejudge(config, args)?;
    let mut printer = Printer::new(global, args, &query, limit);
    let tally = judge_again(&reader, &query, &rejudge, &mut printer)?;
    printer.finish(&tally)?;
    warn_of_rollups(&reader, &query, &rejudge)?;
    let found = args.fail_on_violation && tally.new_violations > 0;
    Ok(if found { Exit::Violations } else { Exit::Fine })
}

/// The configuration with what the arguments put in the place of it.
fn rejudge(config: Config, args: &ReplayArgs) -> Result<Rejudge, Failure> {
    let mut config = config;
    if let Some(path) = &args.policy {
        config.policy = Config::load(path).map_err(Failure::usage)?.policy;
    }
    let file = |path: &Path| (path != Path::new(EMBEDDED)).then(|| path.to_owned());
    if let Some(path) = &args.database {
        config.geo.database = file(path);
    }
    if let Some(path) = &args.operator_database {
        config.geo.operator_database = file(path);
    }
    let locator = load::locator(&config)?;
    let is_located_again = args.database.is_some() || args.operator_database.is_some();
    Ok(Rejudge::new(Rules::new(config.policy.with_links_followed(), locator), is_located_again))
}

fn judge_again(
    reader: &Reader,
    query: &Query,
    rejudge: &Rejudge,
    printer: &mut Printer,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let mut failed = None;
    EventSource::query(reader, query, &mut |record| {
        tally.judged += 1;
        let was_violation = record.is_violation();
        let Some(change) = rejudge.again(record) else {
            tally.violations += u64::from(was_violation);
            return ControlFlow::Continue(());
        };
        tally.violations += u64::from(change.now.is_violation());
        tally.add(&change);
        match printer.change(change) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    failed.map_or(Ok(tally), |error| Err(error.into()))
}

/// Roll-ups know neither address nor operator: they can't be judged again, which is said.
fn warn_of_rollups(reader: &Reader, query: &Query, rejudge: &Rejudge) -> Result<(), Failure> {
    let (mut flows, mut elsewhere) = (0_u64, 0_u64);
    EventSource::rollups(reader, &query.filter, &mut |rollup: Rollup| {
        flows += rollup.flows;
        if !rejudge.approves(rollup.country) {
            elsewhere += rollup.flows;
        }
        ControlFlow::Continue(())
    })?;
    if flows > 0 {
        eprintln!(
            "{flows} more flows were added up by hour and can't be judged one by one (store.record = \
             \"all\" keeps them); the policy does not approve the country of {elsewhere} of them"
        );
    }
    Ok(())
}

/// Shows changes in the form that was asked for.
struct Printer {
    out: out::Stdout,
    form: Output,
    color: bool,
    clock: Times,
    /// `None`: each is shown at once.
    limit: Option<usize>,
    is_newest_first: bool,
    /// The newest so far, at most `limit`.
    kept: VecDeque<Change>,
    has_head: bool,
}

impl Printer {
    fn new(global: &Global, args: &ReplayArgs, query: &Query, limit: Option<usize>) -> Self {
        let is_table = global.output == Output::Table;
        Self {
            out: out::stdout(),
            form: global.output,
            color: global.color_on_stdout(),
            clock: Times::new(args.utc),
            limit: limit.or(is_table.then_some(LISTED)),
            is_newest_first: query.newest_first,
            kept: VecDeque::new(),
            has_head: false,
        }
    }

    fn change(&mut self, change: Change) -> anyhow::Result<()> {
        let Some(limit) = self.limit else { return self.line(&change) };
        if self.is_newest_first && self.kept.len() >= limit {
            return Ok(());
        }
        self.kept.push_back(change);
        if self.kept.len() > limit {
            self.kept.pop_front();
        }
        Ok(())
    }

    /// Of the forms for programs.
    fn line(&mut self, change: &Change) -> anyhow::Result<()> {
        if self.form == Output::Json {
            return out::json_line(&mut self.out, &json(change)?);
        }
        if !self.has_head {
            out::csv_head(&mut self.out, CSV_HEAD)?;
            self.has_head = true;
        }
        out::csv_line(&mut self.out, csv_row(change)?)
    }

    fn row(&self, change: &Change) -> Vec<String> {
        let (egress, judgement) = (&change.now.egress, &change.now.judgement);
        let event = Event::from(&change.now);
        let (was, now) = (change.was.1.verdict.word(), judgement.verdict.word());
        let sent = match egress.phase {
            Phase::Attempt => Phase::Attempt.to_string(),
            Phase::Sent => bytes(egress.traffic.sent_bytes),
        };
        vec![
            self.clock.format(Time(egress.started_at)),
            styled(was, verdict_style(was), self.color),
            styled(now, verdict_style(now), self.color),
            printable(&judgement.reason.to_string()).into_owned(),
            events::process(&event),
            events::destination(&event, false),
            sent,
        ]
    }

    fn finish(&mut self, tally: &Tally) -> anyhow::Result<()> {
        let kept = std::mem::take(&mut self.kept);
        if self.form == Output::Table {
            self.tables(tally, &kept)?;
        } else {
            kept.iter().try_for_each(|change| self.line(change))?;
            if tally.changed == 0 {
                eprintln!("no verdict would change");
            }
        }
        self.out.flush()?;
        Ok(())
    }

    fn tables(&mut self, tally: &Tally, kept: &VecDeque<Change>) -> anyhow::Result<()> {
        if tally.changed > 0 {
            let rows = tally.kinds().into_iter().map(|(kind, flows, sent)| {
                let country = kind.country.map_or_else(|| "-".to_owned(), |it| it.to_string());
                let (was, now) = (kind.was.word(), kind.now.word());
                vec![
                    flows.to_string(),
                    bytes(sent),
                    styled(was, verdict_style(was), self.color),
                    styled(now, verdict_style(now), self.color),
                    printable(&kind.reason).into_owned(),
                    country,
                    printable(&kind.operator).into_owned(),
                ]
            });
            let head = ["FLOWS", "SENT", "WAS", "WOULD BE", "REASON", "CC", "OPERATOR"];
            out::table(&mut self.out, &small(&head, rows))?;
        }
        if !kept.is_empty() {
            let head = ["TIME", "WAS", "WOULD BE", "REASON", "PROCESS", "DESTINATION", "SENT"];
            let rows: Vec<_> = kept.iter().map(|change| self.row(change)).collect();
            writeln!(self.out)?;
            out::table(&mut self.out, &small(&head, rows))?;
            let more = tally.changed.saturating_sub(kept.len() as u64);
            if more > 0 {
                writeln!(self.out, "... and {more} more; --limit shows them")?;
            }
            writeln!(self.out)?;
        }
        writeln!(
            self.out,
            "Of {} flows {} would be judged otherwise: {} new violations, {} violations less.",
            tally.judged, tally.changed, tally.new_violations, tally.violations_less
        )?;
        writeln!(self.out, "In violation of it are {}.", tally.violations)?;
        Ok(())
    }
}

/// The event as it would be; `geofenced.was` is what was stored.
fn json(change: &Change) -> anyhow::Result<Value> {
    let mut event = serde_json::to_value(Event::from(&change.now))?;
    let (place, judgement) = &change.was;
    let mut was = json!({
        "verdict": judgement.verdict.word(),
        "certainty": judgement.certainty.word(),
        "reason": judgement.reason.to_string(),
    });
    if let Some(code) = place.country.code() {
        was["country_iso_code"] = code.to_string().into();
    }
    event["geofenced"]["was"] = was;
    Ok(event)
}

fn csv_row(change: &Change) -> anyhow::Result<Vec<String>> {
    let value = json(change)?;
    let operator = change.now.place.operator.as_deref().map(operator).unwrap_or_default();
    let cell = |column: &str| {
        if column == "geofenced.operator" {
            return operator.clone();
        }
        match column.split('.').try_fold(&value, |value, key| value.get(key)) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    };
    Ok(CSV_HEAD.iter().map(|column| cell(column)).collect())
}
