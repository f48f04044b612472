//! Every way out, one after the other, through a gateway: each shows up with its origin, its process
//! and the bytes that arrived. What came out is what `docs/coverage.md` is
//! rendered from (`GEOFENCED_COVERAGE` names a file for it). Needs root.

#[path = "coverage/cases.rs"]
mod cases;

use std::{
    fs::File,
    io::Write as _,
    net::IpAddr,
    panic::{self, AssertUnwindSafe},
    thread,
    time::Duration,
};

use cases::{CASES, Case, From, Obstacle, Seen};
use harness::{
    CLIENT, CLIENT_MAC, CLIENT_ROUTED, Count, Firewall, Gateway, Running, Side, Site, Truth,
    TruthFlow, number, sum, text,
};
use serde_json::{Value, json};

/// What became of one case.
struct Result {
    case: &'static Case,
    /// The first thing that was not as it should be.
    problem: Option<String>,
    arrived: Count,
    told: Count,
    phase: String,
    attribution: String,
}

/// An address of the internet, and the transport to it: what arrives there is of one case.
type Goal = (IpAddr, String);

/// A case's own addresses, so that what arrives there is its own: from 20 on, one a case.
fn words(case: &Case, index: usize) -> String {
    let own = index + 20;
    case.words
        .replace("{v4}", &format!("203.0.113.{own}"))
        .replace("{other}", &format!("198.51.100.{own}"))
        .replace("{none}", &"00".repeat(16))
        .replace("{hop}", &format!("c63364{own:02x}"))
        .replace("{hop6}", &format!("20010db8000f{}ffff{own:04}", "0000".repeat(3)))
        .replace("{v6}", &format!("2001:db8:f::{own}"))
        .replace("{client}", if case.from == From::Routed { CLIENT_ROUTED } else { CLIENT })
}

/// Puts what is on its way there; what this gives takes it away.
fn obstacle(gateway: &Gateway, case: &Case, index: usize) -> Option<Firewall> {
    let v4 = words(&Case { words: "{v4}", ..*case }, index);
    match case.obstacle {
        Obstacle::None => {}
        Obstacle::Rewriting => {
            let other = words(&Case { words: "{other}", ..*case }, index);
            gateway.container.rewrite_leaving("eth0", &other, &v4);
        }
        Obstacle::Firewall => return Some(Firewall::new(&gateway.lab.cgroup)),
        Obstacle::SilentHop => {
            gateway.lab.host.ip(&format!("route add {v4}/32 via 10.77.0.99"));
        }
    }
    None
}

/// Runs it to its end, with a server in the internet where it wants one.
fn run(gateway: &Gateway, case: &Case, words: &str) -> Truth {
    let lab = &gateway.lab;
    if case.words.starts_with("accept-reply") || case.words.starts_with("prefork-reply") {
        let mut server = lab.start(Side::Host, words);
        let port = server.listening().port();
        let from = "203.0.113.250";
        let reader = format!("connect-and-read --from {from} --to 10.77.0.2:{port}");
        lab.start(Side::Internet, &reader).finish();
        return server.finish();
    }
    let mut sink = None;
    let mut words = words.to_owned();
    if words.contains("{port}") {
        let mut server = lab.start(Side::Internet, "serve-tcp --listen [::]:0 --count 1");
        words = words.replace("{port}", &server.listening().port().to_string());
        sink = Some(server);
    }
    let truth = match case.from {
        From::Host => lab.egress(&words),
        From::Container => gateway.from_container(&words),
        From::Client | From::Routed => gateway.from_client(&words),
    };
    if let Some(sink) = sink {
        Running::finish(sink);
    }
    truth
}

/// Where the packets of a case go, each address once.
fn goals(case: &Case, truth: &Truth) -> Vec<Goal> {
    if let Seen::Around(_, address) = case.seen {
        return vec![(address.parse().expect("an address"), "udp".to_owned())];
    }
    // Where the socket was told to go, nothing went.
    let is_where_it_went =
        |flow: &&TruthFlow| !matches!(case.seen, Seen::Rewritten(_)) || flow.phase == "attempt";
    let mut goals: Vec<Goal> = truth
        .flows
        .iter()
        .filter(is_where_it_went)
        .map(|flow| (flow.destination, flow.transport.clone()))
        .collect();
    goals.sort();
    goals.dedup();
    assert!(!goals.is_empty(), "{}: no truth", case.name);
    goals
}

