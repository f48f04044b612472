//! What the probes number: the cgroups of a process in all hierarchies together. A number that was once
//! seen with its path is known without `/proc`, and the probes are told so. Bounded; reads nothing.

use std::fmt;

use rustc_hash::FxHashMap;

use super::{Processes, cgroup::Cgroup, procfs::Reading, record::Whereabouts, table::View};

/// Sets remembered; a host that has more is asked again.
const KNOWN_MAX: usize = 4096;

/// Who is told that a set is known.
pub(super) type Know = Box<dyn FnMut(u64) + Send>;

#[derive(Default)]
pub(super) struct CgroupSets {
    known: FxHashMap<u64, Cgroup>,
    know: Option<Know>,
}

impl fmt::Debug for CgroupSets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CgroupSets").field("known", &self.known.len()).finish_non_exhaustive()
    }
}

impl Processes {
    /// The probes, which ask less of `/proc` then.
    pub fn set_know_cgroups(&mut self, know: Know) {
        self.cgroup_sets.know = Some(know);
    }

    /// `set`: of the process at its exec; 0 if not known. `before`: what it was.
    ///
    /// What is read now may be of later, when it went elsewhere, and must not be taken for this set's for
    /// ever: it is believed where the process, or its parent, was there before.
    pub(super) fn know_cgroups(
        &mut self,
        set: u64,
        reading: Option<&Reading>,
        before: Option<&View>,
        whereabouts: &mut Whereabouts,
    ) {
        if set == 0 {
            return;
        }
        let sets = &mut self.cgroup_sets;
        if let Some(known) = sets.known.get(&set) {
            whereabouts.cgroup = Some(known.clone());
            return;
        }
        let read = reading.and_then(|reading| reading.cgroup.as_ref());
        let was_there = |it: &&Cgroup| {
            before.is_some_and(|view| view.process.cgroup.as_ref() == Some(&it.path))
        };
        let is_there = |it: &&Cgroup| Some(*it) == whereabouts.cgroup.as_ref();
        let Some(read) = read.filter(was_there).filter(is_there) else { return };
        if sets.known.len() >= KNOWN_MAX {
            sets.known.clear();
        }
        sets.known.insert(set, read.clone());
        if let Some(know) = &mut sets.know {
            know(set);
        }
    }
}
