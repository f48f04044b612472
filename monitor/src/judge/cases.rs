//! The tables of `docs/verdicts.md`, row by row.

use std::sync::Arc;

use super::{
    judge,
    tests::{code, egress, policy, rule, sender},
};
use crate::{
    config::{Basis, Disputed, Policy, Rule, UnknownCountry},
    event::{Attribution, Country, ExecutedFile, Operator, Place, Process, Reason, Sender},
    select::ProgramSelector,
};

const DOCUMENT: &str = include_str!("../../../docs/verdicts.md");

/// The cells of each row of the table that begins with `case` and then `second`.
fn rows_of<const CELLS: usize>(second: &str) -> Vec<[&'static str; CELLS]> {
    let head = format!("| case | {second} |");
    let lines = DOCUMENT.lines().skip_while(|line| !line.starts_with(&head)).skip(2);
    let cells = |line: &'static str| {
        let line = line.strip_prefix('|').and_then(|it| it.strip_suffix('|')).unwrap_or(line);
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        cells.try_into().unwrap_or_else(|_| panic!("not {CELLS} cells: {line}"))
    };
    lines.take_while(|line| line.starts_with('|')).map(cells).collect()
}

fn rows() -> Vec<[&'static str; 8]> {
    rows_of("knobs")
}

fn word<T: Copy>(words: &[(&str, T)], text: &str) -> T {
    words.iter().find(|(word, _)| *word == text).unwrap().1
}

fn turn(knob: &str, policy: &mut Policy) {
    match knob.split_once('=') {
        Some(("basis", value)) => policy.basis = word(&Basis::WORDS, value),
        Some(("disputed", value)) => policy.disputed = word(&Disputed::WORDS, value),
        Some(("unknown_country", value)) => {
            policy.unknown_country = word(&UnknownCountry::WORDS, value);
        }
        Some(("rule", verb)) => policy.rules.push(rule("named", verb == "allow")),
        _ => assert!(matches!(knob, "anycast" | "malformed"), "no such knob: {knob}"),
    }
}

fn place(location: &str, second: &str, operator: &str, is_anycast: bool) -> Place {
    let known = |text| (text != "?").then(|| code(text));
    Place {
        country: match location {
            "local" => Country::Local,
            other => known(other).map_or(Country::Unlocated, Country::Known),
        },
        second: known(second),
        operator: Some(Arc::new(Operator {
            asn: Some(64500),
            name: None,
            country: known(operator),
            is_anycast,
        })),
        domain: None,
        server_name: None,
        via: None,
    }
}

#[test]
fn every_row_of_the_documented_table_is_judged_as_it_says() {
    let rows = rows();
    assert!(rows.len() > 40, "the table was not found");
    for [case, knobs, location, second, operator, verdict, reason, certainty] in rows {
        let mut policy = policy(&["US"]);
        knobs.split_whitespace().for_each(|knob| turn(knob, &mut policy));
        let place = place(location, second, operator, knobs.contains("anycast"));
        let mut egress = egress();
        egress.passage.is_malformed = knobs.contains("malformed");
        let judged = judge(&policy, &egress, &sender(), &place);
        let found = format!("{} {} {}", judged.verdict, judged.reason, judged.certainty);
        assert_eq!(found, format!("{verdict} {reason} {certainty}"), "{case}");
    }
}

#[test]
fn every_row_of_who_is_meant_is_judged_as_it_says() {
    let rows = rows_of::<10>("executable");
    assert!(rows.len() > 10, "the table was not found");
    for [case, executable, hosts, known_as, claimed, name, verdicts @ ..] in rows {
        let text = |cell: &str| (!cell.is_empty()).then(|| Arc::from(cell));
        let known_as = text(known_as).map(|path| [path].into());
        let file = ExecutedFile { is_hosts: hosts == "yes", known_as, ..ExecutedFile::default() };
        let process = Arc::new(Process {
            name: name.into(),
            executable: text(executable),
            executable_claimed: text(claimed),
            file,
            ..sender().process().unwrap().clone()
        });
        let attribution = Attribution::Socket;
        let sender = Sender::Process { process, attribution, creator: None };
        let rules = [
            ("/usr/bin/curl", true, false),
            ("/usr/bin/curl", true, true),
            ("/usr/bin/curl", false, false),
            ("curl", false, false),
        ];
        for ((path, allow, trust_claims), verdict) in rules.into_iter().zip(verdicts) {
            let process = ProgramSelector::parse(path).ok();
            let rules = vec![Rule { process, ..rule("named", allow) }];
            let policy = Policy { trust_claims, rules, ..policy(&[]) };
            let judged = judge(&policy, &egress(), &sender, &place("US", "?", "?", false));
            let found = if matches!(judged.reason, Reason::Rule(_)) { "yes" } else { "no" };
            assert_eq!(found, verdict, "{case}: {path} allow={allow} trust_claims={trust_claims}");
        }
    }
}

#[test]
fn no_two_rows_have_one_name_or_ask_the_same() {
    let rows = rows();
    let mut names: Vec<&str> = rows.iter().map(|row| row[0]).collect();
    let mut questions: Vec<&[&str]> = rows.iter().map(|row| &row[1..5]).collect();
    names.sort_unstable();
    names.dedup();
    questions.sort_unstable();
    questions.dedup();
    assert_eq!((names.len(), questions.len()), (rows.len(), rows.len()));
}

#[test]
fn an_address_without_any_operator_is_like_one_whose_operator_is_unknown() {
    for location in ["US", "CN", "?", "local"] {
        let unknown = place(location, "?", "?", false);
        let none = Place { operator: None, ..unknown.clone() };
        let judged = |place| judge(&policy(&["US"]), &egress(), &sender(), place);
        assert_eq!(judged(&unknown), judged(&none), "{location}");
    }
}
