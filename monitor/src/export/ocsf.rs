//! Records in the Open Cybersecurity Schema Framework: class Network Activity with the profile host. What it has no
//! place for stands under `unmapped`. Converts; decides nothing.

use serde_json::{Map, Value, json};

use super::Row;
use crate::{
    ecs::{Event, HostFields, ProcessFields, RollupEvent, Time},
    event::{Origin, Transport},
};

pub const VERSION: &str = "1.8.0";

/// By the schema, each number with its name.
const INFORMATIONAL: (u8, &str) = (1, "Informational");
const MEDIUM: (u8, &str) = (3, "Medium");
const REGULAR_FILE: u8 = 1;
const SHA_256: u8 = 3;
const OUTBOUND: u8 = 2;
const AT_SOURCE: u8 = 1;
const ON_THE_WAY: u8 = 3;
const DEVICE_UNKNOWN: u8 = 0;

/// One event; members without a value are left out.
pub(super) fn row(row: Row<'_, '_>) -> serde_json::Result<Value> {
    let mut value = match row {
        Row::Flow(event) => flow(event)?,
        Row::Rollup(event) => rollup(event)?,
    };
    prune(&mut value);
    Ok(value)
}

/// Removes what is null or empty.
fn prune(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(prune);
            members.retain(|_, it| !is_nothing(it));
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(members) => members.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn millis(time: Time) -> u64 {
    time.0.0 / 1_000_000
}

/// What every event has. `id` names the flow, whose later states have the same.
fn head(
    id: Option<&str>,
    host: Option<&HostFields<'_>>,
    severity: (u8, &str),
) -> Map<String, Value> {
    let (severity_id, severity) = severity;
    let head = json!({
        "class_uid": 4001,
        "class_name": "Network Activity",
        "category_uid": 4,
        "category_name": "Network Activity",
        "activity_id": 6,
        "activity_name": "Traffic",
        "type_uid": 400_106,
        "type_name": "Network Activity: Traffic",
        "severity_id": severity_id,
        "severity": severity,
        "metadata": {
            "version": VERSION,
            "profiles": ["host"],
            "uid": id,
            "product": {
                "name": "geofenced",
                "vendor_name": "geofenced",
                "version": env!("CARGO_PKG_VERSION"),
            },
        },
        "device": host.map(|it| json!({
            "type_id": DEVICE_UNKNOWN,
            "type": "Unknown",
            "hostname": it.name,
            "uid": it.id,
        })),
    });
    match head {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn flow(event: &Event<'_>) -> serde_json::Result<Value> {
    let severity = if event.is_violation() { MEDIUM } else { INFORMATIONAL };
    let mut out = head(Some(&event.event.id), event.host.as_ref(), severity);
    let is_forwarded = event.geofenced.origin == Origin::Forwarded.word();
    let side = event.observer.as_ref();
    let passed = side.and_then(|it| it.egress.as_ref().or(it.ingress.as_ref()));
    let more = json!({
        "time": millis(event.timestamp),
        "start_time": millis(event.timestamp),
        "end_time": millis(event.event.end.unwrap_or(event.geofenced.last_seen)),
        "actor": actor(event),
        "app_name": event.service.as_ref().map(|it| &it.name),
        "src_endpoint": source(event),
        "dst_endpoint": destination(event),
        "connection_info": {
            "direction_id": OUTBOUND,
            "direction": "Outbound",
            "protocol_name": event.network.transport,
            "protocol_num": event.network.transport.as_deref().and_then(Transport::parse).map(|it| it.0),
            "protocol_ver_id": version(event.network.r#type.as_deref()),
            "community_uid": event.network.community_id,
        },
        // What was sent since the flow began: a later state of it has more, not what was added.
        "cumulative_traffic": traffic(
            (event.source.bytes, event.source.packets),
            (event.destination.bytes, event.destination.packets),
        ),
        "observation_point_id": if is_forwarded { ON_THE_WAY } else { AT_SOURCE },
        "network_observation_point": is_forwarded.then(|| json!({
            "hostname": event.host.as_ref().map(|it| &it.name),
            "interface_name": passed.map(|it| &it.interface.name),
        })).filter(|_| event.host.is_some() || passed.is_some()),
        "unmapped": {
            "geofenced": serde_json::to_value(&event.geofenced)?,
            "container": event.container,
            "observer": event.observer,
            "tls": event.tls,
        },
    });
    if let Value::Object(more) = more {
        out.extend(more);
    }
    Ok(Value::Object(out))
}

fn version(kind: Option<&str>) -> Option<u8> {
    match kind {
        Some("ipv4") => Some(4),
        Some("ipv6") => Some(6),
        _ => None,
    }
}

fn traffic((bytes_out, packets_out): (u64, u64), (bytes_in, packets_in): (u64, u64)) -> Value {
    json!({
        "bytes": bytes_out.saturating_add(bytes_in),
        "packets": packets_out.saturating_add(packets_in),
        "bytes_out": bytes_out,
        "packets_out": packets_out,
        "bytes_in": bytes_in,
        "packets_in": packets_in,
    })
}

fn actor(event: &Event<'_>) -> Option<Value> {
    let user = event.user.as_ref().map(|it| json!({ "uid": it.id, "name": it.name }));
    let process = event.process.as_ref().map(|it| {
        let mut process = process(it);
        process["user"] = json!(user);
        process
    });
    process.map(|process| json!({ "process": process, "user": user }))
}

fn process(of: &ProcessFields<'_>) -> Value {
    let path = of.executable.as_deref();
    let name = path.and_then(|path| path.rsplit('/').next()).filter(|it| !it.is_empty());
    json!({
        "pid": of.pid,
        "name": of.name,
        "path": path,
        "cmd_line": of.command_line,
        "created_time": of.start.map(millis),
        "file": path.map(|path| json!({
            "name": name.unwrap_or(path),
            "path": path,
            "type_id": REGULAR_FILE,
            "type": "Regular File",
            "hashes": of.hash.as_ref().map(|it| json!([{
                "algorithm_id": SHA_256,
                "algorithm": "SHA-256",
                "value": it.sha256,
            }])),
        })),
        "parent_process": of.parent.as_deref().map(process),
    })
}

/// Somebody sent: by address, else by the host that it was.
fn source(event: &Event<'_>) -> Value {
    let source = &event.source;
    let host = event.host.as_ref().map(|it| &it.name);
    let nameless = source.ip.is_none() && host.is_none();
    json!({
        "ip": source.ip,
        "port": source.port,
        "mac": source.mac,
        "hostname": if event.geofenced.origin == Origin::Forwarded.word() { None } else { host },
        "name": (nameless || (source.ip.is_none() && event.geofenced.origin == Origin::Forwarded.word()))
            .then_some("unknown"),
    })
}

fn destination(event: &Event<'_>) -> Option<Value> {
    let to = &event.destination;
    let system = to.autonomous_system.as_ref();
    to.ip.map(|ip| {
        json!({
            "ip": ip,
            "port": to.port,
            "hostname": to.domain,
            "location": { "country": to.geo.as_ref().map(|it| &it.country_iso_code) },
            "autonomous_system": {
                "number": system.and_then(|it| it.number),
                "name": system.and_then(|it| it.organization.as_ref()).map(|it| &it.name),
            },
        })
    })
}

/// An hour's sums: what was added in it, so no cumulative traffic, and nobody's address.
fn rollup(event: &RollupEvent<'_>) -> serde_json::Result<Value> {
    let severity = if event.geofenced.verdict == "unapproved" { MEDIUM } else { INFORMATIONAL };
    let mut out = head(None, event.host.as_ref(), severity);
    let host = event.host.as_ref().map(|it| &it.name);
    let user = event.user.as_ref().map(|it| json!({ "uid": it.id, "name": it.name }));
    let sums = event.destination.sums;
    let more = json!({
        "time": millis(event.timestamp),
        "start_time": millis(event.event.start),
        "end_time": millis(event.event.end),
        "count": event.geofenced.flows,
        "actor": user.map(|user| json!({ "user": user })),
        "src_endpoint": { "hostname": host, "name": host.is_none().then_some("unknown") },
        "connection_info": { "direction_id": OUTBOUND, "direction": "Outbound" },
        "traffic": traffic((event.source.bytes, event.source.packets), (sums.bytes, sums.packets)),
        "observation_point_id": AT_SOURCE,
        "unmapped": {
            "destination": { "geo": event.destination.geo },
            "process": event.process,
            "geofenced": serde_json::to_value(&event.geofenced)?,
        },
    });
    if let Value::Object(more) = more {
        out.extend(more);
    }
    Ok(Value::Object(out))
}
