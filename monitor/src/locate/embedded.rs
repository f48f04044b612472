//! The two databases inside the program, and editions of them, as streams of ranges. Knows nothing of what
//! they are merged into.

use super::{LocateError, codes, editions::Edition, seen::Seen};
use crate::event::CountryCode;
use assets::{
    country::{self, Asset},
    operator::{self, Roster},
};

/// Where each range is.
#[derive(Debug, Default)]
pub(super) struct Countries {
    pub(super) asset: Asset,
    /// By class; `None` is no country.
    codes: Vec<Option<CountryCode>>,
}

impl Countries {
    pub(super) fn open(edition: &Edition) -> Result<Self, LocateError> {
        let asset = country::decode(&edition.bytes).map_err(|error| edition.broken(&error))?;
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
    pub(super) fn open(edition: &Edition) -> Result<Self, LocateError> {
        let roster = operator::decode(&edition.bytes).map_err(|error| edition.broken(&error))?;
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
    use crate::{event::Timestamp, locate::editions::Editions};

    #[test]
    fn every_country_of_the_assets_is_assigned_and_kosovo_is_among_them() {
        let editions = Editions::embedded();
        let countries = Countries::open(&editions.country).unwrap();
        let operators = Operators::open(&editions.operator).unwrap();
        for codes in [&countries.codes, &operators.codes] {
            assert!(codes.iter().skip(1).all(Option::is_some));
        }
        assert!(countries.codes.contains(&CountryCode::new("XK")));
        assert!(Timestamp::from_secs(countries.asset.dated) > Timestamp::from_secs(1_790_000_000));
    }

    #[test]
    fn systems_are_registered_where_their_owners_are() {
        let operators = Operators::open(&Editions::embedded().operator).unwrap();
        let known =
            [(15_169, "US"), (45_102, "CN"), (132_203, "CN"), (13_238, "RU"), (3_320, "DE")];
        for (number, country) in known {
            let system = operators.roster.systems().find(|it| it.number == number).unwrap();
            let found = operators.country(system.registered);
            assert_eq!(found, CountryCode::new(country), "AS{number} {}", system.name);
        }
    }
}
