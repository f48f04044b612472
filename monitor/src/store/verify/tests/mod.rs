//! Each way to alter a store, and that each is named as what it is.

mod known;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

use tempfile::TempDir;

use super::{Finding, Kind, Report, Trust, own_keys, verify};
use crate::{
    event::{Entry, FlowId, Notice, Timestamp, Verdict},
    evidence::{Checkpoint, Hash, KeyName, Signer, WitnessSigner, leaf, tree},
    store::{
        Options, Store,
        evidence::checkpoints::stretches,
        ledger::frame::{HEAD_BYTES, Head, SegmentHeader, hash},
        tests::{config, history::History, small},
    },
};

const START: u64 = 1_800_000_000;

/// A store, closed; what is in its files can be put back.
struct Sample {
    directory: TempDir,
    trust: Trust,
    ledger: Vec<(PathBuf, Vec<u8>)>,
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_secs(START + seconds)
}

fn notice(seconds: u64, notice: Notice) -> Entry {
    Entry::Notice { at: at(seconds), notice }
}

fn started() -> Notice {
    Notice::Started { version: "1".into(), probes: vec![], policy_sha256: [0; 32] }
}

/// Flows of an hour, in small blocks and segments; a word of the daemon each minute.
fn fill(store: &mut Store, blocks: u64, from: u64) {
    let mut history = History::new(5);
    for number in from..from + blocks {
        store.append(&notice(number * 60, Notice::Alive)).unwrap();
        let mut record = history.begin();
        record.egress.started_at = at(number * 60);
        record.egress.last_at = at(number * 60 + 1);
        record.egress.flow = FlowId(u128::from(number));
        record.judgement.verdict = Verdict::Unapproved;
        store.append(&Entry::Flow(record)).unwrap();
        store.sync().unwrap();
    }
}

fn options() -> Options {
    Options { segment_bytes: 2_500, index: None, ..small() }
}

impl Sample {
    fn new(blocks: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open_with(&config(directory.path()), options()).unwrap();
        store.append(&notice(0, started())).unwrap();
        fill(&mut store, blocks, 0);
        store.append(&notice(blocks * 60, Notice::Stopped)).unwrap();
        store.close().unwrap();
        Self::of(directory)
    }

    fn of(directory: TempDir) -> Self {
        let trust = Trust { keys: own_keys(directory.path()).unwrap(), ..Trust::default() };
        let mut sample = Self { directory, trust, ledger: Vec::new() };
        sample.keep();
        sample
    }

    fn root(&self) -> &Path {
        self.directory.path()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root().join(file)
    }

    fn keep(&mut self) {
        let mut paths: Vec<PathBuf> =
            fs::read_dir(self.path("ledger")).unwrap().map(|it| it.unwrap().path()).collect();
        paths.sort();
        self.ledger =
            paths.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    }

    fn put_back(&self) {
        self.ledger.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }

    fn report(&self) -> Report {
        verify(self.root(), &self.trust, &mut |_| {}).unwrap()
    }

    fn findings(&self) -> Vec<Finding> {
        self.report().findings
    }

    fn kinds(&self) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = self.findings().iter().map(|it| it.kind).collect();
        kinds.dedup();
        kinds
    }

    fn checkpoints(&self) -> Vec<u8> {
        fs::read(self.path("evidence/checkpoints")).unwrap()
    }

    fn leaves(&self) -> Vec<Hash> {
        fs::read(self.path("evidence/leaves")).unwrap().as_chunks::<32>().0.to_vec()
    }

    fn signer(&self) -> Signer {
        let line = fs::read(self.path("evidence/key")).unwrap();
        let seed = data_encoding::BASE64.decode(line.trim_ascii()).unwrap();
        Signer::new(self.trust.keys[0].name().clone(), &seed.try_into().unwrap())
    }

    /// Adds a checkpoint over these leaves.
    fn sign(&self, signer: &Signer, origin: &str, leaves: &[Hash]) {
        let (size, root) = (leaves.len() as u64, tree::root(leaves));
        let note = signer.sign(&Checkpoint { origin: origin.into(), size, root }.text());
        let all = [self.checkpoints(), note.into_bytes()].concat();
        fs::write(self.path("evidence/checkpoints"), all).unwrap();
    }

    fn origin(&self) -> String {
        self.trust.keys[0].name().to_string()
    }
}

/// Where the blocks of a segment begin, and how long they are; with their heads.
fn blocks(segment: &[u8]) -> Vec<(usize, usize, Head)> {
    let header = SegmentHeader::decode(segment).unwrap();
    let mut at = header.bytes() as usize;
    let mut blocks = Vec::new();
    while let Some(head) = Head::decode(&segment[at..]) {
        let bytes = head.block_bytes() as usize;
        blocks.push((at, bytes, head));
        at += bytes;
    }
    assert_eq!(at, segment.len());
    blocks
}

