//! What must be true of a transcript: each probe attached, each flow of the generator told with its
//! process, destination, verdict and bytes, every way out as the test of them says, nothing lost. Pure.

use serde_json::Value;

use super::transcript::{Section, Transcript};

/// IP header, by family.
const IPV4_BYTES: u64 = 20;
const IPV6_BYTES: u64 = 40;
/// Of UDP, and of an ICMP echo.
const DATAGRAM_BYTES: u64 = 8;
/// With the timestamps that every segment carries, and what a SYN carries beyond.
const TCP_BYTES: u64 = 32;
const SYN_EXTRA_BYTES: u64 = 8;

/// What a row of the table is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Probe,
    Egress,
    Daemon,
}

#[derive(Clone, Debug)]
pub(super) struct Check {
    pub(super) subject: Subject,
    pub(super) name: String,
    /// `Err` says what was found instead, in one line.
    pub(super) outcome: Result<(), String>,
    /// What this kernel can't do, and nobody on it.
    pub(super) limit: Option<Limit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// There is no such way out, and why.
    Absent(&'static str),
    /// Everything is told but the process.
    Nobody,
}

/// Ways that a kernel does not have: the kind, how its release begins, and why.
const ABSENT: [(&str, &str, &str); 2] = [
    ("mptcp", "5.10.", "Debian builds it without CONFIG_MPTCP"),
    ("container-rewritten", "5.10.", "nft's hook at egress came with Linux 5.16"),
];

/// `is_whole`: every way out was tried, too.
pub(super) fn all(said: &Transcript, is_whole: bool) -> Vec<Check> {
    let mut checks = probes(said);
    checks.extend(egress(said));
    if is_whole {
        checks.extend(ways(said));
    }
    checks.extend(daemon(said));
    checks
}

fn metrics(said: &Transcript) -> &[String] {
    said.section("metrics").map_or(&[], |section| &section.lines)
}

/// Samples of a metric: what stands between its braces, and the value.
fn samples<'m>(metrics: &'m [String], name: &str) -> impl Iterator<Item = (&'m str, f64)> {
    metrics.iter().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once("} ")?,
            None => ("", rest.strip_prefix(' ')?),
        };
        Some((labels, value.trim().parse().ok()?))
    })
}

/// Probes that older kernels have no place for, and miss nothing without that leaves.
const EXTRA: [&str; 1] = ["link_send"];

/// Each probe, and whether the daemon attached it.
pub(super) fn attached(said: &Transcript) -> impl Iterator<Item = (String, bool)> {
    let attached = samples(metrics(said), "geofenced_probe_attached");
    attached.map(|(labels, value)| {
        (labels.trim_start_matches("probe=").trim_matches('"').to_owned(), value > 0.0)
    })
}

fn probes(said: &Transcript) -> Vec<Check> {
    let checks: Vec<Check> = attached(said)
        .filter_map(|(name, is_attached)| {
            let outcome = if is_attached { Ok(()) } else { Err(why_missing(said, &name)) };
            let is_asked = is_attached || !EXTRA.contains(&name.as_str());
            is_asked.then_some(Check { subject: Subject::Probe, name, outcome, limit: None })
        })
        .collect();
    let variants = samples(metrics(said), "geofenced_probe_variant");
    let variants: Vec<Check> = variants.filter_map(|it| variant(said, it.0, it.1)).collect();
    if checks.is_empty() {
        let problem = said.section("metrics").and_then(Section::problem);
        let outcome = Err(problem.unwrap_or_else(|| "the daemon tells of no probe".into()));
        return vec![Check {
            subject: Subject::Probe,
            name: "every probe".into(),
            outcome,
            limit: None,
        }];
    }
    [checks, variants].concat()
}

/// A program that stands for its probe, so that the table says which each kernel took; and any of which
/// a better one was refused.
fn variant(said: &Transcript, labels: &str, value: f64) -> Option<Check> {
    let labels: Vec<&str> = labels.split('"').collect();
    let [_, probe, _, name, ..] = labels.as_slice() else { return None };
    if value > 0.0 && probe == name {
        return None;
    }
    let outcome = if value > 0.0 { Ok(()) } else { Err(why_missing(said, probe)) };
    Some(Check { subject: Subject::Probe, name: (*name).to_owned(), outcome, limit: None })
}

/// What `doctor` says of the probe.
fn why_missing(said: &Transcript, probe: &str) -> String {
    let nothing = || "not attached, or not the best".to_owned();
    diagnosis(said, probe).map_or_else(nothing, |about| about.to_string())
}

