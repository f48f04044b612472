//! Real kernel, real packets: what a name server answered, and what TLS and QUIC say first, names
//! where a flow goes. Needs root.

use harness::{Lab, Namespace, Running, Side, Site, Truth, text};
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
                 allow = true\ndestination = \"partner.example\"\ntrust = \"server-name\"\n\
                 [[policy.rule]]\nname = \"rival\"\nallow = false\ndestination = \"rival.example\"\n";
    watched(rules, |lab, site| {
        let words = "tls-hello --to 203.0.113.80:{port} --name api.partner.example";
        let partner = lab.egress_to_sink(words);

        let words = "tls-hello --to 198.51.100.80:{port} --name rival.example";
        let event = assert_named(site, &lab.egress_to_sink(words), ("rival.example", "sni"));
        assert_eq!(text(&event, "/geofenced/verdict"), "unapproved");
        let labels = [("country", "US"), ("reason", "rule:rival")];
        assert!(site.metrics().sum("geofenced_violations_total", &labels) > 0.5);
        // Where it was told before its hello came, it is in the ledger, and no violation any more; where
        // the hello was first there is no record of its own of what is approved.
        let is_excused = |event: &Value| {
            text(event, "/geofenced/verdict") == "approved"
                && text(event, "/geofenced/reason") == "rule:partner"
                && text(event, "/destination/domain") == "api.partner.example"
        };
        let all = || site.events_of(partner.pid).iter().all(is_excused).then_some(());
        assert!(harness::eventually(all).is_some(), "{:?}", site.events_of(partner.pid));
        let is_counted =
            || site.metrics().sum("geofenced_egress_flows_total", &[("country", "CN")]) > 0.5;
        assert!(harness::eventually(|| is_counted().then_some(())).is_some(), "{}", site.log());
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
    site.drop_in("test", "[capture]\nring_buffer = \"512KiB\"\n");
    let daemon = site.start();
    let answers = "--hostile --answer www.example.org=203.0.113.80";
    let _server = name_server(&lab, SERVER, answers);
    daemon.signal(Signal::STOP);
    // Some 8 KiB of answers each, of which the ring takes a quarter of it; with what else there is to tell
    // of them it is less than half full.
    let words = format!("resolve-send --to {SERVER} --name www.example.org");
    let truths: Vec<Truth> = (0..20).map(|_| lab.egress(&words)).collect();
    daemon.signal(Signal::CONT);
    for truth in &truths {
        let all = || (site.events_of(truth.pid).len() == truth.flows.len()).then_some(());
        let lost = || site.metrics().nonzero("geofenced_events_lost_total");
        assert!(harness::eventually(all).is_some(), "{:?} {:?}", lost(), site.events_of(truth.pid));
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

/// Names that are allowed and forbidden, and a name server that is trusted.
const RULES: &str = "[names]\nresolvers = [\"203.0.113.53\"]\n\
                     [[policy.rule]]\nname = \"evil\"\nallow = false\n\
                     destination = \"evil.example\"\n\
                     [[policy.rule]]\nname = \"good\"\nallow = true\n\
                     destination = \"good.example\"\n";

/// A daemon in the host's namespace of the lab, and the above.
fn watched_from_inside(more: &str, test: impl FnOnce(&Lab, &Site)) {
    let lab = Lab::new();
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    site.drop_in("rules", RULES);
    site.drop_in("test", more);
    let daemon = site.start();
    test(&lab, &site);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

fn assert_judged(event: &Value, verdict: &str, reason: &str) {
    let judged = (text(event, "/geofenced/verdict"), text(event, "/geofenced/reason"));
    assert_eq!(judged, (verdict, reason), "{event}");
}

#[test]
fn what_a_trusted_name_server_told_the_process_allows_and_what_another_told_it_does_not() {
    watched_from_inside("", |lab, site| {
        let _trusted = name_server(lab, SERVER, "--answer good.example=203.0.113.80");
        let _other = name_server(lab, "203.0.113.54:53", "--answer good.example=203.0.113.81");
        let asked = lab.egress(&format!("resolve-send --to {SERVER} --name good.example"));
        let event = assert_named(site, &asked, ("good.example", "dns"));
        assert_judged(&event, "approved", "rule:good");
        let asked = lab.egress("resolve-send --to 203.0.113.54:53 --name good.example");
        let event = assert_named(site, &asked, ("good.example", "dns"));
        assert_judged(&event, "unapproved", "country");
    });
}

#[test]
fn what_another_process_asked_for_forbids_and_does_not_allow() {
    watched_from_inside("", |lab, site| {
        let answers = "--answer good.example=203.0.113.80 --answer evil.example=198.51.100.80";
        let _server = name_server(lab, SERVER, answers);
        for name in ["good.example", "evil.example"] {
            lab.egress(&format!("resolve-send --to {SERVER} --name {name}"));
        }
        let event = assert_named(
            site,
            &lab.egress("udp-sendto --to 203.0.113.80:9"),
            ("good.example", "dns-host"),
        );
        assert_judged(&event, "unapproved", "country");
        let event = assert_named(
            site,
            &lab.egress("udp-sendto --to 198.51.100.80:9"),
            ("evil.example", "dns-host"),
        );
        assert_judged(&event, "unapproved", "rule:evil");
    });
}

#[test]
fn an_answer_to_a_question_never_asked_or_with_another_id_names_nothing() {
    watched_from_inside("", |lab, site| {
        let spoof = "--answer other.example=198.51.100.1 --answer good.example=198.51.100.1 \
                     --spoof good.example=203.0.113.66";
        let _server = name_server(lab, SERVER, spoof);
        // Asked for the one it gets an answer to the other; asked for the other, one with another id.
        for name in ["other.example", "good.example"] {
            let words = format!("resolve-send --to {SERVER} --name {name} --to 203.0.113.66:9");
            let event = assert_named(site, &lab.egress(&words), ("", ""));
            assert_judged(&event, "unapproved", "country");
        }
        let unasked =
            || site.metrics().sum("geofenced_decode_errors_total", &[("reason", "dns-unasked")]);
        assert!(harness::eventually(|| (unasked() > 1.5).then_some(())).is_some());
    });
}

#[test]
fn answers_that_are_sprayed_name_nothing_and_are_counted() {
    watched_from_inside("", |lab, site| {
        let answers = "--answer good.example=198.51.100.1 --spoof good.example=203.0.113.66 \
                       --spoofs 28000";
        let _server = name_server(lab, SERVER, answers);
        let words = format!("resolve-send --to {SERVER} --name good.example --to 203.0.113.66:9");
        let event = assert_named(site, &lab.egress(&words), ("", ""));
        assert_judged(&event, "unapproved", "country");
        let event = assert_named(site, &lab.egress("udp-sendto --to 203.0.113.66:9"), ("", ""));
        assert_judged(&event, "unapproved", "country");
        let counted = || {
            let labels = [("reason", "name-excess")];
            site.metrics().sum("geofenced_events_lost_total", &labels) > 100.0
        };
        assert!(harness::eventually(|| counted().then_some(())).is_some());
    });
}

#[test]
fn a_name_server_in_a_namespace_of_somebodys_own_names_nothing_on_the_host() {
    watched_from_inside("", |lab, site| {
        let own = Namespace::new();
        // At the address of the trusted one.
        own.ip("address add 203.0.113.53/32 dev lo");
        let inside = |words: &str| {
            let mut command = lab.command_in(&own, words);
            lab.cgroup.admit(&mut command);
            Running::start(&mut command)
        };
        let words = format!("serve-dns --listen {SERVER} --answer good.example=203.0.113.66");
        let mut server = inside(&words);
        server.listening();
        let words = format!("resolve-send --to {SERVER} --name good.example --to 127.0.0.1:9");
        inside(&words).finish();
        let event = assert_named(site, &lab.egress("udp-sendto --to 203.0.113.66:9"), ("", ""));
        assert_judged(&event, "unapproved", "country");
    });
}

#[test]
fn a_hello_in_whatever_pieces_and_behind_whatever_preamble_is_found_and_forbidden() {
    watched_from_inside("", |lab, site| {
        let ways = [
            "--bytes 1500 --parts 1,900",
            "--bytes 1500 --parts 2,900",
            "--bytes 1500 --parts 5,900",
            "--bytes 3000 --parts 300",
            "--bytes 800 --parts 1",
            "--bytes 12000",
            "--bytes 1000 --records 64",
            "--preamble starttls --bytes 1500",
            "--preamble ssl-request",
            "--preamble connect --parts 3,700 --bytes 1500",
        ];
        for way in ways {
            let words = format!("tls-hello --to 198.51.100.80:{{port}} --name evil.example {way}");
            let event = assert_named(site, &lab.egress_to_sink(&words), ("evil.example", "sni"));
            assert_judged(&event, "unapproved", "rule:evil");
            assert_eq!(text(&event, "/tls/client/server_name"), "evil.example", "{way}");
        }
    });
}

#[test]
fn a_quic_hello_in_five_packets_and_behind_what_is_sent_again_is_found_and_forbidden() {
    watched_from_inside("", |lab, site| {
        let five = "--bytes 3000 --parts 700";
        for before in [
            "",
            "--before first",
            "--before version",
            "--before retry",
            "--before first --before version --before retry",
        ] {
            let words =
                format!("quic-initial --to 198.51.100.80:443 --name evil.example {five} {before}");
            let event = assert_named(site, &lab.egress(&words), ("evil.example", "quic"));
            assert_judged(&event, "unapproved", "rule:evil");
        }
    });
}

#[test]
fn a_harmless_answer_and_an_evil_hello_are_both_told_and_either_forbids() {
    watched_from_inside("", |lab, site| {
        let _server = name_server(lab, SERVER, "--answer harmless.example=198.51.100.80");
        let ask = format!("--to {SERVER} --ask harmless.example");
        let mut sink = lab.start(Side::Internet, "serve-tcp --listen [::]:0");
        let port = sink.listening().port();
        let words = format!("tls-hello --to 198.51.100.80:{port} --name evil.example {ask}");
        let truth = lab.egress(&words);
        let event = assert_named(site, &truth, ("harmless.example", "dns"));
        let said = || {
            let events = site.events_of(truth.pid);
            let is_said = |it: &Value| text(it, "/tls/client/server_name") == "evil.example";
            events.into_iter().find(is_said)
        };
        let event = harness::eventually(said).unwrap_or_else(|| panic!("not said: {event}"));
        assert_judged(&event, "unapproved", "rule:evil");
        assert_eq!(text(&event, "/destination/domain"), "harmless.example");
        for name in ["harmless.example", "evil.example"] {
            assert!(!site.events(&["--destination", name]).is_empty(), "{name}");
        }
    });
}

#[test]
fn a_server_name_alone_allows_nothing_and_a_hello_that_never_ends_is_undetermined() {
    watched_from_inside("[names]\nundetermined = \"unapproved\"\n", |lab, site| {
        let words = "tls-hello --to 203.0.113.80:{port} --name good.example";
        let event = assert_named(site, &lab.egress_to_sink(words), ("good.example", "sni"));
        assert_judged(&event, "unapproved", "country");

        let cut =
            "tls-hello --to 198.51.100.80:{port} --name good.example --bytes 1500 --until 900";
        let event = assert_named(site, &lab.egress_to_sink(cut), ("", "undetermined"));
        assert_judged(&event, "unapproved", "undetermined");
    });
}
