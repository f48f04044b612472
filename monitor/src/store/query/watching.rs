//! Who watched in a window, and by what: from the notices that say so. Whether anybody did, `coverage` says.

use std::ops::ControlFlow;

use super::Reader;
use crate::{
    coverage::Watched,
    event::{Notice, Timestamp},
    store::error::StoreError,
};

/// Most changes that are told of a window: the first.
const CHANGES_MAX: usize = 100;
/// It is told once a day, so that one is found so long before.
const LOOK_BACK_NS: u64 = 25 * 3_600_000_000_000;

impl Reader {
    /// Each from when on, in their order: the first was noted before the window, if there is such.
    pub fn watching(
        &self,
        (since, until): (Option<Timestamp>, Timestamp),
    ) -> Result<Vec<Watched>, StoreError> {
        let near = since.map(|since| Timestamp(since.0.saturating_sub(LOOK_BACK_NS)));
        let found = self.watching_from(near, since, until)?;
        let is_whole = |since| found.first().is_some_and(|it| it.noted_at.0 <= since);
        match since {
            // Versions that did not tell it once a day.
            Some(at) if !is_whole(at) => self.watching_from(None, since, until),
            _ => Ok(found),
        }
    }

    fn watching_from(
        &self,
        from: Option<Timestamp>,
        since: Option<Timestamp>,
        until: Timestamp,
    ) -> Result<Vec<Watched>, StoreError> {
        let mut found: Vec<Watched> = Vec::new();
        self.notices(from, Some(until), |at, notice| {
            let mut now = match &notice {
                Notice::Started { version, probes, policy_sha256 } => {
                    Watched::started(at, version, probes, policy_sha256)
                }
                Notice::Watching(watching) => Watched::of(at, watching),
                _ => return ControlFlow::Continue(()),
            };
            if let Some(last) = found.last() {
                if last.is_as(&now) {
                    return ControlFlow::Continue(());
                }
                // The first word of the same daemon, which did not know more.
                if last.kernel.is_none() && now.kernel.is_some() && last.version == now.version {
                    now.noted_at = last.noted_at;
                    found.pop();
                }
            }
            if since.is_some_and(|since| now.noted_at.0 <= since) {
                // What is so at the beginning stands for all before it.
                found.clear();
            }
            if found.len() < CHANGES_MAX {
                found.push(now);
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}
