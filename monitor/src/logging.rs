//! Messages: `tracing` on stderr, plain lines that a person and the journal can read, in which no text
//! of others does anything. Sets up and nothing else.

use std::io::{self, IsTerminal, Write, stderr};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

use crate::printable::{escaped, is_unsafe};

/// How much is said; counted from the default (`0`): `-v` up, `-q` down.
pub fn level(verbosity: i16) -> LevelFilter {
    match verbosity {
        ..=-2 => LevelFilter::OFF,
        -1 => LevelFilter::ERROR,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        2.. => LevelFilter::TRACE,
    }
}

/// A line comes in one write. Of what is unsafe it passes on the line's end and, where they are our own,
/// colours: those of others are escaped by the subscriber.
struct Plain<W> {
    inner: W,
    is_colored: bool,
}

impl<W: Write> Write for Plain<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let is_meant = |c| is_unsafe(c) && c != '\n' && !(self.is_colored && c == '\u{1b}');
        self.inner.write_all(escaped(&text, is_meant).as_bytes())?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Installs the subscriber, and the bridge from `log`, which the probes' own messages come by. A
/// second call is ignored.
pub fn init(verbosity: i16, color: bool) {
    let level = level(verbosity);
    // The journal stamps each line itself and says so by this variable (systemd.exec(5)).
    let under_journal = std::env::var_os("JOURNAL_STREAM").is_some() && !stderr().is_terminal();
    let is_colored = color && stderr().is_terminal();
    let format = fmt()
        .with_max_level(level)
        .with_writer(move || Plain { inner: stderr(), is_colored })
        .with_ansi(is_colored)
        .with_target(verbosity > 0);
    let installed = if under_journal || verbosity <= 0 && stderr().is_terminal() {
        tracing::subscriber::set_global_default(format.without_time().finish())
    } else {
        tracing::subscriber::set_global_default(format.finish())
    };
    if installed.is_ok() {
        let bridge = tracing_log::LogTracer::builder();
        // They tell of each instruction and page that they touch.
        let bridge =
            if verbosity < 2 { bridge.ignore_crate("aya").ignore_crate("sled") } else { bridge };
        let _ = bridge.init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_does_nothing_to_a_terminal() {
        let line = "probe \u{1b}]52;c;eA==\u{7}\u{9b}2J\u{202e}\n";
        for is_colored in [false, true] {
            let mut plain = Plain { inner: Vec::new(), is_colored };
            plain.write_all(line.as_bytes()).unwrap();
            let text = String::from_utf8(plain.inner).unwrap();
            let rest = text.strip_suffix('\n').unwrap().replace('\u{1b}', "");
            assert!(!rest.contains(is_unsafe), "{text:?}");
            assert_eq!(text.contains('\u{1b}'), is_colored, "{text:?}");
        }
    }

    #[test]
    fn verbose_says_more_and_quiet_says_less() {
        assert!(level(1) > level(0) && level(0) > level(-1));
        assert_eq!(level(-5), LevelFilter::OFF);
        assert_eq!(level(9), LevelFilter::TRACE);
    }
}
