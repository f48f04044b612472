//! ARCHITECTURE.md names every module: a place that is on no map is found by nobody.

use std::collections::BTreeSet;

use super::{File, Finding};

const MAP: &str = "ARCHITECTURE.md";
/// Where each file or folder is a module of its own on the map.
const PLACES: [&str; 4] =
    ["monitor/src/", "monitor-ebpf/src/", "monitor-ebpf/src/programs/", "tests/"];
/// Wiring without a job.
const UNNAMED: [&str; 3] = ["lib", "main", "mod"];

pub fn check(files: &[File]) -> Vec<Finding> {
    let Some(map) = files.iter().find(|file| file.path == MAP) else { return vec![] };
    let known: BTreeSet<&str> = words(&map.text).collect();
    let mut missing = BTreeSet::new();
    for file in files.iter().filter(|file| file.is("rs")) {
        for place in PLACES {
            let Some(inner) = file.path.strip_prefix(place) else { continue };
            let first = inner.split('/').next().unwrap_or(inner);
            let name = first.strip_suffix(".rs").unwrap_or(first);
            if !UNNAMED.contains(&name) && !known.contains(name) {
                missing.insert(format!("{place}{name}"));
            }
        }
    }
    let finding = |module: String| Finding {
        path: MAP.to_owned(),
        line: 1,
        what: format!("says nothing of {module}"),
    };
    missing.into_iter().map(finding).collect()
}

/// The words of what stands between backticks: `monitor/src/{event,filter}.rs` are five.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.flat_map(|it| it.split(|c: char| !(c.is_alphanumeric() || c == '_')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(map: &str, modules: &[&str]) -> Vec<String> {
        let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
        let modules = modules.iter().map(|path| file(path, "//! A module.\n"));
        let files: Vec<File> = modules.chain([file(MAP, map)]).collect();
        check(&files).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_module_that_the_map_does_not_name_is_found_once() {
        let modules = ["monitor/src/judge/mod.rs", "monitor/src/judge/rules.rs"];
        assert_eq!(
            found("| `monitor/src/locate/` |", &modules),
            ["says nothing of monitor/src/judge"]
        );
    }

    #[test]
    fn it_is_named_in_whatever_group_and_not_by_prose() {
        let modules = ["monitor/src/filter.rs", "monitor-ebpf/src/programs/mod.rs"];
        assert_eq!(found("`monitor/src/{event,filter}.rs`, `programs`", &modules), [""; 0]);
        assert_eq!(found("a filter, `programs`", &modules).len(), 1);
    }
}
