//! The whole daemon over recorded samples: from their bytes to the ledger, without root or kernel.

use std::{fs, path::Path, process::Command};

use monitor_ebpf::sample::{
    EgressSample, ExecSample, FILENAME_BYTES, FlowCounters, FlowKey, ForkSample, NAME_BYTES,
    NameHead, Owner, PATH_BYTES, SenderSample, SocketEndSample, kind, ownership, path_end, phase,
    told,
};
use serde_json::Value;
use tempfile::TempDir;
use zerocopy::{FromZeros, IntoBytes};

#[path = "../generator/hello.rs"]
mod hello;

const SECOND: u64 = 1_000_000_000;
const START: u64 = 100 * SECOND;
const PID: u32 = 4711;
const CN: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 7];

/// A recording, as `geofenced run --record-samples` writes it.
#[derive(Default)]
pub(crate) struct Recording(Vec<u8>);

impl Recording {
    fn frame(&mut self, tag: u8, bytes: &[u8]) -> &mut Self {
        self.0.push(tag);
        self.0.extend_from_slice(&u32::try_from(bytes.len()).unwrap().to_le_bytes());
        self.0.extend_from_slice(bytes);
        self
    }
    fn sample(&mut self, sample: &(impl IntoBytes + zerocopy::Immutable)) -> &mut Self {
        self.frame(b'S', sample.as_bytes())
    }
    /// The end of a sweep.
    fn tick(&mut self, at_ns: u64) -> &mut Self {
        self.frame(b'T', &at_ns.to_le_bytes())
    }
    /// The beginning of a sweep: how far samples are submitted, and taken in.
    fn progress(&mut self, submitted: u64, taken_in: u64) -> &mut Self {
        self.frame(b'P', &[submitted, taken_in].map(u64::to_le_bytes).concat())
    }
    fn counters(&mut self, flow: FlowKey, counters: FlowCounters) -> &mut Self {
        let bytes = [flow.as_bytes(), counters.as_bytes()].concat();
        self.frame(b'C', &bytes)
    }
}

fn owner(at_ns: u64) -> Owner {
    let mut comm = [0; 16];
    comm[..6].copy_from_slice(b"uplink");
    Owner {
        tgid: PID,
        tid: PID,
        comm,
        started_ns: START,
        executed_ns: START + 1,
        touched_ns: at_ns,
        ..Owner::default()
    }
}

/// A process is forked, becomes /opt/uplink, sends one datagram and is gone.
pub(crate) fn one_datagram() -> Recording {
    one_datagram_saying(&[])
}

/// The same, and then says hello to each of these names.
fn one_datagram_saying(names: &[&str]) -> Recording {
    one_datagram_and(|recording, flow| {
        for name in names {
            let hello = hello::record(&hello::client_hello(name, 0));
            recording.frame(b'S', &named(told::TLS, flow, &hello));
        }
    })
}

