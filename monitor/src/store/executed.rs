//! The stored form of what is known of the file that a process executed, and of what was only
//! claimed. Most of it is the same for all records of a process, so a block tells it once, with the
//! first entry that refers to the process; where nothing is known, nothing is written.

use serde::{Deserialize, Serialize};

use super::{
    record::{RecordError, Text},
    tables::{Interner, Tables},
};
use crate::event::{ExecutedFile, FileId, Process};

/// Of one process of the block's table.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredExecuted {
    pub(super) process: u32,
    facts: Vec<StoredFact>,
}

/// May be extended at its end.
#[derive(Debug, Serialize, Deserialize)]
enum StoredFact {
    Claimed(Text),
    File {
        device: u64,
        inode: u64,
    },
    /// The path leads to this file from the host's root.
    OfHost,
    Sha256([u8; 32]),
}

/// `at`: position in the process table. `None`: there is nothing to tell.
pub(super) fn executed_to_stored(
    at: u32,
    process: &Process,
    into: &mut Interner,
) -> Option<StoredExecuted> {
    let ExecutedFile { id, executed_ns: _, is_hosts, known_as: _, sha256 } = &process.file;
    let mut facts = Vec::new();
    let claimed = process.executable_claimed.as_ref();
    facts.extend(claimed.map(|path| StoredFact::Claimed(into.text(path))));
    facts.extend(id.map(|FileId { device, inode }| StoredFact::File { device, inode }));
    facts.extend(is_hosts.then_some(StoredFact::OfHost));
    facts.extend(sha256.map(StoredFact::Sha256));
    (!facts.is_empty()).then_some(StoredExecuted { process: at, facts })
}

/// To be asked before the entry that it came with is decoded.
pub(super) fn learn_executed(
    executed: &StoredExecuted,
    tables: &mut Tables,
) -> Result<(), RecordError> {
    let mut process = (*tables.process(executed.process)?).clone();
    for fact in &executed.facts {
        match fact {
            StoredFact::Claimed(path) => process.executable_claimed = Some(tables.text(*path)?),
            StoredFact::File { device, inode } => {
                process.file.id = Some(FileId { device: *device, inode: *inode });
            }
            StoredFact::OfHost => process.file.is_hosts = true,
            StoredFact::Sha256(hash) => process.file.sha256 = Some(*hash),
        }
    }
    tables.amend_process(executed.process, process)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        ecs::tests::{full_record, process},
        event::{Attribution, Entry, Lookup, Sender, Timestamp, Transport},
        store::{
            record::{StoredEntry, from_stored, to_stored},
            tables::StoredTables,
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
        let mut tables = Tables::from_stored(&tables).unwrap();
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
        let learnt = learn_executed(&executed, &mut Tables::default());
        assert_eq!(learnt, Err(RecordError::Dangling));
    }
}
