//! Which host wrote the ledger.

use std::sync::Arc;

use crate::printable::is_unsafe;

/// Bytes of its name.
const HOST_NAME_MAX: usize = 255;

/// Which host wrote the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    /// As configured, else the host's own.
    pub name: Arc<str>,
    /// The machine id, hashed: it tells hosts apart and leads to nothing else. `None`: it has none.
    pub id: Option<[u8; 32]>,
}

impl Host {
    /// Whether this can be a host's name: it is a key's name as well, which holds neither spaces nor `+`.
    pub fn is_name(text: &str) -> bool {
        !text.is_empty() && text.len() <= HOST_NAME_MAX && text.chars().all(Self::is_name_char)
    }

    /// Whether it may be part of one.
    pub fn is_name_char(letter: char) -> bool {
        !letter.is_whitespace() && letter != '+' && !is_unsafe(letter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_printable_and_can_be_that_of_a_key() {
        for name in ["uav-7", "drone.example.org", "Fähre_2", &"x".repeat(HOST_NAME_MAX)] {
            assert!(Host::is_name(name), "{name}");
        }
        let long = "x".repeat(HOST_NAME_MAX + 1);
        for wrong in ["", "a b", "a+b", "a\nb", "a\u{7f}", "\u{202e}a", "a\u{a0}b", &long] {
            assert!(!Host::is_name(wrong), "{wrong:?}");
        }
    }
}
