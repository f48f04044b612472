//! Who vouches for a report, and how to check that. Nothing is signed yet, and this says so; it is the one
//! place for checkpoints and how to verify them.

use serde::Serialize;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Signature {
    pub signed: bool,
}

impl Signature {
    /// What the page says, a paragraph each.
    pub fn paragraphs(&self) -> Vec<&'static str> {
        if self.signed {
            return vec!["This report is signed."];
        }
        vec![
            "This report is not signed, and neither is the ledger it was made from. Each block of the ledger names the SHA-256 of the one before and has checksums, by which damage and missing parts were looked for; the section on what was watched says what was found. That does not prove that nobody altered it on purpose.",
            "To check the report: on the host, or with a copy of the ledger, ask for the same period again with `geofenced report --since … --until … -o json`, and compare the numbers; `geofenced coverage` and `geofenced events` give what they rest on, record by record.",
        ]
    }
}
