//! What may be said of a period, by flows that the acceptance rows of lab reports describe; and that JSON
//! and page tell the same.

use std::{net::SocketAddr, sync::Arc};

use super::*;
use crate::{
    coverage::{Extent, Gap, Integrity},
    devices::Leases,
    ecs::{Event, MarkEvent, tests::full_record},
    event::{
        Certainty, Country, CountryCode, FlowId, Operator, Origin, Phase, Reason, Record, Rollup,
        Timestamp, Traffic, Verdict,
    },
    summary::{By, Span, Summary, Totals as _},
};

/// A day.
pub(crate) const FROM: Timestamp = Timestamp::from_secs(1_800_000_000);
const TO: Timestamp = Timestamp::from_secs(1_800_086_400);

fn code(text: &str) -> CountryCode {
    CountryCode::new(text).unwrap()
}

/// Where a flow goes: what the databases say, and whom the address belongs to.
pub(crate) struct To<'a> {
    pub(crate) address: &'a str,
    pub(crate) country: &'a str,
    pub(crate) second: Option<&'a str>,
    pub(crate) operator: &'a str,
    pub(crate) led_from: &'a str,
    pub(crate) verdict: Verdict,
}

pub(crate) const AWS: To<'_> = To {
    address: "192.0.2.10:443",
    country: "US",
    second: Some("US"),
    operator: "Amazon",
    led_from: "US",
    verdict: Verdict::Approved,
};

/// The `number`th flow, within the day.
pub(crate) fn flow(number: u64, to: &To<'_>) -> Record {
    let mut record = full_record();
    let at = Timestamp::from_secs(1_800_000_100 + number);
    record.egress.flow = FlowId((u128::from(at.0) << 64) | u128::from(number));
    record.egress.origin = Origin::Process;
    (record.egress.started_at, record.egress.last_at) = (at, at);
    record.egress.remote = Some(to.address.parse::<SocketAddr>().unwrap());
    record.egress.traffic = Traffic { sent_bytes: 1_000, sent_packets: 2, ..Traffic::default() };
    let findings = Arc::make_mut(&mut record.findings);
    let place = &mut findings.place;
    (place.via, place.server_name, place.domain) = (None, None, None);
    place.country = CountryCode::new(to.country).map_or(Country::Unlocated, Country::Known);
    place.second = to.second.map(code);
    place.operator = Some(Arc::new(Operator {
        asn: Some(64_500),
        name: Some(to.operator.into()),
        country: CountryCode::new(to.led_from),
        is_anycast: false,
    }));
    findings.judgement.verdict = to.verdict;
    findings.judgement.reason = Reason::Country;
    findings.judgement.certainty = Certainty::Full;
    record
}

pub(crate) fn watched() -> Coverage {
    Coverage {
        from: Time(FROM),
        to: Time(TO),
        watched_seconds: 86_400,
        seconds: 86_400,
        gaps: Vec::new(),
        ledger: Integrity::default(),
        watching: Vec::new(),
    }
}

pub(crate) fn blind() -> Gap {
    let (from, to) = (Time(FROM), Time(Timestamp::from_secs(1_800_000_060)));
    let (stage, reason) = ("daemon".to_owned(), "stopped".to_owned());
    Gap { from, to, extent: Extent::Blind, stage, reason, count: None }
}

pub(super) fn rows(by: By, records: &[Record], rollups: &[Rollup]) -> Vec<Row> {
    let mut summary = Summary::new(by, Leases::default(), Span::ALL);
    for record in records {
        let row = summary.flow(record);
        summary.more(row, record.egress.traffic, 0);
    }
    for rollup in rollups {
        summary.add_rollup(rollup);
    }
    summary.into_rows()
}

