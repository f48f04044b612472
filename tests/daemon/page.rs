//! The page for people at the metrics' address: what it says, to whom, and how often it is made.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use geofenced::inside::{
    api::page,
    coverage::{Extent, Gap},
    ecs::Time,
    event::{Domain, DomainSource, FlowId, Record, Sender, Timestamp},
    metrics::{KnownLabels, Metrics},
};

use crate::{
    prometheus::{self, Endpoint, get, get_as},
    records::{START, violation},
    rig::{Daemon, Events},
};

/// The same flow as if it began now and went on for an hour.
pub(crate) fn of_now(mut record: Record) -> Record {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let began = Timestamp(u64::try_from(now.as_nanos()).unwrap());
    let number = record.egress.flow.0 & u128::from(u64::MAX);
    record.egress.flow = FlowId((u128::from(began.0) << 64) | number);
    record.egress.started_at = began;
    record.egress.last_at = Timestamp(began.0 + 3_600_000_000_000);
    record
}

/// What the daemon serves beside its socket, on loopback.
pub(crate) fn endpoint(daemon: &Daemon) -> Endpoint {
    let metrics = Metrics::new(&KnownLabels::default()).unwrap();
    let more = page::router(daemon.api.clone(), Arc::new(|| "uav-7".into()), true);
    prometheus::endpoint_and(metrics, more)
}

fn with(records: Vec<Record>) -> Daemon {
    let records = records.into_iter().map(of_now).collect();
    Daemon::with(Events { records, ..Events::default() })
}

#[test]
fn it_says_what_is_watched_and_who_sent_where_in_violation() {
    let gap = Gap {
        from: Time(START),
        to: Time(Timestamp(START.0 + 7_000_000_000)),
        extent: Extent::Blind,
        stage: "daemon".into(),
        reason: "stopped".into(),
        count: None,
    };
    let records = (0..3).map(violation).map(of_now).collect();
    let daemon = Daemon::with(Events { records, gaps: vec![gap], ..Events::default() });
    let endpoint = endpoint(&daemon);
    let answer = get(endpoint.address, "/", "text/html").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for part in [
        "What leaves uav-7",
        "full tier",
        "2027-01-15 08:00:00",
        "daemon: stopped",
        "/usr/bin/curl",
        "China",
        "203.0.113.7:443",
        "href=\"metrics\"",
        "href=\"healthz\"",
        "href=\"readyz\"",
        "<dt>violations today</dt><dd>3</dd>",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    let (head, page) = answer.split_once("\r\n\r\n").unwrap();
    for line in ["content-security-policy: default-src 'none';", "x-content-type-options: nosniff"]
    {
        assert!(head.to_ascii_lowercase().contains(line), "{line}: {head}");
    }
    assert!(!page.contains("<script") && !page.contains("http://"), "{page}");
    assert!(page.len() < 256 * 1024, "{}", page.len());
}

#[test]
fn no_name_in_it_is_markup_or_changes_how_others_look() {
    const EVIL: &str = "</td><script>alert(1)</script>\u{202e}\u{1b}[2J\n\"'&";
    let mut record = violation(0);
    if let Sender::Process { process, .. } = &mut record.sender {
        let process = Arc::make_mut(process);
        process.executable = Some(EVIL.into());
        process.unit = Some(EVIL.into());
        process.user.name = Some(EVIL.into());
    }
    let source = DomainSource::Dns;
    record.place.domain = Some(Domain { name: EVIL.into(), source, is_trusted: false });
    let daemon = with(vec![record]);
    let page = get(endpoint(&daemon).address, "/", "text/html").unwrap();
    assert!(page.matches("&lt;script&gt;alert(1)").count() >= 5, "{page}");
    for part in ["<script", "\u{202e}", "\u{1b}"] {
        assert!(!page.contains(part), "{part:?}");
    }
}

#[test]
fn it_is_made_once_for_all_who_ask_within_some_seconds() {
    let daemon = with((0..5).map(violation).collect());
    let endpoint = endpoint(&daemon);
    let first = get(endpoint.address, "/", "text/html").unwrap();
    let made = daemon.events.handed_out.load(Ordering::Relaxed);
    assert!(made > 0);
    thread::scope(|scope| {
        let asking: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| get(endpoint.address, "/", "text/html").unwrap()))
            .collect();
        for one in asking {
            let body = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
            assert_eq!(body(&one.join().unwrap()), body(&first));
        }
    });
    assert_eq!(daemon.events.handed_out.load(Ordering::Relaxed), made);
}

#[test]
fn a_ledger_that_takes_too_long_is_said_and_holds_up_nobody() {
    let records = (0..5).map(violation).collect();
    let daemon = Daemon::with(Events { records, is_endless: true, ..Events::default() });
    let endpoint = endpoint(&daemon);
    let page = get(endpoint.address, "/", "text/html").unwrap();
    assert!(
        page.contains("can&#39;t be told now: nobody waits")
            || page.contains("can't be told now: nobody waits"),
        "{page}"
    );
    assert!(get(endpoint.address, "/healthz", "*/*").unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_name_that_is_not_this_hosts_gets_nothing() {
    let daemon = with(vec![violation(0)]);
    let endpoint = endpoint(&daemon);
    let answer = get_as("evil.example", endpoint.address, "/", "text/html").unwrap();
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
    assert!(!answer.contains("curl"), "{answer}");
}
