//! Which rule of the policy matches. A rule matches when each of its selectors does; one without
//! any matches everything. What allows asks for proof of who sends, what forbids for suspicion.

use std::net::SocketAddr;

use super::names;
use crate::{
    config::{Policy, Rule},
    event::{Egress, Place, Process, Sender},
    select::DestinationSelector,
};

pub(super) fn first_match<'a>(
    policy: &'a Policy,
    egress: &Egress,
    sender: &Sender,
    place: &Place,
) -> Option<&'a Rule> {
    let process = sender.process();
    policy.rules.iter().find(|rule| {
        matches_address(rule, egress.remote, place)
            && matches_flow(rule, egress)
            && matches_sender(rule, process, policy.trust_claims)
    })
}

/// Of the rules that need no more than an address.
pub(super) fn first_match_of_address<'a>(
    rules: &'a [Rule],
    remote: SocketAddr,
    place: &Place,
) -> Option<&'a Rule> {
    let matches =
        |rule: &&Rule| rule.asks_only_for_address() && matches_address(rule, Some(remote), place);
    rules.iter().find(matches)
}

/// `remote` `None`: nobody could read it, so that no rule for a destination is meant.
fn matches_address(rule: &Rule, remote: Option<SocketAddr>, place: &Place) -> bool {
    let in_country = || place.country.code().is_some_and(|country| rule.country.contains(&country));
    let is_there =
        |it: &DestinationSelector| remote.is_some_and(|to| names::is_meant(rule, it, to, place));
    rule.destination.as_ref().is_none_or(is_there)
        && rule.operator.as_ref().is_none_or(|it| it.matches(place.operator.as_deref()))
        && (rule.country.is_empty() || in_country())
}

fn matches_flow(rule: &Rule, egress: &Egress) -> bool {
    rule.port.is_none_or(|port| egress.remote.is_some_and(|remote| remote.port() == port))
        && rule.transport.is_none_or(|transport| transport == egress.transport)
}

fn matches_sender(rule: &Rule, process: Option<&Process>, trust_claims: bool) -> bool {
    // Without a rest: a new selector does not compile until somebody has thought where it is asked.
    let Rule {
        name: _,
        allow,
        process: program,
        unit,
        user,
        container,
        sha256,
        destination: _,
        trust: _,
        port: _,
        transport: _,
        country: _,
        operator: _,
    } = rule;
    let is = |meets: &dyn Fn(&Process) -> bool| process.is_some_and(meets);
    program
        .as_ref()
        .is_none_or(|it| is(&|p| if *allow { it.allows(p, trust_claims) } else { it.forbids(p) }))
        && unit.as_ref().is_none_or(|it| is(&|p| if *allow { it.allows(p) } else { it.forbids(p) }))
        && container.as_ref().is_none_or(|it| {
            is(&|p| if *allow { it.allows(p, unit.is_some()) } else { it.forbids(p) })
        })
        && user.as_ref().is_none_or(|it| is(&|p| it.matches(&p.user)))
        && sha256.is_none_or(|hash| is(&|p| p.file.sha256 == Some(hash)))
}
