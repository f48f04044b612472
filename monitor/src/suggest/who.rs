//! Who sent, as far as it is proven: what of a process a rule that allows can rest on. Decides no verdict.

use std::sync::Arc;

use crate::{
    event::Process,
    select::{ContainerSelector, ProgramSelector, UnitSelector},
};

/// What a rule says of who sends. Each is what the kernel or the host's files say, and nothing that the process chose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Who {
    /// A file of the host, of a system unit or else of a user.
    Host { path: Arc<str>, unit: Option<Arc<str>>, user: u32 },
    /// A file by its content, wherever it is; `path` is for the reader.
    Content { sha256: [u8; 32], path: Arc<str>, container: Option<Arc<str>> },
    /// Whatever runs in a container of the host's runtime.
    Container { name: Arc<str> },
}

impl Who {
    /// `None`: there is but a claim.
    pub(super) fn of(process: &Process) -> Option<Self> {
        let unit = process.unit.as_ref().filter(|it| is_steady(it, process));
        let path = process.executable.as_ref().filter(|path| is_path(path));
        if let Some(path) = path.filter(|_| process.file.is_hosts) {
            let (unit, user) = (unit.cloned(), process.user.id);
            // A unit that runs as whatever user it is given is known by its name.
            let user = if unit.is_some() { 0 } else { user };
            return Some(Self::Host { path: Arc::clone(path), unit, user });
        }
        let container = process.container.as_ref().filter(|name| {
            ContainerSelector::parse(name).is_ok_and(|it| it.allows(process, false))
        });
        if let (Some(sha256), Some(path)) = (process.file.sha256, process.executable.as_ref()) {
            let (path, container) = (Arc::clone(path), container.cloned());
            return Some(Self::Content { sha256, path, container });
        }
        container.map(|name| Self::Container { name: Arc::clone(name) })
    }

    /// For the rule's name and the order of rules.
    pub(super) fn called(&self) -> &str {
        match self {
            Self::Host { path, .. } | Self::Content { path, .. } => {
                path.rsplit('/').next().unwrap_or(path)
            }
            Self::Container { name } => name,
        }
    }
}

/// The system manager's own, by a name that the same work has again tomorrow.
fn is_steady(unit: &str, process: &Process) -> bool {
    unit.ends_with(".service")
        && !unit.starts_with("user:")
        && !unit.starts_with("user@")
        && !unit.starts_with("run-")
        && UnitSelector::parse(unit).is_ok_and(|it| it.allows(process))
}

/// That a rule can name.
fn is_path(path: &str) -> bool {
    matches!(ProgramSelector::parse(path), Ok(ProgramSelector::File { .. }))
}
