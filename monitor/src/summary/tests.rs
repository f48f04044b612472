//! Ways of adding up, and windows that cut flows and hours.

use super::*;
use crate::ecs::tests::{bare_record, full_record};

fn add(summary: &mut Summary, record: &Record) {
    let row = summary.flow(record);
    summary.more(row, record.egress.traffic, 0);
}

fn keys(by: By, records: &[Record]) -> Vec<String> {
    let mut summary = Summary::new(by, Leases::default(), Span::ALL);
    for record in records {
        add(&mut summary, record);
    }
    let mut keys: Vec<String> = summary.into_rows().into_iter().map(|row| row.key).collect();
    keys.sort();
    keys
}

#[test]
fn each_way_of_adding_up_keeps_apart_what_it_says() {
    let records = [full_record(), bare_record()];
    assert_eq!(keys(By::Country, &records), ["CN", "unlocated"]);
    assert_eq!(keys(By::Operator, &records), ["AS64500 Example Cloud", "unknown"]);
    assert_eq!(keys(By::Process, &records), [NO_PROCESS, "/usr/bin/curl"]);
    assert_eq!(keys(By::Destination, &records), ["2001:db8::1", "example.org"]);
    assert_eq!(keys(By::Device, &records), [THIS_HOST]);
    assert_eq!(keys(By::Verdict, &records), ["unapproved"]);
}

#[test]
fn a_device_is_one_row_whatever_addresses_it_sends_from() {
    let mut records = [full_record(), full_record(), full_record()];
    for (record, local) in records.iter_mut().zip(["192.0.2.5:1", "[2001:db8::5]:2", "192.0.2.6:3"])
    {
        record.egress.origin = Origin::Forwarded;
        record.egress.local = local.parse().ok();
    }
    records[2].egress.passage.mac = None;
    let mut summary = Summary::new(By::Device, Leases::default(), Span::ALL);
    for record in &records {
        add(&mut summary, record);
    }
    let rows = summary.into_rows();
    let told: Vec<_> = rows.iter().map(|row| (row.key.as_str(), row.addresses.len())).collect();
    assert_eq!(told, [("00-00-5E-00-53-23", 2), ("192.0.2.6", 1)]);
}

#[test]
fn beyond_the_most_rows_all_is_added_up_in_one() {
    let mut summary = Summary::new(By::Port, Leases::default(), Span::ALL).at_most(2);
    for port in [1, 2, 3, 2, 4] {
        let mut record = full_record();
        record.egress.remote = Some(([203, 0, 113, 7], port).into());
        add(&mut summary, &record);
    }
    let rows = summary.into_rows();
    let mut told: Vec<_> = rows.iter().map(|row| (row.key.as_str(), row.flows)).collect();
    told.sort_unstable();
    assert_eq!(told, [("(others)", 2), ("1", 1), ("2", 2)]);
}

#[test]
fn an_attempt_is_counted_as_an_attempt_and_no_violation() {
    let mut attempt = full_record();
    attempt.egress.phase = Phase::Attempt;
    attempt.egress.traffic = Traffic::default();
    let mut summary = Summary::new(By::Country, Leases::default(), Span::ALL);
    add(&mut summary, &attempt);
    add(&mut summary, &full_record());
    let rows = summary.into_rows();
    let counts = (rows[0].flows, rows[0].attempts, rows[0].violations, rows[0].source.bytes);
    assert_eq!(counts, (1, 1, 1, 1500));
}

#[test]
fn an_hour_that_windows_cut_is_divided_evenly_and_adds_up() {
    let hour = Timestamp::from_secs(1_799_996_400);
    let at = |minutes: u64| Timestamp(hour.0 + minutes * 60_000_000_000);
    let rollup = Rollup {
        hour,
        program: "/usr/bin/curl".into(),
        user: None,
        country: Country::Local,
        verdict: Verdict::Approved,
        provenance: None,
        flows: 1,
        traffic: Traffic { sent_bytes: 1_000_003, ..Traffic::default() },
    };
    let within = |since, until, now| {
        let span = Span { since: Some(since), until: Some(until), now };
        let mut summary = Summary::new(By::Verdict, Leases::default(), span);
        summary.add_rollup(&rollup);
        let row = summary.into_rows().remove(0);
        (row.source.bytes, row.divided)
    };
    let tenths = (0..10).map(|it| within(at(it * 6), at(it * 6 + 6), at(600)));
    let tenths: Vec<u64> = tenths.map(|(bytes, _)| bytes).collect();
    assert_eq!(tenths.iter().sum::<u64>(), 1_000_003);
    assert!(tenths.iter().all(|it| it.abs_diff(100_000) < 2), "{tenths:?}");
    assert_eq!(within(at(0), at(60), at(600)), (1_000_003, 0));
    assert_eq!(within(at(54), at(70), at(600)).1, 1_000_003);
    // Of an hour that is not over all has left by now.
    assert!(within(at(5), at(60), at(10)).0.abs_diff(500_001) < 2);
}

