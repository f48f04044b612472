//! `verify`: whether a store, an export, or one record's proof, is what it was. It reads files, offline, and
//! asks no daemon.

mod export;

use std::{
    fs,
    io::{IsTerminal, Write, stderr},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};
use serde::Serialize;

use super::{Failure, Outcome, events, load, out};
use crate::{
    cli::{Exit, Global, Output, VerifyArgs},
    ecs::Time,
    event::{FlowId, Record, Timestamp},
    evidence::{Checkpoint, Proof, PublicKey, WitnessKey},
    export::is_export,
    store::{
        prove::Block,
        verify::{Finding, Report, Trust, own_keys, verify},
    },
    table::{Times, bytes, counted, printable, small, styled, verdict_style},
};

/// How a file that holds a proof is called.
pub(super) const PROOF: &str = "tlog-proof";
/// And the block that it is of, beside it.
pub(super) const BLOCK: &str = "block";
/// How often a line says how far it is.
const STEP_BYTES: u64 = 4 << 20;

/// The whole answer, last in JSON.
#[derive(Serialize)]
struct Verdict<'a> {
    intact: bool,
    findings: usize,
    segments: u64,
    blocks: u64,
    entries: u64,
    bytes: u64,
    leaves: u64,
    checkpoints: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed: Option<SignedHead>,
    witnessed: Vec<Witnessed>,
    gaps: usize,
    remarks: &'a [String],
    own_key: bool,
}

#[derive(Serialize)]
struct SignedHead {
    origin: String,
    size: u64,
    root: String,
    key: String,
}

impl From<&(Checkpoint, PublicKey)> for SignedHead {
    fn from((checkpoint, key): &(Checkpoint, PublicKey)) -> Self {
        Self {
            origin: checkpoint.origin.clone(),
            size: checkpoint.size,
            root: data_encoding::BASE64.encode(&checkpoint.root),
            key: key.to_string(),
        }
    }
}

#[derive(Serialize)]
struct Witnessed {
    witness: String,
    size: u64,
    at: Time,
}

pub(super) fn run(global: &Global, args: &VerifyArgs) -> Outcome {
    let path = match &args.path {
        Some(path) => path.clone(),
        None => load::config(global)?.store.path,
    };
    let is_proof = path.extension().is_some_and(|it| it == PROOF);
    let is_own = args.key.is_none();
    let keys = match &args.key {
        Some(file) => read_keys(file)?,
        None if is_proof => return Err(Failure::usage(anyhow!("a proof needs --key FILE"))),
        None => own_keys(&path)?,
    };
    if is_own {
        eprintln!(
            "WARNING: no --key: this takes {}/key.pub, which is the word of the very host that is checked; \
             whoever altered the store could have put another key there",
            path.display()
        );
    }
    if is_proof {
        return one(global, args.utc, &path, &keys);
    }
    let trust = Trust { keys, ..witnesses(&args.witness)? };
    if is_export(&path) {
        return export::run(global, args, &path, &trust, &mut progress(global, &path));
    }
    if args.manifest.is_some() {
        return Err(Failure::usage(anyhow!("{} is no export: it has no manifest", path.display())));
    }
    let report = verify(&path, &trust, &mut progress(global, &path))?;
    let mut out = out::stdout();
    print(global, args, &report, is_own, &mut out)?;
    out.flush()?;
    let has_gaps = args.fail_on_gap && report.coverage.has_gaps();
    let is_broken = !report.findings.is_empty();
    Ok(if is_broken || has_gaps { Exit::Integrity } else { Exit::Fine })
}

fn read_keys(file: &Path) -> Result<Vec<PublicKey>, Failure> {
    let text = fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()));
    let lines = text.map_err(Failure::usage)?;
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    let keys = lines.map(PublicKey::parse).collect::<Result<Vec<_>, _>>();
    let keys = keys.with_context(|| format!("{}", file.display())).map_err(Failure::usage)?;
    if keys.is_empty() {
        return Err(Failure::usage(anyhow!("{} holds no key", file.display())));
    }
    Ok(keys)
}

