//! Properties of the verdict over random policies, senders and places, and the cases of the
//! contract by name.

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

fn some_code() -> impl Strategy<Value = CountryCode> {
    prop::sample::select(vec!["CN", "DE", "RU", "US"]).prop_map(code)
}

fn some_rule() -> impl Strategy<Value = Rule> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let port = prop::option::of(prop::sample::select(vec![53_u16, 123]));
    let process = prop::option::of(prop::sample::select(vec![
        "/usr/sbin/chronyd",
        "/usr/bin/curl",
        "chronyd",
    ]));
    let country = prop::collection::vec(some_code(), 0..2);
    (name, any::<bool>(), port, process, country).prop_map(
        |(name, allow, port, process, country)| {
            let process = process.map(program);
            Rule { process, port, country, ..rule(name, allow) }
        },
    )
}

/// A sender, and what is only claimed of it.
fn some_process() -> impl Strategy<Value = Process> {
    let path = || {
        let paths = vec!["/usr/sbin/chronyd", "/usr/bin/curl", "/tmp/x", "./curl"];
        prop::option::of(prop::sample::select(paths))
    };
    let name = prop::sample::select(vec!["chronyd", "curl", "x"]);
    (name, path(), path(), any::<bool>()).prop_map(|(name, executable, claimed, is_hosts)| {
        Process {
            name: name.into(),
            executable: executable.map(Into::into),
            executable_claimed: claimed.map(Into::into),
            file: ExecutedFile { is_hosts, ..ExecutedFile::default() },
            ..sender().process().unwrap().clone()
        }
    })
}

fn sent_by(process: Process) -> Sender {
    let (process, attribution) = (Arc::new(process), Attribution::Socket);
    Sender::Process { process, attribution, creator: None }
}

fn some_policy(rules: usize) -> impl Strategy<Value = Policy> {
    let basis = prop::sample::select(vec![Basis::Either, Basis::Location, Basis::Operator]);
    let unknown = prop::sample::select(vec![
        UnknownCountry::Unapproved,
        UnknownCountry::Unknown,
        UnknownCountry::Approved,
    ]);
    let disputed = prop::sample::select(vec![Disputed::Unapproved, Disputed::Approved]);
    let approved = prop::collection::btree_set(some_code(), 0..4);
    let rules = prop::collection::vec(some_rule(), 0..=rules);
    (approved, basis, disputed, unknown, rules).prop_map(
        |(approved, basis, disputed, unknown_country, rules)| Policy {
            approved_countries: approved.into_iter().collect(),
            basis,
            disputed,
            unknown_country,
            rules,
            ..policy(&[])
        },
    )
}

fn some_place() -> impl Strategy<Value = Place> {
    let country = prop_oneof![
        some_code().prop_map(Country::Known),
        Just(Country::Unlocated),
        Just(Country::Local),
    ];
    let operator =
        (prop::option::of(some_code()), any::<bool>()).prop_map(|(country, is_anycast)| {
            Arc::new(Operator { asn: Some(64500), name: Some("Cloud".into()), country, is_anycast })
        });
    let operator = prop::option::of(operator);
    let second = prop::option::of(some_code());
    (country, second, operator).prop_map(|(country, second, operator)| Place {
        country,
        second,
        operator,
        domain: None,
        server_name: None,
        via: None,
    })
}

/// The countries that count without a dispute: what the basis asks for and somebody knows.
fn known_of(policy: &Policy, place: &Place) -> Vec<CountryCode> {
    let operator = operator_country(place).filter(|_| policy.basis != Basis::Location);
    if is_anycast(place) {
        return operator_country(place).into_iter().collect();
    }
    let objects = |code: &CountryCode| !policy.approved_countries.contains(code);
    let location = place.country.code().or(place.second.filter(objects));
    let location = location.filter(|_| policy.basis != Basis::Operator);
    location.into_iter().chain(operator).collect()
}

