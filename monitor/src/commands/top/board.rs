//! What is known of each line from look to look: how fast it grows, whether it has ended, and since when
//! nothing came. It asks nobody and draws nothing, and forgets what there is no room for.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use super::{
    feed::{Ask, Look},
    line::Line,
};
use crate::{api::status::Status, cli::Order, event::Timestamp, summary::Row};

/// Lines that are kept.
pub(super) const LINES_MAX: usize = 3000;
/// For so long what has ended stands there still.
const FADES: Duration = Duration::from_secs(5);
/// For so long what is silent.
const SILENT: Duration = Duration::from_mins(2);
/// Looks of the strip.
const STRIP: usize = 600;

#[derive(Debug)]
struct Kept {
    line: Line,
    /// When anything of it changed.
    changed: Instant,
}

/// Bytes by verdict, and how fast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) sent: u64,
    pub(super) rate: u64,
}

#[derive(Debug, Default)]
pub(super) struct Board {
    lines: HashMap<String, Kept>,
    ask: Ask,
    before: Option<(Instant, Timestamp)>,
    pub(super) status: Option<Status>,
    pub(super) total: Flow,
    pub(super) unapproved: Flow,
    pub(super) violations: u64,
    /// Bytes a second, look by look.
    pub(super) strip: VecDeque<u64>,
    pub(super) is_cut: bool,
    /// Why nobody answers.
    pub(super) gone: Option<String>,
}

fn a_second(bytes: u64, over: Duration) -> u64 {
    let nanoseconds = over.as_nanos().max(1);
    u64::try_from(u128::from(bytes) * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX)
}

impl Board {
    /// Takes in what was found.
    pub(super) fn take(&mut self, look: Look) {
        let is_other = self.ask != look.ask || self.status.is_none();
        if is_other {
            self.lines.clear();
            self.strip.clear();
            self.before = None;
            (self.total, self.unapproved) = (Flow::default(), Flow::default());
        }
        // Over a restart counters are those of another daemon.
        let is_back = self.gone.take().is_some();
        let before = self.before.filter(|_| !is_back);
        let over = before.map(|(at, _)| look.at.saturating_duration_since(at));
        self.total_up(&look.totals, over);
        let mut met = HashSet::with_capacity(look.flows.len() + look.rows.len());
        let lines = look.flows.iter().map(Line::from).chain(look.rows.iter().map(Line::from));
        for line in lines {
            met.insert(line.key.clone());
            self.put(line, before, over, look.at);
        }
        for kept in self.lines.values_mut().filter(|kept| !met.contains(&kept.line.key)) {
            kept.line.rate = 0;
        }
        self.before = Some((look.at, look.wall));
        (self.ask, self.status, self.is_cut) = (look.ask, Some(look.status), look.is_cut);
        self.prune(look.at);
    }

    fn total_up(&mut self, rows: &[Row], over: Option<Duration>) {
        let of = |verdict: Option<&str>| {
            let rows = rows.iter().filter(|row| verdict.is_none_or(|it| row.key == it));
            rows.map(|row| row.source.bytes).sum::<u64>()
        };
        let next = |flow: Flow, sent: u64| {
            let grown = sent.saturating_sub(flow.sent);
            Flow { sent, rate: over.map_or(0, |over| a_second(grown, over)) }
        };
        self.total = next(self.total, of(None));
        self.unapproved = next(self.unapproved, of(Some("unapproved")));
        self.violations = rows.iter().map(|row| row.violations).sum();
        if over.is_some() {
            self.strip.push_back(self.total.rate);
        }
        if self.strip.len() > STRIP {
            self.strip.pop_front();
        }
    }

    fn put(
        &mut self,
        mut line: Line,
        before: Option<(Instant, Timestamp)>,
        over: Option<Duration>,
        at: Instant,
    ) {
        let known = self.lines.get(&line.key);
        let sent_before = match (known, before) {
            (Some(kept), _) => Some(kept.line.sent),
            // It began since: all of it is new.
            (None, Some((_, wall))) => {
                line.since.filter(|since| since.0 >= wall || !line.is_flow).map(|_| 0)
            }
            (None, None) => None,
        };
        if let (Some(sent), Some(over)) = (sent_before, over) {
            line.rate = a_second(line.sent.saturating_sub(sent), over);
        }
        let is_same = known.is_some_and(|kept| {
            (kept.line.sent, kept.line.received, kept.line.ended)
                == (line.sent, line.received, line.ended)
        });
        let changed = known.map(|kept| kept.changed).filter(|_| is_same).unwrap_or(at);
        self.lines.insert(line.key.clone(), Kept { line, changed });
    }

    /// Nobody answers: nothing is known to grow.
    pub(super) fn lose(&mut self, why: String) {
        self.gone = Some(why);
        (self.total.rate, self.unapproved.rate) = (0, 0);
        for kept in self.lines.values_mut() {
            kept.line.rate = 0;
        }
    }

    /// Takes away what has faded.
    pub(super) fn prune(&mut self, now: Instant) {
        self.lines.retain(|_, kept| {
            let patience = if kept.line.ended { FADES } else { SILENT };
            !kept.line.is_flow || now.saturating_duration_since(kept.changed) < patience
        });
        if self.lines.len() > LINES_MAX {
            let mut changed: Vec<Instant> = self.lines.values().map(|it| it.changed).collect();
            let spare = changed.len() - LINES_MAX;
            let (_, newest, _) = changed.select_nth_unstable(spare);
            let newest = *newest;
            let mut spare = spare;
            self.lines.retain(|_, kept| {
                let goes = spare > 0 && kept.changed <= newest;
                spare -= usize::from(goes);
                !goes
            });
        }
    }

    /// In this order, of what holds all of these words.
    pub(super) fn sorted(&self, order: Order, is_reversed: bool, words: &[String]) -> Vec<&Line> {
        let lines = self.lines.values().map(|kept| &kept.line);
        let mut lines: Vec<&Line> = lines.filter(|line| line.holds(words)).collect();
        lines.sort_by(|a, b| {
            let by = match order {
                Order::Rate => b.rate.cmp(&a.rate),
                Order::Sent => b.sent.cmp(&a.sent),
                Order::Received => b.received.cmp(&a.received),
                Order::Verdict => b.violations.min(1).cmp(&a.violations.min(1)),
                Order::Since => b.since.cmp(&a.since),
                Order::Program => a.program.cmp(&b.program),
            };
            by.then(b.rate.cmp(&a.rate)).then(b.sent.cmp(&a.sent)).then_with(|| a.key.cmp(&b.key))
        });
        if is_reversed {
            lines.reverse();
        }
        lines
    }
}

#[cfg(test)]
pub(super) mod tests;
