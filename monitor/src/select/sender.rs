//! Selectors of who sends. A rule that allows asks for proof, one that forbids for suspicion, and a
//! query only searches: so each selector is asked in two or three ways. What the watched can choose
//! (its comm, what it passes to execve, a cgroup within one that was delegated to it) is never proof.

use std::{fmt, sync::Arc};

use data_encoding::HEXLOWER_PERMISSIVE;

use crate::event::{CLAIMED, Process};

/// A program as a query searches for it: a path, or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSelector(pub Arc<str>);

impl ProcessSelector {
    /// Also as totals tell it.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.strip_prefix(CLAIMED).unwrap_or(text) {
            "" => Err("a process is a name or a path, not nothing".into()),
            text => Ok(Self(text.into())),
        }
    }

    /// By path what was executed or claimed to be, by name also what it calls itself.
    pub fn finds(&self, process: &Process) -> bool {
        let is_it = if self.0.contains('/') {
            is_path(process, &self.0)
        } else {
            is_called(process, &self.0)
        };
        is_it || ScriptSelector(Arc::clone(&self.0)).finds(process)
    }
}

/// What an interpreter runs, as a query searches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptSelector(Arc<str>);

impl ScriptSelector {
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a script is a name or a path, not nothing".into());
        }
        Ok(Self(text.into()))
    }

    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.0
    }

    /// As it was passed, or by its name alone.
    pub fn finds(&self, process: &Process) -> bool {
        process.script().is_some_and(|script| {
            script == self.0.as_ref()
                || !self.0.contains('/') && script.rsplit('/').next() == Some(self.0.as_ref())
        })
    }
}

/// A program as a rule names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramSelector {
    /// The file that this path leads to from the root of the host.
    File {
        /// Absolute, without `.`, `..` or empty parts.
        path: Arc<str>,
        /// The file's own path, where the other is one by symbolic links. Only for records of which
        /// nothing is known but the path; what runs now, attribution compares by its inode.
        leads_to: Option<Arc<str>>,
    },
    /// Whatever is called so; only of rules that forbid.
    Name(Arc<str>),
}

impl ProgramSelector {
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_class = text.split_once('[').is_some_and(|(_, rest)| rest.contains(']'));
        if text.is_empty() {
            return Err("a process is a path, not nothing".into());
        }
        if text.contains(['*', '?', '\0']) || is_class {
            return Err(format!(
                "\"{text}\" has wildcards; write one rule for each program's path"
            ));
        }
        if !text.contains('/') {
            return Ok(Self::Name(text.into()));
        }
        let Some(inner) = text.strip_prefix('/') else {
            return Err(format!("\"{text}\" is relative; write the path from the root on"));
        };
        if inner.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(format!(
                "\"{text}\" goes round about; write the path without `.`, `..`, `//` or `/` at the end"
            ));
        }
        Ok(Self::File { path: text.into(), leads_to: None })
    }

    /// The path, where it is one.
    pub fn path(&self) -> Option<&Arc<str>> {
        match self {
            Self::File { path, .. } => Some(path),
            Self::Name(_) => None,
        }
    }

    /// Whether the process is proven to run the file. `trust_claims`: where nothing is known of the
    /// file, the path that was passed to execve counts as proof.
    pub fn allows(&self, process: &Process, trust_claims: bool) -> bool {
        let Self::File { path, leads_to } = self else { return false };
        let executable = process.executable.as_ref();
        let is_named = executable.is_some_and(|it| it == path || leads_to.as_ref() == Some(it));
        let is_claimed =
            || executable.is_none() && process.executable_claimed.as_ref() == Some(path);
        (process.file.is_hosts && is_named)
            || is_known_as(process, path)
            || (trust_claims && is_claimed())
    }

    /// Whether the process may be the program.
    pub fn forbids(&self, process: &Process) -> bool {
        match self {
            Self::File { path, leads_to } => {
                is_path(process, path)
                    || (leads_to.is_some() && process.executable == *leads_to)
                    || is_relative_claim(process, path)
            }
            Self::Name(name) => is_called(process, name),
        }
    }
}

impl fmt::Display for ProgramSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path: text, .. } | Self::Name(text) => f.write_str(text),
        }
    }
}

fn is_known_as(process: &Process, path: &str) -> bool {
    process.file.known_as.iter().flat_map(|paths| paths.iter()).any(|it| it.as_ref() == path)
}

/// In whatever root, and be it only said.
fn is_path(process: &Process, path: &str) -> bool {
    process.executable.as_deref() == Some(path)
        || process.executable_claimed.as_deref() == Some(path)
        || is_known_as(process, path)
}

fn is_called(process: &Process, name: &str) -> bool {
    let paths = [&process.executable, &process.executable_claimed];
    process.name.as_ref() == name || paths.into_iter().flatten().any(|path| file_name(path) == name)
}

