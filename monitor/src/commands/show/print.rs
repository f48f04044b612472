//! How one record is shown: a page for people, one JSON object, or a line of CSV for each state.

use std::io::Write;

use serde::Serialize;

use super::{super::out, Told};
use crate::{
    cli::{Global, Output},
    ecs::{self, Event, ProcessFields, Time},
    event::Phase,
    table::{self, Times, bytes, printable, small, styled, verdict_style},
};

/// What of a state changes over time.
#[derive(Serialize)]
struct State<'a> {
    revision: u32,
    last_seen: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<Time>,
    phase: &'a str,
    verdict: &'a str,
    certainty: &'a str,
    reason: &'a str,
    source: Volume,
    destination: Volume,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
}

#[derive(Serialize)]
struct Volume {
    bytes: u64,
    packets: u64,
}

#[derive(Serialize)]
struct Shown<'a> {
    /// The latest state, whole.
    record: &'a Event<'static>,
    states: Vec<State<'a>>,
    /// States between the first and the second told.
    states_untold: u64,
    why: &'a [String],
    claims: &'a [String],
    doubts: &'a [String],
}

impl<'a> From<&'a Event<'static>> for State<'a> {
    fn from(event: &'a Event<'static>) -> Self {
        let told = &event.geofenced;
        let (from, to) = (&event.source, &event.destination);
        Self {
            revision: told.revision,
            last_seen: told.last_seen,
            end: event.event.end,
            phase: &told.phase,
            verdict: &told.verdict,
            certainty: &told.certainty,
            reason: &told.reason,
            source: Volume { bytes: from.bytes, packets: from.packets },
            destination: Volume { bytes: to.bytes, packets: to.packets },
            domain: to.domain.as_deref(),
        }
    }
}

pub(super) fn print(global: &Global, utc: bool, told: &Told) -> anyhow::Result<()> {
    let mut out = out::paged(global);
    let Some(record) = told.states.last() else { return Ok(()) };
    match global.output {
        Output::Json => {
            let Told { states, untold: states_untold, why, claims, doubts } = told;
            let states = states.iter().map(State::from).collect();
            let states_untold = *states_untold;
            let shown = Shown { record, states, states_untold, why, claims, doubts };
            out::json_line(&mut out, &shown)?;
        }
        Output::Csv => {
            out::csv_head(&mut out, ecs::COLUMNS)?;
            told.states.iter().try_for_each(|it| out::csv_line(&mut out, ecs::row(it)?))?;
        }
        Output::Table => page(&mut out, told, record, &Times::new(utc), global.color_on_stdout())?,
    }
    out.flush()?;
    Ok(())
}

pub(super) fn page(
    out: &mut impl Write,
    told: &Told,
    record: &Event<'_>,
    clock: &Times,
    color: bool,
) -> anyhow::Result<()> {
    let verdict = printable(&record.geofenced.verdict);
    writeln!(
        out,
        "{}  {}",
        printable(&record.event.id),
        styled(&verdict, verdict_style(&record.geofenced.verdict), color)
    )?;
    for (name, text) in facts(record, clock) {
        writeln!(out, "  {name:<12} {}", printable(&text))?;
    }
    writeln!(out, "\nOVER TIME")?;
    let rows = told.states.iter().map(|it| state(it, clock));
    let head = ["STATE", "LAST SEEN", "SENT", "RECEIVED", "VERDICT", "REASON"];
    out::table(out, &small(&head, rows))?;
    if told.untold > 0 {
        writeln!(out, "{} states between the first and the second are left out", told.untold)?;
    }
    for (head, sentences) in [
        ("WHY", &told.why),
        ("CLAIMED, NOT PROVEN", &told.claims),
        ("WHAT COULD BE WRONG", &told.doubts),
    ] {
        if !sentences.is_empty() {
            writeln!(out, "\n{head}")?;
        }
        for sentence in sentences {
            writeln!(out, "  {sentence}")?;
        }
    }
    Ok(())
}

fn state(event: &Event<'_>, clock: &Times) -> Vec<String> {
    let told = &event.geofenced;
    let is_attempt = told.phase == Phase::Attempt.word();
    let word = match (told.revision, event.event.end) {
        (_, Some(_)) => "end",
        (0, None) => "new",
        _ => "more",
    };
    let sent = if is_attempt { "attempt".into() } else { bytes(event.source.bytes) };
    vec![
        format!("{} {word}", told.revision),
        clock.format(told.last_seen),
        sent,
        bytes(event.destination.bytes),
        printable(&told.verdict).into_owned(),
        printable(&told.reason).into_owned(),
    ]
}

