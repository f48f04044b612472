//! What a run says at its end, read from its output; and the table of all runs. Pure.

use std::fmt::Write as _;

/// Of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) target: String,
    pub(super) executions: u64,
    pub(super) per_second: u64,
    /// Edges of the code that were reached; 0 where nobody counts them.
    pub(super) edges: u64,
    pub(super) is_good: bool,
}

impl Outcome {
    /// `stat::number_of_executed_units: 12`, `stat::average_exec_per_sec: 3`, `cov: 45`.
    pub(super) fn of_libfuzzer(target: &str, text: &str, is_good: bool) -> Self {
        let stat = |name: &str| {
            let value = text.lines().rev().find_map(|line| line.strip_prefix(name));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
        };
        let edges = text.lines().rev().find_map(|line| {
            let rest = line.split_once(" cov: ")?.1;
            rest.split(' ').next()?.parse().ok()
        });
        Self {
            target: target.to_owned(),
            executions: stat("stat::number_of_executed_units:"),
            per_second: stat("stat::average_exec_per_sec:"),
            edges: edges.unwrap_or_default(),
            // A run that executed nothing proved nothing.
            is_good: is_good && stat("stat::number_of_executed_units:") > 0,
        }
    }

    /// `packets: 12 runs of programs, 3/s, ...`.
    pub(super) fn of_packets(target: &str, text: &str, is_good: bool) -> Self {
        let line = text.lines().find_map(|line| line.strip_prefix("packets: ")).unwrap_or_default();
        let mut words = line.split([' ', '/']).filter_map(|word| word.parse().ok());
        let (executions, per_second) =
            (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let is_good = is_good && executions > 0;
        Self { target: target.to_owned(), executions, per_second, edges: 0, is_good }
    }
}

/// As docs/fuzzing.md has it.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut text = "| target | executions | a second | edges reached | findings |\n".to_owned();
    text += "|---|---|---|---|---|\n";
    for Outcome { target, executions, per_second, edges, is_good } in outcomes {
        let edges = if *edges == 0 { "-".to_owned() } else { grouped(*edges) };
        let findings = if *is_good { "none" } else { "**some**" };
        let (executions, per_second) = (grouped(*executions), grouped(*per_second));
        let _ =
            writeln!(text, "| `{target}` | {executions} | {per_second} | {edges} | {findings} |");
    }
    text
}

/// With commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "\
#2\tINITED cov: 40 ft: 41 corp: 1/1b exec/s: 0 rss: 40Mb
#1234567\tDONE   cov: 45 ft: 97 corp: 12/3Kb lim: 4096 exec/s: 20576 rss: 90Mb
Done 1234567 runs in 61 second(s)
stat::number_of_executed_units: 1234567
stat::average_exec_per_sec:     20238
stat::new_units_added:          11
";

    #[test]
    fn a_run_is_told_by_its_final_statistics() {
        let outcome = Outcome::of_libfuzzer("config", SAID, true);
        assert_eq!(
            (outcome.executions, outcome.per_second, outcome.edges),
            (1_234_567, 20_238, 45)
        );
        let table = table(&[outcome]);
        assert!(table.ends_with("| `config` | 1,234,567 | 20,238 | 45 | none |\n"), "{table}");
    }

    #[test]
    fn a_run_that_ran_nothing_is_no_good_one() {
        assert!(!Outcome::of_libfuzzer("config", "error: no such target", true).is_good);
        assert!(!Outcome::of_packets("packets", "running 1 test", true).is_good);
        assert!(!Outcome::of_libfuzzer("config", SAID, false).is_good);
    }

    #[test]
    fn runs_of_the_probes_are_told_by_their_one_line() {
        let said =
            "running 1 test\npackets: 20000 runs of programs, 81366/s, Tally { runs: 20000 }\n";
        let outcome = Outcome::of_packets("packets", said, true);
        assert_eq!((outcome.executions, outcome.per_second), (20_000, 81_366));
        assert!(table(&[outcome]).ends_with("| `packets` | 20,000 | 81,366 | - | none |\n"));
    }
}
