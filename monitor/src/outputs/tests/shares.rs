//! Shares of users in the store: who floods it is added up, and everybody else is told whole.

use super::*;

/// As small as a share can be.
fn little() -> StoreConfig {
    StoreConfig { max_bytes: 1 << 20, ..config(RecordMode::Unapproved) }
}

fn flow_of(user: u32, number: u64) -> Record {
    let mut record = full_record();
    record.egress.flow = crate::event::FlowId(u128::from(number));
    let mut process = record.sender.process().unwrap().clone();
    process.user = User { id: user, name: None };
    if let crate::event::Sender::Process { process: it, .. } = &mut record.sender {
        *it = Arc::new(process);
    }
    record
}

#[test]
fn a_flood_of_one_user_is_added_up_as_the_violations_it_is_and_another_is_told_whole() {
    const FLOOD: u64 = 5_000;
    let mut rig = rig(RecordMode::Unapproved, Memory::default(), 16_384);
    rig.outputs.entries.shares = Shares::of(&little());
    for number in 0..FLOOD {
        rig.deliver(flow_of(1000, number), sent(40, 1), true, Kept::Added);
    }
    for number in 0..100 {
        let kept = rig.deliver(flow_of(7, FLOOD + number), sent(40, 1), true, Kept::Added);
        assert_eq!(kept, Kept::Itemised);
    }
    let violations = rig.metrics.violations_total.with_label_values(&["CN", "rule:no-cn"]).get();
    assert_eq!(violations, FLOOD + 100, "each is counted, however it is kept");
    let (entries, metrics) = rig.finish();
    let one_by_one = |user| {
        let is = |entry: &&Entry| {
            matches!(entry, Entry::Flow(it)
            if it.sender.process().is_some_and(|process| process.user.id == user))
        };
        entries.iter().filter(is).count() as u64
    };
    assert_eq!(one_by_one(7), 100);
    assert!((100..3_000).contains(&one_by_one(1000)), "{}", one_by_one(1000));
    let rows: Vec<&Rollup> = entries
        .iter()
        .filter_map(|entry| if let Entry::Rollup(it) = entry { Some(it) } else { None })
        .collect();
    assert_eq!(rows.len(), 1);
    let added = FLOOD - one_by_one(1000);
    assert_eq!((rows[0].flows, rows[0].traffic), (added, sent(40 * added, added)));
    assert_eq!((rows[0].verdict, &*rows[0].program), (Verdict::Unapproved, "/usr/bin/curl"));
    let told = Notice::AddedUp { user: Some(1000), flows: added, attempts: 0 };
    let is_told = |entry: &Entry| matches!(entry, Entry::Notice { notice, .. } if *notice == told);
    assert!(entries.iter().any(is_told));
    assert_eq!(metrics.events_lost_total.with_label_values(&["rollup", "share"]).get(), added);
}

#[test]
fn a_flow_that_was_added_up_stays_so_and_no_byte_is_told_twice() {
    let mut rig = rig(RecordMode::Unapproved, Memory::default(), 16_384);
    rig.outputs.entries.shares = Shares::of(&little());
    let kept = (0..).map(|it| rig.deliver(flow_of(1, it), sent(1, 1), true, Kept::Added));
    let itemised = kept.take_while(|kept| *kept == Kept::Itemised).count() as u64;
    // A month later there is room again.
    rig.outputs.tick(86_400 * 30 * SECOND, later());
    rig.outputs.meter(&flow_of(1, itemised), sent(10, 1), Kept::Unpaid);
    let kept = rig.deliver(flow_of(1, itemised), sent(100, 1), false, Kept::Unpaid);
    assert_eq!(kept, Kept::Unpaid);
    assert_eq!(
        rig.deliver(flow_of(1, itemised + 1), sent(1, 1), true, Kept::Added),
        Kept::Itemised
    );
    let (entries, _) = rig.finish();
    let bytes = entries.iter().map(|entry| match entry {
        Entry::Rollup(rollup) => rollup.traffic.sent_bytes,
        _ => 0,
    });
    assert_eq!(bytes.sum::<u64>(), 111);
}

#[test]
fn a_user_who_invents_programs_does_not_fill_the_store_with_their_names() {
    let mut rig = rig(RecordMode::Unapproved, Memory::default(), 16_384);
    rig.outputs.entries.shares = Shares::of(&little());
    for number in 0..5_000 {
        let mut record = approved();
        let mut process = record.sender.process().unwrap().clone();
        process.executable = Some(format!("/tmp/{number}/{}", "x".repeat(200)).into());
        if let crate::event::Sender::Process { process: it, .. } = &mut record.sender {
            *it = Arc::new(process);
        }
        rig.deliver(record, sent(40, 1), true, Kept::Added);
    }
    let (entries, _) = rig.finish();
    let rows: Vec<&Rollup> = entries
        .iter()
        .filter_map(|entry| if let Entry::Rollup(it) = entry { Some(it) } else { None })
        .collect();
    assert!(rows.len() < 1_000, "{} rows", rows.len());
    assert_eq!(rows.iter().map(|row| row.flows).sum::<u64>(), 5_000);
    let others = rows.iter().find(|row| *row.program == *rollup::OVERFLOW_PROGRAM).unwrap();
    assert!(others.user.is_some(), "the user is known, and stays so");
}

#[test]
fn an_attempt_without_a_place_of_its_own_is_told_by_number() {
    let mut rig = rig(RecordMode::Unapproved, Memory::default(), 16_384);
    rig.outputs.entries.shares = Shares::of(&little());
    for number in 0..2_000 {
        let mut attempt = flow_of(1000, number);
        attempt.egress.phase = Phase::Attempt;
        rig.deliver(attempt, Traffic::default(), true, Kept::Added);
    }
    let sent = rig.deliver(flow_of(1000, 2_000), sent(40, 1), true, Kept::Added);
    assert_eq!(sent, Kept::Itemised, "attempts leave room for what is sent");
    let (entries, _) = rig.finish();
    let itemised = entries.iter().filter(|it| matches!(it, Entry::Flow(_))).count() as u64 - 1;
    let told = Notice::AddedUp { user: Some(1000), flows: 0, attempts: 2_000 - itemised };
    let is_told = |entry: &Entry| matches!(entry, Entry::Notice { notice, .. } if *notice == told);
    assert!(entries.iter().any(is_told));
}