/// What the daemon tells of what goes there, over all its records.
fn told(site: &Site, case: &Case, truth: &Truth, (address, transport): &Goal) -> Vec<Value> {
    match case.seen {
        Seen::Frame(ethertype) if !tells_packet_senders() => {
            let mut events = site.events(&[]);
            events.retain(|event| text(event, "/geofenced/ethertype") == ethertype);
            events
        }
        Seen::Unaddressed | Seen::Frame(_) => site.events_of(truth.pid),
        _ => site.events(&["--destination", &address.to_string(), "--transport", transport]),
    }
}

/// What should be told as sent there: what arrived; of what does not arrive, what was made.
fn sent(gateway: &Gateway, case: &Case, truth: &Truth, goal: &Goal) -> Count {
    const UDP: u64 = 20 + 8;
    let to = truth.flows.iter().filter(|it| (it.destination, &it.transport) == (goal.0, &goal.1));
    match case.seen {
        Seen::Frame(_) => {
            let bytes = to.clone().map(|flow| flow.payload_bytes).sum();
            Count { packets: to.count() as u64, bytes }
        }
        Seen::Locally(_) | Seen::Within(_) | Seen::ByHop(..) => {
            let headers = if let Seen::ByHop(_, headers) = case.seen { headers } else { UDP };
            let bytes = to.clone().map(|flow| flow.payload_bytes + headers).sum();
            Count { packets: to.count() as u64, bytes }
        }
        _ => gateway.lab.counts(Side::Internet).total(goal.0, &goal.1),
    }
}

/// What became of a case, also of one that could not be made.
fn result(gateway: &Gateway, site: &Site, index: usize, case: &'static Case) -> Result {
    let tried = panic::catch_unwind(AssertUnwindSafe(|| tried(gateway, site, index, case)));
    tried.unwrap_or_else(|why| {
        let text = why.downcast_ref::<String>().map(String::as_str);
        let problem = text.or(why.downcast_ref::<&str>().copied()).unwrap_or("could not be made");
        Result {
            case,
            problem: Some(problem.to_owned()),
            arrived: Count::default(),
            told: Count::default(),
            phase: String::new(),
            attribution: String::new(),
        }
    })
}

fn tried(gateway: &Gateway, site: &Site, index: usize, case: &'static Case) -> Result {
    let nobodys_before = nobodys(site);
    let truth = {
        let _obstacle = obstacle(gateway, case, index);
        run(gateway, case, &words(case, index))
    };
    let (mut all_sent, mut all) = (Count::default(), Vec::new());
    let mut problem = None;
    if matches!(case.seen, Seen::Unaddressed) && !tells_packet_senders() {
        let bytes =
            goals(case, &truth).iter().map(|it| sent(gateway, case, &truth, it).bytes).sum();
        if let Some(result) = told_as_nobodys(site, case, &truth, nobodys_before, bytes) {
            return result;
        }
    }
    for goal in goals(case, &truth) {
        let mut flows = truth.flows.iter();
        let is_attempt = match case.seen {
            Seen::Around(..) | Seen::Rewritten(_) => false,
            Seen::Unsent(_) => true,
            _ => !flows.any(|flow| flow.destination == goal.0 && flow.phase == "sent"),
        };
        let (mut sent_there, mut events) = (Count::default(), Vec::new());
        let settled = harness::eventually(|| {
            sent_there = sent(gateway, case, &truth, &goal);
            events = told(site, case, &truth, &goal);
            let left = (sent_there.packets > 0) != is_attempt;
            let is_right = left && !events.is_empty() && sum(&events) == sent_there;
            is_right.then_some(())
        });
        if settled.is_none() {
            let counts = (sum(&events), sent_there);
            problem = problem.or(Some(format!("told, arrived: {counts:?}: {events:?}")));
        }
        all_sent += sent_there;
        all.extend(events);
    }
    problem = problem.or_else(|| all.iter().find_map(|event| wrong(event, case, &truth)));
    problem = problem.or_else(|| stray(site, case, &truth));
    // What stands for them all: one that left, if there is one.
    let first = all.iter().max_by_key(|event| number(event, "/source/packets"));
    let first = |pointer: &str| first.map_or("", |event| text(event, pointer)).to_owned();
    Result {
        case,
        problem,
        arrived: if matches!(
            case.seen,
            Seen::Locally(_) | Seen::Within(_) | Seen::ByHop(..) | Seen::Frame(_)
        ) {
            Count::default()
        } else {
            all_sent
        },
        told: sum(&all),
        phase: first("/geofenced/phase"),
        attribution: first("/geofenced/attribution"),
    }
}

fn nobodys(site: &Site) -> u64 {
    (site.metrics().sum("geofenced_unattributed_bytes_total", &[]) as i64).cast_unsigned()
}

