//! The stored form of what watched. It converts and interns.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    basis::{StoredDatabase, database_from_stored, database_to_stored},
    error::FormError,
    text::{Text, TextInterner, Texts},
};
use crate::event::{BootId, Moment, Timeline, Watcher, Watching};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredWatching {
    version: Text,
    kernel: Text,
    probes: Vec<(Text, Option<Text>)>,
    interfaces: Vec<Text>,
    boot_ns: u64,
    boot: [u8; 16],
    wall_at_boot_ns: i64,
    is_trusted: bool,
    tolerance_ns: Option<u64>,
    policy_sha256: [u8; 32],
    databases: Vec<StoredDatabase>,
}

pub(super) fn watching_to_stored(it: &Watching, into: &mut TextInterner) -> StoredWatching {
    let timeline = it.clock.timeline;
    let probe = |it: &Watcher, into: &mut TextInterner| {
        (into.text(&it.name), into.maybe(it.missing.as_ref()))
    };
    StoredWatching {
        version: into.text(&it.version),
        kernel: into.text(&it.kernel),
        probes: it.probes.iter().map(|it| probe(it, into)).collect(),
        interfaces: it.interfaces.iter().map(|it| into.text(it)).collect(),
        boot_ns: it.clock.boot_ns,
        boot: timeline.boot.0,
        wall_at_boot_ns: timeline.wall_at_boot_ns,
        is_trusted: timeline.is_trusted,
        tolerance_ns: it.tolerance_ns,
        policy_sha256: it.policy_sha256,
        databases: it.databases.iter().map(|it| database_to_stored(it, into)).collect(),
    }
}

pub(super) fn watching_from_stored(
    it: StoredWatching,
    texts: &Texts<'_>,
) -> Result<Arc<Watching>, FormError> {
    let timeline = Timeline {
        boot: BootId(it.boot),
        wall_at_boot_ns: it.wall_at_boot_ns,
        is_trusted: it.is_trusted,
    };
    let probe =
        |(name, missing)| Ok(Watcher { name: texts.text(name)?, missing: texts.maybe(missing)? });
    let databases = it.databases.iter().map(|it| database_from_stored(it, texts));
    Ok(Arc::new(Watching {
        version: texts.text(it.version)?,
        kernel: texts.text(it.kernel)?,
        probes: it.probes.into_iter().map(probe).collect::<Result<_, FormError>>()?,
        interfaces: it.interfaces.into_iter().map(|it| texts.text(it)).collect::<Result<_, _>>()?,
        clock: Moment { boot_ns: it.boot_ns, timeline },
        tolerance_ns: it.tolerance_ns,
        policy_sha256: it.policy_sha256,
        databases: databases.collect::<Result<_, _>>()?,
    }))
}
