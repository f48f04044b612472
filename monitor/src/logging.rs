//! Messages: `tracing` on stderr, plain lines that a person and the journal can read. Sets up and
//! nothing else.

use std::io::{IsTerminal, stderr};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt;

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

/// Installs the subscriber, and the bridge from `log`, which the probes' own messages come by. A
/// second call is ignored.
pub fn init(verbosity: i16, color: bool) {
    let level = level(verbosity);
    // The journal stamps each line itself and says so by this variable (systemd.exec(5)).
    let under_journal = std::env::var_os("JOURNAL_STREAM").is_some() && !stderr().is_terminal();
    let format = fmt()
        .with_max_level(level)
        .with_writer(stderr)
        .with_ansi(color && stderr().is_terminal())
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
    fn verbose_says_more_and_quiet_says_less() {
        assert!(level(1) > level(0) && level(0) > level(-1));
        assert_eq!(level(-5), LevelFilter::OFF);
        assert_eq!(level(9), LevelFilter::TRACE);
    }
}
