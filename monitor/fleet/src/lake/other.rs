//! Columns of what is no flow: roll-ups, lookups, and what the station notes of itself.

use geofenced::fleet::{Lookup, Notice, Rollup, Timestamp, hex};

use super::{columns::Columns, flow::At};

/// What all rows of one ledger have.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub station: String,
    pub origin: String,
}

fn stands(at: At, ledger: &Ledger, to: &mut Columns) {
    to.own("host_name", Some(&ledger.station));
    to.own("ledger_origin", Some(&ledger.origin));
    to.count("ledger_block", at.block);
    to.count("ledger_entry", at.entry.into());
}

pub fn rollup(it: &Rollup, at: At, ledger: &Ledger, to: &mut Columns) {
    to.time("timestamp", Some(it.hour.0));
    to.time("event_end", Some(it.last_instant().0));
    let program = Some(it.program.as_ref()).filter(|it| !it.is_empty());
    to.own("process_executable", program);
    to.own("user_id", it.user.as_ref().map(|it| it.id.to_string()).as_deref());
    to.own("user_name", it.user.as_ref().and_then(|it| it.name.as_deref()));
    to.own(
        "destination_geo_country_iso_code",
        it.country.code().map(|it| it.to_string()).as_deref(),
    );
    to.word("geofenced_verdict", Some(it.verdict.word()));
    to.count("geofenced_flows", it.flows);
    to.count("source_bytes", it.traffic.sent_bytes);
    to.count("source_packets", it.traffic.sent_packets);
    to.count("destination_bytes", it.traffic.received_bytes);
    to.count("destination_packets", it.traffic.received_packets);
    let policy = it.provenance.as_ref().map(|it| hex(&it.policy_sha256));
    to.own("geofenced_policy_sha256", policy.as_deref());
    stands(at, ledger, to);
}

pub fn lookup(it: &Lookup, at: At, ledger: &Ledger, to: &mut Columns) {
    to.time("timestamp", Some(it.at.0));
    to.own("dns_question_name", Some(&it.name));
    to.own("dns_question_type", Some(&it.kind));
    let answers = it.answer.as_ref().map(|all| {
        let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
        texts.join(" ")
    });
    to.own("dns_resolved_ip", answers.as_deref());
    to.own("destination_ip", Some(&it.server.ip().to_string()));
    let process = it.sender.process();
    to.number("process_pid", process.map(|it| it.pid));
    to.own("process_name", process.map(|it| it.name.as_ref()));
    to.own("process_executable", process.and_then(|it| it.executable.as_deref()));
    to.own("user_id", process.map(|it| it.user.id.to_string()).as_deref());
    stands(at, ledger, to);
}

/// The word of a notice, and what else it says in people's words.
pub fn notice(at_time: Timestamp, it: &Notice, at: At, ledger: &Ledger, to: &mut Columns) {
    let (word, detail) = words(it);
    to.time("timestamp", Some(at_time.0));
    to.word("notice", Some(word));
    to.own("detail", Some(detail.as_str()).filter(|it| !it.is_empty()));
    stands(at, ledger, to);
}

fn words(notice: &Notice) -> (&'static str, String) {
    match notice {
        Notice::Started { version, .. } => ("started", version.to_string()),
        Notice::Alive => ("alive", String::new()),
        Notice::Stopped => ("stopped", String::new()),
        Notice::Lost { stage, reason, count, .. } => ("lost", format!("{stage} {reason} {count}")),
        Notice::Reloaded { policy_sha256 } => ("reloaded", hex(policy_sha256)),
        Notice::Cut { segment, bytes } => ("cut", format!("segment {segment}, {bytes} bytes")),
        Notice::AddedUp { user, flows, attempts } => {
            ("added-up", format!("user {user:?}, {flows} flows, {attempts} attempts"))
        }
        Notice::Removed { segments, entries, .. } => {
            ("removed", format!("{} segments, {entries} entries", segments.len()))
        }
        Notice::Detached { probe, .. } => ("detached", probe.to_string()),
        Notice::Attached { probe, .. } => ("attached", probe.to_string()),
        Notice::ClockRead(moment) => ("clock-read", moment.timeline.boot.to_string()),
        Notice::Policy { sha256, .. } => ("policy", hex(sha256)),
        Notice::ClockStepped { from, to } => ("clock-stepped", format!("{} {}", from.0, to.0)),
        Notice::LostSight { flows } => ("lost-sight", flows.to_string()),
        Notice::SelfTestFailed { .. } => ("self-test-failed", String::new()),
        Notice::SelfTestPassed => ("self-test-passed", String::new()),
        Notice::Host(host) => ("host", host.name.to_string()),
        Notice::Mark(mark) => ("mark", mark.name.to_string()),
        Notice::Key { line, .. } => ("key", line.to_string()),
        Notice::RolledBack { origin, .. } => ("rolled-back", origin.to_string()),
        Notice::Gone { ranges } => ("gone", format!("{ranges:?}")),
        Notice::Stalled { .. } => ("stalled", String::new()),
        Notice::Watching(it) => ("watching", it.version.to_string()),
    }
}
