//! What a policy said, by its hash: records name it by that alone; and which were in force when.

use std::{ops::ControlFlow, sync::Arc};

use rustc_hash::FxHashMap;

use super::Reader;
use crate::{
    ecs::hex,
    event::{Notice, Timestamp},
    store::{error::StoreError, ledger::frame::hash},
};

/// Most changes of policy that are told of a window: the first.
const CHANGES_MAX: usize = 100;

/// A policy in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// When it was noted that it is, the latest before the window, or in it.
    pub noted_at: Timestamp,
    pub sha256: [u8; 32],
    /// Absent where the ledger does not hold it whole.
    pub text: Option<String>,
}

impl Reader {
    /// The policy whose hash begins so, in lower-case digits: its hash and the text that it is of.
    pub fn policy(&self, begins: &str) -> Result<Option<(String, String)>, StoreError> {
        let mut found = None;
        self.notices(None, None, |_, notice| {
            let Notice::Policy { sha256, lines } = notice else { return ControlFlow::Continue(()) };
            if hex(&sha256).starts_with(begins)
                && let Some(text) = whole(sha256, &lines)
            {
                found = Some((hex(&sha256), text));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// The policies in force from `since` on and before `until`, in their order, and how many changes
    /// there were beyond the most that are told.
    pub fn policies(
        &self,
        (since, until): (Option<Timestamp>, Timestamp),
    ) -> Result<(Vec<InForce>, u64), StoreError> {
        let mut found: Vec<InForce> = Vec::new();
        let mut untold = 0;
        let mut last = None;
        let mut texts: FxHashMap<[u8; 32], String> = FxHashMap::default();
        self.notices(None, Some(until), |noted_at, notice| {
            let sha256 = match &notice {
                Notice::Started { policy_sha256, .. } | Notice::Reloaded { policy_sha256 } => {
                    *policy_sha256
                }
                Notice::Policy { sha256, .. } => *sha256,
                _ => return ControlFlow::Continue(()),
            };
            if since.is_some_and(|since| noted_at <= since) {
                // One that is in force at the beginning stands for all before it.
                found.clear();
                texts.retain(|known, _| *known == sha256);
                last = None;
            }
            if let Notice::Policy { lines, .. } = &notice
                && !texts.contains_key(&sha256)
                && texts.len() < CHANGES_MAX
                && let Some(text) = whole(sha256, lines)
            {
                texts.insert(sha256, text);
            }
            if last.replace(sha256) != Some(sha256) {
                if found.len() < CHANGES_MAX {
                    found.push(InForce { noted_at, sha256, text: None });
                } else {
                    untold += 1;
                }
            }
            ControlFlow::Continue(())
        })?;
        for policy in &mut found {
            policy.text = texts.get(&policy.sha256).cloned();
        }
        Ok((found, untold))
    }
}

/// The text, unless it was cut or altered: then it is not what was hashed.
fn whole(sha256: [u8; 32], lines: &[Arc<str>]) -> Option<String> {
    let text: String = lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect();
    (hash(&[text.as_bytes()]) == sha256).then_some(text)
}
