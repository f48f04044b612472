//! `verify` of an export: its files by the manifest, and the evidence beside them by public keys.

use std::{
    io::{self, Write},
    path::Path,
};

use serde::Serialize;

use super::{SignedHead, Witnessed};
use crate::{
    cli::{Exit, Global, Output, VerifyArgs},
    commands::{Failure, Outcome, out},
    coverage::Coverage,
    ecs::Time,
    event::Timestamp,
    export::{Checked, Fault, check},
    store::verify::{Beside, Finding, Trust, verify_beside},
    table::{Times, bytes, counted, printable, small, styled, verdict_style},
};

/// The whole answer, last in JSON.
#[derive(Serialize)]
struct Verdict<'a> {
    intact: bool,
    findings: usize,
    /// To be held against what was noted when the export was made.
    manifest_sha256: &'a str,
    files: u64,
    bytes: u64,
    records: u64,
    rollups: u64,
    leaves: u64,
    checkpoints: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed: Option<SignedHead>,
    witnessed: Vec<Witnessed>,
    gaps: usize,
    own_key: bool,
}

pub(super) fn run(
    global: &Global,
    args: &VerifyArgs,
    path: &Path,
    trust: &Trust,
    each: &mut dyn FnMut(u64),
) -> Outcome {
    let noted = args.manifest.as_deref();
    let checked = check(path, noted, each).map_err(anyhow::Error::from)?;
    let beside = verify_beside(path, trust)?;
    let mut out = out::stdout();
    print(global, args, &checked, &beside, &mut out)?;
    out.flush()?;
    let has_gaps = args.fail_on_gap && checked.coverage.as_ref().is_none_or(Coverage::has_gaps);
    let is_broken = !checked.faults.is_empty() || !beside.findings.is_empty();
    Ok::<_, Failure>(if is_broken || has_gaps { Exit::Integrity } else { Exit::Fine })
}

fn print(
    global: &Global,
    args: &VerifyArgs,
    checked: &Checked,
    beside: &Beside,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    match global.output {
        Output::Json => {
            checked.faults.iter().try_for_each(|fault| out::json_line(out, fault))?;
            beside.findings.iter().try_for_each(|finding| out::json_line(out, finding))?;
            out::json_line(out, &verdict(checked, beside, args.key.is_none()))?;
        }
        Output::Csv => {
            out::csv_head(out, ["kind", "file", "detail"])?;
            rows(checked, beside).try_for_each(|row| out::csv_line(out, row))?;
        }
        Output::Table => {
            let rows: Vec<_> = rows(checked, beside).map(Vec::from).collect();
            if !rows.is_empty() {
                out::table(out, &small(&["WHAT", "FILE", "DETAIL"], rows))?;
            }
            sentences(global, args, checked, beside, out)?;
        }
    }
    Ok(())
}

fn rows<'a>(checked: &'a Checked, beside: &'a Beside) -> impl Iterator<Item = [String; 3]> + 'a {
    let text = |text: &str| printable(text).into_owned();
    let of_file = move |it: &Fault| [it.kind.word().to_owned(), text(&it.file), text(&it.detail)];
    let of_evidence =
        move |it: &Finding| [it.kind.word().to_owned(), "evidence/".to_owned(), text(&it.detail)];
    checked.faults.iter().map(of_file).chain(beside.findings.iter().map(of_evidence))
}

fn verdict<'a>(checked: &'a Checked, beside: &Beside, own_key: bool) -> Verdict<'a> {
    let findings = checked.faults.len() + beside.findings.len();
    let witnessed = beside.witnessed.iter().map(|(witness, size, seconds)| Witnessed {
        witness: witness.to_string(),
        size: *size,
        at: Time(Timestamp::from_secs(*seconds)),
    });
    Verdict {
        intact: findings == 0,
        findings,
        manifest_sha256: &checked.sha256,
        files: checked.files,
        bytes: checked.bytes,
        records: checked.records,
        rollups: checked.rollups,
        leaves: beside.leaves,
        checkpoints: beside.checkpoints,
        signed: beside.signed.as_ref().map(SignedHead::from),
        witnessed: witnessed.collect(),
        gaps: checked.coverage.as_ref().map_or(0, |it| it.gaps.len()),
        own_key,
    }
}

fn sentences(
    global: &Global,
    args: &VerifyArgs,
    checked: &Checked,
    beside: &Beside,
    out: &mut impl Write,
) -> io::Result<()> {
    let (clock, color) = (Times::new(args.utc), global.color_on_stdout());
    let verdict = match checked.faults.len() + beside.findings.len() {
        0 => styled("intact", verdict_style("approved"), color),
        count => {
            let faults = counted(count as u64, "fault", "faults");
            styled(&format!("NOT INTACT: {faults}"), verdict_style("unapproved"), color)
        }
    };
    writeln!(
        out,
        "{verdict}; an export of {} and {} by hour in {}, {}",
        counted(checked.records, "record", "records"),
        counted(checked.rollups, "sum", "sums"),
        counted(checked.files, "file", "files"),
        bytes(checked.bytes)
    )?;
    writeln!(out, "sha256 of manifest.json: {}", checked.sha256)?;
    if args.manifest.is_none() {
        writeln!(
            out,
            "note: without --manifest, whoever could write here could write the manifest anew"
        )?;
    }
    match &beside.signed {
        Some((checkpoint, key)) => writeln!(
            out,
            "the ledger it was made from is signed: `{}` over {}, by {}",
            printable(&checkpoint.origin),
            counted(checkpoint.size, "block", "blocks"),
            printable(&key.to_string())
        )?,
        None => writeln!(out, "note: nothing beside it tells what its ledger was signed as")?,
    }
    for (witness, size, seconds) in &beside.witnessed {
        let at = clock.format(Time(Timestamp::from_secs(*seconds)));
        writeln!(out, "witnessed: {witness} saw {} at {at}", counted(*size, "block", "blocks"))?;
    }
    if let Some(coverage) = &checked.coverage {
        writeln!(out, "{}", coverage.sentence())?;
    }
    Ok(())
}