/// The same, and then something more before its socket is closed.
fn one_datagram_and(more: impl FnOnce(&mut Recording, FlowKey)) -> Recording {
    let mut recording = Recording::default();
    let mut filename = [0; FILENAME_BYTES];
    filename[..11].copy_from_slice(b"/opt/uplink");
    // By a kernel that says which file it was, from the file up.
    let mut path = [0; PATH_BYTES + NAME_BYTES];
    path[..11].copy_from_slice(b"uplink\0opt\0");
    let flow =
        FlowKey { cookie: 9, remote: CN, remote_port: 5000, transport: 17, ..FlowKey::default() };
    let attempt = EgressSample {
        kind: kind::EGRESS,
        phase: phase::ATTEMPT,
        ownership: ownership::USER,
        at_ns: START + 2,
        flow,
        owner: owner(START + 2),
        creator: owner(START + 2),
        ..EgressSample::default()
    };
    let sent = EgressSample {
        phase: phase::SENT,
        at_ns: START + 3,
        sent_bytes: 128,
        sent_packets: 1,
        ..attempt
    };
    let counters = FlowCounters {
        sent_bytes: 128,
        sent_packets: 1,
        first_ns: START + 2,
        last_ns: START + 3,
        ..FlowCounters::default()
    };
    let fork =
        ForkSample { kind: kind::FORK, child_tgid: PID, at_ns: START, ..ForkSample::default() };
    let exec = ExecSample {
        kind: kind::EXEC,
        filename_bytes: 11,
        process: owner(START + 1),
        path_bytes: 11,
        path_end: path_end::ROOT,
        inode: 4711,
        filename,
        path,
        ..FromZeros::new_zeroed()
    };
    let end = SocketEndSample { kind: kind::SOCKET_END, at_ns: START + 4, cookie: 9, tgid: PID };
    recording.sample(&fork).sample(&exec).sample(&attempt).sample(&sent);
    more(&mut recording, flow);
    recording.sample(&end);
    recording.counters(flow, counters).tick(START + SECOND).tick(START + 2 * SECOND);
    recording
}

/// A datagram each time that so much has passed, on one socket, `count` times after the first.
pub(crate) fn beating(period_ns: u64, count: u64) -> Recording {
    one_datagram_and(|recording, flow| {
        for beat in 1..=count {
            let counters = FlowCounters {
                sent_bytes: 128 * (beat + 1),
                sent_packets: beat + 1,
                first_ns: START + 2,
                last_ns: START + 3 + beat * period_ns,
                ..FlowCounters::default()
            };
            // Swept each second, as the daemon does.
            for second in (0..period_ns / SECOND).rev() {
                let at_ns = counters.last_ns - second * SECOND + SECOND / 3;
                if second == 0 {
                    recording.counters(flow, counters);
                }
                recording.tick(at_ns);
            }
        }
    })
}

/// A packet that may name something, with room behind what the probes copied of it.
fn named(what: u8, flow: FlowKey, payload: &[u8]) -> Vec<u8> {
    let bytes = u32::try_from(payload.len()).unwrap();
    let head = NameHead {
        kind: kind::NAME,
        what,
        at_ns: START + 3,
        flow,
        started_ns: START,
        tgid: PID,
        payload_bytes: bytes,
        bytes,
        ..NameHead::default()
    };
    [head.as_bytes(), payload, &[0; 100]].concat()
}

/// Runs the daemon over a recording; what it printed, and the events it left in the ledger.
fn replayed(recording: &Recording, record: &str) -> (String, Vec<Value>) {
    replayed_by(recording, record, "")
}

/// The same with further rules.
fn replayed_by(recording: &Recording, record: &str, rules: &str) -> (String, Vec<Value>) {
    let directory = TempDir::new().unwrap();
    let ran = replay(&directory, recording, &format!("record = \"{record}\""), rules);
    (ran, asked(&directory, &["events"]))
}

