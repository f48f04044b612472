//! The policy's SHA-256: of its meaning, not of how or in which file it is written. Part of the
//! evidence, so the form below is versioned and never changes quietly.

use std::fmt::Write as _;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::{Policy, Rule, Trust, Undetermined};
use crate::{
    ecs::hex,
    event::CountryCode,
    select::{ContainerSelector, DestinationSelector, OperatorSelector, UserSelector},
};

/// Ignores the `sha256` that `policy` carries.
pub(super) fn of(policy: &Policy) -> [u8; 32] {
    Sha256::digest(canonical(policy)).into()
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
