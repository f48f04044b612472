//! The table of machines: a row each, with doctor's verdict beside what was seen. Rows of machines that were not
//! booted this time stay as they are in docs/kernels.md.

use anyhow::{Context as _, Result};

use super::{Outcome, checks::Subject, report};

const BEGIN: &str = "<!-- The rows are made by `cargo xtask vm --write`; don't edit. -->\n";
const END: &str = "<!-- End of the rows. -->\n";
const HEAD: [&str; 8] =
    ["machine", "kernel", "page", "BTF", "cgroup", "doctor", "loopback", "all checks"];

/// Cells, of which the first is the machine's name.
pub(super) fn rows(outcomes: &[Outcome]) -> Vec<Vec<String>> {
    outcomes.iter().map(row).collect()
}

fn row(outcome: &Outcome) -> Vec<String> {
    let fact = |name: &str| {
        let lines = outcome.facts.iter();
        lines.filter_map(|line| line.strip_prefix(name)).map(str::trim).next().unwrap_or("-")
    };
    let cgroup = match fact("cgroup ") {
        "v1 no v2 yes" => "v2",
        "v1 yes v2 yes" => "hybrid",
        "v1 yes v2 no" => "v1 only",
        other => other,
    };
    let told = outcome.checks.iter().filter(|it| it.subject == Subject::Egress);
    let told: Vec<bool> = told.map(|it| it.outcome.is_ok()).collect();
    let good = told.iter().filter(|it| **it).count();
    let failed = outcome.failed().count();
    let egress = match told.len() {
        0 => "-".to_owned(),
        all => format!("{good} of {all}"),
    };
    let verdict = match failed {
        0 => format!("{} ok", outcome.checks.len()),
        some => format!("{some} of {} FAIL", outcome.checks.len()),
    };
    let tier = if outcome.tier.is_empty() { "said nothing" } else { &*outcome.tier };
    let cells = [
        &*outcome.machine.to_string(),
        &outcome.release,
        fact("page "),
        fact("btf "),
        cgroup,
        tier,
        &egress,
        &verdict,
    ];
    cells.map(str::to_owned).to_vec()
}

pub(super) fn table(rows: &[Vec<String>]) -> String {
    let head = HEAD.map(str::to_owned).to_vec();
    report::aligned(&[&[head], rows].concat())
}

/// The page with these rows in place of those of the same machines, and new ones at the end.
pub(super) fn page(old: &str, new: &[Vec<String>]) -> Result<String> {
    let (before, rest) =
        old.split_once(BEGIN).context("docs/kernels.md lost the mark of its rows")?;
    let (within, after) =
        rest.split_once(END).context("docs/kernels.md lost the end of its rows")?;
    let mut rows: Vec<Vec<String>> = within.lines().skip(2).map(cells).collect();
    for row in new {
        match rows.iter_mut().find(|it| it.first() == row.first()) {
            Some(place) => place.clone_from(row),
            None => rows.push(row.clone()),
        }
    }
    rows.retain(|row| row.len() == HEAD.len());
    Ok(format!("{before}{BEGIN}{}{END}{after}", table(&rows)))
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::checks::Check;

    fn outcome(machine: &str, tier: &str, result: Result<(), String>) -> Outcome {
        let check = |subject, name: &str, outcome| Check {
            subject,
            name: name.into(),
            outcome,
            limit: None,
        };
        Outcome {
            machine: machine.parse().unwrap(),
            version: "1".into(),
            release: "6.1.0".into(),
            tier: tier.into(),
            facts: ["page 4 kB", "btf no", "cgroup v1 yes v2 yes"].map(str::to_owned).to_vec(),
            checks: vec![
                check(Subject::Egress, "udp", Ok(())),
                check(Subject::Daemon, "x", result),
            ],
        }
    }

    #[test]
    fn a_row_is_a_machine_and_silence_is_a_failure() {
        let good = row(&outcome("6.1+hybrid", "degraded", Ok(())));
        assert_eq!(
            good,
            ["6.1+hybrid", "6.1.0", "4 kB", "no", "hybrid", "degraded", "1 of 1", "2 ok"]
        );
        let silent = row(&outcome("6.1", "", Err("nothing".into())));
        assert_eq!(silent[5..], ["said nothing", "1 of 1", "1 of 2 FAIL"]);
    }

    #[test]
    fn rows_of_other_machines_stay() {
        let empty = format!("# Kernels\n{BEGIN}{END}\nMore.\n");
        let first = page(&empty, &rows(&[outcome("6.1", "full", Ok(()))])).unwrap();
        let second = page(&first, &rows(&[outcome("arm64:6.12", "full", Ok(()))])).unwrap();
        assert!(second.contains("| 6.1 ") && second.contains("| arm64:6.12 "), "{second}");
        assert!(second.starts_with("# Kernels\n") && second.ends_with("\nMore.\n"), "{second}");
        let third = page(&second, &rows(&[outcome("6.1", "none", Ok(()))])).unwrap();
        assert_eq!(third.lines().filter(|it| it.starts_with("| 6.1 ")).count(), 1);
        assert!(third.contains("none"), "{third}");
        assert!(page("# Kernels", &[]).is_err());
    }
}
