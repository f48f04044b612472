//! Windows over the notices of a ledger, each kind of gap once.

use super::*;

const MINUTE: u64 = 60 * 1_000_000_000;

fn at(minute: u64) -> Timestamp {
    Timestamp(minute * MINUTE)
}

fn started() -> Notice {
    Notice::Started { version: "1".into(), probes: vec![], policy_sha256: [0; 32] }
}

fn coverage(notices: &[(u64, Notice)], window: (u64, u64), alive: Option<u64>) -> Coverage {
    let mut fold = Fold::from(at(0));
    for (minute, notice) in notices {
        fold.add(at(*minute), notice);
    }
    let window = (at(window.0), at(window.1));
    let alive = alive.map(|now| Alive { since: at(0), now: at(now), is_told: true });
    fold.within(window, alive, Integrity::default())
}

fn gaps(coverage: &Coverage) -> Vec<(u64, u64, Extent, String)> {
    let minutes = |time: Time| time.0.0 / MINUTE;
    let gap = |it: &Gap| {
        (minutes(it.from), minutes(it.to), it.extent, format!("{} {}", it.stage, it.reason))
    };
    coverage.gaps.iter().map(gap).collect()
}

#[test]
fn a_window_in_which_the_daemon_ran_is_watched_whole() {
    let told = coverage(&[(10, started()), (11, Notice::Alive)], (10, 12), Some(12));
    assert_eq!((told.watched_seconds, told.seconds, told.has_gaps()), (120, 120, false));
    assert_eq!(told.sentence(), "watched: all of 2m; the ledger is whole");
}

#[test]
fn before_the_first_start_nobody_looked() {
    let told = coverage(&[(10, started())], (0, 20), Some(20));
    assert_eq!(gaps(&told), [(0, 10, Extent::Blind, "daemon not-running".to_owned())]);
    assert_eq!((told.watched_seconds, told.seconds), (600, 1200));
    assert_eq!(
        told.sentence(),
        "watched: 50.0 % of 20m (blind 10m: daemon not-running); the ledger is whole"
    );
}

#[test]
fn a_stop_and_an_end_without_a_word_are_told_apart() {
    let stopped = [(1, started()), (5, Notice::Stopped), (7, started())];
    let told = coverage(&stopped, (1, 9), Some(9));
    assert_eq!(gaps(&told), [(5, 7, Extent::Blind, "daemon stopped".to_owned())]);
    let killed = [(1, started()), (5, Notice::Alive), (7, started())];
    let told = coverage(&killed, (1, 9), Some(9));
    assert_eq!(gaps(&told), [(5, 7, Extent::Blind, "daemon ended-without-a-word".to_owned())]);
}

#[test]
fn flows_of_which_a_killed_daemon_did_not_see_the_end_leave_its_last_minute_degraded() {
    let killed =
        [(1, started()), (5, Notice::Alive), (5, Notice::LostSight { flows: 37 }), (7, started())];
    let told = coverage(&killed, (1, 9), Some(9));
    let open = (4, 5, Extent::Degraded, "daemon open-flows".to_owned());
    let blind = (5, 7, Extent::Blind, "daemon ended-without-a-word".to_owned());
    assert_eq!(gaps(&told), [open, blind]);
    assert!(told.sentence().contains("daemon open-flows: 37"), "{}", told.sentence());
}

#[test]
fn of_a_ledger_alone_nothing_is_known_after_its_last_word() {
    let told = coverage(&[(1, started()), (3, Notice::Alive)], (2, 10), None);
    assert_eq!(gaps(&told), [(3, 10, Extent::Blind, "daemon no-word-since".to_owned())]);
    let told = coverage(&[(1, started()), (3, Notice::Stopped)], (2, 10), None);
    assert_eq!(gaps(&told), [(3, 10, Extent::Blind, "daemon stopped".to_owned())]);
    let told = coverage(&[], (2, 10), None);
    assert_eq!(told.watched_seconds, 0);
}

