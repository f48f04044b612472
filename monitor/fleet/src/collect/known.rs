//! How the fleet is, by what was taken: what is proven of each station, what is missing, and for which times its
//! silence proves nothing. A station of which nothing came is told of, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use geofenced::fleet::{
    Coverage,
    shipped::{self, Shipped},
};

use super::{
    CollectError,
    branch::Cause,
    ledger_of, origins,
    state::{Fork, State},
    told::{Told, told},
};
use crate::{enrol::Station, object::station_of};

/// What is known of one origin.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Known {
    pub station: String,
    pub origin: String,
    /// `whole`, `missing`, `removed`, `silent`, `rolled-back`, `cloned`, `signs-twice`, `put-back` or `two-ledgers`.
    pub state: &'static str,
    /// In people's words; nothing where it is whole.
    pub why: Option<String>,
    /// Blocks that are proven to have been signed, and those that are here.
    pub signed: u64,
    pub held: u64,
    pub rows: [u64; 4],
    /// First, and the one behind the last.
    pub missing: Vec<(u64, u64)>,
    pub missing_segments: Vec<u32>,
    /// Segments that the station says it removed.
    pub gone: Vec<(u64, u64)>,
    /// Objects that did not verify, and why.
    pub refused: BTreeMap<String, String>,
    pub waiting: BTreeMap<String, String>,
    pub coverage: Option<Coverage>,
    /// The last checkpoint with the ground's cosignature.
    pub cosigned: String,
}

impl Known {
    pub fn missing_blocks(&self) -> u64 {
        self.missing.iter().map(|(first, end)| end - first).sum()
    }

    /// What was never seen of a station.
    fn silent(station: &str) -> Self {
        Self {
            station: station.to_owned(),
            origin: station.to_owned(),
            state: "silent",
            why: Some("nothing of it ever arrived".to_owned()),
            signed: 0,
            held: 0,
            rows: [0; 4],
            missing: Vec::new(),
            missing_segments: Vec::new(),
            gone: Vec::new(),
            refused: BTreeMap::new(),
            waiting: BTreeMap::new(),
            coverage: None,
            cosigned: String::new(),
        }
    }
}

/// All of the fleet: who is enrolled, and whatever is kept of those who were.
pub fn known(
    lake: &Path,
    stations: &BTreeMap<String, Station>,
) -> Result<Vec<Known>, CollectError> {
    let mut all = Vec::new();
    let origins = origins(lake)?;
    for origin in &origins {
        let state = State::open(&ledger_of(lake, origin), origin)?;
        let (station, number) = station_of(origin);
        let next = format!("{station}/{}", number + 1);
        let follows = origins.contains(&next).then_some(next);
        all.push(of(state, follows.as_deref())?);
    }
    let seen: BTreeSet<&str> = origins.iter().map(|it| station_of(it).0).collect();
    let unseen = stations.keys().filter(|it| !seen.contains(it.as_str()));
    all.extend(unseen.map(|it| Known::silent(it)));
    all.sort_by(|a, b| (&a.station, &a.origin).cmp(&(&b.station, &b.origin)));
    Ok(all)
}

fn of(state: State, follows: Option<&str>) -> Result<Known, CollectError> {
    let missing_segments = state.missing_segments();
    let (word, why) = standing(&state, follows, &missing_segments)?;
    let held = state.held.values().map(|it| it.blocks.1 - it.blocks.0 - it.unreadable).sum();
    let mut rows = [0; 4];
    for segment in state.held.values() {
        rows.iter_mut().zip(segment.rows).for_each(|(sum, more)| *sum += more);
    }
    Ok(Known {
        station: station_of(&state.origin).0.to_owned(),
        state: word,
        why,
        signed: state.size,
        held,
        rows,
        missing: state.missing_blocks(),
        missing_segments,
        coverage: state.coverage.clone(),
        origin: state.origin,
        gone: state.gone,
        refused: state.refused,
        waiting: state.waiting,
        cosigned: state.cosigned,
    })
}

fn standing(
    state: &State,
    follows: Option<&str>,
    missing: &[u32],
) -> Result<(&'static str, Option<String>), CollectError> {
    if let Some(fork) = state.forks.first() {
        let cause = cause(state, fork)?;
        let tail = match cause {
            Cause::Cloned => "two machines ran with one disk's content at the same time",
            Cause::SignsTwice => {
                "one machine signed two ledgers within one boot: whoever has its key, has more than the daemon"
            }
            Cause::PutBack => "the disk was put back to what it had been, and went on from there",
            Cause::Unknown => "the blocks that would tell why did not arrive yet",
        };
        let why = format!("from block {} on there are two signed ledgers: {tail}", fork.at);
        return Ok((cause.word(), Some(why)));
    }
    if let Some(next) = follows {
        let why = format!(
            "the daemon found a ledger that was not what it had signed, {} blocks, and went on as `{next}`",
            state.size
        );
        return Ok(("rolled-back", Some(why)));
    }
    if !missing.is_empty() {
        let shown: Vec<String> = missing.iter().take(8).map(ToString::to_string).collect();
        let more = if missing.len() > 8 { ", ..." } else { "" };
        let why = format!("segments {}{more} did not arrive", shown.join(", "));
        return Ok(("missing", Some(why)));
    }
    // What came and can't be proven is not here.
    let unproven = state.waiting.iter().find(|(name, _)| name.starts_with("leaves/"));
    if let Some((_, why)) = unproven {
        return Ok(("missing", Some(format!("leaves did not arrive: {why}"))));
    }
    if state.size == 0 {
        return Ok(("missing", Some("no leaves arrived, which would prove the rest".to_owned())));
    }
    let removed = state.removed_segments();
    if removed > 0 {
        let why = format!("the station removed {removed} segments before they were here");
        return Ok(("removed", Some(why)));
    }
    Ok(("whole", None))
}

fn cause(state: &State, fork: &Fork) -> Result<Cause, CollectError> {
    let (mut boots, mut span): Told = (BTreeSet::new(), None);
    for (segment, held) in &state.held {
        if held.blocks.1 <= fork.at {
            continue;
        }
        let path = shipped::path_of(&state.directory, *segment);
        let bytes = fs::read(&path).map_err(|source| CollectError::Read { path, source })?;
        let Ok(read) = Shipped::read(&bytes) else { continue };
        let (more, its) = told(&read, &bytes, fork.at);
        boots.extend(more);
        if let Some((from, to)) = its {
            let (first, last) = span.unwrap_or((from, to));
            span = Some((first.min(from), last.max(to)));
        }
    }
    Ok(Cause::of(fork, &boots, span))
}
