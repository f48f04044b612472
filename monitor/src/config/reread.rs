//! A policy read back from the text that its hash is of: what the ledger keeps of it, long after the
//! configuration said something else. The inverse of `fingerprint`, and held to it: what does not come
//! out as the same text was not understood. Reads no file.

use std::sync::Arc;

use super::{
    Basis, Config, Disputed, Geo, Mode, OperatorFact, Override, Policy, Rule, Trust, Undetermined,
    UnknownCountry, explain, fingerprint,
};
use crate::{
    event::{CountryCode, Transport},
    select::{
        ContainerSelector, DestinationSelector, OperatorSelector, ProgramSelector, UnitSelector,
        UserSelector, parse_sha256,
    },
};

/// A policy, and what the configuration said of networks and operators.
#[derive(Clone, Debug)]
pub struct Reread {
    pub policy: Policy,
    geo: Geo,
}

impl Reread {
    /// `None`: a text of another version, or one that is not understood to the last letter.
    pub fn from_text(text: &str) -> Option<Self> {
        let Config { policy, geo, .. } = Config::builtin();
        let mut read = Self { policy, geo };
        for line in text.lines().skip(1) {
            let (word, rest) = line.split_once(' ')?;
            read.line(word, rest)?;
        }
        let Self { mut policy, geo } = read;
        fingerprint::seal(&mut policy, &geo);
        (*policy.text == *text).then_some(Self { policy, geo })
    }

    /// What it means, in the words of `geofenced check`.
    pub fn sentences(&self) -> Vec<String> {
        let mut out = explain::terms(&self.policy, |_| Vec::new());
        out.extend(explain::corrections(&self.geo));
        out
    }

    fn line(&mut self, word: &str, rest: &str) -> Option<()> {
        let Self { policy, geo } = self;
        match word {
            "mode" => policy.mode = known(&Mode::WORDS, rest)?,
            "approved" => policy.approved_countries = codes(rest)?,
            "basis" => policy.basis = known(&Basis::WORDS, rest)?,
            "disputed" => policy.disputed = known(&Disputed::WORDS, rest)?,
            "unknown" => policy.unknown_country = known(&UnknownCountry::WORDS, rest)?,
            "undetermined" => policy.undetermined = known(&Undetermined::WORDS, rest)?,
            "trust-claims" => policy.trust_claims = rest.parse().ok()?,
            "local" => policy.local_networks.push(rest.parse().ok()?),
            "rule" => policy.rules.push(rule(rest)?),
            "override" => geo.overrides.push(network(rest)?),
            "operator" => geo.operators.push(operator(rest)?),
            _ => return None,
        }
        Some(())
    }
}

fn known<T: Copy>(words: &[(&str, T)], text: &str) -> Option<T> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value)
}

fn codes(text: &str) -> Option<Vec<CountryCode>> {
    text.split(',').filter(|code| !code.is_empty()).map(CountryCode::new).collect()
}

/// A `key=value`; a text stands in quotes.
struct Pair<'t> {
    key: &'t str,
    value: String,
    is_text: bool,
}

fn pairs(mut rest: &str) -> Option<Vec<Pair<'_>>> {
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let (key, value) = rest.strip_prefix(' ')?.split_once('=')?;
        let is_text = value.starts_with('"');
        let (text, length) = if is_text {
            let mut texts = serde_json::Deserializer::from_str(value).into_iter::<String>();
            let text = texts.next()?.ok()?;
            (text, texts.byte_offset())
        } else {
            let length = value.find(' ').unwrap_or(value.len());
            (value[..length].to_owned(), length)
        };
        rest = &value[length..];
        pairs.push(Pair { key, value: text, is_text });
    }
    Some(pairs)
}

/// What stands before the first pair, and the pairs.
fn parts(text: &str) -> Option<(&str, Vec<Pair<'_>>)> {
    let end = text.find(' ').unwrap_or(text.len());
    Some((&text[..end], pairs(&text[end..])?))
}

