//! The rows of the image: what a class means, and who an operator is. Plain bytes, so that they are
//! read where they lie.

use std::sync::Arc;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, transmute};

use crate::event::{Country, CountryCode, Operator, Place};

const LOCAL: u8 = 1;
const ANYCAST: u8 = 1;
/// Whatever databases say.
const UNICAST: u8 = 2;

/// What all addresses of a class have in common. A country of two zeros is none.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ClassRow {
    kind: u8,
    flags: u8,
    country: [u8; 2],
    second: [u8; 2],
    operator: [u8; 2],
}

/// A class in one word: made, hashed and compared at once, as a builder does for each range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ClassWord(u64);

impl ClassWord {
    pub(super) fn new(
        country: Country,
        second: Option<CountryCode>,
        operator: Option<CountryCode>,
        is_anycast: bool,
    ) -> Self {
        let two = |code: Option<CountryCode>| u64::from(u16::from_le_bytes(bytes(code)));
        let kind = if country == Country::Local { LOCAL } else { 0 };
        let flags = if is_anycast { ANYCAST } else { 0 };
        let codes = two(country.code()) | two(second) << 16 | two(operator) << 32;
        Self(codes << 16 | u64::from(flags) << 8 | u64::from(kind))
    }

    pub(super) fn row(self) -> ClassRow {
        transmute!(self.0.to_le_bytes())
    }
}

impl ClassRow {
    pub fn country(self) -> Country {
        match code(self.country) {
            _ if self.kind == LOCAL => Country::Local,
            Some(code) => Country::Known(code),
            None => Country::Unlocated,
        }
    }

    /// What the second country database says.
    pub fn second(self) -> Option<CountryCode> {
        code(self.second)
    }

    /// Where the operator is registered, or is known to be controlled from.
    pub fn operator_country(self) -> Option<CountryCode> {
        code(self.operator)
    }

    pub fn is_anycast(self) -> bool {
        self.flags & ANYCAST != 0
    }

    /// All that verdicts rest on.
    pub fn place(self) -> Place {
        let (country, is_anycast) = (self.operator_country(), self.is_anycast());
        let is_known = country.is_some() || is_anycast;
        let operator = Operator { asn: None, name: None, country, is_anycast };
        Place {
            country: self.country(),
            second: self.second(),
            operator: is_known.then(|| Arc::new(operator)),
            domain: None,
            server_name: None,
            via: None,
        }
    }

    pub(super) fn is_sound(self) -> bool {
        self.kind <= LOCAL
            && self.flags <= ANYCAST
            && [self.country, self.second, self.operator].into_iter().all(is_code_or_none)
    }
}

/// Somebody who runs networks.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub(super) struct OperatorRow {
    /// 0: not known.
    pub(super) asn: u32,
    /// Where its name begins in the image's names.
    pub(super) name_at: u32,
    /// 0: no name is known.
    pub(super) name_bytes: u16,
    country: [u8; 2],
    flags: u8,
    padding: [u8; 3],
}

impl OperatorRow {
    pub(super) fn new(
        asn: Option<u32>,
        (name_at, name_bytes): (u32, u16),
        country: Option<CountryCode>,
        is_anycast: Option<bool>,
    ) -> Self {
        Self {
            asn: asn.unwrap_or(0),
            name_at,
            name_bytes,
            country: bytes(country),
            flags: is_anycast.map_or(0, |it| if it { ANYCAST } else { UNICAST }),
            padding: [0; 3],
        }
    }

    pub(super) fn country(self) -> Option<CountryCode> {
        code(self.country)
    }

    pub(super) fn is_sound(&self, names: &str) -> bool {
        let at = self.name_at as usize;
        names.get(at..at + usize::from(self.name_bytes)).is_some() && is_code_or_none(self.country)
    }
}

fn bytes(code: Option<CountryCode>) -> [u8; 2] {
    code.map_or([0; 2], CountryCode::bytes)
}

fn code(bytes: [u8; 2]) -> Option<CountryCode> {
    str::from_utf8(&bytes).ok().and_then(CountryCode::new)
}

fn is_code_or_none(bytes: [u8; 2]) -> bool {
    bytes == [0; 2] || bytes.iter().all(u8::is_ascii_uppercase)
}
