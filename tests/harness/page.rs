//! What a report's page shows, cell by cell, for whoever compares it with other numbers.

/// The HTML that `report` wrote.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a>(pub &'a str);

impl<'a> Page<'a> {
    /// The body of the table with this caption: of each cell its first text, numbers without commas.
    pub fn table(self, caption: &str) -> Vec<Vec<String>> {
        let caption = format!("<caption>{caption}</caption>");
        let (_, table) = self.0.split_once(&caption).unwrap_or_else(|| panic!("no {caption}"));
        let body = table.split("<tbody>").nth(1).and_then(|it| it.split("</tbody>").next());
        let rows = body.unwrap_or_default().split("<tr").skip(1);
        let cells = |row: &'a str| row.split("<td").map(first_text).collect();
        rows.map(cells).collect()
    }

    /// A number of the first section.
    pub fn figure(self, name: &str) -> u64 {
        let (_, rest) = self.0.split_once(&format!("<dt>{name}</dt><dd>")).expect("a figure");
        let digits = rest.split('<').next().unwrap_or_default().replace(',', "");
        digits.parse().unwrap_or_else(|_| panic!("{name}: {digits:?}"))
    }
}

fn first_text(cell: &str) -> String {
    let parts = cell.split('>').skip(1).filter_map(|it| it.split('<').next());
    let text = parts.map(str::trim).find(|it| !it.is_empty()).unwrap_or_default();
    text.replace(',', "")
}
