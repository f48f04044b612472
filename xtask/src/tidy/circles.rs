//! Files that take from each other in a circle: none of them can be read, moved or changed alone.

use std::collections::{BTreeMap, BTreeSet};

use super::{Finding, imports::Imports};

/// Each circle is one finding, at the first of its files, with what ties it.
pub fn check(imports: &Imports) -> Vec<Finding> {
    let finding = |circle: BTreeSet<&str>| {
        let ties: Vec<String> =
            circle.iter().flat_map(|file| ties(imports, &circle, file)).collect();
        let what =
            format!("a circle of {} files:\n        {}", circle.len(), ties.join("\n        "));
        Finding { path: circle.first().copied().unwrap_or_default().to_owned(), line: 1, what }
    };
    circles(imports).into_iter().map(finding).collect()
}

/// `a.rs takes X, Y of b.rs`, for each that is in the circle too.
fn ties(imports: &Imports, circle: &BTreeSet<&str>, file: &str) -> Vec<String> {
    let taken = imports.taken.get(file).into_iter().flatten();
    let within = taken.filter(|(from, _)| circle.contains(from.as_str()));
    let words = within.map(|(from, names)| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        format!("{file} takes {} of {from}", names.join(", "))
    });
    words.collect()
}

/// Strongly connected groups of more than one file. A file reaches another if it takes from it,
/// or from one that reaches it.
fn circles(imports: &Imports) -> Vec<BTreeSet<&str>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        imports.taken.keys().map(|file| (file.as_str(), reach(imports, file))).collect();
    let mut circles: Vec<BTreeSet<&str>> = Vec::new();
    for (file, reaches) in &reached {
        if circles.iter().any(|circle| circle.contains(file)) {
            continue;
        }
        let back = |other: &&&str| reached.get(**other).is_some_and(|it| it.contains(file));
        let circle: BTreeSet<&str> = reaches.iter().filter(back).copied().collect();
        if circle.len() > 1 {
            circles.push(circle);
        }
    }
    circles
}

fn reach<'i>(imports: &'i Imports, file: &str) -> BTreeSet<&'i str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = vec![file];
    while let Some(file) = open.pop() {
        for from in imports.taken.get(file).into_iter().flatten().map(|(from, _)| from.as_str()) {
            if reached.insert(from) {
                open.push(from);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let imports = Imports::read("monitor/src/", files.iter().copied(), &[]);
        check(&imports).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn files_that_take_from_each_other_are_a_circle_however_the_import_is_written() {
        for text in [
            "use crate::commands::run;",
            "use crate::{commands::{run, Args}};",
            "use super::commands;",
            "fn f() { crate::commands::run() }",
            "fn f() { assert!(crate::commands::run()) }",
            "struct S(crate::commands::Args);",
            "mod inner { use super::super::commands::run; }",
        ] {
            let files = [
                ("monitor/src/cli.rs", text),
                ("monitor/src/commands/mod.rs", "pub struct Args; use crate::cli::Global;"),
            ];
            let found = found(&files);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert!(found[0].contains("cli.rs takes "), "{text}: {found:?}");
        }
    }

    #[test]
    fn a_circle_may_go_by_way_of_others_and_by_what_is_handed_on() {
        let files = [
            ("monitor/src/a.rs", "use crate::store::Index;"),
            ("monitor/src/store/mod.rs", "mod index; mod query; pub use index::Index;"),
            ("monitor/src/store/index.rs", "use super::query::Query; pub struct Index;"),
            ("monitor/src/store/query.rs", "use crate::a::A;"),
        ];
        let found = found(&files);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].contains("a circle of 3 files"), "{found:?}");
        assert!(!found[0].contains("store/mod.rs"), "{found:?}");
    }

    #[test]
    fn one_way_is_no_circle_and_neither_is_a_module_with_what_it_holds_nor_a_test() {
        let files = [
            ("monitor/src/cli.rs", "pub struct Global;"),
            ("monitor/src/commands/mod.rs", "mod run; use run::start; pub struct Failure;"),
            ("monitor/src/commands/run.rs", "use super::Failure; use crate::cli::Global;"),
            ("monitor/src/judge.rs", "#[cfg(test)]\nmod tests { use crate::locate::Place; }"),
            ("monitor/src/locate.rs", "use crate::judge::judge;"),
        ];
        assert_eq!(found(&files), [""; 0]);
    }
}
