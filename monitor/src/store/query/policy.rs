//! What a policy said, by its hash: records name it by that alone.

use std::ops::ControlFlow;

use super::Reader;
use crate::{
    ecs::hex,
    event::Notice,
    store::{error::StoreError, ledger::frame::hash},
};

impl Reader {
    /// The policy whose hash begins so, in lower-case digits: its hash and the text that it is of.
    pub fn policy(&self, begins: &str) -> Result<Option<(String, String)>, StoreError> {
        let mut found = None;
        self.notices(None, None, |_, notice| {
            let Notice::Policy { sha256, lines } = notice else { return ControlFlow::Continue(()) };
            let text: String = lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect();
            // A text that was cut, or altered, is not what was hashed.
            if hex(&sha256).starts_with(begins) && hash(&[text.as_bytes()]) == sha256 {
                found = Some((hex(&sha256), text));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}
