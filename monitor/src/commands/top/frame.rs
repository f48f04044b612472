//! What stands on the screen, as lines of text with a style each: never more lines than there is room for, none
//! wider, and no text of others in it does anything. Decides nothing, and writes to no terminal.

use ratatui::style::{Color, Modifier, Style};
use unicode_width::UnicodeWidthStr as _;

use super::{
    app::{App, Over, View},
    line::Line,
    tree,
};
use crate::{
    api::status::Status,
    ecs::Time,
    table::{Column, Listing, Times, bytes, printable},
};

/// A line of the screen.
pub(super) type Shown = (String, Style);

/// Lines above the list, its head among them.
const HEAD: usize = 4;
/// Widths of the bars, least first.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const BARS_ASCII: [char; 8] = [' ', '.', ':', '-', '=', '+', '*', '#'];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Mark,
    Rate,
    Sent,
    Received,
    Flows,
    Country,
    Program,
    User,
    Unit,
    Destination,
    Since,
    Reason,
    Key,
    Violations,
}

/// Narrowest width from which on these are shown, most first. Reason and rate stay at each.
const FLOWS: [(usize, &[Field]); 4] = [
    (
        150,
        &[
            Field::Mark,
            Field::Rate,
            Field::Sent,
            Field::Received,
            Field::Country,
            Field::Program,
            Field::User,
            Field::Unit,
            Field::Destination,
            Field::Since,
            Field::Reason,
        ],
    ),
    (
        110,
        &[
            Field::Mark,
            Field::Rate,
            Field::Sent,
            Field::Country,
            Field::Program,
            Field::User,
            Field::Destination,
            Field::Since,
            Field::Reason,
        ],
    ),
    (
        76,
        &[
            Field::Mark,
            Field::Rate,
            Field::Sent,
            Field::Country,
            Field::Program,
            Field::Destination,
            Field::Reason,
        ],
    ),
    (
        0,
        &[
            Field::Mark,
            Field::Rate,
            Field::Country,
            Field::Program,
            Field::Destination,
            Field::Reason,
        ],
    ),
];
const GROUPS: [(usize, &[Field]); 2] = [
    (
        76,
        &[
            Field::Mark,
            Field::Rate,
            Field::Sent,
            Field::Received,
            Field::Flows,
            Field::Violations,
            Field::Key,
        ],
    ),
    (0, &[Field::Mark, Field::Rate, Field::Sent, Field::Violations, Field::Key]),
];

/// The whole screen.
pub(super) fn frame(app: &App, width: usize, height: usize) -> Vec<Shown> {
    let mut out = head(app, width);
    let room = height.saturating_sub(out.len() + 1);
    match &app.over {
        Over::Help => out.extend(HELP.iter().take(room).map(|it| plain((*it).to_owned()))),
        Over::Detail { lines, from } => {
            let shown = lines.iter().skip(*from).take(room);
            out.extend(shown.map(|line| plain(printable(line).into_owned())));
        }
        Over::Nothing => out.extend(list(app, width, room)),
    }
    out.truncate(height.saturating_sub(1));
    out.resize(height.saturating_sub(1), plain(String::new()));
    if height > 0 {
        out.push(foot(app));
    }
    out.into_iter().map(|(text, style)| (cut(app, &text, width), style)).collect()
}

/// How many lines of the list there is room for.
pub(super) fn room(height: usize) -> usize {
    height.saturating_sub(HEAD + 1)
}

fn plain(text: String) -> Shown {
    (text, Style::new())
}

/// At most so wide; where the terminal knows no more than ASCII, of that alone.
fn cut(app: &App, text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let c = if app.is_ascii && !c.is_ascii() { if c == '…' { '~' } else { '?' } } else { c };
        used += unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if used > width {
            break;
        }
        out.push(c);
    }
    out
}

fn rate(bytes_a_second: u64) -> String {
    if bytes_a_second == 0 { "-".to_owned() } else { format!("{}/s", bytes(bytes_a_second)) }
}