/// A check of `doctor`.
fn diagnosis(said: &Transcript, name: &str) -> Option<Value> {
    let mut reports = said.section("doctor").into_iter().flat_map(Section::json);
    reports.find_map(|report| {
        let checks = report["checks"].as_array()?;
        checks.iter().find(|check| check["check"] == name).cloned()
    })
}

/// The kernel finds the classes and verdicts that user space finds.
fn classes(said: &Transcript) -> Result<(), String> {
    match diagnosis(said, "class tables") {
        Some(about) if about["state"] == "ok" => Ok(()),
        Some(about) => Err(about.to_string()),
        None => Err("was not tried".to_owned()),
    }
}

fn egress(said: &Transcript) -> impl Iterator<Item = Check> {
    let events: Vec<Value> = said.section("ledger").into_iter().flat_map(Section::json).collect();
    said.sections.iter().filter_map(move |section| {
        let name = section.name.strip_prefix("egress ")?.to_owned();
        let outcome = match section.problem() {
            Some(problem) => Err(format!("the generator failed: {problem}")),
            // Silence is no proof of a kind that must not be told.
            None if events.is_empty() => Err("no event of anything".to_owned()),
            None => is_told(section, &events),
        };
        Some(Check { subject: Subject::Egress, name, outcome, limit: None })
    })
}

/// Every way out, as the guest's own test of them says: it asserts what it does on the host.
fn ways(said: &Transcript) -> Vec<Check> {
    let section = said.section("coverage");
    let results: Vec<Value> = section.into_iter().flat_map(Section::json).collect();
    let check = |result: &Value| {
        let name = result["kind"].as_str()?.to_owned();
        let release = result["kernel"].as_str().unwrap_or_default();
        let absent = ABSENT.iter().find(|it| it.0 == name && release.starts_with(it.1));
        let is_nobodys = result["has_process"] == true && result["attribution"] == "none";
        let (outcome, limit) = match (&result["problem"], absent) {
            (Value::Null, _) => (Ok(()), is_nobodys.then_some(Limit::Nobody)),
            (_, Some(absent)) => (Ok(()), Some(Limit::Absent(absent.2))),
            (problem, None) => (Err(one_line(problem.as_str().unwrap_or_default())), None),
        };
        Some(Check { subject: Subject::Egress, name, outcome, limit })
    };
    let mut checks: Vec<Check> = results.iter().filter_map(check).collect();
    let problem = section.map_or(Some("was not tried".to_owned()), Section::problem);
    // What fails for a kind is told with it.
    let is_short = |it: &Check| it.outcome.is_err() || matches!(it.limit, Some(Limit::Absent(_)));
    let is_whole = problem.is_none() || checks.iter().any(is_short);
    if checks.is_empty() || !is_whole {
        let outcome = Err(one_line(&problem.unwrap_or_else(|| "told nothing".to_owned())));
        checks.push(Check {
            subject: Subject::Egress,
            name: "every way out".into(),
            outcome,
            limit: None,
        });
    }
    checks
}

/// As much as fits a list.
fn one_line(text: &str) -> String {
    const SHOWN: usize = 400;
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(SHOWN).collect()
}

/// Every flow of the truth is told, and nothing else of its process.
fn is_told(section: &Section, events: &[Value]) -> Result<(), String> {
    let truth = section.json().find(|line| line["flows"].is_array());
    let truth = truth.ok_or("the generator told no truth")?;
    let own: Vec<&Value> =
        events.iter().filter(|event| event["process"]["pid"] == truth["pid"]).collect();
    let flows = truth["flows"].as_array().map(Vec::as_slice).unwrap_or_default();
    for flow in flows {
        let event = own
            .iter()
            .find(|event| {
                let destination = &event["destination"];
                destination["ip"] == flow["destination"]
                    && number(destination, "port") == number(flow, "port")
                    && event["network"]["transport"] == flow["transport"]
            })
            .ok_or_else(|| format!("not told: {flow}"))?;
        has_facts(event, flow, &truth)?;
    }
    if own.len() == flows.len() {
        Ok(())
    } else {
        Err(format!("{} flows told, {} made", own.len(), flows.len()))
    }
}

