//! The two databases inside the program, as streams of ranges. Knows nothing of what they are
//! merged into.

use assets::{
    country::{self, Asset},
    operator::{self, Roster},
};
use sha2::{Digest, Sha256};

use super::{LocateError, codes, seen::Seen};
use crate::event::CountryCode;

pub(super) const COUNTRY: &[u8] = include_bytes!("../../assets/country.bin");
pub(super) const OPERATOR: &[u8] = include_bytes!("../../assets/operator.bin");

/// The end of an asset is a hash of the rest, so it stands for the whole; the build made it right.
pub(super) fn identity(asset: &[u8]) -> &[u8] {
    &asset[asset.len().saturating_sub(assets::HASH)..]
}

/// Gives back the memory of the assets' pages, which are in the program's file.
pub(super) fn rest() {
    /// Of any Linux.
    const PAGE_MAX: usize = 64 << 10;
    for asset in [COUNTRY, OPERATOR] {
        let skipped = asset.as_ptr().align_offset(PAGE_MAX);
        let whole = asset.len().saturating_sub(skipped) / PAGE_MAX * PAGE_MAX;
        let begin = asset.as_ptr().wrapping_add(skipped).cast_mut();
        // SAFETY: these are whole pages within a constant, which nobody writes and no relocation
        // changes: the next access reads the same bytes from the program's file.
        unsafe { libc::madvise(begin.cast(), whole, libc::MADV_DONTNEED) };
    }
}

pub(super) fn sha256(asset: &[u8]) -> [u8; 32] {
    Sha256::digest(asset).into()
}

/// Where each range is.
#[derive(Debug, Default)]
pub(super) struct Countries {
    pub(super) asset: Asset,
    /// By class; `None` is no country.
    codes: Vec<Option<CountryCode>>,
}

impl Countries {
    pub(super) fn open() -> Result<Self, LocateError> {
        let asset = country::decode(COUNTRY)
            .map_err(|error| LocateError::Embedded("country", error.to_string()))?;
        Ok(Self { codes: by_class(&asset.codes), asset })
    }

    pub(super) fn ranges4(&self) -> impl Iterator<Item = (u64, Seen)> {
        let v4 = &self.asset.v4;
        let starts = v4.starts.iter().map(|start| u64::from(*start));
        starts.zip(v4.classes.iter().map(|class| self.seen(*class)))
    }

    pub(super) fn ranges6(&self) -> impl Iterator<Item = (u64, Seen)> {
        let v6 = &self.asset.v6;
        v6.starts.iter().copied().zip(v6.classes.iter().map(|class| self.seen(*class)))
    }

    fn seen(&self, class: u8) -> Seen {
        let country = self.codes.get(usize::from(class)).copied().flatten();
        Seen { country, registered: None }
    }
}

/// Who runs each range, and where it is according to the same source.
#[derive(Debug, Default)]
pub(super) struct Operators {
    pub(super) roster: Roster,
    codes: Vec<Option<CountryCode>>,
}

impl Operators {
    pub(super) fn open() -> Result<Self, LocateError> {
        let roster = operator::decode(OPERATOR)
            .map_err(|error| LocateError::Embedded("operator", error.to_string()))?;
        Ok(Self { codes: by_class(&roster.codes), roster })
    }

    pub(super) fn country(&self, class: u8) -> Option<CountryCode> {
        self.codes.get(usize::from(class)).copied().flatten()
    }
}

fn by_class(codes: &[[u8; 2]]) -> Vec<Option<CountryCode>> {
    let known = codes.iter().map(|code| str::from_utf8(code).ok().and_then(codes::from_database));
    [None].into_iter().chain(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    #[test]
    fn every_country_of_the_assets_is_assigned_and_kosovo_is_among_them() {
        let (countries, operators) = (Countries::open().unwrap(), Operators::open().unwrap());
        for codes in [&countries.codes, &operators.codes] {
            assert!(codes.iter().skip(1).all(Option::is_some));
        }
        assert!(countries.codes.contains(&CountryCode::new("XK")));
        assert!(Timestamp::from_secs(countries.asset.dated) > Timestamp::from_secs(1_790_000_000));
    }

    #[test]
    fn systems_are_registered_where_their_owners_are() {
        let operators = Operators::open().unwrap();
        let known =
            [(15_169, "US"), (45_102, "CN"), (132_203, "CN"), (13_238, "RU"), (3_320, "DE")];
        for (number, country) in known {
            let system = operators.roster.systems().find(|it| it.number == number).unwrap();
            let found = operators.country(system.registered);
            assert_eq!(found, CountryCode::new(country), "AS{number} {}", system.name);
        }
    }
}
