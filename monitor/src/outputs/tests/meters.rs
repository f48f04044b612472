//! That whatever differs in one label alone is counted by itself, however the counters are found.

use super::*;
use crate::{
    event::{Attribution, Country, Transport},
    metrics::{COUNTRY_LOCAL, COUNTRY_NONE},
};

/// Two of each, so that a counter that was found for one is not taken for the other.
fn variants() -> Vec<Record> {
    let first = full_record();
    let with = |change: fn(&mut Record)| {
        let mut record = full_record();
        change(&mut record);
        record
    };
    let differing = [
        with(|it| it.judgement.verdict = Verdict::Unknown),
        with(|it| it.place.country = Country::Unlocated),
        with(|it| it.egress.transport = Transport::UDP),
        with(|it| it.judgement.reason = Reason::Unlocated),
        with(|it| it.judgement.reason = Reason::Country),
        bare_record(),
    ];
    std::iter::once(first).chain(differing).collect()
}

fn labels(record: &Record) -> [String; 5] {
    let country = match record.place.country {
        Country::Known(code) => code.as_str().to_owned(),
        Country::Unlocated => COUNTRY_NONE.to_owned(),
        Country::Local => COUNTRY_LOCAL.to_owned(),
    };
    [
        record.judgement.verdict.word().to_owned(),
        country,
        record.egress.transport.name().unwrap().to_owned(),
        record.judgement.reason.to_string(),
        record.sender.attribution().word().to_owned(),
    ]
}

#[test]
fn what_differs_in_one_label_is_counted_by_itself() {
    let mut rig = rig(RecordMode::Unapproved, Memory::default(), 64);
    let records = variants();
    for _ in 0..2 {
        for record in &records {
            rig.deliver(record.clone(), sent(100, 2), true, Kept::Added);
        }
    }
    let (_, metrics) = rig.finish();
    let told: Vec<_> = records.iter().map(|it| (labels(it), it.is_violation())).collect();
    let alike = |chosen: &dyn Fn(&[String; 5], bool) -> bool| {
        2 * told.iter().filter(|(labels, violates)| chosen(labels, *violates)).count() as u64
    };
    assert!(told.iter().any(|(labels, _)| labels[4] == Attribution::None.word()));
    for ([verdict, country, transport, reason, attribution], _) in &told {
        let flows = metrics.egress_flows_total.with_label_values(&[verdict, country, transport]);
        let same = alike(&|it, _| it[..3] == [verdict.clone(), country.clone(), transport.clone()]);
        assert_eq!(flows.get(), same, "{verdict} {country} {transport}");
        let bytes = metrics.egress_bytes_total.with_label_values(&[verdict, country]);
        let packets = metrics.egress_packets_total.with_label_values(&[verdict, country]);
        let same = alike(&|it, _| it[..2] == [verdict.clone(), country.clone()]);
        assert_eq!((bytes.get(), packets.get()), (100 * same, 2 * same), "{verdict} {country}");
        let violations = metrics.violations_total.with_label_values(&[country, reason]);
        let same = alike(&|it, violates| violates && it[1] == *country && it[3] == *reason);
        assert_eq!(violations.get(), same, "{country} {reason}");
        let attributions = metrics.attribution_total.with_label_values(&[attribution]);
        assert_eq!(attributions.get(), alike(&|it, _| it[4] == *attribution), "{attribution}");
    }
}

#[test]
fn bytes_without_a_process_are_counted_by_origin() {
    let mut rig = rig(RecordMode::All, Memory::default(), 16);
    rig.deliver(bare_record(), sent(77, 1), true, Kept::Added);
    let (_, metrics) = rig.finish();
    assert_eq!(metrics.unattributed_bytes_total.with_label_values(&["process"]).get(), 77);
}

#[test]
fn an_attempt_is_counted_once_and_what_came_back_by_the_byte() {
    let mut rig = rig(RecordMode::All, Memory::default(), 16);
    let mut attempt = full_record();
    attempt.egress.phase = Phase::Attempt;
    rig.deliver(attempt.clone(), Traffic::default(), true, Kept::Added);
    rig.deliver(attempt, Traffic::default(), false, Kept::Added);
    let came_back = Traffic { received_bytes: 40, received_packets: 1, ..Traffic::default() };
    rig.deliver(full_record(), sent(100, 2), true, Kept::Added);
    rig.deliver(full_record(), came_back, false, Kept::Added);
    let (_, metrics) = rig.finish();
    let labels = ["unapproved", "CN"];
    assert_eq!(metrics.attempts_total.with_label_values(&labels).get(), 1);
    assert_eq!(metrics.received_bytes_total.with_label_values(&labels).get(), 40);
    assert_eq!(metrics.egress_bytes_total.with_label_values(&labels).get(), 100);
}