fn rule(text: &str) -> Option<Rule> {
    let (name, pairs) = parts(text)?;
    let mut rule = Rule {
        name: name.into(),
        allow: false,
        process: None,
        unit: None,
        user: None,
        container: None,
        sha256: None,
        destination: None,
        trust: Trust::Resolver,
        port: None,
        transport: None,
        country: Vec::new(),
        operator: None,
    };
    for Pair { key, value, is_text } in pairs {
        match key {
            "allow" => rule.allow = value.parse().ok()?,
            "process" => rule.process = Some(ProgramSelector::parse(&value).ok()?),
            "unit" => rule.unit = Some(UnitSelector(value.into())),
            "user" if is_text => rule.user = Some(UserSelector::Name(value.into())),
            "user" => rule.user = Some(UserSelector::Id(value.parse().ok()?)),
            "container" if value.is_empty() => rule.container = Some(ContainerSelector::None),
            "container" => rule.container = Some(ContainerSelector::Named(value.into())),
            "sha256" => rule.sha256 = Some(parse_sha256(&value).ok()?),
            "destination" if is_text => {
                rule.destination = Some(DestinationSelector::Domain(value.into()));
            }
            "destination" => {
                rule.destination = Some(DestinationSelector::Network(value.parse().ok()?));
            }
            "trust" if value == "server-name" => rule.trust = Trust::ServerName,
            "port" => rule.port = Some(value.parse().ok()?),
            "transport" => rule.transport = Some(Transport(value.parse().ok()?)),
            "country" => rule.country = codes(&value)?,
            "operator" if is_text => rule.operator = Some(OperatorSelector::Name(value.into())),
            "operator" => rule.operator = Some(OperatorSelector::Asn(value.parse().ok()?)),
            _ => return None,
        }
    }
    Some(rule)
}

fn network(text: &str) -> Option<Override> {
    let (network, pairs) = parts(text)?;
    let network = network.parse().ok()?;
    let mut found = Override { network, country: None, operator: None, asn: None };
    for Pair { key, value, .. } in pairs {
        match key {
            "country" => found.country = Some(CountryCode::new(&value)?),
            "operator" => found.operator = Some(Arc::from(value)),
            "asn" => found.asn = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    Some(found)
}

fn operator(text: &str) -> Option<OperatorFact> {
    let (asn, pairs) = parts(text)?;
    let asn = asn.parse().ok()?;
    let mut found = OperatorFact { asn, country: None, name: None, is_anycast: None };
    for Pair { key, value, .. } in pairs {
        match key {
            "country" => found.country = Some(CountryCode::new(&value)?),
            "operator" => found.name = Some(Arc::from(value)),
            "anycast" => found.is_anycast = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn load(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, text).unwrap();
        Config::load(&path).unwrap()
    }

    const EVERYTHING: &str = r#"
[policy]
approved_countries = ["US", "DE"]
basis = "location"
disputed = "approved"
unknown_country = "unknown"
trust_claims = true
local_networks = ["198.51.100.0/24", "2001:db8::/32"]
[names]
undetermined = "unapproved"
[[policy.rule]]
name = "ntp"
allow = true
process = "/usr/sbin/chronyd"
container = ""
port = 123
transport = "udp"
[[policy.rule]]
name = "no-telemetry"
allow = false
process = "telemetry = \"x\" y"
unit = "uplink"
user = "7"
destination = "telemetry.example"
country = ["CN", "RU"]
operator = "cloud = \" allow=true"
[[policy.rule]]
name = "mirror"
allow = true
user = "ana"
container = "uplink"
destination = "203.0.113.0/24"
operator = "AS64500"
sha256 = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
[[policy.rule]]
name = "name"
allow = true
destination = "good.example"
trust = "server-name"
[[geo.override]]
network = "192.0.2.0/24"
country = "CN"
operator = "Example \"Cloud\""
asn = 64500
[[geo.operator]]
asn = 64501
country = "CN"
name = "Cloud country=US"
anycast = true
"#;

    #[test]
    fn a_policy_is_read_back_from_its_text_as_it_was() {
        for text in ["", "[policy]\napproved_countries = [\"US\"]", EVERYTHING] {
            let config = load(text);
            let read = Reread::from_text(&config.policy.text).unwrap();
            assert_eq!(read.policy, config.policy, "{}", config.policy.text);
            assert_eq!(read.geo.overrides, config.geo.overrides);
            assert_eq!(read.geo.operators, config.geo.operators);
        }
    }

    #[test]
    fn it_means_what_check_says_of_it() {
        let config = load(EVERYTHING);
        let said = explain(&config);
        let read = Reread::from_text(&config.policy.text).unwrap().sentences();
        assert!(read.len() > 10, "{read:?}");
        for sentence in read {
            assert!(said.contains(&sentence), "{sentence}");
        }
    }

    #[test]
    fn what_is_not_understood_to_the_last_letter_is_no_policy() {
        let text = load(EVERYTHING).policy.text.to_string();
        assert!(Reread::from_text(&text).is_some());
        for (from, to) in [
            ("geofenced policy 2", "geofenced policy 3"),
            ("approved DE,US", "approved DE,,US"),
            ("basis location", "basis elsewhere"),
            ("port=123", "port=123 days=7"),
            ("trust-claims true", "trust-claims true\nsomething new"),
            ("port=123", "port=0123"),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            assert!(Reread::from_text(&text.replace(from, to)).is_none(), "{to}");
        }
        assert!(Reread::from_text(Path::new("").to_str().unwrap()).is_none());
    }
}
