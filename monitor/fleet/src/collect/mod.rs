//! Takes what arrived: proves it against the keys of those who are enrolled, keeps each ledger as it was, and pours
//! it into the lake once. What does not verify is put aside with the reason. It trusts no name and no order.

mod branch;
mod known;
mod noticed;
mod origin;
mod proof;
mod segment;
mod snapshot;
mod state;
mod told;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use geofenced::fleet::{StoreError, WitnessSigner};

pub use known::{Known, known};
pub use origin::witness_name;

use crate::{
    depot::{Depot, DepotError},
    enrol::{EnrolError, Station},
    lake::{LakeError, settle},
    object::{folder, origin_of, station_of},
};
use origin::Taking;
use state::State;

#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Depot(#[from] DepotError),
    #[error(transparent)]
    Lake(#[from] LakeError),
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{path} is not what the collector wrote ({reason}); restore it, or collect into another lake"
    )]
    State { path: PathBuf, reason: String },
}

/// What one round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    pub segments: u64,
    pub rows: u64,
    /// Signed blocks that were proven.
    pub proven: u64,
    /// New, with their reasons: origin, object, why.
    pub refused: Vec<(String, String, String)>,
    /// Blocks that tell of violations and are not signed yet: origin, block, and what they tell.
    pub urgent: Vec<(String, u64, Vec<String>)>,
    /// Folders of nobody who is enrolled.
    pub strangers: BTreeSet<String>,
    /// Origins of which two ledgers were signed, first seen now.
    pub forked: Vec<String>,
}

/// The ground.
#[derive(Debug)]
pub struct Collect {
    pub lake: PathBuf,
    pub depot: Box<dyn Depot>,
    pub stations: BTreeMap<String, Station>,
    pub witness: WitnessSigner,
    /// What was taken is removed there.
    pub removes: bool,
}

/// Where the ledgers are kept.
pub fn ledgers(lake: &Path) -> PathBuf {
    lake.join("ledgers")
}

/// Where that of one origin is.
pub fn ledger_of(lake: &Path, origin: &str) -> PathBuf {
    ledgers(lake).join(folder(origin))
}

impl Collect {
    /// Takes all that is there now.
    pub fn round(&self) -> Result<Round, CollectError> {
        let mut round = Round::default();
        let mut of: BTreeMap<(String, u64), String> = BTreeMap::new();
        for folder in self.depot.folders()? {
            let origin = origin_of(&folder);
            let known = origin.as_deref().map(station_of);
            match known.filter(|(station, _)| self.stations.contains_key(*station)) {
                Some((station, number)) => {
                    of.insert((station.to_owned(), number), folder);
                }
                None => {
                    round.strangers.insert(folder);
                }
            }
        }
        // An origin comes after the one that it follows on. Of how many there are, one at a time is in memory.
        for ((station, number), folder) in of {
            let origin = if number == 1 { station.clone() } else { format!("{station}/{number}") };
            let Some(station) = self.stations.get(&station) else { continue };
            let listed = self.depot.list(&folder)?;
            let state = State::open(&ledger_of(&self.lake, &origin), &origin)?;
            Taking::new(self, station, state)?.all(&listed, &mut round)?;
        }
        snapshot::write(&self.lake, &known(&self.lake, &self.stations)?)?;
        if round.segments > 0 {
            self.settle()?;
        }
        Ok(round)
    }
}

impl Collect {
    /// Files of segments that are taken for good become larger ones.
    fn settle(&self) -> Result<(), CollectError> {
        let mut held: BTreeMap<String, Vec<(u32, u32)>> = BTreeMap::new();
        for origin in origins(&self.lake)? {
            let state = State::open(&ledger_of(&self.lake, &origin), &origin)?;
            held.entry(origin::short(&origin)).or_default().extend(state.held_ranges());
        }
        let is_held = |name: &str| {
            let mut words = name.split('-');
            let ranges = words.next().and_then(|origin| held.get(origin));
            let segment = words.next().and_then(|it| it.parse::<u32>().ok());
            ranges.zip(segment).is_some_and(|(ranges, segment)| {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&segment))
            })
        };
        Ok(settle(&self.lake, is_held)?)
    }
}

/// All origins of which anything is kept.
pub fn origins(lake: &Path) -> Result<Vec<String>, CollectError> {
    let path = ledgers(lake);
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|source| CollectError::Read { path: path.clone(), source })?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| CollectError::Read { path: path.clone(), source })?;
        all.extend(entry.file_name().to_str().and_then(origin_of));
    }
    all.sort();
    Ok(all)
}
