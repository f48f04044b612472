//! What names are good for. A name that forbids may be anybody's; one that allows must be from a
//! resolver that the configuration trusts, unless the rule says otherwise.

use std::net::SocketAddr;

use crate::{
    config::{Policy, Trust, Undetermined},
    event::{DomainSource, Place, Reason, ServerName, Verdict},
    select::DestinationSelector,
};

/// Whether the destination of a flow is the one that the rule means.
pub(super) fn is_meant(
    wanted: &DestinationSelector,
    allow: bool,
    trust: Trust,
    remote: SocketAddr,
    place: &Place,
) -> bool {
    match wanted {
        DestinationSelector::Domain(_) if allow => may_allow(trust, wanted, place),
        _ => wanted.matches(remote, place),
    }
}

fn may_allow(trust: Trust, wanted: &DestinationSelector, place: &Place) -> bool {
    let asked_for = place.domain.as_ref();
    // Who asked for another may have asked for whatever suits him.
    let is_proven = |it: &&crate::event::Domain| it.is_trusted && it.source == DomainSource::Dns;
    let is_said = || {
        let said = place.server_name.as_ref().and_then(ServerName::name);
        trust == Trust::ServerName && said.is_some_and(|name| wanted.holds(name))
    };
    asked_for.filter(is_proven).is_some_and(|it| wanted.holds(&it.name)) || is_said()
}

/// The verdict on a flow that no rule is for, as far as its name could be read.
pub(super) fn unless_undetermined(
    policy: &Policy,
    place: &Place,
    verdict: Verdict,
    reason: Reason,
) -> (Verdict, Reason) {
    let is_unread = place.server_name == Some(ServerName::Undetermined);
    if is_unread
        && policy.undetermined == Undetermined::Unapproved
        && verdict != Verdict::Unapproved
    {
        return (Verdict::Unapproved, Reason::Undetermined);
    }
    (verdict, reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::Rule,
        event::{Country, Domain, Judgement},
        judge::{
            judge,
            tests::{code, egress, policy, rule, sender},
        },
    };

    fn place() -> Place {
        Place { country: Country::Known(code("US")), ..Place::unknown() }
    }

    fn asked_for(name: &str, source: DomainSource, is_trusted: bool) -> Place {
        Place { domain: Some(Domain { name: name.into(), source, is_trusted }), ..place() }
    }

    fn said(name: &str) -> ServerName {
        ServerName::Said { name: name.into(), source: DomainSource::Sni }
    }

    fn judged(allow: bool, trust: Trust, place: &Place) -> Judgement {
        let mut policy = policy(if allow { &[] } else { &["US"] });
        let destination = DestinationSelector::parse("good.example").unwrap();
        policy.rules = vec![Rule { destination: Some(destination), trust, ..rule("it", allow) }];
        judge(&policy, &egress(), &sender(), place)
    }

    #[test]
    fn only_what_a_trusted_resolver_told_the_process_itself_satisfies_a_rule_that_allows() {
        let allows =
            |place: &Place| judged(true, Trust::Resolver, place).verdict == Verdict::Approved;
        assert!(allows(&asked_for("www.good.example", DomainSource::Dns, true)));
        assert!(!allows(&asked_for("good.example", DomainSource::Dns, false)));
        assert!(!allows(&asked_for("good.example", DomainSource::DnsHost, false)));
        assert!(!allows(&asked_for("good.example", DomainSource::DnsHost, true)));
        assert!(!allows(&asked_for("evil.example", DomainSource::Dns, true)));
        assert!(!allows(&Place { server_name: Some(said("good.example")), ..place() }));
    }

    #[test]
    fn a_server_name_alone_allows_where_the_rule_says_so() {
        let said = Place { server_name: Some(said("good.example")), ..place() };
        assert_eq!(judged(true, Trust::ServerName, &said).verdict, Verdict::Approved);
        assert_eq!(judged(true, Trust::Resolver, &said).verdict, Verdict::Unapproved);
    }

    #[test]
    fn a_rule_that_forbids_is_met_by_any_name() {
        let harmless = asked_for("harmless.example", DomainSource::Dns, true);
        let forbidden = [
            asked_for("good.example", DomainSource::Dns, false),
            asked_for("good.example", DomainSource::DnsHost, false),
            Place { server_name: Some(said("good.example")), ..place() },
            Place { server_name: Some(said("good.example")), ..harmless.clone() },
        ];
        for place in forbidden {
            let judged = judged(false, Trust::Resolver, &place);
            assert_eq!(judged.reason, Reason::Rule("it".into()), "{place:?}");
            assert_eq!(judged.verdict, Verdict::Unapproved);
        }
        assert_eq!(judged(false, Trust::Resolver, &harmless).verdict, Verdict::Approved);
    }

    #[test]
    fn a_stream_whose_name_could_not_be_read_is_judged_as_the_policy_says() {
        let unread = Place { server_name: Some(ServerName::Undetermined), ..place() };
        let mut policy = policy(&["US"]);
        assert_eq!(judge(&policy, &egress(), &sender(), &unread).verdict, Verdict::Approved);
        policy.undetermined = Undetermined::Unapproved;
        let judged = judge(&policy, &egress(), &sender(), &unread);
        assert_eq!((judged.verdict, judged.reason), (Verdict::Unapproved, Reason::Undetermined));
        let local = Place { country: Country::Local, ..unread };
        assert_eq!(judge(&policy, &egress(), &sender(), &local).verdict, Verdict::Local);
        let elsewhere = Place { country: Country::Known(code("CN")), ..local };
        assert_eq!(judge(&policy, &egress(), &sender(), &elsewhere).reason, Reason::Country);
        let disputed =
            Place { country: Country::Known(code("US")), second: Some(code("CN")), ..elsewhere };
        policy.disputed = crate::config::Disputed::Approved;
        let judged = judge(&policy, &egress(), &sender(), &disputed);
        assert_eq!((judged.verdict, judged.reason), (Verdict::Unapproved, Reason::Undetermined));
    }
}
