//! `events --follow`: what comes, each state once, also over a daemon that stops and comes back: then the
//! stored states since are told before the live ones, so that there is no hole.

use std::{collections::BTreeMap, ops::ControlFlow, thread, time::Duration};

use serde::Serialize;

use super::{
    super::load::{self, Asked},
    LOST, Printer, layout, read,
};
use crate::{
    api::{
        client::{Client, ClientError},
        status::Status,
    },
    cli::{EventsArgs, Global},
    ecs::{Event, Time},
    event::Timestamp,
    filter::RawFilter,
    when,
};

/// Between two looks whether the daemon is back.
const LOOK: Duration = Duration::from_millis(500);
/// What is told of a flow may be of packets that were a while ago: of the end of one that fell silent.
const LATE: Duration = Duration::from_mins(10);
/// Flows of which it is known what was shown: the newest.
const SHOWN_MAX: usize = 1 << 16;

#[derive(Serialize)]
struct Parameters<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<String>,
    #[serde(flatten)]
    filter: &'a RawFilter,
}

/// What was shown, so that nothing is shown twice.
struct Cursor {
    /// Before then nothing was asked for.
    begin: Timestamp,
    /// Latest packet of what was met.
    latest: Timestamp,
    /// Revision by id; ids are in the order of starts.
    met: BTreeMap<String, u32>,
}

impl Cursor {
    /// From which on stored states may not have been met.
    fn after(&self) -> Timestamp {
        let late = u64::try_from(LATE.as_nanos()).unwrap_or(u64::MAX);
        self.begin.max(Timestamp(self.latest.0.saturating_sub(late)))
    }

    /// Whether the state is a new one.
    fn meet(&mut self, event: &Event<'_>) -> bool {
        let Time(seen) = event.geofenced.last_seen;
        self.latest = self.latest.max(seen);
        let revision = event.geofenced.revision;
        let known = self.met.get_mut(event.event.id.as_ref());
        match known {
            Some(met) if *met >= revision => return false,
            Some(met) => *met = revision,
            None => {
                self.met.insert(event.event.id.clone().into_owned(), revision);
            }
        }
        if self.met.len() > SHOWN_MAX {
            self.met.pop_first();
        }
        true
    }
}

pub(super) fn run(global: &Global, args: &EventsArgs, printer: &mut Printer) -> Result<(), Asked> {
    let socket = load::socket(global).map_err(Asked::Other)?;
    let client = Client::new(&socket)?;
    let now = load::now();
    let from = args.after.map(|ids| ids.starts()[0]);
    let mut cursor =
        Cursor { begin: from.unwrap_or(now), latest: Timestamp(0), met: BTreeMap::new() };
    let mut after = args.after.map(|ids| ids.first.to_string());
    let mut was_there = false;
    loop {
        let mut is_enough = false;
        let parameters = Parameters { after: after.clone(), filter: &args.filter };
        let asked = client.lines("/v1/events/stream", &parameters, |line| {
            if line.starts_with(LOST) {
                printer.line(line).map_err(|error| Asked::Other(error.into()))?;
                return Ok(ControlFlow::Continue(()));
            }
            let event = read(line).map_err(|error| Asked::Other(error.into()))?;
            let is_asked_for = args.only.is_empty()
                || args.only.iter().any(|only| only.word() == layout::state(&event));
            if cursor.meet(&event) && is_asked_for {
                printer.event(&event).map_err(|error| Asked::Other(error.into()))?;
            }
            is_enough = args.fail_on_violation && printer.violations > 0;
            Ok(if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        });
        match asked {
            Ok(()) if is_enough => return Ok(()),
            // It stopped, orderly or not; of one that was never there the first attempt says so.
            Ok(()) | Err(Asked::Client(ClientError::BrokeOff(_) | ClientError::Connection(_))) => {}
            Err(Asked::Client(ClientError::NoDaemon(_))) if was_there => {}
            Err(error) => return Err(error),
        }
        printer.flush().map_err(|error| Asked::Other(error.into()))?;
        was_there = true;
        wait(&client);
        after = Some(when::rfc3339(cursor.after()));
    }
}

/// Until it answers again.
fn wait(client: &Client) {
    eprintln!("the daemon is gone; waiting until it is back");
    let nothing: [(&str, &str); 0] = [];
    while client.get::<Status>("/v1/status", &nothing).is_err() {
        thread::sleep(LOOK);
    }
    eprintln!("the daemon is back; going on with what came since");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecs::tests::full_record;

    #[test]
    fn a_state_is_met_once_and_a_later_one_of_the_same_flow_is_another() {
        let mut cursor = Cursor { begin: Timestamp(7), latest: Timestamp(0), met: BTreeMap::new() };
        assert_eq!(cursor.after(), Timestamp(7));
        let mut record = full_record();
        assert!(cursor.meet(&Event::from(&record)));
        assert!(!cursor.meet(&Event::from(&record)));
        record.egress.revision += 1;
        assert!(cursor.meet(&Event::from(&record)));
        record.egress.revision -= 1;
        assert!(!cursor.meet(&Event::from(&record)));
        let late = record.egress.last_at.0 - cursor.after().0;
        assert_eq!(Duration::from_nanos(late), LATE);
    }
}
