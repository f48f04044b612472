//! What is valid and yet can't mean what was meant: selectors that never match, files and names that
//! are not there. Looks at this host, changes nothing, and refuses nothing.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use ipnet::IpNet;

use super::{
    ConfigError,
    raw::{RawCapture, RawInterfaces, RawRule, Sources, Text},
};
use crate::{event::Transport, select::DestinationSelector};

/// Units that have processes, as `attribute::unit` knows them.
const KINDS: [&str; 5] = ["service", "scope", "socket", "mount", "swap"];

/// Something that `check` warns of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Where it stands; `None`: it is no matter of the files.
    pub place: Option<(PathBuf, usize)>,
    /// Dotted, as in errors.
    pub key: &'static str,
    pub problem: String,
}

impl std::fmt::Display for Doubt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.place {
            Some((file, line)) => {
                write!(f, "{}:{line}: {}: {}", file.display(), self.key, self.problem)
            }
            None => write!(f, "{}: {}", self.key, self.problem),
        }
    }
}

/// Of the configuration at `path`, as [`super::Config::load_or_builtin`] finds it, on the host below
/// `root`, which has interfaces of these names.
pub fn doubts(
    path: Option<&Path>,
    root: &Path,
    has_interface: &dyn Fn(&str) -> bool,
) -> Result<Vec<Doubt>, ConfigError> {
    of(&Sources::find(path)?, root, has_interface)
}

pub(super) fn of(
    sources: &Sources,
    root: &Path,
    has_interface: &dyn Fn(&str) -> bool,
) -> Result<Vec<Doubt>, ConfigError> {
    let raw = sources.parse()?;
    let mut look = Look { sources, root, has_interface, found: Vec::new() };
    for rule in &raw.policy.rule {
        look.rule(rule.get_ref());
    }
    look.capture(&raw.capture);
    look.found.push(Doubt {
        place: None,
        key: "policy.local_networks",
        problem: "multicast is local whatever its scope, although routers may pass on what is not \
                  link-local (224.0.1.0 to 238.255.255.255, ff05::/16 to ff0e::/16); a rule with \
                  allow = false and such a destination makes it a violation"
            .into(),
    });
    Ok(look.found)
}

struct Look<'a> {
    sources: &'a Sources,
    root: &'a Path,
    has_interface: &'a dyn Fn(&str) -> bool,
    found: Vec<Doubt>,
}

impl Look<'_> {
    fn doubt(&mut self, key: &'static str, span: &Range<usize>, problem: String) {
        let place = Some(self.sources.file_and_line(span));
        self.found.push(Doubt { place, key, problem });
    }

    fn text(
        &mut self,
        key: &'static str,
        text: Option<&Text>,
        why: impl FnOnce(&str) -> Option<String>,
    ) {
        if let Some(text) = text
            && let Some(problem) = why(text.get_ref())
        {
            self.doubt(key, &text.span(), problem);
        }
    }

    fn rule(&mut self, rule: &RawRule) {
        let root = self.root;
        self.text("policy.rule.process", rule.process.as_ref(), |text| process(text, root));
        self.text("policy.rule.unit", rule.unit.as_ref(), unit);
        self.text("policy.rule.user", rule.user.as_ref(), |text| user(text, root));
        self.text("policy.rule.destination", rule.destination.as_ref(), destination);
        self.text("policy.rule.operator", rule.operator.as_ref(), operator);
        if let (Some(port), Some(transport)) = (&rule.port, &rule.transport)
            && let Some(it) = Transport::parse(transport.get_ref())
            && !has_ports(it)
        {
            let problem = format!("{it} has no ports: with a port the rule never matches");
            self.doubt("policy.rule.port", &port.span(), problem);
        }
    }

    fn capture(&mut self, raw: &RawCapture) {
        if let Some(cgroup) = raw.cgroup.as_ref().filter(|it| !it.get_ref().is_empty())
            && !below(self.root, cgroup.get_ref()).is_dir()
        {
            let problem =
                format!("there is no \"{}\" now: the daemon won't start", cgroup.get_ref());
            self.doubt("capture.cgroup", &cgroup.span(), problem);
        }
        let Some(interfaces) = &raw.interfaces else { return };
        let RawInterfaces::List(names) = interfaces.get_ref() else { return };
        for name in names.iter().filter(|it| !it.is_empty()) {
            if !(self.has_interface)(name) {
                let problem = format!(
                    "no interface is called {name} now; once one is, what comes by it comes from outside"
                );
                self.doubt("capture.interfaces", &interfaces.span(), problem);
            }
        }
    }
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn has_ports(transport: Transport) -> bool {
    /// tcp, udp, dccp, sctp, udplite.
    const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];
    WITH_PORTS.contains(&transport.0)
}

