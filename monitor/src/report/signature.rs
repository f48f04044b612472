//! Who vouches for what the report was made from, and how to check that. It signs and verifies nothing.

use serde::Serialize;

use crate::ecs::Time;

/// The last checkpoint of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Head {
    pub origin: String,
    /// Blocks that it is of.
    pub size: u64,
    /// Base64.
    pub root: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<Time>,
    /// Which verifies it, as C2SP writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The ledger was found not to be what had been signed under this origin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rolled_back_from: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// Absent: nothing was signed yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Head>,
}

impl Signature {
    /// What the page says, a paragraph each.
    pub fn paragraphs(&self, time: impl Fn(Time) -> String) -> Vec<String> {
        let mut said = Vec::new();
        match &self.head {
            None => said.push(
                "Nothing of the ledger that this report was made from is signed yet; that happens within 15 minutes, and when the daemon ends.".to_owned(),
            ),
            Some(head) => {
                let at = head.signed_at.map(|at| format!(", last on {}", time(at)));
                said.push(format!(
                    "This page is not signed; the ledger that it was made from is, as “{}”, up to block {}{}. The root of its tree is {}. What came later is signed within 15 minutes.",
                    head.origin,
                    head.size,
                    at.unwrap_or_default(),
                    head.root
                ));
                if let Some(key) = &head.key {
                    said.push(format!("The key that verifies it, by the word of the host itself: {key}"));
                }
                if let Some(before) = &head.rolled_back_from {
                    said.push(format!(
                        "When the daemon started, the ledger was not what had been signed as “{before}”: files were cut, lost or put back."
                    ));
                }
            }
        }
        said.push(
            "To check: with a copy of the store, `geofenced verify STORE --key FILE` says offline whether it is what was signed, or what was altered, removed or cut. Take the key from where whoever holds the store could not write it. openssl and other programs verify the signature, too: docs/evidence.md. Then ask for the same period again with `geofenced report --since … --until … -o json`, and compare the numbers; `geofenced events` gives what they rest on, record by record, and `geofenced prove` proves one of them without the rest.".to_owned(),
        );
        said
    }
}
