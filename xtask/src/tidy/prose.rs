//! What documents say must be there: linked files, the commands of xtask they name, and the tests that
//! the page of threats rests on.
//! And what no file may say: where packages are downloaded from is the machine's business.

use clap::CommandFactory as _;

use super::{File, Finding};

/// Hosts of package registries, in halves so that this file does not name them.
const REGISTRIES: [(&str, &str); 5] = [
    ("crates", ".io"),
    ("deb.debian", ".org"),
    ("pypi", ".org"),
    ("registry.npmjs", ".org"),
    ("proxy.golang", ".org"),
];

/// Each of its lines rests on tests.
const THREATS: &str = "docs/threats.md";

pub fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files {
        // Written by cargo, which names its registry.
        if file.path.ends_with("Cargo.lock") {
            continue;
        }
        for (index, line) in file.text.lines().enumerate() {
            let mut found = |what| {
                findings.push(Finding { path: file.path.clone(), line: index + 1, what });
            };
            for (name, domain) in REGISTRIES {
                if line.contains(&format!("{name}{domain}")) {
                    found(format!("names the registry host {name}{domain}"));
                }
            }
            if file.is("md") {
                dead_links(files, &file.path, line)
                    .for_each(|link| found(format!("{link} is not there")));
                unknown_commands(line)
                    .for_each(|name| found(format!("there is no cargo xtask {name}")));
            }
            if file.path == THREATS {
                tests_named(line)
                    .filter(|name| !files.iter().any(|it| is_test(it, name)))
                    .for_each(|name| found(format!("there is no test {name}")));
            }
        }
    }
    findings
}

/// Relative links of a line of Markdown that lead to no file or folder of the tree.
fn dead_links<'a>(files: &[File], from: &str, line: &'a str) -> impl Iterator<Item = &'a str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next()).filter(move |link| {
        let path = link.split('#').next().unwrap_or(link);
        if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
            return false;
        }
        let target = resolve(from, path);
        let folder = format!("{target}/");
        !files.iter().any(|file| file.path == target || file.path.starts_with(&folder))
    })
}

/// A link's target relative to the root of the tree.
fn resolve(from: &str, link: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// Names after `cargo xtask` that this program does not know.
fn unknown_commands(line: &str) -> impl Iterator<Item = String> {
    let known: Vec<String> =
        crate::Cli::command().get_subcommands().map(|c| c.get_name().to_owned()).collect();
    line.split("cargo xtask ")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or("").to_owned())
        .filter(move |name| !name.is_empty() && !known.contains(name))
        .collect::<Vec<_>>()
        .into_iter()
}

/// Sentences in code quotes, which are the names of tests.
fn tests_named(line: &str) -> impl Iterator<Item = &str> {
    let quoted = line.split('`').skip(1).step_by(2);
    let is_sentence = |it: &&str| {
        it.matches('_').count() > 2
            && !it.starts_with("geofenced_")
            && it.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    quoted.filter(is_sentence)
}

fn is_test(file: &File, name: &str) -> bool {
    file.is("rs") && file.text.contains(&format!("fn {name}("))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File { path: path.into(), text: text.into() }
    }

    fn findings(files: &[File]) -> Vec<String> {
        check(files).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_link_to_a_file_that_is_not_there_is_found() {
        let tree = [
            file(
                "README.md",
                "[a](docs/kernels.md#x) [b](docs) [c](https://example.org/x) [d](#e)",
            ),
            file("docs/kernels.md", "[up](../README.md)\n[gone](gone.md)"),
        ];
        assert_eq!(findings(&tree), ["docs/kernels.md:2: gone.md is not there"]);
    }

    #[test]
    fn a_command_that_xtask_does_not_have_is_found() {
        let tree = [file("README.md", "`cargo xtask demo`, then\n`cargo xtask dance --quick`")];
        assert_eq!(findings(&tree), ["README.md:2: there is no cargo xtask dance"]);
    }

    #[test]
    fn a_test_that_the_page_of_threats_names_and_nobody_wrote_is_found() {
        let tree = [
            file(
                "docs/threats.md",
                "| `a_test_that_is` and `a_test_that_is_not`, `geofenced_a_b_c` |",
            ),
            file("docs/other.md", "`no_test_at_all`"),
            file("tests/a.rs", "fn a_test_that_is() {}"),
        ];
        assert_eq!(findings(&tree), ["docs/threats.md:1: there is no test a_test_that_is_not"]);
    }

    #[test]
    fn a_registry_host_is_found_anywhere_but_in_the_lock_file() {
        let host = format!("https://{}{}", "crates", ".io");
        assert_eq!(findings(&[file("deny.toml", &host)]).len(), 1);
        assert_eq!(findings(&[file("Cargo.lock", &host)]), [""; 0]);
    }
}