fn has(findings: &[Finding], kind: Kind, block: u64) -> bool {
    findings.iter().any(|it| {
        it.kind == kind && it.blocks.is_some_and(|(first, last)| (first..=last).contains(&block))
    })
}

#[test]
fn an_untouched_store_is_intact_and_says_by_whom_it_is_signed() {
    let sample = Sample::new(40);
    let report = sample.report();
    assert_eq!(report.findings, []);
    assert_eq!(report.remarks, [""; 0]);
    let (checkpoint, key) = report.signed.unwrap();
    assert_eq!(checkpoint.size, report.blocks);
    assert_eq!(key, sample.trust.keys[0]);
    assert!(report.segments > 3 && report.checkpoints > 3, "{}", report.segments);
    assert!(report.coverage.gaps.is_empty(), "{:?}", report.coverage.gaps);
    // While the daemon writes, the end is not signed yet, and that is no fault.
    let mut store = Store::open_with(&config(sample.root()), options()).unwrap();
    store.append(&notice(41 * 60, started())).unwrap();
    fill(&mut store, 1, 42);
    fill(&mut store, 3, 43);
    store.append(&notice(46 * 60, Notice::Alive)).unwrap();
    store.write().unwrap();
    let report = sample.report();
    assert_eq!(report.findings, []);
    assert_eq!(report.remarks.len(), 1, "{:?}", report.remarks);
}

/// What a flipped byte is of, as it should be named.
enum Flipped {
    Header(u32),
    Block(u64),
    Leaf(u64),
    Line(usize),
}

#[test]
fn ten_thousand_flipped_bytes_are_each_named() {
    const FLIPS: u64 = 10_000;
    const THREADS: u64 = 4;
    thread::scope(|scope| {
        for part in 0..THREADS {
            scope.spawn(move || {
                let sample = Sample::new(12);
                let mut random = History::new(90 + part);
                for _ in 0..FLIPS / THREADS {
                    flip(&sample, &mut random);
                }
                assert_eq!(sample.findings(), [], "put back");
            });
        }
    });
}

fn flip(sample: &Sample, random: &mut History) {
    let mut pick = |count: usize| random.random(count as u64) as usize;
    let (path, at, flipped) = match pick(4) {
        0 => {
            let path = sample.path("evidence/leaves");
            let at = pick(sample.leaves().len() * 32);
            (path, at, Flipped::Leaf(at as u64 / 32))
        }
        1 => {
            let bytes = sample.checkpoints();
            let at = pick(bytes.len());
            let line = bytes[..at].split(|byte| *byte == b'\n').count();
            let begin = stretches(&bytes).into_iter().rfind(|it| it.line <= line).unwrap();
            (sample.path("evidence/checkpoints"), at, Flipped::Line(begin.line))
        }
        _ => {
            let segment = pick(sample.ledger.len());
            let (path, bytes) = &sample.ledger[segment];
            let at = pick(bytes.len());
            let block = blocks(bytes).into_iter().rfind(|(begin, ..)| *begin <= at);
            let number = segment as u32 + 1;
            let flipped = block.map_or(Flipped::Header(number), |it| Flipped::Block(it.2.number));
            (path.clone(), at, flipped)
        }
    };
    let whole = fs::read(&path).unwrap();
    let mut altered = whole.clone();
    altered[at] ^= 1 << pick(8);
    fs::write(&path, altered).unwrap();
    let findings = sample.findings();
    fs::write(&path, whole).unwrap();
    let is_named = match flipped {
        Flipped::Header(segment) => findings
            .iter()
            .any(|it| it.kind == Kind::AlteredSegmentHeader && it.segment == Some(segment)),
        Flipped::Block(number) => has(&findings, Kind::AlteredBlock, number),
        Flipped::Leaf(number) => has(&findings, Kind::AlteredLeaf, number),
        Flipped::Line(line) => findings.iter().any(|it| {
            let kinds = [Kind::UnreadableCheckpoint, Kind::WrongSignature, Kind::UnknownKey];
            kinds.contains(&it.kind) && it.line == Some(line)
        }),
    };
    assert!(is_named, "{} at {at}: {findings:#?}", path.display());
}

