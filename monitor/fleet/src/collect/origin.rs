//! One origin: keys first, then leaves, then segments, and at last the answer. Each thing that is taken is on the
//! disk before the state says so.

use std::{fs, io};

use geofenced::fleet::{KeyName, PublicKey, replace_file, shipped};

use super::{
    Collect, CollectError, Round,
    branch::{self, Branches, Leads, Proof},
    ledger_of, noticed, proof,
    state::State,
    told,
};
use crate::{
    depot::Listed,
    enrol::Station,
    object::{self, Object, Piece, Short},
    ship::Answer,
};

/// An origin that is worked on.
#[derive(Debug)]
pub(super) struct Taking<'c> {
    pub collect: &'c Collect,
    pub station: &'c Station,
    pub state: State,
    pub branches: Branches,
    /// Of the station's origin before this one, and how many leaves both have in common.
    pub before: Option<(State, u64)>,
    keys: Vec<PublicKey>,
}

impl<'c> Taking<'c> {
    pub fn new(
        collect: &'c Collect,
        station: &'c Station,
        state: State,
    ) -> Result<Self, CollectError> {
        shipped::make_directory(&state.directory)?;
        let branches = Branches::open(&state)?;
        let mut keys = station.keys.clone();
        keys.extend(state.keys.iter().filter_map(|line| PublicKey::parse(line).ok()));
        Ok(Self { collect, station, state, branches, before: None, keys })
    }

    pub fn all(mut self, listed: &[Listed], round: &mut Round) -> Result<(), CollectError> {
        let (mut leaves, mut pieces) = (Vec::new(), Vec::new());
        let (mut urgent, mut successions) = (Vec::new(), Vec::new());
        for Listed { key, bytes } in listed {
            let name = key.split_once('/').map_or("", |(_, name)| name);
            match Object::parse(name) {
                Some(Object::Leaves { from, to, .. }) => leaves.push((to, from, name, key)),
                // What was cut on its way is not there.
                Some(Object::Piece(it)) if it.length == *bytes => pieces.push((it, key)),
                Some(Object::Piece(_) | Object::Answer) => {}
                Some(Object::Urgent { block, leaf }) => urgent.push((block, leaf, key)),
                Some(Object::Succession { .. }) => successions.push(key),
                None => self.refuse(name, "no object of ours is called so", None, round)?,
            }
        }
        self.inherit_keys()?;
        for key in successions {
            self.succession(key, round)?;
        }
        leaves.sort();
        let (size, mut proven) = (self.state.size, Vec::new());
        for (_, from, name, key) in leaves {
            if self.leaves(from, name, key, round)? {
                proven.push(key);
            }
        }
        if self.state.size > size {
            self.cosign()?;
        }
        if !proven.is_empty() {
            self.state.save()?;
        }
        for key in proven {
            self.remove(key)?;
        }
        self.inherit()?;
        self.pieces(pieces, round)?;
        for (block, leaf, key) in urgent {
            self.urgent(block, &leaf, key, round)?;
        }
        self.state.looked_at = self.state.taken;
        noticed::cover(&mut self.state)?;
        self.state.save()?;
        self.answer()
    }

    /// Whether it was refused, and nothing is known since that could change it.
    fn is_settled(&self, name: &str) -> bool {
        self.state.refused.contains_key(name) && self.state.looked_at == self.state.taken
    }

    /// Puts it aside, once.
    pub fn refuse(
        &mut self,
        name: &str,
        why: &str,
        bytes: Option<&[u8]>,
        round: &mut Round,
    ) -> Result<(), CollectError> {
        let before = self.state.refused.insert(name.to_owned(), why.to_owned());
        if before.as_deref() == Some(why) {
            return Ok(());
        }
        round.refused.push((self.state.origin.clone(), name.to_owned(), why.to_owned()));
        if let Some(bytes) = bytes {
            let folder =
                self.collect.lake.join("quarantine").join(object::folder(&self.state.origin));
            shipped::make_directory(&folder)?;
            let path = folder.join(name.replace('/', "."));
            replace_file(&path, bytes)?;
            let mut reason = path.into_os_string();
            reason.push(".why");
            replace_file(reason.as_ref(), format!("{why}\n").as_bytes())?;
        }
        Ok(())
    }

    /// What was put aside turned out right.
    pub fn pardon(&mut self, name: &str) {
        self.state.waiting.remove(name);
        self.state.refused.remove(name);
        self.state.taken += 1;
    }

    fn remove(&self, key: &str) -> Result<(), CollectError> {
        if self.collect.removes {
            self.collect.depot.remove(key)?;
        }
        Ok(())
    }

    /// Keys that were known of the origin before this one are the station's still.
    fn inherit_keys(&mut self) -> Result<(), CollectError> {
        let Some(before) = object::before(&self.state.origin) else { return Ok(()) };
        let directory = ledger_of(&self.collect.lake, &before);
        let state = State::open(&directory, &before)?;
        for line in &state.keys {
            if let (Ok(key), false) = (PublicKey::parse(line), self.state.keys.contains(line)) {
                self.state.keys.push(line.clone());
                self.keys.push(key);
            }
        }
        self.before = Some((state, 0));
        Ok(())
    }

