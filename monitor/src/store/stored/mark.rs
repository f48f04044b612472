//! The stored form of marks. They are rare, so nothing of them is shared but texts.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    error::FormError,
    text::{Text, TextInterner, Texts},
};
use crate::event::{BootId, Mark, MarkKind, Moment, Share, Timeline, Timestamp};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredMark {
    name: Text,
    begins: bool,
    note: Option<Text>,
    shares: Vec<StoredShare>,
    boot_ns: u64,
    boot: [u8; 16],
    wall_at_boot_ns: i64,
    is_trusted: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredShare {
    destination: Text,
    purpose: Text,
    until: Option<u64>,
}

pub(super) fn mark_to_stored(mark: &Mark, into: &mut TextInterner) -> StoredMark {
    let Moment { boot_ns, timeline } = mark.moment;
    let shares = mark.shares.iter().map(|share| StoredShare {
        destination: into.text(&share.destination),
        purpose: into.text(&share.purpose),
        until: share.until.map(|it| it.0),
    });
    StoredMark {
        shares: shares.collect(),
        name: into.text(&mark.name),
        begins: mark.kind == MarkKind::Start,
        note: into.maybe(mark.note.as_ref()),
        boot_ns,
        boot: timeline.boot.0,
        wall_at_boot_ns: timeline.wall_at_boot_ns,
        is_trusted: timeline.is_trusted,
    }
}

pub(super) fn mark_from_stored(
    stored: &StoredMark,
    texts: &Texts<'_>,
) -> Result<Arc<Mark>, FormError> {
    let StoredMark { boot_ns, boot, wall_at_boot_ns, is_trusted, .. } = *stored;
    let timeline = Timeline { boot: BootId(boot), wall_at_boot_ns, is_trusted };
    let shares = stored.shares.iter().map(|share| {
        Ok(Share {
            destination: texts.text(share.destination)?,
            purpose: texts.text(share.purpose)?,
            until: share.until.map(Timestamp),
        })
    });
    Ok(Arc::new(Mark {
        kind: if stored.begins { MarkKind::Start } else { MarkKind::Stop },
        name: texts.text(stored.name)?,
        note: texts.maybe(stored.note)?,
        shares: shares.collect::<Result<_, FormError>>()?,
        moment: Moment { boot_ns, timeline },
    }))
}