#[test]
fn what_was_lost_and_a_probe_off_its_hook_leave_the_time_degraded() {
    let lost = Notice::Lost {
        stage: "probe".into(),
        reason: "ring-full-flow".into(),
        count: 7,
        since: None,
    };
    let off = Notice::Detached {
        probe: "tc_egress".into(),
        interface: Some("eth0".into()),
        is_displaced: false,
    };
    let on = Notice::Attached { probe: "tc_egress".into(), interface: Some("eth0".into()) };
    let notices = [(1, started()), (2, Notice::Alive), (3, lost), (5, off), (6, on)];
    let told = coverage(&notices, (1, 9), Some(9));
    let degraded = |from, to, what: &str| (from, to, Extent::Degraded, what.to_owned());
    assert_eq!(
        gaps(&told),
        [degraded(2, 3, "probe ring-full-flow"), degraded(4, 6, "probe tc_egress eth0")]
    );
    assert_eq!(told.watched_seconds, told.seconds);
    assert!(told.has_gaps());
    assert_eq!(told.gaps[0].count, Some(7));
}

#[test]
fn what_retention_removed_is_no_longer_watched_and_nothing_counts_twice() {
    let removed = Notice::Removed { segments: vec![1], entries: 9, from: at(1), to: at(4) };
    let notices = [(3, started()), (5, removed)];
    let told = coverage(&notices, (0, 10), Some(10));
    assert_eq!((told.watched_seconds, told.seconds), (360, 600));
    assert_eq!(told.gaps.len(), 2);
}

#[test]
fn a_daemon_whose_notices_are_not_written_yet_watches_since_it_says_so() {
    let told = |fold: Fold| {
        let alive = Alive { since: at(6), now: at(9), is_told: true };
        gaps(&fold.within((at(1), at(9)), Some(alive), Integrity::default()))
    };
    assert_eq!(told(Fold::from(at(0))), [(1, 6, Extent::Blind, "daemon not-running".to_owned())]);
    let mut killed = Fold::from(at(0));
    killed.add(at(1), &started());
    let reason = "daemon ended-without-a-word".to_owned();
    assert_eq!(told(killed), [(1, 6, Extent::Blind, reason)]);
}

#[test]
fn a_window_in_the_middle_of_a_long_watch_is_watched_whole() {
    let mut fold = Fold::from(at(997));
    for minute in 997..1_010 {
        fold.add(at(minute), &Notice::Alive);
    }
    let told = fold.within((at(1_000), at(1_005)), None, Integrity::default());
    assert!(!told.has_gaps(), "{told:?}");
}

#[test]
fn over_a_step_of_the_clock_no_time_is_taken_for_watched_that_did_not_pass() {
    let step = |from, to| Notice::ClockStepped { from: at(from), to: at(to) };
    let told = coverage(&[(1, started()), (900, step(3, 900))], (1, 902), Some(902));
    assert_eq!(gaps(&told), [(3, 900, Extent::Blind, "clock stepped".to_owned())]);
    let back = [(1, started()), (2, step(900, 2)), (3, Notice::Stopped), (5, started())];
    let told = coverage(&back, (1, 9), Some(9));
    assert_eq!(
        gaps(&told),
        [
            (2, 9, Extent::Degraded, "clock stepped".to_owned()),
            (3, 5, Extent::Blind, "daemon stopped".to_owned())
        ]
    );
}

#[test]
fn a_gap_however_short_is_never_all_of_a_window() {
    let notices = [(0, started()), (100_000, Notice::Stopped), (100_001, started())];
    let told = coverage(&notices, (1, 200_000), Some(200_000));
    assert!(told.sentence().starts_with("watched: 99.9 % of "), "{}", told.sentence());
}

#[test]
fn damage_is_told_and_is_a_gap() {
    let mut fold = Fold::from(at(0));
    fold.add(at(0), &started());
    let ledger = Integrity { damaged: 1, missing_blocks: 4, missing_segments: 1 };
    let alive = Alive { since: at(0), now: at(1), is_told: true };
    let told = fold.within((at(0), at(1)), Some(alive), ledger);
    assert!(told.has_gaps());
    let end = "the ledger is not whole: 1 damaged stretch, 4 blocks missing, 1 segment missing";
    assert!(told.sentence().ends_with(end), "{}", told.sentence());
}

