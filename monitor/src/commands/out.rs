//! Standard output of the commands: written through one buffer, flushed when live.

use std::io::{self, BufWriter, StdoutLock, Write};

use comfy_table::Table;
use serde::Serialize;

/// Standard output; flush it at the end, or errors are lost.
pub(super) type Stdout = BufWriter<StdoutLock<'static>>;

pub(super) fn stdout() -> Stdout {
    BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// One JSON object and its line end.
pub(super) fn json_line(out: &mut impl Write, value: &impl Serialize) -> anyhow::Result<()> {
    // Not to_writer: it hides the io::Error that tells a closed pipe.
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)?;
    Ok(())
}

/// Cells as one CSV record.
pub(super) fn csv_line(
    out: &mut impl Write,
    cells: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> anyhow::Result<()> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    writer.write_record(cells)?;
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
