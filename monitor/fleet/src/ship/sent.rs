//! What a station has sent, in a file of its own: replaced whole, so that it is never half told. What it does not
//! know is sent again, which does no harm.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use geofenced::fleet::{StoreError, replace_file};
use serde::{Deserialize, Serialize};

use super::Answer;

const FILE: &str = "sent.json";

/// A place in the ledger: segment, and bytes into it.
pub type Place = (u32, u64);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfOrigin {
    /// Leaves that were sent, and their root; none where they are sent once more.
    pub size: u64,
    pub root: String,
    /// The last answer that was acted on, by its hash.
    pub answer: Option<String>,
    /// Blocks that the ground has proven and keeps.
    pub taken: u64,
    /// Segments that it keeps, as it said last.
    #[serde(default)]
    pub held: Vec<(u32, u32)>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Sent {
    #[serde(skip)]
    path: PathBuf,
    pub origins: BTreeMap<String, OfOrigin>,
    /// Whole segments: the beginning of their hash, and how many leaves had been sent by then.
    pub segments: BTreeMap<u32, (String, u64)>,
    /// Under which origin these were compared with the ledger last.
    pub origin: Option<String>,
    /// Up to where violations were told.
    pub tail: Option<Place>,
    /// Keys of which it was looked how they follow on each other.
    pub keys: BTreeSet<String>,
    /// Segments that the ground asks for once more.
    pub wanted: BTreeSet<u32>,
}

impl Sent {
    /// One that can't be read is an error: to send all again costs a slow link days.
    pub fn open(directory: &Path) -> Result<Self, io::Error> {
        let path = directory.join(FILE);
        let sent = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Self>(&bytes).map_err(|error| {
                let path = path.display();
                let why = format!("{path} can't be read ({error}): remove it to send all again");
                io::Error::new(io::ErrorKind::InvalidData, why)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, ..sent })
    }

    pub fn save(&self) -> Result<(), StoreError> {
        // Maps of texts and numbers can always be written.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        replace_file(&self.path, &bytes)
    }

    pub fn of(&mut self, origin: &str) -> &mut OfOrigin {
        self.origins.entry(origin.to_owned()).or_default()
    }

    /// Segments that were sent as they are here and are on the ground: ranges, first and last.
    pub fn on_the_ground(&self, origin: &str) -> Vec<(u32, u32)> {
        let held = self.origins.get(origin).map_or(&[][..], |it| &it.held);
        let is_held = |it: u32| held.iter().any(|(first, last)| (*first..=*last).contains(&it));
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for segment in self.segments.keys().copied().filter(|it| is_held(*it)) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == segment => *last = segment,
                _ => ranges.push((segment, segment)),
            }
        }
        ranges
    }

    /// Segments that were sent and did not arrive: the ground misses them, or knows leaves that were sent after
    /// them and not these.
    pub fn lost(&self, answer: &Answer) -> BTreeSet<u32> {
        let is_held =
            |it: u32| answer.held.iter().any(|(first, last)| (*first..=*last).contains(&it));
        let sent = self.segments.iter().filter(|(segment, (_, leaves))| {
            answer.wanted.contains(segment) || *leaves < answer.size && !is_held(**segment)
        });
        sent.map(|(segment, _)| *segment).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_before_leaves_that_arrived_and_is_not_held_was_lost() {
        let mut sent = Sent::default();
        for (segment, leaves) in [(1, 10), (2, 20), (3, 30), (4, 40)] {
            sent.segments.insert(segment, (String::new(), leaves));
        }
        let answer =
            Answer { size: 31, held: vec![(1, 1)], wanted: vec![4, 9], ..Answer::default() };
        assert_eq!(sent.lost(&answer), BTreeSet::from([2, 3, 4]));
    }

    #[test]
    fn on_the_ground_is_what_was_sent_as_it_is_here_and_is_held_there() {
        let mut sent = Sent::default();
        for segment in [1, 2, 3, 5] {
            sent.segments.insert(segment, (String::new(), 10));
        }
        assert_eq!(sent.on_the_ground("uav-7"), []);
        sent.of("uav-7").held = vec![(2, 9)];
        assert_eq!(sent.on_the_ground("uav-7"), [(2, 3), (5, 5)]);
        assert_eq!(sent.on_the_ground("uav-7/2"), []);
    }
}
