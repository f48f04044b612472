//! Transcripts that were made up, and what is found in them.

use super::*;

const TRUTH: &str = r#"{"pid":9,"executable":"/bin/egress","flows":[{"destination":"203.0.113.5","port":80,"transport":"tcp","phase":"sent","payload_bytes":1000}]}"#;
const EVENT: &str = r#"{"process":{"pid":9,"executable":"/bin/egress"},"destination":{"ip":"203.0.113.5","port":80},"network":{"transport":"tcp"},"source":{"bytes":1268,"packets":5},"geofenced":{"phase":"sent","verdict":"local"}}"#;
const ATTEMPT: (&str, &str) = (
    r#"{"pid":9,"executable":"/bin/egress","flows":[{"destination":"203.0.113.5","port":80,"transport":"tcp","phase":"attempt","payload_bytes":0}]}"#,
    r#"{"process":{"pid":9,"executable":"/bin/egress"},"destination":{"ip":"203.0.113.5","port":80,"geo":{"country_iso_code":"CN"}},"network":{"transport":"tcp"},"source":{"bytes":0,"packets":0},"geofenced":{"phase":"attempt","verdict":"unapproved"}}"#,
);

fn told(event: &str) -> Result<(), String> {
    told_of(TRUTH, event)
}

fn told_of(truth: &str, event: &str) -> Result<(), String> {
    let text =
        format!("begin egress x\n{truth}\nend egress x 0\nbegin ledger\n{event}\nend ledger 0\n");
    let said = Transcript::parse(&text);
    egress(&said).next().unwrap().outcome
}

#[test]
fn a_flow_told_as_it_was_made_passes() {
    assert_eq!(told(EVENT), Ok(()));
    assert_eq!(told_of(ATTEMPT.0, ATTEMPT.1), Ok(()));
}

#[test]
fn a_flow_told_wrongly_or_not_at_all_fails() {
    for (from, to) in [
        ("\"pid\":9", "\"pid\":8"),
        ("/bin/egress", "/bin/sh"),
        ("1268", "1267"),
        ("203.0.113.5", "203.0.113.6"),
        ("\"local\"", "\"approved\""),
        ("\"sent\"", "\"attempt\""),
        ("\"bytes\":1268,\"packets\":5", "\"bytes\":1008,\"packets\":0"),
    ] {
        assert!(told(&EVENT.replace(from, to)).is_err(), "{from} -> {to}");
    }
    assert!(told(&format!("{EVENT}\n{EVENT}")).is_err(), "told twice");
    for (from, to) in [("\"CN\"", "\"US\""), ("unapproved", "approved")] {
        let event = ATTEMPT.1.replace(from, to);
        assert!(told_of(ATTEMPT.0, &event).is_err(), "{from} -> {to}");
    }
}

#[test]
fn a_program_that_ends_at_once_may_be_claimed_where_doctor_says_so_and_nowhere_else() {
    let claimed = EVENT
        .replace("\"executable\":\"/bin/egress\"", "\"name\":\"egress\"")
        .replace("\"geofenced\":{", "\"geofenced\":{\"executable_claimed\":\"/bin/egress\",");
    let doctor = |unseen: &str| {
        let text = format!("begin doctor\n{{\"unseen\":[{unseen}]}}\nend doctor 0\n");
        let rest = format!("begin egress x\n{TRUTH}\nend egress x 0\n");
        let ledger = format!("begin ledger\n{claimed}\nend ledger 0\n");
        let said = Transcript::parse(&(text + &rest + &ledger));
        egress(&said).next().unwrap().outcome
    };
    assert_eq!(doctor("\"what a program is that ends at once: it is only claimed\""), Ok(()));
    assert!(doctor("").is_err());
    assert!(told(&EVENT.replace("\"executable\":\"/bin/egress\"", "\"name\":\"x\"")).is_err());
}

#[test]
fn a_kind_that_must_not_be_told_fails_where_nothing_is_told() {
    let quiet = "begin egress unix\n{\"pid\":8,\"flows\":[]}\nend egress unix 0\nbegin ledger\n";
    let outcome = |rest: &str| {
        let said = Transcript::parse(&format!("{quiet}{rest}\nend ledger 0\n"));
        egress(&said).next().unwrap().outcome
    };
    assert!(outcome("").is_err());
    assert_eq!(outcome(EVENT), Ok(()));
    assert!(outcome(&EVENT.replace("\"pid\":9", "\"pid\":8")).is_err());
}

