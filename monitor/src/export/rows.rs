//! Which columns a table has, and what of a row stands in each: the names of the JSON form, with `_` for dots.
//! What is the same in every row is left out.

use super::columns::Columns;
use crate::ecs::{Event, HostFields, ProcessFields, RollupEvent};

/// The latest state of a flow.
pub(super) fn flow(event: &Event<'_>, to: &mut Columns) {
    to.time("timestamp", Some(event.timestamp));
    to.cow("event_id", Some(&event.event.id));
    to.time("event_end", event.event.end);
    to.cow("network_transport", event.network.transport.as_ref());
    to.cow("network_type", event.network.r#type.as_ref());
    to.cow("network_community_id", event.network.community_id.as_ref());
    ends(event, to);
    process(event, to);
    to.cow("user_id", event.user.as_ref().map(|it| &it.id));
    to.cow("user_name", event.user.as_ref().and_then(|it| it.name.as_ref()));
    to.cow("container_id", event.container.as_ref().map(|it| &it.id));
    to.cow("service_name", event.service.as_ref().map(|it| &it.name));
    let side = event.observer.as_ref();
    let ingress = side.and_then(|it| it.ingress.as_ref()).map(|it| &it.interface.name);
    let egress = side.and_then(|it| it.egress.as_ref()).map(|it| &it.interface.name);
    to.cow("observer_ingress_interface_name", ingress);
    to.cow("observer_egress_interface_name", egress);
    let tls = event.tls.as_ref().map(|it| &it.client.server_name);
    to.cow("tls_client_server_name", tls);
    host(event.host.as_ref(), to);
    judged(event, to);
    told(event, to);
    to.end_row();
}

fn ends(event: &Event<'_>, to: &mut Columns) {
    let (source, destination) = (&event.source, &event.destination);
    to.shown("source_ip", source.ip);
    to.number("source_port", source.port);
    to.cow("source_mac", source.mac.as_ref());
    to.number("source_bytes", Some(source.bytes));
    to.number("source_packets", Some(source.packets));
    to.shown("destination_ip", destination.ip);
    to.number("destination_port", destination.port);
    to.number("destination_bytes", Some(destination.bytes));
    to.number("destination_packets", Some(destination.packets));
    to.cow("destination_domain", destination.domain.as_ref());
    let country = destination.geo.as_ref().map(|it| &it.country_iso_code);
    to.cow("destination_geo_country_iso_code", country);
    let system = destination.autonomous_system.as_ref();
    to.number("destination_as_number", system.and_then(|it| it.number));
    let organization = system.and_then(|it| it.organization.as_ref());
    to.cow("destination_as_organization_name", organization.map(|it| &it.name));
}

fn process(event: &Event<'_>, to: &mut Columns) {
    let process = event.process.as_ref();
    to.number("process_pid", process.map(|it| it.pid));
    to.cow("process_name", process.map(|it| &it.name));
    to.cow("process_executable", process.and_then(|it| it.executable.as_ref()));
    to.cow("process_command_line", process.and_then(|it| it.command_line.as_ref()));
    to.time("process_start", process.and_then(|it| it.start));
    to.cow("process_hash_sha256", process.and_then(|it| it.hash.as_ref()).map(|it| &it.sha256));
    let mut parents: Vec<ProcessFields<'_>> = Vec::new();
    let mut next = process.and_then(|it| it.parent.as_deref());
    while let Some(parent) = next {
        parents.push(ProcessFields { parent: None, ..parent.clone() });
        next = parent.parent.as_deref();
    }
    to.json("process_parents", &parents);
}

fn host(host: Option<&HostFields<'_>>, to: &mut Columns) {
    to.cow("host_name", host.map(|it| &it.name));
    to.cow("host_id", host.and_then(|it| it.id.as_ref()));
}

fn judged(event: &Event<'_>, to: &mut Columns) {
    let it = &event.geofenced;
    to.cow("geofenced_verdict", Some(&it.verdict));
    to.cow("geofenced_certainty", Some(&it.certainty));
    to.cow("geofenced_reason", Some(&it.reason));
    to.cow("geofenced_verdict_now", it.verdict_now.as_ref());
    to.flag("geofenced_violation", Some(event.is_violation()));
    to.flag("geofenced_learning", Some(it.learning));
    to.cow("geofenced_origin", Some(&it.origin));
    to.cow("geofenced_attribution", Some(&it.attribution));
    to.cow("geofenced_phase", Some(&it.phase));
    to.flag("geofenced_confirmed", it.confirmed);
    to.cow("geofenced_operator_country", it.operator_country.as_ref());
    to.cow("geofenced_second_country", it.second_country.as_ref());
    to.flag("geofenced_anycast", Some(it.anycast));
    to.cow("geofenced_policy_sha256", it.policy.as_ref().map(|it| &it.sha256));
    to.json("geofenced_database", &it.database);
    to.json("geofenced_interval", &it.interval);
    to.json("geofenced_declared", &it.declared);
}

fn told(event: &Event<'_>, to: &mut Columns) {
    let it = &event.geofenced;
    to.cow("geofenced_ethertype", it.ethertype.as_ref());
    to.flag("geofenced_uncounted", it.uncounted);
    to.flag("geofenced_malformed", Some(it.malformed));
    to.shown("geofenced_via", it.via);
    to.cow("geofenced_via_country", it.via_country.as_ref());
    to.cow("geofenced_domain_source", it.domain_source.as_ref());
    to.cow("geofenced_server_name_source", it.server_name_source.as_ref());
    to.cow("geofenced_executable_claimed", it.executable_claimed.as_ref());
    to.cow("geofenced_script", it.script.as_ref());
    to.flag("geofenced_executable_of_host", it.executable_of_host);
    to.json("geofenced_creator", it.creator.as_slice());
    to.cow("geofenced_cgroup", it.cgroup.as_ref());
    to.number("geofenced_netns", it.netns);
    to.cow("geofenced_clock", it.clock.as_ref());
    to.cow("geofenced_boot_id", it.boot.as_ref().map(|it| &it.id));
    to.number("geofenced_boot_ns", it.boot.as_ref().map(|it| it.ns));
    to.number("geofenced_revision", Some(it.revision));
    to.time("geofenced_last_seen", Some(it.last_seen));
}

/// What was added up of an hour.
pub(super) fn rollup(event: &RollupEvent<'_>, to: &mut Columns) {
    to.time("timestamp", Some(event.timestamp));
    to.time("event_end", Some(event.event.end));
    to.number("source_bytes", Some(event.source.bytes));
    to.number("source_packets", Some(event.source.packets));
    to.number("destination_bytes", Some(event.destination.sums.bytes));
    to.number("destination_packets", Some(event.destination.sums.packets));
    let country = event.destination.geo.as_ref().map(|it| &it.country_iso_code);
    to.cow("destination_geo_country_iso_code", country);
    let process = event.process.as_ref();
    to.cow("process_executable", process.and_then(|it| it.executable.as_ref()));
    to.cow("process_name", process.and_then(|it| it.name.as_ref()));
    to.cow("user_id", event.user.as_ref().map(|it| &it.id));
    to.cow("user_name", event.user.as_ref().and_then(|it| it.name.as_ref()));
    host(event.host.as_ref(), to);
    let it = &event.geofenced;
    to.number("geofenced_flows", Some(it.flows));
    to.cow("geofenced_verdict", Some(&it.verdict));
    to.cow("geofenced_executable_claimed", it.executable_claimed.as_ref());
    to.flag("geofenced_learning", Some(it.learning));
    to.cow("geofenced_policy_sha256", it.policy.as_ref().map(|it| &it.sha256));
    to.json("geofenced_database", &it.database);
    to.end_row();
}