/// Each a key as it is typed, a file of keys, or a file of what a witness saw.
fn witnesses(given: &[String]) -> Result<Trust, Failure> {
    let mut trust = Trust::default();
    for word in given {
        if let Ok(key) = WitnessKey::parse(word) {
            trust.witnesses.push(key);
            continue;
        }
        let text =
            fs::read_to_string(word).with_context(|| format!("--witness: can't read {word}"));
        let text = text.map_err(Failure::usage)?;
        let keys = text.lines().map(WitnessKey::parse).collect::<Result<Vec<_>, _>>();
        match keys {
            Ok(keys) => trust.witnesses.extend(keys),
            Err(_) => trust.seen.extend_from_slice(text.as_bytes()),
        }
    }
    Ok(trust)
}

/// A line on a terminal that says how far it is.
fn progress(global: &Global, path: &Path) -> impl FnMut(u64) + use<> {
    let ledger = fs::read_dir(path.join("ledger"));
    let sizes = ledger.into_iter().flatten().filter_map(|it| it.ok()?.metadata().ok());
    let all: u64 = sizes.map(|it| it.len()).sum();
    let is_shown = stderr().is_terminal() && global.quiet == 0 && all > STEP_BYTES;
    let (mut done, mut told) = (0, 0);
    move |read| {
        done += read;
        if is_shown && done >= told + STEP_BYTES {
            told = done;
            let tenths = done.saturating_mul(30).checked_div(all).unwrap_or(0).min(30) as usize;
            let bar = format!("{}{}", "#".repeat(tenths), ".".repeat(30 - tenths));
            let end = if done + STEP_BYTES > all { "\r\x1b[K" } else { "" };
            eprint!("\r[{bar}] {} of {}{end}", bytes(done), bytes(all));
        }
    }
}