/// What the command would have found out, claims included.
pub(crate) fn facts(records: &[Record], rollups: &[Rollup], claims: &[&str]) -> Facts {
    let mut claims: Vec<Claim> = claims.iter().map(|it| Claim::parse(it).unwrap()).collect();
    let mut violations = Violations::default();
    for record in records {
        let event = Event::from(record);
        violations.add(&event);
        for claim in &mut claims {
            claim.see(&event);
        }
    }
    Facts {
        made_at: Time(TO),
        scope: Scope {
            host: Some("drone-7".into()),
            version: "0.1.0".into(),
            commit: "abc".into(),
            source: "daemon".into(),
            ..Scope::default()
        },
        coverage: watched(),
        countries: rows(By::Country, records, rollups),
        operators: rows(By::Operator, records, rollups),
        programs: rows(By::Process, records, rollups),
        devices: Vec::new(),
        verdicts: rows(By::Verdict, records, rollups),
        interval: None,
        whole_hours: None,
        comparison: None,
        declared: Declared::default(),
        signature: Signature::default(),
        violations,
        policies: PoliciesInForce {
            policies: vec![PolicyInForce {
                noted_at: Time(Timestamp::from_secs(1_799_999_000)),
                sha256: "3f9a1c0b".repeat(8),
                text: Some(POLICY.to_owned()),
            }],
            untold: 0,
        },
        databases: vec![Database {
            label: "country".into(),
            name: "Example Country".into(),
            date: Some("2026-10-01".into()),
            sha256: "ab".repeat(32),
            named_by_records: true,
        }],
        notices: vec!["IP geolocation by Example".into()],
        claims,
    }
}

pub(super) const POLICY: &str = "geofenced policy 2\napproved CA,US\nbasis either\ndisputed unapproved\n\
                      unknown unapproved\ntrust-claims false\n";

fn decided(facts: Facts) -> Decided {
    Report::new(facts).claims.remove(0)
}

pub(super) fn approved(flows: u64, country: &str) -> Rollup {
    Rollup {
        hour: FROM,
        country: Country::Known(code(country)),
        verdict: Verdict::Approved,
        program: "/usr/bin/curl".into(),
        user: None,
        flows,
        traffic: Traffic { sent_bytes: 100 * flows, ..Traffic::default() },
        provenance: None,
    }
}

#[test]
fn nothing_left_is_said_over_full_coverage_alone() {
    let records = [flow(0, &AWS)];
    let held = decided(facts(&records, &[], &["nothing to CN"]));
    assert_eq!(held.standing, Standing::Holds, "{held:?}");
    assert!(held.sentence.starts_with("Nothing left to CN (China)"), "{}", held.sentence);
    let mut breaks: Vec<Facts> = (0..4).map(|_| facts(&records, &[], &["nothing to CN"])).collect();
    breaks[0].coverage.gaps.push(blind());
    let degraded = Gap { extent: Extent::Degraded, count: Some(3), ..blind() };
    breaks[1].coverage.gaps.push(degraded);
    breaks[2].coverage.ledger.missing_blocks = 1;
    breaks[3].coverage.to = breaks[3].coverage.from;
    for broken in breaks {
        let decided = decided(broken);
        assert_eq!(decided.standing, Standing::NotShown, "{decided:?}");
        assert!(!decided.sentence.to_lowercase().contains("nothing left"), "{decided:?}");
        assert_eq!(decided.because.len(), 1, "{decided:?}");
    }
}

#[test]
fn a_claim_that_flows_refute_is_refuted_over_a_gap_too() {
    let cn = To { country: "CN", verdict: Verdict::Unapproved, ..AWS };
    let mut facts = facts(&[flow(0, &AWS), flow(1, &cn)], &[], &["nothing to HK,CN"]);
    facts.coverage.gaps.push(blind());
    let decided = decided(facts);
    assert_eq!(decided.standing, Standing::Refuted);
    assert!(decided.sentence.contains("1 flow with 1,000 bytes went to HK"), "{decided:?}");
}

#[test]
fn an_address_in_the_us_that_alibaba_runs_refutes_what_is_said_of_china() {
    // OnDefend 2026: US-based infrastructure of Alibaba and Tencent.
    let edge = To { operator: "Alibaba", led_from: "CN", verdict: Verdict::Unapproved, ..AWS };
    let report = Report::new(facts(&[flow(0, &edge)], &[], &["nothing to CN"]));
    assert_eq!(report.claims[0].standing, Standing::Refuted);
    let to = &report.violations.groups[0].destination;
    assert_eq!((to.country.as_deref(), to.operator_country.as_deref()), (Some("US"), Some("CN")));
    // The same where the policy looks at locations alone: no violation, and still not to be denied.
    let location = To { verdict: Verdict::Approved, ..edge };
    let report = Report::new(facts(&[flow(0, &location)], &[], &["nothing to CN"]));
    assert_eq!((report.totals.violations, report.claims[0].standing), (0, Standing::Refuted));
}

