//! What of a record is a claim of the watched, and what of it could be wrong, in sentences. Each is said only
//! where it applies.

use super::reasons::named;
use crate::{
    ecs::{Event, ProcessFields},
    event::{Attribution, DomainSource, Origin, Phase, Verdict},
    printable::printable,
};

/// What somebody chose who is not to be believed: none of it makes a verdict milder.
pub(super) fn claims(event: &Event<'_>) -> Vec<String> {
    let told = &event.geofenced;
    let mut out = Vec::new();
    if let Some(process) = &event.process {
        out.extend(of_process(process, event));
    }
    if let Some(claim) = &told.executable_claimed {
        out.push(format!(
            "\"{}\" is what was passed to execve; the file that ran was not seen by that name.",
            printable(claim)
        ));
    }
    if let (Some(domain), Some(source)) = (&event.destination.domain, &told.domain_source) {
        let domain = printable(domain);
        out.extend(match DomainSource::parse(source) {
            Some(DomainSource::Dns) => Some(format!(
                "{domain} is a name by which this process was told the address; the resolver says so."
            )),
            Some(DomainSource::DnsHost) => Some(format!(
                "{domain} is a name that another program of this host asked for; this one may mean another."
            )),
            Some(DomainSource::Sni | DomainSource::Quic) => Some(format!(
                "{domain} is what the sender wrote into its own stream ({}): it can write what it likes.",
                printable(source)
            )),
            Some(DomainSource::Undetermined) | None => None,
        });
    }
    if let Some(tls) = &event.tls
        && event.destination.domain.as_ref() != Some(&tls.client.server_name)
    {
        let name = printable(&tls.client.server_name);
        out.push(format!("{name} is the server name that the sender wrote into its own stream."));
    }
    out.extend(told.declared.iter().map(|it| {
        let (purpose, interval) = (printable(&it.purpose), printable(&it.interval));
        format!("That it is shared for \"{purpose}\" was declared in \"{interval}\".")
    }));
    out
}

fn of_process(process: &ProcessFields<'_>, event: &Event<'_>) -> Vec<String> {
    let name = printable(&process.name);
    let mut out = vec![format!("\"{name}\" is what the process calls itself.")];
    if process.command_line.is_some() {
        out.push("The command line is what whoever started it wrote.".to_owned());
    }
    if event.geofenced.executable_of_host == Some(false) {
        out.push("The path is of a root of its own: from the host's it may lead elsewhere.".into());
    }
    out
}

/// What is missing, guessed or disputed.
pub(super) fn doubts(event: &Event<'_>) -> Vec<String> {
    let told = &event.geofenced;
    let mut out = Vec::new();
    out.extend(of_sender(event).map(ToOwned::to_owned));
    out.extend(of_packets(event).into_iter().map(ToOwned::to_owned));
    if let Some(via) = told.via {
        let country = told.via_country.as_deref().map(named);
        let country = country.map(|it| format!(" in {it}")).unwrap_or_default();
        out.push(format!("Its packets are told to go by way of {via}{country}."));
    }
    let is_local = told.verdict == Verdict::Local.word();
    if event.destination.geo.is_some() && !is_local {
        out.push(match told.database.iter().find(|it| it.label == "country") {
            Some(it) => format!(
                "Where an address is, is what {} knew on {}: databases guess, and addresses move.",
                printable(&it.name),
                printable(&it.date)
            ),
            None => "Where an address is, is a guess of a database that was not told.".to_owned(),
        });
    }
    let first = event.destination.geo.as_ref().map(|geo| geo.country_iso_code.as_ref());
    if let (Some(first), Some(second)) = (first, told.second_country.as_deref())
        && first != second
    {
        out.push(format!("Of two databases one says {}, one {}.", named(first), named(second)));
    }
    if told.clock.as_deref() == Some("untrusted") {
        out.push("The wall clock was not synchronised when it began: its times may be off.".into());
    }
    if event.event.end.is_none() {
        out.push("Its end was not seen: it may go on, and its totals grow.".to_owned());
    }
    out
}

fn of_sender(event: &Event<'_>) -> Option<&'static str> {
    let is_of_nobody = event.process.is_none();
    match Attribution::parse(&event.geofenced.attribution) {
        Some(Attribution::Creator) => {
            Some("Known is who made the socket; who sent by it may be another.")
        }
        Some(Attribution::Procfs) => {
            Some("Who sent was looked up after it began: it may have been another.")
        }
        Some(Attribution::None) if is_of_nobody => match Origin::parse(&event.geofenced.origin) {
            Some(Origin::Forwarded) => {
                Some("It was forwarded: who sent it runs on another device.")
            }
            _ => Some("No process is known that sent it."),
        },
        _ => None,
    }
}

fn of_packets(event: &Event<'_>) -> Vec<&'static str> {
    let told = &event.geofenced;
    let mut out = Vec::new();
    if told.phase == Phase::Attempt.word() {
        out.push("No packet of it was seen: it is an attempt, and nothing is known to have left.");
    }
    if told.confirmed == Some(false) {
        out.push("No watched interface was seen to get what was sent: it may not have left.");
    }
    if told.uncounted == Some(true) {
        out.push("The kernel had no room to count it: more may have left than is told.");
    }
    if told.malformed {
        out.push("Its headers can't be read: addresses are those where the kernel looks for them.");
    }
    if told.origin == Origin::PreExisting.word() {
        out.push("It began before anybody watched: what it sent until then is not in it.");
    }
    out
}
