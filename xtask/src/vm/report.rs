//! The result as a Markdown table: for people on the terminal, and as the end of docs/kernels.md.

use super::{
    Outcome,
    checks::{Check, Limit, Subject},
};

/// What stands before it in the page is written by people and stays.
const MARK: &str = "<!-- From here on made by `cargo xtask vm --write`; don't edit. -->\n";
const HEAD: &str = "\
## In an emulator
Debian's cloud kernels, each booted in a plain emulator (x86-64, no hardware virtualization) with
nothing but the daemon, the generator of egress and the test of every way out. The guest mounts no
tracefs: the daemon provides it for itself.

A probe is `ok` when it is loaded and attached. `_named` and `_whole` are the programs that stand for a
probe where a kernel has the helpers for them; none was refused for another reason. A kind of egress is `ok` when it passes what it passes on
the host ([coverage](coverage.md)): it leaves by interfaces of network namespaces, and is told once, with
its origin, pid, executable, destination, verdict, phase and exactly the IP bytes that a receiver in
another namespace counted. Those called `loopback-` go to addresses of the guest itself, and are `local`.
Unix sockets and netlink are no egress, and `ok` when nothing is told of them. `no process`: all of it is
told but who sent, for which the kernel lets nobody ask; of what goes around the queues the bytes are in
`geofenced_unattributed_bytes_total`, and in no record. `absent`: there is no such way out of it.

";

/// `old` with its end made anew.
pub(super) fn page(old: &str, outcomes: &[&Outcome], table: &str) -> String {
    let written = old.split(MARK).next().unwrap_or_default().trim_end();
    let mut page = format!("{written}\n\n{MARK}{HEAD}{table}");
    let problems: Vec<String> = outcomes
        .iter()
        .flat_map(|outcome| {
            outcome.failed().map(|(check, problem)| {
                format!("- {}, {}: {problem}\n", outcome.version, check.name)
            })
        })
        .collect();
    let absent = outcomes.iter().flat_map(|outcome| {
        outcome.checks.iter().filter_map(move |check| match check.limit {
            Some(Limit::Absent(why)) => {
                Some(format!("- {}, {}: {why}\n", outcome.release, check.name))
            }
            _ => None,
        })
    });
    let absent: String = absent.collect();
    if !absent.is_empty() {
        page += "\nAbsent:\n\n";
        page += &absent;
    }
    if !problems.is_empty() {
        page += "\nNot ok:\n\n";
        page += &problems.concat();
    }
    page
}

/// A row a check, a column a kernel.
pub(super) fn table(outcomes: &[&Outcome]) -> String {
    let mut rows: Vec<(Subject, &str)> = Vec::new();
    for check in outcomes.iter().flat_map(|outcome| &outcome.checks) {
        if !rows.contains(&(check.subject, &check.name)) {
            rows.push((check.subject, &check.name));
        }
    }
    let mut text = String::new();
    for subject in [Subject::Probe, Subject::Egress, Subject::Daemon] {
        let mut table = vec![heading(subject, outcomes)];
        for (_, name) in rows.iter().filter(|row| row.0 == subject) {
            let mut row = vec![(*name).to_owned()];
            row.extend(outcomes.iter().map(|outcome| word(outcome, subject, name).to_owned()));
            table.push(row);
        }
        text += &aligned(&table);
        text.push('\n');
    }
    text.pop();
    text
}

fn heading(subject: Subject, outcomes: &[&Outcome]) -> Vec<String> {
    let word = match subject {
        Subject::Probe => "Probe",
        Subject::Egress => "Egress",
        Subject::Daemon => "Daemon",
    };
    let mut heading = vec![word.to_owned()];
    heading.extend(outcomes.iter().map(|outcome| {
        if outcome.release.is_empty() { outcome.version.clone() } else { outcome.release.clone() }
    }));
    heading
}

fn word(outcome: &Outcome, subject: Subject, name: &str) -> &'static str {
    let is_it = |check: &&Check| check.subject == subject && check.name == name;
    match outcome.checks.iter().find(is_it).map(|check| (&check.outcome, check.limit)) {
        Some((Ok(()), None)) => "ok",
        Some((Ok(()), Some(Limit::Nobody))) => "no process",
        Some((Ok(()), Some(Limit::Absent(_)))) => "absent",
        Some((Err(_), _)) => "FAIL",
        None => "-",
    }
}

pub(super) fn aligned(table: &[Vec<String>]) -> String {
    let columns = table.first().map_or(0, Vec::len);
    let width = |column: usize| table.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("| {cell:width$} "));
        cells.chain(["|\n".to_owned()]).collect::<String>()
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(width + 2)).collect();
    let mut lines: Vec<String> = table.iter().map(|row| line(row)).collect();
    lines.insert(1, format!("|{}|\n", rule.join("|")));
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(version: &str, result: Result<(), String>) -> Outcome {
        let check = Check {
            subject: Subject::Probe,
            name: "connect4".into(),
            outcome: result,
            limit: None,
        };
        Outcome {
            machine: version.parse().unwrap(),
            version: version.into(),
            release: version.into(),
            tier: String::new(),
            facts: Vec::new(),
            checks: vec![check],
        }
    }

    #[test]
    fn a_row_is_a_check_and_a_column_a_kernel() {
        let outcomes = [outcome("5.10", Err("refused".into())), outcome("6.1", Ok(()))];
        let outcomes: Vec<&Outcome> = outcomes.iter().collect();
        let table = table(&outcomes);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "| Probe    | 5.10 | 6.1 |");
        assert_eq!(lines[2], "| connect4 | FAIL | ok  |");
        let page = page("", &outcomes, &table);
        assert!(page.ends_with("- 5.10, connect4: refused\n"), "{page}");
    }

    #[test]
    fn a_page_is_made_anew_only_from_its_mark_on() {
        let outcomes = [outcome("6.1", Ok(()))];
        let outcomes: Vec<&Outcome> = outcomes.iter().collect();
        let once = page("# Kernels\n\nBy people.\n", &outcomes, "a table\n");
        assert!(once.starts_with("# Kernels\n\nBy people.\n\n<!--"), "{once}");
        assert_eq!(page(&once, &outcomes, "a table\n"), once);
        assert!(!page(&once, &outcomes, "another\n").contains("a table"), "{once}");
    }
}
