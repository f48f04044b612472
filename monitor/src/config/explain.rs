//! What a configuration means, in sentences for `geofenced check`. Decides nothing.

use super::{
    Basis, Config, Geo, Mode, Policy, RecordMode, Rule, Undetermined, UnknownCountry, programs,
    rule::Asked,
};
use crate::{event::CountryCode, locate::codes};

const LEARNING: &str = "The policy only learns: everything is judged and recorded, and nothing is raised as a violation, whatever follows here. `geofenced suggest` makes a policy of what was seen; policy.mode = \"judge\" ends it.";

/// One sentence or two each, most important first.
pub fn explain(config: &Config) -> Vec<String> {
    let trust_claims = config.policy.trust_claims;
    let mut out = terms(&config.policy, |rule| programs::of_rule(rule, trust_claims));
    out.extend(geo(&config.geo));
    out.extend(naming(config));
    out.push(store(config));
    out.extend(config.sizing.sentence(&config.capture));
    out.extend(
        config.host.name.as_ref().map(|name| format!("Records say that they are of host {name}.")),
    );
    out.push(match config.metrics.listen {
        Some(address) => {
            let page = if config.metrics.page {
                format!(", a page at http://{address}/")
            } else {
                String::new()
            };
            let whom =
                if address.ip().is_loopback() { "" } else { ", for whoever reaches that address" };
            format!("Metrics are at http://{address}/metrics{page}{whom}.")
        }
        None => "There is no metrics endpoint.".into(),
    });
    out
}

/// What a policy says; `of_rule` adds what there is to say of a rule on this host.
pub(super) fn terms(policy: &Policy, of_rule: impl Fn(&Rule) -> Vec<String>) -> Vec<String> {
    // Without a rest: a new field does not compile until it is explained.
    let Policy {
        mode,
        approved_countries: approved,
        basis,
        disputed,
        unknown_country,
        undetermined,
        trust_claims: _,
        local_networks,
        rules,
        text: _,
        sha256: _,
    } = policy;
    let mut out = Vec::new();
    out.extend((*mode == Mode::Learn).then(|| LEARNING.to_owned()));
    out.push(countries(approved));
    out.push(match basis {
        Basis::Either => "Judged is where an address is and which country has its operator in hand: one of them unapproved is enough.".into(),
        Basis::Location => "Judged is where an address is; who operates it does not count.".into(),
        Basis::Operator => "Judged is which country has an address's operator in hand; where it is does not count.".into(),
    });
    out.push(match unknown_country {
        UnknownCountry::Unapproved => "An address without a country is unapproved.".into(),
        UnknownCountry::Unknown => {
            "An address without a country is reported as unknown, which is no violation.".into()
        }
        UnknownCountry::Approved => "An address without a country is approved.".into(),
    });
    if *undetermined == Undetermined::Unapproved {
        out.push("A stream whose name could not be read is unapproved.".into());
    }
    if *basis != Basis::Operator {
        out.push(format!(
            "Where only the second country database objects, a flow is {}, and marked as disputed.",
            disputed.word()
        ));
    }
    if !local_networks.is_empty() {
        let networks: Vec<String> = local_networks.iter().map(ToString::to_string).collect();
        out.push(format!("Also local: {}.", networks.join(", ")));
        for all in local_networks.iter().filter(|network| network.prefix_len() == 0) {
            out.push(format!(
                "Warning: {all} is every address of its family; none of them is ever a violation."
            ));
        }
    }
    let mut reached = true;
    for rule in rules {
        out.push(sentence(rule, reached));
        out.extend(of_rule(rule));
        reached &= !rule.is_catch_all();
    }
    out.extend(programs::of_policy(policy));
    out
}

/// Where data may go, rules aside.
fn countries(approved: &[CountryCode]) -> String {
    if approved.is_empty() {
        return "No country is approved: all that leaves the local networks is unapproved, but for what rules allow. Name countries in policy.approved_countries.".into();
    }
    let others: Vec<CountryCode> =
        codes::assigned().filter(|code| !approved.contains(code)).collect();
    match others.len() {
        0 => "Data may go to every country.".into(),
        // It takes fewer words to say where it may not go.
        few if few < approved.len() => {
            format!("Data may go to every country but {}.", codes::in_words(&others))
        }
        _ => format!("Data may go to {}, and to no other country.", codes::in_words(approved)),
    }
}

