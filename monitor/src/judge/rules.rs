//! Which rule of the policy matches. A rule matches when each of its selectors does; one without
//! any matches everything. What allows asks for proof of who sends, what forbids for suspicion.

use std::net::SocketAddr;

use super::names;
use crate::{
    config::{Policy, Rule, Selector},
    event::{Egress, Place, Process, Sender, Transport},
};

/// What selectors are held against.
struct Subject<'a> {
    /// `None`: nobody could read it, so that no rule for a destination is meant.
    remote: Option<SocketAddr>,
    transport: Option<Transport>,
    process: Option<&'a Process>,
    place: &'a Place,
    trust_claims: bool,
}

pub(super) fn first_match<'a>(
    policy: &'a Policy,
    egress: &Egress,
    sender: &Sender,
    place: &Place,
) -> Option<&'a Rule> {
    let subject = Subject {
        remote: egress.remote,
        transport: Some(egress.transport),
        process: sender.process(),
        place,
        trust_claims: policy.trust_claims,
    };
    policy.rules.iter().find(|rule| rule.selectors().all(|it| subject.meets(rule, it)))
}

/// Of the rules that need no more than an address.
pub(super) fn first_match_of_address<'a>(
    rules: &'a [Rule],
    remote: SocketAddr,
    place: &Place,
) -> Option<&'a Rule> {
    let remote = Some(remote);
    let subject = Subject { remote, transport: None, process: None, place, trust_claims: false };
    let mut rules = rules.iter().filter(|rule| rule.asks_only_for_address());
    rules.find(|rule| rule.selectors().all(|it| subject.meets(rule, it)))
}

impl Subject<'_> {
    /// `selector` is one of the rule's.
    fn meets(&self, rule: &Rule, selector: Selector<'_>) -> bool {
        let allow = rule.allow;
        let is = |meets: &dyn Fn(&Process) -> bool| self.process.is_some_and(meets);
        match selector {
            Selector::Process(it) if allow => is(&|p| it.allows(p, self.trust_claims)),
            Selector::Process(it) => is(&|p| it.forbids(p)),
            Selector::Unit(it) => is(&|p| if allow { it.allows(p) } else { it.forbids(p) }),
            Selector::Container(it) if allow => is(&|p| it.allows(p, rule.unit.is_some())),
            Selector::Container(it) => is(&|p| it.forbids(p)),
            Selector::User(it) => is(&|p| it.matches(&p.user)),
            Selector::Sha256(hash) => is(&|p| p.file.sha256 == Some(*hash)),
            Selector::Destination { wanted, allow, trust } => {
                let is_meant = |to| names::is_meant(wanted, allow, trust, to, self.place);
                self.remote.is_some_and(is_meant)
            }
            Selector::Port(port) => self.remote.is_some_and(|remote| remote.port() == port),
            Selector::Transport(transport) => self.transport == Some(transport),
            Selector::Country(codes) => {
                self.place.country.code().is_some_and(|country| codes.contains(&country))
            }
            Selector::Operator(it) => it.matches(self.place.operator.as_deref()),
        }
    }
}