fn has_facts(event: &Value, flow: &Value, truth: &Value) -> Result<(), String> {
    let (country, verdict) = match flow["destination"].as_str().unwrap_or_default() {
        // These go by loopback, by which nothing leaves.
        _ if flow["phase"] == "sent" => (None, "local"),
        address if address.starts_with("203.") => (Some("CN"), "unapproved"),
        address if address.starts_with("198.") => (Some("US"), "approved"),
        _ => (Some("RU"), "unapproved"),
    };
    for (what, found, expected) in [
        ("executable", &event["process"]["executable"], &truth["executable"]),
        ("phase", &event["geofenced"]["phase"], &flow["phase"]),
        ("verdict", &event["geofenced"]["verdict"], &Value::from(verdict)),
        ("country", &event["destination"]["geo"]["country_iso_code"], &country.into()),
    ] {
        if found != expected {
            return Err(format!("{what} is {found}, not {expected}"));
        }
    }
    let (bytes, packets) = (number(&event["source"], "bytes"), number(&event["source"], "packets"));
    let expected = expected_bytes(flow, packets);
    let is_attempt = flow["phase"] == "attempt";
    if (bytes == expected && packets > 0) || (is_attempt && (bytes, packets) == (0, 0)) {
        return Ok(());
    }
    Err(format!("{bytes} bytes in {packets} packets; that many packets have {expected}"))
}

/// IP bytes of a flow that left in `packets` packets, none of them twice.
fn expected_bytes(flow: &Value, packets: u64) -> u64 {
    let ip = if is_ipv6(flow) { IPV6_BYTES } else { IPV4_BYTES };
    let (header, extra) = match flow["transport"].as_str() {
        Some("tcp") => (TCP_BYTES, SYN_EXTRA_BYTES),
        Some("udp" | "icmp" | "ipv6-icmp") => (DATAGRAM_BYTES, 0),
        _ => (0, 0),
    };
    number(flow, "payload_bytes") + packets * (ip + header) + extra
}

fn is_ipv6(flow: &Value) -> bool {
    flow["destination"].as_str().is_some_and(|address| address.contains(':'))
}

fn number(value: &Value, field: &str) -> u64 {
    value[field].as_u64().unwrap_or_default()
}

/// The guest's clock was set from 1970 while the daemon ran: what was recorded before is there, told by
/// the same clock as what came after, and the step is told.
fn clock(said: &Transcript) -> Result<(), String> {
    let status = said.section("status").and_then(|it| it.json().next()).unwrap_or_default();
    let clock = &status["clock"];
    if clock["steps"] != 1 || clock["trusted"] != false {
        return Err(format!("status says {clock}"));
    }
    let events: Vec<Value> = said.section("ledger").into_iter().flat_map(Section::json).collect();
    let of = |year: &str| {
        let begins = |it: &&Value| it["@timestamp"].as_str().is_some_and(|at| at.starts_with(year));
        events.iter().filter(begins).count()
    };
    let (before, after) = (of("1970-"), of("2027-"));
    if before == 0 || after == 0 || before + after < events.len() {
        return Err(format!("{before} events before and {after} after, of {}", events.len()));
    }
    let is_told = |it: &Value| {
        let about = &it["geofenced"];
        about["clock"] == "untrusted" && about["boot"]["id"] == clock["boot"]
    };
    events.iter().find(|it| !is_told(it)).map_or(Ok(()), |it| Err(it["geofenced"].to_string()))
}