#[test]
fn an_update_check_to_aws_and_linode_is_approved_and_its_operators_are_named() {
    // NOAA 2016.
    let linode = To { operator: "Linode", address: "198.51.100.4:443", ..AWS };
    let report = Report::new(facts(&[flow(0, &AWS), flow(1, &linode)], &[], &[]));
    let operators: Vec<&str> = report.operators.iter().map(|row| row.key.as_str()).collect();
    assert_eq!(operators, ["AS64500 Amazon", "AS64500 Linode"]);
    assert_eq!(report.totals.violations, 0);
}

#[test]
fn a_name_decides_nothing_and_is_shown() {
    // FTI 2020: the name says Hong Kong, the address is in the US.
    let mut record = flow(0, &AWS);
    Arc::make_mut(&mut record.findings).place.domain = Some(crate::event::Domain {
        name: "djigo-hk.djiservice.example".into(),
        source: crate::event::DomainSource::Dns,
        is_trusted: true,
    });
    let report = Report::new(facts(std::slice::from_ref(&record), &[], &["nothing to HK"]));
    assert_eq!(report.claims[0].standing, Standing::Holds);
    // And the reverse: nothing in the name, run from China.
    let fff = To { operator: "Example", led_from: "CN", verdict: Verdict::Unapproved, ..AWS };
    let mut record = flow(0, &fff);
    Arc::make_mut(&mut record.findings).place.domain = Some(crate::event::Domain {
        name: "factory.fffsky.example".into(),
        source: crate::event::DomainSource::Dns,
        is_trusted: true,
    });
    let report = Report::new(facts(&[record], &[], &["nothing to CN"]));
    assert_eq!(report.claims[0].standing, Standing::Refuted);
    let page = html::page(&report);
    assert!(page.contains("factory.fffsky.example"));
}

#[test]
fn in_an_interval_in_which_nothing_was_to_leave_one_question_of_dns_is_too_much() {
    // FTI 2024, local data mode.
    assert_eq!(decided(facts(&[], &[], &["nothing"])).standing, Standing::Holds);
    let dns = To { address: "192.0.2.53:53", ..AWS };
    assert_eq!(decided(facts(&[flow(0, &dns)], &[], &["nothing"])).standing, Standing::Refuted);
    // One that a name server in the local network was asked, which asks others.
    let local = To { address: "192.168.1.1:53", country: "", verdict: Verdict::Local, ..AWS };
    let mut record = flow(0, &local);
    Arc::make_mut(&mut record.findings).place.country = Country::Local;
    let decided = decided(facts(&[record], &[], &["nothing"]));
    assert_eq!(decided.standing, Standing::NotShown, "{decided:?}");
}

#[test]
fn what_one_of_two_databases_objects_to_is_never_counted_as_approved() {
    let disputed = To { second: Some("CN"), ..AWS };
    let mut record = flow(0, &disputed);
    Arc::make_mut(&mut record.findings).judgement.certainty = Certainty::Disputed;
    for claim in ["nothing to CN", "nothing unapproved"] {
        let decided = decided(facts(std::slice::from_ref(&record), &[], &[claim]));
        assert_eq!(decided.standing, Standing::NotShown, "{decided:?}");
        assert!(decided.because[0].contains("one of two databases"), "{decided:?}");
    }
}

#[test]
fn a_brand_does_not_hide_who_runs_the_address() {
    // AWS in China: Sinnet, NWCD.
    let sinnet = To {
        operator: "Sinnet (AWS)",
        led_from: "CN",
        country: "CN",
        verdict: Verdict::Unapproved,
        ..AWS
    };
    let report = Report::new(facts(&[flow(0, &sinnet)], &[], &["nothing to CN"]));
    assert_eq!(report.claims[0].standing, Standing::Refuted);
    let page = html::page(&report);
    assert!(page.contains("Sinnet (AWS)") && page.contains("led from CN (China)"));
}

#[test]
fn an_address_of_no_known_country_may_be_anywhere() {
    let nowhere = To { country: "", second: None, verdict: Verdict::Unknown, ..AWS };
    for claim in ["nothing to CN", "nothing unapproved"] {
        let decided = decided(facts(&[flow(0, &nowhere)], &[], &[claim]));
        assert_eq!(decided.standing, Standing::NotShown, "{claim}: {decided:?}");
    }
}