#[test]
fn the_last_violation_is_as_old_as_the_last_packet_of_any_and_what_comes_back_is_none() {
    let mut rig = rig(RecordMode::All, Memory::default(), 16);
    let last = rig.metrics.last_violation_timestamp_seconds.clone();
    let told = |labels: [&str; 2]| last.with_label_values(&labels).get();
    let at = |seconds: u64| {
        let mut record = full_record();
        record.egress.last_at = Timestamp::from_secs(1_800_000_000 + seconds);
        record
    };
    rig.deliver(at(1), sent(100, 2), true, Kept::Added);
    assert_eq!(told(["CN", "rule:no-cn"]), 1_800_000_001);
    rig.deliver(at(60), sent(100, 2), false, Kept::Added);
    assert_eq!(told(["CN", "rule:no-cn"]), 1_800_000_060);
    let came_back = Traffic { received_bytes: 40, received_packets: 1, ..Traffic::default() };
    rig.deliver(at(90), came_back, false, Kept::Added);
    assert_eq!(told(["CN", "rule:no-cn"]), 1_800_000_060);
    let mut fine = at(99);
    fine.judgement.verdict = Verdict::Approved;
    rig.deliver(fine, sent(100, 2), true, Kept::Added);
    assert_eq!(told(["CN", "rule:no-cn"]), 1_800_000_060);
    rig.finish();
}

#[test]
fn a_rule_that_forbids_has_a_series_for_each_country_it_names_and_for_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    let text = "[policy]\nlocal_networks = []\n[[policy.rule]]\nname = \"no-cn\"\nallow = false\n\
                country = [\"CN\", \"RU\"]\n[[policy.rule]]\nname = \"ntp\"\nallow = true\nport = 123\n\
                [[policy.rule]]\nname = \"no-ssh\"\nallow = false\nport = 22\n";
    std::fs::write(&path, text).unwrap();
    let rules = crate::config::Config::load(&path).unwrap().policy.rules;
    let series: Vec<_> = violations_of(&rules).collect();
    let of = |country: &str, reason: &str| (country.to_owned(), reason.to_owned());
    let right = [
        of("CN", "rule:no-cn"),
        of("RU", "rule:no-cn"),
        of("none", "rule:no-cn"),
        of("none", "rule:no-ssh"),
    ];
    assert_eq!(series, right);
}

#[test]
fn units_and_operators_have_series_of_their_own_only_where_that_is_asked_for() {
    let told = |most: u32| {
        let mut rig = rig(RecordMode::All, Memory::default(), 16);
        rig.outputs = rig.outputs.counting_top(most, &rig.metrics);
        rig.deliver(full_record(), sent(100, 2), true, Kept::Added);
        rig.deliver(bare_record(), sent(7, 1), true, Kept::Added);
        let (_, metrics) = rig.finish();
        prometheus::TextEncoder::new().encode_to_string(&metrics.registry.gather()).unwrap()
    };
    let asked = told(3);
    let unit = full_record().sender.process().unwrap().unit.clone().unwrap();
    for line in [
        format!("geofenced_unit_sent_bytes_total{{unit=\"{unit}\"}} 100"),
        "geofenced_unit_sent_bytes_total{unit=\"none\"} 7".to_owned(),
        "geofenced_operator_sent_bytes_total{operator=\"other\"} 0".to_owned(),
    ] {
        assert!(asked.lines().any(|it| it == line), "{line} is not in\n{asked}");
    }
    assert!(asked.contains("geofenced_operator_sent_bytes_total{operator=\"AS"), "{asked}");
    assert!(!told(0).contains("_sent_bytes_total"));
}

#[test]
fn what_a_policy_that_only_learns_objects_to_is_counted_by_its_verdict_and_as_no_violation() {
    let mut rig = rig(RecordMode::All, Memory::default(), 64);
    let mut record = full_record();
    record.judgement.verdict = Verdict::Unapproved;
    let mut provenance = record.provenance.as_deref().cloned().unwrap();
    provenance.is_learning = true;
    record.provenance = Some(Arc::new(provenance));
    rig.deliver(record.clone(), sent(100, 2), true, Kept::Added);
    rig.outputs.add_up(Sum {
        at: record.egress.last_at,
        user: None,
        place: record.place.clone(),
        judgement: record.judgement.clone(),
        provenance: record.provenance.clone(),
        flows: 3,
        traffic: sent(50, 3),
    });
    let (_, metrics) = rig.finish();
    let [verdict, country, _, reason, _] = labels(&record);
    let count = |transport: &str| {
        metrics.egress_flows_total.with_label_values(&[&verdict, &country, transport]).get()
    };
    assert_eq!(count(record.egress.transport.name().unwrap()) + count(TRANSPORT_OTHER), 4);
    assert_eq!(metrics.violations_total.with_label_values(&[&country, &reason]).get(), 0);
    let last = &metrics.last_violation_timestamp_seconds;
    assert_eq!(last.with_label_values(&[&country, &reason]).get(), 0);
}
