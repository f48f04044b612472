//! Floods of users without a privilege: what has a bound they fill at their own expense. The default
//! sizes of the daemon, but where a test says otherwise. `GEOFENCED_FLOOD_SECONDS` makes floods last;
//! else they are bounded by count. Needs root.

use std::{fs, thread};

use harness::{Count, Gateway, Lab, Metrics, Running, Side, Site, Truth, TruthFlow, number, text};
use rustix::process::Signal;
use serde_json::Value;

const SEEN: &str = "geofenced_egress_flows_total";
const LOST: &str = "geofenced_events_lost_total";
/// Of each flow that is told, be it an attempt.
const TOLD: &str = "geofenced_classified_flows_total";
/// At least as many as one may have of the bound on connections.
const PLACES_OF_A_PEER: f64 = 64.0;
const REFUSED: &str = "geofenced_connections_refused_total";
const RESIDENT_MAX_KB: u64 = 200 << 10;

fn watched(lab: &Lab) -> Site {
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    site
}

/// Resident kilobytes but for those of the file that it runs: what is built for tests has some more,
/// which nobody installs.
fn resident_kb(pid: u32) -> u64 {
    let program = fs::read_link(format!("/proc/{pid}/exe")).expect("its program");
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).expect("its memory");
    let (mut sum, mut is_own) = (0, false);
    for line in maps.lines() {
        if let Some(kb) = line.strip_prefix("Rss:") {
            let kb: u64 = kb.trim().trim_end_matches(" kB").parse().expect("a number of kB");
            sum += if is_own { 0 } else { kb };
        } else if line.split_once(' ').is_some_and(|(range, _)| range.contains('-')) {
            is_own = line.ends_with(program.to_str().expect("a path in UTF-8"));
        }
    }
    sum
}

fn lost(metrics: &Metrics, reason: &str) -> f64 {
    metrics.sum(LOST, &[("stage", "probe"), ("reason", reason)])
}

/// Waits until this flow is told as sent, as much of it as arrived, and by whom.
fn assert_told_whole(lab: &Lab, site: &Site, truth: &Truth) {
    for flow in &truth.flows {
        let arrived = lab.arrived(flow);
        assert!(arrived.packets > 0, "nothing arrived of {flow:?}");
        let mut told = Vec::new();
        let is_told = harness::eventually(|| {
            told = of_flow(site, truth, flow);
            let whole = |it: &&Value| {
                text(it, "/geofenced/phase") == "sent"
                    && number(it, "/source/bytes") == arrived.bytes
                    && number(it, "/source/packets") == arrived.packets
            };
            told.iter().find(whole).map(drop)
        });
        assert!(is_told.is_some(), "{flow:?} {arrived:?}: {told:?}\n{}", site.log());
        assert_eq!(text(&told[0], "/process/executable"), truth.executable);
    }
}

fn of_flow(site: &Site, truth: &Truth, flow: &TruthFlow) -> Vec<Value> {
    let (to, pid) = (flow.destination.to_string(), truth.pid.to_string());
    let told = site.events(&["--destination", &to, "--pid", &pid]);
    told.into_iter().filter(|it| number(it, "/destination/port") == u64::from(flow.port)).collect()
}

