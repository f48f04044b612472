//! What can be asked of a policy and its rules as such. Judges nothing.

use std::{fs, path::Path, sync::Arc};

use super::{Policy, Rule};
use crate::select::ProgramSelector;

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
    /// Whether the rule can be judged from an address alone, or asks who sends, and how.
    pub fn asks_only_for_address(&self) -> bool {
        // Each field by its name: one more must be thought of here.
        let Self {
            name: _,
            allow: _,
            process,
            unit,
            user,
            container,
            sha256,
            destination: _,
            trust: _,
            port,
            transport,
            country: _,
            operator: _,
        } = self;
        process.is_none()
            && unit.is_none()
            && user.is_none()
            && container.is_none()
            && sha256.is_none()
            && port.is_none()
            && transport.is_none()
    }

    /// Whether the rule matches everything.
    pub fn is_catch_all(&self) -> bool {
        let Self { destination, country, operator, .. } = self;
        self.asks_only_for_address()
            && destination.is_none()
            && country.is_empty()
            && operator.is_none()
    }
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
