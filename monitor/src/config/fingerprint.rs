//! The policy's SHA-256: of its meaning, not of how or in which file it is written. Part of the
//! evidence, so the form below is versioned and never changes quietly.

use std::fmt::Write as _;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::{Policy, Trust, Undetermined};
use crate::{
    event::CountryCode,
    select::{DestinationSelector, OperatorSelector, UserSelector},
};

/// Ignores the `sha256` that `policy` carries.
pub(super) fn of(policy: &Policy) -> [u8; 32] {
    Sha256::digest(canonical(policy)).into()
}

/// A line for each fact; free text as a JSON string, so that no text can look like another line.
fn canonical(policy: &Policy) -> String {
    let mut out = String::from("geofenced policy 1\n");
    // Writing to a String cannot fail.
    let _ = writeln!(out, "approved {}", countries(&policy.approved_countries));
    let _ = writeln!(out, "basis {}", policy.basis.word());
    let _ = writeln!(out, "disputed {}", policy.disputed.word());
    let _ = writeln!(out, "unknown {}", policy.unknown_country.word());
    if policy.undetermined == Undetermined::Unapproved {
        out.push_str("undetermined unapproved\n");
    }
    for network in IpNet::aggregate(&policy.local_networks) {
        let _ = writeln!(out, "local {network}");
    }
    for rule in &policy.rules {
        let _ = write!(out, "rule {} allow={}", rule.name, rule.allow);
        let mut selector = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = write!(out, " {name}={value}");
            }
        };
        selector("process", rule.process.as_ref().map(|it| quoted(&it.0)));
        selector("unit", rule.unit.as_ref().map(|it| quoted(&it.0)));
        selector(
            "user",
            rule.user.as_ref().map(|it| match it {
                UserSelector::Id(id) => id.to_string(),
                UserSelector::Name(name) => quoted(name),
            }),
        );
        selector(
            "destination",
            rule.destination.as_ref().map(|it| match it {
                DestinationSelector::Network(network) => network.to_string(),
                DestinationSelector::Domain(name) => quoted(name),
            }),
        );
        let is_said = rule.trust == Trust::ServerName;
        selector("trust", is_said.then(|| "server-name".to_owned()));
        selector("port", rule.port.map(|port| port.to_string()));
        selector("transport", rule.transport.map(|transport| transport.0.to_string()));
        selector("country", (!rule.country.is_empty()).then(|| countries(&rule.country)));
        selector(
            "operator",
            rule.operator.as_ref().map(|it| match it {
                OperatorSelector::Asn(asn) => asn.to_string(),
                OperatorSelector::Name(name) => quoted(name),
            }),
        );
        out.push('\n');
    }
    out
}

fn countries(codes: &[CountryCode]) -> String {
    codes.iter().map(CountryCode::as_str).collect::<Vec<_>>().join(",")
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