#[test]
fn a_way_out_is_as_well_as_the_guests_test_says_and_a_test_that_ended_early_is_not() {
    let outcome = |coverage: &str, status: i32| {
        let text = format!("begin coverage\n{coverage}end coverage {status}\n");
        let checks = ways(&Transcript::parse(&text));
        checks.into_iter().map(|it| (it.name, it.outcome)).collect::<Vec<_>>()
    };
    let (good, bad) = (
        "{\"kind\":\"tcp\",\"problem\":null}\n",
        "{\"kind\":\"ping\",\"problem\":\"told,\\n  nothing\"}\n",
    );
    let tcp = ("tcp".to_owned(), Ok(()));
    let ping = ("ping".to_owned(), Err("told, nothing".to_owned()));
    assert_eq!(outcome(good, 0), std::slice::from_ref(&tcp));
    assert_eq!(outcome(&format!("{good}{bad}"), 101), [tcp.clone(), ping]);
    let early = ("every way out".to_owned(), Err("exit code 101:".to_owned()));
    assert_eq!(outcome(good, 101), [tcp, early.clone()]);
    assert_eq!(outcome("", 101), [early]);
    assert!(ways(&Transcript::default())[0].outcome.is_err(), "not tried");
    let of = |line: &str| {
        let text = format!("begin coverage\n{line}\nend coverage 101\n");
        ways(&Transcript::parse(&text)).swap_remove(0)
    };
    let absent = r#"{"kind":"mptcp","kernel":"5.10.0","problem":"failed"}"#;
    assert!(matches!(of(absent).limit, Some(Limit::Absent(_))));
    assert!(of(&absent.replace("5.10", "6.1")).outcome.is_err());
    let nobodys = r#"{"kind":"a","has_process":true,"attribution":"none","problem":null}"#;
    assert_eq!(of(nobodys).limit, Some(Limit::Nobody));
    assert_eq!(of(&nobodys.replace("none", "socket")).limit, None);
}

#[test]
fn a_probe_that_is_not_attached_fails_with_what_doctor_says() {
    let text = "begin doctor\n{\"checks\":[{\"check\":\"connect4\",\"found\":\"no\"}]}\nend doctor 0\nbegin metrics\n\
                geofenced_probe_attached{probe=\"connect4\"} 0\n\
                geofenced_probe_attached{probe=\"connect6\"} 1\nend metrics 0\n";
    let variants = "geofenced_probe_variant{probe=\"a\",variant=\"a\"} 1\n\
                    geofenced_probe_variant{probe=\"b\",variant=\"b_named\"} 1\n\
                    geofenced_probe_variant{probe=\"connect4\",variant=\"connect4\"} 0\n";
    let more = text.replace("end metrics", &format!("{variants}end metrics"));
    let checks = probes(&Transcript::parse(&more));
    assert_eq!((checks[2].name.as_str(), &checks[2].outcome), ("b_named", &Ok(())));
    assert!(checks[3].outcome.as_ref().unwrap_err().contains("\"found\":\"no\""));
    assert_eq!(checks.len(), 4);
    let checks = probes(&Transcript::parse(text));
    assert!(checks[0].outcome.as_ref().unwrap_err().contains("\"found\":\"no\""));
    assert_eq!((checks[1].name.as_str(), &checks[1].outcome), ("connect6", &Ok(())));
    assert!(probes(&Transcript::default())[0].outcome.is_err());
}

#[test]
fn what_was_recorded_before_the_clock_was_set_must_be_there() {
    let event = |at: &str, clock: &str| {
        format!(
            "{{\"@timestamp\":\"{at}\",\"geofenced\":{{\"clock\":\"{clock}\",\"boot\":{{\"id\":\"b\"}}}}}}\n"
        )
    };
    let outcome = |steps: u64, events: &[String]| {
        let status =
            format!("{{\"clock\":{{\"steps\":{steps},\"trusted\":false,\"boot\":\"b\"}}}}");
        let text = format!(
            "begin status\n{status}\nend status 0\nbegin ledger\n{}end ledger 0\n",
            events.concat()
        );
        clock(&Transcript::parse(&text))
    };
    let (old, new) = (event("1970-01-01T", "untrusted"), event("2027-01-15T", "untrusted"));
    assert_eq!(outcome(1, &[old.clone(), new.clone()]), Ok(()));
    assert!(outcome(0, &[old.clone(), new.clone()]).is_err(), "the step is not told");
    assert!(outcome(1, std::slice::from_ref(&new)).is_err(), "what was before is gone");
    assert!(outcome(1, &[old, new, event("2027-01-15T", "trusted")]).is_err());
}

#[test]
fn a_loss_or_an_early_end_fails() {
    let text = "begin metrics\ngeofenced_events_lost_total{stage=\"probe\",reason=\"x\"} 2\nend metrics 0\n\
                begin stop\nend stop 1\n";
    let failed: Vec<String> = daemon(&Transcript::parse(text))
        .into_iter()
        .filter(|check| check.outcome.is_err())
        .map(|check| check.name)
        .collect();
    let expected = [
        "doctor",
        "classes as user space finds them",
        "events from the daemon",
        "events from the ledger",
        "nothing lost",
        "nothing undecoded",
        "no verdict is another",
        "a clock that is set takes nothing with it",
        "still running at the end",
        "ends when asked",
    ];
    assert_eq!(failed, expected);
}

#[test]
fn what_left_after_a_sleep_is_not_told_as_of_before_it() {
    let outcome = |ns: u64, status: u8| {
        let event = format!(
            "{{\"destination\":{{\"ip\":\"203.0.113.77\"}},\"geofenced\":{{\"boot\":{{\"ns\":{ns}}}}}}}"
        );
        awake(&Transcript::parse(&format!(
            "begin asleep\n20.99\nend asleep {status}\nbegin ledger\n{event}\nend ledger 0\n"
        )))
    };
    assert_eq!(outcome(21_000_000_000, 0), Ok(()));
    assert!(outcome(16_990_000_000, 0).is_err(), "by a clock that stood still");
    assert!(outcome(21_000_000_000, 1).is_err(), "it can't sleep");
}