fn head(app: &App, width: usize) -> Vec<Shown> {
    let board = &app.board;
    let clock = Times::new(app.utc);
    let state = match (&board.gone, &board.status) {
        (Some(why), _) => (format!("no answer, waiting: {}", printable(why)), app.bad()),
        (None, None) => plain("asking the daemon ...".to_owned()),
        (None, Some(status)) => watching(app, status, &clock),
    };
    let since = clock.format_clock(Time(app.ask.since));
    let totals = format!(
        "violations {} | unapproved {}, {} | all {}, {} since {since}",
        board.violations,
        rate(board.unapproved.rate),
        bytes(board.unapproved.sent),
        rate(board.total.rate),
        bytes(board.total.sent)
    );
    let totals = (totals, if board.violations > 0 { app.bad() } else { Style::new() });
    let mut out = vec![state, totals, plain(strip(app, width))];
    let (listing, _) = layout(app, width);
    let head = if app.view == View::Tree { tree::HEAD.to_owned() } else { listing.head() };
    out.push((head, Style::new().add_modifier(Modifier::BOLD | Modifier::UNDERLINED)));
    out
}

fn watching(app: &App, status: &Status, clock: &Times) -> Shown {
    let lost: u64 = status.losses.iter().map(|loss| loss.count).sum();
    let since = status.coverage_since.map(|since| format!("watched since {}", clock.format(since)));
    let since = since.unwrap_or_else(|| "NOT WATCHED".to_owned());
    let mut text = format!(
        "geofenced: {since} | tier {} | lost {lost} | open flows {}",
        printable(&status.tier),
        status.flows
    );
    if let Some(warning) = status.warnings.first() {
        let more = status.warnings.len() - 1;
        let more = if more > 0 { format!(" (+{more})") } else { String::new() };
        text = format!("{text} | warning: {}{more}", printable(warning));
    }
    let is_fine = status.ready && lost == 0 && status.coverage_since.is_some();
    (text, if is_fine { Style::new() } else { app.bad() })
}

/// Bytes a second over the last minutes, the newest on the right.
fn strip(app: &App, width: usize) -> String {
    let bars = if app.is_ascii { BARS_ASCII } else { BARS };
    let most = app.board.strip.iter().copied().max().unwrap_or(0);
    let label = format!(" peak {}", rate(most));
    let room = width.saturating_sub(label.width());
    let looks = app.board.strip.iter().skip(app.board.strip.len().saturating_sub(room));
    let bar = |value: &u64| match (*value, most) {
        (0, _) | (_, 0) => ' ',
        (value, most) => {
            let step = u128::from(value) * 8 / (u128::from(most) + 1);
            bars[usize::try_from(step).unwrap_or(0).min(7)]
        }
    };
    let text: String = looks.map(bar).collect();
    format!("{text:>room$}{label}")
}

