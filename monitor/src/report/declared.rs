//! What was shared by declaration: intervals in which the operator of this host said beforehand what
//! would be sent where, and why. No such declarations are recorded yet; this is their one place.

use serde::Serialize;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Declared {
    /// Whether declarations are recorded at all.
    pub recorded: bool,
}

impl Declared {
    /// What the page says.
    pub fn sentence(&self) -> &'static str {
        if self.recorded {
            "Nothing was declared for this period."
        } else {
            "Declarations are not recorded by this version, so nothing here counts as shared by declaration: each violation above stands as one."
        }
    }
}