fn has_wildcard(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn process(text: &str, root: &Path) -> Option<String> {
    if !text.contains('/') {
        let problem = "there are no wildcards: only a process named so would match";
        return has_wildcard(text).then(|| format!("\"{text}\": {problem}"));
    }
    if !text.starts_with('/') {
        return Some(format!(
            "\"{text}\" never matches: write the path from / on, or the name without a /"
        ));
    }
    let is_plain = text.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    if !is_plain {
        return Some(format!(
            "\"{text}\" never matches: the kernel's paths have no empty parts, `.` or `..`"
        ));
    }
    match fs::metadata(below(root, text)) {
        Ok(it) if it.is_dir() => {
            Some(format!("\"{text}\" never matches: it is a directory, not a program"))
        }
        Ok(_) => None,
        Err(_) if has_wildcard(text) => {
            Some(format!("\"{text}\": there are no wildcards, and there is no such file"))
        }
        // What is below a directory that may not be entered can't be known.
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => None,
        Err(_) => Some(format!(
            "there is no file \"{text}\" now; only a program at that path matches, if need be one of a \
             container"
        )),
    }
}

fn unit(text: &str) -> Option<String> {
    if has_wildcard(text) {
        return Some(format!("\"{text}\" never matches: there are no wildcards"));
    }
    if text.rsplit_once('.').is_some_and(|(_, kind)| kind == "slice") {
        return Some(format!(
            "\"{text}\" never matches: a slice groups units, and a process is of the unit in it; name \
             that"
        ));
    }
    let stem = text.rsplit_once('.').map_or(text, |(stem, _)| stem);
    if stem.ends_with('@') {
        return Some(format!(
            "\"{text}\" never matches: it is a template; name an instance, such as {stem}NAME.service"
        ));
    }
    match text.rsplit_once('.') {
        Some((_, kind)) if !KINDS.contains(&kind) => {
            Some(format!("\"{text}\" never matches: processes are of a .{}", KINDS.join(", .")))
        }
        _ => None,
    }
}

/// A network of IPv4 addresses written as IPv6.
fn destination(text: &str) -> Option<String> {
    let Ok(DestinationSelector::Network(IpNet::V6(network))) = DestinationSelector::parse(text)
    else {
        return None;
    };
    network.network().to_ipv4_mapped()?;
    Some(format!("\"{text}\" never matches: such an address is always IPv4 here; write it so"))
}

fn operator(text: &str) -> Option<String> {
    let digits = text.trim();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| {
        format!("\"{text}\" means an operator with {digits} in its name; write \"AS{digits}\" for the AS")
    })
}

