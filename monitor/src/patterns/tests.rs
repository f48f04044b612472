//! What is counted once, what is left out, and what is bounded.

use super::*;
use crate::{
    ecs::tests::full_record,
    event::{Operator, Process, Record, Sender},
};

const SECOND: u64 = 1_000_000_000;
const HOUR: u64 = 3_600 * SECOND;
/// 2026-11-01T00:00:00Z.
const START: u64 = 1_793_491_200 * SECOND;

/// The first and only state of a flow of curl to AS64500, port 443.
fn flow(number: u64, at_ns: u64) -> Record {
    let mut record = full_record();
    let at = Timestamp(START + at_ns);
    let egress = &mut record.egress;
    egress.flow = FlowId(u128::from(at.0) << 64 | u128::from(number));
    (egress.revision, egress.phase, egress.origin) = (0, Phase::Sent, Origin::Process);
    (egress.started_at, egress.last_at, egress.ended_at) = (at, at, Some(at));
    egress.remote = Some("203.0.113.7:443".parse().unwrap());
    egress.traffic =
        Traffic { sent_bytes: 1_000, sent_packets: 2, received_bytes: 500, received_packets: 1 };
    let findings = Arc::make_mut(&mut record.findings);
    findings.place.country = Country::Unlocated;
    findings.judgement.verdict = Verdict::Unapproved;
    findings.place.operator = Some(Arc::new(Operator {
        asn: Some(64_500),
        name: Some("Example".into()),
        country: None,
        is_anycast: false,
    }));
    by(record, "/usr/bin/curl")
}

fn by(mut record: Record, program: &str) -> Record {
    if let Sender::Process { process, .. } = &mut record.sender {
        let of = Process { executable: Some(program.into()), ..Process::clone(process) };
        *process = Arc::new(of);
    }
    record
}

fn answer(records: &[Record]) -> Answer {
    let mut patterns = Patterns::new(None, None);
    for record in records {
        patterns.see(&record.into());
    }
    patterns.answer()
}

#[test]
fn states_of_a_flow_are_one_contact_and_its_bytes_are_counted_once() {
    let states = (0..3).map(|revision| {
        let mut record = flow(1, 0);
        record.egress.revision = revision;
        record.egress.last_at = Timestamp(START + u64::from(revision) * HOUR);
        record.egress.ended_at = (revision == 2).then_some(record.egress.last_at);
        record.egress.traffic.sent_bytes = 1_000 * u64::from(revision + 1);
        record
    });
    let states: Vec<Record> = states.collect();
    let told = answer(&states);
    let row = &told.rows[0];
    assert_eq!((told.rows.len(), row.flows, row.contacts), (1, 1, 1));
    assert_eq!((row.traffic.sent_bytes, row.last), (3_000, Timestamp(START + 2 * HOUR)));
    assert!((row.out_per_in().unwrap() - 6.0).abs() < 0.01, "{row:?}");
}

#[test]
fn what_opens_at_once_is_one_contact_and_hours_and_days_are_those_in_which_one_began() {
    let at = [0, SECOND / 2, SECOND, HOUR / 2, HOUR, 25 * HOUR];
    let records: Vec<Record> = (0..).zip(at).map(|(number, at)| flow(number, at)).collect();
    let row = &answer(&records).rows[0];
    assert_eq!((row.flows, row.contacts, row.hours, row.days), (6, 4, 3, 2), "{row:?}");
    assert_eq!(row.gaps, None);
}

#[test]
fn gaps_are_told_from_twelve_on_and_how_even_they_are() {
    let every = |gap: u64, count: u64| -> Vec<Record> {
        (0..count).map(|number| flow(number, number * gap + number % 3 * gap / 10)).collect()
    };
    assert_eq!(answer(&every(HOUR, 12)).rows[0].gaps, None);
    for count in [13, 5_000] {
        let row = &answer(&every(15 * SECOND, count)).rows[0];
        let gaps = row.gaps.unwrap();
        assert_eq!(gaps.count, count - 1);
        assert!((gaps.median_seconds - 15.0).abs() < 2.0 && gaps.share > 0.9, "{gaps:?}");
    }
}

