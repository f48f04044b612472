//! Standard output of the commands: written through one buffer, flushed when live, shown by a pager where it is
//! long and somebody reads.

mod pager;

use std::io::{self, BufWriter, StdoutLock, Write};

use comfy_table::Table;
use serde::Serialize;

use self::pager::Pager;
use crate::{cli::Global, printable};

/// Standard output; flush it at the end, or errors are lost.
pub(super) type Stdout = BufWriter<Sink>;

/// Where it goes.
#[derive(Debug)]
pub(super) enum Sink {
    Plain(StdoutLock<'static>),
    Paged(Pager),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Paged(pager) => pager.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Paged(pager) => pager.flush(),
        }
    }
}

const BUFFER_BYTES: usize = 64 * 1024;

pub(super) fn stdout() -> Stdout {
    BufWriter::with_capacity(BUFFER_BYTES, Sink::Plain(io::stdout().lock()))
}

/// The same, by a pager where a table goes to a terminal.
pub(super) fn paged(global: &Global) -> Stdout {
    match Pager::start(global) {
        Some(pager) => BufWriter::with_capacity(BUFFER_BYTES, Sink::Paged(pager)),
        None => stdout(),
    }
}

/// One JSON object and its line end, harmless for terminals.
pub(super) fn json_line(out: &mut impl Write, value: &impl Serialize) -> anyhow::Result<()> {
    // Not to_writer: it hides the io::Error that tells a closed pipe.
    let mut line = printable::to_json(value)?;
    line.push(b'\n');
    out.write_all(&line)?;
    Ok(())
}

/// Cells as one CSV record, harmless for terminals and spreadsheets.
pub(super) fn csv_line(
    out: &mut impl Write,
    cells: impl IntoIterator<Item = impl AsRef<str>>,
) -> anyhow::Result<()> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    for text in cells {
        writer.write_field(printable::cell(text.as_ref()).as_ref())?;
    }
    writer.write_record(None::<&[u8]>)?;
    out.write_all(&writer.into_inner()?)?;
    Ok(())
}

/// The head of CSV: names of our own, which stay as they are.
pub(super) fn csv_head(
    out: &mut impl Write,
    names: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> anyhow::Result<()> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(names)?;
    out.write_all(&writer.into_inner()?)?;
    Ok(())
}

/// A table and its line end.
pub(super) fn table(out: &mut impl Write, table: &Table) -> io::Result<()> {
    writeln!(out, "{}", table.trim_fmt())
}

/// Width of the terminal that stdout is; `None` if it is none.
pub(super) fn terminal_width() -> Option<usize> {
    Table::new().width().map(usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_neither_a_command_to_a_terminal_nor_a_formula() {
        let mut out = Vec::new();
        csv_line(&mut out, ["=HYPERLINK(\"http://x\",1)", "a\u{1b}]52;c;eA==\u{7}", "2"]).unwrap();
        json_line(&mut out, &["\u{9b}2J\u{61c}"]).unwrap();
        let text = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], r#""'=HYPERLINK(""http://x"",1)",a\u{1b}]52;c;eA==\u{7},2"#);
        assert_eq!(lines[1], r#"["\u009b2J\u061c"]"#);
    }
}