#[test]
fn every_block_that_is_removed_duplicated_or_swapped_is_named() {
    let sample = Sample::new(30);
    for (path, whole) in &sample.ledger {
        let all = blocks(whole);
        for (index, (at, bytes, head)) in all.iter().enumerate() {
            let block = &whole[*at..at + bytes];
            let is_last = index + 1 == all.len();
            let is_of_last = is_last && *path == sample.ledger.last().unwrap().0;
            let removed = [&whole[..*at], &whole[at + bytes..]].concat();
            fs::write(path, removed).unwrap();
            let kind = if is_of_last { Kind::CutLedger } else { Kind::RemovedBlocks };
            let findings = sample.findings();
            assert!(has(&findings, kind, head.number), "{}: {findings:?}", head.number);
            assert_eq!(findings.len(), 1, "{findings:?}");

            let twice = [&whole[..at + bytes], block, &whole[at + bytes..]].concat();
            fs::write(path, twice).unwrap();
            let findings = sample.findings();
            assert!(has(&findings, Kind::DuplicatedBlock, head.number), "{findings:?}");
            assert_eq!(findings.len(), 1, "{findings:?}");

            if let Some((next_at, next_bytes, _)) = all.get(index + 1) {
                let next = &whole[*next_at..next_at + next_bytes];
                let rest = &whole[next_at + next_bytes..];
                fs::write(path, [&whole[..*at], next, block, rest].concat()).unwrap();
                let findings = sample.findings();
                assert!(has(&findings, Kind::SwappedBlock, head.number), "{findings:?}");
                assert_eq!(findings.len(), 1, "{findings:?}");
            }
            fs::write(path, whole).unwrap();
        }
    }
    assert_eq!(sample.findings(), []);
}

#[test]
fn a_segment_that_somebody_took_is_missing_and_one_that_retention_took_is_not() {
    let sample = Sample::new(60);
    let count = sample.ledger.len();
    for (index, (path, _)) in sample.ledger.iter().enumerate() {
        fs::remove_file(path).unwrap();
        let findings = sample.findings();
        let number = index as u32 + 1;
        let is_named = if index + 1 < count {
            findings.iter().any(|it| it.kind == Kind::RemovedSegment && it.segment == Some(number))
        } else {
            findings.iter().any(|it| it.kind == Kind::CutLedger)
        };
        assert!(is_named && findings.len() == 1, "{findings:?}");
        sample.put_back();
    }
    let mut config = config(sample.root());
    config.max_bytes = 8_000;
    let mut store = Store::open_with(&config, options()).unwrap();
    assert!(store.retain().unwrap().segments.len() > 2);
    store.close().unwrap();
    let there: Vec<&PathBuf> =
        sample.ledger.iter().map(|it| &it.0).filter(|it| it.exists()).collect();
    assert_eq!(sample.findings(), []);
    // Retention does not hide what somebody else took.
    fs::remove_file(there[0]).unwrap();
    assert_eq!(sample.kinds(), [Kind::RemovedSegment]);
    // What is gone is still proven by its leaf.
    let mut leaves = sample.leaves();
    leaves[1][0] ^= 1;
    fs::write(sample.path("evidence/leaves"), leaves.concat()).unwrap();
    let findings = sample.findings();
    assert!(has(&findings, Kind::WrongRoot, 1), "{findings:?}");
}

/// Lets a segment's block hold another payload, its checksums and the chain behind it made right again.
fn replace_payload(sample: &Sample, number: u64, payload: impl Fn(&[u8]) -> Vec<u8>) -> Vec<Hash> {
    let mut leaves = Vec::new();
    let mut previous: Option<Hash> = None;
    for (path, whole) in &sample.ledger {
        let mut header = SegmentHeader::decode(whole).unwrap();
        header.previous = previous.unwrap_or(header.previous);
        let mut bytes = header.encode();
        previous = Some(hash(&[&bytes]));
        for (at, length, mut head) in blocks(whole) {
            let mut content = whole[at + HEAD_BYTES..at + length].to_vec();
            if head.number == number {
                content = payload(&content);
            }
            head.payload_bytes = content.len() as u32;
            head.payload_crc = crc32fast::hash(&content);
            head.previous = previous.unwrap();
            let head = head.encode();
            leaves.push(leaf(&head, &content));
            previous = Some(hash(&[&head, &content]));
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(&content);
        }
        fs::write(path, bytes).unwrap();
    }
    leaves
}

fn packed_again(payload: &[u8]) -> Vec<u8> {
    let raw = zstd::bulk::decompress(payload, 1 << 20).unwrap();
    let packed = zstd::bulk::compress(&raw, 19).unwrap();
    assert_ne!(packed, payload);
    packed
}

