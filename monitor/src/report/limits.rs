//! What a report does not say, in plain words: it has no form without them.

use super::{Report, bytes, flows};
use crate::{config::Reread, coverage::Extent, summary::Row};

/// What holds for each report.
const ALWAYS: [&str; 8] = [
    "It tells what this host sent, or passed on for others, by its network interfaces. Other ways out (a disk that is carried away, a radio that is no network interface) are not seen.",
    "It tells where packets went, not where data ends: whoever receives it, a relay, a tunnel or a content network may pass it on.",
    "Contents are not read. Whether data was encrypted is told by the port alone, which proves nothing either way.",
    "The country of an address, and who runs it, are what the databases say, with the errors that such databases have. An address that is announced from many places (anycast) has no one place.",
    "Names of destinations come from answers of name servers and from what programs write themselves; verdicts of violation do not rest on them. Address and operator decide.",
    "Bytes are those of IP packets, headers included. Those of a flow are of all its life, those of totals are what left within the period.",
    "Who rules this host as root can have lies recorded from then on, and can forge what nobody elsewhere has seen signed. What was altered after it was signed, `geofenced verify` finds.",
    "The map is a picture: its borders are those of Natural Earth, simplified, and say nothing of whose a place is.",
];

/// Of a report whose facts are complete.
pub(super) fn of(report: &Report) -> Vec<String> {
    let mut out: Vec<String> = ALWAYS.iter().map(ToString::to_string).collect();
    out.extend(of_coverage(report));
    let mut say = |count: u64, text: String| {
        if count > 0 {
            out.push(text);
        }
    };
    let totals = &report.totals;
    say(
        totals.attempts,
        format!(
            "Attempted, with nothing seen to leave, and so in no total of what left: {}.",
            flows(totals.attempts)
        ),
    );
    if let Some(row) = &report.added_up {
        say(
            row.flows,
            format!(
                "Only added up by hour, program and country, without their addresses, ports and operators: {}. Violations among them, which are in the totals and not in the tables of violations: {}.",
                flows(row.flows),
                row.violations
            ),
        );
    }
    say(
        totals.verdicts.local,
        format!(
            "Within local networks: {}. What other devices there pass on is not seen unless it comes by this host.",
            flows(totals.verdicts.local)
        ),
    );
    say(
        totals.verdicts.unknown,
        format!(
            "Of an unknown verdict, which is no violation, and so in no table of these: {}.",
            flows(totals.verdicts.unknown)
        ),
    );
    let divided = report.countries.iter().fold(0, |sum: u64, row| sum.saturating_add(row.divided));
    say(
        divided,
        format!(
            "In spans that the bounds of the period cut, and divided evenly over each: {}.",
            bytes(divided)
        ),
    );
    let unnamed = unlocated(&report.countries);
    say(unnamed, format!("To addresses of which no country is known: {}.", flows(unnamed)));
    let untrusted = report.violations.untrusted_clock;
    say(
        untrusted,
        format!("With times by a clock that was not known to be right: {}.", flows(untrusted)),
    );
    let unread = report
        .policies
        .iter()
        .filter(|it| it.text.as_deref().and_then(Reread::from_text).is_none());
    say(
        unread.count() as u64,
        "A policy of the period can't be put into sentences, since its text is not kept whole or is of another version.".to_owned(),
    );
    out
}

fn of_coverage(report: &Report) -> Vec<String> {
    let coverage = &report.coverage;
    let of = |extent| coverage.gaps.iter().filter(move |gap| gap.extent == extent).count();
    let mut out = Vec::new();
    for (extent, what) in [
        (Extent::Blind, "nobody looked: what left then is not known"),
        (Extent::Degraded, "something was missed or may have been"),
        (Extent::Removed, "records were removed to make room: what they said is gone"),
    ] {
        match of(extent) {
            0 => {}
            1 => out.push(format!("There is a time in which {what}.")),
            count => out.push(format!("There are {count} times in which {what}.")),
        }
    }
    if !coverage.ledger.is_whole() {
        out.push("The ledger is not whole: records of the period may be missing.".to_owned());
    }
    out
}

fn unlocated(rows: &[Row]) -> u64 {
    rows.iter().filter(|row| row.key == "unlocated").map(|row| row.flows).sum()
}
