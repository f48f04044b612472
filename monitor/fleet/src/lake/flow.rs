//! Which columns a state of a flow has, straight from the record: those of `geofenced export`, with the block and
//! entry that it stands in. What many rows share is made into text once.

use std::{net::IpAddr, sync::Arc};

use geofenced::fleet::{
    CountryCode, DomainSource, Process, Provenance, Reason, Record, Verdict, Way, hex,
};
use rustc_hash::FxHashMap;

use super::columns::{Columns, Known, Shared};

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub block: u64,
    pub entry: u32,
}

/// Texts of a process.
#[derive(Clone, Copy, Debug)]
struct ProcessTexts {
    name: Shared,
    executable: Option<Shared>,
    claimed: Option<Shared>,
    command_line: Option<Shared>,
    sha256: Option<Shared>,
    user_id: Shared,
    user_name: Option<Shared>,
    unit: Option<Shared>,
    container: Option<Shared>,
    cgroup: Option<Shared>,
}

impl ProcessTexts {
    fn of(it: &Process, known: &mut Known) -> Self {
        let mut some = |text: Option<&Arc<str>>| text.map(|it| known.add(it));
        let (executable, claimed) =
            (some(it.executable.as_ref()), some(it.executable_claimed.as_ref()));
        let command_line = some(it.command_line.as_ref());
        let (user_name, unit) = (some(it.user.name.as_ref()), some(it.unit.as_ref()));
        let (container, cgroup) = (some(it.container.as_ref()), some(it.cgroup.as_ref()));
        Self {
            name: known.add(&it.name),
            executable,
            claimed,
            command_line,
            sha256: it.file.sha256.map(|hash| known.add(&hex(&hash))),
            user_id: known.add(&it.user.id.to_string()),
            user_name,
            unit,
            container,
            cgroup,
        }
    }
}

/// Texts that were made, by what they were made of. What it was told of must be there as long as this.
#[derive(Debug)]
pub struct Texts {
    known: Known,
    station: Shared,
    origin: Shared,
    processes: FxHashMap<usize, ProcessTexts>,
    policies: FxHashMap<usize, (Shared, Option<Shared>)>,
    names: FxHashMap<usize, Shared>,
    addresses: FxHashMap<IpAddr, Shared>,
    countries: FxHashMap<CountryCode, Shared>,
    boots: FxHashMap<[u8; 16], Shared>,
    rules: FxHashMap<usize, Shared>,
}

fn address_of<T: ?Sized>(it: &Arc<T>) -> usize {
    Arc::as_ptr(it).cast::<u8>() as usize
}

impl Texts {
    pub fn new(station: &str, origin: &str) -> Self {
        let mut known = Known::default();
        let (station, origin) = (known.add(station), known.add(origin));
        Self {
            known,
            station,
            origin,
            processes: FxHashMap::default(),
            policies: FxHashMap::default(),
            names: FxHashMap::default(),
            addresses: FxHashMap::default(),
            countries: FxHashMap::default(),
            boots: FxHashMap::default(),
            rules: FxHashMap::default(),
        }
    }

    fn name(&mut self, text: Option<&Arc<str>>) -> Option<Shared> {
        let text = text?;
        Some(*self.names.entry(address_of(text)).or_insert_with(|| self.known.add(text)))
    }

    fn address(&mut self, address: IpAddr) -> Shared {
        let known = &mut self.known;
        *self.addresses.entry(address).or_insert_with(|| known.add(&address.to_string()))
    }

    fn country(&mut self, code: Option<CountryCode>) -> Option<Shared> {
        let code = code?;
        Some(*self.countries.entry(code).or_insert_with(|| self.known.add(code.as_str())))
    }

    fn policy(&mut self, it: Option<&Arc<Provenance>>) -> (Option<Shared>, Option<Shared>) {
        let Some(it) = it else { return (None, None) };
        let made = self.policies.entry(address_of(it)).or_insert_with(|| {
            let id = it.host.as_ref().and_then(|host| host.id);
            let id = id.map(|id| self.known.add(&hex(&id)));
            (self.known.add(&hex(&it.policy_sha256)), id)
        });
        (Some(made.0), made.1)
    }

