//! What queries ask the index: which blocks of a segment may hold what a filter asks for. It reads, and
//! says of a database that was wrong that it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    sync::Arc,
};

use super::{
    database::{Database, Fault},
    group::{self, BlockEntry, Group, is_set},
    period::{Period, period_of},
    seal,
    shared::Shared,
    sums::{self, Malformed, Needs, Noted, RolledBy, RolledUp, Sums},
    terms::{self, Demand, Sought},
};
use crate::{filter::Filter, store::scan::Contents};

/// What the index finds in one segment.
#[derive(Debug)]
pub(in crate::store) struct Found {
    /// Blocks that begin below this offset are all told.
    pub end: u64,
    /// With whether the block meets the demands, in ledger order.
    pub blocks: Vec<(BlockEntry, bool)>,
}

/// How far the index is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Segments indexed in whole or part; queries read the heads of the others' blocks.
    pub segments: usize,
    /// Blocks behind the last that is indexed.
    pub blocks_behind: u64,
    /// Databases, and those of them that are open now.
    pub periods: usize,
    pub open: usize,
}

/// What queries ask; cheap to clone.
#[derive(Clone, Debug)]
pub(in crate::store) struct Finder(Arc<Shared>);

impl Finder {
    pub(super) fn of(shared: &Arc<Shared>) -> Self {
        Self(Arc::clone(shared))
    }

    pub(in crate::store) fn demands(sought: Sought, filter: &Filter) -> Vec<Demand> {
        terms::of_filter(sought, filter)
    }

    /// The totals of a segment that is indexed whole.
    pub(in crate::store) fn contents(&self, segment: u32) -> Option<Contents> {
        let state = self.0.lock();
        let covered = state.periods.get(&period_of(segment))?.covered(segment)?;
        covered.complete.then_some(covered.contents)
    }

    /// What the index knows of the segments of `wanted`, by segment. Those it can't tell of are
    /// absent.
    pub(in crate::store) fn find(
        &self,
        wanted: &BTreeSet<u32>,
        (sought, filter): (Sought, &Filter),
        demands: &[Demand],
    ) -> BTreeMap<u32, Found> {
        let mut found = BTreeMap::new();
        let periods: BTreeSet<u32> = wanted.iter().copied().map(period_of).collect();
        for period in periods {
            let Some((database, coverage)) = self.0.open(period) else { continue };
            match look_up(&database, &coverage, wanted, (sought, filter), demands) {
                Ok(segments) => found.extend(segments),
                Err(fault) => self.0.fail(period, &fault),
            }
        }
        found
    }

    /// Sums of a segment's flows, as far as they are known and keep apart what is needed.
    pub(in crate::store) fn sums(&self, segment: u32, needs: Needs) -> Option<Sums> {
        if let Some(sums) = self.0.building().sums(segment, needs) {
            return Some(sums);
        }
        self.read_sums(segment, |file| sums::sums(segment, needs, file))
    }

    /// Those of its roll-ups.
    pub(in crate::store) fn rolled(&self, segment: u32, by: RolledBy) -> Option<RolledUp> {
        if let Some(rolled) = self.0.building().rolled(segment, by) {
            return Some(rolled);
        }
        self.read_sums(segment, |file| sums::rolled(segment, by, file))
    }

    /// Its notices.
    pub(in crate::store) fn notices(&self, segment: u32) -> Option<Noted> {
        let building = self.0.building().notices(segment);
        building.or_else(|| self.read_sums(segment, |file| sums::notices(segment, file)))
    }

    fn read_sums<T>(
        &self,
        segment: u32,
        told: impl FnOnce(&File) -> Result<Option<T>, Malformed>,
    ) -> Option<T> {
        self.contents(segment)?;
        let period = period_of(segment);
        // Its files are as they were sealed, and stay while it is held.
        let _database = self.0.open(period)?;
        let read = match File::open(sums::path(&self.0.path_of(period), segment)) {
            Ok(file) => told(&file).map_err(Fault::from),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        };
        read.unwrap_or_else(|fault| {
            self.0.fail(period, &fault);
            None
        })
    }