fn daemon(said: &Transcript) -> Vec<Check> {
    let ran = |name: &str| match said.section(name) {
        Some(section) => section.problem().map_or(Ok(()), Err),
        None => Err("was not tried".to_owned()),
    };
    // Of a program that was over before its file was read there is no digest; no event is lost with it.
    let is_loss = |labels: &str| !labels.contains("stage=\"digest\"");
    let none_counted = |name: &str| {
        let counted: Vec<String> = samples(metrics(said), name)
            .filter(|(labels, value)| *value > 0.0 && is_loss(labels))
            .map(|(labels, value)| format!("{labels} {value}"))
            .collect();
        match samples(metrics(said), name).next() {
            None => Err("the daemon tells no such metric".to_owned()),
            Some(_) if counted.is_empty() => Ok(()),
            Some(_) => Err(counted.join(", ")),
        }
    };
    let memory = || {
        let line = said.first_line("memory").unwrap_or_default();
        if line.starts_with("VmRSS") { Ok(()) } else { Err(line.to_owned()) }
    };
    [
        ("doctor", ran("doctor")),
        ("classes as user space finds them", classes(said)),
        ("events from the daemon", ran("events")),
        ("events from the ledger", ran("ledger")),
        ("nothing lost", none_counted("geofenced_events_lost_total")),
        ("nothing undecoded", none_counted("geofenced_decode_errors_total")),
        ("no verdict is another", none_counted("geofenced_verdict_disagreements_total")),
        ("a clock that is set takes nothing with it", clock(said)),
        ("still running at the end", memory()),
        ("ends when asked", ran("stop")),
    ]
    .into_iter()
    .map(|(name, outcome)| Check {
        subject: Subject::Daemon,
        name: name.into(),
        outcome,
        limit: None,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRUTH: &str = r#"{"pid":9,"executable":"/bin/egress","flows":[{"destination":"203.0.113.5","port":80,"transport":"tcp","phase":"sent","payload_bytes":1000}]}"#;
    const EVENT: &str = r#"{"process":{"pid":9,"executable":"/bin/egress"},"destination":{"ip":"203.0.113.5","port":80},"network":{"transport":"tcp"},"source":{"bytes":1268,"packets":5},"geofenced":{"phase":"sent","verdict":"local"}}"#;
    const ATTEMPT: (&str, &str) = (
        r#"{"pid":9,"executable":"/bin/egress","flows":[{"destination":"203.0.113.5","port":80,"transport":"tcp","phase":"attempt","payload_bytes":0}]}"#,
        r#"{"process":{"pid":9,"executable":"/bin/egress"},"destination":{"ip":"203.0.113.5","port":80,"geo":{"country_iso_code":"CN"}},"network":{"transport":"tcp"},"source":{"bytes":0,"packets":0},"geofenced":{"phase":"attempt","verdict":"unapproved"}}"#,
    );

    fn told(event: &str) -> Result<(), String> {
        told_of(TRUTH, event)
    }

    fn told_of(truth: &str, event: &str) -> Result<(), String> {
        let text = format!(
            "begin egress x\n{truth}\nend egress x 0\nbegin ledger\n{event}\nend ledger 0\n"
        );
        let said = Transcript::parse(&text);
        egress(&said).next().unwrap().outcome
    }

    #[test]
    fn a_flow_told_as_it_was_made_passes() {
        assert_eq!(told(EVENT), Ok(()));
        assert_eq!(told_of(ATTEMPT.0, ATTEMPT.1), Ok(()));
    }

    #[test]
    fn a_flow_told_wrongly_or_not_at_all_fails() {
        for (from, to) in [
            ("\"pid\":9", "\"pid\":8"),
            ("/bin/egress", "/bin/sh"),
            ("1268", "1267"),
            ("203.0.113.5", "203.0.113.6"),
            ("\"local\"", "\"approved\""),
            ("\"sent\"", "\"attempt\""),
            ("\"bytes\":1268,\"packets\":5", "\"bytes\":1008,\"packets\":0"),
        ] {
            assert!(told(&EVENT.replace(from, to)).is_err(), "{from} -> {to}");
        }
        assert!(told(&format!("{EVENT}\n{EVENT}")).is_err(), "told twice");
        for (from, to) in [("\"CN\"", "\"US\""), ("unapproved", "approved")] {
            let event = ATTEMPT.1.replace(from, to);
            assert!(told_of(ATTEMPT.0, &event).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn a_kind_that_must_not_be_told_fails_where_nothing_is_told() {
        let quiet =
            "begin egress unix\n{\"pid\":8,\"flows\":[]}\nend egress unix 0\nbegin ledger\n";
        let outcome = |rest: &str| {
            let said = Transcript::parse(&format!("{quiet}{rest}\nend ledger 0\n"));
            egress(&said).next().unwrap().outcome
        };
        assert!(outcome("").is_err());
        assert_eq!(outcome(EVENT), Ok(()));
        assert!(outcome(&EVENT.replace("\"pid\":9", "\"pid\":8")).is_err());
    }

    #[test]
    fn a_way_out_is_as_well_as_the_guests_test_says_and_a_test_that_ended_early_is_not() {
        let outcome = |coverage: &str, status: i32| {
            let text = format!("begin coverage\n{coverage}end coverage {status}\n");
            let checks = ways(&Transcript::parse(&text));
            checks.into_iter().map(|it| (it.name, it.outcome)).collect::<Vec<_>>()
        };
        let (good, bad) = (
            "{\"kind\":\"tcp\",\"problem\":null}\n",
            "{\"kind\":\"ping\",\"problem\":\"told,\\n  nothing\"}\n",
        );
        let tcp = ("tcp".to_owned(), Ok(()));
        let ping = ("ping".to_owned(), Err("told, nothing".to_owned()));
        assert_eq!(outcome(good, 0), std::slice::from_ref(&tcp));
        assert_eq!(outcome(&format!("{good}{bad}"), 101), [tcp.clone(), ping]);
        let early = ("every way out".to_owned(), Err("exit code 101:".to_owned()));
        assert_eq!(outcome(good, 101), [tcp, early.clone()]);
        assert_eq!(outcome("", 101), [early]);
        assert!(ways(&Transcript::default())[0].outcome.is_err(), "not tried");
        let of = |line: &str| {
            let text = format!("begin coverage\n{line}\nend coverage 101\n");
            ways(&Transcript::parse(&text)).swap_remove(0)
        };
        let absent = r#"{"kind":"mptcp","kernel":"5.10.0","problem":"failed"}"#;
        assert!(matches!(of(absent).limit, Some(Limit::Absent(_))));
        assert!(of(&absent.replace("5.10", "6.1")).outcome.is_err());
        let nobodys = r#"{"kind":"a","has_process":true,"attribution":"none","problem":null}"#;
        assert_eq!(of(nobodys).limit, Some(Limit::Nobody));
        assert_eq!(of(&nobodys.replace("none", "socket")).limit, None);
    }

    #[test]
    fn a_probe_that_is_not_attached_fails_with_what_doctor_says() {
        let text = "begin doctor\n{\"checks\":[{\"check\":\"connect4\",\"found\":\"no\"}]}\nend doctor 0\nbegin metrics\n\
                    geofenced_probe_attached{probe=\"connect4\"} 0\n\
                    geofenced_probe_attached{probe=\"connect6\"} 1\nend metrics 0\n";
        let variants = "geofenced_probe_variant{probe=\"a\",variant=\"a\"} 1\n\
                        geofenced_probe_variant{probe=\"b\",variant=\"b_named\"} 1\n\
                        geofenced_probe_variant{probe=\"connect4\",variant=\"connect4\"} 0\n";
        let more = text.replace("end metrics", &format!("{variants}end metrics"));
        let checks = probes(&Transcript::parse(&more));
        assert_eq!((checks[2].name.as_str(), &checks[2].outcome), ("b_named", &Ok(())));
        assert!(checks[3].outcome.as_ref().unwrap_err().contains("\"found\":\"no\""));
        assert_eq!(checks.len(), 4);
        let checks = probes(&Transcript::parse(text));
        assert!(checks[0].outcome.as_ref().unwrap_err().contains("\"found\":\"no\""));
        assert_eq!((checks[1].name.as_str(), &checks[1].outcome), ("connect6", &Ok(())));
        assert!(probes(&Transcript::default())[0].outcome.is_err());
    }

    #[test]
    fn what_was_recorded_before_the_clock_was_set_must_be_there() {
        let event = |at: &str, clock: &str| {
            format!(
                "{{\"@timestamp\":\"{at}\",\"geofenced\":{{\"clock\":\"{clock}\",\"boot\":{{\"id\":\"b\"}}}}}}\n"
            )
        };
        let outcome = |steps: u64, events: &[String]| {
            let status =
                format!("{{\"clock\":{{\"steps\":{steps},\"trusted\":false,\"boot\":\"b\"}}}}");
            let text = format!(
                "begin status\n{status}\nend status 0\nbegin ledger\n{}end ledger 0\n",
                events.concat()
            );
            clock(&Transcript::parse(&text))
        };
        let (old, new) = (event("1970-01-01T", "untrusted"), event("2027-01-15T", "untrusted"));
        assert_eq!(outcome(1, &[old.clone(), new.clone()]), Ok(()));
        assert!(outcome(0, &[old.clone(), new.clone()]).is_err(), "the step is not told");
        assert!(outcome(1, std::slice::from_ref(&new)).is_err(), "what was before is gone");
        assert!(outcome(1, &[old, new, event("2027-01-15T", "trusted")]).is_err());
    }

    #[test]
    fn a_loss_or_an_early_end_fails() {
        let text = "begin metrics\ngeofenced_events_lost_total{stage=\"probe\",reason=\"x\"} 2\nend metrics 0\n\
                    begin stop\nend stop 1\n";
        let failed: Vec<String> = daemon(&Transcript::parse(text))
            .into_iter()
            .filter(|check| check.outcome.is_err())
            .map(|check| check.name)
            .collect();
        let expected = [
            "doctor",
            "classes as user space finds them",
            "events from the daemon",
            "events from the ledger",
            "nothing lost",
            "nothing undecoded",
            "no verdict is another",
            "a clock that is set takes nothing with it",
            "still running at the end",
            "ends when asked",
        ];
        assert_eq!(failed, expected);
    }
}
