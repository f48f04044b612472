//! Which columns a state of a flow has, straight from the record: those of `geofenced export`, with the block and
//! entry that it stands in. What many rows share is made into text once.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use geofenced::fleet::{CountryCode, DomainSource, Process, Provenance, Record, Verdict, Way, hex};
use parquet::data_type::ByteArray;
use rustc_hash::FxHashMap;

use super::columns::{Columns, Shared, shared, stated};

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    pub block: u64,
    pub entry: u32,
}

/// Texts of a process.
#[derive(Debug)]
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

fn some(text: Option<&Arc<str>>) -> Option<Shared> {
    text.map(|it| shared(it))
}

impl From<&Process> for ProcessTexts {
    fn from(it: &Process) -> Self {
        Self {
            name: shared(&it.name),
            executable: some(it.executable.as_ref()),
            claimed: some(it.executable_claimed.as_ref()),
            command_line: some(it.command_line.as_ref()),
            sha256: it.file.sha256.map(|hash| shared(&hex(&hash))),
            user_id: shared(&it.user.id.to_string()),
            user_name: some(it.user.name.as_ref()),
            unit: some(it.unit.as_ref()),
            container: some(it.container.as_ref()),
            cgroup: some(it.cgroup.as_ref()),
        }
    }
}

/// Texts that were made, by what they were made of. What it was told of must be there as long as this.
#[derive(Debug, Default)]
pub struct Texts {
    processes: FxHashMap<usize, ProcessTexts>,
    policies: FxHashMap<usize, (Shared, Option<Shared>, Option<Shared>)>,
    names: FxHashMap<usize, Shared>,
    addresses: FxHashMap<IpAddr, Shared>,
    countries: FxHashMap<CountryCode, Shared>,
    boots: FxHashMap<[u8; 16], Shared>,
    rules: FxHashMap<String, Shared>,
}

fn address_of<T: ?Sized>(it: &Arc<T>) -> usize {
    Arc::as_ptr(it).cast::<u8>() as usize
}

impl Texts {
    fn name(&mut self, text: Option<&Arc<str>>) -> Option<Shared> {
        let text = text?;
        Some(self.names.entry(address_of(text)).or_insert_with(|| shared(text)).clone())
    }

    fn address(&mut self, address: IpAddr) -> Shared {
        self.addresses.entry(address).or_insert_with(|| shared(&address.to_string())).clone()
    }

    fn country(&mut self, code: Option<CountryCode>) -> Option<Shared> {
        let code = code?;
        Some(self.countries.entry(code).or_insert_with(|| shared(code.as_str())).clone())
    }

    fn policy(
        &mut self,
        it: Option<&Arc<Provenance>>,
    ) -> (Option<Shared>, Option<Shared>, Option<Shared>) {
        let Some(it) = it else { return (None, None, None) };
        let made = self.policies.entry(address_of(it)).or_insert_with(|| {
            let host = it.host.as_ref();
            let id = host.and_then(|host| host.id).map(|id| shared(&hex(&id)));
            (shared(&hex(&it.policy_sha256)), host.map(|it| shared(&it.name)), id)
        });
        (Some(made.0.clone()), made.1.clone(), made.2.clone())
    }

    fn reason(&mut self, record: &Record) -> Shared {
        use std::fmt::Write as _;
        let mut text = String::new();
        // Writing to memory does not fail.
        let _ = write!(text, "{}", record.judgement.reason);
        if let Some(known) = self.rules.get(&text) {
            return known.clone();
        }
        let made = shared(&text);
        self.rules.insert(text, made.clone());
        made
    }
}

/// What the same rows of one file have.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub station: Shared,
    pub origin: Shared,
}

/// 32 hexadecimal digits.
fn id(number: u128) -> Shared {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = vec![0; 32];
    for (at, byte) in number.to_be_bytes().into_iter().enumerate() {
        text[2 * at] = DIGITS[usize::from(byte >> 4)];
        text[2 * at + 1] = DIGITS[usize::from(byte & 15)];
    }
    ByteArray::from(Bytes::from(text))
}

pub fn flow(record: &Record, at: At, ledger: &Ledger, texts: &mut Texts, to: &mut Columns) {
    let egress = &record.egress;
    to.time("timestamp", Some(egress.started_at.0));
    to.name("event_id", id(egress.flow.0));
    to.time("event_end", egress.ended_at.map(|it| it.0));
    to.time("geofenced_last_seen", Some(egress.last_at.0));
    to.number("geofenced_revision", Some(egress.revision));
    let transport = egress.remote.map(|_| match egress.transport.name() {
        Some(name) => stated(name),
        None => shared(&egress.transport.to_string()),
    });
    to.text("network_transport", transport.as_ref());
    to.word("network_type", egress.remote.map(|it| if it.is_ipv4() { "ipv4" } else { "ipv6" }));
    ends(record, texts, to);
    process(record, texts, to);
    let passage = &egress.passage;
    let (from, by) = (texts.name(passage.from.as_ref()), texts.name(passage.by.as_ref()));
    to.text("observer_ingress_interface_name", from.as_ref());
    to.text("observer_egress_interface_name", by.as_ref());
    let said = record.place.server_name.as_ref();
    let name = texts.name(said.and_then(|it| it.name()));
    to.text("tls_client_server_name", name.as_ref());
    let (policy, _, host_id) = texts.policy(record.provenance.as_ref());
    to.text("host_name", Some(&ledger.station));
    to.text("host_id", host_id.as_ref());
    judged(record, texts, to);
    to.text("geofenced_policy_sha256", policy.as_ref());
    told(record, texts, to);
    to.text("ledger_origin", Some(&ledger.origin));
    to.count("ledger_block", at.block);
    to.count("ledger_entry", at.entry.into());
}