proptest! {
    #[test]
    fn without_a_rule_a_known_objection_makes_unapproved_and_nothing_known_approves_nothing(
        policy in some_policy(0), place in some_place(),
    ) {
        prop_assume!(place.country != Country::Local);
        let judged = judge(&policy, &egress(), &sender(), &place);
        let known = known_of(&policy, &place);
        if known.iter().any(|code| !policy.approved_countries.contains(code)) {
            prop_assert_eq!(judged.verdict, Verdict::Unapproved);
            prop_assert_ne!(judged.certainty, Certainty::Disputed);
        }
        if known.is_empty() && judged.verdict == Verdict::Approved {
            prop_assert_eq!(policy.unknown_country, UnknownCountry::Approved);
        }
    }

    #[test]
    fn the_second_database_alone_can_only_dispute_and_never_approves(
        policy in some_policy(0), place in some_place(),
    ) {
        prop_assume!(place.country.code().is_some());
        let first = Place { second: None, ..place.clone() };
        let with = judge(&policy, &egress(), &sender(), &place);
        let without = judge(&policy, &egress(), &sender(), &first);
        if with.certainty == Certainty::Disputed {
            prop_assert_eq!(without.verdict, Verdict::Approved);
            let by_knob = match policy.disputed {
                Disputed::Unapproved => Verdict::Unapproved,
                Disputed::Approved => Verdict::Approved,
            };
            prop_assert_eq!(with.verdict, by_knob);
        } else {
            prop_assert_eq!(with, without);
        }
    }

    #[test]
    fn what_a_process_calls_itself_or_claims_makes_no_verdict_milder(
        policy in some_policy(4), place in some_place(), process in some_process(),
    ) {
        let silent = Process { name: "-".into(), executable_claimed: None, ..process.clone() };
        let spoke = judge(&policy, &egress(), &sent_by(process), &place);
        let silent = judge(&policy, &egress(), &sent_by(silent), &place);
        let is_forbidden = |it: &Judgement| {
            matches!(&it.reason, Reason::Rule(_)) && it.verdict == Verdict::Unapproved
        };
        prop_assert!(spoke == silent || is_forbidden(&spoke), "{silent:?} became {spoke:?}");
    }

    #[test]
    fn a_rule_for_a_program_allows_none_but_the_hosts_file(
        mut policy in some_policy(4), place in some_place(), process in some_process(),
    ) {
        let allowing: Vec<Rule> = policy
            .rules
            .drain(..)
            .map(|rule| Rule { allow: true, ..rule })
            .filter(|rule| rule.process.is_some())
            .collect();
        policy.rules = allowing;
        let judged = judge(&policy, &egress(), &sent_by(process.clone()), &place);
        if matches!(judged.reason, Reason::Rule(_)) {
            prop_assert!(process.file.is_hosts && process.executable.is_some());
        }
    }

    #[test]
    fn where_an_anycast_address_is_guessed_to_be_changes_nothing(
        policy in some_policy(0), place in some_place(), here in some_code(), elsewhere in some_code(),
    ) {
        let operator = Operator {
            asn: None,
            name: None,
            country: operator_country(&place),
            is_anycast: true,
        };
        let operator = Some(Arc::new(operator));
        let place = Place { country: Country::Known(here), operator, ..place };
        let country = Country::Known(elsewhere);
        let moved = Place { country, second: None, ..place.clone() };
        prop_assert_eq!(
            judge(&policy, &egress(), &sender(), &place),
            judge(&policy, &egress(), &sender(), &moved)
        );
    }

    #[test]
    fn one_more_approved_country_makes_nothing_worse(
        policy in some_policy(3), place in some_place(), more in some_code(),
    ) {
        let mut wider = policy.clone();
        wider.approved_countries.push(more);
        let before = judge(&policy, &egress(), &sender(), &place).verdict;
        let after = judge(&wider, &egress(), &sender(), &place).verdict;
        prop_assert!(severity(after) <= severity(before), "{before} became {after}");
    }

    #[test]
    fn an_unlocated_address_is_approved_only_by_a_rule_or_by_the_knob(
        policy in some_policy(3), place in some_place(),
    ) {
        let judged = judge(&policy, &egress(), &sender(), &place);
        let by_rule = matches!(judged.reason, Reason::Rule(_));
        let by_operator = policy.basis == Basis::Operator || is_anycast(&place);
        if place.country == Country::Unlocated && judged.verdict == Verdict::Approved {
            let by_knob = policy.unknown_country == UnknownCountry::Approved;
            let by_operator = by_operator && judged.reason == Reason::Operator;
            prop_assert!(by_rule || by_knob || by_operator);
        }
    }

    #[test]
    fn rules_behind_the_one_that_matched_change_nothing(
        policy in some_policy(4), place in some_place(), other in some_rule(),
    ) {
        let before = judge(&policy, &egress(), &sender(), &place);
        let mut longer = policy.clone();
        longer.rules.push(other);
        let after = judge(&longer, &egress(), &sender(), &place);
        if matches!(before.reason, Reason::Rule(_)) {
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn an_attempt_is_judged_like_a_packet(policy in some_policy(3), place in some_place()) {
        let attempt = Egress { phase: Phase::Attempt, ..egress() };
        prop_assert_eq!(
            judge(&policy, &attempt, &sender(), &place),
            judge(&policy, &egress(), &sender(), &place)
        );
    }

    #[test]
    fn only_a_local_place_is_judged_local(policy in some_policy(3), place in some_place()) {
        let judged = judge(&policy, &egress(), &sender(), &place);
        if judged.verdict == Verdict::Local {
            prop_assert_eq!(place.country, Country::Local);
            prop_assert_eq!(judged.reason, Reason::LocalNetwork);
        }
    }
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
