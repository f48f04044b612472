//! Intervals that somebody marked in the ledger: which there are, what falls into them, and what is said
//! to be shared in them. Folds marks; reads no ledger and no clock, and judges nothing.

use std::sync::Arc;

use crate::{
    event::{Mark, MarkKind, Moment, Record, Share, Timestamp},
    select::DestinationSelector,
};

/// So many are remembered: beyond that, the oldest that are over are forgotten, though the ledger has them.
const INTERVALS_MAX: usize = 10_000;
/// And so many may run at once.
pub const RUNNING_MAX: usize = 64;

/// A stretch of time with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval {
    pub name: Arc<str>,
    /// Counted from 1 among those of its name that the ledger holds.
    pub number: usize,
    /// `None`: the ledger holds its end alone.
    pub start: Option<Moment>,
    /// `None`: it goes on.
    pub stop: Option<Moment>,
    /// Said at its start and at its end.
    pub notes: Vec<Arc<str>>,
    pub declared: Vec<Declared>,
}

/// What is said to be shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub share: Share,
    /// `None`: what was typed is no destination to this version.
    destination: Option<DestinationSelector>,
}

/// When something was, as far as that is known.
#[derive(Clone, Copy, Debug)]
struct When {
    wall: Timestamp,
    /// By the clock that nobody sets; `None`: stored by a version that did not tell.
    moment: Option<Moment>,
}

impl When {
    /// Within a boot its clock decides, which nobody can set.
    fn is_before(self, other: Moment) -> bool {
        match self.moment {
            Some(own) if own.timeline.boot == other.timeline.boot => own.boot_ns < other.boot_ns,
            _ => self.wall < other.wall(),
        }
    }
}

/// From its beginning to its last packet.
fn life(record: &Record) -> (When, When) {
    let egress = &record.egress;
    let moment = |wall: Timestamp| {
        let timeline = record.timeline?;
        let start_ns = timeline.boot_ns(egress.started_at);
        let boot_ns = start_ns.saturating_add(wall.0.saturating_sub(egress.started_at.0));
        Some(Moment { boot_ns, timeline })
    };
    let when = |wall| When { wall, moment: moment(wall) };
    (when(egress.started_at), when(egress.last_at.max(egress.started_at)))
}

impl Interval {
    /// Whether any of the flow's life is in it.
    pub fn overlaps(&self, record: &Record) -> bool {
        let (first, last) = life(record);
        self.stop.is_none_or(|stop| first.is_before(stop))
            && self.start.is_none_or(|start| !last.is_before(start))
    }

    /// Whether all of it is, by what is stored.
    fn holds(&self, record: &Record) -> bool {
        let (first, last) = life(record);
        self.stop.is_none_or(|stop| last.is_before(stop))
            && self.start.is_some_and(|start| !first.is_before(start))
    }

    /// What of it was said to be shared, and holds all of this flow. Who declares a stretch of time or a
    /// destination says nothing of what goes on before, after, or to elsewhere.
    fn declared(&self, record: &Record) -> impl Iterator<Item = &Share> {
        let is_within = self.holds(record);
        let matches = move |it: &&Declared| {
            let to = it.destination.as_ref().zip(record.egress.remote);
            is_within
                && to.is_some_and(|(wanted, remote)| wanted.matches(remote, &record.place))
                && it.share.until.is_none_or(|until| record.egress.last_at < until)
        };
        self.declared.iter().filter(matches).map(|it| &it.share)
    }

    /// By the wall clock, and so wide that all is in it that is by the boot clock: where the wall clock was
    /// set meanwhile, both ends are told by either of its settings.
    pub fn window(&self) -> (Option<Timestamp>, Option<Timestamp>) {
        let by_both = |one: Moment, other: Option<Moment>| {
            let same = other.filter(|it| it.timeline.boot == one.timeline.boot);
            let other = same.map(|it| it.timeline.wall(one.boot_ns));
            [one.wall(), other.unwrap_or(one.wall())]
        };
        let since = self.start.map(|start| by_both(start, self.stop).into_iter().min());
        let until = self.stop.map(|stop| by_both(stop, self.start).into_iter().max());
        (since.flatten(), until.flatten())
    }
}

