//! Roff of the Markdown that docs/ is written in: headings, paragraphs, lists, tables, code. What it does not
//! know stays text; nothing is left out.

use std::fmt::Write as _;

/// A page without its title.
pub(super) fn of_markdown(text: &str) -> String {
    let mut page = Page::default();
    for line in text.lines() {
        page.line(line);
    }
    page.end_block();
    page.out
}

#[derive(Default)]
struct Page {
    out: String,
    /// Lines of the paragraph or item that is not written yet.
    block: String,
    in_code: bool,
    /// The title was seen; what comes before the first section is its description.
    in_body: bool,
    /// Rows of the table so far; the first two are its head.
    rows: usize,
}

impl Page {
    fn line(&mut self, line: &str) {
        if line.starts_with("```") {
            self.end_block();
            self.out += if self.in_code { ".EE\n.RE\n" } else { ".PP\n.RS 4\n.EX\n" };
            self.in_code = !self.in_code;
        } else if self.in_code {
            self.verbatim(line);
        } else if let Some(cells) = line.strip_prefix('|') {
            self.row(cells);
        } else {
            self.rows = 0;
            self.prose(line);
        }
    }

    fn prose(&mut self, line: &str) {
        let item = line.trim_start().strip_prefix("- ");
        let numbered = line.split_once(". ").filter(|(number, _)| number.parse::<u8>().is_ok());
        if line.is_empty() {
            self.end_block();
        } else if let Some(title) = line.strip_prefix("# ") {
            // NAME stands already.
            debug_assert!(!self.in_body && !title.is_empty());
            self.in_body = true;
            self.out += ".SH DESCRIPTION\n";
        } else if let Some(title) = line.strip_prefix("## ") {
            self.heading(".SH", title);
        } else if let Some(title) = line.strip_prefix("### ") {
            self.heading(".SS", title);
        } else if let Some(item) = item {
            self.begin(".IP \\(bu 2\n", item);
        } else if let Some((number, item)) = numbered {
            self.begin(&format!(".IP {number}. 4\n"), item);
        } else if self.block.is_empty() {
            self.begin(".PP\n", line);
        } else {
            self.block.push(' ');
            self.block += line.trim();
        }
    }

    fn begin(&mut self, request: &str, text: &str) {
        self.end_block();
        self.out += request;
        self.block += text.trim();
    }

    fn heading(&mut self, request: &str, title: &str) {
        self.end_block();
        // Writing to a String cannot fail.
        let _ = writeln!(self.out, "{request} \"{}\"", inline(title).replace('"', "\\(dq"));
    }

    /// A term and what the other cells say of it.
    fn row(&mut self, cells: &str) {
        self.end_block();
        self.rows += 1;
        if self.rows <= 2 {
            return;
        }
        let cells: Vec<&str> = cells.trim_end_matches('|').split(" | ").map(str::trim).collect();
        let Some((term, rest)) = cells.split_first() else { return };
        let rest: Vec<&str> = rest.iter().copied().filter(|cell| !cell.is_empty()).collect();
        let said = guarded(&inline(&rest.join("; ")));
        let _ = writeln!(self.out, ".TP\n{}\n{said}", guarded(&inline(term)));
    }

    fn verbatim(&mut self, line: &str) {
        self.out += &guarded(&escaped(line));
        self.out.push('\n');
    }

    fn end_block(&mut self) {
        let block = std::mem::take(&mut self.block);
        if !block.is_empty() {
            self.out += &guarded(&inline(&block));
            self.out.push('\n');
        }
    }
}

/// Code and what is strong in bold, of a link its text.
fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '*', '[']) {
        out += &escaped(&rest[..at]);
        let found = &rest[at..];
        let taken = code(found)
            .or_else(|| strong(found))
            .or_else(|| stressed(found))
            .or_else(|| link(found));
        let (roff, length) = taken.unwrap_or_else(|| (found[..1].to_owned(), 1));
        out += &roff;
        rest = &found[length..];
    }
    out + &escaped(rest)
}

fn code(text: &str) -> Option<(String, usize)> {
    let (code, _) = text.strip_prefix('`')?.split_once('`')?;
    Some((format!("\\fB{}\\fR", escaped(code)), code.len() + 2))
}

fn strong(text: &str) -> Option<(String, usize)> {
    let (strong, _) = text.strip_prefix("**")?.split_once("**")?;
    Some((format!("\\fB{}\\fR", escaped(strong)), strong.len() + 4))
}

/// One word, so that no product is taken for it.
fn stressed(text: &str) -> Option<(String, usize)> {
    let (word, _) = text.strip_prefix('*')?.split_once('*')?;
    let is_word = !word.is_empty() && word.chars().all(char::is_alphanumeric);
    is_word.then(|| (format!("\\fI{word}\\fR"), word.len() + 2))
}

fn link(text: &str) -> Option<(String, usize)> {
    let (name, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (target, _) = rest.split_once(')')?;
    // A bracket that opens elsewhere is none of this link's.
    (!name.contains('[') && !target.contains(' '))
        .then(|| (inline(name), name.len() + target.len() + 4))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// A line that begins with a control character would be a request.
fn guarded(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_paragraphs_lists_tables_and_code_keep_their_words() {
        let text = "# T\n\nOne `a-b`\nand [two](x.md).\n\n## `[s]`\n\n- i **j**\n  k\n1. n\n\n\
                    | key | |\n|---|---|\n| `x` | `\"1\"` | why |\n\n```sh\n.run -a\n```\n";
        let right = ".SH DESCRIPTION\n.PP\nOne \\fBa\\-b\\fR and two.\n.SH \"\\fB[s]\\fR\"\n\
                     .IP \\(bu 2\ni \\fBj\\fR k\n.IP 1. 4\nn\n\
                     .TP\n\\fBx\\fR\n\\fB\"1\"\\fR; why\n\
                     .PP\n.RS 4\n.EX\n\\&.run \\-a\n.EE\n.RE\n";
        assert_eq!(of_markdown(text), right);
    }

    #[test]
    fn what_only_looks_like_markup_stays_text() {
        assert_eq!(inline("a * b [c] `d"), "a * b [c] `d");
        assert_eq!(inline("may *not* be, 2*3 * 4"), "may \\fInot\\fR be, 2*3 * 4");
        assert_eq!(inline("`[[policy.rule]]`, [x](y)"), "\\fB[[policy.rule]]\\fR, x");
        assert_eq!(guarded("'tis"), "\\&'tis");
    }
}
