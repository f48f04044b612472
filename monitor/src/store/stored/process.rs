//! The stored form of processes: what stands in a block's table. What is known of the executed file
//! came later and is told beside it (`executed`).

use std::sync::Arc;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{
    error::FormError,
    executed::{StoredExecuted, add_executed, executed_to_stored},
    text::{Text, TextInterner, Texts},
};
use crate::event::{Ancestor, ExecutedFile, Process, Timestamp, User};

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

pub(super) fn user_from_stored(user: &StoredUser, texts: &Texts) -> Result<User, FormError> {
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

/// Processes of a block that was read.
#[derive(Debug, Default)]
pub(super) struct Processes(Vec<Arc<Process>>);

impl Processes {
    pub(super) fn from_stored(stored: &[StoredProcess], texts: &Texts) -> Result<Self, FormError> {
        let processes = stored.iter().map(|it| process_from_stored(it, texts).map(Arc::new));
        processes.collect::<Result<_, FormError>>().map(Self)
    }

    pub(super) fn process(&self, at: u32) -> Result<Arc<Process>, FormError> {
        self.0.get(at as usize).cloned().ok_or(FormError::Dangling)
    }

    /// For all entries from now on. To be asked before the entry that it came with is decoded.
    pub(super) fn learn(
        &mut self,
        executed: &StoredExecuted,
        texts: &Texts,
    ) -> Result<(), FormError> {
        let known = self.0.get_mut(executed.process as usize).ok_or(FormError::Dangling)?;
        add_executed(executed, Arc::make_mut(known), texts)
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

fn process_from_stored(process: &StoredProcess, texts: &Texts) -> Result<Process, FormError> {
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