/// Why a mark can't be put where it is meant to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    #[error("\"{0}\" runs already, since {1}; stop it first, or choose another name")]
    Runs(Arc<str>, String),
    #[error("\"{0}\" does not run: it was not started, or has been stopped")]
    DoesNotRun(Arc<str>),
    #[error("{RUNNING_MAX} intervals run already; stop one first")]
    TooMany,
}

/// All that are known, by their beginning in the ledger.
#[derive(Clone, Debug, Default)]
pub struct Intervals(Vec<Interval>);

impl Intervals {
    pub fn of<'a>(marks: impl IntoIterator<Item = &'a Mark>) -> Self {
        let mut intervals = Self::default();
        let mut before: Option<&Mark> = None;
        for mark in marks {
            // What was written and not synced may stand in the ledger a second time.
            if before != Some(mark) {
                intervals.add(mark);
            }
            before = Some(mark);
        }
        intervals
    }

    pub fn iter(&self) -> impl Iterator<Item = &Interval> {
        self.0.iter()
    }

    fn running(&mut self, name: &str) -> Option<&mut Interval> {
        self.0.iter_mut().rev().find(|it| it.stop.is_none() && *it.name == *name)
    }

    /// Whether it can be put into the ledger now.
    pub fn check(&self, mark: &Mark) -> Result<(), MarkError> {
        let running = self.0.iter().filter(|it| it.stop.is_none());
        let own = running.clone().find(|it| it.name == mark.name);
        match (mark.kind, own) {
            (MarkKind::Start, Some(own)) => {
                let since = own.start.map(|it| crate::when::rfc3339(it.wall())).unwrap_or_default();
                Err(MarkError::Runs(Arc::clone(&mark.name), since))
            }
            (MarkKind::Stop, None) => Err(MarkError::DoesNotRun(Arc::clone(&mark.name))),
            (MarkKind::Start, None) if running.count() >= RUNNING_MAX => Err(MarkError::TooMany),
            (MarkKind::Start, None) | (MarkKind::Stop, Some(_)) => Ok(()),
        }
    }

    /// In the order of the ledger.
    pub fn add(&mut self, mark: &Mark) {
        let declared = mark.shares.iter().map(|share| Declared {
            destination: DestinationSelector::parse(&share.destination).ok(),
            share: share.clone(),
        });
        match (mark.kind, self.running(&mark.name)) {
            (MarkKind::Stop, Some(running)) => {
                running.stop = Some(mark.moment);
                running.notes.extend(mark.note.clone());
                return;
            }
            // Only a ledger that was put together otherwise has a second start.
            (MarkKind::Start, Some(_)) => return,
            (_, None) => {}
        }
        let begins = mark.kind == MarkKind::Start;
        let number = 1 + self.0.iter().filter(|it| it.name == mark.name).count();
        self.0.push(Interval {
            name: Arc::clone(&mark.name),
            number,
            start: begins.then_some(mark.moment),
            stop: (!begins).then_some(mark.moment),
            notes: mark.note.iter().cloned().collect(),
            declared: declared.collect(),
        });
        if self.0.len() > INTERVALS_MAX
            && let Some(over) = self.0.iter().position(|it| it.stop.is_some())
        {
            self.0.remove(over);
        }
    }

    /// The one that is asked for: the last of a name, or `NAME#2`.
    pub fn find(&self, asked: &str) -> Result<&Interval, String> {
        let number = |asked: &str| {
            let (name, number) = asked.rsplit_once('#')?;
            Some((name.to_owned(), number.parse::<usize>().ok()?))
        };
        let found = match number(asked) {
            Some((name, number)) => {
                self.0.iter().find(|it| *it.name == *name && it.number == number)
            }
            None => self.0.iter().rev().find(|it| *it.name == *asked),
        };
        found.ok_or_else(|| {
            format!(
                "the ledger has no interval `{asked}`; `geofenced mark list` shows those it has"
            )
        })
    }

    /// Names of those that the flow was in.
    pub fn names<'a>(&'a self, record: &'a Record) -> impl Iterator<Item = &'a Arc<str>> {
        self.0.iter().filter(|it| it.overlaps(record)).map(|it| &it.name)
    }

    /// What of it was said to be shared.
    pub fn declared<'a>(
        &'a self,
        record: &'a Record,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Share)> {
        let of = move |it: &'a Interval| it.declared(record).map(move |share| (&it.name, share));
        self.0.iter().flat_map(of)
    }
}

#[cfg(test)]
mod tests;
