//! Why the verdict on a record is what it is, in sentences, from what was stored with it: no database and no
//! policy is asked again. Explains; decides nothing.

use crate::{
    ecs::{DatabaseFields, Event},
    event::{Certainty, CountryCode, Reason, Verdict},
    locate::codes,
    printable::printable,
};

/// Of the latest state, and when the verdict was another.
pub(super) fn why(latest: &Event<'_>, states: &[Event<'_>]) -> Vec<String> {
    let mut out = Vec::new();
    out.push(place(latest));
    out.extend(second(latest));
    out.extend(operator(latest));
    if latest.geofenced.anycast {
        out.push(
            "It is anycast: announced from many places, so where it is does not count.".into(),
        );
    }
    out.push(verdict(latest));
    out.extend(changes(states));
    out.extend(latest.geofenced.verdict_now.as_ref().map(|now| {
        format!("By rules that came later it would be {}: what it was, it stays.", printable(now))
    }));
    if latest.is_unraised() {
        out.push("The policy of its time only learned: this was raised as no violation.".into());
    }
    out.push(policy(latest));
    out
}

/// With its name, where the code is one.
pub(super) fn named(code: &str) -> String {
    let name = CountryCode::new(code).and_then(codes::name);
    name.map_or_else(|| printable(code).into_owned(), |name| format!("{code} ({name})"))
}

fn database(event: &Event<'_>, is_it: impl Fn(&str) -> bool) -> Option<String> {
    let of = event.geofenced.database.iter().find(|it| is_it(&it.label));
    of.map(|DatabaseFields { name, date, .. }| {
        format!("{} of {}", printable(name), printable(date))
    })
}

fn place(event: &Event<'_>) -> String {
    let source = database(event, |label| label == "country");
    let source = source.unwrap_or_else(|| "a database that was not told".into());
    let verdict = event.geofenced.verdict.as_ref();
    match (&event.destination.geo, event.destination.ip) {
        (_, None) => "Where it went nobody could read.".to_owned(),
        (Some(geo), _) => format!(
            "It went to {}, according to {source}, or an override of the configuration of that time.",
            named(&geo.country_iso_code)
        ),
        (None, _) if verdict == Verdict::Local.word() => "It stayed within local networks.".into(),
        (None, _) => format!("In which country its destination is was not known: {source}."),
    }
}

fn second(event: &Event<'_>) -> Option<String> {
    let second = event.geofenced.second_country.as_deref()?;
    let first = event.destination.geo.as_ref().map(|geo| geo.country_iso_code.as_ref());
    let source = database(event, |label| label.contains("second"));
    let source = source.map(|it| format!(", {it},")).unwrap_or_default();
    Some(if first == Some(second) {
        format!("The second database{source} agrees.")
    } else {
        format!("The second database{source} says {}.", named(second))
    })
}

fn operator(event: &Event<'_>) -> Option<String> {
    let system = event.destination.autonomous_system.as_ref()?;
    let name = system.organization.as_ref().map(|it| printable(&it.name).into_owned());
    let number = system.number.map(|number| format!("AS{number}"));
    let who = match (name, number) {
        (Some(name), Some(number)) => format!("{name} ({number})"),
        (name, number) => name.or(number)?,
    };
    let source = database(event, |label| label == "operator");
    let source = source.map(|it| format!(", according to {it}")).unwrap_or_default();
    let hands = event.geofenced.operator_country.as_deref();
    let hands = hands.map(|code| format!("; it is in the hands of {}", named(code)));
    Some(format!("It is run by {who}{source}{}.", hands.unwrap_or_default()))
}

fn verdict(event: &Event<'_>) -> String {
    let told = &event.geofenced;
    let country = event.destination.geo.as_ref().map(|geo| named(&geo.country_iso_code));
    let country = country.unwrap_or_else(|| "its country".to_owned());
    let approval = match Verdict::parse(&told.verdict) {
        Some(Verdict::Approved) => "is approved",
        _ => "is not approved",
    };
    let because = match Reason::parse(&told.reason) {
        Some(Reason::Rule(name)) => format!("the rule \"{}\" says so", printable(&name)),
        Some(Reason::LocalNetwork) => "it never leaves the local networks".to_owned(),
        Some(Reason::Undetermined) => "its name could not be read".to_owned(),
        Some(Reason::Malformed) => "its headers could not be read".to_owned(),
        Some(Reason::Unlocated) => "where it goes has no known country".to_owned(),
        Some(Reason::Country) if told.certainty == Certainty::Disputed.word() => {
            "only the second database objects".to_owned()
        }
        Some(Reason::Country) => format!("{country} {approval}"),
        Some(Reason::Operator) => {
            let hands = told.operator_country.as_deref().map(named);
            let hands = hands.unwrap_or_else(|| "the country".to_owned());
            format!("{hands}, which has its operator in hand, {approval}")
        }
        None => printable(&told.reason).into_owned(),
    };
    let certainty = match Certainty::parse(&told.certainty) {
        Some(Certainty::Partial) => " Not all of it is known (partial).",
        Some(Certainty::Disputed) => " The databases do not agree (disputed).",
        Some(Certainty::Full) | None => "",
    };
    let violation = if event.is_violation() { " That is a violation." } else { "" };
    format!("So it is {}: {because}.{certainty}{violation}", printable(&told.verdict))
}

fn changes(states: &[Event<'_>]) -> Option<String> {
    let mut verdicts: Vec<&str> = states.iter().map(|it| it.geofenced.verdict.as_ref()).collect();
    verdicts.dedup();
    (verdicts.len() > 1).then(|| {
        let all: Vec<_> = verdicts.iter().map(|verdict| printable(verdict)).collect();
        format!("Its verdict changed as more became known: {}.", all.join(", then "))
    })
}

fn policy(event: &Event<'_>) -> String {
    match event.geofenced.policy.as_ref().and_then(|it| it.sha256.get(..12)) {
        Some(hash) => format!(
            "The policy of that time was {0}: `geofenced policy show {0}`.",
            printable(hash)
        ),
        None => "By which policy is not told: it was stored by a version that did not.".to_owned(),
    }
}
