//! Tests of flows that go by another address as well: both are judged, and the worse counts.

use super::{
    judge,
    tests::{code, egress, policy, rule, sender},
};
use crate::{
    config::{Policy, Rule},
    event::{Country, Domain, DomainSource, Place, Verdict, Via},
    select::DestinationSelector,
};

fn place(country: &str) -> Place {
    let country = if country == "local" { Country::Local } else { Country::Known(code(country)) };
    Place { country, ..Place::unknown() }
}

/// Of a flow to 203.0.113.7.
fn by(hop: &str, last: &str) -> Place {
    let via = Via { address: "198.51.100.9".parse().unwrap(), place: place(hop) };
    Place { via: Some(Box::new(via)), ..place(last) }
}

fn judged(policy: &Policy, place: &Place) -> (Verdict, String) {
    let judgement = judge(policy, &egress(), &sender(), place);
    (judgement.verdict, judgement.reason.to_string())
}

fn to(destination: &str, allow: bool) -> Rule {
    let destination = Some(DestinationSelector::parse(destination).unwrap());
    Rule { destination, ..rule("r", allow) }
}

#[test]
fn of_a_hop_and_a_last_destination_the_worse_counts_whichever_it_is() {
    let policy = policy(&["US"]);
    for (hop, last, verdict) in [
        ("US", "US", Verdict::Approved),
        ("CN", "US", Verdict::Unapproved),
        ("US", "CN", Verdict::Unapproved),
        ("local", "US", Verdict::Approved),
        ("US", "local", Verdict::Approved),
        ("local", "CN", Verdict::Unapproved),
        ("local", "local", Verdict::Local),
    ] {
        assert_eq!(judged(&policy, &by(hop, last)).0, verdict, "{hop} {last}");
    }
}

#[test]
fn a_rule_that_forbids_is_met_by_either_and_one_that_allows_by_both() {
    let with = |rules: Vec<Rule>| Policy { rules, ..policy(&["US"]) };
    let forbids = with(vec![to("198.51.100.9/32", false)]);
    assert_eq!(judged(&forbids, &by("US", "US")), (Verdict::Unapproved, "rule:r".into()));
    let allows = with(vec![to("203.0.113.0/24", true)]);
    assert_eq!(judged(&allows, &by("US", "CN")), (Verdict::Approved, "rule:r".into()));
    assert_eq!(judged(&allows, &by("CN", "CN")), (Verdict::Unapproved, "country".into()));
    let both = with(vec![to("203.0.113.0/24", true), to("198.51.100.9/32", true)]);
    assert_eq!(judged(&both, &by("CN", "CN")).0, Verdict::Approved);
}

#[test]
fn the_name_of_the_last_destination_is_not_that_of_the_hop() {
    let policy = Policy { rules: vec![to("good.example", true)], ..policy(&["US"]) };
    let domain =
        Domain { name: "good.example".into(), source: DomainSource::Dns, is_trusted: true };
    let named = |place| Place { domain: Some(domain.clone()), ..place };
    assert_eq!(judged(&policy, &named(place("CN"))).0, Verdict::Approved);
    assert_eq!(judged(&policy, &named(by("CN", "CN"))).0, Verdict::Unapproved);
}