/// The daemon knows names by this file alone.
fn user(text: &str, root: &Path) -> Option<String> {
    if text.parse::<u32>().is_ok() {
        return None;
    }
    let file = fs::read(below(root, "/etc/passwd")).ok()?;
    let file = String::from_utf8_lossy(&file);
    let is_there = file.lines().any(|line| line.split(':').next() == Some(text));
    (!is_there).then(|| {
        format!(
            "there is no user \"{text}\" in /etc/passwd, the only place where names are looked up; a \
             number always matches"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host with one user, one program and one cgroup.
    fn host() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for directory in ["etc", "usr/sbin", "sys/fs/cgroup/one"] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        fs::write(root.path().join("etc/passwd"), "ann:x:1000:1000::/home/ann:/bin/sh\n").unwrap();
        fs::write(root.path().join("usr/sbin/chronyd"), "").unwrap();
        root
    }

    fn found(text: &str) -> Vec<String> {
        let root = host();
        let mut sources = Sources::default();
        sources.push(Path::new("0.toml"), text.to_owned());
        let doubts = of(&sources, root.path(), &|name| name == "lan0").unwrap();
        doubts.iter().filter(|it| it.place.is_some()).map(ToString::to_string).collect()
    }

    fn of_rule(selector: &str) -> Vec<String> {
        found(&format!("[[policy.rule]]\nname = \"r\"\nallow = true\n{selector}\n"))
    }

    #[test]
    fn what_can_never_match_is_told_with_its_place() {
        for (selector, key, part) in [
            ("process = \"sbin/chronyd\"", "process", "from / on"),
            ("process = \"./chronyd\"", "process", "from / on"),
            ("process = \"/usr/bin/python*\"", "process", "wildcards"),
            ("process = \"python*\"", "process", "wildcards"),
            ("process = \"/usr//sbin/chronyd\"", "process", "empty parts"),
            ("process = \"/usr/sbin/../sbin/chronyd\"", "process", "empty parts"),
            ("process = \"/usr/sbin\"", "process", "directory"),
            ("process = \"/usr/sbin/chrony\"", "process", "no file"),
            ("unit = \"foo@.service\"", "unit", "template"),
            ("unit = \"foo@\"", "unit", "template"),
            ("unit = \"system.slice\"", "unit", "slice"),
            ("unit = \"chrony*\"", "unit", "wildcards"),
            ("unit = \"logrotate.timer\"", "unit", ".service"),
            ("operator = \"15169\"", "operator", "\"AS15169\""),
            ("user = \"bob\"", "user", "no user \"bob\""),
            ("destination = \"::ffff:192.0.2.0/120\"", "destination", "IPv4"),
            ("transport = \"icmp\"\nport = 53", "port", "no ports"),
        ] {
            let told = of_rule(selector);
            let line = if key == "port" { 5 } else { 4 };
            let place = format!("0.toml:{line}: policy.rule.{key}: ");
            assert!(told.len() == 1 && told[0].starts_with(&place), "{selector}: {told:?}");
            assert!(told[0].contains(part), "{selector}: {told:?}");
        }
    }

    #[test]
    fn what_can_match_is_not_doubted() {
        for selector in [
            "process = \"/usr/sbin/chronyd\"",
            "process = \"chronyd\"",
            "unit = \"chrony\"",
            "unit = \"foo@1.service\"",
            "unit = \"session-3.scope\"",
            "operator = \"AS15169\"",
            "operator = \"1&1 Versatel\"",
            "user = \"ann\"",
            "user = \"4711\"",
            "destination = \"2001:db8::/32\"",
            "destination = \"example.org\"",
            "transport = \"udp\"\nport = 53",
        ] {
            assert_eq!(of_rule(selector), [""; 0], "{selector}");
        }
        let text = "[capture]\ninterfaces = [\"lan0\"]\ncgroup = \"/sys/fs/cgroup/one\"\n";
        assert_eq!(found(text), [""; 0]);
    }

    #[test]
    fn a_missing_cgroup_or_interface_is_told() {
        let told = found(
            "[capture]\ninterfaces = [\"lan0\", \"wann\"]\ncgroup = \"/sys/fs/cgroup/two\"\n",
        );
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("0.toml:3: capture.cgroup: "), "{told:?}");
        assert!(told[1].starts_with("0.toml:2: capture.interfaces: ") && told[1].contains("wann"));
    }

    #[test]
    fn multicast_that_routers_pass_on_is_told_to_be_local() {
        let root = host();
        let told = of(&Sources::default(), root.path(), &|_| true).unwrap();
        assert_eq!(told.len(), 1);
        assert!(told[0].place.is_none() && told[0].problem.contains("multicast"));
    }
}
