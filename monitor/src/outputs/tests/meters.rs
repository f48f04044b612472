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
