//! The leaves of an origin: the ledger that is believed, and any other that was signed under its name. Each grows
//! at its end only, and only by what a signed root proves.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use geofenced::fleet::{Frontier, Hash, Timestamp, replace_file, shipped};

use super::{
    CollectError,
    state::{Digits, Fork, State},
};

/// Leaves that are proven.
#[derive(Debug)]
pub struct Branches {
    pub believed: Vec<Hash>,
    /// Of the tree over these.
    frontier: Frontier,
    /// In the order of the forks of the state.
    pub others: Vec<Vec<Hash>>,
}

/// Where a proof leads.
#[derive(Debug, PartialEq, Eq)]
pub enum Leads {
    /// It was taken as it came.
    Appended,
    /// The ledger that is believed goes on so, or was so.
    On,
    /// Another ledger was signed: it differs from this block on, or is this one that is known already.
    Away { at: u64, known: Option<usize> },
    /// Leaves before these are not here.
    Waits,
    /// The leaves are not what was signed.
    Nowhere,
}

/// What an object of leaves says.
#[derive(Debug)]
pub struct Proof {
    pub from: u64,
    pub leaves: Vec<Hash>,
    /// Size and root of each checkpoint in it, by size.
    pub roots: Vec<(u64, Hash)>,
    pub notes: Vec<u8>,
    pub last_note: String,
}

impl Proof {
    fn continued(&self, before: &[Hash]) -> Option<Vec<Hash>> {
        let mut all = before.get(..self.from as usize)?.to_vec();
        all.extend_from_slice(&self.leaves);
        Some(all)
    }

    fn proves(&self, leaves: &[Hash]) -> bool {
        self.proves_behind(&mut Frontier::default(), leaves)
    }

    /// The same of leaves that come behind others; the tree goes on by those.
    fn proves_behind(&self, frontier: &mut Frontier, leaves: &[Hash]) -> bool {
        let begins = frontier.size();
        self.roots.iter().all(|(size, root)| {
            while frontier.size() < *size {
                let at = frontier.size() - begins;
                let Some(leaf) = leaves.get(at as usize) else { return false };
                frontier.push(*leaf);
            }
            frontier.size() == *size && frontier.root() == *root
        })
    }
}

pub fn evidence(directory: &Path) -> PathBuf {
    directory.join("evidence")
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> CollectError {
    let path = path.to_owned();
    move |source| CollectError::Write { path, source }
}

fn fork_path(directory: &Path, fork: &Fork) -> PathBuf {
    directory.join("forks").join(format!("{}.leaves", &fork.root.0[..16]))
}

fn read_leaves(path: &Path) -> Result<Vec<Hash>, CollectError> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(|source| CollectError::Read { path: path.to_owned(), source })?,
    };
    Ok(bytes.as_chunks::<32>().0.to_vec())
}

