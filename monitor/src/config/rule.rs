//! A rule, what it asks for, and what can be asked of a policy as such. The only file that knows the kinds
//! of selectors, but for what they match (`judge`). Judges nothing.

use std::{fs, path::Path, sync::Arc};

use super::{Policy, naming::Trust};
use crate::{
    ecs::hex,
    event::{CountryCode, Transport},
    locate::codes,
    select::{
        ContainerSelector, DestinationSelector, OperatorSelector, ProgramSelector, UnitSelector,
        UserSelector,
    },
};

/// Each empty or absent selector matches everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub name: Arc<str>,
    pub allow: bool,
    pub process: Option<ProgramSelector>,
    pub unit: Option<UnitSelector>,
    pub user: Option<UserSelector>,
    pub container: Option<ContainerSelector>,
    /// Of the executed file. One that is not known matches none.
    pub sha256: Option<[u8; 32]>,
    pub destination: Option<DestinationSelector>,
    /// Whose word for a domain is enough.
    pub trust: Trust,
    pub port: Option<u16>,
    pub transport: Option<Transport>,
    pub country: Vec<CountryCode>,
    pub operator: Option<OperatorSelector>,
}

impl Policy {
    /// The paths of programs that rules name, each once: which file each leads to is for
    /// attribution to find out.
    pub fn rule_paths(&self) -> Vec<Arc<str>> {
        let programs = self.rules.iter().filter_map(|rule| rule.process.as_ref());
        let mut paths: Vec<Arc<str>> = programs.filter_map(|it| it.path().cloned()).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    /// Whether a rule asks for the content of a program.
    pub fn wants_hashes(&self) -> bool {
        self.rules.iter().any(|rule| rule.sha256.is_some())
    }

    /// For records of which only the path of the executable is known: follows the symbolic links
    /// that lead from the rules' paths to files, as they are on this host now.
    #[must_use]
    pub fn with_links_followed(mut self) -> Self {
        for rule in &mut self.rules {
            if let Some(ProgramSelector::File { path, leads_to }) = &mut rule.process {
                let found = fs::canonicalize(Path::new(path.as_ref())).ok();
                let found = found.and_then(|it| it.into_os_string().into_string().ok());
                *leads_to = found.filter(|it| **it != **path).map(Into::into);
            }
        }
        self
    }
}

impl Rule {
    /// Each selector that the rule has, in the order of the canonical text.
    pub fn selectors(&self) -> impl Iterator<Item = Selector<'_>> {
        // Each field by its name: one more does not compile until it is here, and then not until every
        // match on a selector has it.
        let Self {
            name: _,
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
        } = self;
        let (allow, trust) = (*allow, *trust);
        let selectors = [
            process.as_ref().map(Selector::Process),
            unit.as_ref().map(Selector::Unit),
            user.as_ref().map(Selector::User),
            container.as_ref().map(Selector::Container),
            sha256.as_ref().map(Selector::Sha256),
            destination.as_ref().map(|wanted| Selector::Destination { wanted, allow, trust }),
            port.map(Selector::Port),
            transport.map(Selector::Transport),
            (!country.is_empty()).then_some(Selector::Country(country)),
            operator.as_ref().map(Selector::Operator),
        ];
        selectors.into_iter().flatten()
    }

    /// Whether the rule can be judged from an address alone, or asks who sends, and how.
    pub fn asks_only_for_address(&self) -> bool {
        self.selectors().all(|it| it.asks_for() == Asked::Address)
    }

    /// Whether the rule matches everything.
    pub fn is_catch_all(&self) -> bool {
        self.selectors().next().is_none()
    }
}