#[test]
fn an_attempt_is_not_what_left() {
    let mut record = flow(0, &To { country: "CN", verdict: Verdict::Unapproved, ..AWS });
    record.egress.phase = Phase::Attempt;
    let report = Report::new(facts(&[record], &[], &["nothing to CN", "nothing"]));
    assert_eq!((report.totals.flows, report.totals.attempts), (0, 1));
    assert!(report.claims.iter().all(|it| it.standing == Standing::Holds), "{:?}", report.claims);
    assert!(report.limits.iter().any(|it| it.starts_with("Attempted")), "{:?}", report.limits);
}

#[test]
fn what_is_only_added_up_is_ruled_out_by_the_policies_that_approved_it_and_by_nothing_else() {
    let said = |change: &dyn Fn(&mut Facts)| {
        let mut facts = facts(&[], &[approved(5, "US")], &["nothing to CN"]);
        change(&mut facts);
        decided(facts).standing
    };
    let with_policy = |from: &str, to: &str| {
        said(&|facts| {
            assert!(POLICY.contains(from));
            facts.policies.policies[0].text = Some(POLICY.replace(from, to));
        })
    };
    assert_eq!(said(&|_| {}), Standing::Holds);
    // Its operator might be Chinese, for all that this policy cares.
    assert_eq!(with_policy("basis either", "basis location"), Standing::NotShown);
    assert_eq!(with_policy("approved CA,US", "approved CN,US"), Standing::NotShown);
    assert_eq!(with_policy("disputed unapproved", "disputed approved"), Standing::NotShown);
    let rule = "trust-claims false\nrule any allow=true";
    assert_eq!(with_policy("trust-claims false", rule), Standing::NotShown);
    assert_eq!(with_policy("policy 2", "policy 9"), Standing::NotShown);
    // Another policy was in force before, or nobody knows which.
    let late = Time(Timestamp::from_secs(1_800_000_001));
    assert_eq!(said(&|it| it.policies.policies[0].noted_at = late), Standing::NotShown);
    assert_eq!(said(&|it| it.policies.untold = 1), Standing::NotShown);
    assert_eq!(said(&|it| it.policies = PoliciesInForce::default()), Standing::NotShown);
    let refuted = facts(&[], &[approved(5, "CN")], &["nothing to CN"]);
    assert_eq!(decided(refuted).standing, Standing::Refuted);
}

/// Local data mode was switched on within an hour, and something left before that.
#[test]
fn what_is_only_added_up_in_an_hour_that_a_bound_cuts_refutes_nothing_and_leaves_nothing_shown() {
    let said = |whole: &[Rollup]| {
        let all = [&[approved(3, "US")], whole].concat();
        let mut facts = facts(&[], &all, &["nothing", "nothing to US"]);
        facts.whole_hours = Some(WholeHours {
            countries: rows(By::Country, &[], whole),
            verdicts: rows(By::Verdict, &[], whole),
        });
        Report::new(facts).claims
    };
    for decided in said(&[]) {
        assert_eq!(decided.standing, Standing::NotShown, "{decided:?}");
        let why = "a part is outside of the period: 3 flows";
        assert!(decided.because.iter().any(|it| it.contains(why)), "{decided:?}");
    }
    for decided in said(&[approved(2, "US")]) {
        assert_eq!(decided.standing, Standing::Refuted, "{decided:?}");
        assert!(decided.sentence.contains("2 flows with 200 bytes"), "{decided:?}");
    }
}

#[test]
fn violations_that_are_only_added_up_count_and_are_told_as_a_limit() {
    let rollup = Rollup { verdict: Verdict::Unapproved, ..approved(3, "CN") };
    let report = Report::new(facts(&[], &[rollup], &["nothing unapproved", "nothing to RU"]));
    assert_eq!(report.totals.violations, 3);
    assert_eq!(report.claims[0].standing, Standing::Refuted);
    assert_eq!(report.claims[1].standing, Standing::NotShown, "their operators are not known");
    let limit = "which are in the totals and not in the tables of violations: 3.";
    assert!(report.limits.iter().any(|it| it.ends_with(limit)), "{:?}", report.limits);
    assert!(html::page(&report).contains("in no table here: 3."));
}

