//! Violations as lines of the log: the first of each program and destination, or all, so many a minute. What
//! has no line is counted. It remembers a bounded number of them and writes on a thread of its own, since who
//! reads the log may be slow. Every violation is in the ledger, whether it has a line or not.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::Duration,
};

use prometheus::IntCounterVec;
use rustc_hash::FxHashSet;

use super::{Delivery, Output, Sum};
use crate::{
    config::{LogConfig, LogFormat, Violations},
    ecs::Event,
    event::{Country, Operator, Process, Record, User, Verdict},
    metrics::{LEFT_OUT, Metrics},
    printable::{self, printable},
};

/// Lines a minute where the first of each is asked for, and where all are.
const FIRST_A_MINUTE: u32 = 60;
const ALL_A_MINUTE: u32 = 6_000;
/// Programs and destinations that are known to have had their line: twice as many at most.
const KNOWN: usize = 16_384;
/// Lines that wait for a slow reader of the log.
const WAITING: usize = 256;
/// The last lines are waited for at the end, but not for ever.
const PATIENCE: Duration = Duration::from_secs(2);
const MINUTE_NS: u64 = 60_000_000_000;

/// Why a violation has no line.
const KNOWN_ALREADY: &str = LEFT_OUT[0];
const RATE: &str = LEFT_OUT[1];
const SLOW: &str = LEFT_OUT[2];

/// What the configuration in force wants. Clones are of one setting.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<Mutex<LogConfig>>);

