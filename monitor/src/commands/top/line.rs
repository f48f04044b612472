//! One line of the list: a flow, or flows that were added up. From the daemon's answers to what is shown;
//! keeps and draws nothing.

use std::net::SocketAddr;

use serde::Serialize;

use crate::{
    ecs::{Event, ProcessFields, Time},
    event::Phase,
    summary::{By, Row},
    table,
};

/// Characters of a name that are kept: others may choose it.
const NAME_MAX: usize = 200;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Line {
    /// Of a flow its event.id; of what is added up its keys.
    pub(super) key: String,
    #[serde(skip)]
    pub(super) is_flow: bool,
    /// Bytes a second between the last two looks.
    pub(super) rate: u64,
    /// Bytes: of a flow in all its life, else of the period.
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) flows: u64,
    pub(super) violations: u64,
    pub(super) verdict: String,
    pub(super) country: String,
    pub(super) program: String,
    pub(super) user: String,
    pub(super) unit: String,
    pub(super) destination: String,
    pub(super) reason: String,
    pub(super) since: Option<Time>,
    pub(super) ended: bool,
    /// Who started the program, the farthest first, and itself.
    #[serde(skip)]
    pub(super) ancestors: Vec<String>,
}

fn kept(text: &str) -> String {
    text.chars().take(NAME_MAX).collect()
}

impl From<&Event<'_>> for Line {
    fn from(event: &Event<'_>) -> Self {
        let (told, to) = (&event.geofenced, &event.destination);
        let user = event.user.as_ref();
        let is_sent = told.phase != Phase::Attempt.word();
        Self {
            key: event.event.id.clone().into_owned(),
            is_flow: true,
            rate: 0,
            sent: event.source.bytes,
            received: to.bytes,
            flows: u64::from(is_sent),
            violations: u64::from(event.is_violation()),
            verdict: if is_sent { kept(&told.verdict) } else { Phase::Attempt.to_string() },
            country: to.geo.as_ref().map_or("-".into(), |geo| kept(&geo.country_iso_code)),
            program: event.process.as_ref().map_or_else(
                || format!("({})", told.origin),
                |process| match told.script.as_deref() {
                    Some(script) => scripted(process, script),
                    None => program(process),
                },
            ),
            user: user.map_or("-".into(), |it| kept(it.name.as_deref().unwrap_or(&it.id))),
            unit: event.service.as_ref().map_or("-".into(), |it| kept(&it.name)),
            destination: destination(event),
            reason: kept(&told.reason),
            since: Some(event.event.start),
            ended: event.event.end.is_some(),
            ancestors: event.process.as_ref().map(ancestors).unwrap_or_default(),
        }
    }
}

fn program(process: &ProcessFields<'_>) -> String {
    kept(&table::process(&process.name, process.pid, process.executable.is_some()))
}

/// `live.py (python3.11)[4711]`.
fn scripted(process: &ProcessFields<'_>, script: &str) -> String {
    let interpreter = process.executable.as_deref().unwrap_or(&process.name);
    let name = table::script(script, interpreter);
    kept(&table::process(&name, process.pid, process.executable.is_some()))
}

fn ancestors(process: &ProcessFields<'_>) -> Vec<String> {
    let mut all = Vec::new();
    let mut next = Some(process);
    while let Some(it) = next {
        all.push(program(it));
        next = it.parent.as_deref();
    }
    all.reverse();
    all
}

fn destination(event: &Event<'_>) -> String {
    let to = &event.destination;
    let port = to.port.map(|port| format!(":{port}")).unwrap_or_default();
    match (&to.domain, to.ip, to.port) {
        (Some(domain), ..) => format!("{}{port}", kept(domain)),
        (None, Some(ip), Some(port)) => SocketAddr::new(ip, port).to_string(),
        (None, Some(ip), None) => ip.to_string(),
        (None, None, _) => "(unknown)".to_owned(),
    }
}

impl From<&Row> for Line {
    fn from(row: &Row) -> Self {
        let parts = if row.keys.is_empty() { std::slice::from_ref(&row.key) } else { &row.keys };
        let of =
            |by: By| row.by.iter().zip(parts).find(|(it, _)| *it == by).map(|(_, key)| kept(key));
        let or = |by: By| of(by).unwrap_or_else(|| "-".to_owned());
        let verdicts = &row.verdicts;
        let verdict = match row.violations {
            0 if verdicts.unapproved + verdicts.unknown + verdicts.approved == 0 => "local",
            0 if verdicts.unknown > 0 => "unknown",
            0 => "approved",
            _ => "unapproved",
        };
        Self {
            key: kept(&row.key),
            is_flow: false,
            rate: 0,
            sent: row.source.bytes,
            received: row.destination.bytes,
            flows: row.flows,
            violations: row.violations,
            verdict: of(By::Verdict).unwrap_or_else(|| verdict.to_owned()),
            country: or(By::Country).replace("local", "-").replace("unlocated", "-"),
            program: or(By::Process),
            user: or(By::User),
            unit: or(By::Unit),
            destination: or(By::Destination),
            reason: verdict.to_owned(),
            since: Some(row.first_seen),
            ended: false,
            ancestors: Vec::new(),
        }
    }
}

impl Line {
    /// The program without its number.
    pub(super) fn name(&self) -> &str {
        let numbered = self.program.strip_suffix(']').and_then(|it| it.rsplit_once('['));
        numbered.map_or(&*self.program, |(name, _)| name)
    }

    /// Whether each of these words stands somewhere in it.
    pub(super) fn holds(&self, words: &[String]) -> bool {
        let texts = [
            &self.key,
            &self.verdict,
            &self.country,
            &self.program,
            &self.user,
            &self.unit,
            &self.destination,
            &self.reason,
        ];
        words.iter().all(|word| texts.iter().any(|text| text.to_lowercase().contains(word)))
    }
}
