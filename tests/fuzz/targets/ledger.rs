//! Segments of the ledger, as a power cut or a bad disk leaves them: reading never panics, and
//! opening the store for writing loses nothing that a reader saw before. Checksums are mended here,
//! since no mutation gets them right. The first byte of the input says how it is to be taken.
#![no_main]

use std::{fs, ops::ControlFlow, path::PathBuf, sync::LazyLock, time::Duration};

use geofenced::inside::{
    config::Config,
    filter::{Filter, Query},
    store::{Options, Reader, Store},
};
use libfuzzer_sys::{Corpus, fuzz_target};
use tempfile::TempDir;

// docs/store-format.md
const HEADER: usize = 72;
const HEAD: usize = 128;

static ROOT: LazyLock<TempDir> =
    LazyLock::new(|| tempfile::tempdir().expect("a directory in memory"));

fn u32_at(bytes: &[u8], at: usize) -> usize {
    bytes[at..at + 4].try_into().map_or(0, |four| u32::from_le_bytes(four) as usize)
}

/// CRC of `bytes`, written over the four at `at`, which count as zero.
fn mend(bytes: &mut [u8], at: usize) {
    bytes[at..at + 4].fill(0);
    let crc = crc32fast::hash(bytes);
    bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Makes the checksums of a header and of as many blocks as there are right.
fn mend_segment(bytes: &mut [u8]) {
    if bytes.len() < HEADER {
        return;
    }
    mend(&mut bytes[..HEADER], 12);
    let mut rest = &mut bytes[HEADER..];
    while rest.len() >= HEAD {
        let payload = u32_at(rest, 8).min(rest.len() - HEAD);
        let crc = crc32fast::hash(&rest[HEAD..HEAD + payload]);
        rest[16..20].copy_from_slice(&crc.to_le_bytes());
        mend(&mut rest[..HEAD], 4);
        rest = &mut rest[HEAD + payload..];
    }
}

/// A segment of one block: `counts` of flows, roll-ups and notices, and a payload not yet compressed.
fn one_block(counts: [u8; 3], raw: &[u8]) -> Vec<u8> {
    let mut bytes = b"GFLEDGER\x01\0\0\0".to_vec();
    bytes.resize(HEADER, 0);
    bytes[16] = 1;
    let payload = zstd::bulk::compress(raw, 1).expect("a bounded buffer");
    let mut head = b"GFBK".to_vec();
    head.resize(HEAD, 0);
    head[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    head[12..16].copy_from_slice(&(raw.len() as u32).to_le_bytes());
    for (count, at) in counts.into_iter().zip([20, 24, 26]) {
        head[at] = count;
    }
    // Every verdict, country and time: no query steps over it.
    head[28] = 15;
    head[72..88].fill(0xff);
    head[96..112].fill(0xff);
    head[120..128].fill(0xff);
    bytes.extend(head);
    bytes.extend(payload);
    mend_segment(&mut bytes);
    bytes
}

/// Everything that a reader sees, in its words.
fn seen(root: &std::path::Path) -> Vec<String> {
    let mut seen = Vec::new();
    let Ok(reader) = Reader::open(root) else { return seen };
    let _ = reader.query(&Query::default(), |record| {
        seen.push(format!("{record:?}"));
        ControlFlow::Continue(())
    });
    let _ = reader.rollups(&Filter::default(), |rollup| {
        seen.push(format!("{rollup:?}"));
        ControlFlow::Continue(())
    });
    seen
}

fn segment(input: &[u8]) -> Option<Vec<u8>> {
    let (how, rest) = input.split_first()?;
    match how % 3 {
        0 => Some(rest.to_vec()),
        1 => {
            let mut bytes = rest.to_vec();
            mend_segment(&mut bytes);
            Some(bytes)
        }
        _ => {
            let (counts, raw) = rest.split_first_chunk::<3>()?;
            Some(one_block(*counts, raw))
        }
    }
}

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some(bytes) = segment(input) else { return Corpus::Reject };
    let root: PathBuf = ROOT.path().to_owned();
    let ledger = root.join("ledger");
    let _ = fs::remove_dir_all(&ledger);
    fs::create_dir(&ledger).expect("make the ledger");
    fs::write(ledger.join("00000001.seg"), bytes).expect("write the segment");

    let before = seen(&root);
    let stats = Reader::open(&root).and_then(|reader| reader.stats());
    let mut config = Config::builtin().store;
    config.path.clone_from(&root);
    let options =
        Options { segment_bytes: 1 << 20, segment_age: Duration::from_hours(24), index: None };
    if let Ok(mut store) = Store::open_with(&config, options) {
        store.sync().expect("write behind it");
        store.close().expect("close it");
        assert_eq!(before, seen(&root), "opening changed what was seen; before: {stats:?}");
    }
    Corpus::Keep
});
