//! `show`: everything of one record, from the daemon, else from the ledger: its states over time, why the
//! verdict, what of it is only claimed, and what could be wrong.

mod doubts;
mod print;
mod reasons;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::Arc,
};

use serde::Serialize;

use super::{Failure, Outcome, load};
use crate::{
    api::client::{Client, ClientError},
    cli::{Exit, Global, ShowArgs},
    ecs::Event,
    event::{FlowIds, Record},
    marks::Intervals,
    printable,
    table::Times,
};

/// States that are told of one flow at most: its first and the newest.
const STATES_MAX: usize = 1000;
/// Ids that are told where several begin so.
const IDS_TOLD: usize = 8;

#[derive(Serialize)]
struct Parameters {
    id: String,
}

/// What is stored of the flows asked for, as far as one is to be shown.
#[derive(Debug, Default)]
struct Found {
    ids: BTreeSet<String>,
    /// Of the first id, by revision.
    states: BTreeMap<u32, Event<'static>>,
    untold: u64,
}

impl Found {
    fn add(&mut self, event: Event<'static>) -> ControlFlow<()> {
        self.ids.insert(event.event.id.clone().into_owned());
        if self.ids.len() > 1 {
            self.states.clear();
        } else {
            let revision = event.geofenced.revision;
            self.states.insert(revision, event);
        }
        if self.states.len() > STATES_MAX
            && let Some(second) = self.states.keys().nth(1).copied()
        {
            self.states.remove(&second);
            self.untold += 1;
        }
        let is_enough = self.ids.len() > IDS_TOLD;
        if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn line(&mut self, line: &[u8]) -> Result<ControlFlow<()>, serde_json::Error> {
        Ok(self.add(serde_json::from_slice(line)?))
    }
}

/// What is shown of one record.
struct Told {
    states: Vec<Event<'static>>,
    untold: u64,
    why: Vec<String>,
    claims: Vec<String>,
    doubts: Vec<String>,
}

impl Told {
    /// `None`: nothing is known of it.
    fn of(found: Found) -> Option<Self> {
        let Found { states, untold, .. } = found;
        let states: Vec<Event<'static>> = states.into_values().collect();
        let latest = states.last()?;
        let why = reasons::why(latest, &states);
        let (claims, doubts) = (doubts::claims(latest), doubts::doubts(latest));
        Some(Self { states, untold, why, claims, doubts })
    }
}

pub(super) fn run(global: &Global, args: ShowArgs) -> Outcome {
    let found = find(global, args.ids)?;
    if found.ids.len() > 1 {
        return Err(anyhow::anyhow!("{}", several(&found.ids)).into());
    }
    let told = Told::of(found).ok_or_else(|| anyhow::anyhow!("{}", unknown(args.ids)))?;
    print::print(global, args.utc, &told)?;
    Ok(Exit::Fine)
}

fn several(ids: &BTreeSet<String>) -> String {
    let told: Vec<&str> = ids.iter().take(IDS_TOLD).map(String::as_str).collect();
    let more = if ids.len() > told.len() { ", and more" } else { "" };
    format!("several records begin so, write more digits: {}{more}", told.join(", "))
}

fn unknown(ids: FlowIds) -> String {
    let [since, until] = ids.starts().map(crate::when::rfc3339);
    let when = if since == until { since } else { format!("{since} to {until}") };
    format!(
        "no record has this id; one with it would have begun at {when}: `geofenced events -o json` \
         tells the ids as event.id, and what was only added up by the hour, or removed as too old, has none"
    )
}

/// The page of the one record that a daemon knows by this id, without colour; `None`: it knows none.
pub(super) fn text(client: &Client, id: &str, utc: bool) -> anyhow::Result<Option<String>> {
    let mut found = Found::default();
    ask(client, id.to_owned(), &mut found)?;
    let Some(told) = Told::of(found) else { return Ok(None) };
    let Some(record) = told.states.last() else { return Ok(None) };
    let mut page = Vec::new();
    print::page(&mut page, &told, record, &Times::new(utc), false)?;
    Ok(Some(String::from_utf8(page)?))
}

fn ask(client: &Client, id: String, found: &mut Found) -> Result<(), ClientError> {
    client.lines("/v1/states", &Parameters { id }, |line| {
        found.line(line).map_err(|error| ClientError::NotUnderstood(error.to_string()))
    })
}

fn find(global: &Global, ids: FlowIds) -> Result<Found, Failure> {
    let mut found = Found::default();
    let client = Client::new(&load::socket(global)?)?;
    match ask(&client, digits(ids), &mut found) {
        Ok(()) => Ok(found),
        Err(error) if error.is_absent() => {
            let reader = load::ledger_instead(global, &error)?;
            let marks = reader.marks()?;
            let intervals = Intervals::of(marks.iter().map(Arc::as_ref));
            let mut failed = None;
            reader.states(ids, &mut |record: Record| {
                // The border's own form, as the daemon would have sent it.
                let line = printable::to_json(&Event::marked(&record, &intervals));
                let added = line.and_then(|line| found.line(&line));
                added.unwrap_or_else(|error| {
                    failed = Some(error);
                    ControlFlow::Break(())
                })
            })?;
            failed.map_or(Ok(found), |error| Err(error.into()))
        }
        Err(error) => Err(error.into()),
    }
}

/// That the first and the last id share, as they were typed.
fn digits(ids: FlowIds) -> String {
    let (first, last) = (ids.first.to_string(), ids.last.to_string());
    let same = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
    first[..same].to_owned()
}