#[test]
fn the_same_content_packed_again_is_another_block_however_well_the_rest_is_made_to_fit() {
    let sample = Sample::new(30);
    let (path, whole) = &sample.ledger[1];
    // The block alone.
    let (at, length, mut head) = blocks(whole)[1];
    let content = packed_again(&whole[at + HEAD_BYTES..at + length]);
    (head.payload_bytes, head.payload_crc) = (content.len() as u32, crc32fast::hash(&content));
    let parts = [&whole[..at], &head.encode(), &content, &whole[at + length..]];
    fs::write(path, parts.concat()).unwrap();
    let findings = sample.findings();
    assert!(has(&findings, Kind::AlteredBlock, head.number), "{findings:?}");
    assert!(findings.iter().all(|it| it.kind == Kind::AlteredBlock), "{findings:?}");
    sample.put_back();
    // And the whole chain behind it.
    let leaves = replace_payload(&sample, head.number, packed_again);
    let findings = sample.findings();
    assert!(has(&findings, Kind::AlteredBlock, head.number), "{findings:?}");
    // And all leaves: then the roots that were signed are others.
    fs::write(sample.path("evidence/leaves"), leaves.concat()).unwrap();
    let findings = sample.findings();
    assert!(has(&findings, Kind::WrongRoot, head.number), "{findings:?}");
    // And signed anew, by another key.
    let other = Signer::new(KeyName::parse(&sample.origin()).unwrap(), &[3; 32]);
    fs::write(sample.path("evidence/checkpoints"), "").unwrap();
    sample.sign(&other, &sample.origin(), &leaves);
    let kinds = sample.kinds();
    assert!(kinds.contains(&Kind::UnknownKey) && kinds.contains(&Kind::NoCheckpoint), "{kinds:?}");
}

#[test]
fn two_ledgers_of_one_origin_are_two_even_where_each_is_right_by_itself() {
    let sample = Sample::new(30);
    let signed = sample.checkpoints();
    let number = blocks(&sample.ledger[0].1)[2].2.number;
    let leaves = replace_payload(&sample, number, packed_again);
    fs::write(sample.path("evidence/leaves"), leaves.concat()).unwrap();
    fs::write(sample.path("evidence/checkpoints"), "").unwrap();
    sample.sign(&sample.signer(), &sample.origin(), &leaves);
    let (alone, forged) = (sample.kinds(), sample.checkpoints());
    assert!(!alone.contains(&Kind::AlteredBlock) && !alone.contains(&Kind::WrongRoot), "{alone:?}");
    // The other was shown to somebody.
    fs::write(sample.path("evidence/checkpoints"), [signed, forged].concat()).unwrap();
    let kinds = sample.kinds();
    assert!(kinds.contains(&Kind::TwoOfOneSize), "{kinds:?}");
}

#[test]
fn a_tail_that_was_cut_past_what_a_witness_saw_is_named_with_the_witness() {
    let mut sample = Sample::new(30);
    let witness = WitnessSigner::new(KeyName::parse("station").unwrap(), &[4; 32]);
    let all = sample.checkpoints();
    let (note, checkpoint) = stretches(&all).pop().unwrap().note.unwrap();
    let seen = sample.signer().sign(note.text()) + &witness.line(note.text(), START + 9);
    // All that would tell is cut back to a state in which the store once was.
    let bytes = &sample.ledger.last().unwrap().1;
    let (at, _, head) = *blocks(bytes).last().unwrap();
    fs::write(&sample.ledger.last().unwrap().0, &bytes[..at]).unwrap();
    let mut leaves = sample.leaves();
    leaves.truncate(head.number as usize);
    fs::write(sample.path("evidence/leaves"), leaves.concat()).unwrap();
    let mut kept = stretches(&all).into_iter();
    let kept = kept.rfind(|it| it.note.as_ref().unwrap().1.size <= head.number).unwrap();
    fs::write(sample.path("evidence/checkpoints"), &all[..kept.end]).unwrap();
    assert_eq!(sample.findings(), [], "nothing on the disk says so");
    sample.trust.witnesses = vec![witness.public()];
    sample.trust.seen = seen.clone().into_bytes();
    let findings = sample.findings();
    assert!(has(&findings, Kind::CutPastWitness, head.number), "{findings:?}");
    assert!(findings.iter().any(|it| it.detail.contains("station")), "{findings:?}");
    assert_eq!(sample.report().witnessed[0].1, checkpoint.size);
    // As it is beside the store, it says the same.
    sample.trust.seen.clear();
    fs::write(sample.path("evidence/witnessed"), seen).unwrap();
    assert!(sample.kinds().contains(&Kind::CutPastWitness));
}

#[test]
fn what_was_cut_is_named_whatever_else_was_cut_with_it() {
    let sample = Sample::new(30);
    let all = sample.leaves();
    fs::write(sample.path("evidence/leaves"), all[..all.len() - 3].concat()).unwrap();
    assert_eq!(sample.kinds(), [Kind::CutLeaves]);
    fs::remove_file(sample.path("evidence/leaves")).unwrap();
    assert_eq!(sample.kinds(), [Kind::CutLeaves]);
    let (path, bytes) = sample.ledger.last().unwrap();
    let (at, ..) = *blocks(bytes).last().unwrap();
    fs::write(path, &bytes[..at]).unwrap();
    let kinds = sample.kinds();
    assert!(kinds.contains(&Kind::CutLedger), "{kinds:?}");
}
