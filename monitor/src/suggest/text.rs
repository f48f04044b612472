//! The policy as TOML, with what was seen as comments. What others chose stands in quotes, or printable in a comment
//! of one line.

use std::{collections::BTreeSet, fmt::Write as _};

use super::{Found, Group, NAMES_MAX, RULES_MAX, Ruleless, Seen, Suggestion, Whither, who::Who};
use crate::{
    config::Policy, event::CountryCode, printable::printable, table::bytes, when::rfc3339,
};

/// Longest name of a rule.
const NAME_BYTES: usize = 64;
/// They run what somebody else wrote.
const INTERPRETERS: [&str; 9] =
    ["python", "perl", "ruby", "node", "bash", "dash", "sh", "php", "java"];

pub(super) fn policy(
    suggestion: &Suggestion,
    groups: &[(&Group, Found)],
    base: &Policy,
    command: &str,
) -> String {
    let mut out = String::new();
    head(&mut out, suggestion, command);
    out.push_str("[policy]\nmode = \"judge\"\n");
    out.push_str("# Nothing is approved but by the rules below.\napproved_countries = []\n");
    out.push_str("unknown_country = \"unapproved\"\ntrust_claims = false\n");
    if !base.local_networks.is_empty() {
        let networks: Vec<String> =
            base.local_networks.iter().map(|it| quoted(&it.to_string())).collect();
        let _ = writeln!(out, "local_networks = [{}]", networks.join(", "));
    }
    let mut taken = BTreeSet::new();
    let rules = groups.iter().flat_map(|(group, found)| {
        found.ports.iter().map(move |(port, seen)| (group, found, port, seen))
    });
    let mut beyond = 0;
    for (number, (group, found, port, seen)) in rules.enumerate() {
        if number >= RULES_MAX {
            beyond += seen.flows;
            continue;
        }
        let name = free_name(group, *port, &mut taken);
        rule(&mut out, &name, group, found, *port, seen);
    }
    tail(&mut out, suggestion, beyond);
    out
}

fn head(out: &mut String, suggestion: &Suggestion, command: &str) {
    let _ = writeln!(out, "# A policy from what was seen: {}.", comment(command));
    if let Some([first, last]) = suggestion.span {
        let flows = suggestion.flows;
        let _ = writeln!(out, "# {flows} flows, from {} to {}.", rfc3339(first), rfc3339(last));
    }
    out.push_str(
        "#\n# Read it before it is put in force: whatever was sent in that time is allowed by it, an intruder's, too.\n\
         # `geofenced check --config FILE` says what it means, `geofenced replay --policy FILE` what it would judge.\n\n",
    );
}

fn rule(
    out: &mut String,
    name: &str,
    group: &Group,
    found: &Found,
    port: Option<u16>,
    seen: &Seen,
) {
    let _ = write!(
        out,
        "\n# {} flows, {} sent, {} to {}",
        seen.flows,
        bytes(seen.bytes),
        rfc3339(seen.first),
        rfc3339(seen.last)
    );
    if seen.unapproved > 0 {
        let _ = write!(out, "; {} were not approved", seen.unapproved);
    }
    out.push('\n');
    if let Some(operator) = found.operator.as_deref().filter(|_| is_operator(group)) {
        let _ = writeln!(out, "# Operator: {}", comment(operator));
    }
    if !found.names.is_empty() {
        let names: Vec<String> = found.names.iter().map(|name| comment(name)).collect();
        let _ = writeln!(out, "# By name: {}", names.join(", "));
    }
    if is_interpreter(group.who.called()) || !found.scripts.is_empty() {
        out.push_str("# An interpreter: this allows each script that it runs so.\n");
    }
    if !found.scripts.is_empty() {
        let _ = writeln!(out, "# It says that it ran: {}", scripts(found));
    }
    if port.is_none() && found.ports.len() == 1 && has_ports(group) {
        out.push_str("# Too many ports to name, or the other end's choice.\n");
    }
    let _ = writeln!(out, "[[policy.rule]]\nname = {}\nallow = true", quoted(name));
    who(out, &group.who, found);
    match group.to {
        Whither::Operator(asn) => _ = writeln!(out, "operator = \"AS{asn}\""),
        Whither::Address(address) => _ = writeln!(out, "destination = \"{address}\""),
    }
    if group.is_located {
        let codes: Vec<String> =
            seen.countries.iter().map(|code: &CountryCode| quoted(code.as_str())).collect();
        let _ = writeln!(out, "country = [{}]", codes.join(", "));
    }
    if let Some(port) = port {
        let _ = writeln!(out, "port = {port}");
    }
    let _ = writeln!(out, "transport = \"{}\"", group.transport);
}

