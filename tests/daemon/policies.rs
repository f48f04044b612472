//! The policies that are shipped: each file is valid, and means what its name says.

use std::{path::Path, sync::Arc};

use geofenced::inside::{
    config::Config,
    event::{Country, CountryCode, Operator, Place, Verdict},
    judge::judge_address,
    locate::codes,
};

use crate::rig::geofenced;

const NAMES: [&str; 3] = ["eu-only", "five-eyes", "ndaa-848"];

fn path(name: &str) -> String {
    format!("{}/../deploy/policies/{name}.toml", env!("CARGO_MANIFEST_DIR"))
}

fn policy(name: &str) -> geofenced::inside::config::Policy {
    Config::load(Path::new(&path(name))).unwrap().policy
}

fn code(text: &str) -> Option<CountryCode> {
    (text != "?").then(|| CountryCode::new(text).unwrap())
}

/// Of an address in one country, run from another.
fn verdict(name: &str, location: &str, operator: &str) -> Verdict {
    let operator =
        Operator { asn: Some(64_500), name: None, country: code(operator), is_anycast: false };
    let place = Place {
        country: code(location).map_or(Country::Unlocated, Country::Known),
        second: code(location),
        operator: Some(Arc::new(operator)),
        domain: None,
        server_name: None,
        via: None,
    };
    judge_address(&policy(name), "203.0.113.7:0".parse().unwrap(), &place).verdict
}

#[test]
fn each_policy_approves_and_forbids_what_its_source_says() {
    use Verdict::{Approved, Unapproved};
    for (name, location, operator, expected, why) in [
        ("ndaa-848", "US", "US", Approved, "not a covered foreign country"),
        ("ndaa-848", "FR", "TW", Approved, "nor are these"),
        ("ndaa-848", "CN", "US", Unapproved, "located in China"),
        ("ndaa-848", "US", "CN", Unapproved, "administered by an entity domiciled in China"),
        ("ndaa-848", "DE", "RU", Unapproved, "Russia, since fiscal year 2023"),
        ("ndaa-848", "IR", "IR", Unapproved, "Iran, since fiscal year 2023"),
        ("ndaa-848", "KP", "?", Unapproved, "North Korea, since fiscal year 2023"),
        ("ndaa-848", "HK", "HK", Unapproved, "a part of the People's Republic"),
        ("ndaa-848", "?", "?", Unapproved, "nobody knows where"),
        ("eu-only", "DE", "FR", Approved, "member states"),
        ("eu-only", "RE", "FR", Approved, "an outermost region"),
        ("eu-only", "DE", "US", Unapproved, "in the Union, but not in its hands"),
        ("eu-only", "GB", "GB", Unapproved, "left the Union"),
        ("eu-only", "NO", "NO", Unapproved, "in the EEA, but not in the Union"),
        ("five-eyes", "NZ", "AU", Approved, "parties of the agreement"),
        ("five-eyes", "GB", "US", Approved, "parties of the agreement"),
        ("five-eyes", "CA", "FR", Unapproved, "run from elsewhere"),
        ("five-eyes", "DE", "US", Unapproved, "located elsewhere"),
    ] {
        assert_eq!(
            verdict(name, location, operator),
            expected,
            "{name}: {location} {operator}: {why}"
        );
    }
}

#[test]
fn the_lists_are_of_the_length_that_their_sources_say() {
    let length = |name: &str| policy(name).approved_countries.len();
    assert_eq!(length("five-eyes"), 5);
    // 27 member states, and 7 territories with codes of their own.
    assert_eq!(length("eu-only"), 34);
    // A new code of ISO 3166-1 must be put on one side or the other.
    assert_eq!(length("ndaa-848"), codes::assigned().count() - 6);
}

#[test]
fn a_policy_says_in_sentences_what_it_allows() {
    for (name, sentence) in [
        ("five-eyes", "Data may go to AU (Australia), CA (Canada), GB (United Kingdom)"),
        ("eu-only", "FR (France)"),
        ("ndaa-848", "Data may go to every country but CN (China), HK (Hong Kong), IR (Iran)"),
    ] {
        let output = geofenced(&["check", "--config", &path(name)]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert!(said.contains(sentence), "{name}: {said}");
        assert!(said.contains("one of them unapproved is enough"), "{name}: {said}");
    }
}

#[test]
fn every_shipped_policy_is_tested_and_names_its_source() {
    let folder = format!("{}/../deploy/policies", env!("CARGO_MANIFEST_DIR"));
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, NAMES.map(|name| format!("{name}.toml")));
    for name in NAMES {
        let text = std::fs::read_to_string(path(name)).unwrap();
        assert!(text.contains("\n# Source"), "{name} names no source");
    }
}
