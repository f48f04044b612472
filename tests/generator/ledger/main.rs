//! Writes a store, and says on stdout what was acknowledged: what the test of power cuts traces. It checks
//! nothing.
//!
//! `ledger PATH ROUNDS`: appends, rotation, checkpoints, retention, in an order that is the same each time.

use std::{
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use geofenced::inside::{
    config::{RecordMode, StoreConfig},
    event::{
        Certainty, Country, CountryCode, Egress, Entry, Findings, FlowId, Judgement, Origin,
        Passage, Phase, Place, Reason, Record, Sender, Timestamp, Traffic, Transport, Verdict,
    },
    store::{Options, Store},
};

/// A segment ends after some sixty of these rounds;
const SEGMENT_BYTES: u64 = 8 << 10;
/// the store holds seven of them.
const STORE_BYTES: u64 = 56 << 10;
const SEAL_EACH: u64 = 7;
const RETAIN_EACH: u64 = 20;
/// By the wall clock of the records.
const START: u64 = 1_800_000_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [path, rounds] = &words[..] else { panic!("ledger PATH ROUNDS") };
    let rounds: u64 = rounds.parse().expect("a number of rounds");
    let config = StoreConfig {
        path: PathBuf::from(path),
        record: RecordMode::All,
        retention: Duration::from_hours(24 * 365 * 100),
        max_bytes: STORE_BYTES,
        sync: Duration::from_secs(10),
        shipping: None,
    };
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        segment_age: Duration::from_hours(24),
        index: None,
    };
    let mut store = Store::open_with(&config, options).expect("a store");
    let mut number = 0;
    for round in 1..=rounds {
        for _ in 0..=round % 5 {
            number += 1;
            store.append(&Entry::Flow(record(number))).expect("append");
        }
        // Some rounds are only written: readers see them, a loss of power may take them.
        if round % 3 == 0 {
            store.write().expect("write");
            continue;
        }
        store.sync().expect("sync");
        say(&format!("acknowledged {number}"));
        if round % SEAL_EACH == 0 {
            store.seal().expect("seal");
        }
        if round % RETAIN_EACH == 0 {
            store.retain().expect("retain");
        }
    }
}

/// In one write, so that it stands between the others in a trace.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).expect("say");
    out.flush().expect("say");
}

fn record(number: u64) -> Record {
    let at = Timestamp::from_secs(START + number);
    let country = CountryCode::new("CN").expect("a country");
    Record {
        egress: Egress {
            flow: FlowId(u128::from(at.0) << 64 | u128::from(number)),
            revision: 0,
            started_at: at,
            last_at: at,
            ended_at: Some(at),
            phase: Phase::Sent,
            origin: Origin::Process,
            transport: Transport::UDP,
            local: None,
            remote: Some(SocketAddr::new(Ipv4Addr::new(203, 0, 113, 1).into(), number as u16)),
            traffic: Traffic { sent_bytes: 60, sent_packets: 1, ..Traffic::default() },
            passage: Passage::default(),
            activity: None,
        },
        findings: Arc::new(Findings {
            sender: Sender::Nobody,
            place: Place { country: Country::Known(country), ..Place::unknown() },
            judgement: Judgement {
                verdict: Verdict::Unapproved,
                certainty: Certainty::Full,
                reason: Reason::Country,
            },
            provenance: None,
            verdict_now: None,
            timeline: None,
        }),
    }
}