/// `./curl` may be `/usr/bin/curl`, as long as nobody knows where it was said.
fn is_relative_claim(process: &Process, path: &str) -> bool {
    process
        .executable_claimed
        .as_deref()
        .is_some_and(|claim| !claim.starts_with('/') && file_name(claim) == file_name(path))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A systemd unit; `chrony` means `chrony.service`, `user:1000/backup` one of a user's manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitSelector(pub Arc<str>);

impl UnitSelector {
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Err("a unit is a name such as chrony.service, not nothing".into()),
            _ if text.contains('.') => Ok(Self(text.into())),
            _ => Ok(Self(format!("{text}.service").into())),
        }
    }

    /// Those of users' managers by their bare name, too.
    pub fn finds(&self, process: &Process) -> bool {
        let users = |unit: &str| unit.split_once('/').is_some_and(|(_, it)| it == self.0.as_ref());
        self.allows(process) || process.unit.as_deref().is_some_and(users)
    }

    pub fn allows(&self, process: &Process) -> bool {
        process.unit.as_ref() == Some(&self.0)
    }

    /// Also what the unit made below itself, whatever that looks like.
    pub fn forbids(&self, process: &Process) -> bool {
        let users = self.0.strip_prefix("user:").and_then(|it| it.split_once('/'));
        let (slice, name) = match users {
            Some((uid, name)) => (format!("/user.slice/user-{uid}.slice/"), name),
            None => ("/".to_owned(), self.0.as_ref()),
        };
        let is_there = process.cgroup.as_ref().is_some_and(|path| path.starts_with(&slice));
        let is_it = |part: &str| part.strip_prefix('_').unwrap_or(part) == name;
        self.finds(process) || (is_there && cgroup_parts(process).any(is_it))
    }
}

/// A container, or that there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerSelector {
    /// The host itself.
    None,
    /// A name, a whole id, or the first 12 or more digits of one.
    Named(Arc<str>),
}

/// What `docker ps` shows of an id, and the least that is taken for one.
const SHORT_ID: usize = 12;
const WHOLE_ID: usize = 64;

impl ContainerSelector {
    /// `""` is the host itself.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::None);
        }
        let is_wrong = |c: char| c.is_whitespace() || c.is_control() || "/*?[]".contains(c);
        if text.contains(is_wrong) {
            return Err(format!(
                "\"{text}\" is no container; write its name or id, at least 12 digits of it, or \"\" for the host itself"
            ));
        }
        Ok(Self::Named(text.into()))
    }

    /// A query only searches.
    pub fn finds(&self, process: &Process) -> bool {
        match self {
            Self::None => process.container.is_none(),
            Self::Named(name) => is_container(process, name),
        }
    }

    /// Of a container within a unit's cgroup the unit could have made up the name, so a rule must
    /// name that, too (`asks_unit`). The host is only what surely is no container: a unit, or the
    /// root of all cgroups; a cgroup that nothing is known of may be a container of some other kind.
    pub fn allows(&self, process: &Process, asks_unit: bool) -> bool {
        match self {
            Self::None => {
                process.container.is_none()
                    && (process.unit.is_some() || process.cgroup.as_deref() == Some("/"))
            }
            Self::Named(name) => {
                is_container(process, name)
                    && (!is_delegated(process) || (asks_unit && process.unit.is_some()))
            }
        }
    }

    pub fn forbids(&self, process: &Process) -> bool {
        match self {
            Self::None => process.container.is_none() || is_delegated(process),
            Self::Named(name) => {
                is_container(process, name) || cgroup_parts(process).any(|part| part == &**name)
            }
        }
    }
}

fn is_container(process: &Process, name: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    process.container.as_deref().is_some_and(|container| {
        let is_id = container.len() == WHOLE_ID && is_hex(container);
        container == name
            || (is_id && name.len() >= SHORT_ID && is_hex(name) && container.starts_with(name))
    })
}

/// Whether the cgroup is within one that a service or a user's manager was given: who runs there
/// makes cgroups as they like.
fn is_delegated(process: &Process) -> bool {
    let first = cgroup_parts(process).find(|part| part.strip_suffix(".slice").is_none());
    let is_nspawns = process.cgroup.as_ref().is_some_and(|it| it.starts_with(NSPAWN));
    first.is_some_and(|part| part.ends_with(".service")) && !is_nspawns
}

/// Whose services are containers, named by their unit.
const NSPAWN: &str = "/machine.slice/systemd-nspawn@";

fn cgroup_parts(process: &Process) -> impl Iterator<Item = &str> {
    process.cgroup.as_deref().unwrap_or("").split('/').filter(|part| !part.is_empty())
}

/// SHA-256 of the executed file, 64 hexadecimal digits.
pub fn parse_sha256(text: &str) -> Result<[u8; 32], String> {
    let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        format!("\"{text}\" is no SHA-256; write 64 hexadecimal digits, as sha256sum does")
    })
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
