//! What the programs that rules name are on this host now, in sentences for `geofenced check`. It
//! looks at files; it decides nothing.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use super::{Policy, Rule};
use crate::select::{ContainerSelector, ProgramSelector};

/// What there is to say of a rule besides what it asks for.
pub(super) fn of_rule(rule: &Rule, trust_claims: bool) -> Vec<String> {
    let name = &rule.name;
    let mut out = Vec::new();
    match (&rule.process, rule.allow) {
        (Some(ProgramSelector::File { path, .. }), true) => {
            out.push(allowed(name, path, trust_claims));
        }
        (Some(ProgramSelector::File { path, .. }), false) => out.push(format!(
            "Rule {name} meets whatever may be {path}: the file, also by another path, what has this path in a container or another root, and what only says that it is it."
        )),
        (Some(ProgramSelector::Name(program)), _) => out.push(format!(
            "Rule {name} meets every process that calls itself {program} and every file of this name, wherever it is."
        )),
        (None, _) => {}
    }
    if rule.allow
        && let Some(unit) = rule.unit.as_ref().filter(|unit| unit.0.starts_with("user:"))
    {
        out.push(format!(
            "Warning: rule {name} trusts that user: any program of theirs can be in a unit {}.",
            unit.0
        ));
    }
    match (&rule.container, rule.allow, &rule.unit) {
        (Some(ContainerSelector::Named(_)), true, None) => out.push(format!(
            "Rule {name} does not meet a container within the cgroup of a service or of a user's manager, who could name it as they like, unless the rule names that unit, too."
        )),
        (Some(ContainerSelector::None), true, _) => out.push(format!(
            "Rule {name} meets what is in a unit of the host, or in no cgroup but the root; a cgroup of a kind that is not known may be a container."
        )),
        _ => {}
    }
    out
}

/// What holds for all rules together.
pub(super) fn of_policy(policy: &Policy) -> Vec<String> {
    let mut out = Vec::new();
    let allows_program = |rule: &Rule| rule.allow && rule.process.is_some();
    if policy.rules.iter().any(allows_program) {
        out.push("A rule that allows a program allows what that program is made to send: LD_PRELOAD, ptrace or a plug-in do as its user likes. Selectors for user, unit, container and sha256 narrow it.".into());
    }
    if policy.trust_claims {
        out.push("Warning: policy.trust_claims is true: where nothing is known of the file that was executed, a rule that allows a program believes the path that was passed to execve. Any program of any user or container can pass any path, and end before somebody looks: such rules are open to all of them.".into());
    }
    out
}

fn allowed(rule: &str, path: &str, trust_claims: bool) -> String {
    let never = |why: &str| {
        let which = if trust_claims { "match only claims" } else { "never match" };
        format!("Warning: rule {rule} can {which}: {why}.")
    };
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return never(&format!("there is no file {path} on this host"));
        }
        Err(error) => return never(&format!("{path} can't be looked at ({error})")),
    };
    if !found.is_file() || found.mode() & 0o111 == 0 {
        return never(&format!("{path} is no file that can be executed"));
    }
    if is_script(Path::new(path)) {
        return never(&format!(
            "{path} is a script, and what runs is its interpreter; name that, with user or unit"
        ));
    }
    let link = fs::canonicalize(path).ok().filter(|it| it.as_os_str() != path);
    let link = link.map(|it| format!(", by links {}", it.display())).unwrap_or_default();
    let device = found.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    format!(
        "In rule {rule} {path} is the host's file{link}: now device {major}:{minor}, inode {}. A file that has this path in a container or another root is not meant, nor is what only says that it is it.",
        found.ino()
    )
}

/// The kernel's test: `binfmt_script`.
fn is_script(path: &Path) -> bool {
    let mut first = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok() && first == *b"#!"
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::{config::Config, judge::rule};

    fn said(path: &str, allow: bool) -> String {
        let process = Some(ProgramSelector::parse(path).unwrap());
        of_rule(&Rule { process, ..rule("a", allow) }, false).join("\n")
    }

    #[test]
    fn it_is_said_which_file_a_path_is_and_why_another_can_never_match() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let write = |name: &str, text: &str, mode| {
            fs::write(path(name), text).unwrap();
            fs::set_permissions(path(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        write("program", "\u{7f}ELF", 0o755);
        write("script", "#!/bin/sh\n", 0o755);
        write("data", "", 0o644);
        symlink("program", path("link")).unwrap();
        let inode = fs::metadata(path("program")).unwrap().ino();
        assert!(said(&path("program"), true).contains(&format!("inode {inode}. ")));
        let link = said(&path("link"), true);
        assert!(
            link.contains(&format!("inode {inode}. ")) && link.contains(", by links "),
            "{link}"
        );
        for (name, why) in [
            ("missing", "there is no file"),
            ("script", "is a script"),
            ("data", "is no file that can be executed"),
            ("", "is no file that can be executed"),
        ] {
            let said = said(path(name).trim_end_matches('/'), true);
            assert!(said.starts_with("Warning: rule a can never match"), "{name}: {said}");
            assert!(said.contains(why), "{name}: {said}");
        }
        assert!(said(&path("missing"), false).starts_with("Rule a meets whatever may be /"));
        assert!(said("curl", false).contains("calls itself curl"));
    }

    #[test]
    fn where_claims_are_trusted_a_file_that_is_not_there_can_still_be_claimed() {
        let process = ProgramSelector::parse("/no/such").ok();
        let said = of_rule(&Rule { process, ..rule("a", true) }, true);
        assert!(said[0].starts_with("Warning: rule a can match only claims: there is no file"));
    }

    #[test]
    fn it_is_said_what_trusting_claims_opens_and_what_an_allowed_program_can_be_made_to_do() {
        let mut policy = Config::builtin().policy;
        assert_eq!(of_policy(&policy), Vec::<String>::new());
        policy.trust_claims = true;
        assert!(of_policy(&policy)[0].contains("can pass any path"));
        let process = ProgramSelector::parse("/usr/bin/curl").ok();
        policy.rules = vec![Rule { process, ..rule("a", true) }];
        assert!(of_policy(&policy)[0].contains("LD_PRELOAD, ptrace"));
        policy.rules[0].allow = false;
        assert!(!of_policy(&policy)[0].contains("LD_PRELOAD"));
    }
}
