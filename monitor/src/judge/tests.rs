//! Properties of the verdict over random policies, senders and places, and the cases of the
//! contract by name.

mod properties;

use std::{net::SocketAddr, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    config::{Trust, Undetermined},
    event::{
        Attribution, ExecutedFile, FlowId, Operator, Origin, Phase, Process, Timestamp, Traffic,
        Transport, User,
    },
    select::{
        ContainerSelector, DestinationSelector, OperatorSelector, ProgramSelector, UnitSelector,
        UserSelector,
    },
};

pub(super) fn code(text: &str) -> CountryCode {
    CountryCode::new(text).unwrap()
}

pub(super) fn policy(approved: &[&str]) -> Policy {
    Policy {
        mode: crate::config::Mode::Judge,
        approved_countries: approved.iter().map(|text| code(text)).collect(),
        basis: Basis::Either,
        disputed: Disputed::Unapproved,
        unknown_country: UnknownCountry::Unapproved,
        undetermined: Undetermined::Ignore,
        trust_claims: false,
        local_networks: Vec::new(),
        rules: Vec::new(),
        text: "".into(),
        sha256: [0; 32],
    }
}

pub(crate) fn rule(name: &str, allow: bool) -> Rule {
    Rule {
        name: name.into(),
        allow,
        process: None,
        unit: None,
        user: None,
        container: None,
        sha256: None,
        destination: None,
        trust: Trust::Resolver,
        port: None,
        transport: None,
        country: Vec::new(),
        operator: None,
    }
}

fn program(text: &str) -> ProgramSelector {
    ProgramSelector::parse(text).unwrap()
}

pub(super) fn egress() -> Egress {
    Egress {
        flow: FlowId(1),
        revision: 0,
        started_at: Timestamp(1),
        last_at: Timestamp(1),
        ended_at: None,
        phase: Phase::Sent,
        origin: Origin::Process,
        transport: Transport::UDP,
        local: None,
        remote: Some("203.0.113.7:123".parse().unwrap()),
        traffic: Traffic::default(),
        passage: crate::event::Passage::default(),
        activity: None,
    }
}

pub(super) fn sender() -> Sender {
    let process = Process {
        pid: 7,
        name: "chronyd".into(),
        executable: Some("/usr/sbin/chronyd".into()),
        executable_claimed: None,
        file: ExecutedFile { is_hosts: true, sha256: Some([9; 32]), ..ExecutedFile::default() },
        command_line: None,
        started_at: None,
        parents: Vec::new(),
        user: User { id: 101, name: Some("_chrony".into()) },
        unit: Some("chrony.service".into()),
        container: None,
        cgroup: None,
        netns: None,
    };
    Sender::Process { process: Arc::new(process), attribution: Attribution::Socket, creator: None }
}

fn place(country: Country, operator: Option<&str>) -> Place {
    let operator = operator.map(|text| {
        Arc::new(Operator {
            asn: Some(64500),
            name: Some("Cloud".into()),
            country: Some(code(text)),
            is_anycast: false,
        })
    });
    Place { country, second: None, operator, domain: None, server_name: None, via: None }
}

fn known(text: &str) -> Country {
    Country::Known(code(text))
}

fn outcome(policy: &Policy, place: &Place) -> (Verdict, String) {
    let judgement = judge(policy, &egress(), &sender(), place);
    (judgement.verdict, judgement.reason.to_string())
}

#[test]
fn an_approved_country_is_approved_and_another_is_not() {
    let policy = policy(&["CA", "US"]);
    assert_eq!(outcome(&policy, &place(known("US"), None)), (Verdict::Approved, "country".into()));
    assert_eq!(
        outcome(&policy, &place(known("CN"), None)),
        (Verdict::Unapproved, "country".into())
    );
}

#[test]
fn the_basis_says_whose_country_counts() {
    use Verdict::{Approved, Unapproved};
    // Hosted in Germany, run from China.
    let abroad = place(known("DE"), Some("CN"));
    let judged = |basis| outcome(&Policy { basis, ..policy(&["DE"]) }, &abroad);
    assert_eq!(judged(Basis::Location), (Approved, "country".into()));
    assert_eq!(judged(Basis::Operator), (Unapproved, "operator".into()));
    assert_eq!(judged(Basis::Either), (Unapproved, "operator".into()));
    let operator_approved = Policy { basis: Basis::Operator, ..policy(&["CN"]) };
    assert_eq!(outcome(&operator_approved, &abroad), (Approved, "operator".into()));
    let both_wrong = outcome(&policy(&["US"]), &abroad);
    assert_eq!(both_wrong, (Unapproved, "country".into()));
}

#[test]
fn an_address_without_a_country_is_what_the_knob_says() {
    let nowhere = place(Country::Unlocated, None);
    let knobs = [
        (UnknownCountry::Unapproved, Verdict::Unapproved),
        (UnknownCountry::Unknown, Verdict::Unknown),
        (UnknownCountry::Approved, Verdict::Approved),
    ];
    for (unknown_country, verdict) in knobs {
        for basis in [Basis::Either, Basis::Location, Basis::Operator] {
            let policy = Policy { basis, unknown_country, ..policy(&["US"]) };
            assert_eq!(outcome(&policy, &nowhere), (verdict, "unlocated".into()));
        }
        let policy = Policy { unknown_country, ..policy(&["US"]) };
        let objected = outcome(&policy, &place(Country::Unlocated, Some("CN")));
        assert_eq!(objected, (Verdict::Unapproved, "operator".into()));
    }
}

