//! Adds up what test binaries say of themselves: libtest's `test result:` lines, and of each test
//! that failed what its panic said.

use std::fmt;

/// Lines and characters that are kept of one panic, and lines of all of them.
const WHY_LINES: usize = 8;
const LINE_CHARS: usize = 300;
const FAILURE_LINES: usize = 50;

/// Tests of all binaries together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
    failures: Vec<Failure>,
    section: Section,
}

/// A test that failed, and the beginning of what its panic said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Failure {
    test: String,
    why: Vec<String>,
}

/// Which part of a test binary's output is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Section {
    #[default]
    Other,
    /// What a failed test printed, up to its panic.
    Printed,
    Panic,
}

impl Tally {
    /// Reads a line of a test binary's output; lines that are no result change nothing.
    pub fn read(&mut self, line: &str) {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else {
            self.read_failure(line);
            return;
        };
        self.section = Section::Other;
        // "ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.01s"
        let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split("; ") {
            let Some((number, word)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match word {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    fn read_failure(&mut self, line: &str) {
        let heading = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        if let Some(test) = heading {
            self.failures.push(Failure { test: test.to_owned(), why: Vec::new() });
            self.section = Section::Printed;
            return;
        }
        if line == "failures:" {
            self.section = Section::Other;
        }
        let Some(failure) = self.failures.last_mut() else { return };
        match self.section {
            Section::Printed if line.starts_with("thread '") && line.contains(" panicked at ") => {
                let place = line.split_once(" panicked at ").map_or(line, |(_, place)| place);
                failure.why = vec![format!("at {place}")];
                self.section = Section::Panic;
            }
            // libtest's own word on a test that returned an error.
            Section::Printed if line.starts_with("Error: ") => failure.why = vec![shortened(line)],
            Section::Panic if is_end_of_panic(line) => self.section = Section::Printed,
            Section::Panic if failure.why.len() < WHY_LINES => failure.why.push(shortened(line)),
            _ => {}
        }
    }

    /// Each test that failed and why, in so few lines that they are all still there where only the end
    /// of a log is kept.
    pub fn failures(&self) -> String {
        let each = WHY_LINES.min((FAILURE_LINES / self.failures.len().max(1)).saturating_sub(1));
        let mut lines = Vec::new();
        for Failure { test, why } in self.failures.iter().take(FAILURE_LINES) {
            lines.push(format!("FAIL  {test}\n"));
            lines.extend(why.iter().take(each).map(|line| format!("      {line}\n")));
        }
        let left = self.failures.len().saturating_sub(FAILURE_LINES);
        if left > 0 {
            lines.push(format!("      and {left} more\n"));
        }
        lines.concat()
    }

    /// Whether tests ran, and none failed or was left out.
    pub fn is_good(&self) -> bool {
        self.passed > 0 && self.failed == 0 && self.ignored == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, ", {} ignored", self.ignored)?;
        }
        Ok(())
    }
}

fn is_end_of_panic(line: &str) -> bool {
    line == "stack backtrace:" || line.starts_with("note: ")
}

fn shortened(line: &str) -> String {
    line.chars().take(LINE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        for line in lines {
            tally.read(line);
        }
        tally
    }

    #[test]
    fn the_results_of_all_binaries_are_summed() {
        let sum = tally(&[
            "running 2 tests",
            "test a ... ok",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out; \
             finished in 0.01s",
            "test result: FAILED. 4 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; \
             finished in 1.52s",
        ]);
        assert_eq!((sum.passed, sum.failed, sum.ignored), (16, 2, 1));
        assert_eq!(sum.to_string(), "16 passed, 2 failed, 1 ignored");
    }

    #[test]
    fn only_results_count_whatever_a_test_prints() {
        assert_eq!(tally(&["7 passed; 3 failed", "result: ok. 9 passed", ""]), Tally::default());
    }

    #[test]
    fn no_tests_at_all_is_not_good_and_neither_is_an_ignored_one() {
        assert!(!Tally::default().is_good());
        let of = |passed, failed, ignored| Tally { passed, failed, ignored, ..Tally::default() };
        assert!(!of(5, 1, 0).is_good());
        assert!(!of(5, 0, 1).is_good());
        assert!(of(5, 0, 0).is_good());
    }

    #[test]
    fn each_test_that_failed_is_named_with_what_its_panic_said() {
        let tally = tally(&[
            "failures:",
            "",
            "---- a stdout ----",
            "printed before",
            "",
            "thread 'a' (123) panicked at tests/a.rs:7:5:",
            "assertion failed",
            "  left: 1",
            "note: run with `RUST_BACKTRACE=1`",
            "printed after",
            "",
            "---- b stdout ----",
            "Error: \"no\"",
            "",
            "failures:",
            "    a",
            "    b",
            "test result: FAILED. 0 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; \
             finished in 1.52s",
        ]);
        let told = "FAIL  a\n      at tests/a.rs:7:5:\n      assertion failed\n        left: 1\n\
                    FAIL  b\n      Error: \"no\"\n";
        assert_eq!(tally.failures(), told);
    }

    #[test]
    fn however_many_failed_what_is_said_of_them_is_short() {
        let mut lines = Vec::new();
        for number in 0..40 {
            lines.push(format!("---- test{number} stdout ----"));
            lines.push("thread 't' (1) panicked at a.rs:1:1:".to_owned());
            lines.extend((0..100).map(|line| format!("{line}{}", "x".repeat(1_000))));
        }
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let told = tally(&lines).failures();
        assert!(told.lines().count() <= FAILURE_LINES, "{told}");
        assert!((0..40).all(|number| told.contains(&format!("FAIL  test{number}\n"))));
    }
}
