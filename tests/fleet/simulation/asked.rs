//! What engines answer of a lake, by their own readers, held against the truth.

use std::{collections::BTreeMap, path::Path, process::Command};

use super::{
    Fleet,
    answers::{self, Rows},
};

/// Where the engines are, and the questions.
#[derive(Clone, Debug)]
pub struct Engines {
    /// Packages of Python.
    pub packages: std::path::PathBuf,
    /// The tree with `deploy/` and `tests/`.
    pub repository: std::path::PathBuf,
}

const MISSING: &str = "`cargo xtask test` installs it into target/tools/python";

/// Rows by question, and how many seconds each took.
pub type Answers = BTreeMap<String, (Rows, f64)>;

impl Engines {
    pub fn ask(&self, engine: &str, lake: &Path, sql: Option<&str>) -> Answers {
        let mut python = Command::new("python3");
        python.arg(self.repository.join("tests/fleet/ask.py")).args([engine]).arg(lake);
        python.arg(self.repository.join("deploy")).args(sql).env("PYTHONPATH", &self.packages);
        let output = python.output().expect(MISSING);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error} ({MISSING})");
        eprint!("{error}");
        let answers: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(&output.stdout).expect("JSON");
        let answer = |it: &serde_json::Value| {
            let rows = serde_json::from_value(it["rows"].clone()).expect("rows");
            (rows, it["seconds"].as_f64().unwrap_or_default())
        };
        answers.iter().map(|(name, it)| (name.clone(), answer(it))).collect()
    }

    /// One answer of DuckDB.
    pub fn rows(&self, lake: &Path, sql: &str) -> Rows {
        self.ask("duckdb", lake, Some(sql)).remove("sql").expect("an answer").0
    }

    /// Holds all twenty against the truth; gives the seconds of each.
    pub fn compare(&self, engine: &str, fleet: &Fleet) -> Vec<(String, f64)> {
        let expected = answers::expected(fleet);
        let told = self.ask(engine, &fleet.lake(), None);
        assert_eq!(told.len(), 20);
        let mut seconds = Vec::new();
        for (name, (mut rows, took)) in told {
            // Rows of stations whose truth is not that simple are others' to tell.
            if matches!(name.as_str(), "15-watched" | "16-not-watched") {
                rows.retain(|row| {
                    fleet.fates.get(&row[0]).is_some_and(|it| answers::is_simple(*it))
                });
            }
            let wanted = expected.get(name.as_str()).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(&rows, wanted, "{engine}: {name}");
            seconds.push((name, took));
        }
        seconds
    }
}