    /// Blocks numbered below this are durable.
    pub(in crate::store) fn next_block(&self) -> u64 {
        self.0.lock().progress.next_block
    }

    /// A block was not where the index said.
    pub(in crate::store) fn distrust(&self, segment: u32) {
        let fault = Fault::Failed("tells of blocks that the ledger does not have".into());
        self.0.fail(period_of(segment), &fault);
    }

    pub(in crate::store) fn stats(&self) -> IndexStats {
        let state = self.0.lock();
        let covered = state.periods.values().flat_map(Period::coverage);
        let next_block = covered.clone().map(|(_, covered)| covered.next_block).max();
        IndexStats {
            segments: covered.count(),
            blocks_behind: state.progress.next_block.saturating_sub(next_block.unwrap_or(0)),
            periods: state.periods.len(),
            open: state.periods.values().filter(|period| period.is_open()).count(),
        }
    }
}

impl From<Malformed> for Fault {
    fn from(_: Malformed) -> Self {
        Self::Failed("sums of a segment are malformed".into())
    }
}

fn look_up(
    database: &Database,
    coverage: &seal::Coverage,
    wanted: &BTreeSet<u32>,
    asked: (Sought, &Filter),
    demands: &[Demand],
) -> Result<BTreeMap<u32, Found>, Fault> {
    let mut found = BTreeMap::new();
    for (segment, covered) in coverage.iter().filter(|(segment, _)| wanted.contains(segment)) {
        let mut low = vec![terms::GROUPS];
        low.extend_from_slice(&segment.to_be_bytes());
        let mut groups = Vec::new();
        let mut is_sound = true;
        database.scan(&low, |_, value| {
            let group = postcard::from_bytes::<Group>(value);
            is_sound &= group.is_ok();
            groups.extend(group);
        })?;
        let mut blocks = Vec::with_capacity(covered.contents.blocks as usize);
        for group in groups {
            let meets = blocks_that_meet(database, *segment, &group, asked, demands)?;
            let told = group.blocks.into_iter().zip(meets);
            // The group being written now may be there before the coverage says so.
            blocks.extend(told.filter(|(block, _)| block.at < covered.end));
        }
        if !is_sound || blocks.len() as u64 != covered.contents.blocks {
            return Err(Fault::Failed("a group is missing or malformed".into()));
        }
        found.insert(*segment, Found { end: covered.end, blocks });
    }
    Ok(found)
}

/// For each block of the group whether it meets all demands; nothing is read for a group outside
/// of the time asked for.
fn blocks_that_meet(
    database: &Database,
    segment: u32,
    group: &Group,
    (sought, filter): (Sought, &Filter),
    demands: &[Demand],
) -> Result<Vec<bool>, Fault> {
    let is_in_time = |block: &BlockEntry| sought.is_in_time(&block.summary, filter);
    let mut meets: Vec<bool> = group.blocks.iter().map(is_in_time).collect();
    for demand in demands {
        if !meets.contains(&true) {
            break;
        }
        let Some(first) = group.blocks.first() else { break };
        if group.overflow & demand.dimension.bit() != 0 {
            continue;
        }
        let mut bitmap = vec![0; group.blocks.len().div_ceil(8)];
        let mut is_sound = true;
        let low = group::key(demand.dimension as u8, segment, first.number, None);
        database.scan(&low, |_, value| {
            is_sound &= group::terms_of(value, |term, blocks| {
                if demand.any.iter().any(|it| it.meets(term)) {
                    bitmap.iter_mut().zip(blocks).for_each(|(all, some)| *all |= some);
                }
            });
        })?;
        if !is_sound {
            return Err(Fault::Failed("terms of a group are malformed".into()));
        }
        for (position, meets) in meets.iter_mut().enumerate() {
            *meets &= is_set(&bitmap, position);
        }
    }
    Ok(meets)
}
