//! The stored form of a kind: country, verdict, and whether the policy only learned.

use crate::{
    event::{Country, CountryCode, Verdict},
    store::ledger::frame::verdict_bit,
    summary::Kind,
};

/// Beside the verdict's bit.
const LEARNING: u8 = 64;

/// The code's letters, or (0, 0) unlocated, (0, 1) local; and the bit of the verdict.
pub(super) type StoredKind = (u8, u8, u8);

pub(super) fn stored_kind(Kind { country, verdict, is_learning }: Kind) -> StoredKind {
    let [a, b] = match country {
        Country::Known(code) => code.bytes(),
        Country::Unlocated => [0, 0],
        Country::Local => [0, 1],
    };
    (a, b, verdict_bit(verdict) | if is_learning { LEARNING } else { 0 })
}

pub(super) fn told_kind((a, b, verdict): StoredKind) -> Option<Kind> {
    let country = match [a, b] {
        [0, 0] => Country::Unlocated,
        [0, 1] => Country::Local,
        code => Country::Known(CountryCode::new(std::str::from_utf8(&code).ok()?)?),
    };
    let is_it = |it: &&Verdict| verdict_bit(**it) == verdict & !LEARNING;
    let is_learning = verdict & LEARNING != 0;
    Some(Kind { country, verdict: *Verdict::ALL.iter().find(is_it)?, is_learning })
}