/// What a command of the one that ran there says.
fn asked(directory: &TempDir, words: &[&str]) -> Vec<Value> {
    let words = [words, &["-o", "json"]].concat();
    let said = geofenced(&directory.path().join("config.toml"), &words).1;
    said.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs the daemon over a recording, with these settings of its store and rules; what it printed.
pub(crate) fn replay(
    directory: &TempDir,
    recording: &Recording,
    store: &str,
    rules: &str,
) -> String {
    let path = |name: &str| directory.path().join(name);
    let config = format!(
        "[policy]\napproved_countries = [\"US\"]\n[[geo.override]]\nnetwork = \"203.0.113.0/24\"\n\
         country = \"CN\"\n[store]\npath = \"{}\"\n{store}\n[metrics]\nlisten = \"\"\n\
         [api]\nsocket = \"{}\"\n{rules}",
        path("store").display(),
        path("api.sock").display(),
    );
    fs::write(path("config.toml"), config).unwrap();
    fs::write(path("recording"), &recording.0).unwrap();
    geofenced(&path("config.toml"), &["run", "--replay", path("recording").to_str().unwrap()]).0
}

/// stderr and stdout of a command that must succeed.
fn geofenced(config: &Path, words: &[&str]) -> (String, String) {
    let binary = env!("CARGO_BIN_EXE_geofenced");
    let output = Command::new(binary).arg("--config").arg(config).args(words).output().unwrap();
    let [stderr, stdout] = [output.stderr, output.stdout].map(|it| String::from_utf8(it).unwrap());
    assert!(output.status.success(), "{words:?}: {stderr}");
    (stderr, stdout)
}

#[test]
fn a_datagram_to_an_unapproved_country_is_stored_with_its_process() {
    let (_, events) = replayed(&one_datagram(), "unapproved");
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    assert_eq!(event["process"]["pid"], PID);
    assert_eq!(event["process"]["executable"], "/opt/uplink");
    assert_eq!(event["destination"]["ip"], "203.0.113.7");
    assert_eq!(event["destination"]["port"], 5000);
    assert_eq!(event["destination"]["geo"]["country_iso_code"], "CN");
    assert_eq!(event["network"]["transport"], "udp");
    assert_eq!(event["source"]["bytes"], 128);
    assert_eq!(event["geofenced"]["verdict"], "unapproved");
    assert_eq!(event["geofenced"]["phase"], "sent");
    assert_eq!(event["geofenced"]["attribution"], "socket");
    assert!(event["event"]["end"].is_string(), "its socket was closed: {event}");
}

#[test]
fn a_record_says_which_host_wrote_it_wherever_its_ledger_is_read() {
    for record in ["unapproved", "all"] {
        let directory = TempDir::new().unwrap();
        let store = format!("record = \"{record}\"");
        replay(&directory, &one_datagram(), &store, "[host]\nname = \"uav-7\"\n");
        let file = directory.path().join("config.toml");
        let here = fs::read_to_string(&file).unwrap();
        fs::write(&file, here.replace("uav-7", "ground")).unwrap();
        let events = asked(&directory, &["events"]);
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["host"]["name"], "uav-7", "{}", events[0]);
        let id = &events[0]["host"]["id"];
        let has_one = fs::read_to_string("/etc/machine-id").is_ok_and(|it| it.trim().len() == 32);
        assert_eq!(id.as_str().map(str::len), has_one.then_some(64), "{id}");
        let csv = geofenced(&file, &["events", "-o", "csv"]).1;
        let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let column = lines.next().unwrap().iter().position(|it| *it == "host.name").unwrap();
        assert!(csv.lines().next().unwrap().contains("host.name,host.id,"));
        assert!(lines.next().unwrap().contains(&"uav-7"), "column {column}: {csv}");
    }
}

/// The flow of [`one_datagram`], as its counters tell it in the sweep of this second.
fn counted(recording: &mut Recording, second: u64, taken_in: u64) {
    let flow =
        FlowKey { cookie: 9, remote: CN, remote_port: 5000, transport: 17, ..FlowKey::default() };
    let (sent_bytes, sent_packets) = (128, 1);
    let counters = FlowCounters {
        sent_bytes,
        sent_packets,
        first_ns: START + 2,
        last_ns: START + 3,
        ..FlowCounters::default()
    };
    recording.progress(500, taken_in).counters(flow, counters).tick(START + second * SECOND);
}

#[test]
fn a_pipeline_that_lags_tells_a_flow_by_its_sample_and_not_by_its_older_counters() {
    let mut recording = Recording::default();
    (5..20).for_each(|second| counted(&mut recording, second, 499));
    recording.0.extend(one_datagram().0);
    let (_, events) = replayed(&recording, "unapproved");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["process"]["pid"], PID);
    assert_eq!(events[0]["geofenced"]["origin"], "process");
    assert_eq!(events[0]["geofenced"]["revision"], 1, "told once, and its end");
}