fn ends(record: &Record, texts: &mut Texts, to: &mut Columns) {
    let (egress, place) = (&record.egress, &record.place);
    let has_ports = egress.transport.has_ports();
    let local = egress.local.map(|it| texts.address(it.ip()));
    to.text("source_ip", local.as_ref());
    to.number("source_port", egress.local.filter(|_| has_ports).map(|it| it.port()));
    let mac = egress.passage.mac.map(|it| it.to_string());
    to.own("source_mac", mac.as_deref());
    to.count("source_bytes", egress.traffic.sent_bytes);
    to.count("source_packets", egress.traffic.sent_packets);
    let remote = egress.remote.map(|it| texts.address(it.ip()));
    to.text("destination_ip", remote.as_ref());
    to.number("destination_port", egress.remote.filter(|_| has_ports).map(|it| it.port()));
    to.count("destination_bytes", egress.traffic.received_bytes);
    to.count("destination_packets", egress.traffic.received_packets);
    let domain = texts.name(place.shown().map(|(name, _)| name));
    to.text("destination_domain", domain.as_ref());
    let country = texts.country(place.country.code());
    to.text("destination_geo_country_iso_code", country.as_ref());
    let operator = place.operator.as_deref();
    to.number("destination_as_number", operator.and_then(|it| it.asn));
    let organization = texts.name(operator.and_then(|it| it.name.as_ref()));
    to.text("destination_as_organization_name", organization.as_ref());
}

fn process(record: &Record, texts: &mut Texts, to: &mut Columns) {
    let process = record.sender.process();
    let made = process.map(|it| {
        let key = std::ptr::from_ref(it) as usize;
        &*texts.processes.entry(key).or_insert_with(|| ProcessTexts::from(it))
    });
    to.number("process_pid", process.map(|it| it.pid));
    to.text("process_name", made.map(|it| &it.name));
    to.text("process_executable", made.and_then(|it| it.executable.as_ref()));
    to.text("process_command_line", made.and_then(|it| it.command_line.as_ref()));
    to.time("process_start", process.and_then(|it| it.started_at).map(|it| it.0));
    to.text("process_hash_sha256", made.and_then(|it| it.sha256.as_ref()));
    to.text("geofenced_executable_claimed", made.and_then(|it| it.claimed.as_ref()));
    let of_host = process.filter(|it| it.file.id.is_some()).map(|it| it.file.is_hosts);
    to.flag("geofenced_executable_of_host", of_host);
    to.text("user_id", made.map(|it| &it.user_id));
    to.text("user_name", made.and_then(|it| it.user_name.as_ref()));
    to.text("container_id", made.and_then(|it| it.container.as_ref()));
    to.text("service_name", made.and_then(|it| it.unit.as_ref()));
    to.text("geofenced_cgroup", made.and_then(|it| it.cgroup.as_ref()));
}

fn judged(record: &Record, texts: &mut Texts, to: &mut Columns) {
    let it = &record.judgement;
    to.word("geofenced_verdict", Some(it.verdict.word()));
    to.word("geofenced_certainty", Some(it.certainty.word()));
    let reason = texts.reason(record);
    to.text("geofenced_reason", Some(&reason));
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
    to.text("geofenced_operator_country", country.as_ref());
    let second = texts.country(record.place.second);
    to.text("geofenced_second_country", second.as_ref());
    to.flag("geofenced_anycast", Some(operator.is_some_and(|it| it.is_anycast)));
}

fn told(record: &Record, texts: &mut Texts, to: &mut Columns) {
    let (passage, place) = (&record.egress.passage, &record.place);
    to.flag("geofenced_uncounted", passage.is_uncounted.then_some(true));
    to.flag("geofenced_malformed", Some(passage.is_malformed));
    let via = place.via.as_ref();
    let address = via.map(|it| texts.address(it.address));
    to.text("geofenced_via", address.as_ref());
    let country = texts.country(via.and_then(|it| it.place.country.code()));
    to.text("geofenced_via_country", country.as_ref());
    to.word("geofenced_domain_source", place.shown_source().map(DomainSource::word));
    let timeline = record.timeline;
    let word = timeline.map(|it| if it.is_trusted { "trusted" } else { "untrusted" });
    to.word("geofenced_clock", word);
    let boot = timeline.map(|it| {
        texts.boots.entry(it.boot.0).or_insert_with(|| shared(&it.boot.to_string())).clone()
    });
    to.text("geofenced_boot_id", boot.as_ref());
}