#[test]
fn a_failed_self_test_is_blindness_since_the_last_that_passed_until_the_next() {
    let failed = |since| Notice::SelfTestFailed { since: at(since) };
    let of = |notices: &[(u64, Notice)]| {
        let told = gaps(&coverage(notices, (5, 40), None)).into_iter();
        let told = told.filter(|(.., cause)| cause == "self-test failed");
        told.map(|(from, to, extent, _)| (from, to, extent)).collect::<Vec<_>>()
    };
    let over =
        [(5, started()), (20, failed(14)), (26, Notice::SelfTestPassed), (40, Notice::Alive)];
    assert_eq!(of(&over), [(14, 26, Extent::Blind)]);
    let open = [(5, started()), (20, failed(14)), (40, Notice::Alive)];
    assert_eq!(of(&open), [(14, 40, Extent::Blind)]);
    let stopped = [(5, started()), (20, failed(14)), (21, Notice::Stopped)];
    assert_eq!(of(&stopped), [(14, 21, Extent::Blind)]);
    let again = [(5, started()), (20, failed(14)), (22, Notice::Alive), (30, started())];
    assert_eq!(of(&again), [(14, 22, Extent::Blind)]);
}

#[test]
fn what_was_lost_leaves_the_time_degraded_from_its_own_beginning_on_and_not_from_the_word_before() {
    let lost = |since: u64| Notice::Lost {
        stage: "probe".into(),
        reason: "ring-full-flow".into(),
        count: 7,
        since: Some(at(since)),
    };
    // The word before that, of the very same minute, says nothing of when that was.
    let notices = [(1, started()), (5, Notice::Alive), (9, Notice::Alive), (9, lost(7))];
    let told = coverage(&notices, (1, 12), Some(12));
    assert_eq!(gaps(&told), [(7, 9, Extent::Degraded, "probe ring-full-flow".to_owned())]);
    assert!(coverage(&notices, (7, 8), Some(12)).has_gaps(), "it was within");
    assert!(!coverage(&notices, (2, 6), Some(12)).has_gaps(), "it was after");
    // After a step back of the clock a beginning may be behind its end.
    let told = coverage(&[(1, started()), (5, lost(8))], (1, 12), Some(12));
    assert_eq!(gaps(&told), [(5, 5, Extent::Degraded, "probe ring-full-flow".to_owned())]);
}

#[test]
fn a_daemon_that_stood_still_leaves_that_time_degraded() {
    let notices = [(1, started()), (8, Notice::Stalled { since: at(6) })];
    let told = coverage(&notices, (1, 12), Some(12));
    assert_eq!(gaps(&told), [(6, 8, Extent::Degraded, "daemon stood-still".to_owned())]);
    assert_eq!(told.watched_seconds, told.seconds, "the probes went on");
}

#[test]
fn of_a_daemon_that_does_not_say_what_it_lost_nothing_is_known_after_its_last_word() {
    let mut fold = Fold::from(at(0));
    fold.add(at(1), &started());
    fold.add(at(4), &Notice::Alive);
    let alive = Alive { since: at(1), now: at(9), is_told: false };
    let told = fold.within((at(1), at(9)), Some(alive), Integrity::default());
    assert_eq!(gaps(&told), [(4, 9, Extent::Blind, "daemon no-word-since".to_owned())]);
}

#[test]
fn what_retention_removed_is_told_with_how_much_it_was() {
    let removed = Notice::Removed { segments: vec![1], entries: 9, from: at(1), to: at(4) };
    let told = coverage(&[(3, started()), (5, removed)], (0, 10), Some(10));
    assert_eq!(told.gaps.iter().find_map(|it| it.count), Some(9), "{told:?}");
}
