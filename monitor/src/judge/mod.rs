//! The verdict: policy, egress, sender and place in, judgement out. Pure: no clock, no I/O, no
//! state. An attempt is judged like a packet; what counts as a violation is the record's to say.

mod names;
mod rules;

use std::net::SocketAddr;

use crate::{
    config::{Basis, Disputed, Policy, Rule, UnknownCountry},
    event::{Certainty, Country, CountryCode, Egress, Judgement, Place, Reason, Sender, Verdict},
};

/// Judges one flow. The first rule that matches decides, also for local addresses; then `local`;
/// then the worst of what is known of location and operator. `docs/verdicts.md` has a row for each
/// case, and the tests read it.
///
/// Of a flow that goes by another address as well, both are judged, and the worse counts: no name is that of
/// the other.
pub fn judge(policy: &Policy, egress: &Egress, sender: &Sender, place: &Place) -> Judgement {
    let judgement = judge_one(policy, egress, sender, place);
    let Some(via) = &place.via else { return judgement };
    let remote = egress.remote.map(|remote| SocketAddr::new(via.address, remote.port()));
    let by_way = judge_one(policy, &Egress { remote, ..egress.clone() }, sender, &via.place);
    if severity(by_way.verdict) > severity(judgement.verdict) { by_way } else { judgement }
}

fn judge_one(policy: &Policy, egress: &Egress, sender: &Sender, place: &Place) -> Judgement {
    let rule = rules::first_match(policy, egress, sender, place);
    let mut judgement = judged(policy, place, rule);
    // Approving addresses that no database knows approves none that nobody saw.
    if egress.remote.is_none() && rule.is_none() && judgement.verdict == Verdict::Approved {
        judgement.verdict = Verdict::Unknown;
    }
    if egress.passage.is_malformed && rule.is_none() {
        judgement = malformed(policy, judgement);
    }
    judgement
}

/// Of packets whose headers can't be read nobody knows that they go where they say: that address may
/// object, but not approve, nor be local.
fn malformed(policy: &Policy, by_address: Judgement) -> Judgement {
    if by_address.verdict == Verdict::Unapproved {
        return by_address;
    }
    let verdict = match policy.unknown_country {
        UnknownCountry::Unapproved => Verdict::Unapproved,
        UnknownCountry::Unknown | UnknownCountry::Approved => Verdict::Unknown,
    };
    Judgement { verdict, reason: Reason::Malformed, ..by_address }
}

/// Judges an address nobody sent to yet: only the rules that ask for nothing else than
/// destination, country and operator can match.
pub fn judge_address(policy: &Policy, remote: SocketAddr, place: &Place) -> Judgement {
    judged(policy, place, rules::first_match_of_address(&policy.rules, remote, place))
}

/// Judges a place as if the policy had no rules: what the probes are told of each class of addresses.
pub fn judge_place(policy: &Policy, place: &Place) -> Judgement {
    judged(policy, place, None)
}

fn judged(policy: &Policy, place: &Place, rule: Option<&Rule>) -> Judgement {
    if let Some(rule) = rule {
        let verdict = if rule.allow { Verdict::Approved } else { Verdict::Unapproved };
        let reason = Reason::Rule(rule.name.clone());
        return Judgement { verdict, certainty: knowledge(place), reason };
    }
    if place.country == Country::Local {
        let (verdict, reason) = (Verdict::Local, Reason::LocalNetwork);
        return Judgement { verdict, certainty: Certainty::Full, reason };
    }
    let (verdict, reason) = firm(policy, place);
    if verdict == Verdict::Approved && second_objects(policy, place) {
        let verdict = match policy.disputed {
            Disputed::Unapproved => Verdict::Unapproved,
            Disputed::Approved => Verdict::Approved,
        };
        let (verdict, reason) = names::unless_undetermined(policy, place, verdict, Reason::Country);
        return Judgement { verdict, certainty: Certainty::Disputed, reason };
    }
    let (verdict, reason) = names::unless_undetermined(policy, place, verdict, reason);
    Judgement { verdict, certainty: knowledge(place), reason }
}

/// How much of the place is known, whatever the verdict rests on.
fn knowledge(place: &Place) -> Certainty {
    let is_located = match place.country {
        Country::Local => return Certainty::Full,
        Country::Known(_) => true,
        // Where an anycast address is, nobody asks.
        Country::Unlocated => is_anycast(place),
    };
    if is_located && operator_country(place).is_some() {
        Certainty::Full
    } else {
        Certainty::Partial
    }
}

/// The verdict of the sides that the basis names, the second database aside.
fn firm(policy: &Policy, place: &Place) -> (Verdict, Reason) {
    let code = operator_country(place);
    let operator = side(policy, code, Reason::Operator);
    if is_anycast(place) {
        return operator;
    }
    // The second database can object where the first knows nothing, but not approve.
    let objection = || place.second.filter(|code| !policy.approved_countries.contains(code));
    let location = side(policy, place.country.code().or_else(objection), Reason::Country);
    let is_operators = match policy.basis {
        Basis::Location => false,
        Basis::Operator => true,
        // An operator of whom nothing is known does not add to what the location says; and of two
        // that say the same, a country is the better reason than none.
        Basis::Either => {
            let is_worse = severity(operator.0) > severity(location.0);
            let is_known = operator.0 == location.0 && location.1 == Reason::Unlocated;
            code.is_some() && (is_worse || is_known)
        }
    };
    if is_operators { operator } else { location }
}

/// Whether the second database has the address elsewhere than the first, where it may not be.
fn second_objects(policy: &Policy, place: &Place) -> bool {
    policy.basis != Basis::Operator
        && !is_anycast(place)
        && place.country.code().is_some()
        && place.second.is_some_and(|code| !policy.approved_countries.contains(&code))
}

/// One side of an address; `None` is a side without a country.
fn side(policy: &Policy, code: Option<CountryCode>, reason: Reason) -> (Verdict, Reason) {
    match code {
        Some(code) if policy.approved_countries.contains(&code) => (Verdict::Approved, reason),
        Some(_) => (Verdict::Unapproved, reason),
        None => {
            let verdict = match policy.unknown_country {
                UnknownCountry::Unapproved => Verdict::Unapproved,
                UnknownCountry::Unknown => Verdict::Unknown,
                UnknownCountry::Approved => Verdict::Approved,
            };
            (verdict, Reason::Unlocated)
        }
    }
}

fn operator_country(place: &Place) -> Option<CountryCode> {
    place.operator.as_ref().and_then(|operator| operator.country)
}

fn is_anycast(place: &Place) -> bool {
    place.operator.as_ref().is_some_and(|operator| operator.is_anycast)
}

/// Of two verdicts the one with more is the worse.
pub const fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Local => 0,
        Verdict::Approved => 1,
        Verdict::Unknown => 2,
        Verdict::Unapproved => 3,
    }
}

#[cfg(test)]
mod cases;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod via;
#[cfg(test)]
pub(crate) use tests::rule;