#[test]
fn what_is_only_attempted_takes_no_place_of_what_is_sent() {
    let lab = Lab::new();
    let site = watched(&lab);
    let daemon = site.start();
    let flood = format!("flood-attempts --uid 1001 --to 239.1.0.0 {} --keep", extent(270_000));
    let mut flood = lab.start(Side::Host, &flood);
    let another = lab.egress(ANOTHER);
    flood.holding();

    let upload = lab.egress_to_sink("tcp-connect-send --to 203.0.113.9:{port} --bytes 100000");
    let mut all = vec![upload];
    for at in 10..20 {
        all.push(lab.egress(&format!("udp-sendto --to 203.0.113.{at}:9 --bytes 100")));
    }
    all.push(lab.egress("raw-protocol --to 203.0.113.20"));
    for truth in &all {
        assert_told_whole(&lab, &site, truth);
    }
    let resident = resident_kb(daemon.pid());
    println!("{resident} kB resident");
    assert!(resident < RESIDENT_MAX_KB, "{resident} kB");
    let metrics = site.metrics();
    assert!(lost(&metrics, "flow-table-full") < 0.5, "{:?}", metrics.nonzero(LOST));
    assert_each_is_told(&site, &another, &metrics);
    flood.send();
    assert!(flood.finish().flows_made >= 270_000);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn each_attempt_of_a_flood_is_told_or_counted_once() {
    let lab = Lab::new();
    let site = watched(&lab);
    let daemon = site.start();
    let flood = format!("flood-attempts --uid 1001 --to 239.1.0.0 {}", extent(270_000));
    let made = lab.egress(&flood).flows_made as f64;
    let after = site.settled(&[TOLD, LOST]);
    let (told, counted) =
        (after.sum(TOLD, &[]), lost(&after, "attempt-share") + lost(&after, "ring-full-attempt"));
    let details = format!("{made} made, {:?} {:?}", after.nonzero(TOLD), after.nonzero(LOST));
    println!("{details}");
    assert!((told + counted - made).abs() < 0.5, "{details}");
    // Nothing else was made, and none of it left.
    assert!(lost(&after, "ring-full-flow") + lost(&after, "flow-table-full") < 0.5, "{details}");
    assert!(after.sum("geofenced_egress_packets_total", &[]) < 0.5, "{details}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

/// How long, or how many.
fn extent(count: u64) -> String {
    match std::env::var("GEOFENCED_FLOOD_SECONDS") {
        Ok(seconds) => format!("--seconds {seconds} --count {count}"),
        Err(_) => format!("--count {count}"),
    }
}

const ANOTHERS: u64 = 200;
const ANOTHER: &str =
    "burst-new-socket --uid 2000 --to 203.0.113.200 --ports 20000-20199 --count 200";

/// Each flow of [`ANOTHER`] is told with all that is to be known of it.
fn assert_each_is_told(site: &Site, another: &Truth, after: &Metrics) {
    let mut told = Vec::new();
    let _ = harness::eventually(|| {
        told = site.events(&["--destination", "203.0.113.200", "--limit", "1000"]);
        (told.len() as u64 >= ANOTHERS).then_some(())
    });
    let is_whole = |it: &&Value| {
        text(it, "/geofenced/phase") == "sent"
            && number(it, "/source/packets") == 1
            && number(it, "/source/bytes") == 128
            && text(it, "/process/executable") == another.executable
            && text(it, "/user/id") == "2000"
    };
    let whole = told.iter().filter(is_whole).count() as u64;
    let details = format!("{:?} {:?}", after.nonzero(SEEN), after.nonzero(LOST));
    assert_eq!((whole, told.len() as u64), (ANOTHERS, ANOTHERS), "{details} {:?}", told.first());
}

/// Of all flows that were made each is told, added up, or counted as lost.
fn assert_all_are_counted(made: u64, after: &Metrics) {
    let details = format!("{made} made, {:?} {:?}", after.nonzero(SEEN), after.nonzero(LOST));
    println!("{details}");
    let seen = after.sum(SEEN, &[]);
    let uncounted = lost(after, "ring-full-flow") + lost(after, "flow-table-full");
    // A flow whose telling was lost may still be found in the flow table, and is then both.
    assert!(seen + uncounted > made as f64 - 0.5, "{details}");
    assert!(seen < made as f64 + 0.5, "{details}");
}

/// Else nothing was put to a test.
fn assert_some_are_added_up(stage: &str, after: &Metrics) {
    let sum = after.sum(LOST, &[("stage", stage), ("reason", "share")]);
    assert!(sum > 0.5, "nothing was added up: {:?}", after.nonzero(LOST));
}

#[test]
fn while_three_users_flood_each_flow_of_another_is_told_whole() {
    let lab = Lab::new();
    let site = watched(&lab);
    let daemon = site.start();
    let floods = (1..4).map(|user| {
        let words =
            format!("flood-udp --uid 100{user} --to 203.0.113.1 {} --bytes 20", extent(100_000));
        let mut flood = lab.start(Side::Host, &words);
        flood.holding();
        flood
    });
    let floods: Vec<Running> = floods.collect();
    let truth = lab.egress(ANOTHER);
    let (mut made, mut resident) = (ANOTHERS, 0);
    thread::scope(|scope| {
        let floods: Vec<_> =
            floods.into_iter().map(|flood| scope.spawn(|| flood.finish().flows_made)).collect();
        while floods.iter().any(|flood| !flood.is_finished()) {
            // The endpoint answers all the time.
            site.metrics();
            resident = resident.max(resident_kb(daemon.pid()));
        }
        made += floods.into_iter().map(|flood| flood.join().expect("a flood")).sum::<u64>();
    });
    let after = site.settled(&[SEEN, LOST]);
    resident = resident.max(resident_kb(daemon.pid()));

    println!("{resident} kB resident");
    assert_each_is_told(&site, &truth, &after);
    assert_all_are_counted(made, &after);
    assert_some_are_added_up("probe", &after);
    assert!(resident < RESIDENT_MAX_KB, "{resident} kB");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn while_the_daemon_stands_still_half_of_its_ring_is_left_to_who_told_little() {
    let lab = Lab::new();
    let site = watched(&lab);
    let daemon = site.start();
    daemon.signal(Signal::STOP);
    let flood = "flood-udp --uid 1001 --to 203.0.113.1 --count 30000 --bytes 20";
    let mut flood = lab.start(Side::Host, flood);
    flood.holding();
    let mut made = flood.finish().flows_made;
    let truth = lab.egress(ANOTHER);
    made += truth.flows_made;
    daemon.signal(Signal::CONT);
    let after = site.settled(&[SEEN, LOST]);
    assert_each_is_told(&site, &truth, &after);
    assert_all_are_counted(made, &after);
    assert_some_are_added_up("probe", &after);
    assert!(lost(&after, "ring-full-flow") < 0.5, "{:?}", after.nonzero(LOST));
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn beside_idle_connections_to_the_daemon_each_flow_of_another_is_told_whole() {
    let lab = Lab::new();
    // Where the flood can reach it.
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    let words =
        format!("flood-connections --uid 1001 --to {} {}", site.metrics_address(), extent(4_096));
    let mut flood = Running::start(&mut lab.command_in(&lab.host, &words));
    flood.holding();
    let truth = lab.egress(ANOTHER);
    let is_told = harness::eventually(|| {
        let seen = site.metrics().sum(SEEN, &[]);
        (seen > ANOTHERS as f64 - 0.5).then_some(())
    });
    assert!(is_told.is_some(), "{:?}", site.metrics().nonzero(SEEN));
    assert_each_is_told(&site, &truth, &site.metrics());
    let resident = resident_kb(daemon.pid());
    println!("{resident} kB resident");
    assert!(resident < RESIDENT_MAX_KB, "{resident} kB");
    let made = flood.finish().flows_made as f64;
    assert!(made >= 4_096.0, "{made}");
    // Each was refused or had to give way, but for those that had a place at the end.
    let after = site.settled(&[REFUSED]);
    let (refused, details) = (after.sum(REFUSED, &[]), after.nonzero(REFUSED));
    println!("{made} connections, {details:?}");
    assert!(refused < made + 0.5 && refused > made - PLACES_OF_A_PEER - 0.5, "{details:?}");
    assert!(!site.log().contains("Too many open files"), "{}", site.log());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_another_violated_stays_in_a_small_store_under_a_flood_of_violations() {
    let lab = Lab::new();
    let site = watched(&lab);
    site.drop_in("store", "[store]\nmax_size = \"4MiB\"\n");
    let daemon = site.start();
    let truth = lab.egress(ANOTHER);
    let flood = format!("flood-udp --uid 1001 --to 203.0.113.1 {} --bytes 12", extent(200_000));
    let mut flood = lab.start(Side::Host, &flood);
    flood.holding();
    let made = ANOTHERS + flood.finish().flows_made;
    let after = site.settled(&[SEEN, LOST]);
    assert_each_is_told(&site, &truth, &after);
    assert_all_are_counted(made, &after);
    assert_some_are_added_up("rollup", &after);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    let left = site.events_in_ledger(&["--destination", "203.0.113.200", "--limit", "1000"]);
    assert_eq!(left.len() as u64, ANOTHERS);
}

/// Fills a flow table of 1,024 places for as long as what this gives is kept.
fn fill_table(lab: &Lab) -> Vec<Running> {
    // The first have all that is not kept for others, and these a 64th of all each, as far as it lasts.
    let floods = (1001..1020).map(|user| {
        let words = format!("flood-udp --uid {user} --to 203.0.113.1 --count 200 --keep");
        let mut flood = lab.start(Side::Host, &words);
        flood.holding();
        flood
    });
    floods.collect()
}

fn assert_uncounted(told: &[Value]) {
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].pointer("/geofenced/uncounted"), Some(&Value::Bool(true)), "{told:?}");
}

#[test]
fn a_flow_that_a_full_table_has_no_room_for_is_told_as_sent() {
    let lab = Lab::new();
    let site = watched(&lab);
    site.drop_in("table", "[capture]\nmax_flows = 1024\n");
    let daemon = site.start();
    let floods = fill_table(&lab);
    let datagrams =
        |at| lab.egress(&format!("udp-sendto --uid 2000 --to 198.51.100.{at}:9 --bytes 100"));
    let mut all: Vec<Truth> = (10..15).map(datagrams).collect();
    all.push(lab.egress("raw-protocol --to 198.51.100.20 --bytes 100"));
    for truth in &all {
        assert_told_whole(&lab, &site, truth);
        assert_uncounted(&of_flow(&site, truth, &truth.flows[0]));
    }
    let is_counted = harness::eventually(|| {
        let metrics = site.metrics();
        let reasons = ["flow-table-full", "share"];
        reasons.iter().all(|reason| lost(&metrics, reason) > 0.5).then_some(())
    });
    assert!(is_counted.is_some(), "{:?}", site.metrics().nonzero(LOST));
    for flood in floods {
        flood.finish();
    }
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_a_gateway_with_a_full_table_forwards_and_sends_is_told_once_as_sent() {
    let gateway = Gateway::new();
    let lab = &gateway.lab;
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    site.drop_in("table", "[capture]\nmax_flows = 1024\n");
    let daemon = site.start();
    let floods = fill_table(lab);
    let of_host = lab.egress("udp-sendto --uid 2000 --to 198.51.100.10:9 --bytes 100");
    assert_told_whole(lab, &site, &of_host);
    assert_uncounted(&of_flow(&site, &of_host, &of_host.flows[0]));
    // What nobody sends, as far as this machine knows, has a share too, which one flow does not use up.
    let forwarded =
        |at| (at, gateway.from_client(&format!("udp-sendto --to 198.51.100.{at}:9 --bytes 100")));
    let all: Vec<(u32, Truth)> = (20..60).map(forwarded).collect();
    let all_arrived = || {
        // Once: the table of what arrived is long.
        let arrived = lab.counts(Side::Internet);
        let of = |it: &(u32, Truth)| arrived.total(it.1.flows[0].destination, "udp");
        let counts: Vec<Count> = all.iter().map(of).collect();
        counts.iter().all(|it| it.packets == 1).then_some(counts)
    };
    let arrived = harness::eventually(all_arrived).expect("each datagram");
    for ((at, truth), arrived) in all.iter().zip(arrived) {
        let told = harness::eventually(|| {
            let told = site.events(&["--destination", &format!("198.51.100.{at}")]);
            (!told.is_empty()).then_some(told)
        });
        let told = told.unwrap_or_else(|| panic!("{truth:?} is not told\n{}", site.log()));
        assert_eq!(number(&told[0], "/source/bytes"), arrived.bytes, "{told:?}");
        assert_eq!(text(&told[0], "/geofenced/origin"), "forwarded", "{told:?}");
        assert_uncounted(&told);
    }
    for flood in floods {
        flood.finish();
    }
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}