fn scripts(found: &Found) -> String {
    let told = found.scripts.iter().take(NAMES_MAX).map(|it| comment(it));
    let told: Vec<String> = told.collect();
    let more = if found.scripts.len() > told.len() { ", and more" } else { "" };
    format!("{}{more}", told.join(", "))
}

fn who(out: &mut String, who: &Who, found: &Found) {
    match who {
        Who::Host { path, unit, user } => {
            let _ = writeln!(out, "process = {}", quoted(path));
            if let Some(unit) = unit {
                let _ = writeln!(out, "unit = {}", quoted(unit));
                return;
            }
            let name = found.user.as_deref().map(|it| format!(" # {}", comment(it)));
            let _ = writeln!(out, "user = \"{user}\"{}", name.unwrap_or_default());
        }
        Who::Content { sha256, path, container } => {
            let hash = data_encoding::HEXLOWER.encode(sha256);
            let _ = writeln!(out, "sha256 = \"{hash}\" # {}", comment(path));
            if let Some(container) = container {
                let _ = writeln!(out, "container = {}", quoted(container));
            }
        }
        Who::Container { name } => _ = writeln!(out, "container = {}", quoted(name)),
    }
}

fn tail(out: &mut String, suggestion: &Suggestion, beyond: u64) {
    let mut say = |flows: u64, what: &str| {
        if flows > 0 {
            let _ = writeln!(out, "\n# {flows} flows made no rule: {what}");
        }
    };
    for (why, flows) in &suggestion.ruleless {
        let claims: Vec<String> = suggestion.claims.iter().map(|it| comment(it)).collect();
        let what = match why {
            Ruleless::Claimed => &*format!(
                "of their program is known only what it says of itself ({}), and anybody can say that.",
                claims.join(", ")
            ),
            Ruleless::Nobody => {
                "no process of this host is known to have sent them, and a rule without one would be for all programs."
            }
            Ruleless::Nowhere => "nobody could read where they went.",
            Ruleless::Strange => "they went by way of a hop, or have headers that can't be read.",
            Ruleless::Forbidden => "a rule of the policy of their time forbids them.",
            Ruleless::TooMany => {
                "there were more programs and destinations than are kept apart; ask for less time."
            }
        };
        say(*flows, what);
    }
    say(beyond, "there are more rules than anybody reads; ask for less time.");
}

fn is_operator(group: &Group) -> bool {
    matches!(group.to, Whither::Operator(_))
}

/// TCP, UDP, SCTP.
fn has_ports(group: &Group) -> bool {
    matches!(group.transport.0, 6 | 17 | 132)
}

fn is_interpreter(name: &str) -> bool {
    let is_version = |rest: &str| rest.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    INTERPRETERS.iter().any(|it| name.strip_prefix(it).is_some_and(is_version))
}

/// A string of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Text of others, on the line of a comment.
fn comment(text: &str) -> String {
    printable(text).replace(['\n', '\r'], " ")
}

/// `curl-as64500-443`, and what it takes to be another than those before.
fn free_name(group: &Group, port: Option<u16>, taken: &mut BTreeSet<String>) -> String {
    let to = match group.to {
        Whither::Operator(asn) => format!("as{asn}"),
        Whither::Address(address) => address.to_string(),
    };
    let port = port.map(|port| format!("-{port}")).unwrap_or_default();
    let end = slug(&format!("-{to}{port}"));
    let mut start = slug(group.who.called());
    start.truncate(NAME_BYTES - end.len() - 6);
    let whole = format!("{}{end}", if start.is_empty() { "program" } else { &start });
    let mut name = whole.clone();
    for number in 2.. {
        if taken.insert(name.clone()) {
            break;
        }
        name = format!("{whole}-{number}");
    }
    name
}

/// What may stand in the name of a rule.
fn slug(text: &str) -> String {
    let plain = |c: char| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '-' | '_') => c,
        _ => '-',
    };
    text.chars().map(plain).collect()
}
