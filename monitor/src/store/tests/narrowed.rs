//! By each thing that an investigator narrows by, the index leads to the few blocks that hold it, and to all of them.

use std::ops::ControlFlow;

use super::{
    ask,
    history::{History, expected},
    open, settle, write,
};
use crate::{
    event::{Ancestor, Entry, Process, Reason, Record, Sender, Timestamp, Transport, User},
    filter::RawFilter,
};

/// What a python runs that nobody else does.
fn rare(record: &mut Record) {
    let process = Process {
        pid: 4711,
        name: "python3".into(),
        executable: Some("/usr/bin/python3.11".into()),
        executable_claimed: None,
        file: crate::event::ExecutedFile { sha256: Some([0xa5; 32]), ..Default::default() },
        command_line: Some("python3 /srv/rare.py".into()),
        started_at: None,
        parents: vec![Ancestor {
            pid: 4710,
            name: "sh".into(),
            executable: None,
            command_line: None,
            started_at: None,
        }],
        user: User { id: 4712, name: Some("rare".into()) },
        unit: Some("user:4712/rare.service".into()),
        container: Some("rare-one".into()),
        cgroup: None,
        netns: None,
    };
    let attribution = crate::event::Attribution::Socket;
    record.sender = Sender::Process { process: process.into(), attribution, creator: None };
    record.judgement.reason = Reason::Rule("rare".into());
    record.egress.transport = Transport(47);
    record.egress.remote = Some("203.0.113.7:4711".parse().unwrap());
    record.egress.traffic.sent_bytes = 3 << 30;
}

#[test]
fn by_what_few_flows_have_few_blocks_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut history = History::new(31);
    let mut store = open(directory.path());
    let mut entries = history.entries(1500);
    for at in [100, 700, 701, 1400] {
        let mut record = history.begin();
        record.egress.ended_at = Some(record.egress.last_at);
        rare(&mut record);
        entries.insert(at, Entry::Flow(record));
    }
    write(&mut store, &entries, &mut history);
    settle(&store);
    let reader = store.reader();
    let some = |text: &str| Some(text.to_owned());
    let none = RawFilter::default;
    for raw in [
        RawFilter { script: some("rare.py"), ..none() },
        RawFilter { script: some("/srv/rare.py"), ..none() },
        RawFilter { process: some("rare.py"), ..none() },
        RawFilter { process: some("/srv/rare.py"), ..none() },
        RawFilter { user: some("rare"), ..none() },
        RawFilter { user: some("4712"), ..none() },
        RawFilter { unit: some("rare"), ..none() },
        RawFilter { unit: some("user:4712/rare"), ..none() },
        RawFilter { container: some("rare-one"), ..none() },
        RawFilter { hash: some("a5a5a5a5a"), ..none() },
        RawFilter { verdict_reason: some("rule:rare"), ..none() },
        RawFilter { pid: some("4711"), ..none() },
        RawFilter { tree: some("4710"), ..none() },
        RawFilter { transport: some("47"), ..none() },
        RawFilter { port: some("4711"), ..none() },
        RawFilter { min_bytes: some("3GiB"), ..none() },
        RawFilter { min_bytes: some("1.1GiB"), ..none() },
    ] {
        let query = raw.parse(Timestamp(u64::MAX / 2)).unwrap();
        let right = expected(&entries, &query);
        assert_eq!(right.len(), 4, "{raw:?}");
        assert_eq!(ask(&reader, &query), right, "{raw:?}");
        assert_eq!(ask(&reader.without_index(), &query), right, "{raw:?}");
        let stats = reader.query(&query, |_| ControlFlow::Continue(())).unwrap();
        let all = reader.without_index().query(&query, |_| ControlFlow::Continue(())).unwrap();
        assert!(stats.blocks_read * 3 < all.blocks_read, "{raw:?}: {stats:?} {all:?}");
    }
}