/// What went around every hook where nobody can be asked who sent: told is who could have; where that one is
/// gone, the bytes are in a metric, and in no record. `None`: in a record, as elsewhere.
fn told_as_nobodys(
    site: &Site,
    case: &'static Case,
    truth: &Truth,
    before: u64,
    bytes: u64,
) -> Option<Result> {
    let mut counts = (0, 0);
    let is_told = harness::eventually(|| {
        counts = (nobodys(site) - before, sum(&site.events_of(truth.pid)).bytes);
        (counts.0 + counts.1 == bytes).then_some(())
    });
    if is_told.is_some() && counts.1 > 0 {
        return None;
    }
    let problem = || format!("nobody's and its own bytes are {counts:?}, not {bytes}");
    let all = Count { packets: 0, bytes };
    Some(Result {
        case,
        problem: is_told.is_none().then(problem),
        arrived: all,
        told: all,
        phase: "sent".to_owned(),
        attribution: "none".to_owned(),
    })
}

/// Whether the process must be told: before Linux 6.10 the hook of interfaces can't ask who runs, and a
/// packet socket has no hook else.
fn has_process(case: &Case) -> bool {
    let is_of_packet_socket = matches!(
        case.seen,
        Seen::As("packet-socket") | Seen::Within("packet-socket") | Seen::Frame(_)
    );
    case.has_process && (!is_of_packet_socket || tells_packet_senders())
}

fn tells_packet_senders() -> bool {
    harness::kernel_version() >= (6, 10)
}

/// A process is told of with the flows that it made, and no other.
fn stray(site: &Site, case: &Case, truth: &Truth) -> Option<String> {
    // That a socket around everything is there is told, too.
    if !has_process(case) || matches!(case.seen, Seen::Unaddressed) {
        return None;
    }
    let made = truth.flows.len();
    let events = site.events_of(truth.pid);
    (events.len() != made).then(|| format!("{made} flows made, told: {events:?}"))
}

/// The first thing of an event that is not as it should be.
fn wrong(event: &Value, case: &Case, truth: &Truth) -> Option<String> {
    let expect = |pointer: &str, expected: &str| {
        let found = text(event, pointer);
        (found != expected).then(|| format!("{pointer} is {found:?}, not {expected:?}: {event}"))
    };
    let address = text(event, "/destination/ip");
    let is_attempt = text(event, "/geofenced/phase") == "attempt";
    if matches!(case.seen, Seen::Rewritten(_)) && is_attempt {
        // Of the socket's connect.
        return expect("/geofenced/origin", "process")
            .or_else(|| expect("/process/executable", &truth.executable));
    }
    let (origin, verdict) = match case.seen {
        Seen::Locally(origin) => (origin, "local"),
        Seen::Unaddressed => return wrong_unaddressed(event, case, truth, &expect),
        Seen::Frame(ethertype) => {
            return expect("/geofenced/ethertype", ethertype)
                .or_else(|| wrong_unaddressed(event, case, truth, &expect));
        }
        Seen::As(origin)
        | Seen::Within(origin)
        | Seen::ByHop(origin, _)
        | Seen::Around(origin, _)
            if address.starts_with("198.51.100.") =>
        {
            (origin, "approved")
        }
        Seen::As(origin)
        | Seen::Within(origin)
        | Seen::ByHop(origin, _)
        | Seen::Unsent(origin)
        | Seen::Rewritten(origin)
        | Seen::Around(origin, _) => (origin, "unapproved"),
    };
    let is_its = |flow: &&TruthFlow| {
        flow.destination.to_string() == address
            && u64::from(flow.port) == number(event, "/destination/port")
    };
    let phase = match case.seen {
        Seen::Unsent(_) => "attempt",
        Seen::Rewritten(_) => "sent",
        _ => truth.flows.iter().find(is_its).map_or("sent", |flow| flow.phase.as_str()),
    };
    let is_known = text(event, "/geofenced/attribution") != "none";
    expect("/geofenced/origin", origin)
        .or_else(|| expect("/geofenced/verdict", verdict))
        .or_else(|| expect("/geofenced/phase", phase))
        .or_else(|| (is_known != has_process(case)).then(|| format!("attribution of {event}")))
        .or_else(|| wrong_sender(event, case, truth, &expect))
}

/// Nobody read where it goes, so that nothing may say so.
fn wrong_unaddressed(
    event: &Value,
    case: &Case,
    truth: &Truth,
    expect: &dyn Fn(&str, &str) -> Option<String>,
) -> Option<String> {
    let to = event.pointer("/destination/ip").or(event.pointer("/network/transport"));
    to.map(|to| format!("{to} was read by nobody: {event}"))
        .or_else(|| expect("/geofenced/origin", "packet-socket"))
        .or_else(|| expect("/geofenced/verdict", "unapproved"))
        .or_else(|| wrong_sender(event, case, truth, expect))
}

