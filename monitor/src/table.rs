//! Tables for people: columns that fit the terminal, people's units, colours, times. Renders text;
//! asks nobody. Control characters in names that others chose never reach the terminal.

mod lines;

use std::{
    borrow::Cow,
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use anstyle::{AnsiColor, Style};
use comfy_table::{
    ColumnConstraint, ContentArrangement, Table, TableComponent, Width, presets::NOTHING,
};
use jiff::tz::TimeZone;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

pub use crate::printable::printable;
use crate::{ecs::Time, event::Verdict};
pub use lines::Lines;

/// Width that is assumed where there is no terminal to ask.
pub const WIDTH_UNKNOWN: usize = 120;
const ELLIPSIS: &str = "…";
const GAP: &str = "  ";

/// The colour of a verdict, by its word; plain for a word of a newer daemon.
pub fn verdict_style(word: &str) -> Style {
    match Verdict::parse(word) {
        Some(Verdict::Unapproved) => AnsiColor::Red.on_default().bold(),
        Some(Verdict::Unknown) => AnsiColor::Yellow.on_default(),
        Some(Verdict::Approved) => AnsiColor::Green.on_default(),
        Some(Verdict::Local) => Style::new().dimmed(),
        None => Style::new(),
    }
}

/// `text` in `style`, where `color`.
pub fn styled(text: &str, style: Style, color: bool) -> String {
    if color { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// A process by its name and pid. With a question mark where no more is known of the program than
/// what the process says.
pub fn process(name: &str, pid: u32, is_known: bool) -> String {
    let mark = if is_known { "" } else { "?" };
    format!("{mark}{}[{pid}]", printable(name))
}

/// A script with what runs it, each by its name alone: `live.py (python3.11)`.
pub fn script(script: &str, interpreter: &str) -> String {
    let name = |path: &str| path.rsplit('/').find(|it| !it.is_empty()).unwrap_or(path).to_owned();
    format!("{} ({})", name(script), name(interpreter))
}

/// Bytes in people's units, powers of 1024: `999 B`, `1.5 KiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        // What would be written as 1024.0 belongs to the next unit.
        if value < 1023.95 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Seconds in people's units, two of them: `3d 4h`, `12m 5s`.
pub fn span(seconds: u64) -> String {
    const UNITS: [(u64, char); 4] = [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')];
    let mut rest = seconds;
    let mut parts = Vec::with_capacity(2);
    for (size, unit) in UNITS {
        let count = rest / size;
        rest %= size;
        if count > 0 && parts.len() < 2 {
            parts.push(format!("{count}{unit}"));
        } else if !parts.is_empty() {
            break;
        }
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// Of what is shown and typed.
pub fn zone(utc: bool) -> TimeZone {
    if utc { TimeZone::UTC } else { TimeZone::system() }
}

/// Writes times in one zone.
#[derive(Clone, Debug)]
pub struct Times(TimeZone);

impl Times {
    pub fn new(utc: bool) -> Self {
        Self(zone(utc))
    }

    /// `2026-11-24 08:00:00`, with a `Z` where it is UTC.
    pub fn format(&self, time: Time) -> String {
        self.in_form(time, if self.0 == TimeZone::UTC { "%F %TZ" } else { "%F %T" })
    }

    /// `2026-11-24`.
    pub fn date(&self, time: Time) -> String {
        self.in_form(time, "%F")
    }

    /// `08:00:00`: where there is no room for the day.
    pub fn format_clock(&self, time: Time) -> String {
        self.in_form(time, "%T")
    }

    /// `11-24 08:00:00`: where there is no room for the year.
    pub fn format_short(&self, time: Time) -> String {
        self.in_form(time, "%m-%d %T")
    }

    fn in_form(&self, time: Time, form: &str) -> String {
        let Some(at) = time.to_jiff() else { return "never".to_owned() };
        at.to_zoned(self.0.clone()).strftime(form).to_string()
    }
}

/// `1 block`, `2 blocks`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// A small table, a line only between head and body, shrunk to the terminal's width if there is one.
pub fn small(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_style(TableComponent::HeaderLines, '─')
        .set_style(TableComponent::MiddleHeaderIntersections, '─')
        .set_content_arrangement(ContentArrangement::Dynamic);
    if !head.is_empty() {
        table.set_header(head);
    }
    let mut whole: Vec<usize> = Vec::new();
    for row in rows {
        whole.resize(whole.len().max(row.len()), 0);
        for (least, cell) in whole.iter_mut().zip(&row) {
            let addresses = cell.split_whitespace().filter(|it| is_address(it));
            *least = addresses.map(UnicodeWidthStr::width).fold(*least, usize::max);
        }
        table.add_row(row);
    }
    // Nobody copies an address from two lines.
    for (index, least) in whole.into_iter().enumerate().filter(|(_, least)| *least > 0) {
        if let Some(column) = table.column_mut(index) {
            // A blank on either side belongs to the cell.
            let least = u16::try_from(least + 2).unwrap_or(u16::MAX);
            column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(least)));
        }
    }
    table
}

/// One column of a [`Listing`].
#[derive(Clone, Copy, Debug)]
pub struct Column {
    pub head: &'static str,
    /// Least width.
    pub least: usize,
    /// Share of the width that is left over; 0: always the least width.
    pub share: usize,
    pub is_number: bool,
}

/// Rows of fixed columns, printed one at a time: an endless listing in constant memory, which a
/// table crate that sizes columns by all rows can't give.
#[derive(Clone, Debug)]
pub struct Listing {
    columns: Vec<Column>,
    widths: Vec<usize>,
    is_cut: bool,
}

impl Listing {
    /// `width` `None`: nothing is shortened.
    pub fn new(columns: impl Into<Vec<Column>>, width: Option<usize>) -> Self {
        let columns = columns.into();
        let gaps = GAP.len() * columns.len().saturating_sub(1);
        let least: usize = columns.iter().map(|column| column.least).sum();
        let shares: usize = columns.iter().map(|column| column.share).sum();
        let spare = width.unwrap_or(WIDTH_UNKNOWN).saturating_sub(least + gaps);
        let widths = columns
            .iter()
            .map(|column| column.least + (spare * column.share).checked_div(shares).unwrap_or(0))
            .collect();
        Self { columns, widths, is_cut: width.is_some() }
    }

    /// Makes each column as wide as what stands in these rows, if all of it has room; else they stay as they are.
    fn fit(&mut self, rows: &[Vec<(String, Style)>]) {
        let widest = |index: usize| {
            let cells = rows.iter().filter_map(|row| row.get(index));
            let cells = cells.map(|(text, _)| printable(text).width());
            cells.fold(self.columns[index].head.width(), usize::max)
        };
        let natural: Vec<usize> = (0..self.columns.len()).map(widest).collect();
        let room: usize = self.widths.iter().sum();
        if !self.is_cut || natural.iter().sum::<usize>() <= room {
            self.widths = natural;
        }
    }

    pub fn head(&self) -> String {
        let heads: Vec<(String, Style)> =
            self.columns.iter().map(|column| (column.head.to_owned(), Style::new())).collect();
        self.row(&heads, false)
    }

    /// One line without its end. Cells beyond the columns are ignored.
    pub fn row(&self, cells: &[(String, Style)], color: bool) -> String {
        let mut line = String::new();
        let last = self.columns.len().saturating_sub(1);
        let mut too_wide = 0;
        for (index, ((text, style), column)) in cells.iter().zip(&self.columns).enumerate() {
            let width = self.widths[index];
            let text = &printable(text);
            let is_cut = self.is_cut && !is_address(text);
            let text = if is_cut { shortened(text, width) } else { Cow::Borrowed(text.as_ref()) };
            // What a cell took beyond its width those behind it give back, as far as they are blank.
            let blank = width.saturating_sub(text.width());
            let given = blank.min(too_wide);
            too_wide = too_wide - given + text.width().saturating_sub(width);
            let padding = " ".repeat(blank - given);
            let text = styled(&text, *style, color);
            // Writing to a String cannot fail.
            let _ = match (column.is_number, index == last) {
                (true, _) => write!(line, "{padding}{text}"),
                (false, true) => write!(line, "{text}"),
                (false, false) => write!(line, "{text}{padding}"),
            };
            if index != last {
                line.push_str(GAP);
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// What people copy, and so is never cut.
fn is_address(text: &str) -> bool {
    text.parse::<SocketAddr>().is_ok() || text.parse::<IpAddr>().is_ok()
}

/// At most `width` cells wide; the middle goes, since names differ at both ends.
fn shortened(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let room = width.saturating_sub(1);
    let tail_room = room / 2;
    let tail = taken(text.chars().rev(), tail_room);
    let head: String =
        taken(text.chars(), room - tail.iter().filter_map(|c| c.width()).sum::<usize>())
            .into_iter()
            .collect();
    let tail: String = tail.into_iter().rev().collect();
    Cow::Owned(format!("{head}{ELLIPSIS}{tail}"))
}

/// As many characters as fit.
fn taken(characters: impl Iterator<Item = char>, room: usize) -> Vec<char> {
    let mut used = 0;
    characters
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= room
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    const COLUMNS: [Column; 3] = [
        Column { head: "NAME", least: 6, share: 1, is_number: false },
        Column { head: "SENT", least: 8, share: 0, is_number: true },
        Column { head: "LAST", least: 4, share: 0, is_number: false },
    ];

    fn plain(cells: [&str; 3]) -> Vec<(String, Style)> {
        cells.map(|cell| (cell.to_owned(), Style::new())).to_vec()
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [22, 30, 80] {
            let listing = Listing::new(COLUMNS, Some(width));
            let long = "é界".repeat(60);
            let line = listing.row(&plain([&long, "1 B", &long]), false);
            assert!(line.width() <= width, "{} > {width}", line.width());
            assert!(line.contains(ELLIPSIS));
        }
    }

    #[test]
    fn an_address_is_never_cut() {
        let listing = Listing::new(COLUMNS, Some(22));
        for address in ["203.0.113.255:65535", "[2001:db8:1234:5678:9abc:def0:1234:5678]:443"] {
            assert!(listing.row(&plain(["a", "1 B", address]), false).ends_with(address));
        }
    }

    #[test]
    fn a_small_table_breaks_no_address_over_two_lines() {
        let address = "2001:db8:1234:5678:9abc:def0:1234:5678";
        let long = "a name of some length ".repeat(6);
        for width in [60, 80, 100, 120, 200] {
            let row = vec![address.to_owned(), long.clone(), long.clone()];
            let mut table = small(&["ADDRESS", "NAME", "OPERATOR"], [row]);
            table.set_width(width);
            let text = table.to_string();
            assert!(text.contains(address), "{width}:\n{text}");
            assert!(text.lines().all(|line| line.width() <= width.into()), "{width}:\n{text}");
        }
    }

    #[test]
    fn numbers_stand_right_and_colour_takes_no_room() {
        let listing = Listing::new(COLUMNS, Some(22));
        assert_eq!(listing.row(&plain(["a", "1 B", "x"]), false), "a            1 B  x");
        let red = vec![("a".to_owned(), verdict_style("unapproved")); 1];
        assert!(listing.row(&red, true).starts_with("\u{1b}[1m\u{1b}[31ma\u{1b}[0m"));
    }

    #[test]
    fn a_name_that_holds_an_escape_sequence_is_shown_and_not_obeyed() {
        let listing = Listing::new(COLUMNS, None);
        let line = listing.row(&plain(["a\u{1b}[2J", "1 B", "\u{202e}c"]), false);
        assert!(line.contains("a\\u{1b}[2J") && line.ends_with("\\u{202e}c"), "{line:?}");
    }

    #[test]
    fn a_program_that_is_only_claimed_is_marked() {
        assert_eq!(process("curl", 7, true), "curl[7]");
        assert_eq!(process("cu\nrl", 7, false), "?cu\\nrl[7]");
    }

    #[test]
    fn sizes_and_spans_are_in_peoples_units() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
        assert_eq!(span(0), "0s");
        assert_eq!(span(3_605), "1h");
        assert_eq!(span(90_061), "1d 1h");
    }

    #[test]
    fn utc_is_marked_as_such() {
        let at = Time(Timestamp::from_secs(1_800_000_000));
        assert_eq!(Times::new(true).format(at), "2027-01-15 08:00:00Z");
    }
}
