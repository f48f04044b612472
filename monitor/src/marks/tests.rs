//! Intervals over marks as a ledger has them, with clocks that are set between.

use super::*;
use crate::{
    ecs::tests::full_record,
    event::{BootId, Timeline},
};

const SECOND: u64 = 1_000_000_000;
const WALL: i64 = 1_800_000_000_000_000_000;

fn moment(second: u64, step_s: i64) -> Moment {
    let wall_at_boot_ns = WALL + step_s * SECOND.cast_signed();
    let timeline = Timeline { boot: BootId([1; 16]), wall_at_boot_ns, is_trusted: true };
    Moment { boot_ns: second * SECOND, timeline }
}

fn mark(kind: MarkKind, name: &str, at: Moment) -> Mark {
    Mark { kind, name: name.into(), note: None, shares: vec![], moment: at }
}

fn start(name: &str, at: Moment) -> Mark {
    mark(MarkKind::Start, name, at)
}

fn stop(name: &str, at: Moment) -> Mark {
    mark(MarkKind::Stop, name, at)
}

/// To 203.0.113.7 and example.org, from one second of the boot clock to another.
fn flow(from: Moment, to_second: u64) -> Record {
    let mut record = full_record();
    record.egress.remote = Some("203.0.113.7:443".parse().unwrap());
    record.egress.started_at = from.wall();
    record.egress.last_at = from.timeline.wall(to_second * SECOND);
    record.timeline = Some(from.timeline);
    record
}

fn names(intervals: &Intervals, record: &Record) -> Vec<String> {
    intervals.names(record).map(ToString::to_string).collect()
}

#[test]
fn a_flow_is_in_each_interval_that_any_of_its_life_is_in() {
    let marks = [
        start("a", moment(10, 0)),
        start("b", moment(20, 0)),
        stop("a", moment(30, 0)),
        stop("b", moment(40, 0)),
        start("c", moment(50, 0)),
    ];
    let intervals = Intervals::of(&marks);
    let of = |from, to| names(&intervals, &flow(moment(from, 0), to));
    assert_eq!(of(1, 9), [""; 0]);
    assert_eq!(of(1, 10), ["a"]);
    assert_eq!(of(25, 26), ["a", "b"]);
    assert_eq!(of(30, 31), ["b"], "it was stopped by then");
    assert_eq!(of(45, 49), [""; 0]);
    assert_eq!(of(45, 60), ["c"], "which goes on");
    assert_eq!(of(1, 99), ["a", "b", "c"]);
}

#[test]
fn where_the_clock_was_set_the_order_of_the_boot_decides() {
    // Set back by an hour while it ran.
    let marks = [start("a", moment(100, 0)), stop("a", moment(200, -3_600))];
    let intervals = Intervals::of(&marks);
    for (second, step, expected) in
        [(99, 0, 0), (150, 0, 1), (150, -3_600, 1), (199, -3_600, 1), (201, -3_600, 0), (201, 0, 0)]
    {
        let record = flow(moment(second, step), second);
        assert_eq!(names(&intervals, &record).len(), expected, "{second} {step}");
        let (since, until) = intervals.find("a").unwrap().window();
        let is_in_window =
            since.unwrap() <= record.egress.last_at && record.egress.started_at < until.unwrap();
        assert!(is_in_window || expected == 0, "a window leaves none out: {second} {step}");
    }
}

#[test]
fn the_last_of_a_name_is_meant_and_each_other_has_a_number() {
    let marks = [
        start("a", moment(1, 0)),
        stop("a", moment(2, 0)),
        start("a", moment(3, 0)),
        stop("a", moment(4, 0)),
        stop("b", moment(5, 0)),
    ];
    let intervals = Intervals::of(&marks);
    let begins = |asked| intervals.find(asked).unwrap().start.map(|it| it.boot_ns / SECOND);
    assert_eq!((begins("a"), begins("a#1"), begins("a#2")), (Some(3), Some(1), Some(3)));
    assert_eq!(begins("b"), None, "its start is not there any more");
    for wrong in ["c", "a#3", "A", ""] {
        assert!(intervals.find(wrong).unwrap_err().contains("mark list"), "{wrong}");
    }
}

#[test]
fn what_runs_can_not_be_started_and_what_does_not_can_not_be_stopped() {
    let intervals = Intervals::of(&[start("a", moment(1, 0)), start("a", moment(1, 0))]);
    assert_eq!(intervals.iter().count(), 1, "the same mark twice is one");
    let again = intervals.check(&start("a", moment(2, 0))).unwrap_err().to_string();
    assert!(again.starts_with("\"a\" runs already, since 2027-01-15T08:00:01Z"), "{again}");
    let unknown = intervals.check(&stop("b", moment(2, 0))).unwrap_err();
    assert_eq!(unknown, MarkError::DoesNotRun("b".into()));
    assert_eq!(intervals.check(&stop("a", moment(2, 0))), Ok(()));
    let many: Vec<Mark> =
        (0..RUNNING_MAX).map(|it| start(&format!("n{it}"), moment(1, 0))).collect();
    assert_eq!(Intervals::of(&many).check(&start("a", moment(2, 0))), Err(MarkError::TooMany));
}

#[test]
fn declared_is_what_goes_there_and_then_and_nothing_before_after_or_elsewhere() {
    let share = |destination: &str, until| Share {
        destination: destination.into(),
        purpose: "maps".into(),
        until,
    };
    let declared = |shares: Vec<Share>, from: u64, to: u64| {
        let begins = Mark { shares, ..start("a", moment(10, 0)) };
        let intervals = Intervals::of(&[begins, stop("a", moment(30, 0))]);
        intervals.declared(&flow(moment(from, 0), to)).count()
    };
    let net = || vec![share("203.0.113.0/24", None)];
    assert_eq!(declared(net(), 10, 29), 1);
    assert_eq!(declared(net(), 9, 20), 0, "it began before");
    assert_eq!(declared(net(), 20, 30), 0, "it went on after");
    assert_eq!(declared(vec![share("192.0.2.0/24", None)], 10, 20), 0);
    assert_eq!(declared(vec![share("example.org", None)], 10, 20), 1);
    let until = Some(moment(20, 0).wall());
    assert_eq!(declared(vec![share("203.0.113.7", until)], 10, 19), 1);
    assert_eq!(declared(vec![share("203.0.113.7", until)], 10, 20), 0);
    assert_eq!(declared(vec![share("not a place", None)], 10, 20), 0);
}