/// What is approved, for who reads the log: the countries, and how many rules there are.
pub fn approved(policy: &Policy) -> String {
    let rules = |allow, what: &str| match policy.rules.iter().filter(|it| it.allow == allow).count()
    {
        0 => String::new(),
        1 => format!(" One rule {what}s."),
        count => format!(" {count} rules {what}."),
    };
    countries(&policy.approved_countries) + &rules(true, "allow") + &rules(false, "forbid")
}

fn sentence(rule: &Rule, reached: bool) -> String {
    let verb = if rule.allow { "allows" } else { "forbids" };
    let end = match (reached, rule.is_catch_all()) {
        (false, _) => "; it is never reached: a rule before it matches everything",
        (true, true) => ": it has no selector, so nothing after it counts, the countries neither",
        (true, false) => "",
    };
    format!("Rule {} {verb} {}{end}.", rule.name, selectors(rule))
}

fn selectors(rule: &Rule) -> String {
    let mut parts: Vec<(u8, String)> = rule.selectors().map(|it| it.in_words()).collect();
    if !rule.selectors().any(|it| it.asks_for() == Asked::Flow) {
        parts.push((0, "everything".to_owned()));
    }
    parts.sort();
    let words: Vec<String> = parts.into_iter().map(|(_, words)| words).collect();
    words.join(" ")
}

fn geo(geo: &Geo) -> Vec<String> {
    let mut out = vec![match &geo.database {
        None => "Countries are looked up in our own database.".into(),
        Some(path) => format!("Countries are looked up in {}.", path.display()),
    }];
    out.push(match &geo.operator_database {
        None => "Operators are looked up in our own database.".into(),
        Some(path) => format!("Operators are looked up in {}.", path.display()),
    });
    out.extend(corrections(geo));
    out
}

/// What the configuration knows better than any database.
pub(super) fn corrections(geo: &Geo) -> Vec<String> {
    let mut out = Vec::new();
    for it in &geo.overrides {
        let country = it.country.map(codes::named);
        let operator = it.operator.as_ref().map(|name| format!("run by {name}"));
        let asn = it.asn.map(|asn| format!("AS{asn}"));
        let facts: Vec<String> = [country, operator, asn].into_iter().flatten().collect();
        out.push(format!("{} counts as {}.", it.network, facts.join(", ")));
    }
    for it in &geo.operators {
        let country = it.country.map(|code| format!("in the hands of {}", codes::named(code)));
        let name = it.name.as_ref().map(|name| format!("run by {name}"));
        let anycast = it.is_anycast.map(|is_anycast| {
            let word = if is_anycast { "anycast" } else { "not anycast" };
            word.to_owned()
        });
        let facts: Vec<String> = [name, country, anycast].into_iter().flatten().collect();
        out.push(format!("AS{} counts as {}.", it.asn, facts.join(", ")));
    }
    out
}

fn naming(config: &Config) -> Option<String> {
    match (config.names.enabled, config.names.queries) {
        (true, false) => None,
        (true, true) => Some("Each question to a name server and its answer is stored.".into()),
        (false, true) => Some("Destinations are not named, so names.queries has no effect.".into()),
        (false, false) => Some("Destinations are not named: rules for domains never match.".into()),
    }
}

fn store(config: &Config) -> String {
    let store = &config.store;
    let what = match store.record {
        RecordMode::Unapproved => {
            "Unapproved and unknown flows are stored one by one, the others added up by hour"
        }
        RecordMode::All => "Every flow is stored by itself",
    };
    let seconds = store.retention.as_secs();
    let (count, unit) = match seconds {
        _ if seconds.is_multiple_of(86_400) => (seconds / 86_400, "days"),
        _ if seconds.is_multiple_of(3_600) => (seconds / 3_600, "hours"),
        _ => (seconds, "seconds"),
    };
    let path = store.path.display();
    let sync = store.sync.as_secs();
    let waits = store.shipping.as_ref().map_or_else(String::new, |it| {
        let (told, most) = (it.told.display(), it.keep_bytes >> 20);
        format!(
            " What is not on the ground yet, as {told} tells, stays beyond that, up to {most} MiB."
        )
    });
    format!(
        "{what}, in {path}, for {count} {unit} or up to {} MiB.{waits} A violation is safe from a loss \
         of power within a second, the rest within {sync} s.",
        store.max_bytes >> 20
    )
}
