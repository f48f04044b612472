//! The stored form of notices: what the ledger tells besides flows. It converts and interns.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    error::FormError,
    host::{StoredHost, host_from_stored, host_to_stored},
    mark::{StoredMark, mark_from_stored, mark_to_stored},
    text::{Text, TextInterner, Texts},
    watching::{StoredWatching, watching_from_stored, watching_to_stored},
};
use crate::event::{BootId, Moment, Notice, Timeline, Timestamp};

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredNotice {
    Started { version: Text, probes: Vec<Text>, policy_sha256: [u8; 32] },
    Alive,
    Stopped,
    Lost { stage: Text, reason: Text, count: u64 },
    Reloaded { policy_sha256: [u8; 32] },
    Cut { segment: u64, bytes: u64 },
    AddedUp { user: Option<u32>, flows: u64, attempts: u64 },
    Removed { segments: Vec<u64>, entries: u64, from: u64, to: u64 },
    Detached { probe: Text, interface: Option<Text>, is_displaced: bool },
    Attached { probe: Text, interface: Option<Text> },
    ClockRead { boot_ns: u64, boot: [u8; 16], wall_at_boot_ns: i64, is_trusted: bool },
    ClockStepped { from: u64, to: u64 },
    LostSight { flows: u64 },
    Policy { sha256: [u8; 32], lines: Vec<Text> },
    SelfTestFailed { since: u64 },
    SelfTestPassed,
    Host(StoredHost),
    Mark(StoredMark),
    Key { line: Text, before: Option<Text>, signature: Option<Text> },
    RolledBack { origin: Text, was: Text },
    Gone { ranges: Vec<(u64, u64)> },
    LostSince { stage: Text, reason: Text, count: u64, since: u64 },
    Stalled { since: u64 },
    Watching(StoredWatching),
}

pub(super) fn notice_to_stored(notice: &Notice, into: &mut TextInterner) -> StoredNotice {
    match notice {
        Notice::Started { version, probes, policy_sha256 } => StoredNotice::Started {
            version: into.text(version),
            probes: probes.iter().map(|probe| into.text(probe)).collect(),
            policy_sha256: *policy_sha256,
        },
        Notice::Alive => StoredNotice::Alive,
        Notice::Stopped => StoredNotice::Stopped,
        Notice::Lost { stage, reason, count, since } => {
            let (stage, reason, count) = (into.text(stage), into.text(reason), *count);
            match since {
                None => StoredNotice::Lost { stage, reason, count },
                Some(Timestamp(since)) => {
                    StoredNotice::LostSince { stage, reason, count, since: *since }
                }
            }
        }
        Notice::Reloaded { policy_sha256 } => {
            StoredNotice::Reloaded { policy_sha256: *policy_sha256 }
        }
        Notice::Cut { segment, bytes } => StoredNotice::Cut { segment: *segment, bytes: *bytes },
        Notice::AddedUp { user, flows, attempts } => {
            StoredNotice::AddedUp { user: *user, flows: *flows, attempts: *attempts }
        }
        Notice::Removed { segments, entries, from, to } => StoredNotice::Removed {
            segments: segments.clone(),
            entries: *entries,
            from: from.0,
            to: to.0,
        },
        Notice::Detached { probe, interface, is_displaced } => StoredNotice::Detached {
            probe: into.text(probe),
            interface: into.maybe(interface.as_ref()),
            is_displaced: *is_displaced,
        },
        Notice::Attached { probe, interface } => StoredNotice::Attached {
            probe: into.text(probe),
            interface: into.maybe(interface.as_ref()),
        },
        Notice::ClockRead(Moment { boot_ns, timeline }) => StoredNotice::ClockRead {
            boot_ns: *boot_ns,
            boot: timeline.boot.0,
            wall_at_boot_ns: timeline.wall_at_boot_ns,
            is_trusted: timeline.is_trusted,
        },
        Notice::Policy { sha256, lines } => StoredNotice::Policy {
            sha256: *sha256,
            lines: lines.iter().map(|line| into.text(line)).collect(),
        },
        Notice::ClockStepped { from, to } => StoredNotice::ClockStepped { from: from.0, to: to.0 },
        Notice::LostSight { flows } => StoredNotice::LostSight { flows: *flows },
        Notice::SelfTestFailed { since } => StoredNotice::SelfTestFailed { since: since.0 },
        Notice::SelfTestPassed => StoredNotice::SelfTestPassed,
        Notice::Host(host) => StoredNotice::Host(host_to_stored(host, into)),
        Notice::Mark(mark) => StoredNotice::Mark(mark_to_stored(mark, into)),
        Notice::Key { line, before, signature } => StoredNotice::Key {
            line: into.text(line),
            before: into.maybe(before.as_ref()),
            signature: into.maybe(signature.as_ref()),
        },
        Notice::RolledBack { origin, was } => {
            StoredNotice::RolledBack { origin: into.text(origin), was: into.text(was) }
        }
        Notice::Gone { ranges } => StoredNotice::Gone { ranges: ranges.clone() },
        Notice::Stalled { since } => StoredNotice::Stalled { since: since.0 },
        Notice::Watching(it) => StoredNotice::Watching(watching_to_stored(it, into)),
    }
}