fn wrong_sender(
    event: &Value,
    case: &Case,
    truth: &Truth,
    expect: &dyn Fn(&str, &str) -> Option<String>,
) -> Option<String> {
    match case.from {
        From::Client | From::Routed => {
            let client = if case.from == From::Routed { CLIENT_ROUTED } else { CLIENT };
            let client = if event["network"]["type"] == "ipv6" { "fd77:1::5" } else { client };
            expect("/source/ip", client)
                .or_else(|| expect("/source/mac", CLIENT_MAC))
                .or_else(|| expect("/observer/ingress/interface/name", "lan0"))
                .or_else(|| event.get("process").map(|it| format!("a process: {it}")))
        }
        _ if !has_process(case) => event.get("process").map(|it| format!("a process: {it}")),
        _ => (number(event, "/process/pid") != u64::from(truth.pid))
            .then(|| format!("pid is not {}: {event}", truth.pid))
            .or_else(|| expect("/process/executable", &truth.executable)),
    }
}

/// The line for `cargo xtask coverage` and `cargo xtask vm`.
fn line(Result { case, problem, arrived, told, phase, attribution }: &Result) -> String {
    let (seen, origin) = match case.seen {
        Seen::As(origin)
        | Seen::Within(origin)
        | Seen::ByHop(origin, _)
        | Seen::Unsent(origin)
        | Seen::Rewritten(origin)
        | Seen::Around(origin, _) => ("whole", origin),
        Seen::Locally(origin) => ("local", origin),
        Seen::Unaddressed => ("unaddressed", "packet-socket"),
        Seen::Frame(_) => ("frame", "packet-socket"),
    };
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let line = json!({
        "kernel": kernel, "kind": case.name, "what": case.what, "from": case.from.word(),
        "seen": seen, "origin": origin, "phase": phase,
        "attribution": attribution, "has_process": case.has_process,
        "arrived_bytes": arrived.bytes, "told_bytes": told.bytes, "problem": problem,
    });
    format!("{line}\n")
}

#[test]
fn each_way_out_is_seen_as_what_it_is_with_every_byte_once() {
    let gateway = Gateway::new();
    let site = Site::inside(&gateway.lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(gateway.lab.cgroup.path());
    let host = &gateway.lab.host;
    host.ip("address add 203.0.113.252/32 dev lo");
    host.ip("link add vx0 type vxlan id 77 remote 203.0.113.240 dstport 4789");
    host.ip("address add 10.98.77.1/24 dev vx0");
    // Nothing but the cases' own packets goes through it.
    host.sysctl("ipv6/conf/vx0/disable_ipv6", "1");
    host.ip("link set vx0 up");
    host.ip("neighbor add 10.98.77.2 lladdr 02:00:5e:00:53:77 dev vx0");
    let daemon = site.start();
    // Neighbours are found, so that every first packet leaves at once.
    gateway.lab.egress("udp-sendto --to 203.0.113.251:9");
    gateway.from_client("udp-sendto --to 203.0.113.252:9");
    gateway.from_container("udp-sendto --to 203.0.113.253:9");
    thread::sleep(Duration::from_millis(200));

    let cases = CASES.iter().enumerate();
    // With what does not hold, at once: on a kernel that lacks something the rest is told.
    let path = std::env::var("GEOFENCED_COVERAGE").ok();
    let mut lines = path.map(|path| File::create(path).expect("make the coverage"));
    let tell = |result: Result| {
        if let Some(lines) = &mut lines {
            lines.write_all(line(&result).as_bytes()).expect("write the coverage");
        }
        result
    };
    let results: Vec<Result> =
        cases.map(|(index, case)| result(&gateway, &site, index, case)).map(tell).collect();
    let problems: Vec<String> = results
        .iter()
        .filter_map(|result| Some(format!("{}: {}", result.case.name, result.problem.as_ref()?)))
        .collect();
    assert!(
        problems.is_empty(),
        "{} of {}:\n{}",
        problems.len(),
        results.len(),
        problems.join("\n")
    );
    // What went around is in a record with its process, and so in this count no more.
    let unattributed = site.metrics().nonzero("geofenced_unattributed_bytes_total");
    assert!(unattributed.is_empty() || !tells_packet_senders(), "{unattributed:?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn the_table_has_sixty_kinds_and_each_a_name_of_its_own() {
    let mut names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), CASES.len());
    assert!(names.len() >= 60, "{}", names.len());
}