/// Writes behind so many bytes of a file, which end there then.
fn write_at(path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    file.set_len(at)?;
    file.write_all_at(bytes, at)?;
    file.sync_data()?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

impl Branches {
    pub fn open(state: &State) -> Result<Self, CollectError> {
        let path = evidence(&state.directory).join("leaves");
        let mut believed = read_leaves(&path)?;
        if (believed.len() as u64) < state.size {
            let reason = format!("{} leaves are there of {}", believed.len(), state.size);
            return Err(CollectError::State { path, reason });
        }
        believed.truncate(state.size as usize);
        let mut others = Vec::new();
        for fork in &state.forks {
            others.push(read_leaves(&fork_path(&state.directory, fork))?);
        }
        Ok(Self { frontier: Frontier::of(&believed), believed, others })
    }

    /// What comes right behind what is believed, and is proven, makes it longer; whether it was that. On the disk
    /// when this returns `Ok`. To hash all that is believed for each would take ever longer.
    pub fn append(&mut self, state: &mut State, proof: &Proof) -> Result<bool, CollectError> {
        let mut frontier = self.frontier.clone();
        let follows = proof.from == self.believed.len() as u64 && !proof.leaves.is_empty();
        if !follows || !proof.proves_behind(&mut frontier, &proof.leaves) {
            return Ok(false);
        }
        self.write(state, proof, &proof.leaves)?;
        self.believed.extend_from_slice(&proof.leaves);
        self.frontier = frontier;
        Ok(true)
    }

    pub fn leads(&self, proof: &Proof) -> (Leads, Vec<Hash>) {
        let Some(on) = proof.continued(&self.believed) else {
            for (known, other) in self.others.iter().enumerate() {
                if let Some(away) = proof.continued(other).filter(|it| proof.proves(it)) {
                    return (self.away(&away, Some(known)), away);
                }
            }
            return (Leads::Waits, Vec::new());
        };
        if proof.proves(&on) {
            let differs = on.iter().zip(&self.believed).any(|(new, old)| new != old);
            return if differs { (self.away(&on, None), on) } else { (Leads::On, on) };
        }
        for (known, other) in self.others.iter().enumerate() {
            if let Some(away) = proof.continued(other).filter(|it| proof.proves(it)) {
                return (self.away(&away, Some(known)), away);
            }
        }
        (Leads::Nowhere, Vec::new())
    }

    fn away(&self, leaves: &[Hash], known: Option<usize>) -> Leads {
        let same = leaves.iter().zip(&self.believed).take_while(|(new, old)| new == old).count();
        let is_part = |other: &Vec<Hash>| {
            let length = other.len().min(leaves.len());
            length > same && other[..length] == leaves[..length]
        };
        let known = known.or_else(|| self.others.iter().position(is_part));
        Leads::Away { at: same as u64, known }
    }

    /// The ledger that is believed is so long from here on. On the disk when this returns `Ok`.
    pub fn go_on(
        &mut self,
        state: &mut State,
        proof: &Proof,
        leaves: Vec<Hash>,
    ) -> Result<(), CollectError> {
        if leaves.len() <= self.believed.len() {
            return Ok(());
        }
        self.write(state, proof, &leaves[self.believed.len()..])?;
        self.frontier = Frontier::of(&leaves);
        self.believed = leaves;
        Ok(())
    }

    fn write(&self, state: &mut State, proof: &Proof, new: &[Hash]) -> Result<(), CollectError> {
        let folder = evidence(&state.directory);
        shipped::make_directory(&folder)?;
        let path = folder.join("leaves");
        write_at(&path, state.size * 32, &new.concat()).map_err(failed(&path))?;
        let path = folder.join("checkpoints");
        write_at(&path, state.notes_bytes, &proof.notes).map_err(failed(&path))?;
        state.notes_bytes += proof.notes.len() as u64;
        state.size = (self.believed.len() + new.len()) as u64;
        state.note.clone_from(&proof.last_note);
        Ok(())
    }

    /// Another ledger was signed, up to here.
    pub fn fork(
        &mut self,
        state: &mut State,
        proof: &Proof,
        (at, known): (u64, Option<usize>),
        leaves: Vec<Hash>,
    ) -> Result<(), CollectError> {
        let (size, root) = proof.roots.last().copied().unwrap_or_default();
        let folder = state.directory.join("forks");
        shipped::make_directory(&folder)?;
        let index = match known {
            Some(known) if self.others[known].len() >= leaves.len() => return Ok(()),
            Some(known) => known,
            None => {
                let (boots, root) = (BTreeSet::new(), Digits::from(&root));
                state.forks.push(Fork { at, size, root, boots, span: None });
                self.others.push(Vec::new());
                state.forks.len() - 1
            }
        };
        state.forks[index].size = size;
        let path = fork_path(&state.directory, &state.forks[index]);
        replace_file(&path, &leaves.concat())?;
        replace_file(&path.with_extension("note"), proof.last_note.as_bytes())?;
        self.others[index] = leaves;
        Ok(())
    }
}

/// Why there are two, as far as their blocks tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Two machines ran with one disk's content: they were booted apart, and at the same time.
    Cloned,
    /// Within one boot of one machine two ledgers were signed.
    SignsTwice,
    /// The disk was put back to what it had been: one went on after the other had ended.
    PutBack,
    /// The blocks of one of both did not arrive.
    Unknown,
}

impl Cause {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cloned => "cloned",
            Self::SignsTwice => "signs-twice",
            Self::PutBack => "put-back",
            Self::Unknown => "two-ledgers",
        }
    }

    /// `ours`: boots and span of what is believed, from the fork on.
    pub fn of(
        fork: &Fork,
        ours: &BTreeSet<String>,
        ours_span: Option<(Timestamp, Timestamp)>,
    ) -> Self {
        let (Some((from, to)), Some((our_from, our_to))) = (fork.span, ours_span) else {
            return Self::Unknown;
        };
        if ours.iter().any(|boot| fork.boots.contains(boot)) {
            Self::SignsTwice
        } else if from < our_to.0 && our_from.0 < to {
            Self::Cloned
        } else {
            Self::PutBack
        }
    }
}