pub(super) fn notice_from_stored(
    notice: StoredNotice,
    texts: &Texts<'_>,
) -> Result<Notice, FormError> {
    Ok(match notice {
        StoredNotice::Started { version, probes, policy_sha256 } => Notice::Started {
            version: texts.text(version)?,
            probes: probes
                .into_iter()
                .map(|probe| texts.text(probe))
                .collect::<Result<Vec<Arc<str>>, FormError>>()?,
            policy_sha256,
        },
        StoredNotice::Alive => Notice::Alive,
        StoredNotice::Stopped => Notice::Stopped,
        StoredNotice::Lost { stage, reason, count } => {
            let (stage, reason) = (texts.text(stage)?, texts.text(reason)?);
            Notice::Lost { stage, reason, count, since: None }
        }
        StoredNotice::LostSince { stage, reason, count, since } => {
            let (stage, reason) = (texts.text(stage)?, texts.text(reason)?);
            Notice::Lost { stage, reason, count, since: Some(Timestamp(since)) }
        }
        StoredNotice::Stalled { since } => Notice::Stalled { since: Timestamp(since) },
        StoredNotice::Watching(it) => Notice::Watching(watching_from_stored(it, texts)?),
        StoredNotice::Reloaded { policy_sha256 } => Notice::Reloaded { policy_sha256 },
        StoredNotice::Cut { segment, bytes } => Notice::Cut { segment, bytes },
        StoredNotice::AddedUp { user, flows, attempts } => {
            Notice::AddedUp { user, flows, attempts }
        }
        StoredNotice::Removed { segments, entries, from, to } => {
            Notice::Removed { segments, entries, from: Timestamp(from), to: Timestamp(to) }
        }
        StoredNotice::Detached { probe, interface, is_displaced } => Notice::Detached {
            probe: texts.text(probe)?,
            interface: texts.maybe(interface)?,
            is_displaced,
        },
        StoredNotice::Attached { probe, interface } => {
            Notice::Attached { probe: texts.text(probe)?, interface: texts.maybe(interface)? }
        }
        StoredNotice::ClockRead { boot_ns, boot, wall_at_boot_ns, is_trusted } => {
            let timeline = Timeline { boot: BootId(boot), wall_at_boot_ns, is_trusted };
            Notice::ClockRead(Moment { boot_ns, timeline })
        }
        StoredNotice::Policy { sha256, lines } => Notice::Policy {
            sha256,
            lines: lines.into_iter().map(|line| texts.text(line)).collect::<Result<_, _>>()?,
        },
        StoredNotice::ClockStepped { from, to } => {
            Notice::ClockStepped { from: Timestamp(from), to: Timestamp(to) }
        }
        StoredNotice::LostSight { flows } => Notice::LostSight { flows },
        StoredNotice::SelfTestFailed { since } => {
            Notice::SelfTestFailed { since: Timestamp(since) }
        }
        StoredNotice::SelfTestPassed => Notice::SelfTestPassed,
        StoredNotice::Host(host) => Notice::Host(host_from_stored(&host, texts)?),
        StoredNotice::Mark(mark) => Notice::Mark(mark_from_stored(&mark, texts)?),
        StoredNotice::Key { line, before, signature } => Notice::Key {
            line: texts.text(line)?,
            before: texts.maybe(before)?,
            signature: texts.maybe(signature)?,
        },
        StoredNotice::RolledBack { origin, was } => {
            Notice::RolledBack { origin: texts.text(origin)?, was: texts.text(was)? }
        }
        StoredNotice::Gone { ranges } => Notice::Gone { ranges },
    })
}
