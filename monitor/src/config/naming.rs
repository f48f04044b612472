//! `[names]`, and what rules say of names: settings and the words for them. Judges nothing.

use std::net::IpAddr;

use super::{
    ConfigError,
    check::Check,
    raw::{RawNames, RawRule},
    values,
};
use crate::select::DestinationSelector;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamesConfig {
    /// Destinations are named by DNS and server names.
    pub enabled: bool,
    /// Each question to a resolver, and its answer, is a record of its own.
    pub queries: bool,
    /// Whose answers may satisfy a rule that allows. Sorted; empty: those of `/etc/resolv.conf` and
    /// loopback.
    pub resolvers: Vec<IpAddr>,
}

impl Default for NamesConfig {
    fn default() -> Self {
        Self { enabled: true, queries: false, resolvers: Vec::new() }
    }
}

/// What to make of a stream whose name could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undetermined {
    Ignore,
    Unapproved,
}

/// Whose word is enough for a rule that allows a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// That of a trusted resolver, to the process itself.
    Resolver,
    /// Also that of the program, which may write any name it likes.
    ServerName,
}

impl Undetermined {
    pub(super) const WORDS: [(&str, Self); 2] =
        [("ignore", Self::Ignore), ("unapproved", Self::Unapproved)];
}

impl Trust {
    pub(super) const WORDS: [(&str, Self); 2] =
        [("resolver", Self::Resolver), ("server-name", Self::ServerName)];
}

impl Check<'_> {
    pub(super) fn names(&self, raw: &RawNames) -> Result<NamesConfig, ConfigError> {
        let defaults = NamesConfig::default();
        let resolver = |text: &str| {
            let address: Result<IpAddr, _> = text.parse();
            let problem = |_| format!("\"{text}\" is no address; write one such as 192.0.2.53");
            address.map(|it| it.to_canonical()).map_err(problem)
        };
        let resolvers = raw.resolvers.as_deref();
        let resolvers = resolvers.map(|texts| self.set("names.resolvers", texts, resolver));
        Ok(NamesConfig {
            enabled: raw.enabled.unwrap_or(defaults.enabled),
            queries: raw.queries.unwrap_or(defaults.queries),
            resolvers: resolvers.transpose()?.unwrap_or(defaults.resolvers),
        })
    }

    pub(super) fn undetermined(&self, raw: &RawNames) -> Result<Option<Undetermined>, ConfigError> {
        self.optional("names.undetermined", raw.undetermined.as_ref(), |text| {
            values::choice(text, &Undetermined::WORDS)
        })
    }

    /// `destination`: the rule's own.
    pub(super) fn trust(
        &self,
        raw: &RawRule,
        destination: Option<&DestinationSelector>,
    ) -> Result<Trust, ConfigError> {
        let key = "policy.rule.trust";
        let trust =
            self.optional(key, raw.trust.as_ref(), |text| values::choice(text, &Trust::WORDS))?;
        let is_of_name = raw.allow && matches!(destination, Some(DestinationSelector::Domain(_)));
        if let (Some(text), false) = (&raw.trust, is_of_name) {
            let problem =
                "says whose word is enough for a domain that a rule allows; this one allows none";
            return Err(self.wrong(key, &text.span(), problem));
        }
        Ok(trust.unwrap_or(Trust::Resolver))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, explain, raw::Sources};

    fn read(text: &str) -> Result<Config, String> {
        let mut sources = Sources::default();
        sources.push(Path::new("config.toml"), text.to_owned());
        Config::of(&sources).map_err(|error| error.to_string())
    }

    const RULE: &str = "[[policy.rule]]\nname = \"a\"\nallow = true\n";

    #[test]
    fn resolvers_are_addresses_each_once_and_what_is_undetermined_is_a_choice() {
        let config = read(
            "[names]\nresolvers = [\"192.0.2.53\", \"::ffff:192.0.2.53\", \"2001:db8::53\"]\n\
             undetermined = \"unapproved\"\n",
        )
        .unwrap();
        let expected: Vec<IpAddr> =
            ["192.0.2.53", "2001:db8::53"].map(|it| it.parse().unwrap()).into();
        assert_eq!(config.names.resolvers, expected);
        assert_eq!(config.policy.undetermined, Undetermined::Unapproved);
        assert_ne!(config.policy.sha256, read("").unwrap().policy.sha256);
        let error = read("[names]\nresolvers = [\"dns.example\"]\n").unwrap_err();
        assert!(error.contains("names.resolvers"), "{error}");
        let error = read("[names]\nundetermined = \"approved\"\n").unwrap_err();
        assert!(error.contains("names.undetermined"), "{error}");
    }

    #[test]
    fn a_rule_trusts_a_server_name_only_where_it_says_so() {
        let rule = |more: &str| read(&format!("{RULE}{more}"));
        let trust = |more: &str| rule(more).unwrap().policy.rules[0].trust;
        assert_eq!(trust("destination = \"example.org\"\n"), Trust::Resolver);
        let claimed = "destination = \"example.org\"\ntrust = \"server-name\"\n";
        assert_eq!(trust(claimed), Trust::ServerName);
        let hash = |more: &str| rule(more).unwrap().policy.sha256;
        assert_ne!(hash(claimed), hash("destination = \"example.org\"\n"));
        let error = rule("destination = \"192.0.2.0/24\"\ntrust = \"server-name\"\n");
        assert!(error.unwrap_err().contains("policy.rule.trust"));
        let said = explain(&rule(claimed).unwrap()).join("\n");
        assert!(
            said.contains("the server name that the program itself writes is enough"),
            "{said}"
        );
    }
}
