//! The stored form of processes: what stands in a block's table. What is known of the executed file
//! came later and is told beside it (`executed`).

use std::{cell::OnceCell, sync::Arc};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{
    error::FormError,
    executed::{StoredExecuted, add_executed, executed_to_stored},
    text::{Text, TextInterner, Texts},
};
use crate::{
    event::{Ancestor, ExecutedFile, Process, Timestamp, User},
    filter::Filter,
};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredProcess {
    pid: u32,
    name: Text,
    executable: Option<Text>,
    command_line: Option<Text>,
    started_at: Option<u64>,
    parents: Vec<StoredAncestor>,
    user: StoredUser,
    unit: Option<Text>,
    container: Option<Text>,
    cgroup: Option<Text>,
    netns: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredAncestor {
    pid: u32,
    name: Text,
    executable: Option<Text>,
    command_line: Option<Text>,
    started_at: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredUser {
    id: u32,
    name: Option<Text>,
}

pub(super) fn user_to_stored(user: &User, into: &mut TextInterner) -> StoredUser {
    StoredUser { id: user.id, name: into.maybe(user.name.as_ref()) }
}

pub(super) fn user_from_stored(user: &StoredUser, texts: &Texts<'_>) -> Result<User, FormError> {
    Ok(User { id: user.id, name: texts.maybe(user.name)? })
}

/// Processes of a block that is being filled.
#[derive(Debug, Default)]
pub(super) struct ProcessInterner {
    stored: Vec<StoredProcess>,
    at: FxHashMap<Arc<Process>, u32>,
    /// Of processes that the entry in hand refers to for the first time.
    executed: Vec<StoredExecuted>,
}

impl ProcessInterner {
    pub(super) fn process(&mut self, process: &Arc<Process>, texts: &mut TextInterner) -> u32 {
        if let Some(at) = self.at.get(process) {
            return *at;
        }
        let at = self.stored.len() as u32;
        self.stored.push(process_to_stored(process, texts));
        self.executed.extend(executed_to_stored(at, process, texts));
        self.at.insert(Arc::clone(process), at);
        at
    }

    pub(super) fn take_executed(&mut self) -> Vec<StoredExecuted> {
        std::mem::take(&mut self.executed)
    }

    pub(super) fn take_stored(&mut self) -> Vec<StoredProcess> {
        std::mem::take(&mut self.stored)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.stored.as_slice())
    }
}

/// Processes of a block that is read. Each is decoded when it is asked for.
#[derive(Debug, Default)]
pub(super) struct Processes {
    stored: Vec<StoredProcess>,
    shared: Vec<OnceCell<Arc<Process>>>,
    /// What is known of their files, by position.
    executed: FxHashMap<u32, StoredExecuted>,
}

impl Processes {
    pub(super) fn from_stored(stored: Vec<StoredProcess>) -> Self {
        let shared = stored.iter().map(|_| OnceCell::new()).collect();
        Self { stored, shared, executed: FxHashMap::default() }
    }

    pub(super) fn process(&self, at: u32, texts: &Texts<'_>) -> Result<Arc<Process>, FormError> {
        let place = at as usize;
        let (Some(stored), Some(shared)) = (self.stored.get(place), self.shared.get(place)) else {
            return Err(FormError::Dangling);
        };
        if let Some(process) = shared.get() {
            return Ok(Arc::clone(process));
        }
        let mut process = process_from_stored(stored, texts)?;
        if let Some(executed) = self.executed.get(&at) {
            add_executed(executed, &mut process, texts)?;
        }
        Ok(Arc::clone(shared.get_or_init(|| Arc::new(process))))
    }

    /// To be asked before the entry that it came with is decoded, which is the first to refer to the process.
    pub(super) fn learn(&mut self, executed: StoredExecuted) -> Result<(), FormError> {
        if executed.process as usize >= self.stored.len() {
            return Err(FormError::Dangling);
        }
        self.executed.insert(executed.process, executed);
        Ok(())
    }

    /// Whether the filter leaves room for a process, as far as that is seen without decoding it.
    pub(super) fn may_match(&self, at: u32, filter: &Filter, texts: &Texts<'_>) -> bool {
        // Dangling: whoever decodes it says so.
        let Some(process) = self.stored.get(at as usize) else { return true };
        let is_called = |wanted: &str| {
            let mut names = [Some(process.name), process.executable].into_iter().flatten();
            // Or that is what an interpreter runs.
            let is_run = || process.command_line.and_then(|at| texts.seen(at));
            names.any(|at| texts.seen(at).is_some_and(|name| name.ends_with(wanted)))
                || is_run().is_some_and(|line| line.contains(wanted))
                || self.executed.get(&at).is_some_and(StoredExecuted::is_claimed)
        };
        let is_within = |pid| process.pid == pid || process.parents.iter().any(|it| it.pid == pid);
        (filter.pids.is_empty() || filter.pids.contains(&process.pid))
            && filter.tree.is_none_or(is_within)
            && (filter.processes.is_empty() || filter.processes.iter().any(|it| is_called(&it.0)))
    }
}

fn process_to_stored(process: &Process, into: &mut TextInterner) -> StoredProcess {
    StoredProcess {
        pid: process.pid,
        name: into.text(&process.name),
        executable: into.maybe(process.executable.as_ref()),
        command_line: into.maybe(process.command_line.as_ref()),
        started_at: process.started_at.map(|at| at.0),
        parents: process
            .parents
            .iter()
            .map(|parent| StoredAncestor {
                pid: parent.pid,
                name: into.text(&parent.name),
                executable: into.maybe(parent.executable.as_ref()),
                command_line: into.maybe(parent.command_line.as_ref()),
                started_at: parent.started_at.map(|at| at.0),
            })
            .collect(),
        user: user_to_stored(&process.user, into),
        unit: into.maybe(process.unit.as_ref()),
        container: into.maybe(process.container.as_ref()),
        cgroup: into.maybe(process.cgroup.as_ref()),
        netns: process.netns,
    }
}

fn process_from_stored(process: &StoredProcess, texts: &Texts<'_>) -> Result<Process, FormError> {
    let parent = |parent: &StoredAncestor| {
        Ok(Ancestor {
            pid: parent.pid,
            name: texts.text(parent.name)?,
            executable: texts.maybe(parent.executable)?,
            command_line: texts.maybe(parent.command_line)?,
            started_at: parent.started_at.map(Timestamp),
        })
    };
    Ok(Process {
        pid: process.pid,
        name: texts.text(process.name)?,
        executable: texts.maybe(process.executable)?,
        executable_claimed: None,
        file: ExecutedFile::default(),
        command_line: texts.maybe(process.command_line)?,
        started_at: process.started_at.map(Timestamp),
        parents: process.parents.iter().map(parent).collect::<Result<_, FormError>>()?,
        user: user_from_stored(&process.user, texts)?,
        unit: texts.maybe(process.unit)?,
        container: texts.maybe(process.container)?,
        cgroup: texts.maybe(process.cgroup)?,
        netns: process.netns,
    })
}
