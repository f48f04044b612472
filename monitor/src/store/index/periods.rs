//! The databases of the index, one for each [`SEGMENTS`] segments: opened on demand and only with a
//! seal that holds, at most [`OPEN_MAX`] at once, sealed when closed, set aside when wrong.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use super::{
    Shared, State,
    database::{self, Database, Fault},
    seal::{self, Coverage, Covered, Seal, Stamp},
};
use crate::store::error::StoreCounters;

/// Segments of one database.
const SEGMENTS: u32 = 4;
/// Databases open at once (one more while a closed one is still read from).
const OPEN_MAX: usize = 3;

/// First segment of the period that `segment` is in.
pub(super) fn period_of(segment: u32) -> u32 {
    segment - segment.saturating_sub(1) % SEGMENTS
}

/// One database, and what is known of it.
#[derive(Debug, Default)]
pub(super) struct Period {
    coverage: Coverage,
    open: Option<Open>,
    /// Of its files when this process closed them.
    stamp: Option<Stamp>,
    /// It is wrong: not asked until it was rebuilt.
    broken: bool,
}

#[derive(Debug)]
struct Open {
    database: Arc<Database>,
    used: Instant,
}

impl Period {
    pub(super) fn covered(&self, segment: u32) -> Option<&Covered> {
        if self.broken { None } else { self.coverage.get(&segment) }
    }

    pub(super) fn coverage(&self) -> impl Iterator<Item = (u32, &Covered)> + Clone {
        let coverage = if self.broken { None } else { Some(&self.coverage) };
        coverage.into_iter().flatten().map(|(segment, covered)| (*segment, covered))
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    fn is_used(&self) -> bool {
        self.open.as_ref().is_some_and(|open| Arc::strong_count(&open.database) > 1)
    }
}

impl Shared {
    pub(super) fn path_of(&self, period: u32) -> PathBuf {
        self.root.join(format!("{period:08}"))
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
        let mut state = self.lock();
        let known =
            state.periods.get(&period).filter(|it| !it.broken && !it.coverage.is_empty())?;
        let coverage = known.coverage.clone();
        match self.database(&mut state, period, false) {
            Ok(database) => Some((database, coverage)),
            Err(fault) => {
                self.fault(&mut state, period, &fault);
                None
            }
        }
    }

    /// The period's database, opened if need be, created if `create` and nothing is covered yet.
    pub(super) fn database(
        &self,
        state: &mut State,
        period: u32,
        create: bool,
    ) -> Result<Arc<Database>, Fault> {
        let path = self.path_of(period);
        let it = state.periods.entry(period).or_default();
        if let Some(open) = &mut it.open {
            open.used = Instant::now();
            return Ok(Arc::clone(&open.database));
        }
        if create && it.coverage.is_empty() {
            remove(&path)?;
        } else if !is_intact(it, &path) {
            return Err(Fault::Failed("its files are not as they were sealed".into()));
        }
        it.stamp = None;
        self.close_unused(state, |open, _| open >= OPEN_MAX);
        let database = Arc::new(Database::open(&path)?);
        let open = Open { database: Arc::clone(&database), used: Instant::now() };
        state.periods.entry(period).or_default().open = Some(open);
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
        let mut state = self.lock();
        let broken = state.periods.iter().filter(|(_, it)| it.broken).map(|(period, _)| *period);
        for period in broken.collect::<Vec<_>>() {
            StoreCounters::add(&self.counters.index_set_aside, 1);
            // Queries may still hold the database: its open files live on under no name.
            state.periods.remove(&period);
            remove(&self.path_of(period))?;
        }
        Ok(())
    }

    /// Closes what nobody used for a while; gives the time until the next would be due.
    pub(super) fn close_idle(&self) -> Option<std::time::Duration> {
        let mut state = self.lock();
        let idle = self.limits.idle;
        self.close_unused(&mut state, |_, used| used.elapsed() >= idle);
        let open = state.periods.values().filter_map(|period| period.open.as_ref());
        open.map(|open| idle.saturating_sub(open.used.elapsed())).min()
    }

    pub(super) fn close_all(&self) {
        let mut state = self.lock();
        self.close_unused(&mut state, |_, _| true);
    }

    /// Closes databases nobody holds, least recently used first, while `due` says so of how many
    /// are open and when the next was used.
    fn close_unused(&self, state: &mut State, due: impl Fn(usize, Instant) -> bool) {
        let mut open: Vec<_> = state
            .periods
            .iter()
            .filter_map(|(period, it)| it.open.as_ref().map(|open| (open.used, *period)))
            .collect();
        open.sort_unstable();
        let before = open.len();
        let mut count = before;
        for (used, period) in open {
            let Some(it) = state.periods.get_mut(&period) else { continue };
            if !due(count, used) || it.is_used() {
                continue;
            }
            it.open = None;
            count -= 1;
            if let (false, Err(error)) = (it.broken, seal(it, &self.path_of(period))) {
                let fault = Fault::from(error);
                self.fault(state, period, &fault);
            }
        }
        if count < before {
            crate::store::release_memory();
        }
    }

    /// Forgets and removes what covers none of these segments.
    pub(super) fn keep_only(&self, segments: &[u32]) {
        let mut state = self.lock();
        let kept: BTreeSet<u32> = segments.iter().map(|segment| period_of(*segment)).collect();
        let gone: Vec<u32> =
            state.periods.keys().filter(|period| !kept.contains(period)).copied().collect();
        for period in gone {
            state.periods.remove(&period);
            if let Err(error) = remove(&self.path_of(period)) {
                tracing::warn!(period, %error, "cannot remove an old part of the store index");
                StoreCounters::add(&self.counters.index_errors, 1);
            }
        }
    }
}

/// Whether the files on the disk are those that this period stands for.
fn is_intact(period: &Period, path: &Path) -> bool {
    match &period.stamp {
        Some(stamp) => Stamp::of(path).is_ok_and(|now| now == *stamp),
        None => Seal::load(path)
            .is_some_and(|seal| seal.coverage == period.coverage && seal.holds(path)),
    }
}

fn seal(period: &mut Period, path: &Path) -> io::Result<()> {
    database::wait_until_released(path)?;
    Seal::of(path, period.coverage.clone())?.store(path)?;
    period.stamp = Some(Stamp::of(path)?);
    Ok(())
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
