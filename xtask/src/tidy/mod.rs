//! The rules that no compiler checks: who may use what, heads and lengths, prose that is true.
//!
//! Reads text, not syntax trees: the tree is formatted by rustfmt, and that is enough.

mod circles;
mod edges;
mod imports;
mod map;
mod prose;
mod shape;
mod source;

use std::{fmt, fs, path::Path};

use anyhow::{Context as _, Result, bail};

use imports::Imports;
use source::Source;

use crate::{
    console::{own, say},
    paths,
};

/// Never ours: built, hidden, or data.
const SKIPPED: [&str; 3] = ["target", "corpus", "node_modules"];

/// Where the crates are whose files may not take from each other in a circle.
const CRATES: [&str; 6] = [
    "monitor/src/",
    "monitor/assets/src/",
    "monitor-ebpf/src/",
    "tests/harness/src/",
    "xtask/src/",
    "xtask/embed/src/",
];

/// A file of the tree. `path` is relative to its root, with `/`.
#[derive(Clone, Debug)]
struct File {
    path: String,
    text: String,
}

impl File {
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|it| it == extension)
    }
}

/// Something to put right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

pub fn run() -> Result<()> {
    own("tidy", || {
        let findings = check(&read_tree(&paths::root())?);
        for finding in &findings {
            say(format_args!("      {finding}"));
        }
        if !findings.is_empty() {
            bail!(
                "{} to put right; exceptions are listed with a reason in xtask/src/tidy",
                findings.len()
            );
        }
        Ok(())
    })
}

fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = prose::check(files);
    findings.extend(map::check(files));
    let sources: Vec<(&str, &str, Source)> = files
        .iter()
        .filter(|file| file.is("rs"))
        .map(|file| (file.path.as_str(), file.text.as_str(), Source::read(&file.text)))
        .collect();
    let for_tests: Vec<String> =
        sources.iter().flat_map(|(path, _, source)| test_files(path, source)).collect();
    for (path, text, source) in &sources {
        findings.extend(shape::check(path, text, source));
        let stem = path.strip_suffix(".rs").unwrap_or(path);
        if !for_tests.iter().any(|test| test == stem) {
            findings.extend(edges::check(path, source));
        }
    }
    findings.extend(edges::check_exceptions(&sources));
    for source in CRATES {
        let all = files.iter().map(|file| (file.path.as_str(), file.text.as_str()));
        let imports = Imports::read(source, all, &for_tests);
        findings.extend(circles::check(&imports));
        findings.extend(edges::check_ways(&imports));
    }
    findings.sort();
    findings
}

/// Where the files are that `path` declares for tests only, without their `.rs`.
fn test_files(path: &str, source: &Source) -> Vec<String> {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let own = match file {
        "mod.rs" | "lib.rs" | "main.rs" => folder.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    };
    source.test_files().map(|name| format!("{own}/{name}")).collect()
}

/// Every file below `root`, in order of name.
fn read_tree(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder)
            .with_context(|| format!("cannot read {}", folder.display()))?
            .collect::<Result<Vec<_>, _>>()?;
        for entry in entries {
            let (path, kind) = (entry.path(), entry.file_type()?);
            let name = entry.file_name().to_string_lossy().into_owned();
            let skipped = SKIPPED.contains(&name.as_str()) || name == ".git";
            if kind.is_dir() && !skipped {
                folders.push(path);
            } else if kind.is_file() {
                files.push(read(root, &path)?);
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// What is no text has none here, and may be linked to all the same.
fn read(root: &Path, path: &Path) -> Result<File> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let relative = path.strip_prefix(root)?.to_string_lossy().replace('\\', "/");
    Ok(File { path: relative, text: String::from_utf8(bytes).unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a tree of (path, text) and says what tidy finds in it.
    fn findings(tree: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in tree {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        check(&read_tree(root.path()).unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_tree_that_keeps_the_rules_has_no_findings() {
        let tree = [
            ("README.md", "See [the architecture](ARCHITECTURE.md#map).\n"),
            ("ARCHITECTURE.md", "# map\n`probe` `judge`\n"),
            ("monitor/src/probe/mod.rs", "//! Loads the probes.\nuse aya::Ebpf;\n"),
            ("monitor/src/judge/mod.rs", "//! Pure.\nuse crate::event::Place;\n"),
        ];
        assert_eq!(findings(&tree), [""; 0]);
    }

    #[test]
    fn a_file_for_tests_only_may_touch_anything() {
        let tree = [
            ("monitor/src/judge/mod.rs", "//! Pure.\n#[cfg(test)]\nmod tests;\n"),
            ("monitor/src/judge/tests.rs", "//! Properties.\nuse std::fs;\n"),
            ("monitor/src/ecs.rs", "//! Border.\n#[cfg(test)]\nmod fake;\n"),
            ("monitor/src/ecs/fake.rs", "//! For tests.\nuse sled::Db;\n"),
        ];
        assert_eq!(findings(&tree), [""; 0]);
    }

    #[test]
    fn a_picture_may_be_linked_to() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.png"), [0xff, 0xd8]).unwrap();
        fs::write(root.path().join("README.md"), "![a](a.png) ![b](b.png)\n").unwrap();
        let findings = check(&read_tree(root.path()).unwrap());
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].ends_with("b.png is not there"), "{findings:?}");
    }

    #[test]
    fn what_is_built_is_not_read() {
        let tree = [("target/debug/build/x.rs", "no head"), (".git/hooks/x.rs", "no head")];
        assert_eq!(findings(&tree), [""; 0]);
    }

    #[test]
    fn findings_of_all_kinds_come_in_order_with_their_place() {
        let tree = [
            ("monitor/src/judge/mod.rs", "//! Impure.\n\nuse std::fs;\n"),
            ("monitor/src/judge/bare.rs", "use std::fmt;\n"),
        ];
        let findings = findings(&tree);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].starts_with("monitor/src/judge/bare.rs:1: "), "{findings:?}");
        assert!(findings[1].starts_with("monitor/src/judge/mod.rs:3: "), "{findings:?}");
    }

    #[test]
    fn this_checkout_can_be_read() {
        let files = read_tree(&paths::root()).unwrap();
        assert!(files.iter().any(|file| file.path == "xtask/src/tidy/mod.rs"));
    }
}
