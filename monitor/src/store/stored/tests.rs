//! What entries of a block share is told once and comes back with each of them.

use std::sync::Arc;

use super::{
    entry::{StoredEntry, from_stored, to_stored},
    error::FormError,
    executed::{StoredExecuted, StoredFact},
    process::Processes,
    tables::{Interner, StoredTables, Tables},
};
use crate::{
    ecs::tests::{full_record, process},
    event::{
        Attribution, BootId, DatabaseId, Entry, ExecutedFile, FileId, Lookup, Moment, Notice,
        Process, Sender, Timeline, Timestamp, Transport, Watcher, Watching,
    },
};

fn flow(process: &Arc<Process>, creator: Option<&Arc<Process>>) -> Entry {
    let mut record = full_record();
    let (process, creator) = (Arc::clone(process), creator.cloned());
    record.sender = Sender::Process { process, attribution: Attribution::Socket, creator };
    Entry::Flow(record)
}

fn lookup(process: &Arc<Process>) -> Entry {
    let (process, attribution) = (Arc::clone(process), Attribution::Socket);
    Entry::Lookup(Lookup {
        at: Timestamp(1),
        sender: Sender::Process { process, attribution, creator: None },
        server: "192.0.2.53:53".parse().unwrap(),
        transport: Transport::UDP,
        name: "example.org".into(),
        kind: "A".into(),
        answer: None,
        host: None,
    })
}

/// The bytes of each entry, and the entries as they are read back.
fn stored(entries: &[Entry]) -> (Vec<usize>, Vec<Entry>) {
    let mut interner = Interner::default();
    let bytes: Vec<Vec<u8>> = entries
        .iter()
        .map(|entry| postcard::to_allocvec(&to_stored(entry, 0, &mut interner)).unwrap())
        .collect();
    let tables = postcard::to_allocvec(&interner.stored()).unwrap();
    let tables: StoredTables<'_> = postcard::from_bytes(&tables).unwrap();
    let mut tables = Tables::from_stored(tables).unwrap();
    let back = bytes.iter().map(|bytes| {
        let entry: StoredEntry = postcard::from_bytes(bytes).unwrap();
        from_stored(entry, 0, &mut tables).unwrap()
    });
    let back = back.collect();
    (bytes.iter().map(Vec::len).collect(), back)
}

fn without(process: &Process) -> Process {
    let (executable_claimed, file) = (None, ExecutedFile::default());
    Process { executable_claimed, file, ..process.clone() }
}

#[test]
fn what_is_known_of_the_file_is_told_once_a_block_and_nothing_where_nothing_is() {
    let (full, bare) = (Arc::new(process()), Arc::new(without(&process())));
    let told = stored(&[flow(&full, None), flow(&full, None), flow(&full, None)]).0;
    let plain = stored(&[flow(&bare, None), flow(&bare, None), flow(&bare, None)]).0;
    assert!(told[0] > plain[0] + 32, "{told:?} {plain:?}");
    assert_eq!(told[1..], plain[1..]);
}

#[test]
fn sender_creator_and_asker_come_back_with_what_is_known_of_their_files() {
    let some = |pid, claimed: Option<&str>, file| {
        let executable_claimed = claimed.map(Into::into);
        Arc::new(Process { pid, executable_claimed, file, ..process() })
    };
    let none = ExecutedFile::default();
    let id = Some(FileId { device: u64::MAX, inode: 1 });
    let elsewhere = some(1, None, ExecutedFile { id, ..none.clone() });
    let hashed = some(2, None, ExecutedFile { sha256: Some([3; 32]), ..none.clone() });
    let hosts = some(3, None, ExecutedFile { id, is_hosts: true, ..none.clone() });
    let claimed = some(4, Some("./x"), none.clone());
    let asker = some(5, Some("/x"), ExecutedFile { sha256: Some([4; 32]), ..none });
    let entries = [
        lookup(&asker),
        lookup(&asker),
        flow(&elsewhere, Some(&hashed)),
        flow(&hashed, Some(&claimed)),
        flow(&hosts, Some(&elsewhere)),
        flow(&asker, None),
    ];
    assert_eq!(stored(&entries).1, entries);
}

#[test]
fn facts_of_a_process_that_is_not_there_are_an_error() {
    let executed = StoredExecuted { process: 0, facts: vec![StoredFact::OfHost] };
    let learnt = Processes::default().learn(executed);
    assert_eq!(learnt, Err(FormError::Dangling));
}

/// The bytes of a notice, which is the first of its block.
fn bytes(notice: &Notice) -> Vec<u8> {
    let entry = Entry::Notice { at: Timestamp(9), notice: notice.clone() };
    postcard::to_allocvec(&to_stored(&entry, 0, &mut Interner::default())).unwrap()
}

fn watching() -> Watching {
    let timeline = Timeline { boot: BootId([5; 16]), wall_at_boot_ns: -7, is_trusted: true };
    Watching {
        version: "0.1.0".into(),
        kernel: "6.18.5".into(),
        probes: vec![
            Watcher { name: "connect4".into(), missing: None },
            Watcher { name: "fork".into(), missing: Some("no tracefs".into()) },
        ],
        interfaces: vec!["eth0".into()],
        clock: Moment { boot_ns: 11, timeline },
        tolerance_ns: Some(12),
        policy_sha256: [3; 32],
        databases: vec![DatabaseId {
            label: "country".into(),
            name: "Example".into(),
            dated: Timestamp(13),
            sha256: [4; 32],
        }],
    }
}

#[test]
fn a_loss_without_a_beginning_is_stored_as_ever_and_notices_have_the_numbers_of_the_format() {
    let lost = |since| Notice::Lost { stage: "s".into(), reason: "r".into(), count: 7, since };
    // By hand: entry 2, the time, notice 3, two texts by their position, how many. So did all versions.
    assert_eq!(bytes(&lost(None)), [2, 9, 3, 0, 1, 7]);
    assert_eq!(bytes(&lost(Some(Timestamp(8)))), [2, 9, 21, 0, 1, 7, 8]);
    assert_eq!(bytes(&Notice::Stalled { since: Timestamp(8) }), [2, 9, 22, 8]);
    assert_eq!(bytes(&Notice::Watching(Arc::new(watching())))[..3], [2, 9, 23]);
    let notices = [lost(None), lost(Some(Timestamp(8))), Notice::Watching(Arc::new(watching()))];
    let entries = notices.map(|notice| Entry::Notice { at: Timestamp(9), notice });
    assert_eq!(stored(&entries).1, entries);
}