/// One thing that a rule asks for. Whoever matches on it names every kind.
#[derive(Clone, Copy, Debug)]
pub enum Selector<'r> {
    Process(&'r ProgramSelector),
    Unit(&'r UnitSelector),
    User(&'r UserSelector),
    Container(&'r ContainerSelector),
    Sha256(&'r [u8; 32]),
    Destination {
        wanted: &'r DestinationSelector,
        /// Of the rule.
        allow: bool,
        trust: Trust,
    },
    Port(u16),
    Transport(Transport),
    /// Never none.
    Country(&'r [CountryCode]),
    Operator(&'r OperatorSelector),
}

/// What must be known for a selector to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Address,
    Flow,
    Sender,
}

impl Selector<'_> {
    pub fn asks_for(&self) -> Asked {
        match self {
            Self::Destination { .. } | Self::Country(_) | Self::Operator(_) => Asked::Address,
            Self::Port(_) | Self::Transport(_) => Asked::Flow,
            Self::Process(_)
            | Self::Unit(_)
            | Self::User(_)
            | Self::Container(_)
            | Self::Sha256(_) => Asked::Sender,
        }
    }

    /// As it stands in the text that is hashed: ` key=value`.
    pub(super) fn canonical(&self) -> String {
        match self {
            // A path and a bare name can't be mistaken for each other; where links lead is the host's.
            Self::Process(it) => format!(" process={}", quoted(&it.to_string())),
            Self::Unit(it) => format!(" unit={}", quoted(&it.0)),
            Self::User(UserSelector::Id(id)) => format!(" user={id}"),
            Self::User(UserSelector::Name(name)) => format!(" user={}", quoted(name)),
            Self::Container(ContainerSelector::None) => format!(" container={}", quoted("")),
            Self::Container(ContainerSelector::Named(name)) => {
                format!(" container={}", quoted(name))
            }
            Self::Sha256(hash) => format!(" sha256={}", hex(*hash)),
            Self::Destination { wanted, trust, .. } => {
                let wanted = match wanted {
                    DestinationSelector::Network(network) => network.to_string(),
                    DestinationSelector::Domain(name) => quoted(name),
                };
                let trust = match trust {
                    Trust::Resolver => "",
                    Trust::ServerName => " trust=server-name",
                };
                format!(" destination={wanted}{trust}")
            }
            Self::Port(port) => format!(" port={port}"),
            Self::Transport(transport) => format!(" transport={}", transport.0),
            Self::Country(codes) => format!(" country={}", listed(codes)),
            Self::Operator(OperatorSelector::Asn(asn)) => format!(" operator={asn}"),
            Self::Operator(OperatorSelector::Name(name)) => format!(" operator={}", quoted(name)),
        }
    }

    /// In a sentence that says what a rule is for: where in it, and the words.
    pub(super) fn in_words(&self) -> (u8, String) {
        match self {
            Self::Transport(it) => (0, it.to_string()),
            Self::Port(port) => (1, format!("port {port}")),
            Self::Process(it) => (2, format!("from {it}")),
            Self::Sha256(hash) => (3, format!("with sha256 {}", hex(*hash))),
            Self::Unit(it) => (4, format!("of unit {}", it.0)),
            Self::User(UserSelector::Id(id)) => (5, format!("of user {id}")),
            Self::User(UserSelector::Name(name)) => (5, format!("of user {name}")),
            Self::Container(ContainerSelector::None) => {
                (6, "of the host itself, in no container".to_owned())
            }
            Self::Container(ContainerSelector::Named(name)) => (6, format!("in container {name}")),
            Self::Destination { wanted: DestinationSelector::Network(network), .. } => {
                (7, format!("to {network}"))
            }
            Self::Destination { wanted: DestinationSelector::Domain(name), allow, trust } => {
                let by = by_whose_word(*allow, *trust);
                (7, format!("to {name} and its subdomains, {by}"))
            }
            Self::Operator(OperatorSelector::Asn(asn)) => (8, format!("run by AS{asn}")),
            Self::Operator(OperatorSelector::Name(name)) => {
                (8, format!("run by an operator named like \"{name}\""))
            }
            Self::Country(codes) => (9, format!("in {}", codes::in_words(codes))),
        }
    }
}

/// Of a rule for a domain.
fn by_whose_word(allow: bool, trust: Trust) -> &'static str {
    match (allow, trust) {
        (false, _) => "by whatever name is known",
        (true, Trust::Resolver) => "where a trusted resolver told the process that name",
        (true, Trust::ServerName) => {
            "where a trusted resolver told the process that name; the server name that the program itself writes is enough"
        }
    }
}

/// Of the canonical text: no free text can look like another fact.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Of the canonical text.
pub(super) fn listed(codes: &[CountryCode]) -> String {
    codes.iter().map(CountryCode::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{config::Config, judge::rule};

    fn of(path: &str) -> Rule {
        Rule { process: Some(ProgramSelector::parse(path).unwrap()), ..rule("a", true) }
    }

    fn policy(rules: Vec<Rule>) -> Policy {
        Policy { rules, ..Config::builtin().policy }
    }

    #[test]
    fn the_paths_of_rules_are_told_once_and_names_are_none() {
        let named = policy(vec![of("/b"), of("curl"), of("/a"), rule("any", true), of("/b")]);
        assert_eq!(named.rule_paths(), ["/a".into(), "/b".into()]);
        assert!(!named.wants_hashes());
        assert!(policy(vec![Rule { sha256: Some([1; 32]), ..rule("a", false) }]).wants_hashes());
    }

    #[test]
    fn a_rules_link_is_followed_to_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().canonicalize().unwrap();
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        fs::write(path("file"), "").unwrap();
        symlink("file", path("link")).unwrap();
        let names = ["link", "file", "missing"].map(|name| of(&path(name)));
        let followed = policy(names.to_vec()).with_links_followed();
        let found: Vec<Option<Arc<str>>> = followed
            .rules
            .iter()
            .map(|rule| match &rule.process {
                Some(ProgramSelector::File { leads_to, .. }) => leads_to.clone(),
                _ => None,
            })
            .collect();
        assert_eq!(found, [Some(path("file").into()), None, None]);
    }
}
