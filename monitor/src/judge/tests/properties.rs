//! What holds under any policy, for any place and process.

use super::*;

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
