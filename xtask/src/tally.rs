//! Adds up what test binaries say of themselves: libtest's `test result:` lines.

use std::fmt;

/// Tests of all binaries together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub ignored: u64,
}

impl Tally {
    /// Reads a line of a test binary's output; lines that are no result change nothing.
    pub fn read(&mut self, line: &str) {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
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

    /// Whether tests ran, and none failed or was left out.
    pub fn is_good(self) -> bool {
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
        assert_eq!(sum, Tally { passed: 16, failed: 2, ignored: 1 });
        assert_eq!(sum.to_string(), "16 passed, 2 failed, 1 ignored");
    }

    #[test]
    fn only_results_count_whatever_a_test_prints() {
        assert_eq!(tally(&["7 passed; 3 failed", "result: ok. 9 passed", ""]), Tally::default());
    }

    #[test]
    fn no_tests_at_all_is_not_good_and_neither_is_an_ignored_one() {
        assert!(!Tally::default().is_good());
        assert!(!Tally { passed: 5, failed: 1, ignored: 0 }.is_good());
        assert!(!Tally { passed: 5, failed: 0, ignored: 1 }.is_good());
        assert!(Tally { passed: 5, failed: 0, ignored: 0 }.is_good());
    }
}
