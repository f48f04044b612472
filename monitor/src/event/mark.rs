//! What somebody marks in the ledger: where a stretch of time begins or ends that has a name, and what is
//! said to be shared in it.

use std::{fmt, sync::Arc};

use super::{Moment, Timestamp, words::words};
use crate::printable::is_unsafe;

/// Bytes of a name,
pub const MARK_NAME_MAX: usize = 128;
/// of a note, a destination or a purpose,
pub const MARK_TEXT_MAX: usize = 1024;
/// and what one mark can declare.
pub const SHARES_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MarkKind {
    Start,
    Stop,
}

words!(MarkKind { Start = "start", Stop = "stop" });

/// A mark as it stands in the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    pub kind: MarkKind,
    pub name: Arc<str>,
    pub note: Option<Arc<str>>,
    /// What was declared: a claim, which makes no verdict milder.
    pub shares: Vec<Share>,
    /// By both clocks.
    pub moment: Moment,
}

/// Something that is said to be shared on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Share {
    /// An address, a network or a domain, as it was typed.
    pub destination: Arc<str>,
    pub purpose: Arc<str>,
    /// `None`: as long as what it is declared in.
    pub until: Option<Timestamp>,
}

impl Mark {
    /// Why this can't be a name: a line without control characters, and none that could be meant as the number of
    /// another (`NAME#2`).
    pub fn name_problem(text: &str) -> Option<&'static str> {
        let is_numbered = text.rsplit_once('#').is_some_and(|(_, number)| {
            !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit())
        });
        match text {
            "" => Some("is empty"),
            _ if text.len() > MARK_NAME_MAX => Some("is longer than 128 bytes"),
            _ if text.contains(is_unsafe) => Some("holds a control character or a hidden one"),
            _ if text.trim() != text => Some("begins or ends with a space"),
            _ if is_numbered => Some("ends with # and a number, by which --interval counts"),
            _ => None,
        }
    }

    /// The same of a note, a destination or a purpose.
    pub fn text_problem(text: &str) -> Option<&'static str> {
        match text {
            "" => Some("is empty"),
            _ if text.len() > MARK_TEXT_MAX => Some("is longer than 1024 bytes"),
            _ if text.contains(is_unsafe) => Some("holds a control character or a hidden one"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_line_that_can_be_asked_for() {
        for name in ["LDM on", "flight #12 b", "Flug über See", "#", "a#", &"x".repeat(128)] {
            assert_eq!(Mark::name_problem(name), None, "{name}");
        }
        let long = "x".repeat(129);
        for wrong in ["", " a", "a ", "a\nb", "a\u{1b}[2J", "\u{202e}a", "LDM on#2", &long] {
            assert!(Mark::name_problem(wrong).is_some(), "{wrong:?}");
        }
    }
}