#[test]
fn attempts_and_local_networks_are_left_out() {
    let mut attempt = flow(1, 0);
    attempt.egress.phase = Phase::Attempt;
    let mut local = flow(2, 0);
    local.judgement.verdict = Verdict::Local;
    assert!(answer(&[attempt, local]).rows.is_empty());
}

#[test]
fn an_attempt_that_sends_later_is_a_contact_then() {
    let mut attempt = flow(1, 0);
    (attempt.egress.phase, attempt.egress.ended_at) = (Phase::Attempt, None);
    let mut sent = flow(1, 0);
    sent.egress.revision = 1;
    let told = answer(&[attempt, sent]);
    assert_eq!((told.rows.len(), told.rows[0].contacts), (1, 1));
}

#[test]
fn what_began_before_the_period_is_no_contact_in_it() {
    let mut patterns =
        Patterns::new(Some(Timestamp(START + HOUR)), Some(Timestamp(START + 9 * HOUR)));
    let mut before = flow(1, 0);
    before.egress.revision = 4;
    before.egress.last_at = Timestamp(START + 2 * HOUR);
    for record in [before, flow(2, 3 * HOUR), flow(3, 10 * HOUR)] {
        patterns.see(&(&record).into());
    }
    let row = &patterns.answer().rows[0];
    assert_eq!((row.flows, row.contacts), (2, 1), "{row:?}");
}

#[test]
fn a_program_that_sends_everywhere_hides_nobody_but_itself_and_what_is_left_out_is_counted() {
    let mut patterns = Patterns::new(None, None);
    let many = u64::from(KEYS_OF_PROGRAM) + 500;
    for number in 0..many {
        let mut record = by(flow(number, number), "/tmp/scan");
        record.egress.remote.as_mut().unwrap().set_port(number as u16 + 1);
        patterns.see(&(&record).into());
    }
    patterns.see(&(&flow(many, many)).into());
    let told = patterns.answer();
    assert_eq!(told.left_out, 500);
    assert!(told.rows.iter().any(|row| &*row.program == "/usr/bin/curl"));
}

#[test]
fn the_beat_of_a_long_flow_is_that_of_its_latest_state() {
    let beat = |spans: u64, revision: u32, ended: bool| {
        let mut record = flow(1, 0);
        let mut activity = Activity::default();
        (0..spans).for_each(|_| _ = activity.add(5 * SECOND));
        record.egress.activity = Some(Box::new(activity));
        record.egress.revision = revision;
        record.egress.ended_at = ended.then_some(record.egress.last_at);
        record
    };
    for ended in [false, true] {
        let told = answer(&[beat(20, 0, false), beat(90, 1, ended)]);
        let beat = told.rows[0].beat.unwrap();
        assert_eq!((beat.spans, beat.flow), (90, flow(1, 0).egress.flow));
        assert!((beat.median_seconds - 5.0).abs() < 1.0 && beat.share > 0.99, "{beat:?}");
    }
}

#[test]
fn scripts_of_one_interpreter_are_rows_of_their_own() {
    let runs = |number: u64, line: &str| {
        let mut record = by(flow(number, number * HOUR), "/usr/bin/python3.11");
        if let Sender::Process { process, .. } = &mut record.sender {
            Arc::make_mut(process).command_line = Some(line.into());
        }
        record
    };
    let lines =
        ["python3 /opt/live.py 1", "python3 -u /opt/live.py 2", "python3 beacon.py", "python3"];
    let records: Vec<Record> = (0..).zip(lines).map(|(number, line)| runs(number, line)).collect();
    let told = answer(&records);
    let rows: Vec<_> =
        told.rows.iter().map(|it| (&*it.program, it.script.as_deref(), it.flows)).collect();
    let python = "/usr/bin/python3.11";
    let right =
        [(python, Some("/opt/live.py"), 2), (python, None, 1), (python, Some("beacon.py"), 1)];
    assert_eq!(rows, right);
}