fn layout(app: &App, width: usize) -> (Listing, &'static [Field]) {
    let by = app.ask.by;
    let layouts: &[(usize, &'static [Field])] = if by.is_some() { &GROUPS } else { &FLOWS };
    let found = layouts.iter().find(|(least, _)| *least <= width);
    let fields = found.map_or(FLOWS[3].1, |(_, fields)| fields);
    let is_narrow = fields.len() == FLOWS[3].1.len();
    let columns: Vec<Column> = fields.iter().map(|field| column(*field, is_narrow)).collect();
    (Listing::new(columns, Some(width)), fields)
}

fn column(field: Field, is_narrow: bool) -> Column {
    let of = |head, least, share| Column { head, least, share, is_number: false };
    let number = |head, least| Column { head, least, share: 0, is_number: true };
    match field {
        Field::Mark => of(" ", 1, 0),
        Field::Rate => number("RATE", 12),
        Field::Sent => number("SENT", 10),
        Field::Received => number("RECEIVED", 10),
        Field::Flows => number("FLOWS", 8),
        Field::Violations => number("VIOLATE", 7),
        Field::Country => of("CC", 2, 0),
        Field::Program => of("PROGRAM", if is_narrow { 7 } else { 8 }, 2),
        Field::User => of("USER", 8, 0),
        Field::Unit => of("UNIT", 10, 1),
        // So that an IPv4 address with its port fits.
        Field::Destination => of("DESTINATION", 21, 3),
        Field::Since => of("SINCE", 8, 0),
        Field::Reason => of("REASON", if is_narrow { 7 } else { 9 }, 1),
        Field::Key => of("KEY", 10, 1),
    }
}

/// What a line is, also without colour: in violation, ended, only tried.
fn mark(line: &Line) -> &'static str {
    match (line.violations > 0, line.ended, &*line.verdict) {
        (true, false, _) => "!",
        (true, true, _) => "x",
        (false, true, _) => "-",
        (.., "unknown") => "?",
        _ => " ",
    }
}

fn cell(line: &Line, field: Field, is_narrow: bool, clock: &Times) -> String {
    match field {
        Field::Mark => mark(line).to_owned(),
        Field::Rate if line.ended => "ended".to_owned(),
        Field::Rate => rate(line.rate),
        Field::Sent => bytes(line.sent),
        Field::Received => bytes(line.received),
        Field::Flows => line.flows.to_string(),
        Field::Violations => line.violations.to_string(),
        Field::Country => line.country.clone(),
        Field::Program if is_narrow => line.name().to_owned(),
        Field::Program => line.program.clone(),
        Field::User => line.user.clone(),
        Field::Unit => line.unit.clone(),
        Field::Destination => line.destination.clone(),
        Field::Since => line.since.map_or("-".to_owned(), |at| clock.format_clock(at)),
        Field::Reason => line.reason.clone(),
        Field::Key => line.key.clone(),
    }
}

fn list(app: &App, width: usize, room: usize) -> Vec<Shown> {
    let lines = app.lines();
    if app.view == View::Tree {
        return tree::tree(&lines).into_iter().skip(app.first).take(room).map(plain).collect();
    }
    let (listing, fields) = layout(app, width);
    let clock = Times::new(app.utc);
    let selected = app.selected(&lines);
    let shown = lines.iter().enumerate().skip(app.first).take(room);
    let shown = shown.map(|(number, line)| {
        let cells: Vec<_> = fields
            .iter()
            .map(|field| (cell(line, *field, width < FLOWS[1].0, &clock), anstyle::Style::new()))
            .collect();
        let style = style(app, line);
        let is_selected = app.is_interactive && selected == Some(number);
        let style = if is_selected { style.add_modifier(Modifier::REVERSED) } else { style };
        (listing.row(&cells, false), style)
    });
    let mut out: Vec<Shown> = shown.collect();
    if out.is_empty() && app.board.status.is_some() {
        out.push(plain("nothing leaves that matches".to_owned()));
    }
    out
}

fn style(app: &App, line: &Line) -> Style {
    if line.ended || app.board.gone.is_some() {
        return Style::new().add_modifier(Modifier::DIM);
    }
    match &*line.verdict {
        _ if line.violations > 0 => app.bad(),
        "unknown" if app.color => Style::new().fg(Color::Yellow),
        _ => Style::new(),
    }
}

fn foot(app: &App) -> Shown {
    if let Some(prompt) = &app.prompt {
        let problem = prompt.problem.as_deref().map(|it| format!("  [{}]", printable(it)));
        let text =
            format!("{}: {}_{}", prompt.asks.word(), prompt.text, problem.unwrap_or_default());
        return (printable(&text).into_owned(), Style::new().add_modifier(Modifier::BOLD));
    }
    let mut text = match &app.over {
        Over::Nothing => "q quit ? keys / filter g group s sort t tree enter detail space pause",
        Over::Help | Over::Detail { .. } => "esc back, up and down move, q quit",
    }
    .to_owned();
    let by = app.ask.by.map(|by| format!(" by {by}")).unwrap_or_default();
    let turned = if app.is_reversed { " reversed" } else { "" };
    let filter =
        if app.typed.is_empty() { String::new() } else { format!(" filter {}", app.typed) };
    let paused = if app.is_paused { "PAUSED " } else { "" };
    let part = if app.board.is_cut { " newest flows only" } else { "" };
    text = format!("{paused}{}{turned}{by}{filter}{part} | {text}", app.order.word());
    (printable(&text).into_owned(), Style::new().add_modifier(Modifier::REVERSED))
}

const HELP: [&str; 21] = [
    "",
    "  up down k j       move; pgup pgdn home end too",
    "  enter             everything of the line's flow, as `geofenced show` prints it",
    "  /                 filter: country=CN process=curl verdict=unapproved user=... as the options",
    "                    of `events` are called, and words that stand anywhere in a line; empty: all",
    "  g                 add up by up to three keys: country operator process destination device",
    "                    verdict user unit container port parent hour; empty: each flow by itself",
    "  s S               sort by the next, the one before; r turns it round",
    "  t                 process tree, and back",
    "  space             pause, and go on",
    "  q ctrl-c          quit; esc goes back",
    "",
    "  ! in violation    x ended, was in violation    - ended    ? unknown country",
    "",
    "  RATE is bytes a second between the last two looks. SENT of a flow is of all its life, and in",
    "  groups and in the line above since the time told there: IP bytes, headers included.",
    "  (rolled up): what no record is kept of, by program and country ([store] record).",
    "  What has ended fades, and goes after 5 seconds; what is silent after 2 minutes.",
    "",
    "  lost: what the daemon could not tell, since its start; `geofenced status` says where.",
    "  The strip has a bar a look, the newest on the right.",
];

#[cfg(test)]
mod tests;