    fn process(&mut self, it: &Process) -> ProcessTexts {
        let (key, known) = (std::ptr::from_ref(it) as usize, &mut self.known);
        *self.processes.entry(key).or_insert_with(|| ProcessTexts::of(it, known))
    }

    /// Of a rule, whose name stands in it.
    fn rule(&mut self, name: &Arc<str>) -> Shared {
        let known = &mut self.known;
        *self.rules.entry(address_of(name)).or_insert_with(|| known.add(&format!("rule:{name}")))
    }
}

/// 32 hexadecimal digits.
fn id(number: u128) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (at, byte) in number.to_be_bytes().into_iter().enumerate() {
        text[2 * at] = DIGITS[usize::from(byte >> 4)];
        text[2 * at + 1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

pub fn flow(record: &Record, at: At, texts: &mut Texts, to: &mut Columns) {
    let egress = &record.egress;
    to.time("timestamp", Some(egress.started_at.0));
    to.name("event_id", &id(egress.flow.0));
    to.time("event_end", egress.ended_at.map(|it| it.0));
    to.time("geofenced_last_seen", Some(egress.last_at.0));
    to.number("geofenced_revision", Some(egress.revision));
    if let Some(name) = egress.transport.name() {
        to.word("network_transport", egress.remote.map(|_| name));
    } else {
        let number = egress.transport.to_string();
        to.own("network_transport", egress.remote.map(|_| number.as_str()));
    }
    to.word("network_type", egress.remote.map(|it| if it.is_ipv4() { "ipv4" } else { "ipv6" }));
    ends(record, texts, to);
    process(record, texts, to);
    let passage = &egress.passage;
    let (from, by) = (texts.name(passage.from.as_ref()), texts.name(passage.by.as_ref()));
    to.text("observer_ingress_interface_name", from, &texts.known);
    to.text("observer_egress_interface_name", by, &texts.known);
    let said = record.place.server_name.as_ref();
    let name = texts.name(said.and_then(|it| it.name()));
    to.text("tls_client_server_name", name, &texts.known);
    let (policy, host_id) = texts.policy(record.provenance.as_ref());
    to.text("host_name", Some(texts.station), &texts.known);
    to.text("host_id", host_id, &texts.known);
    judged(record, texts, to);
    to.text("geofenced_policy_sha256", policy, &texts.known);
    told(record, texts, to);
    to.text("ledger_origin", Some(texts.origin), &texts.known);
    to.count("ledger_block", at.block);
    to.count("ledger_entry", at.entry.into());
}

fn ends(record: &Record, texts: &mut Texts, to: &mut Columns) {
    let (egress, place) = (&record.egress, &record.place);
    let has_ports = egress.transport.has_ports();
    let local = egress.local.map(|it| texts.address(it.ip()));
    to.text("source_ip", local, &texts.known);
    to.number("source_port", egress.local.filter(|_| has_ports).map(|it| it.port()));
    let mac = egress.passage.mac.map(|it| it.to_string());
    to.own("source_mac", mac.as_deref());
    to.count("source_bytes", egress.traffic.sent_bytes);
    to.count("source_packets", egress.traffic.sent_packets);
    let remote = egress.remote.map(|it| texts.address(it.ip()));
    to.text("destination_ip", remote, &texts.known);
    to.number("destination_port", egress.remote.filter(|_| has_ports).map(|it| it.port()));
    to.count("destination_bytes", egress.traffic.received_bytes);
    to.count("destination_packets", egress.traffic.received_packets);
    let domain = texts.name(place.shown().map(|(name, _)| name));
    to.text("destination_domain", domain, &texts.known);
    let country = texts.country(place.country.code());
    to.text("destination_geo_country_iso_code", country, &texts.known);
    let operator = place.operator.as_deref();
    to.number("destination_as_number", operator.and_then(|it| it.asn));
    let organization = texts.name(operator.and_then(|it| it.name.as_ref()));
    to.text("destination_as_organization_name", organization, &texts.known);
}

fn process(record: &Record, texts: &mut Texts, to: &mut Columns) {
    let process = record.sender.process();
    let made = process.map(|it| texts.process(it));
    to.number("process_pid", process.map(|it| it.pid));
    to.text("process_name", made.map(|it| it.name), &texts.known);
    to.text("process_executable", made.and_then(|it| it.executable), &texts.known);
    to.text("process_command_line", made.and_then(|it| it.command_line), &texts.known);
    to.time("process_start", process.and_then(|it| it.started_at).map(|it| it.0));
    to.text("process_hash_sha256", made.and_then(|it| it.sha256), &texts.known);
    to.text("geofenced_executable_claimed", made.and_then(|it| it.claimed), &texts.known);
    let of_host = process.filter(|it| it.file.id.is_some()).map(|it| it.file.is_hosts);
    to.flag("geofenced_executable_of_host", of_host);
    to.text("user_id", made.map(|it| it.user_id), &texts.known);
    to.text("user_name", made.and_then(|it| it.user_name), &texts.known);
    to.text("container_id", made.and_then(|it| it.container), &texts.known);
    to.text("service_name", made.and_then(|it| it.unit), &texts.known);
    to.text("geofenced_cgroup", made.and_then(|it| it.cgroup), &texts.known);
}

fn judged(record: &Record, texts: &mut Texts, to: &mut Columns) {
    let it = &record.judgement;
    to.word("geofenced_verdict", Some(it.verdict.word()));
    to.word("geofenced_certainty", Some(it.certainty.word()));
    match &it.reason {
        Reason::Rule(name) => {
            let rule = texts.rule(name);
            to.text("geofenced_reason", Some(rule), &texts.known);
        }
        Reason::Country => to.word("geofenced_reason", Some("country")),
        Reason::Operator => to.word("geofenced_reason", Some("operator")),
        other => to.own("geofenced_reason", Some(&other.to_string())),
    }
    to.word("geofenced_verdict_now", record.verdict_now.map(Verdict::word));
    to.flag("geofenced_violation", Some(record.is_violation()));
    to.flag("geofenced_learning", Some(record.is_learning()));
    to.word("geofenced_origin", Some(record.egress.origin.word()));
    to.word("geofenced_attribution", Some(record.sender.attribution().word()));
    to.word("geofenced_phase", Some(record.egress.phase.word()));
    let is_unconfirmed = record.egress.passage.way == Way::Unconfirmed;
    to.flag("geofenced_confirmed", is_unconfirmed.then_some(false));
    let operator = record.place.operator.as_deref();
    let country = texts.country(operator.and_then(|it| it.country));
    to.text("geofenced_operator_country", country, &texts.known);
    let second = texts.country(record.place.second);
    to.text("geofenced_second_country", second, &texts.known);
    to.flag("geofenced_anycast", Some(operator.is_some_and(|it| it.is_anycast)));
}

fn told(record: &Record, texts: &mut Texts, to: &mut Columns) {
    let (passage, place) = (&record.egress.passage, &record.place);
    to.flag("geofenced_uncounted", passage.is_uncounted.then_some(true));
    to.flag("geofenced_malformed", Some(passage.is_malformed));
    let via = place.via.as_ref();
    let address = via.map(|it| texts.address(it.address));
    to.text("geofenced_via", address, &texts.known);
    let country = texts.country(via.and_then(|it| it.place.country.code()));
    to.text("geofenced_via_country", country, &texts.known);
    to.word("geofenced_domain_source", place.shown_source().map(DomainSource::word));
    let timeline = record.timeline;
    let word = timeline.map(|it| if it.is_trusted { "trusted" } else { "untrusted" });
    to.word("geofenced_clock", word);
    let boot = timeline.map(|it| {
        let known = &mut texts.known;
        *texts.boots.entry(it.boot.0).or_insert_with(|| known.add(&it.boot.to_string()))
    });
    to.text("geofenced_boot_id", boot, &texts.known);
}
