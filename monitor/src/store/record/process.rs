//! The stored form of processes: what stands in a block's table. What is known of the executed file
//! came later and is told beside it (`store::executed`).

use serde::{Deserialize, Serialize};

use super::{RecordError, StoredUser, Text, user_from_stored, user_to_stored};
use crate::{
    event::{Ancestor, ExecutedFile, Process, Timestamp},
    store::tables::{Interner, Tables},
};

#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store) struct StoredProcess {
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

pub(in crate::store) fn process_to_stored(process: &Process, into: &mut Interner) -> StoredProcess {
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

pub(in crate::store) fn process_from_stored(
    process: &StoredProcess,
    tables: &Tables,
) -> Result<Process, RecordError> {
    let parent = |parent: &StoredAncestor| {
        Ok(Ancestor {
            pid: parent.pid,
            name: tables.text(parent.name)?,
            executable: tables.maybe(parent.executable)?,
            command_line: tables.maybe(parent.command_line)?,
            started_at: parent.started_at.map(Timestamp),
        })
    };
    Ok(Process {
        pid: process.pid,
        name: tables.text(process.name)?,
        executable: tables.maybe(process.executable)?,
        executable_claimed: None,
        file: ExecutedFile::default(),
        command_line: tables.maybe(process.command_line)?,
        started_at: process.started_at.map(Timestamp),
        parents: process.parents.iter().map(parent).collect::<Result<_, RecordError>>()?,
        user: user_from_stored(&process.user, tables)?,
        unit: tables.maybe(process.unit)?,
        container: tables.maybe(process.container)?,
        cgroup: tables.maybe(process.cgroup)?,
        netns: process.netns,
    })
}