#[test]
fn a_report_has_no_form_without_its_limits() {
    let report = Report::new(facts(&[], &[], &["nothing"]));
    assert_eq!(report.claims[0].standing, Standing::Holds);
    assert!(report.limits.len() >= 8);
    let page = html::page(&report);
    let limits = page.find("What this report does not say").unwrap();
    assert!(page[limits..].contains("where packets went, not where data ends"));
    assert!(report.claims[0].sentence.contains("the limits below"));
}

#[test]
fn a_gap_is_told_as_a_gap_and_as_a_limit() {
    let mut facts = facts(&[], &[], &[]);
    facts.coverage.gaps.push(blind());
    let report = Report::new(facts);
    let nobody = "There is a time in which nobody looked: what left then is not known.";
    assert!(report.limits.iter().any(|it| it == nobody), "{:?}", report.limits);
    let page = html::page(&report);
    assert!(page.contains("blind: nobody looked") && page.contains("daemon: stopped"));
    assert!(!page.contains("There is no gap"));
}

#[test]
fn what_is_no_claim_is_refused_with_what_to_write() {
    for text in ["", "all", "nothing to", "nothing to China", "nothing to QQ", "nothing for CN"] {
        let error = Claim::parse(text).unwrap_err();
        assert!(error.contains("write"), "{text}: {error}");
    }
    assert!(Claim::parse("nothing to CN, RU").is_ok());
}

/// R7: map tiles are declared; what goes elsewhere is not, and neither is excused.
#[test]
fn what_was_declared_stands_beside_the_violations_and_excuses_none() {
    let moment = |seconds| crate::event::Moment {
        boot_ns: seconds,
        timeline: full_record().timeline.unwrap(),
    };
    let mark = |kind, seconds, shares| crate::event::Mark {
        kind,
        name: "survey <1>".into(),
        note: None,
        shares,
        moment: moment(seconds),
    };
    let share = crate::event::Share {
        destination: "66.35.250.0/24".into(),
        purpose: "map tiles".into(),
        until: None,
    };
    let start = mark(crate::event::MarkKind::Start, 0, vec![share]);
    let stop = mark(crate::event::MarkKind::Stop, 60 * 1_000_000_000, vec![]);
    let mut marks = [MarkEvent::from(&start), MarkEvent::from(&stop)];
    (marks[0].timestamp, marks[1].timestamp) = (Time(FROM), Time(TO));
    let mut facts = facts(&[full_record()], &[], &[]);
    facts.declared = Declared::of(&marks);
    let record = full_record();
    let mut event = Event::from(&record);
    facts.declared.add(&event);
    assert_eq!(facts.declared.violations, 0);
    event.geofenced.declared = vec![crate::ecs::DeclaredFields {
        purpose: "map tiles".into(),
        interval: "survey <1>".into(),
    }];
    facts.declared.add(&event);
    let report = Report::new(facts);
    assert_eq!(report.declared.violations, 1);
    assert_eq!(report.declared.shares.len(), 1);
    assert_eq!(report.declared.shares[0].until, Some(Time(TO)));
    assert!(report.totals.violations > 0, "it stands");
    let page = html::page(&report);
    assert!(page.contains("survey &lt;1&gt;") && page.contains("map tiles"));
    assert!(page.contains("excuses nothing: 1 of the violations"));
}

#[test]
fn of_a_signed_ledger_the_report_says_what_was_signed_and_how_to_verify_it() {
    let mut facts = facts(&[], &[], &[]);
    facts.signature.head = Some(Head {
        origin: "drone-7/2".into(),
        size: 9,
        root: "XcnabacGWaYZytVVmrYP".into(),
        signed_at: Some(Time(FROM)),
        key: Some("drone-7+530d903a+Aeky".into()),
        rolled_back_from: Some("drone-7".into()),
    });
    let page = html::page(&Report::new(facts));
    for said in [
        "drone-7/2",
        "up to block 9",
        "XcnabacGWaYZytVVmrYP",
        "drone-7+530d903a+Aeky",
        "was not what had been signed",
    ] {
        assert!(page.contains(said), "{said}");
    }
    assert!(page.contains("geofenced verify STORE --key FILE"));
}

#[test]
fn nothing_is_signed_and_nothing_declared_and_the_report_says_so() {
    let report = Report::new(facts(&[], &[], &[]));
    let page = html::page(&report);
    assert!(page.contains("is signed yet"));
    assert!(page.contains("Nothing was declared for this period."));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["signature"], serde_json::json!({}));
    assert_eq!(json["declared"]["shares"], serde_json::json!([]));
}
