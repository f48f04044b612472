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
    let is_claimed = tells_short_runs_by_claims(said);
    said.sections.iter().filter_map(move |section| {
        let name = section.name.strip_prefix("egress ")?.to_owned();
        let outcome = match section.problem() {
            Some(problem) => Err(format!("the generator failed: {problem}")),
            // Silence is no proof of a kind that must not be told.
            None if events.is_empty() => Err("no event of anything".to_owned()),
            None => is_told(section, &events, is_claimed),
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

/// Whether `doctor` says of this kernel that what a program is that ends at once is only claimed.
fn tells_short_runs_by_claims(said: &Transcript) -> bool {
    let mut reports = said.section("doctor").into_iter().flat_map(Section::json);
    let says = |it: &Value| it.as_str().is_some_and(|it| it.contains("ends at once"));
    reports.any(|report| report["unseen"].as_array().is_some_and(|it| it.iter().any(says)))
}

/// Every flow of the truth is told, and nothing else of its process.
fn is_told(section: &Section, events: &[Value], is_claimed: bool) -> Result<(), String> {
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
        has_facts(event, flow, &truth, is_claimed)?;
    }
    if own.len() == flows.len() {
        Ok(())
    } else {
        Err(format!("{} flows told, {} made", own.len(), flows.len()))
    }
}

fn has_facts(event: &Value, flow: &Value, truth: &Value, is_claimed: bool) -> Result<(), String> {
    // The generator ends at once: whether it was still there to be looked at is a matter of luck.
    let (executable, claimed) =
        (&event["process"]["executable"], &event["geofenced"]["executable_claimed"]);
    let executable = match (executable, claimed) {
        (Value::Null, Value::String(_)) if is_claimed => &truth["executable"],
        _ => executable,
    };
    let (country, verdict) = match flow["destination"].as_str().unwrap_or_default() {
        // These go by loopback, by which nothing leaves.
        _ if flow["phase"] == "sent" => (None, "local"),
        address if address.starts_with("203.") => (Some("CN"), "unapproved"),
        address if address.starts_with("198.") => (Some("US"), "approved"),
        _ => (Some("RU"), "unapproved"),
    };
    for (what, found, expected) in [
        ("executable", executable, &truth["executable"]),
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

/// By the boot clock, which goes on while the machine sleeps: not before it woke.
fn awake(said: &Transcript) -> Result<(), String> {
    const TO: &str = "203.0.113.77";
    let section = said.section("asleep").ok_or("it did not sleep")?;
    section.problem().map_or(Ok(()), Err)?;
    let woke: f64 =
        section.lines.first().and_then(|it| it.parse().ok()).ok_or("no time of waking")?;
    let mut events = said.section("ledger").into_iter().flat_map(Section::json);
    let event = events.find(|it| it["destination"]["ip"] == TO).ok_or("not told")?;
    let started =
        event["geofenced"]["boot"]["ns"].as_f64().ok_or("without the boot's clock")? / 1e9;
    // What the guest reads of its clock has two places.
    if started + 0.01 >= woke {
        Ok(())
    } else {
        Err(format!("told of {started:.2} s, and it woke at {woke} s"))
    }
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
    let slept = said
        .section("asleep")
        .map(|_| ("what leaves after a sleep is told at its time", awake(said)));
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
    .chain(slept)
    .map(|(name, outcome)| Check {
        subject: Subject::Daemon,
        name: name.into(),
        outcome,
        limit: None,
    })
    .collect()
}

#[cfg(test)]
mod tests;
