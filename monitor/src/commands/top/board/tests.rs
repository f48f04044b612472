//! What is kept of flows, how it is added up, and in which order it stands.

use super::*;
use crate::{
    ecs::{Event, Time, tests::full_record},
    event::{FlowId, Record, Verdict},
    filter::RawFilter,
};

const START: u64 = 1_800_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn status() -> Status {
    serde_json::from_str(
        r#"{"version":"1","commit":"a","pid":1,"started_at":"2027-01-15T08:00:00Z","uptime":1,"ready":true,
        "tier":"full","probes":[],"coverage_since":"2027-01-15T08:00:00Z","losses":[],
        "policy":{"sha256":"00","approved_countries":["US"],"rules":0},"databases":[],
        "store":{"path":"/s","bytes":1,"records":1,"segments":1,"oldest":null,"index":"current"},
        "queues":[],"maps":[],"flows":3}"#,
    )
    .unwrap()
}

pub(in super::super) fn flow(number: u64, sent: u64, ended: bool) -> Record {
    let mut record = full_record();
    record.egress.started_at = Timestamp(START + number);
    record.egress.flow = FlowId((u128::from(START + number) << 64) | u128::from(number));
    record.egress.traffic.sent_bytes = sent;
    record.egress.ended_at = ended.then_some(Timestamp(START + SECOND));
    record.judgement.verdict = Verdict::Unapproved;
    record
}

/// What a look finds `seconds` after the first.
pub(in super::super) fn look(begin: Instant, seconds: u64, records: &[Record], sent: u64) -> Look {
    let owned = |record: &Record| {
        let json = serde_json::to_vec(&Event::from(record)).unwrap();
        serde_json::from_slice(&json).unwrap()
    };
    let total = format!(
        r#"{{"by":"verdict","key":"unapproved","flows":1,"attempts":0,"violations":1,
        "source":{{"bytes":{sent},"packets":1}},"destination":{{"bytes":0,"packets":0}},
        "verdicts":{{"approved":0,"unapproved":1,"unknown":0,"local":0}},
        "first_seen":"2027-01-15T08:00:00Z","last_seen":"2027-01-15T08:00:00Z"}}"#
    );
    Look {
        ask: Ask { by: None, filter: RawFilter::default(), since: Timestamp(START) },
        at: begin + Duration::from_secs(seconds),
        wall: Timestamp(START + seconds * SECOND),
        status: status(),
        totals: vec![serde_json::from_str(&total).unwrap()],
        flows: records.iter().map(owned).collect(),
        rows: Vec::new(),
        is_cut: false,
    }
}

fn rates(board: &Board) -> Vec<(u64, u64)> {
    board.sorted(Order::Rate, false, &[]).iter().map(|line| (line.rate, line.sent)).collect()
}

#[test]
fn a_rate_is_what_came_between_two_looks_and_silence_is_none() {
    let (begin, mut board) = (Instant::now(), Board::default());
    board.take(look(begin, 0, &[flow(1, 1000, false)], 1000));
    assert_eq!(rates(&board), [(0, 1000)], "nobody knows in how long that was sent");
    // The second flow began after the first look.
    let began = flow(SECOND, 500, false);
    board.take(look(begin, 2, &[flow(1, 5000, false), began], 5500));
    assert_eq!(rates(&board), [(2000, 5000), (250, 500)]);
    assert_eq!(board.total, Flow { sent: 5500, rate: 2250 });
    assert_eq!(board.unapproved, board.total);
    board.take(look(begin, 3, &[], 5500));
    assert_eq!(rates(&board), [(0, 5000), (0, 500)]);
    assert_eq!(board.strip, [2250, 0]);
}

#[test]
fn what_has_ended_fades_and_goes_and_what_is_silent_goes_later() {
    let (begin, mut board) = (Instant::now(), Board::default());
    let both = [flow(1, 10, true), flow(2, 20, false)];
    board.take(look(begin, 0, &both, 30));
    board.take(look(begin, 4, &both, 30));
    assert_eq!(rates(&board).len(), 2);
    board.take(look(begin, 6, &both[1..], 30));
    assert_eq!(rates(&board), [(0, 20)]);
    board.take(look(begin, 121, &[], 30));
    assert!(rates(&board).is_empty());
}

#[test]
fn a_daemon_that_is_gone_and_another_that_came_grow_by_nothing() {
    let (begin, mut board) = (Instant::now(), Board::default());
    board.take(look(begin, 0, &[flow(1, 10, false)], 1_000_000));
    board.take(look(begin, 1, &[flow(1, 70, false)], 1_000_060));
    assert_eq!(board.total.rate, 60);
    board.lose("no daemon answers".into());
    assert_eq!((board.total.rate, rates(&board)), (0, vec![(0, 70)]));
    board.take(look(begin, 9, &[], 5_000_000));
    assert_eq!((board.gone.as_deref(), board.total.rate), (None, 0));
}

#[test]
fn a_million_flows_take_the_memory_of_some_thousand_and_the_newest_stay() {
    let (begin, mut board) = (Instant::now(), Board::default());
    for round in 0..20 {
        let flows: Vec<Record> = (0..1000).map(|it| flow(round * 1000 + it, 7, false)).collect();
        board.take(look(begin, round, &flows, 7));
        assert!(board.lines.len() <= LINES_MAX, "{}", board.lines.len());
    }
    let newest = board.sorted(Order::Since, false, &[])[0];
    assert_eq!(newest.since, Some(Time(Timestamp(START + 19_999))));
}

#[test]
fn another_question_begins_anew() {
    let (begin, mut board) = (Instant::now(), Board::default());
    board.take(look(begin, 0, &[flow(1, 10, false)], 10));
    let mut other = look(begin, 1, &[], 900);
    other.ask.by = Some(crate::summary::By::Country.into());
    board.take(other);
    assert!(rates(&board).is_empty());
    assert_eq!(board.total, Flow { sent: 900, rate: 0 });
}
