//! Notices that somebody waits for.

use std::sync::mpsc;

use super::{noted::NoteError, *};

fn note(name: &str) -> Entry {
    let notice = Notice::Lost { stage: name.into(), reason: "x".into(), count: 1, since: None };
    Entry::Notice { at: Timestamp(1), notice }
}

#[test]
fn what_somebody_waits_for_is_synced_when_he_is_answered_also_behind_a_full_queue() {
    let (open, gate) = mpsc::channel();
    let memory = Memory { gate: Some(Arc::new(Mutex::new(gate))), ..Memory::default() };
    let mut rig = rig(RecordMode::All, memory.clone(), 2);
    for _ in 0..5 {
        rig.deliver(full_record(), sent(1, 1), true, Kept::Added);
    }
    let noter = rig.outputs.noter();
    let waiting = thread::spawn(move || noter.note(note("waited")));
    open.send(()).unwrap();
    assert_eq!(waiting.join().unwrap(), Ok(()));
    let entries = memory.entries.lock().unwrap().clone();
    assert!(entries.contains(&note("waited")), "{entries:?}");
    rig.finish();
}

#[test]
fn a_ledger_that_fails_is_not_given_what_somebody_waits_for_and_he_is_told() {
    let memory = Memory::default();
    memory.is_read_only.store(true, Ordering::Relaxed);
    let rig = rig(RecordMode::All, memory.clone(), 16);
    let noter = rig.outputs.noter();
    // The first finds out that it fails.
    assert_eq!(noter.note(note("first")), Err(NoteError::Failing));
    assert_eq!(noter.note(note("second")), Err(NoteError::Failing));
    memory.is_read_only.store(false, Ordering::Relaxed);
    let (entries, _) = rig.finish();
    assert!(!entries.contains(&note("second")), "{entries:?}");
}

#[test]
fn what_could_not_be_synced_is_not_said_to_be_safe() {
    let memory = Memory::default();
    memory.failures.lock().unwrap().push("sync");
    let rig = rig(RecordMode::All, memory.clone(), 16);
    let noter = rig.outputs.noter();
    assert_eq!(noter.note(note("first")), Err(NoteError::Failing));
    let (entries, _) = rig.finish();
    assert!(entries.contains(&note("first")), "it is tried again, and may be there: {entries:?}");
}

#[test]
fn who_waits_does_not_keep_the_writer_from_ending_and_later_ones_are_told_that_it_did() {
    let rig = rig(RecordMode::All, Memory::default(), 16);
    let noter = rig.outputs.noter();
    rig.finish();
    assert_eq!(noter.note(note("late")), Err(NoteError::Ending));
}