/// A line each, of what is known.
fn facts(event: &Event<'_>, clock: &Times) -> Vec<(&'static str, String)> {
    let told = &event.geofenced;
    let mut out = Vec::new();
    let mut add = |name, text: Option<String>| out.extend(text.map(|text| (name, text)));
    let end = event.event.end.map_or("not seen yet".to_owned(), |end| clock.format(end));
    add("began", Some(clock.format(event.event.start)));
    add("last packet", Some(clock.format(told.last_seen)));
    add("end", Some(end));
    add("destination", destination(event));
    add("names", names(event));
    add("transport", event.network.transport.as_deref().map(ToOwned::to_owned));
    add("source", event.source.ip.map(|ip| endpoint(ip, event.source.port)));
    add("device", event.source.mac.as_deref().map(ToOwned::to_owned));
    add("sent", Some(volume(event.source.bytes, event.source.packets)));
    add("received", Some(volume(event.destination.bytes, event.destination.packets)));
    let mut process = event.process.as_ref();
    let mut name = "process";
    while let Some(it) = process {
        add(name, Some(of_process(it, clock)));
        add("  arguments", it.command_line.as_deref().map(ToOwned::to_owned));
        add("  sha256", it.hash.as_ref().map(|hash| hash.sha256.clone().into_owned()));
        (process, name) = (it.parent.as_deref(), "started by");
    }
    add("runs", told.script.as_ref().map(|it| format!("{it}, by its own arguments")));
    add("claims to be", told.executable_claimed.as_deref().map(ToOwned::to_owned));
    add(
        "made by",
        told.creator.as_ref().map(|it| {
            let path = it.executable.as_deref().unwrap_or_default();
            format!("{} {path}", table::process(&it.name, it.pid, it.executable.is_some()))
        }),
    );
    add(
        "user",
        event.user.as_ref().map(|it| match &it.name {
            Some(name) => format!("{name} ({})", it.id),
            None => it.id.clone().into_owned(),
        }),
    );
    add("unit", event.service.as_ref().map(|it| it.name.clone().into_owned()));
    add("container", event.container.as_ref().map(|it| it.id.clone().into_owned()));
    add("cgroup", told.cgroup.as_deref().map(ToOwned::to_owned));
    add("netns", told.netns.map(|it| it.to_string()));
    add("origin", Some(format!("{}, known by {}", told.origin, told.attribution)));
    add("interval", (!told.interval.is_empty()).then(|| told.interval.join(", ")));
    add("host", event.host.as_ref().map(|it| it.name.clone().into_owned()));
    add("policy", told.policy.as_ref().map(|it| it.sha256.clone().into_owned()));
    for it in &told.database {
        let hash = it.sha256.get(..12).unwrap_or_default();
        let text = format!("{}: {} of {} ({hash})", it.label, it.name, it.date);
        add("database", Some(text));
    }
    out
}

fn endpoint(ip: std::net::IpAddr, port: Option<u16>) -> String {
    port.map_or_else(|| ip.to_string(), |port| std::net::SocketAddr::new(ip, port).to_string())
}

fn destination(event: &Event<'_>) -> Option<String> {
    let to = &event.destination;
    let country = to.geo.as_ref().map(|geo| super::reasons::named(&geo.country_iso_code));
    let country = country.map(|it| format!("  {it}")).unwrap_or_default();
    Some(format!("{}{country}", endpoint(to.ip?, to.port)))
}

fn names(event: &Event<'_>) -> Option<String> {
    let said = event.tls.as_ref().map(|tls| tls.client.server_name.as_ref());
    let shown = event.destination.domain.as_deref();
    let mut names: Vec<&str> = shown.into_iter().chain(said).collect();
    names.dedup();
    let source = event.geofenced.domain_source.as_deref().unwrap_or("unknown");
    (!names.is_empty()).then(|| format!("{} (by {source})", names.join(", ")))
}

fn volume(count: u64, packets: u64) -> String {
    format!("{} ({count} bytes) in {packets} packets", bytes(count))
}

fn of_process(process: &ProcessFields<'_>, clock: &Times) -> String {
    let who = table::process(&process.name, process.pid, process.executable.is_some());
    let path = process.executable.as_deref().map(|it| format!(" {it}")).unwrap_or_default();
    let since = process.start.map(|it| format!(", since {}", clock.format(it)));
    format!("{who}{path}{}", since.unwrap_or_default())
}
