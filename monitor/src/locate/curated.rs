//! What is known of operators better than any registry: the list in the program, and the
//! configuration's own. It looks nothing up but AS numbers, and changes no operator by itself.

use std::{fmt, sync::Arc};

use rustc_hash::FxHashMap;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::LocateError;
use crate::{
    config::Geo,
    event::{CountryCode, Operator, Timestamp},
};

const ASSET: &str = include_str!("../../assets/operators.toml");

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asset {
    owner: Vec<Owner>,
}

/// Who has some autonomous systems in hand, and where that is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    pub name: String,
    country: String,
    anycast: Option<bool>,
    asns: Vec<u32>,
    pub why: String,
    /// A public document.
    pub source: String,
    pub confidence: Confidence,
    /// The day somebody last looked.
    pub reviewed: toml::value::Datetime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    Certain,
    /// The system's name, not its number, leads to the owner.
    High,
}

/// What is to be said of one autonomous system instead of what the data sets say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Correction {
    pub country: Option<CountryCode>,
    pub name: Option<Arc<str>>,
    pub is_anycast: Option<bool>,
    /// Of the list in the program.
    pub owner: Option<Arc<Owner>>,
    /// `[[geo.operator]]` says something of it.
    pub is_configured: bool,
}

impl Correction {
    /// The operator as it is understood.
    pub fn apply(&self, operator: Operator) -> Operator {
        Operator {
            asn: operator.asn,
            name: self.name.clone().or(operator.name),
            country: self.country.or(operator.country),
            is_anycast: self.is_anycast.unwrap_or(operator.is_anycast),
        }
    }
}

/// By whom, and why.
impl fmt::Display for Correction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.owner, self.is_configured) {
            (_, true) => f.write_str("geo.operator of the configuration"),
            (Some(owner), false) => write!(
                f,
                "{}: {} (source: {}; reviewed {})",
                owner.name, owner.why, owner.source, owner.reviewed
            ),
            (None, false) => Ok(()),
        }
    }
}

/// Corrections by AS number.
#[derive(Clone, Debug)]
pub struct Corrections {
    by_asn: FxHashMap<u32, Correction>,
    /// Of the newest row of the list.
    pub reviewed: Timestamp,
    /// Of the list and of what the configuration adds.
    pub sha256: [u8; 32],
}

impl Corrections {
    pub fn lookup(&self, asn: u32) -> Option<&Correction> {
        self.by_asn.get(&asn)
    }
}

/// The list in the program, and over it, field by field, what the configuration says.
pub fn corrections(geo: &Geo) -> Result<Corrections, LocateError> {
    let asset: Asset =
        toml::from_str(ASSET).map_err(|error| LocateError::Corrections(error.to_string()))?;
    let reviewed = asset.owner.iter().filter_map(|owner| day(&owner.reviewed)).max();
    let mut by_asn = FxHashMap::default();
    for owner in asset.owner.into_iter().map(Arc::new) {
        for asn in &owner.asns {
            let correction = Correction {
                country: CountryCode::new(&owner.country),
                is_anycast: owner.anycast,
                owner: Some(Arc::clone(&owner)),
                ..Correction::default()
            };
            by_asn.insert(*asn, correction);
        }
    }
    let mut digest = Sha256::new_with_prefix(ASSET);
    for own in &geo.operators {
        // Equal facts, equal hash.
        digest.update(format!("\n{own:?}"));
        let known: &mut Correction = by_asn.entry(own.asn).or_default();
        known.country = own.country.or(known.country);
        known.name = own.name.clone().or(known.name.take());
        known.is_anycast = own.is_anycast.or(known.is_anycast);
        known.is_configured = true;
    }
    let reviewed = reviewed.unwrap_or_default();
    Ok(Corrections { by_asn, reviewed, sha256: digest.finalize().into() })
}

