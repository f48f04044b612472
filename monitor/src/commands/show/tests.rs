//! What is said of a record, and what is not.

use super::*;
use crate::{
    ecs::tests::{bare_record, full_record},
    event::{DomainSource, Phase, Reason},
};

fn event(record: &Record) -> Event<'static> {
    let line = printable::to_json(&Event::from(record)).unwrap();
    serde_json::from_slice(&line).unwrap()
}

fn told(records: &[Record]) -> Told {
    let mut found = Found::default();
    for record in records {
        assert!(found.add(event(record)).is_continue());
    }
    Told::of(found).unwrap()
}

#[test]
fn why_names_the_rule_the_databases_with_their_dates_and_the_second_opinion() {
    let why = told(&[full_record()]).why.join("\n");
    for part in [
        "It went to CN (China), according to ",
        " of 20",
        "says HK (Hong Kong",
        "It is run by Example Cloud (AS64500)",
        "it is in the hands of RU (Russia",
        "It is anycast",
        "the rule \"no-cn\" says so",
        "That is a violation.",
        "`geofenced policy show ",
    ] {
        assert!(why.contains(part), "{part}\n---\n{why}");
    }
}

#[test]
fn what_the_watched_chose_is_said_to_be_claimed_and_what_is_missing_to_be_in_doubt() {
    let mut record = full_record();
    record.place.server_name = None;
    let domain = record.place.domain.as_mut().unwrap();
    domain.source = DomainSource::DnsHost;
    record.egress.ended_at = None;
    let all = told(&[record.clone()]);
    let claims = all.claims.join("\n");
    assert!(claims.contains("\"curl\" is what the process calls itself"), "{claims}");
    assert!(claims.contains("\"./curl\" is what was passed to execve"), "{claims}");
    assert!(claims.contains("another program of this host asked for"), "{claims}");
    let doubts = all.doubts.join("\n");
    for part in ["by way of 203.0.113.77 in RU", "Its end was not seen", "Of two databases one"] {
        assert!(doubts.contains(part), "{part}\n---\n{doubts}");
    }
    record.egress.phase = Phase::Attempt;
    let attempt = told(&[record]);
    assert!(attempt.doubts.join("\n").contains("nothing is known to have left"));
    assert!(!attempt.why.join("\n").contains("violation"));
}

#[test]
fn a_verdict_that_changed_is_told_in_its_order_and_a_state_met_twice_once() {
    let mut first = full_record();
    first.egress.revision = 0;
    first.judgement.verdict = crate::event::Verdict::Unknown;
    first.judgement.reason = Reason::Unlocated;
    let last = full_record();
    let all = told(&[last.clone(), first, last]);
    assert_eq!(all.states.len(), 2);
    let why = all.why.join("\n");
    assert!(why.contains("changed as more became known: unknown, then unapproved"), "{why}");
}

#[test]
fn of_a_record_that_tells_little_no_more_is_said_than_it_tells() {
    let all = told(&[bare_record()]);
    let said = [all.why.clone(), all.claims.clone(), all.doubts.clone()].concat().join("\n");
    assert!(said.contains("By which policy is not told"), "{said}");
    assert!(!said.contains("anycast") && !said.contains("calls itself"), "{said}");
}

#[test]
fn of_more_states_than_are_told_the_first_and_the_newest_stay_and_the_rest_is_counted() {
    let mut found = Found::default();
    for revision in 0..STATES_MAX as u32 + 5 {
        let mut record = bare_record();
        record.egress.revision = revision;
        let _ = found.add(event(&record));
    }
    assert_eq!((found.states.len(), found.untold), (STATES_MAX, 5));
    assert_eq!(found.states.keys().take(2).copied().collect::<Vec<_>>(), [0, 6]);
}
