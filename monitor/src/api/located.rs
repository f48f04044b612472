//! What `locate` says of an address, here and in the API.

use std::net::{IpAddr, SocketAddr};

use super::{Located, LocatedDestination, LocatedJudgement, reasoning};
use crate::{
    config::Policy,
    ecs::{AutonomousSystem, Geo, Organization},
    event::Operator,
    judge::judge_address,
    locate::Locator,
};

/// Rules that ask for a process, a port or a transport don't match: nobody sends yet.
pub fn located(locator: &Locator, policy: &Policy, address: IpAddr) -> Located {
    let found = locator.explain(address);
    let judgement = judge_address(policy, SocketAddr::new(found.address, 0), &found.place);
    let mut databases = vec![found.country_source.to_string()];
    let operator_source = found.operator_source.map(|source| source.to_string());
    databases.extend(operator_source.filter(|source| !databases.contains(source)));
    let explanation = reasoning::sentences(locator, policy, &found, &judgement);
    let second = found.place.second;
    let second_source = locator.second_opinion().filter(|_| second.is_some());
    let second_source = second_source.map(ToString::to_string);
    databases.extend(second_source.filter(|source| !databases.contains(source)));
    let operator = found.place.operator.as_deref();
    Located {
        destination: LocatedDestination {
            ip: found.address,
            geo: found.place.country.code().map(Geo::from),
            autonomous_system: operator.and_then(autonomous_system),
        },
        geofenced: LocatedJudgement {
            verdict: judgement.verdict.to_string(),
            certainty: judgement.certainty.to_string(),
            reason: judgement.reason.to_string(),
            operator_country: operator.and_then(|it| it.country).map(|code| code.to_string()),
            second_country: second.map(|code| code.to_string()),
            anycast: operator.is_some_and(|it| it.is_anycast),
            correction: found.correction.map(ToString::to_string),
            databases,
            explanation,
        },
    }
}

fn autonomous_system(operator: &Operator) -> Option<AutonomousSystem<'static>> {
    let organization =
        operator.name.as_ref().map(|name| Organization { name: name.to_string().into() });
    (operator.asn.is_some() || organization.is_some())
        .then_some(AutonomousSystem { number: operator.asn, organization })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Override};

    #[test]
    fn an_override_decides_where_an_address_is_and_the_policy_what_of_it() {
        let mut config = Config::builtin();
        config.geo.overrides = vec![Override {
            network: "203.0.113.0/24".parse().unwrap(),
            country: crate::event::CountryCode::new("CN"),
            operator: Some("Example Cloud".into()),
            asn: Some(64_500),
        }];
        let locator = Locator::open(&config.geo, &[]).unwrap();
        let told = located(&locator, &config.policy, "::ffff:203.0.113.7".parse().unwrap());
        let json = serde_json::to_value(&told).unwrap();
        assert_eq!(json["destination"]["ip"], "203.0.113.7");
        assert_eq!(json["destination"]["geo"]["country_iso_code"], "CN");
        assert_eq!(json["destination"]["as"]["organization"]["name"], "Example Cloud");
        assert_eq!(json["geofenced"]["verdict"], "unapproved");
        assert_eq!(json["geofenced"]["reason"], "country");
        assert_eq!(json["geofenced"]["databases"][0], "override of 203.0.113.0/24");
        let said = told.geofenced.explanation.join("\n");
        for sentence in [
            "It is in CN (China), as the override of 203.0.113.0/24 says.",
            "It is run by Example Cloud (AS64500), as the override of 203.0.113.0/24 says.",
            "So it is unapproved: CN (China) is not approved. Not all of it is known (partial).",
        ] {
            assert!(said.contains(sentence), "{sentence}\n---\n{said}");
        }
        let local = located(&locator, &config.policy, "10.1.2.3".parse().unwrap());
        assert_eq!(local.geofenced.verdict, "local");
        assert_eq!(local.geofenced.explanation[0], "It is local: private (RFC 1918).");
    }

    #[test]
    fn the_whole_way_to_a_verdict_is_told() {
        let mut config = Config::builtin();
        let code = crate::event::CountryCode::new;
        config.policy.approved_countries = ["DE", "US"].into_iter().filter_map(code).collect();
        config.geo.operators = vec![crate::config::OperatorFact {
            asn: 24_940,
            country: code("FR"),
            name: None,
            is_anycast: Some(true),
        }];
        let locator = Locator::open(&config.geo, &[]).unwrap();
        let said = |address: &str| {
            let told = located(&locator, &config.policy, address.parse().unwrap());
            told.geofenced.explanation.join("\n")
        };
        for (address, sentences) in [
            // Alibaba in the US.
            (
                "47.251.0.1",
                &[
                    "It is in US (United States), according to DB-IP",
                    "agrees.",
                    "(AS45102), according to ",
                    "The operator is in the hands of CN (China); operator corrected by Alibaba Group: ",
                    "So it is unapproved: CN (China), which has its operator in hand, is not approved.",
                ][..],
            ),
            // What a database guesses of an anycast address, and the operator of it.
            (
                "64:ff9b::1.1.1.1",
                &[
                    "It carries 1.1.1.1 by NAT64 (RFC 6052), which was looked up.",
                    "The operator is registered in US (United States).",
                    "It is anycast: announced from many places, so where it is does not count.",
                    "So it is approved: US (United States), which has its operator in hand, is approved.",
                ],
            ),
            (
                "5.9.0.1",
                &[
                    "FR (France); operator corrected by geo.operator of the configuration.",
                    "It is anycast, by that correction: ",
                    "So it is unapproved: FR (France)",
                ],
            ),
            (
                "203.0.113.1",
                &[
                    "Nobody knows where it is: DB-IP",
                    "Nobody is known to run it: ",
                    "So it is unapproved: policy.unknown_country is \"unapproved\" of an address without a country.",
                ],
            ),
        ] {
            let said = said(address);
            for sentence in sentences {
                assert!(said.contains(sentence), "{address}: {sentence}\n---\n{said}");
            }
        }
    }
}
