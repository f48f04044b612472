//! The CSV form: the dotted name of each field of [`super::Event`] is a column.

use serde_json::Value;

use super::Event;

/// Every leaf of an event but the parents beyond the nearest, in the order they are written.
pub const COLUMNS: [&str; 90] = [
    "@timestamp",
    "event.id",
    "event.kind",
    "event.category",
    "event.type",
    "event.start",
    "event.end",
    "network.transport",
    "network.type",
    "network.direction",
    "network.community_id",
    "source.ip",
    "source.port",
    "source.mac",
    "source.bytes",
    "source.packets",
    "destination.ip",
    "destination.port",
    "destination.bytes",
    "destination.packets",
    "destination.domain",
    "destination.geo.country_iso_code",
    "destination.as.number",
    "destination.as.organization.name",
    "process.pid",
    "process.name",
    "process.executable",
    "process.command_line",
    "process.start",
    "process.hash.sha256",
    "process.parent.pid",
    "process.parent.name",
    "process.parent.executable",
    "process.parent.command_line",
    "process.parent.start",
    "process.parent.parent.pid",
    "process.parent.parent.name",
    "process.parent.parent.executable",
    "user.id",
    "user.name",
    "container.id",
    "service.name",
    "observer.ingress.interface.name",
    "observer.egress.interface.name",
    "tls.client.server_name",
    "host.name",
    "host.id",
    "geofenced.verdict",
    "geofenced.certainty",
    "geofenced.reason",
    "geofenced.origin",
    "geofenced.attribution",
    "geofenced.phase",
    "geofenced.confirmed",
    "geofenced.ethertype",
    "geofenced.uncounted",
    "geofenced.malformed",
    "geofenced.via",
    "geofenced.via_country",
    "geofenced.domain_source",
    "geofenced.server_name_source",
    "geofenced.executable_claimed",
    "geofenced.script",
    "geofenced.executable_of_host",
    "geofenced.creator.pid",
    "geofenced.creator.name",
    "geofenced.creator.executable",
    "geofenced.creator.executable_claimed",
    "geofenced.creator.executable_of_host",
    "geofenced.creator.hash.sha256",
    "geofenced.operator_country",
    "geofenced.second_country",
    "geofenced.anycast",
    "geofenced.policy.sha256",
    "geofenced.learning",
    "geofenced.database.label",
    "geofenced.database.name",
    "geofenced.database.date",
    "geofenced.database.sha256",
    "geofenced.cgroup",
    "geofenced.netns",
    "geofenced.clock",
    "geofenced.boot.id",
    "geofenced.boot.ns",
    "geofenced.revision",
    "geofenced.last_seen",
    "geofenced.verdict_now",
    "geofenced.interval",
    "geofenced.declared.purpose",
    "geofenced.declared.interval",
];

/// The values of [`COLUMNS`]; absent ones are empty, lists joined by spaces, those of objects by
/// semicolons.
pub fn row(event: &Event<'_>) -> Result<Vec<String>, serde_json::Error> {
    let value = serde_json::to_value(event)?;
    Ok(COLUMNS.iter().map(|column| cell(&value, column)).collect())
}

pub(super) fn cell(event: &Value, column: &str) -> String {
    if let Value::Array(items) = event {
        return items.iter().map(|item| cell(item, column)).collect::<Vec<_>>().join("; ");
    }
    let (key, rest) = column.split_once('.').unwrap_or((column, ""));
    match event.get(key) {
        Some(value) if rest.is_empty() => plain(value),
        Some(value) => cell(value, rest),
        None => String::new(),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}