/// Midnight of the day, UTC.
fn day(at: &toml::value::Datetime) -> Option<Timestamp> {
    let date: jiff::civil::Date = at.to_string().parse().ok()?;
    let at = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some(Timestamp::from_secs(u64::try_from(at.as_second()).ok()?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        config::{Config, OperatorFact},
        locate::codes,
    };

    fn owners() -> Vec<Owner> {
        toml::from_str::<Asset>(ASSET).unwrap().owner
    }

    fn with(facts: Vec<OperatorFact>) -> Corrections {
        let geo = Geo { operators: facts, ..Config::builtin().geo };
        corrections(&geo).unwrap()
    }

    fn code(text: &str) -> Option<CountryCode> {
        CountryCode::new(text)
    }

    #[test]
    fn every_owner_has_a_country_a_reason_a_document_and_a_day_of_review() {
        for owner in owners() {
            let name = &owner.name;
            let country = CountryCode::new(&owner.country).expect(name);
            assert!(codes::name(country).is_some(), "{name}: {country} is not assigned");
            assert!(!owner.asns.is_empty(), "{name}");
            assert!(owner.why.len() > 10 && !owner.why.ends_with('.'), "{name}: {}", owner.why);
            assert!(owner.source.len() > 10, "{name}: {}", owner.source);
            assert!(owner.reviewed.time.is_none() && day(&owner.reviewed).is_some(), "{name}");
        }
    }

    #[test]
    fn no_system_has_two_owners_and_none_is_reserved() {
        let mut seen = BTreeSet::new();
        for owner in owners() {
            for asn in owner.asns {
                assert!(seen.insert(asn), "AS{asn} is listed twice");
                let is_private = (64_496..=131_071).contains(&asn) || asn >= 4_200_000_000;
                assert!(asn != 0 && asn != 23_456 && !is_private, "AS{asn} is nobody's");
            }
        }
        assert!(seen.len() >= 60, "{}", seen.len());
    }

    #[test]
    fn who_hides_behind_a_foreign_registration_is_known() {
        let known = with(Vec::new());
        let cases = [
            (45_102, "CN"),
            (132_203, "CN"),
            (136_907, "CN"),
            (138_699, "CN"),
            (396_986, "CN"),
            (208_398, "RU"),
            (41_983, "RU"),
            (57_568, "IR"),
            (63_949, "US"),
        ];
        for (asn, country) in cases {
            assert_eq!(known.lookup(asn).and_then(|it| it.country), code(country), "AS{asn}");
        }
        assert_eq!(known.lookup(64_500), None);
        assert_eq!(known.lookup(54_113).and_then(|it| it.is_anycast), Some(true));
        assert_eq!(known.lookup(20_940).and_then(|it| it.is_anycast), Some(false));
    }

    #[test]
    fn what_the_configuration_says_comes_first_and_the_rest_stays() {
        let fact = |asn, country: &str| OperatorFact {
            asn,
            country: code(country),
            name: Some("Mine".into()),
            is_anycast: None,
        };
        let mine = with(vec![fact(64_500, "FR"), fact(54_113, "SE")]);
        let registered = Operator {
            asn: Some(54_113),
            name: Some("Fastly, Inc.".into()),
            country: code("US"),
            is_anycast: false,
        };
        let correction = mine.lookup(54_113).unwrap();
        assert_eq!(
            correction.apply(registered),
            Operator {
                asn: Some(54_113),
                name: Some("Mine".into()),
                country: code("SE"),
                is_anycast: true
            }
        );
        assert_eq!(correction.to_string(), "geo.operator of the configuration");
        assert_eq!(mine.lookup(64_500).and_then(|it| it.country), code("FR"));
        assert_ne!(mine.sha256, with(Vec::new()).sha256);
        assert_eq!(mine.sha256, with(vec![fact(64_500, "FR"), fact(54_113, "SE")]).sha256);
    }

    #[test]
    fn a_correction_says_whose_the_system_is_and_where_that_is_written() {
        let text = with(Vec::new()).lookup(41_983).unwrap().to_string();
        assert!(text.starts_with("Kaspersky Lab: "), "{text}");
        assert!(text.contains("89 FR 52434") && text.ends_with("reviewed 2026-11-25)"), "{text}");
    }
}