#[test]
fn a_rule_comes_before_local_and_country_and_the_first_that_matches_decides() {
    let mut policy = policy(&["US"]);
    policy.rules = vec![
        Rule { port: Some(53), ..rule("dns", true) },
        Rule { process: Some(program("/usr/sbin/chronyd")), ..rule("ntp", true) },
        rule("rest", false),
    ];
    let approved = (Verdict::Approved, "rule:ntp".to_owned());
    assert_eq!(outcome(&policy, &place(known("CN"), None)), approved);
    assert_eq!(outcome(&policy, &place(Country::Local, None)), approved);
    policy.rules.swap(1, 2);
    let denied = (Verdict::Unapproved, "rule:rest".to_owned());
    assert_eq!(outcome(&policy, &place(known("US"), None)), denied);
}

#[test]
fn every_selector_of_a_rule_must_match() {
    let place = place(known("DE"), Some("DE"));
    let full = Rule {
        process: Some(program("/usr/sbin/chronyd")),
        unit: Some(UnitSelector("chrony.service".into())),
        user: Some(UserSelector::Id(101)),
        container: Some(ContainerSelector::None),
        sha256: Some([9; 32]),
        destination: Some(DestinationSelector::parse("203.0.113.0/24").unwrap()),
        port: Some(123),
        transport: Some(Transport::UDP),
        country: vec![code("AT"), code("DE")],
        operator: Some(OperatorSelector::Asn(64500)),
        ..rule("all", true)
    };
    let decides = |rule: &Rule, sender: &Sender| {
        let policy = Policy { rules: vec![rule.clone()], ..policy(&[]) };
        judge(&policy, &egress(), sender, &place).reason == Reason::Rule("all".into())
    };
    assert!(decides(&full, &sender()));
    assert!(!decides(&full, &Sender::Nobody));
    assert!(decides(&rule("all", true), &Sender::Nobody));
    let others = [
        Rule { process: Some(program("/usr/sbin/ntpd")), ..full.clone() },
        Rule { container: ContainerSelector::parse("web").ok(), ..full.clone() },
        Rule { sha256: Some([8; 32]), ..full.clone() },
        Rule { unit: Some(UnitSelector("ntp.service".into())), ..full.clone() },
        Rule { user: Some(UserSelector::Name("root".into())), ..full.clone() },
        Rule {
            destination: Some(DestinationSelector::parse("198.51.100.0/24").unwrap()),
            ..full.clone()
        },
        Rule { port: Some(53), ..full.clone() },
        Rule { transport: Some(Transport::TCP), ..full.clone() },
        Rule { country: vec![code("AT")], ..full.clone() },
        Rule { operator: Some(OperatorSelector::Asn(64501)), ..full.clone() },
    ];
    for other in others {
        assert!(!decides(&other, &sender()), "{other:?}");
    }
}

#[test]
fn an_address_alone_is_judged_by_the_rules_that_need_no_more() {
    let remote: SocketAddr = "203.0.113.7:0".parse().unwrap();
    let mut policy = policy(&["US"]);
    policy.rules = vec![
        Rule { process: Some(program("/usr/sbin/chronyd")), ..rule("ntp", true) },
        Rule { country: vec![code("DE")], ..rule("germany", true) },
    ];
    let judged = judge_address(&policy, remote, &place(known("DE"), None));
    assert_eq!(judged.reason, Reason::Rule("germany".into()));
    let judged = judge_address(&policy, remote, &place(known("CN"), None));
    assert_eq!((judged.verdict, judged.reason), (Verdict::Unapproved, Reason::Country));
}

#[test]
fn certainty_is_full_only_where_location_and_operator_are_known() {
    let certainty = |place: &Place| judge(&policy(&["US"]), &egress(), &sender(), place).certainty;
    assert_eq!(certainty(&place(known("US"), Some("US"))), Certainty::Full);
    assert_eq!(certainty(&place(Country::Local, None)), Certainty::Full);
    assert_eq!(certainty(&place(known("US"), None)), Certainty::Partial);
    assert_eq!(certainty(&place(Country::Unlocated, Some("US"))), Certainty::Partial);
}

#[test]
fn a_destination_that_nobody_saw_is_never_approved_but_by_a_rule_for_its_sender() {
    let unseen = Egress { remote: None, transport: Transport::UNKNOWN, ..egress() };
    let mut policy = policy(&["US"]);
    let verdict = |policy: &Policy| {
        let judged = judge(policy, &unseen, &sender(), &Place::unknown());
        (judged.verdict, judged.reason.to_string())
    };
    assert_eq!(verdict(&policy), (Verdict::Unapproved, "unlocated".into()));
    policy.unknown_country = UnknownCountry::Approved;
    assert_eq!(verdict(&policy), (Verdict::Unknown, "unlocated".into()));

    let to = DestinationSelector::parse("0.0.0.0/0").unwrap();
    policy.rules = vec![Rule { destination: Some(to), ..rule("anywhere", true) }];
    assert_eq!(verdict(&policy), (Verdict::Unknown, "unlocated".into()));
    policy.rules = vec![Rule { port: Some(0), ..rule("no-port", true) }];
    assert_eq!(verdict(&policy), (Verdict::Unknown, "unlocated".into()));
    policy.rules = vec![Rule { process: Some(program("/usr/sbin/chronyd")), ..rule("ntp", true) }];
    assert_eq!(verdict(&policy), (Verdict::Approved, "rule:ntp".into()));
}
