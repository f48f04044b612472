//! The policy as one text, and its SHA-256: of its meaning, not of how or in which file it is written, with
//! what the configuration says of networks and operators, since verdicts rest on that as well. Part of
//! the evidence, so the form below is versioned and never changes quietly.

use std::{fmt::Write as _, sync::Arc};

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::{
    Geo, Mode, OperatorFact, Override, Policy, Rule, Undetermined,
    rule::{listed, quoted},
};
use crate::event::CountryCode;

/// Puts text and hash into the policy; the databases of `geo` have hashes of their own.
pub(super) fn seal(policy: &mut Policy, geo: &Geo) {
    let mut text = canonical(policy);
    write_geo(&mut text, geo);
    policy.sha256 = Sha256::digest(&text).into();
    policy.text = text.into();
}

fn write_geo(out: &mut String, geo: &Geo) {
    let Geo { overrides, operators, .. } = geo;
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
/// The policy is taken apart without a rest: a new field does not compile until it is here. So are rules, in
/// `rule`.
fn canonical(policy: &Policy) -> String {
    let Policy {
        mode,
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
    if *mode == Mode::Learn {
        out.push_str("mode learn\n");
    }
    let _ = writeln!(out, "approved {}", listed(approved_countries));
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
    let _ = write!(out, "rule {} allow={}", rule.name, rule.allow);
    rule.selectors().for_each(|selector| out.push_str(&selector.canonical()));
    out.push('\n');
}
