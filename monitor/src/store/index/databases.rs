//! The databases of the index, one for each period: opened on demand and only with a seal that holds, at
//! most [`Limits::open`](super::Limits) at once, sealed when closed, set aside when wrong.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::{
    database::{self, Database, Fault},
    period::{Open, Period, path_in, period_of},
    seal::{self, Coverage, Covered, Seal, Stamp},
    shared::{Shared, State},
};
use crate::store::{error::StoreCounters, files, memory};

impl Shared {
    pub(super) fn path_of(&self, period: u32) -> PathBuf {
        path_in(&self.root, period)
    }

    /// What the seals say, at the start. Nothing is opened; what has no seal is removed.
    pub(super) fn load(&self, is_of_this_ledger: impl Fn(u32, &Covered) -> bool) -> io::Result<()> {
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !entry.file_type()?.is_dir() {
                let has_database = name
                    .strip_suffix(".seal")
                    .is_some_and(|database| self.root.join(database).is_dir());
                if !has_database {
                    fs::remove_file(entry.path())?;
                }
                continue;
            }
            let period = name.parse::<u32>().ok().filter(|period| {
                *period > 0
                    && period_of(*period) == *period
                    && self.path_of(*period) == entry.path()
            });
            let seal = period.and_then(|_| Seal::load(&entry.path()));
            match (period, seal) {
                (Some(period), Some(seal))
                    if seal
                        .coverage
                        .iter()
                        .all(|(segment, it)| is_of_this_ledger(*segment, it)) =>
                {
                    let coverage = seal.coverage;
                    self.lock().periods.insert(period, Period { coverage, ..Period::default() });
                }
                _ => {
                    StoreCounters::add(&self.counters.index_set_aside, 1);
                    remove(&entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// The period's database with what it covers; `None` if it covers nothing or is not to be had.
    pub(super) fn open(&self, period: u32) -> Option<(Arc<Database>, Coverage)> {
        let is_covering = |it: &&Period| !it.broken && !it.coverage.is_empty();
        self.lock().periods.get(&period).filter(is_covering)?;
        let database = match self.database(period, false) {
            Ok(database) => database,
            Err(fault) => {
                self.fail(period, &fault);
                return None;
            }
        };
        let state = self.lock();
        // What it covers may be another's by now.
        let is_its_own = |it: &&Period| {
            it.open.as_ref().is_some_and(|open| Arc::ptr_eq(&open.database, &database))
        };
        let known = state.periods.get(&period).filter(is_covering).filter(is_its_own)?;
        let coverage = known.coverage.clone();
        drop(state);
        Some((database, coverage))
    }

    /// The period's database, opened if need be, created if `create` and nothing is covered yet.
    pub(super) fn database(&self, period: u32, create: bool) -> Result<Arc<Database>, Fault> {
        if let Some(database) = self.lock().opened(period) {
            return Ok(database);
        }
        let _files = self.lock_files();
        let (coverage, stamp) = {
            let mut state = self.lock();
            // By another meanwhile.
            if let Some(database) = state.opened(period) {
                return Ok(database);
            }
            if create {
                state.periods.entry(period).or_default();
            }
            let Some(it) = state.periods.get_mut(&period) else {
                return Err(Fault::Failed("it was removed".into()));
            };
            (it.coverage.clone(), it.stamp.take())
        };
        let path = self.path_of(period);
        if create && coverage.is_empty() {
            remove(&path)?;
        } else if !is_intact(&coverage, stamp.as_ref(), &path) {
            return Err(Fault::Failed("its files are not as they were sealed".into()));
        }
        self.close_unused(|open, _| open >= self.limits.open);
        let database = Arc::new(Database::open(&path)?);
        let open = Open { database: Arc::clone(&database), used: Instant::now() };
        if let Some(it) = self.lock().periods.get_mut(&period) {
            it.open = Some(open);
        }
        // The thread may sleep without an end in sight; it is to close this in time.
        self.work.notify_one();
        Ok(database)
    }

    /// The period covers this now.
    pub(super) fn cover(&self, period: u32, segment: u32, covered: Covered) {
        if let Some(period) = self.lock().periods.get_mut(&period) {
            period.coverage.insert(segment, covered);
        }
    }

    /// The period can't be relied on; the thread will rebuild it.
    pub(super) fn fail(&self, period: u32, fault: &Fault) {
        self.fault(&mut self.lock(), period, fault);
    }

    fn fault(&self, state: &mut State, period: u32, fault: &Fault) {
        let Some(it) = state.periods.get_mut(&period).filter(|it| !it.broken) else { return };
        it.broken = true;
        tracing::warn!(period, %fault, "store index is set aside; queries read the ledger meanwhile");
        StoreCounters::add(&self.counters.index_errors, 1);
        if matches!(fault, Fault::Panicked(_)) {
            StoreCounters::add(&self.counters.index_panics, 1);
        }
        state.idle = false;
        self.work.notify_one();
    }

    /// Removes broken databases, so that they are built anew. Called by the thread.
    pub(super) fn set_aside(&self) -> io::Result<()> {
        let broken = self.remove_where(|_, it| it.broken)?;
        StoreCounters::add(&self.counters.index_set_aside, broken);
        Ok(())
    }

    /// Removes what covers none of the segments that are left; or all, if it is to yield. Called by the
    /// thread.
    pub(super) fn make_way(&self) -> io::Result<()> {
        let (is_surplus, is_yielding) = {
            let mut state = self.lock();
            (std::mem::take(&mut state.is_surplus), state.is_yielding)
        };
        if is_yielding {
            let removed = self.remove_where(|_, _| true);
            self.lock().is_yielding = false;
            self.rest.notify_all();
            removed?;
            memory::release();
        } else if is_surplus {
            let left = files::segments(&self.ledger)?;
            let kept: BTreeSet<u32> = left.into_iter().map(period_of).collect();
            self.remove_where(|period, _| !kept.contains(&period))?;
        }
        Ok(())
    }

    /// Something else is to be done first.
    pub(super) fn is_interrupted(&self) -> bool {
        let state = self.lock();
        state.stop || state.is_yielding
    }

    fn remove_where(&self, is_it: impl Fn(u32, &Period) -> bool) -> io::Result<u64> {
        let _files = self.lock_files();
        let going: Vec<u32> = {
            let state = self.lock();
            let going = state.periods.iter().filter(|(period, it)| is_it(**period, it));
            going.map(|(period, _)| *period).collect()
        };
        for period in &going {
            // Queries may still hold the database: its open files live on under no name.
            let gone = self.lock().periods.remove(period);
            drop(gone);
            remove(&self.path_of(*period))?;
        }
        Ok(going.len() as u64)
    }

    /// Closes what nobody used for a while; gives the time until the next would be due.
    pub(super) fn close_idle(&self) -> Option<std::time::Duration> {
        let _files = self.lock_files();
        let idle = self.limits.idle;
        self.close_unused(|_, used| used.elapsed() >= idle);
        let state = self.lock();
        let open = state.periods.values().filter_map(|period| period.open.as_ref());
        open.map(|open| idle.saturating_sub(open.used.elapsed())).min()
    }

    pub(super) fn close_all(&self) {
        let _files = self.lock_files();
        self.close_unused(|_, _| true);
    }

    /// Closes databases nobody holds, least recently used first, while `due` says so of how many
    /// are open and when the next was used. The caller holds the files.
    fn close_unused(&self, due: impl Fn(usize, Instant) -> bool) {
        let mut open: Vec<_> = {
            let state = self.lock();
            let open = state.periods.iter();
            open.filter_map(|(period, it)| it.open.as_ref().map(|open| (open.used, *period)))
                .collect()
        };
        open.sort_unstable();
        let before = open.len();
        let mut count = before;
        for (used, period) in open {
            let (closing, coverage) = {
                let mut state = self.lock();
                let Some(it) = state.periods.get_mut(&period) else { continue };
                if !due(count, used) || it.is_used() {
                    continue;
                }
                // Whoever wants it now waits for the files; nobody can have it cover more.
                (it.open.take(), (!it.broken).then(|| it.coverage.clone()))
            };
            drop(closing);
            count -= 1;
            let Some(coverage) = coverage else { continue };
            match seal(coverage, &self.path_of(period)) {
                Ok(stamp) => {
                    if let Some(it) = self.lock().periods.get_mut(&period) {
                        it.stamp = Some(stamp);
                    }
                }
                Err(error) => self.fail(period, &Fault::from(error)),
            }
        }
        if count < before {
            memory::release();
        }
    }
}

/// Whether the files on the disk are those that this period stands for.
fn is_intact(coverage: &Coverage, stamp: Option<&Stamp>, path: &Path) -> bool {
    match stamp {
        Some(stamp) => Stamp::of(path).is_ok_and(|now| now == *stamp),
        None => Seal::load(path).is_some_and(|seal| seal.coverage == *coverage && seal.holds(path)),
    }
}

impl State {
    /// If it is open.
    fn opened(&mut self, period: u32) -> Option<Arc<Database>> {
        let open = self.periods.get_mut(&period)?.open.as_mut()?;
        open.used = Instant::now();
        Some(Arc::clone(&open.database))
    }
}

fn seal(coverage: Coverage, path: &Path) -> io::Result<Stamp> {
    database::wait_until_released(path)?;
    Seal::of(path, coverage)?.store(path)?;
    Stamp::of(path)
}

/// Removes the database and its seal.
fn remove(path: &Path) -> io::Result<()> {
    let found = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    found(fs::remove_file(seal::path(path)))?;
    found(fs::remove_dir_all(path))
}
