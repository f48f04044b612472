//! Messages: `tracing` on stderr, plain lines that a person and the journal can read, or JSON, in which no
//! text of others does anything. Sets up and nothing else.

use std::{
    fmt,
    io::{self, IsTerminal, Write, stderr},
    os::unix::ffi::OsStrExt as _,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, fmt,
        format::{self, Format, Full, Writer},
        time::SystemTime,
    },
    registry::LookupSpan,
};

use crate::{
    clock,
    config::LogFormat,
    printable::{self, escaped, is_unsafe},
    when,
};

/// The field whose value is a JSON object: lines of JSON have what is in it, others never see it.
const OBJECT: &str = "ecs";

/// How lines are written from here on.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Said by the configuration, which is read after the first lines may have been written.
pub fn set_format(format: LogFormat) {
    IS_JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

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

/// Whether what is written to stderr goes to the journal, as `JOURNAL_STREAM` says (systemd.exec(5)). A child
/// of a service inherits the variable, also where its stderr leads elsewhere.
fn is_journal() -> bool {
    let Some(named) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let Ok(it) = rustix::fs::fstat(stderr()) else { return false };
    named.as_bytes() == format!("{}:{}", it.st_dev, it.st_ino).as_bytes()
}

/// What the journal takes from a line (sd-daemon(3)).
const fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
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
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        let is_meant = |c| is_unsafe(c) && !(self.is_colored && c == '\u{1b}');
        self.inner.write_all(format!("{}{end}", escaped(line, is_meant)).as_bytes())?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// How an event becomes a line.
struct Lines {
    timed: Format<Full, SystemTime>,
    untimed: Format<Full, ()>,
    is_timed: bool,
    is_journal: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        if self.is_journal {
            line.write_str(priority(level))?;
        }
        if is_json() {
            let mut fields = Fields::default();
            event.record(&mut fields);
            return writeln!(line, "{}", fields.line(level, event.metadata().target()));
        }
        if self.is_timed {
            self.timed.format_event(context, line, event)
        } else {
            self.untimed.format_event(context, line, event)
        }
    }
}

/// What an event says, by name.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    /// Names with dots are those of ECS's own way to log.
    fn line(mut self, level: Level, target: &str) -> String {
        let Self(fields) = &mut self;
        if let Some(Value::String(object)) = fields.remove(OBJECT)
            && let Ok(Value::Object(object)) = serde_json::from_str(&object)
        {
            fields.extend(object);
        }
        // Of a record its own time counts.
        let now = || when::rfc3339(clock::wall()).into();
        fields.entry("@timestamp").or_insert_with(now);
        fields.insert("log.level".into(), level.as_str().to_ascii_lowercase().into());
        fields.insert("log.logger".into(), target.into());
        let line = printable::to_json(fields).unwrap_or_default();
        String::from_utf8(line).unwrap_or_default()
    }

    fn add(&mut self, field: &Field, value: impl Into<Value>) {
        // Those of the bridge say where in a library something was written.
        if !field.name().starts_with("log.") {
            self.0.insert(field.name().into(), value.into());
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }
}

/// Says why the daemon ends, in the form of its other lines.
pub fn failed(problem: &str) {
    let mark = if is_journal() { priority(Level::ERROR) } else { "" };
    if is_json() {
        let message = ("message".to_owned(), Value::from(problem));
        let fields = Fields(Map::from_iter([message]));
        eprintln!("{mark}{}", fields.line(Level::ERROR, env!("CARGO_CRATE_NAME")));
    } else {
        eprintln!("{mark}geofenced: {}", printable::printable(problem));
    }
}

/// Installs the subscriber, and the bridge from `log`, which the probes' own messages come by. A
/// second call is ignored.
pub fn init(verbosity: i16, color: bool) {
    let level = level(verbosity);
    // The journal stamps each line itself.
    let is_journal = is_journal();
    let is_colored = color && stderr().is_terminal();
    let is_timed = !(is_journal || verbosity <= 0 && stderr().is_terminal());
    let form = || format::format().with_target(verbosity > 0);
    let lines = Lines { timed: form(), untimed: form().without_time(), is_timed, is_journal };
    let subscriber = fmt()
        .with_max_level(level)
        .with_writer(move || Plain { inner: stderr(), is_colored })
        .with_ansi(is_colored)
        .event_format(lines)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let bridge = tracing_log::LogTracer::builder();
        // They tell of each instruction and page that they touch.
        let bridge =
            if verbosity < 2 { bridge.ignore_crate("aya").ignore_crate("sled") } else { bridge };
        let _ = bridge.init();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    #[test]
    fn a_line_of_the_log_does_nothing_to_a_terminal_and_is_one_line() {
        let line = "probe \u{1b}]52;c;eA==\u{7}\u{9b}2J\u{202e}\n<0>a line of its own\n";
        for is_colored in [false, true] {
            let mut plain = Plain { inner: Vec::new(), is_colored };
            plain.write_all(line.as_bytes()).unwrap();
            let text = String::from_utf8(plain.inner).unwrap();
            let rest = text.strip_suffix('\n').unwrap().replace('\u{1b}', "");
            assert!(!rest.contains(is_unsafe), "{text:?}");
            assert_eq!(text.contains('\u{1b}'), is_colored, "{text:?}");
        }
    }

    /// Where the lines of a test go.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(is_journal: bool, say: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        let inner = kept.clone();
        let form = format::format;
        let lines =
            Lines { timed: form(), untimed: form().without_time(), is_timed: false, is_journal };
        let subscriber = fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_writer(move || Plain { inner: inner.clone(), is_colored: false })
            .with_ansi(false)
            .event_format(lines)
            .finish();
        tracing::subscriber::with_default(subscriber, say);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }

    /// One test, since the form is of the whole process.
    #[test]
    fn the_journal_gets_priorities_and_json_is_json_with_what_a_record_says() {
        let hostile = "a\n<0>b\u{1b}[2J\"";
        let say = || {
            tracing::error!("broken: {hostile}");
            tracing::warn!(ecs = r#"{"@timestamp":"then","event":{"id":"7"}}"#, "violation");
            tracing::info!(count = 3, "fine");
            tracing::debug!("more");
        };
        let begins = |lines: &[String], with: [&str; 4]| {
            assert_eq!(lines.len(), 4, "{lines:#?}");
            for (line, begin) in lines.iter().zip(with) {
                assert!(line.trim_start().starts_with(begin), "{lines:#?}");
            }
        };
        begins(&written(true, say), ["<3>", "<4>", "<6>", "<7>"]);
        begins(&written(false, say), ["ERROR", "WARN", "INFO", "DEBUG"]);
        set_format(LogFormat::Json);
        let (marked, plain) = (written(true, say), written(false, say));
        set_format(LogFormat::Text);
        begins(&marked, ["<3>{", "<4>{", "<6>{", "<7>{"]);
        let read: Vec<Value> =
            plain.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read[0]["message"], format!("broken: {hostile}"));
        assert_eq!(read[0]["log.level"], "error");
        assert_eq!(
            (&read[1]["event"]["id"], &read[1]["@timestamp"]),
            (&"7".into(), &"then".into())
        );
        assert!(read[1].get(OBJECT).is_none());
        assert_eq!(read[2]["count"], 3);
        assert!(read[2]["@timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn verbose_says_more_and_quiet_says_less() {
        assert!(level(1) > level(0) && level(0) > level(-1));
        assert_eq!(level(-5), LevelFilter::OFF);
        assert_eq!(level(9), LevelFilter::TRACE);
    }
}
