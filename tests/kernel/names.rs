//! Real kernel, real packets: what a name server answered, and what TLS and QUIC say first, names
//! where a flow goes. Needs root.

use harness::{Lab, Running, Side, Site, Truth};
use rustix::process::Signal;
use serde_json::Value;

const SERVER: &str = "203.0.113.53:53";
const SERVER6: &str = "[2001:db8:f::53]:53";

/// A lab and a daemon that sees its generators and nothing else.
fn watched(configuration: &str, test: impl FnOnce(&Lab, &Site)) {
    let lab = Lab::new();
    // Addresses that no interface has.
    lab.internet.sysctl("ipv6/ip_nonlocal_bind", "1");
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    site.drop_in("test", configuration);
    let daemon = site.start();
    test(&lab, &site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

fn name_server(lab: &Lab, at: &str, answers: &str) -> Running {
    let mut server = lab.start(Side::Internet, &format!("serve-dns --listen {at} {answers}"));
    server.listening();
    server
}

fn text<'e>(event: &'e Value, pointer: &str) -> &'e str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Name and source of the last flow of the generator, once it is `expected`.
fn assert_named(site: &Site, truth: &Truth, expected: (&str, &str)) -> Value {
    let flow = truth.flows.last().expect("a flow");
    let find = || {
        let events = site.events_of(truth.pid);
        events.into_iter().find(|event| {
            text(event, "/destination/ip") == flow.destination.to_string()
                && event["destination"]["port"] == flow.port
        })
    };
    let name = |event: &Value| {
        let name = text(event, "/destination/domain").to_owned();
        (name, text(event, "/geofenced/domain_source").to_owned())
    };
    let expected = (expected.0.to_owned(), expected.1.to_owned());
    let found = harness::eventually(|| find().filter(|event| name(event) == expected));
    found.unwrap_or_else(|| panic!("not {expected:?}: {:?}\n{}", find(), site.log()))
}

#[test]
fn an_answer_names_the_destination_for_the_process_that_asked() {
    watched("", |lab, site| {
        let _server = name_server(lab, SERVER, "--answer www.example.org=203.0.113.80");
        let words = format!("resolve-send --to {SERVER} --name WWW.Example.ORG --ports 8000-8000");
        let event = assert_named(site, &lab.egress(&words), ("www.example.org", "dns"));
        assert_eq!(text(&event, "/process/name"), "egress");
        let found = site.events(&["--destination", "example.org"]);
        assert_eq!(found.len(), 1, "{found:?}");
    });
}

#[test]
fn aliases_and_ipv6_lead_to_the_name_that_was_asked_for() {
    watched("", |lab, site| {
        let answers = "--answer www.example.org=cdn.example.net \
                       --answer cdn.example.net=edge.example.com \
                       --answer edge.example.com=2001:db8:f::80";
        let _server = name_server(lab, SERVER6, answers);
        let words = format!("resolve-send --to {SERVER6} --name www.example.org --ipv6");
        assert_named(site, &lab.egress(&words), ("www.example.org", "dns"));
    });
}

#[test]
fn an_answer_over_tcp_names_the_destination_too() {
    watched("", |lab, site| {
        let _four = name_server(lab, SERVER, "--answer www.example.org=203.0.113.80");
        let words = format!("resolve-send --to {SERVER} --name www.example.org --over-tcp");
        assert_named(site, &lab.egress(&words), ("www.example.org", "dns"));
        let _six = name_server(lab, SERVER6, "--answer six.example.org=203.0.113.81");
        let words = format!("resolve-send --to {SERVER6} --name six.example.org --over-tcp");
        assert_named(site, &lab.egress(&words), ("six.example.org", "dns"));
    });
}

#[test]
fn two_processes_that_ask_differently_for_one_address_have_each_their_name() {
    watched("", |lab, site| {
        let answers = "--answer one.example=203.0.113.80 --answer two.example=203.0.113.80";
        let _server = name_server(lab, SERVER, answers);
        // Both have asked before either sends.
        let start = |name: &str| {
            let words = format!("resolve-send --to {SERVER} --name {name} --linger 1500");
            lab.start(Side::Host, &words)
        };
        let (one, two) = (start("one.example"), start("two.example"));
        let (one, two) = (one.finish(), two.finish());
        assert_named(site, &one, ("one.example", "dns"));
        assert_named(site, &two, ("two.example", "dns"));
    });
}

#[test]
fn what_another_process_asked_for_names_for_the_host() {
    watched("", |lab, site| {
        let _server = name_server(lab, SERVER, "--answer www.example.org=203.0.113.80");
        lab.egress(&format!("resolve-send --to {SERVER} --name www.example.org"));
        let truth = lab.egress("udp-sendto --to 203.0.113.80:9");
        assert_named(site, &truth, ("www.example.org", "dns-host"));
    });
}

#[test]
fn a_stub_resolver_on_loopback_names_for_the_program_that_asked_it() {
    watched("", |lab, site| {
        let words = "serve-dns --listen 127.0.0.53:53 --answer www.example.org=203.0.113.80";
        let mut stub = lab.start(Side::Host, words);
        stub.listening();
        let asked = lab.egress("resolve-send --to 127.0.0.53:53 --name www.example.org");
        assert_named(site, &asked, ("www.example.org", "dns"));
    });
}

#[test]
fn a_client_hello_names_where_no_answer_was_seen() {
    watched("", |lab, site| {
        for to in ["203.0.113.80", "[2001:db8:f::80]"] {
            let words = format!("tls-hello --to {to}:{{port}} --name Hello.Example");
            assert_named(site, &lab.egress_to_sink(&words), ("hello.example", "sni"));
        }
    });
}

#[test]
fn a_client_hello_in_two_segments_names_all_the_same() {
    watched("", |lab, site| {
        let words = "tls-hello --to 203.0.113.80:{port} --name hello.example --bytes 1900";
        assert_named(site, &lab.egress_to_sink(words), ("hello.example", "sni"));
    });
}

#[test]
fn the_name_a_process_asked_for_counts_more_than_its_hello_and_that_more_than_what_others_asked() {
    watched("", |lab, site| {
        let answers = "--answer asked.hello.example=203.0.113.80";
        let _server = name_server(lab, SERVER, answers);
        let hello = "tls-hello --to 203.0.113.80:{port} --name hello.example";
        let mut sink = lab.start(Side::Internet, "serve-tcp --listen [::]:0");
        let to_sink = hello.replace("{port}", &sink.listening().port().to_string());
        let asked = lab.egress(&format!("{to_sink} --to {SERVER}"));
        assert_named(site, &asked, ("asked.hello.example", "dns"));
        assert_named(site, &lab.egress_to_sink(hello), ("hello.example", "sni"));
    });
}

#[test]
fn a_quic_initial_names_where_no_answer_was_seen() {
    watched("", |lab, site| {
        for (to, padding) in [("203.0.113.80:443", 100), ("[2001:db8:f::80]:443", 1500)] {
            let words = format!("quic-initial --to {to} --name Quic.Example --bytes {padding}");
            assert_named(site, &lab.egress(&words), ("quic.example", "quic"));
        }
    });
}

#[test]
fn a_rule_for_a_domain_decides_by_the_client_hello_also_in_the_ledger() {
    let rules = "[store]\nrecord = \"unapproved\"\n[[policy.rule]]\nname = \"partner\"\n\
                 allow = true\ndestination = \"partner.example\"\n\
                 [[policy.rule]]\nname = \"rival\"\nallow = false\ndestination = \"rival.example\"\n";
    watched(rules, |lab, site| {
        let words = "tls-hello --to 203.0.113.80:{port} --name api.partner.example";
        let event = assert_named(site, &lab.egress_to_sink(words), ("api.partner.example", "sni"));
        assert_eq!(text(&event, "/geofenced/verdict"), "approved");
        assert_eq!(text(&event, "/geofenced/reason"), "rule:partner");

        let words = "tls-hello --to 198.51.100.80:{port} --name rival.example";
        let event = assert_named(site, &lab.egress_to_sink(words), ("rival.example", "sni"));
        assert_eq!(text(&event, "/geofenced/verdict"), "unapproved");
        let labels = [("country", "US"), ("reason", "rule:rival")];
        assert!(site.metrics().sum("geofenced_violations_total", &labels) > 0.5);
    });
}

#[test]
fn hostile_answers_do_no_harm() {
    watched("", |lab, site| {
        let answers = "--hostile --answer www.example.org=203.0.113.80";
        let _server = name_server(lab, SERVER, answers);
        for _ in 0..10 {
            let words = format!("resolve-send --to {SERVER} --name www.example.org");
            assert_named(site, &lab.egress(&words), ("www.example.org", "dns"));
        }
        // Counted at the next sweep.
        let unread =
            || site.metrics().sum("geofenced_decode_errors_total", &[("reason", "dns")]) > 0.5;
        assert!(harness::eventually(|| unread().then_some(())).is_some());
    });
}

#[test]
fn answers_that_fill_the_ring_cost_names_and_no_flow() {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    site.drop_in("test", "[capture]\nring_buffer = \"128KiB\"\n");
    let daemon = site.start();
    let answers = "--hostile --answer www.example.org=203.0.113.80";
    let _server = name_server(&lab, SERVER, answers);
    daemon.signal(Signal::STOP);
    // Some 8 KiB of answers each; what else there is to tell of them is a quarter of that.
    let words = format!("resolve-send --to {SERVER} --name www.example.org");
    let truths: Vec<Truth> = (0..15).map(|_| lab.egress(&words)).collect();
    daemon.signal(Signal::CONT);
    for truth in &truths {
        let all = || (site.events_of(truth.pid).len() == truth.flows.len()).then_some(());
        assert!(harness::eventually(all).is_some(), "{:?}", site.events_of(truth.pid));
    }
    let lost = |reason| site.metrics().sum("geofenced_events_lost_total", &[("reason", reason)]);
    assert!(harness::eventually(|| (lost("ring-full-name") > 0.5).then_some(())).is_some());
    for reason in ["ring-full-flow", "ring-full-attempt", "ring-full-process"] {
        assert!(lost(reason) < 0.5, "{reason}");
    }
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

fn lookups(site: &Site, words: &[&str]) -> Vec<Value> {
    let asked = site.ask(&[&["events", "--lookups", "-o", "json"], words].concat());
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    let parse = |line: &str| serde_json::from_str(line).expect("a line of JSON");
    asked.stdout.lines().map(parse).collect()
}

#[test]
fn questions_are_records_where_the_configuration_asks_for_them() {
    watched("[names]\nqueries = true\n", |lab, site| {
        let _server = name_server(lab, SERVER, "--answer www.example.org=203.0.113.80");
        for way in ["", "--over-tcp"] {
            let words = format!("resolve-send --to {SERVER} --name www.example.org {way}");
            let truth = lab.egress(&words);
            let pid = truth.pid.to_string();
            let found = harness::eventually(|| {
                let found = lookups(site, &["--pid", &pid]);
                (found.len() == 2).then_some(found)
            });
            let found = found.unwrap_or_else(|| panic!("{:?}", lookups(site, &[])));
            let kinds: Vec<&str> = found.iter().map(|it| text(it, "/dns/type")).collect();
            assert_eq!(kinds, ["query", "answer"]);
            for lookup in &found {
                assert_eq!(text(lookup, "/dns/question/name"), "www.example.org");
                assert_eq!(text(lookup, "/dns/question/type"), "A");
                assert_eq!(text(lookup, "/event/type/0"), "protocol");
                assert_eq!(text(lookup, "/destination/ip"), "203.0.113.53");
                assert_eq!(text(lookup, "/process/name"), "egress");
            }
            assert_eq!(text(&found[1], "/dns/resolved_ip/0"), "203.0.113.80");
        }
        let newest = lookups(site, &["--limit", "1", "--destination", "example.org"]);
        assert_eq!(newest.len(), 1);
        assert!(lookups(site, &["--destination", "other.example"]).is_empty());
    });
}

#[test]
fn without_being_asked_no_question_is_stored_and_disabled_nothing_is_named() {
    watched("[names]\nenabled = false\n", |lab, site| {
        let _server = name_server(lab, SERVER, "--answer www.example.org=203.0.113.80");
        let words = format!("resolve-send --to {SERVER} --name www.example.org");
        assert_named(site, &lab.egress(&words), ("", ""));
        let words = "tls-hello --to 203.0.113.80:{port} --name hello.example";
        assert_named(site, &lab.egress_to_sink(words), ("", ""));
        assert!(lookups(site, &[]).is_empty());
    });
    watched("", |lab, site| {
        let _server = name_server(lab, SERVER, "--answer www.example.org=203.0.113.80");
        let words = format!("resolve-send --to {SERVER} --name www.example.org");
        assert_named(site, &lab.egress(&words), ("www.example.org", "dns"));
        assert!(lookups(site, &[]).is_empty());
    });
}