#[test]
fn a_flow_whose_sample_is_lost_is_told_without_a_process_or_a_source() {
    let mut recording = Recording::default();
    (5..9).for_each(|second| counted(&mut recording, second, 500));
    let (_, events) = replayed(&recording, "unapproved");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["geofenced"]["attribution"], "none");
    assert_eq!(events[0]["source"]["bytes"], 128);
    assert!(events[0]["source"]["ip"].is_null(), "{}", events[0]);
}

#[test]
fn a_sample_that_comes_after_all_says_who_sent() {
    let mut recording = Recording::default();
    (5..9).for_each(|second| counted(&mut recording, second, 500));
    recording.0.extend(one_datagram().0);
    let (_, events) = replayed(&recording, "unapproved");
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0]["process"]["executable"], "/opt/uplink");
    assert_eq!(events[0]["geofenced"]["origin"], "process");
    assert_eq!(events[0]["geofenced"]["attribution"], "socket");
    assert_eq!(events[0]["source"]["bytes"], 128);
}

/// The process asks for www.example.org, and is told where the datagram goes.
fn answer_of_dns() -> Recording {
    let question = b"\x03www\x07Example\x03org\x00\x00\x01\x00\x01";
    let record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xcb\x00\x71\x07";
    let header = b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00";
    let query = [&b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"[..], question].concat();
    let answer = [&header[..], question, record].concat();
    let flow = FlowKey { cookie: 8, transport: 17, remote_port: 53, ..FlowKey::default() };
    let mut recording = Recording::default();
    recording.frame(b'S', &named(told::QUERY, flow, &query));
    recording.frame(b'S', &named(told::ANSWER, flow, &answer));
    recording
}

#[test]
fn an_answer_of_dns_before_the_datagram_names_its_destination() {
    let mut recording = answer_of_dns();
    recording.0.extend(one_datagram().0);
    let (_, events) = replayed(&recording, "all");
    assert_eq!(events[0]["destination"]["domain"], "www.example.org");
    assert_eq!(events[0]["geofenced"]["domain_source"], "dns");
}

#[test]
fn what_one_process_asked_for_is_not_said_of_another_who_sends_on_its_connection() {
    let known_by = |more: &[SenderSample]| {
        let mut recording = answer_of_dns();
        let sent = one_datagram_and(|recording, _| {
            for sender in more {
                recording.sample(sender);
            }
        });
        recording.0.extend(sent.0);
        let (_, events) = replayed(&recording, "all");
        events[0]["geofenced"]["domain_source"].as_str().unwrap().to_owned()
    };
    assert_eq!(known_by(&[]), "dns");
    let other = Owner { tgid: PID + 1, tid: PID + 1, ..owner(START + 3) };
    let sender = SenderSample { kind: kind::SENDER, reserved: 0, cookie: 9, owner: other };
    assert_eq!(known_by(&[sender]), "dns-host");
}

#[test]
fn a_connection_that_is_handed_on_is_told_of_who_sends_unless_that_excuses_who_connected() {
    let other = Owner { tgid: PID + 1, tid: PID + 1, uid: 1001, ..owner(START + 3) };
    let sender = SenderSample { kind: kind::SENDER, reserved: 0, cookie: 9, owner: other };
    let judged = |allowed: u32| {
        let rules =
            format!("[[policy.rule]]\nname = \"one\"\nallow = true\nuser = \"{allowed}\"\n");
        let recording = one_datagram_and(|recording, _| {
            recording.sample(&sender);
        });
        let (_, events) = replayed_by(&recording, "all", &rules);
        let verdict = events[0]["geofenced"]["verdict"].as_str().unwrap().to_owned();
        (verdict, events[0]["process"]["pid"].as_u64().unwrap())
    };
    assert_eq!(judged(0), ("unapproved".to_owned(), u64::from(PID + 1)));
    assert_eq!(judged(1001), ("unapproved".to_owned(), u64::from(PID)));
}

#[test]
fn a_second_name_that_a_stream_claims_makes_its_verdict_worse_and_never_milder() {
    let rules = "[[policy.rule]]\nname = \"good\"\nallow = true\ndestination = \"good.example\"\n\
                 trust = \"server-name\"\n";
    let judged = |names: &[&str]| {
        let (_, events) = replayed_by(&one_datagram_saying(names), "all", rules);
        let text = |pointer: &str| {
            let value = events[0].pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        (text("/geofenced/verdict"), text("/tls/client/server_name"))
    };
    let expected = |verdict: &str, name: &str| (verdict.to_owned(), name.to_owned());
    assert_eq!(judged(&["good.example"]), expected("approved", "good.example"));
    assert_eq!(judged(&["evil.example", "good.example"]), expected("unapproved", "evil.example"));
    assert_eq!(judged(&["good.example", "evil.example"]), expected("unapproved", "evil.example"));
}

#[test]
fn a_malformed_sample_is_passed_over_and_the_next_is_stored() {
    let mut recording = Recording::default();
    recording.frame(b'S', &[9, 9, 9, 9, 9]).frame(b'S', &[]).frame(b'S', &1_u32.to_ne_bytes());
    recording.0.extend(one_datagram().0);
    assert_eq!(replayed(&recording, "all").1.len(), 1);
}

#[test]
fn a_recording_cut_short_is_refused_in_one_line() {
    let mut recording = one_datagram();
    recording.0.pop();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("recording");
    fs::write(&path, &recording.0).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_geofenced"))
        .args(["run", "--replay"])
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("cut short"), "{said}");
}

/// A datagram of this user, by a socket of its own.
fn datagram_of(user: u32, number: u64) -> EgressSample {
    let at_ns = START + number;
    let flow = FlowKey {
        cookie: 1 + number,
        remote: CN,
        remote_port: 5000,
        transport: 17,
        ..FlowKey::default()
    };
    let owner = Owner { uid: user, tgid: 5000 + user, ..owner(at_ns) };
    EgressSample {
        kind: kind::EGRESS,
        phase: phase::SENT,
        ownership: ownership::USER,
        at_ns,
        sent_bytes: 40,
        sent_packets: 1,
        flow,
        owner,
        creator: owner,
        ..EgressSample::default()
    }
}

#[test]
fn a_flood_leaves_what_was_stored_before_it_and_what_others_send_after_it() {
    const FLOOD: u64 = 60_000;
    let (victim, nobody) = (1000, 65_534);
    let mut recording = Recording::default();
    let mut number = 0;
    let mut send = |recording: &mut Recording, user, count| {
        for _ in 0..count {
            number += 1;
            let at_ns = START + number;
            let (kind, cookie) = (kind::SOCKET_END, 1 + number);
            let end = SocketEndSample { kind, at_ns, cookie, tgid: 0 };
            recording.sample(&datagram_of(user, number)).sample(&end);
            // As often as the queue is emptied, lest it lose some.
            if number % 1_000 == 0 {
                recording.tick(START + SECOND * (number / 1_000));
            }
        }
    };
    send(&mut recording, victim, 100);
    send(&mut recording, nobody, FLOOD);
    send(&mut recording, victim, 100);
    recording.tick(START + SECOND * 100).tick(START + SECOND * 200);
    let directory = TempDir::new().unwrap();
    // So small that the flood, told one by one, would be all that it holds.
    let said = replay(&directory, &recording, "max_size = \"1MiB\"", "");
    assert!(said.contains("user 65534 used up a share"), "{said}");
    assert_eq!(asked(&directory, &["events", "--user", "1000"]).len(), 200);
    let told = asked(&directory, &["summary", "--by", "verdict"]);
    let sum = FLOOD + 200;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0]["key"], "unapproved");
    assert_eq!((&told[0]["flows"], &told[0]["violations"]), (&sum.into(), &sum.into()));
}
