//! Which rule of the policy matches. A rule matches when each of its selectors does; one without
//! any matches everything.

use std::net::SocketAddr;

use super::names;
use crate::{
    config::Rule,
    event::{Egress, Place, Sender},
    select::DestinationSelector,
};

pub(super) fn first_match<'a>(
    rules: &'a [Rule],
    egress: &Egress,
    sender: &Sender,
    place: &Place,
) -> Option<&'a Rule> {
    rules.iter().find(|rule| {
        matches_address(rule, egress.remote, place) && matches_sender(rule, egress, sender)
    })
}

/// Of the rules that need no more than an address.
pub(super) fn first_match_of_address<'a>(
    rules: &'a [Rule],
    remote: SocketAddr,
    place: &Place,
) -> Option<&'a Rule> {
    rules.iter().find(|rule| {
        let Rule { process, unit, user, port, transport, .. } = rule;
        process.is_none()
            && unit.is_none()
            && user.is_none()
            && port.is_none()
            && transport.is_none()
            && matches_address(rule, Some(remote), place)
    })
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

fn matches_sender(rule: &Rule, egress: &Egress, sender: &Sender) -> bool {
    let process = sender.process();
    rule.port.is_none_or(|port| egress.remote.is_some_and(|remote| remote.port() == port))
        && rule.transport.is_none_or(|transport| transport == egress.transport)
        && rule.process.as_ref().is_none_or(|it| process.is_some_and(|p| it.matches(p)))
        && rule.unit.as_ref().is_none_or(|it| process.is_some_and(|p| it.matches(p)))
        && rule.user.as_ref().is_none_or(|it| process.is_some_and(|p| it.matches(&p.user)))
}