impl Wanted {
    pub fn of(config: LogConfig) -> Self {
        let wanted = Self::default();
        wanted.set(config);
        wanted
    }
    pub fn set(&self, config: LogConfig) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }
    pub fn get(&self) -> LogConfig {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
enum Line {
    Of(Arc<Record>),
    /// Flows that nobody knows one by one.
    Sum {
        flows: u64,
        user: Option<User>,
        country: Country,
    },
    /// So many had no line in a minute, for their number or for a slow reader.
    LeftOut(u64),
}

#[derive(Debug)]
pub(super) struct Log {
    wanted: Wanted,
    counted: IntCounterVec,
    known: Known,
    minute: u64,
    /// Of this minute.
    lines: u32,
    left_out: u64,
    writer: Option<Writer>,
    write: fn(LogFormat, &Line),
}

impl Log {
    pub(super) fn new(wanted: Wanted, metrics: &Metrics) -> Self {
        Self {
            wanted,
            counted: metrics.log_lines_left_out_total.clone(),
            known: Known::default(),
            minute: 0,
            lines: 0,
            left_out: 0,
            writer: None,
            write,
        }
    }

    fn say(&mut self, key: impl Hash, line: Line) {
        let most = match self.wanted.get().violations {
            Violations::Off => return,
            Violations::First => FIRST_A_MINUTE,
            Violations::All => ALL_A_MINUTE,
        };
        let key = self.known.hash(key);
        if most == FIRST_A_MINUTE && self.known.has(key) {
            return self.count(KNOWN_ALREADY);
        }
        if self.lines >= most {
            self.left_out += 1;
            return self.count(RATE);
        }
        self.lines += 1;
        if self.send(line) {
            self.known.add(key);
        } else {
            self.left_out += 1;
            self.count(SLOW);
        }
    }

    fn count(&self, reason: &str) {
        self.counted.with_label_values(&[reason]).inc();
    }

    fn send(&mut self, line: Line) -> bool {
        if self.writer.is_none() {
            let (wanted, write) = (self.wanted.clone(), self.write);
            self.writer = Writer::spawn(move |line| write(wanted.get().format, line));
        }
        self.writer.as_ref().is_some_and(|writer| writer.send(line))
    }

    fn tell_left_out(&mut self) {
        if self.left_out > 0 && self.send(Line::LeftOut(self.left_out)) {
            self.left_out = 0;
        }
    }
}

impl Output for Log {
    fn deliver(&mut self, told: &Delivery) {
        if told.violates {
            let record = &told.record;
            let process = record.sender.process();
            let program = process.map(|it| (it.program(), it.script()));
            let (egress, user) = (&record.egress, record.sender.process().map(|it| it.user.id));
            let way = (egress.origin, egress.passage.mac, egress.passage.ethertype);
            let key = (program, user, way, egress.remote.map(|remote| remote.ip()));
            self.say(key, Line::Of(Arc::clone(record)));
        }
    }

    fn add_up(&mut self, sum: &Sum) {
        if sum.judgement.verdict == Verdict::Unapproved && sum.flows > 0 {
            let (user, country) = (sum.user.clone(), sum.place.country);
            let key = (user.as_ref().map(|user| user.id), country);
            self.say(key, Line::Sum { flows: sum.flows, user, country });
        }
    }

    fn tick(&mut self, boot_ns: u64) {
        let minute = boot_ns / MINUTE_NS;
        if minute != self.minute {
            (self.minute, self.lines) = (minute, 0);
            self.tell_left_out();
        }
    }

    fn flush(&mut self) {
        self.tell_left_out();
    }
}

/// Hashes, by a key of this process: nobody can choose two that are alike. Of the oldest it forgets half, and
/// then has a line of them again.
#[derive(Debug, Default)]
struct Known {
    by: RandomState,
    now: FxHashSet<u64>,
    before: FxHashSet<u64>,
}

impl Known {
    fn hash(&self, key: impl Hash) -> u64 {
        self.by.hash_one(key)
    }

    fn has(&mut self, key: u64) -> bool {
        self.now.contains(&key)
            || self.before.contains(&key) && {
                self.add(key);
                true
            }
    }

    fn add(&mut self, key: u64) {
        if self.now.len() >= KNOWN {
            self.before = mem::take(&mut self.now);
        }
        self.now.insert(key);
    }
}

/// The thread that writes; it ends with what it holds.
#[derive(Debug)]
struct Writer {
    lines: Option<SyncSender<Line>>,
    /// Closed when the last line is written.
    ended: Receiver<()>,
}

impl Writer {
    fn spawn(write: impl Fn(&Line) + Send + 'static) -> Option<Self> {
        let (lines, waiting) = mpsc::sync_channel(WAITING);
        let (end, ended) = mpsc::channel::<()>();
        let spawned = thread::Builder::new().name("log".into()).spawn(move || {
            for line in waiting {
                write(&line);
            }
            drop(end);
        });
        spawned.ok().map(|_| Self { lines: Some(lines), ended })
    }

    fn send(&self, line: Line) -> bool {
        self.lines.as_ref().is_some_and(|lines| lines.try_send(line).is_ok())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.lines = None;
        let _ = self.ended.recv_timeout(PATIENCE);
    }
}

fn write(format: LogFormat, line: &Line) {
    match line {
        Line::Of(record) => match format {
            LogFormat::Text => tracing::warn!("{}", sentence(record)),
            LogFormat::Json => {
                let event = printable::to_json(&Event::from(&**record)).unwrap_or_default();
                let event = String::from_utf8_lossy(&event);
                tracing::warn!(ecs = %event, "{}", sentence(record));
            }
        },
        Line::Sum { flows, user, country } => tracing::warn!(
            "violation: {flows} flows of {} to {}, which are told together for want of room",
            user.as_ref().map_or_else(|| "nobody known".into(), user_name),
            place(*country)
        ),
        Line::LeftOut(count) => tracing::warn!(
            "{count} more violations have no line here, for their number; the ledger has them: \
             `geofenced events --verdict unapproved`"
        ),
    }
}

fn place(country: Country) -> String {
    match country {
        Country::Known(code) => code.to_string(),
        Country::Unlocated => "an unknown country".into(),
        Country::Local => "a local network".into(),
    }
}

fn user_name(user: &User) -> String {
    user.name.as_deref().map_or_else(|| user.id.to_string(), |name| printable(name).into_owned())
}

/// Who sent where, and why it is none of the approved.
fn sentence(record: &Record) -> String {
    let egress = &record.egress;
    let who = match (record.sender.process(), egress.passage.mac) {
        (Some(process), _) => who(process),
        (None, Some(mac)) => format!("{} for {mac}", egress.origin),
        (None, None) => format!("nobody known ({})", egress.origin),
    };
    let to = match egress.remote {
        Some(remote) if egress.transport.has_ports() => remote.to_string(),
        Some(remote) => remote.ip().to_string(),
        None => "an address that can't be read".into(),
    };
    let shown = record.place.shown();
    let name = shown.map(|(name, _)| format!(" ({})", printable(name))).unwrap_or_default();
    let operator = record.place.operator.as_deref().and_then(called);
    let operator = operator.map(|it| format!(", {it}")).unwrap_or_default();
    let (transport, place) = (egress.transport, place(record.place.country));
    let reason = record.judgement.reason.to_string();
    format!(
        "violation: {who} sent to {to}{name} by {transport} in {place}{operator}; reason {}, id {}",
        printable(&reason),
        egress.flow
    )
}

fn who(process: &Process) -> String {
    let part = |what: &str, value: &Option<Arc<str>>| {
        value.as_deref().map(|it| format!(", {what} {}", printable(it))).unwrap_or_default()
    };
    let (unit, container) = (part("unit", &process.unit), part("container", &process.container));
    let script = process.script();
    let script = script.map(|it| format!(", script {}", printable(it))).unwrap_or_default();
    let (program, user) = (process.program(), user_name(&process.user));
    format!("{} (pid {}{script}, user {user}{unit}{container})", printable(&program), process.pid)
}

fn called(operator: &Operator) -> Option<String> {
    let name = operator.name.as_deref().map(printable);
    match (operator.asn, name) {
        (Some(asn), Some(name)) => Some(format!("AS{asn} {name}")),
        (Some(asn), None) => Some(format!("AS{asn}")),
        (None, name) => name.map(Into::into),
    }
}

#[cfg(test)]
mod tests;
