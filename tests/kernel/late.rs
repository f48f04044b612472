//! A daemon that starts when everything is already connected: it still knows whose each socket is.
//! Needs root.

use harness::{Gateway, Running, Side, Site, Truth, text};
use serde_json::Value;

/// Of each kind of connection and socket.
const EACH: usize = 50;

/// The records of a process once there is one for each of its flows.
fn told_of(site: &Site, pid: u32) -> Option<Vec<Value>> {
    harness::eventually(|| {
        let events = site.events_of(pid);
        (events.len() >= EACH).then_some(events)
    })
}

/// The records of these flows are there, each with this process.
fn assert_attributed(site: &Site, truth: &Truth) {
    assert_eq!(truth.flows.len(), EACH, "{}", truth.kind);
    let events = told_of(site, truth.pid).unwrap_or_else(|| {
        let (of, any) = (site.events_of(truth.pid), site.events(&[]));
        panic!(
            "{}: {} of {EACH} attributed; of all {}:\n{:?}",
            truth.kind,
            of.len(),
            any.len(),
            any.first()
        )
    });
    assert_eq!(events.len(), EACH, "{}: a flow is told twice, or was never made", truth.kind);
    for flow in &truth.flows {
        let is_its = |event: &&Value| {
            event["source"]["port"].as_u64() == flow.source_port.map(u64::from)
                && text(event, "/destination/ip") == flow.destination.to_string()
        };
        let event = events.iter().find(is_its);
        let event = event.unwrap_or_else(|| panic!("{}: no record of {flow:?}", truth.kind));
        assert_eq!(text(event, "/process/executable"), truth.executable, "{event}");
        assert_eq!(text(event, "/geofenced/origin"), "pre-existing", "{event}");
        // Of TCP the kernel may also say who sends.
        let attribution = text(event, "/geofenced/attribution");
        let is_tcp = text(event, "/network/transport") == "tcp";
        assert!(attribution == "procfs" || (is_tcp && attribution == "socket"), "{event}");
    }
}

#[test]
fn connections_and_sockets_that_are_older_than_the_daemon_are_attributed() {
    let gateway = Gateway::new();
    let lab = &gateway.lab;
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());

    let serve = format!("serve-tcp --listen [::]:0 --count {EACH}");
    let mut sinks = [lab.start(Side::Internet, &serve), lab.start(Side::Internet, &serve)];
    let hold = |address: &str, sink: &mut Running| {
        format!("hold-tcp --to {address}:{} --count {EACH}", sink.listening().port())
    };
    let held = |words: &str| lab.start(Side::Host, &format!("{words} --count {EACH}"));
    let connecting = lab.start(Side::Host, &hold("203.0.113.5", &mut sinks[0]));
    let mut inside = lab.command_in(&gateway.container, &hold("203.0.113.6", &mut sinks[1]));
    let contained = Running::start(lab.cgroup.admit(&mut inside));
    let mut accepting = held("hold-accepted --listen 10.77.0.2:0");
    let port = accepting.listening().port();
    let readers = format!("hold-readers --from 203.0.113.8 --to 10.77.0.2:{port} --count {EACH}");
    let readers = lab.start(Side::Internet, &readers);
    let mut all = [
        connecting,
        contained,
        accepting,
        held("hold-udp --to 203.0.113.7:9"),
        held("hold-ping --to 203.0.113.9"),
        held("hold-ping --to 2001:db8:f::9"),
        held("hold-raw --to 203.0.113.10"),
    ];
    all.iter_mut().for_each(Running::holding);

    let daemon = site.start();
    all.iter_mut().for_each(Running::send);
    for running in all {
        // Who holds those without a connection is looked up while they are open.
        let _ = told_of(&site, running.pid());
        assert_attributed(&site, &running.finish());
    }
    readers.finish();
    for sink in sinks {
        sink.finish();
    }
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn an_older_connection_that_was_passed_on_is_told_as_who_has_it_now() {
    let gateway = Gateway::new();
    let lab = &gateway.lab;
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let mut sink = lab.start(Side::Internet, "serve-tcp --listen [::]:0 --count 1");
    let to = sink.listening().port();
    let mut holder = lab.start(Side::Host, &format!("hold-tcp --pass --to 203.0.113.5:{to}"));
    holder.holding();
    let daemon = site.start();
    holder.send();
    let told = harness::eventually(|| {
        let events = site.events(&["--destination", "203.0.113.5"]);
        // By the kernel's word, or by who holds it.
        let is_named = |event: &Value| text(event, "/geofenced/attribution") != "none";
        events.into_iter().find(is_named)
    });
    let event = told.unwrap_or_else(|| panic!("{:?}", site.events(&[])));
    let passed_by = holder.pid();
    let truth = holder.finish();
    assert_eq!(truth.creator, Some(passed_by));
    assert_eq!(event["process"]["pid"].as_u64(), Some(truth.pid.into()), "{event}");
    sink.finish();
    assert_eq!(site.events_of(passed_by), Vec::<Value>::new());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_is_accepted_on_a_port_that_two_namespaces_listen_on_is_told_as_the_one_that_did() {
    let gateway = Gateway::new();
    let lab = &gateway.lab;
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let mut server = lab.start(Side::Host, "hold-accepted --listen [::]:0 --keep");
    let port = server.listening().port();
    let same = format!("hold-accepted --listen [::]:{port}");
    let mut inside = lab.command_in(&gateway.container, &same);
    let mut other = Running::start(lab.cgroup.admit(&mut inside));
    assert_eq!(other.listening().port(), port);
    let daemon = site.start();
    let words = format!("hold-readers --from 203.0.113.77 --to 10.77.0.2:{port}");
    let client = lab.start(Side::Internet, &words);
    server.holding();
    server.send();
    let told = harness::eventually(|| site.events_of(server.pid()).pop());
    let event = told.unwrap_or_else(|| panic!("{:?}", site.events(&[])));
    let truth = server.finish();
    assert_eq!(text(&event, "/process/executable"), truth.executable, "{event}");
    assert_eq!(text(&event, "/geofenced/origin"), "accepted", "{event}");
    assert_eq!(event["source"]["port"].as_u64(), Some(port.into()), "{event}");
    client.finish();
    assert_eq!(site.events_of(other.pid()), Vec::<Value>::new());
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn what_is_accepted_by_a_listener_that_is_older_than_the_daemon_is_attributed_to_it() {
    let gateway = Gateway::new();
    let lab = &gateway.lab;
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let mut server = lab.start(Side::Host, "accept-reply --listen [::]:0 --bytes 3000");
    let port = server.listening().port();
    let daemon = site.start();
    let words = format!("connect-and-read --from 203.0.113.77 --to 10.77.0.2:{port}");
    assert_eq!(lab.start(Side::Internet, &words).finish().received_bytes, Some(3000));
    let truth = server.finish();
    let told = harness::eventually(|| {
        let event = site.events_of(truth.pid).pop()?;
        let arrived = lab.arrived(&truth.flows[0]).bytes;
        (event["source"]["bytes"].as_u64() == Some(arrived)).then_some(event)
    });
    let event = told.unwrap_or_else(|| panic!("{:?}", site.events(&[])));
    assert_eq!(text(&event, "/process/executable"), truth.executable, "{event}");
    assert_eq!(text(&event, "/geofenced/origin"), "accepted", "{event}");
    assert_eq!(site.events(&["--destination", "203.0.113.77"]).len(), 1);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}
