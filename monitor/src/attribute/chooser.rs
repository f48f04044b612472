//! Who is meant where several hold a socket. Names nobody: a process is named by what is known of it.

use rustc_hash::FxHashMap;

use super::{place::Place, procfs::Procfs};
use crate::event::FileId;

/// Holders of one socket that are compared; where there are more, it is nobody's.
const HOLDERS_MAX: usize = 256;

/// What a record tells of a process besides its pid: where all holders of a socket are equal in it, what is
/// told is right whichever of them sent.
#[derive(Debug, PartialEq, Eq)]
struct Likeness {
    file: FileId,
    uid: u32,
    cgroup: Option<Box<str>>,
}

/// Tells the holders of sockets apart. For one search: what it read is not read again.
#[derive(Debug)]
pub(super) struct Chooser<'p> {
    procfs: &'p Procfs,
    read: FxHashMap<u32, Option<Likeness>>,
}

impl<'p> Chooser<'p> {
    pub(super) fn new(procfs: &'p Procfs) -> Self {
        Self { procfs, read: FxHashMap::default() }
    }

    /// The one holder, or the first of several forks of one program, with one user in one cgroup, that
    /// share one socket. `None`: they differ, and nobody is meant. `places`: by process, lowest first.
    pub(super) fn choose(&mut self, places: &[Place]) -> Option<Place> {
        // Init only keeps the sockets that it made for others.
        let places = match places {
            [first, others @ ..] if first.tgid == 1 && !others.is_empty() => others,
            all => all,
        };
        let (first, others) = places.split_first()?;
        let mut others = others.iter().filter(|it| it.tgid != first.tgid).peekable();
        if others.peek().is_none() {
            return Some(*first);
        }
        let are_few = places.len() <= HOLDERS_MAX;
        // Of different sockets, who runs can tell.
        let is_like = |it: &Place| it.inode == first.inode && self.are_alike(first.tgid, it.tgid);
        (are_few && others.all(is_like)).then_some(*first)
    }

    fn are_alike(&mut self, one: u32, other: u32) -> bool {
        for pid in [one, other] {
            self.read.entry(pid).or_insert_with(|| likeness(self.procfs, pid));
        }
        match (&self.read[&one], &self.read[&other]) {
            (Some(one), Some(other)) => one == other,
            // Of one that can't be looked at nothing is known.
            _ => false,
        }
    }
}

fn likeness(procfs: &Procfs, pid: u32) -> Option<Likeness> {
    let reading = procfs.read(pid)?;
    let cgroup = reading.cgroup.map(|cgroup| cgroup.path.as_ref().into());
    Some(Likeness { file: reading.file?, uid: reading.uid, cgroup })
}