#[cfg(test)]
mod tests {
    use geofenced::fleet::tree;

    use super::*;

    fn leaves(count: u8, from: u8, mark: u8) -> Vec<Hash> {
        (from..count).map(|number| [number ^ mark; 32]).collect()
    }

    fn proof(before: &[Hash], new: &[Hash]) -> Proof {
        let all = [before, new].concat();
        let roots = vec![(all.len() as u64, tree::root(&all))];
        let (notes, last_note) = (Vec::new(), String::new());
        Proof { from: before.len() as u64, leaves: new.to_vec(), roots, notes, last_note }
    }

    fn branches() -> Branches {
        let believed = leaves(5, 0, 0);
        Branches { frontier: Frontier::of(&believed), believed, others: Vec::new() }
    }

    #[test]
    fn what_goes_on_what_forks_what_waits_and_what_is_wrong_are_told_apart() {
        let it = branches();
        let ours = leaves(5, 0, 0);
        assert_eq!(it.leads(&proof(&ours, &leaves(9, 5, 0))).0, Leads::On);
        assert_eq!(it.leads(&proof(&ours[..2], &leaves(4, 2, 0))).0, Leads::On);
        let other = leaves(9, 3, 64);
        let away = Leads::Away { at: 3, known: None };
        assert_eq!(it.leads(&proof(&ours[..3], &other)).0, away);
        assert_eq!(it.leads(&proof(&leaves(7, 0, 0), &leaves(9, 7, 0))).0, Leads::Waits);
        let mut forged = proof(&ours, &leaves(9, 5, 0));
        forged.leaves[1] = [99; 32];
        assert_eq!(it.leads(&forged).0, Leads::Nowhere);
    }

    #[test]
    fn what_comes_right_behind_and_is_proven_is_appended_and_nothing_else_is() {
        let directory = tempfile::tempdir().unwrap();
        let mut state = State { directory: directory.path().into(), size: 5, ..State::default() };
        let mut it = branches();
        let ours = leaves(5, 0, 0);
        let mut forged = proof(&ours, &leaves(9, 5, 0));
        forged.leaves[1] = [99; 32];
        let other = proof(&[&ours[..4], &[[77; 32]]].concat(), &leaves(9, 5, 0));
        for wrong in [proof(&ours[..2], &leaves(9, 2, 0)), forged, other, proof(&ours, &[])] {
            assert!(!it.append(&mut state, &wrong).unwrap(), "{wrong:?}");
            assert_eq!((it.believed.len(), state.size), (5, 5));
        }
        assert!(it.append(&mut state, &proof(&ours, &leaves(9, 5, 0))).unwrap());
        assert!(it.append(&mut state, &proof(&leaves(9, 0, 0), &leaves(12, 9, 0))).unwrap());
        assert_eq!((it.believed.clone(), state.size), (leaves(12, 0, 0), 12));
        assert_eq!(it.frontier.root(), tree::root(&leaves(12, 0, 0)));
    }

    #[test]
    fn a_fork_that_goes_on_is_the_same_fork() {
        let mut it = branches();
        let other = [&leaves(5, 0, 0)[..3], &leaves(9, 3, 64)].concat();
        it.others.push(other.clone());
        let known = Leads::Away { at: 3, known: Some(0) };
        assert_eq!(it.leads(&proof(&other, &leaves(12, 9, 64))).0, known);
        assert_eq!(it.leads(&proof(&other[..3], &other[3..])).0, known);
    }

    #[test]
    fn why_there_are_two_is_told_by_boots_and_times() {
        let boots = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let fork = |names: &[&str], span| Fork {
            at: 3,
            size: 9,
            root: Digits(String::new()),
            boots: boots(names),
            span,
        };
        let ours = Some((Timestamp(10), Timestamp(20)));
        let cause = |fork: Fork| Cause::of(&fork, &boots(&["a", "b"]), ours);
        assert_eq!(cause(fork(&["b"], Some((12, 30)))), Cause::SignsTwice);
        assert_eq!(cause(fork(&["c"], Some((12, 30)))), Cause::Cloned);
        assert_eq!(cause(fork(&["c"], Some((21, 30)))), Cause::PutBack);
        assert_eq!(cause(fork(&["c"], None)), Cause::Unknown);
    }
}
