//! The policy as one text, and its SHA-256: of its meaning, not of how or in which file it is written, with
//! what the configuration says of networks and operators, since verdicts rest on that as well. Part of
//! the evidence, so the form below is versioned and never changes quietly.

use std::{fmt::Write as _, sync::Arc};

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::{Geo, OperatorFact, Override, Policy, Rule, Trust, Undetermined};
use crate::{
    ecs::hex,
    event::CountryCode,
    select::{ContainerSelector, DestinationSelector, OperatorSelector, UserSelector},
};

/// Puts text and hash into the policy; the databases of `geo` have hashes of their own.
pub(super) fn seal(policy: &mut Policy, geo: &Geo) {
    let mut text = canonical(policy);
    write_geo(&mut text, geo);
    policy.sha256 = Sha256::digest(&text).into();
    policy.text = text.into();
}

fn write_geo(out: &mut String, geo: &Geo) {
    let Geo { database: _, operator_database: _, overrides, operators } = geo;
    let country = |code: &Option<CountryCode>| {
        code.map(|code| format!(" country={code}")).unwrap_or_default()
    };
    let name = |name: &Option<Arc<str>>| {
        name.as_ref().map(|name| format!(" operator={}", quoted(name))).unwrap_or_default()
    };
    let mut overrides: Vec<&Override> = overrides.iter().collect();
    // Of one network the last word counts: those keep their order.
    overrides.sort_by_key(|it| it.network);
    for Override { network, country: code, operator, asn } in overrides {
        let asn = asn.map(|asn| format!(" asn={asn}")).unwrap_or_default();
        let _ = writeln!(out, "override {network}{}{}{asn}", country(code), name(operator));
    }
    let mut operators: Vec<&OperatorFact> = operators.iter().collect();
    operators.sort_by_key(|it| it.asn);
    for OperatorFact { asn, country: code, name: named, is_anycast } in operators {
        let anycast = is_anycast.map(|it| format!(" anycast={it}")).unwrap_or_default();
        let _ = writeln!(out, "operator {asn}{}{}{anycast}", country(code), name(named));
    }
}

/// A line for each fact; free text as a JSON string, so that no text can look like another line.
///
/// Policy and rules are taken apart without a rest: a new field does not compile until it is here.
fn canonical(policy: &Policy) -> String {
    let Policy {
        approved_countries,
        basis,
        disputed,
        unknown_country,
        undetermined,
        trust_claims,
        local_networks,
        rules,
        text: _,
        sha256: _,
    } = policy;
    let mut out = String::from("geofenced policy 2\n");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "approved {}", countries(approved_countries));
    let _ = writeln!(out, "basis {}", basis.word());
    let _ = writeln!(out, "disputed {}", disputed.word());
    let _ = writeln!(out, "unknown {}", unknown_country.word());
    if *undetermined == Undetermined::Unapproved {
        out.push_str("undetermined unapproved\n");
    }
    let _ = writeln!(out, "trust-claims {trust_claims}");
    for network in IpNet::aggregate(local_networks) {
        let _ = writeln!(out, "local {network}");
    }
    for rule in rules {
        write_rule(&mut out, rule);
    }
    out
}

fn write_rule(out: &mut String, rule: &Rule) {
    let Rule {
        name,
        allow,
        process,
        unit,
        user,
        container,
        sha256,
        destination,
        trust,
        port,
        transport,
        country,
        operator,
    } = rule;
    let _ = write!(out, "rule {name} allow={allow}");
    let mut selector = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(out, " {name}={value}");
        }
    };
    // A path and a bare name can't be mistaken for each other; where links lead is the host's.
    selector("process", process.as_ref().map(|it| quoted(&it.to_string())));
    selector("unit", unit.as_ref().map(|it| quoted(&it.0)));
    let user = user.as_ref().map(|it| match it {
        UserSelector::Id(id) => id.to_string(),
        UserSelector::Name(name) => quoted(name),
    });
    selector("user", user);
    let container = container.as_ref().map(|it| match it {
        ContainerSelector::None => quoted(""),
        ContainerSelector::Named(name) => quoted(name),
    });
    selector("container", container);
    selector("sha256", sha256.as_ref().map(|hash| hex(hash)));
    let destination = destination.as_ref().map(|it| match it {
        DestinationSelector::Network(network) => network.to_string(),
        DestinationSelector::Domain(name) => quoted(name),
    });
    selector("destination", destination);
    let is_said = *trust == Trust::ServerName;
    selector("trust", is_said.then(|| "server-name".to_owned()));
    selector("port", port.map(|port| port.to_string()));
    selector("transport", transport.map(|transport| transport.0.to_string()));
    selector("country", (!country.is_empty()).then(|| countries(country)));
    let operator = operator.as_ref().map(|it| match it {
        OperatorSelector::Asn(asn) => asn.to_string(),
        OperatorSelector::Name(name) => quoted(name),
    });
    selector("operator", operator);
    out.push('\n');
}

fn countries(codes: &[CountryCode]) -> String {
    codes.iter().map(CountryCode::as_str).collect::<Vec<_>>().join(",")
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
