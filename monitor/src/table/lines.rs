//! The lines of a [`Listing`], whose columns are as wide as what stands in the first rows: they are held back
//! for that, and no more are. Writes nothing.

use anstyle::Style;

use super::Listing;

/// Rows by which the widths are chosen.
const HELD_MAX: usize = 256;

type Row = Vec<(String, Style)>;

#[derive(Clone, Debug)]
pub struct Lines {
    listing: Listing,
    color: bool,
    /// `None` once the head is out.
    held: Option<Vec<Row>>,
    most: usize,
}

impl Lines {
    /// `is_live`: nobody waits for more rows to see the first.
    pub fn new(listing: Listing, is_live: bool, color: bool) -> Self {
        let most = if is_live { 1 } else { HELD_MAX };
        Self { listing, color, held: Some(Vec::new()), most }
    }

    /// What is to be shown now that this row came: nothing, or lines with their ends.
    pub fn take(&mut self, row: Row) -> String {
        match &mut self.held {
            None => self.line(&row),
            Some(held) => {
                held.push(row);
                if held.len() < self.most { String::new() } else { self.rest() }
            }
        }
    }

    /// What was held back.
    pub fn rest(&mut self) -> String {
        let Some(held) = self.held.take().filter(|held| !held.is_empty()) else {
            return String::new();
        };
        if self.most > 1 {
            self.listing.fit(&held);
        }
        let mut lines = self.listing.head() + "\n";
        for row in &held {
            lines.push_str(&self.line(row));
        }
        lines
    }

    fn line(&self, row: &Row) -> String {
        self.listing.row(row, self.color) + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Column;

    const COLUMNS: [Column; 3] = [
        Column { head: "NAME", least: 3, share: 1, is_number: false },
        Column { head: "SENT", least: 4, share: 0, is_number: true },
        Column { head: "TO", least: 3, share: 0, is_number: false },
    ];

    fn row(cells: [&str; 3]) -> Row {
        cells.map(|cell| (cell.to_owned(), Style::new())).to_vec()
    }

    fn shown(width: Option<usize>, is_live: bool, rows: &[[&str; 3]]) -> String {
        let mut lines = Lines::new(Listing::new(COLUMNS, width), is_live, false);
        let mut text: String = rows.iter().map(|cells| lines.take(row(*cells))).collect();
        text.push_str(&lines.rest());
        text
    }

    #[test]
    fn what_is_piped_stands_below_its_head_however_long_it_is() {
        let name = "a-name-of-more-letters-than-any-terminal-is-wide".repeat(4);
        let text = shown(None, false, &[["a", "1 B", "x"], [&name, "12 KiB", "y"]]);
        let to = text.lines().next().unwrap().find("TO").unwrap();
        let ends: Vec<Option<&str>> = text.lines().skip(1).map(|line| line.get(to..)).collect();
        assert_eq!(ends, [Some("x"), Some("y")], "{text}");
    }

    #[test]
    fn a_terminal_that_has_room_for_all_cuts_nothing_and_has_no_more_blanks_than_it_takes() {
        let text = shown(Some(40), false, &[["a", "1 B", "x"], ["rather-long-name", "2 B", "y"]]);
        assert_eq!(
            text,
            "NAME              SENT  TO\na                  1 B  x\nrather-long-name   2 B  y\n"
        );
        let narrow = shown(Some(20), false, &[["rather-long-name", "2 B", "y"]]);
        assert!(narrow.lines().all(|line| line.chars().count() <= 20), "{narrow}");
    }

    #[test]
    fn what_is_live_is_shown_at_once_and_so_is_what_comes_behind_the_rows_that_were_held() {
        let mut live = Lines::new(Listing::new(COLUMNS, None), true, false);
        assert_eq!(live.take(row(["a", "1 B", "x"])).lines().count(), 2);
        let mut stored = Lines::new(Listing::new(COLUMNS, None), false, false);
        for _ in 1..HELD_MAX {
            assert_eq!(stored.take(row(["a", "1 B", "x"])), "");
        }
        assert_eq!(stored.take(row(["a", "1 B", "x"])).lines().count(), HELD_MAX + 1);
        assert_eq!(stored.take(row(["b", "1 B", "x"])).lines().count(), 1);
        assert_eq!(stored.rest(), "");
    }
}
