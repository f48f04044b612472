//! Why the verdict on an address is what it is, in sentences: each step of `docs/verdicts.md` that
//! had something to say. Explains; decides nothing.

use crate::{
    config::{Basis, Policy},
    event::{Certainty, Country, CountryCode, Judgement, Operator, Reason, Verdict},
    locate::{Explanation, Locator, Source, codes},
};

/// In the order in which it is decided.
pub(super) fn sentences(
    locator: &Locator,
    policy: &Policy,
    found: &Explanation<'_>,
    judgement: &Judgement,
) -> Vec<String> {
    let mut out = Vec::new();
    out.extend(found.carried.map(|(carrier, inner)| {
        format!("It carries {inner} by {}, which was looked up.", carrier.name())
    }));
    out.push(location(found));
    out.extend(second(locator, found));
    if found.place.country != Country::Local {
        out.push(operator(found));
        out.extend(control(found));
    }
    out.extend(rules(policy, judgement));
    out.push(verdict(policy, found, judgement));
    out
}

fn named(code: CountryCode) -> String {
    codes::name(code).map_or_else(|| code.to_string(), |name| format!("{code} ({name})"))
}

fn location(found: &Explanation<'_>) -> String {
    let source = &found.country_source;
    match (found.place.country, source) {
        (Country::Local, _) => format!("It is local: {source}."),
        (Country::Known(code), Source::Override(network)) => {
            format!("It is in {}, as the override of {network} says.", named(code))
        }
        (Country::Known(code), _) => format!("It is in {}, according to {source}.", named(code)),
        (Country::Unlocated, Source::Database(database)) => {
            format!("Nobody knows where it is: {database} has no country for it.")
        }
        (Country::Unlocated, source) => format!("It is nowhere: {source}."),
    }
}

fn second(locator: &Locator, found: &Explanation<'_>) -> Option<String> {
    let second = found.place.second?;
    let source = locator.second_opinion()?;
    Some(if Some(second) == found.place.country.code() {
        format!("The second database, {source}, agrees.")
    } else {
        format!("The second database, {source}, says {}.", named(second))
    })
}

fn operator(found: &Explanation<'_>) -> String {
    let Some(operator) = found.place.operator.as_deref() else {
        return match &found.operator_source {
            Some(source) => format!("Nobody is known to run it: {source} has no operator for it."),
            None => "Nobody was asked who runs it.".to_owned(),
        };
    };
    let who = who(operator);
    match &found.operator_source {
        Some(Source::Override(network)) => {
            format!("It is run by {who}, as the override of {network} says.")
        }
        Some(source) => format!("It is run by {who}, according to {source}."),
        None => format!("It is run by {who}."),
    }
}

fn who(operator: &Operator) -> String {
    match (&operator.name, operator.asn) {
        (Some(name), Some(asn)) => format!("{name} (AS{asn})"),
        (Some(name), None) => name.to_string(),
        (None, Some(asn)) => format!("AS{asn}"),
        (None, None) => "an operator without a name".to_owned(),
    }
}

/// The country that has the operator in hand, what was corrected, and anycast.
fn control(found: &Explanation<'_>) -> Vec<String> {
    let Some(operator) = found.place.operator.as_deref() else { return Vec::new() };
    let corrected = found.correction;
    let mut out = vec![match (operator.country, corrected.and_then(|it| it.country)) {
        (Some(code), Some(_)) => {
            format!(
                "The operator is in the hands of {}; operator corrected by {}.",
                named(code),
                by(found)
            )
        }
        (Some(code), None) => format!("The operator is registered in {}.", named(code)),
        (None, _) => "In which country the operator is, nobody knows.".to_owned(),
    }];
    let says_anycast = corrected.and_then(|it| it.is_anycast);
    if operator.is_anycast {
        let source = if says_anycast == Some(true) { ", by that correction" } else { "" };
        out.push(format!(
            "It is anycast{source}: announced from many places, so where it is does not count."
        ));
    } else if says_anycast == Some(false) {
        out.push("It is not anycast, by that correction: where it is counts.".to_owned());
    }
    out
}

fn by(found: &Explanation<'_>) -> String {
    found.correction.map(ToString::to_string).unwrap_or_default()
}

fn rules(policy: &Policy, judgement: &Judgement) -> Option<String> {
    if let Reason::Rule(name) = &judgement.reason {
        return Some(format!("The first rule that matches is {name}."));
    }
    let asks = policy.rules.iter().filter(|rule| !rule.asks_only_for_address());
    let count = asks.count();
    (!policy.rules.is_empty()).then(|| match count {
        0 => "No rule matches.".to_owned(),
        _ => format!("No rule matches an address alone; {count} ask who sends, or by which port."),
    })
}

fn verdict(policy: &Policy, found: &Explanation<'_>, judgement: &Judgement) -> String {
    let verdict = judgement.verdict;
    let operator = found.place.operator.as_deref();
    let because = match &judgement.reason {
        Reason::Rule(_) => "that rule says so".to_owned(),
        Reason::LocalNetwork => "it never leaves the local networks".to_owned(),
        Reason::Undetermined => "its name could not be read".to_owned(),
        Reason::Malformed => "its headers could not be read".to_owned(),
        Reason::Country if judgement.certainty == Certainty::Disputed => format!(
            "only the second database objects, and policy.disputed is \"{}\"",
            policy.disputed.word()
        ),
        Reason::Country => {
            let code = found.place.country.code().or(found.place.second);
            format!("{} is {}", place(code), approval(verdict))
        }
        Reason::Operator => {
            let code = operator.and_then(|it| it.country);
            format!("{}, which has its operator in hand, is {}", place(code), approval(verdict))
        }
        Reason::Unlocated => {
            let side = match (policy.basis, operator.is_some_and(|it| it.is_anycast)) {
                (Basis::Operator, _) | (_, true) => "of an operator without a country",
                _ => "of an address without a country",
            };
            format!("policy.unknown_country is \"{}\" {side}", policy.unknown_country.word())
        }
    };
    let certainty = match judgement.certainty {
        Certainty::Full => "",
        Certainty::Partial => " Not all of it is known (partial).",
        Certainty::Disputed => " The databases do not agree (disputed).",
    };
    format!("So it is {verdict}: {because}.{certainty}")
}

fn place(code: Option<CountryCode>) -> String {
    code.map_or_else(|| "its country".to_owned(), named)
}

const fn approval(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Approved => "approved",
        Verdict::Unapproved | Verdict::Unknown | Verdict::Local => "not approved",
    }
}