    fn succession(&mut self, key: &str, round: &mut Round) -> Result<(), CollectError> {
        let name = key.split_once('/').map_or("", |(_, name)| name);
        if self.state.proofs.contains(name) || self.is_settled(name) {
            return Ok(());
        }
        let Some(bytes) = self.collect.depot.get(key)? else { return Ok(()) };
        match proof::successor(&bytes, &self.keys) {
            Ok(after) => {
                let line = after.to_string();
                if !self.keys.contains(&after) {
                    self.state.keys.push(line);
                    self.keys.push(after);
                }
                self.state.proofs.insert(name.to_owned());
                self.pardon(name);
                self.state.save()?;
                self.remove(key)
            }
            Err(why) => self.refuse(name, &why, Some(&bytes), round),
        }
    }

    /// Whether it was taken now.
    fn leaves(
        &mut self,
        from: u64,
        name: &str,
        key: &str,
        round: &mut Round,
    ) -> Result<bool, CollectError> {
        if self.state.proofs.contains(name) || self.is_settled(name) {
            return Ok(false);
        }
        let is_beyond = |leaves: &Vec<_>| leaves.len() < from as usize;
        if is_beyond(&self.branches.believed) && self.branches.others.iter().all(is_beyond) {
            let why = format!("leaves before {from} are not here");
            self.state.waiting.insert(name.to_owned(), why);
            return Ok(false);
        }
        let Some(bytes) = self.collect.depot.get(key)? else { return Ok(false) };
        let proof = match proof::read(&bytes, &self.state.origin, &self.keys) {
            Ok(proof) => proof,
            Err(why) => {
                self.refuse(name, &why, Some(&bytes), round)?;
                return Ok(false);
            }
        };
        let before = self.state.size;
        let is_appended = self.branches.append(&mut self.state, &proof)?;
        match if is_appended { (Leads::Appended, Vec::new()) } else { self.branches.leads(&proof) }
        {
            (Leads::Appended, _) => {}
            (Leads::On, leaves) => self.branches.go_on(&mut self.state, &proof, leaves)?,
            (Leads::Away { at, known }, leaves) => {
                self.fork(&proof, (at, known), leaves, round)?;
            }
            (Leads::Waits, _) => {
                let why = format!("leaves before {from} are not here");
                self.state.waiting.insert(name.to_owned(), why);
                return Ok(false);
            }
            (Leads::Nowhere, _) => {
                let why = "wrong-root: its leaves are not what was signed";
                self.refuse(name, why, Some(&bytes), round)?;
                return Ok(false);
            }
        }
        round.proven += self.state.size - before;
        self.state.proofs.insert(name.to_owned());
        self.pardon(name);
        Ok(true)
    }

    fn fork(
        &mut self,
        proof: &Proof,
        at: (u64, Option<usize>),
        leaves: Vec<geofenced::fleet::Hash>,
        round: &mut Round,
    ) -> Result<(), CollectError> {
        let forks = self.state.forks.len();
        self.branches.fork(&mut self.state, proof, at, leaves)?;
        if self.state.forks.len() > forks {
            round.forked.push(self.state.origin.clone());
        }
        Ok(())
    }

    /// Says as a witness that it saw this ledger, after all that it saw of it before: what is believed grows at
    /// its end alone.
    fn cosign(&mut self) -> Result<(), CollectError> {
        let Some(text) = self.state.note.split_once("\n\n").map(|(text, _)| format!("{text}\n"))
        else {
            return Ok(());
        };
        let seconds = jiff::Timestamp::now().as_second().unsigned_abs();
        let line = self.collect.witness.line(&text, seconds);
        self.state.cosigned = format!("{}{line}", self.state.note);
        let path = branch::evidence(&self.state.directory).join("witnessed");
        replace_file(&path, self.state.cosigned.as_bytes())?;
        let keys: Vec<String> = self.keys.iter().rev().map(ToString::to_string).collect();
        let keys = keys.join("\n") + "\n";
        Ok(replace_file(&self.state.directory.join("key.pub"), keys.as_bytes())?)
    }

