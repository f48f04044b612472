//! `top`: what leaves, live, from the daemon. Each module has its part: `feed` asks, `board` keeps, `app` takes
//! keys, `frame` lays out, `screen` has the terminal. This checks what was typed, and prints one frame.

mod app;
mod board;
mod feed;
mod frame;
mod line;
mod screen;
mod tree;

use std::{
    io::{IsTerminal, Write, stdin, stdout},
    time::Duration,
};

use self::{
    app::{App, refused},
    feed::{Ask, Feed, News},
};
use super::{Failure, Outcome, load, out};
use crate::{
    cli::{Exit, Global, Output, TopArgs},
    event::Timestamp,
    filter::RawFilter,
};

/// Totals are of so long before the start, where nothing else is said.
const SINCE: Duration = Duration::from_mins(5);
/// Width of a frame that no terminal gives one.
const WIDTH: usize = 120;

pub(super) fn run(global: &Global, args: &TopArgs) -> Outcome {
    let ask = ask(args)?;
    let socket = load::socket(global)?;
    let every = Duration::from_secs(args.every);
    let mut app = App::new(ask.clone(), args.sort);
    app.utc = args.utc;
    if args.once {
        app.is_interactive = false;
        let feed = Feed::begin(&socket, ask, every)?;
        let found = two_looks(&feed, &mut app);
        feed.end();
        found?;
        print(global, &app)?;
        return Ok(Exit::Fine);
    }
    if global.output != Output::Table {
        return Err(usage(
            "-o json is of one frame: add --once, or ask `geofenced events --follow`",
        ));
    }
    if !stdout().is_terminal() || !stdin().is_terminal() {
        return Err(usage("top needs a terminal; --once prints one frame to anything else"));
    }
    app.color = global.color();
    app.is_ascii = is_ascii();
    let feed = Feed::begin(&socket, ask, every)?;
    screen::run(app, &feed, &socket)?;
    Ok(Exit::Fine)
}

fn usage(problem: &str) -> Failure {
    Failure::usage(anyhow::anyhow!("{problem}"))
}

/// What is asked for. Of times only the beginning can be said: it is live.
fn ask(args: &TopArgs) -> Result<Ask, Failure> {
    let typed = load::filter(&args.filter, args.utc)?;
    let given = [
        ("until", typed.until.is_some()),
        ("interval", typed.interval.is_some()),
        ("limit", typed.limit.is_some()),
        ("reverse", typed.reverse),
    ];
    if let Some(problem) = given.iter().find(|(_, is_given)| *is_given).and_then(|it| refused(it.0))
    {
        return Err(usage(&problem));
    }
    let now = load::now();
    let query = typed.parse(now).map_err(Failure::usage)?;
    let back = u64::try_from(SINCE.as_nanos()).unwrap_or(u64::MAX);
    let since = query.filter.since.unwrap_or(Timestamp(now.0.saturating_sub(back)));
    Ok(Ask { by: args.by, filter: RawFilter { since: None, ..typed }, since })
}

/// A rate is between two.
fn two_looks(feed: &Feed, app: &mut App) -> anyhow::Result<()> {
    for _ in 0..2 {
        match feed.wait() {
            News::Look(look) => app.board.take(*look),
            News::Gone(why) => anyhow::bail!("{why}"),
        }
    }
    Ok(())
}

fn print(global: &Global, app: &App) -> Result<(), Failure> {
    let mut out = out::stdout();
    match global.output {
        Output::Csv => {
            return Err(usage("top has no CSV; write -o json, or ask `geofenced summary`"));
        }
        Output::Json => {
            for line in app.lines() {
                out::json_line(&mut out, line)?;
            }
        }
        Output::Table => {
            let width = out::terminal_width().unwrap_or(WIDTH);
            // As many lines as there are, but for that of the keys.
            let height = app.lines().len().max(1) + 5;
            let lines = frame::frame(app, width, height);
            for (text, _) in &lines[..height - 1] {
                writeln!(out, "{}", text.trim_end())?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

/// Whether the terminal knows letters beyond ASCII, as the locale says (setlocale(3)).
fn is_ascii() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
    let locale = locale.to_lowercase();
    !(locale.contains("utf-8") || locale.contains("utf8"))
}
