//! What an investigator asks, each answered by one command over a recorded ledger: the questions of
//! `tests/fixtures/questions.md` and the incident of `docs/investigate.md` are answered as it stands there, and the
//! numbers are those of the plan by which the ledger was made.
//!
//! `GEOFENCED_REWRITE=1 cargo test -p monitor --test daemon questions` writes the answers of now into both pages: read
//! what changed before it is committed. `cargo run -p monitor --example incident -- DIR` makes the ledger anew.

#[path = "../generator/incident/cast.rs"]
mod cast;
#[path = "questions/page.rs"]
mod page;
#[path = "../generator/incident/plan.rs"]
mod plan;
#[path = "../generator/incident/source.rs"]
mod source;
#[path = "questions/sums.rs"]
mod sums;
#[path = "questions/typed.rs"]
mod typed;
#[path = "../generator/incident/write.rs"]
mod write;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use tempfile::TempDir;

use crate::{
    export::{paths, said},
    report::text,
    rig::geofenced,
};
use typed::Typed;

const QUESTIONS_LEAST: usize = 40;
const REWRITE: &str = "GEOFENCED_REWRITE";

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A copy of the recorded ledger, and of what it was judged by: commands are typed beside it.
struct Case {
    directory: TempDir,
}

impl Case {
    fn recorded() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let fixture = repository("tests/fixtures/incident");
        for path in paths(&fixture) {
            let copy = directory.path().join("incident").join(&path);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(fixture.join(path), copy).unwrap();
        }
        for name in ["incident.toml", "incident.before.toml"] {
            let from = repository("tests/fixtures").join(name);
            fs::copy(from, directory.path().join(name)).unwrap();
        }
        Self { directory }
    }

    /// As it is typed on the ground station, but of this ledger.
    fn run(&self, words: &[&str]) -> Output {
        let mut command = geofenced(words);
        command.current_dir(self.directory.path()).env("GEOFENCED_CONFIG", "incident.toml");
        command.args(["--store", "incident"]).output().unwrap()
    }

    fn answer(&self, command: &str) -> String {
        let (command, is_said) = match command.strip_suffix(typed::ONLY_SAID) {
            Some(command) => (command, true),
            None => (command, false),
        };
        let words = typed::words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        assert_eq!(words[0], "geofenced", "{command}");
        let output = self.run(&words[1..]);
        let stream = if is_said { &output.stderr } else { &output.stdout };
        let mut answer = text(stream).to_owned();
        match output.status.code() {
            Some(0) => {}
            Some(code @ (3 | 4)) => answer.extend(["[exit code ", &code.to_string(), "]\n"]),
            _ => panic!("{command}: {}", said(&output)),
        }
        answer
    }
}

/// Runs what is typed in the page; how many commands that were, and where another answer stands there.
fn ask(page: &Path) -> (usize, String) {
    let case = Case::recorded();
    let found = fs::read_to_string(page).unwrap();
    let typed = typed::of(&found);
    let answers: Vec<String> = typed.iter().map(|it| case.answer(&it.command)).collect();
    if std::env::var_os(REWRITE).is_some() {
        fs::write(page, page::rewritten(&found, &answers)).unwrap();
        return (typed.len(), String::new());
    }
    let differs = |(Typed { line, command, answer }, now): (&Typed, &String)| {
        let difference = page::difference(answer, now)?;
        Some(format!("{}:{line}: $ {command}\n{difference}\n", page.display()))
    };
    (typed.len(), typed.iter().zip(&answers).filter_map(differs).collect())
}

#[test]
fn each_question_of_an_investigation_is_answered_by_one_command() {
    let (questions, differences) = ask(&repository("tests/fixtures/questions.md"));
    assert!(questions >= QUESTIONS_LEAST, "{questions}");
    assert!(differences.is_empty(), "answered otherwise:\n{differences}");
}

#[test]
fn the_incident_that_is_told_step_by_step_is_what_the_commands_print() {
    let (steps, differences) = ask(&repository("docs/investigate.md"));
    assert!(steps >= 10, "{steps}");
    assert!(differences.is_empty(), "printed otherwise:\n{differences}");
}

#[test]
fn an_answer_of_a_copied_store_ends_where_the_store_ends_unless_another_end_is_said() {
    let case = Case::recorded();
    let since = ["--since", "2026-11-16T00:00:00Z", "-o", "json"];
    let to = |words: &[&str]| {
        let answer = case.run(&[&["coverage"], &since[..], words].concat());
        let last = text(&answer.stdout).lines().last().unwrap().to_owned();
        let total: serde_json::Value = serde_json::from_str(&last).unwrap();
        total["geofenced"]["coverage"]["to"].as_str().unwrap().to_owned()
    };
    assert_eq!(to(&[]), to(&[]), "it ends now");
    assert!(to(&["--until", "2026-11-25T00:00:00Z"]).starts_with("2026-11-25"));
    let summary = case.run(&["summary", "--by", "verdict", "--since", "2026-11-16T00:00:00Z"]);
    assert!(said(&summary).contains("the store ends at 2026-11-"), "{}", said(&summary));
}

#[test]
fn a_proof_that_is_called_after_its_record_shows_that_one_in_the_form_asked_for() {
    let case = Case::recorded();
    let events = case.run(&["events", "--limit", "1", "-o", "json"]);
    let event: serde_json::Value = serde_json::from_slice(&events.stdout).unwrap();
    let id = event["event"]["id"].as_str().unwrap();
    assert!(case.run(&["prove", id]).status.success());
    let proof = format!("{id}.tlog-proof");
    let verify = |form| {
        let words = ["verify", &proof, "--key", "incident/key.pub", "-o", form];
        let output = geofenced(&words).current_dir(case.directory.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains("of which this one was asked for"), "{}", said(&output));
        text(&output.stdout).to_owned()
    };
    let json = verify("json");
    assert!(json.lines().count() == 1 && json.contains(id), "{json}");
    assert_eq!(verify("csv").lines().count(), 2);
    assert!(verify("table").contains(" VERDICT "));
}

/// Keys differ, so bytes do; what it holds does not.
#[test]
fn the_recorded_ledger_is_what_its_generator_writes() {
    let recorded = Case::recorded();
    let written = tempfile::tempdir().unwrap();
    let root = written.path().join("incident");
    write::write(&root, write::planned());
    for words in [
        &["events", "-o", "json"][..],
        &["events", "--lookups", "-o", "json"],
        &["mark", "list", "-o", "json"],
        &["coverage", "-o", "json", "--since", "2026-11-16", "--until", "2026-11-20"],
    ] {
        let now = geofenced(words).arg("--store").arg(&root).output().unwrap();
        let then = recorded.run(words);
        assert!(!now.stdout.is_empty(), "{words:?}: {}", said(&now));
        for (then, now) in text(&then.stdout).lines().zip(text(&now.stdout).lines()) {
            assert_eq!(then, now, "{words:?}");
        }
        assert_eq!(then.stdout.len(), now.stdout.len(), "{words:?}");
    }
    let inside = paths(&repository("tests/fixtures/incident"));
    assert!(!inside.iter().any(|it| it.ends_with("evidence/key")), "{inside:?}");
}