    /// What this origin's ledger has in common with the one before it was taken as that one's.
    fn inherit(&mut self) -> Result<(), CollectError> {
        let Some((before, common)) = self.before.as_mut() else { return Ok(()) };
        let theirs = Branches::open(before)?.believed;
        let pairs = theirs.iter().zip(&self.branches.believed);
        *common = pairs.take_while(|(theirs, ours)| theirs == ours).count() as u64;
        for (segment, held) in &before.held {
            if held.blocks.1 > *common || self.state.held.contains_key(segment) {
                continue;
            }
            let (from, to) = (
                shipped::path_of(&before.directory, *segment),
                shipped::path_of(&self.state.directory, *segment),
            );
            shipped::make_directory(to.parent().unwrap_or(&self.state.directory))?;
            match fs::hard_link(&from, &to) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(CollectError::Write { path: to, source: error });
                }
                _ => {}
            }
            let held = super::state::Held { is_inherited: true, rows: [0; 4], ..held.clone() };
            self.state.held.insert(*segment, held);
            self.state.taken += 1;
        }
        Ok(())
    }

    fn pieces(
        &mut self,
        mut pieces: Vec<(Piece, &String)>,
        round: &mut Round,
    ) -> Result<(), CollectError> {
        pieces.sort();
        for of_one in pieces.chunk_by(|a, b| a.0.segment == b.0.segment && a.0.whole == b.0.whole) {
            let Some((first, _)) = of_one.first() else { continue };
            let name = format!("segments/{:08}-{}", first.segment, first.whole);
            let whole = first.whole.to_string();
            let is_held =
                self.state.held.get(&first.segment).is_some_and(|held| held.whole == whole);
            if !is_held && !self.is_settled(&name) {
                self.assemble(first, of_one, &name, round)?;
            }
            let is_held =
                self.state.held.get(&first.segment).is_some_and(|held| held.whole == whole);
            if is_held {
                for (_, key) in of_one {
                    self.remove(key)?;
                }
            }
        }
        Ok(())
    }

    fn assemble(
        &mut self,
        first: &Piece,
        pieces: &[(Piece, &String)],
        name: &str,
        round: &mut Round,
    ) -> Result<(), CollectError> {
        /// No segment is longer: what says so is somebody else's.
        const TOTAL_MOST: u64 = 64 << 20;
        if first.total > TOTAL_MOST {
            return self.refuse(name, "it says that it is longer than any segment", None, round);
        }
        let mut end = 0;
        for (piece, _) in pieces {
            if piece.offset <= end {
                end = end.max(piece.offset + piece.length);
            }
        }
        if end < first.total {
            let why = format!("{end} of {} bytes are here", first.total);
            self.state.waiting.insert(name.to_owned(), why);
            return Ok(());
        }
        let mut bytes: Vec<u8> = Vec::with_capacity(first.total as usize);
        for (piece, key) in pieces {
            let there = bytes.len() as u64;
            if piece.offset > there || piece.offset + piece.length <= there {
                continue;
            }
            let Some(part) = self.collect.depot.get(key)? else { return Ok(()) };
            let known = (there - piece.offset) as usize;
            bytes.extend_from_slice(part.get(known..).unwrap_or_default());
        }
        if Short::of_bytes(&bytes) != first.whole {
            let why = "damaged: its bytes are not those that its name tells of";
            return self.refuse(name, why, Some(&bytes), round);
        }
        self.segment(first.segment, name, &bytes, round)
    }

    fn urgent(
        &mut self,
        block: u64,
        leaf: &Short,
        key: &str,
        round: &mut Round,
    ) -> Result<(), CollectError> {
        if let Some(signed) = self.branches.believed.get(block as usize) {
            let name = Object::Urgent { block, leaf: leaf.clone() }.name();
            if Short::of(signed) != *leaf {
                let why = "told as urgent, and not what was signed as this block then";
                self.refuse(&name, why, None, round)?;
            }
            self.state.urgent.remove(&block);
            return self.remove(key);
        }
        if self.state.urgent.get(&block) == Some(&leaf.to_string()) {
            return Ok(());
        }
        let Some(bytes) = self.collect.depot.get(key)? else { return Ok(()) };
        let blocks = shipped::loose_blocks(&bytes);
        let signed =
            blocks.first().filter(|it| it.number() == block && Short::of(&it.leaf) == *leaf);
        let Some(entries) = signed.and_then(|it| it.entries(&bytes)) else { return Ok(()) };
        let lines = told::violations(&entries);
        round.urgent.push((self.state.origin.clone(), block, lines));
        self.state.urgent.insert(block, leaf.to_string());
        Ok(())
    }

    /// What the ground has, for the station.
    fn answer(&self) -> Result<(), CollectError> {
        let state = &self.state;
        let mut wanted = state.missing_segments();
        let damaged = state.refused.iter().filter(|(_, why)| why.starts_with("damaged"));
        let numbers = damaged.filter_map(|(name, _)| name.get(9..17)?.parse::<u32>().ok());
        wanted.extend(numbers.filter(|it| !state.held.contains_key(it)));
        wanted.sort_unstable();
        wanted.dedup();
        let answer = Answer {
            size: state.size,
            taken: state.taken_below(),
            held: state.held_ranges(),
            wanted,
            cosigned: state.cosigned.clone(),
        };
        let bytes = serde_json::to_vec_pretty(&answer).unwrap_or_default();
        let key = Object::Answer.key(&state.origin);
        if self.collect.depot.get(&key)?.as_ref() != Some(&bytes) {
            self.collect.depot.put(&key, &bytes)?;
        }
        Ok(())
    }
}

/// The name by which a segment of an origin is called in the lake.
pub(super) fn name_of(origin: &str, segment: u32) -> String {
    format!("{}-{segment:08}", short(origin))
}

pub(super) fn short(origin: &str) -> String {
    Short::of_bytes(origin.as_bytes()).to_string()[..8].to_owned()
}

/// The name of a witness, if it can be one.
pub fn witness_name(name: &str) -> Result<KeyName, String> {
    KeyName::parse(name).map_err(|fault| fault.to_string())
}