#[test]
fn a_violation_that_was_added_up_is_one() {
    let mut summary = Summary::new(By::Verdict, Leases::default(), Span::ALL);
    let rollup = Rollup {
        hour: Timestamp::from_secs(1_799_996_400),
        program: "/usr/bin/curl".into(),
        user: None,
        country: Country::Unlocated,
        verdict: Verdict::Unapproved,
        provenance: None,
        flows: 7,
        traffic: Traffic::default(),
    };
    summary.add_rollup(&rollup);
    summary.add_rollup(&Rollup { verdict: Verdict::Unknown, flows: 5, ..rollup });
    let violations: Vec<u64> = summary.into_rows().iter().map(|row| row.violations).collect();
    assert_eq!(violations.iter().sum::<u64>(), 7);
}

#[test]
fn rolled_up_traffic_joins_the_rows_of_records() {
    let mut summary = Summary::new(By::Process, Leases::default(), Span::ALL);
    add(&mut summary, &full_record());
    summary.add_rollup(&Rollup {
        hour: Timestamp::from_secs(1_799_996_400),
        program: "/usr/bin/curl".into(),
        user: None,
        country: Country::Local,
        verdict: Verdict::Approved,
        provenance: None,
        flows: 7,
        traffic: Traffic { sent_bytes: 500, ..Traffic::default() },
    });
    let rows = summary.into_rows();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].flows, rows[0].source.bytes, rows[0].verdicts.approved), (8, 2000, 7));
    assert_eq!(rows[0].first_seen, Time(Timestamp::from_secs(1_799_996_400)));
}

#[test]
fn rows_of_several_keys_are_kept_apart_by_all_of_them_and_told_with_each() {
    let mut other = full_record();
    let crate::event::Sender::Process { process, .. } = &mut other.sender else { panic!() };
    Arc::make_mut(process).user = crate::event::User { id: 7, name: None };
    let mut summary =
        Summary::new(Keys::parse("process,user, port").unwrap(), Leases::default(), Span::ALL);
    for record in [full_record(), full_record(), other, bare_record()] {
        add(&mut summary, &record);
    }
    let rows = summary.into_rows();
    let mut told: Vec<_> = rows.iter().map(|row| (row.keys.join("|"), row.flows)).collect();
    told.sort();
    assert!(told[0].0.starts_with("(no process)|(no process)|"), "{told:?}");
    assert_eq!(told[1], ("/usr/bin/curl|7|80".to_owned(), 1));
    assert_eq!(told[2], ("/usr/bin/curl|ana|80".to_owned(), 2));
    assert_eq!(rows[0].key, "/usr/bin/curl, ana, 80");
    let json = serde_json::to_value(&rows[0]).unwrap();
    assert_eq!(json["by"], "process,user,port");
    assert_eq!(serde_json::from_value::<Row>(json).unwrap(), rows[0]);
}

#[test]
fn each_key_of_the_record_has_its_rows() {
    let records = [full_record(), bare_record()];
    assert_eq!(keys(By::User, &records), [NO_PROCESS, "ana"]);
    assert_eq!(keys(By::Unit, &records), [NO_PROCESS, "update.service"]);
    assert_eq!(keys(By::Container, &records), [NO_PROCESS, "c0ffee"]);
    assert_eq!(keys(By::Parent, &records), [NO_PROCESS, "/bin/sh"]);
    assert_eq!(keys(By::Hour, &[full_record()]), ["2027-01-15T08:00:00Z"]);
}

#[test]
fn a_name_that_holds_what_parts_keys_does_not_make_one_more() {
    let mut record = full_record();
    let crate::event::Sender::Process { process, .. } = &mut record.sender else { panic!() };
    Arc::make_mut(process).executable = Some("/x\u{1f}y".into());
    let mut summary =
        Summary::new(Keys::parse("process,country").unwrap(), Leases::default(), Span::ALL);
    add(&mut summary, &record);
    assert_eq!(summary.into_rows()[0].keys, ["/x?y", "CN"]);
}

#[test]
fn keys_are_one_to_three_different_ones() {
    for wrong in ["hat", "country,country", "country,user,unit,port", "", "country,"] {
        assert!(Keys::parse(wrong).is_err(), "{wrong}");
    }
    assert_eq!(Keys::parse("verdict").unwrap(), By::Verdict.into());
}

#[test]
fn a_total_is_of_all_rows_and_they_come_in_the_order_asked_for() {
    let row = |key: &str, sent, first| {
        let mut row = Row::new(By::Country.into(), key, Timestamp::from_secs(first));
        row.source.bytes = sent;
        row.flows = first;
        row
    };
    let mut rows = vec![row("a", 1, 30), row("b", 5, 20), row("c", 3, 10)];
    let total = Row::total(&rows).unwrap();
    assert_eq!((total.source.bytes, total.flows), (9, 60));
    assert_eq!((total.first_seen, total.last_seen), (rows[2].first_seen, rows[0].last_seen));
    for (sort, order) in [("sent", "bca"), ("flows", "abc"), ("first", "cba"), ("last", "abc")] {
        Sort::parse(sort).unwrap().rows(&mut rows);
        let told: String = rows.iter().map(|row| row.key.as_str()).collect();
        assert_eq!(told, order, "{sort}");
    }
    assert!(Row::total(&[]).is_none() && Sort::parse("hat").is_err());
}
