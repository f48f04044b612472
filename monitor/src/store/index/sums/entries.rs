//! The entries of a dictionary: what tells a flow from others by each column. A number stands for one of these. Nothing here
//! numbers them, or reads or writes files.

use std::{net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};

use super::kind::{StoredKind, stored_kind, told_kind};
use crate::{
    event::{
        Certainty, Egress, ExecutedFile, Origin, Phase, Process, Reason, Record, Transport, User,
    },
    summary::{Kind, parent},
};

/// Who sent: what is told of a process by keys, and asked for by filters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Who {
    pub(super) name: Arc<str>,
    pub(super) executable: Option<Arc<str>>,
    pub(super) claimed: Option<Arc<str>>,
    pub(super) script: Option<Box<str>>,
    pub(super) user: u32,
    pub(super) user_name: Option<Arc<str>>,
    pub(super) unit: Option<Arc<str>>,
    pub(super) container: Option<Arc<str>>,
    pub(super) sha256: Option<[u8; 32]>,
    pub(super) parent: Option<Box<str>>,
}

impl Who {
    pub(super) fn of(process: &Process) -> Self {
        Self {
            name: Arc::clone(&process.name),
            executable: process.executable.clone(),
            claimed: process.executable_claimed.clone(),
            script: process.script().map(Into::into),
            user: process.user.id,
            user_name: process.user.name.clone(),
            unit: process.unit.clone(),
            container: process.container.clone(),
            sha256: process.file.sha256,
            parent: parent(process).map(Into::into),
        }
    }

    pub(super) fn process(&self) -> Process {
        let parent = self.parent.as_deref().map(|name| crate::event::Ancestor {
            pid: 0,
            name: name.into(),
            executable: None,
            command_line: None,
            started_at: None,
        });
        Process {
            pid: 0,
            name: Arc::clone(&self.name),
            executable: self.executable.clone(),
            executable_claimed: self.claimed.clone(),
            file: ExecutedFile { sha256: self.sha256, ..ExecutedFile::default() },
            // Of which the script is read again, whatever the interpreter.
            command_line: self.script.as_deref().map(|script| format!("- -- {script}").into()),
            started_at: None,
            parents: parent.into_iter().collect(),
            user: User { id: self.user, name: self.user_name.clone() },
            unit: self.unit.clone(),
            container: self.container.clone(),
            cgroup: None,
            netns: None,
        }
    }
}

/// Whose the destination is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Whose {
    pub(super) asn: Option<u32>,
    pub(super) name: Option<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct What {
    pub(super) kind: Kind,
    pub(super) transport: Transport,
    pub(super) origin: Origin,
    pub(super) phase: Phase,
    pub(super) certainty: Certainty,
    pub(super) reason: Reason,
}

/// The contract's words for origin, phase, certainty and reason.
pub(super) type StoredWhat = (StoredKind, u8, String, String, String, String);

impl What {
    pub(super) fn of(record: &Record) -> Self {
        let Record { egress, .. } = record;
        Self {
            kind: Kind::of(record),
            transport: egress.transport,
            origin: egress.origin,
            phase: egress.phase,
            certainty: record.judgement.certainty,
            reason: record.judgement.reason.clone(),
        }
    }

    /// Where no more is asked.
    pub(super) fn of_kind(kind: Kind) -> Self {
        Self {
            kind,
            transport: Transport::UNKNOWN,
            origin: Origin::Process,
            phase: Phase::Sent,
            certainty: Certainty::Full,
            reason: Reason::Country,
        }
    }

    pub(super) fn stored(&self) -> StoredWhat {
        (
            stored_kind(self.kind),
            self.transport.0,
            self.origin.to_string(),
            self.phase.to_string(),
            self.certainty.to_string(),
            self.reason.to_string(),
        )
    }

    pub(super) fn told(
        (kind, transport, origin, phase, certainty, reason): &StoredWhat,
    ) -> Option<Self> {
        Some(Self {
            kind: told_kind(*kind)?,
            transport: Transport(*transport),
            origin: Origin::parse(origin)?,
            phase: Phase::parse(phase)?,
            certainty: Certainty::parse(certainty)?,
            reason: Reason::parse(reason)?,
        })
    }
}

/// Made into what is stored only where it is.
pub(super) struct Stored<'a>(pub(super) &'a What);

impl Serialize for Stored<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.stored().serialize(serializer)
    }
}

/// The remote port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Port {
    /// Nobody could read where to.
    Unread,
    Of(u16),
    /// The transport has none; the number stands in the address all the same.
    Portless(u16),
}

/// The destination as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum To {
    Named(Arc<str>),
    Address(IpAddr),
    Unread,
}

/// What of a device tells it from others, as it sent through this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) mac: Option<[u8; 6]>,
    pub(super) address: IpAddr,
}

impl Device {
    /// `None`: this host sent it.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let Egress { origin, passage, local, .. } = &record.egress;
        let address = local.filter(|_| *origin == Origin::Forwarded)?.ip();
        Some(Self { mac: passage.mac.as_ref().map(|mac| mac.0), address })
    }
}