fn print(
    global: &Global,
    args: &VerifyArgs,
    report: &Report,
    is_own: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let clock = Times::new(args.utc);
    match global.output {
        Output::Json => {
            report.findings.iter().try_for_each(|finding| out::json_line(out, finding))?;
            for gap in &report.coverage.gaps {
                out::json_line(out, &serde_json::json!({ "gap": gap }))?;
            }
            out::json_line(out, &verdict(report, is_own))?;
        }
        Output::Csv => {
            let head = ["kind", "segment", "first_block", "last_block", "from", "to", "detail"];
            out::csv_head(out, head)?;
            report.findings.iter().try_for_each(|it| out::csv_line(out, cells(it, &clock)))?;
        }
        Output::Table => {
            if !report.findings.is_empty() {
                let head = ["WHAT", "SEGMENT", "BLOCK", "TO", "FROM", "UNTIL", "DETAIL"];
                let rows = report.findings.iter().map(|it| cells(it, &clock).to_vec());
                out::table(out, &small(&head, rows))?;
            }
            for line in sentences(report, &clock, global.color_on_stdout()) {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(())
}

fn verdict(report: &Report, is_own: bool) -> Verdict<'_> {
    let signed = report.signed.as_ref().map(SignedHead::from);
    let witnessed = report.witnessed.iter().map(|(witness, size, seconds)| Witnessed {
        witness: witness.to_string(),
        size: *size,
        at: Time(Timestamp::from_secs(*seconds)),
    });
    Verdict {
        intact: report.findings.is_empty(),
        findings: report.findings.len(),
        segments: report.segments,
        blocks: report.blocks,
        entries: report.entries,
        bytes: report.bytes,
        leaves: report.leaves,
        checkpoints: report.checkpoints,
        signed,
        witnessed: witnessed.collect(),
        gaps: report.coverage.gaps.len(),
        remarks: &report.remarks,
        own_key: is_own,
    }
}

fn cells(finding: &Finding, clock: &Times) -> [String; 7] {
    let time = |time: Option<Time>| time.map(|time| clock.format(time)).unwrap_or_default();
    let (first, last) = finding.blocks.unzip();
    let number = |number: Option<u64>| number.map(|it| it.to_string()).unwrap_or_default();
    [
        finding.kind.word().to_owned(),
        number(finding.segment.map(u64::from)),
        number(first),
        number(last),
        time(finding.from),
        time(finding.to),
        printable(&finding.detail).into_owned(),
    ]
}

fn sentences(report: &Report, clock: &Times, color: bool) -> Vec<String> {
    let verdict = if report.findings.is_empty() {
        styled("intact", verdict_style("approved"), color)
    } else {
        let faults = counted(report.findings.len() as u64, "fault", "faults");
        styled(&format!("NOT INTACT: {faults}"), verdict_style("unapproved"), color)
    };
    let mut lines = vec![format!(
        "{verdict}; {} with {} in {}, {}",
        counted(report.blocks, "block", "blocks"),
        counted(report.entries, "entry", "entries"),
        counted(report.segments, "segment", "segments"),
        bytes(report.bytes)
    )];
    if let Some((checkpoint, key)) = &report.signed {
        lines.push(format!(
            "signed: {}, the last of `{}` over {}, by {}",
            counted(report.checkpoints, "checkpoint", "checkpoints"),
            printable(&checkpoint.origin),
            counted(checkpoint.size, "block", "blocks"),
            printable(&key.to_string())
        ));
    }
    for (witness, size, seconds) in &report.witnessed {
        let at = clock.format(Time(Timestamp::from_secs(*seconds)));
        let blocks = counted(*size, "block", "blocks");
        lines.push(format!("witnessed: {witness} saw {blocks} at {at}"));
    }
    lines.extend(report.remarks.iter().map(|remark| format!("note: {remark}")));
    lines.push(report.coverage.watching());
    lines
}

/// One block by its proof: shows the record that the file is called after, else all of them.
fn one(global: &Global, utc: bool, path: &Path, keys: &[PublicKey]) -> Outcome {
    let proof =
        fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))?;
    let beside = path.with_extension(BLOCK);
    let block = fs::read(&beside).with_context(|| format!("can't read {}", beside.display()))?;
    let (proof, block) = (Proof::parse(&proof), Block::parse(&block));
    let broken = |error: anyhow::Error| Failure { exit: Exit::Integrity, error };
    let proof = proof.with_context(|| path.display().to_string()).map_err(broken)?;
    let block = block.with_context(|| beside.display().to_string()).map_err(broken)?;
    let verified = proof.verify(&block.leaf(), keys);
    let (checkpoint, key) = verified.with_context(|| path.display().to_string()).map_err(broken)?;
    if block.number() != proof.index {
        return Err(broken(anyhow!("{}: it is of another block", path.display())));
    }
    let records = block.records().map_err(|error| broken(error.into()))?;
    let id = path.file_stem().and_then(|stem| FlowId::parse(stem.to_str()?).ok());
    let is_it = |record: &&Record| Some(record.egress.flow) == id;
    let meant: Vec<&Record> = records.iter().filter(is_it).collect();
    let shown = if meant.is_empty() { records.iter().collect() } else { meant };
    events::show(global, utc, &shown)?;
    if global.quiet == 0 {
        let is_all = shown.len() == records.len();
        let shown = if is_all { "" } else { ", of which this one was asked for," };
        eprintln!(
            "proven: block {} with {}{shown} is in what `{}` signed over {}, by {key}",
            proof.index,
            counted(records.len() as u64, "record", "records"),
            printable(&checkpoint.origin),
            counted(checkpoint.size, "block", "blocks")
        );
    }
    Ok(Exit::Fine)
}

/// Where a proof and its block go.
pub(super) fn beside(path: &Path) -> (PathBuf, PathBuf) {
    (path.with_extension(PROOF), path.with_extension(BLOCK))
}
