//! A program is the file that was executed, whatever it is called by and however short it runs.

use harness::text;
use rustix::process::Signal;
use serde_json::Value;

use crate::ground::{Ground, tally};

/// Short runs of a kind.
const RUNS: usize = 40;

#[test]
fn what_sends_and_then_becomes_an_allowed_program_of_the_same_name_is_not_taken_for_it() {
    let ground = Ground::new();
    let allowed = ground.programs.copy("allowed/curl");
    let own = ground.programs.copy("own/curl");
    ground.allow("curl", &allowed);
    ground.watched(|| {
        let words = format!("exec {own} udp sendto {{to}} exec {allowed}");
        let runs = ground.spawn(&own, "", RUNS, "203.0.113.10", &words);
        let told = tally(&runs, &ground.told_at("203.0.113.10", RUNS), |_| own.clone());
        println!("became curl after it sent: {told:?}");
        assert_eq!((told.wrong, told.wrong_pid, told.approved), (0, 0, 0), "{told:?}");
    });
}

#[test]
fn what_renames_itself_and_ends_at_once_is_told_as_what_was_executed() {
    let ground = Ground::new();
    let own = ground.programs.copy("own/sends");
    ground.watched(|| {
        let words = format!("exec {own} name curl udp sendto {{to}}");
        let runs = ground.spawn(&own, "", RUNS, "203.0.113.10", &words);
        let told = tally(&runs, &ground.told_at("203.0.113.10", RUNS), |_| own.clone());
        println!("renamed: {told:?}");
        assert_eq!((told.wrong, told.without, told.wrong_pid), (0, 0, 0), "{told:?}");
    });
}

/// Short runs of an allowed program by another string than its path: told by its path, and none a
/// violation.
fn assert_real_path(before: &str, words: &str) {
    let ground = Ground::new();
    let own = ground.programs.copy("own/one");
    let link = ground.programs.path("own/link");
    std::os::unix::fs::symlink("one", &link).expect("a symlink");
    ground.allow("one", &own);
    let directory = ground.programs.path("own");
    let place =
        |it: &str| it.replace("{own}", &own).replace("{link}", &link).replace("{dir}", &directory);
    ground.watched(|| {
        let words = place(words);
        let runs = ground.spawn(&own, &place(before), RUNS, "203.0.113.10", &words);
        let told = tally(&runs, &ground.told_at("203.0.113.10", RUNS), |_| own.clone());
        println!("{before} {words}: {told:?}");
        assert_eq!((told.wrong, told.wrong_pid), (0, 0), "{told:?}");
        assert_eq!(told.approved, RUNS, "false violations: {told:?}");
    });
}

#[test]
fn what_is_executed_by_a_symlink_is_told_by_its_real_path_and_met_by_its_rule() {
    assert_real_path("", "exec {link} udp sendto {to}");
}

#[test]
fn what_is_executed_by_a_relative_path_is_told_by_its_real_path_and_met_by_its_rule() {
    assert_real_path("cd {dir}", "exec ./one udp sendto {to}");
}

#[test]
fn what_is_executed_by_a_descriptor_is_told_by_its_real_path_and_met_by_its_rule() {
    assert_real_path("open {own}", "fexec udp sendto {to}");
}

#[test]
fn what_is_executed_by_a_path_of_a_descriptor_is_told_by_its_real_path_and_met_by_its_rule() {
    assert_real_path("open {own}", "exec /dev/fd/8 udp sendto {to}");
}

#[test]
fn a_program_without_a_file_system_is_told_by_its_own_name_or_none() {
    let ground = Ground::new();
    let own = ground.programs.copy("own/one");
    ground.allow("descriptor", "/dev/fd/8");
    ground.watched(|| {
        let before = format!("memfd {own} hidden");
        let runs = ground.spawn(&own, &before, RUNS, "203.0.113.10", "fexec udp sendto {to}");
        let records = ground.told_at("203.0.113.10", RUNS);
        let told = tally(&runs, &records, |_| "/memfd:hidden".into());
        println!("memfd: {told:?}");
        assert_eq!((told.wrong, told.wrong_pid, told.approved), (0, 0, 0), "{told:?}");
    });
}

/// Longer than the daemon keeps a process of which it saw the end, in seconds.
const KEPT_AFTER_END: i64 = 12;

#[test]
fn a_worker_that_outlives_the_main_thread_is_told_with_its_program_and_met_by_its_rule() {
    let ground = Ground::new();
    let own = ground.programs.copy("own/works");
    ground.allow("works", &own);
    ground.watched(|| {
        let sends = (1..=600).map(|port| format!("hold sendto 203.0.113.10:{port}"));
        let words = format!("udp leader-ends {}", sends.collect::<Vec<_>>().join(" "));
        let mut works = ground.start(&own, &words);
        let pid = u64::from(works.pid());
        let mut first: Option<i64> = None;
        // What is sent one after the other, until the end of the main thread is long ago.
        for port in 1..=600 {
            works.holding();
            works.send();
            let record = ground.told(&format!("203.0.113.10:{port}"));
            let seconds = seconds_of(&record);
            let after = seconds - *first.get_or_insert(seconds);
            assert_eq!(text(&record, "/process/executable"), own, "{after} s later: {record}");
            assert_eq!(record["process"]["pid"], pid, "{after} s later: {record}");
            assert_eq!(text(&record, "/geofenced/reason"), "rule:works", "{after} s: {record}");
            if after > KEPT_AFTER_END {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        panic!("600 datagrams were sent in less than {KEPT_AFTER_END} seconds");
    });
}

/// When the flow began, of its day.
fn seconds_of(record: &Value) -> i64 {
    let time = text(record, "/@timestamp").split('T').nth(1).expect("an RFC 3339 time");
    let mut parts = time.split([':', '.', 'Z']).map(|part| part.parse::<i64>().unwrap_or(0));
    let mut next = || parts.next().expect("hours, minutes and seconds");
    next() * 3600 + next() * 60 + next()
}

#[test]
fn a_file_name_that_ends_like_a_deleted_ones_is_told_whole() {
    let ground = Ground::new();
    let own = ground.programs.copy("own/snd (deleted)");
    ground.allow("snd", &ground.programs.path("own/snd"));
    ground.watched(|| {
        let mut running = ground.start(&own, "udp sendto 203.0.113.10:9 hold");
        running.holding();
        let record = ground.told("203.0.113.10:9");
        running.send();
        running.end();
        println!("told as {:?}", text(&record, "/process/executable"));
        assert_eq!(text(&record, "/process/executable"), own, "{record}");
        assert_eq!(text(&record, "/geofenced/verdict"), "unapproved", "{record}");
    });
}

#[test]
fn a_rule_that_allows_whoever_has_a_name_is_refused_with_the_path_to_write_instead() {
    let ground = Ground::new();
    let rule = |allow: bool, process: &str| {
        let rule = format!("name = \"named\"\nallow = {allow}\nprocess = {process:?}\n");
        ground.site.drop_in("named", &format!("[[policy.rule]]\n{rule}"));
        ground.site.ask(&["check"])
    };
    let refused = rule(true, "sh");
    println!("exit {:?}: {}", refused.code, refused.stderr);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("/sh\""), "no path in: {}", refused.stderr);
    assert!(refused.stderr.contains("named.toml"), "no file in: {}", refused.stderr);
    // Who forbids a name forbids it to all that claim it.
    assert_eq!(rule(false, "sh").code, Some(0));
    assert_eq!(rule(true, "/bin/sh").code, Some(0));
}

#[test]
fn a_rule_that_comes_with_a_reload_is_met_by_the_flow_that_lives() {
    let ground = Ground::new();
    let own = ground.programs.copy("own/works");
    let link = ground.programs.path("own/link");
    std::os::unix::fs::symlink("works", &link).expect("a symlink");
    let mut command = ground.site.command(&["run"]);
    let daemon = ground.site.start_as(ground.lab.host.admit(&mut command));
    let mut works = ground.start(&own, "udp sendto 203.0.113.10:9 hold sendto 203.0.113.10:9 hold");
    works.holding();
    assert_eq!(text(&ground.told("203.0.113.10:9"), "/geofenced/verdict"), "unapproved");
    ground.allow("works", &link);
    daemon.signal(Signal::HUP);
    let reloads = || {
        ground.site.metrics().sum("geofenced_config_reloads_total", &[("result", "success")]) > 0.5
    };
    assert!(harness::eventually(|| reloads().then_some(())).is_some(), "{}", ground.site.log());
    works.send();
    works.holding();
    let met = harness::eventually(|| {
        let record = ground.told("203.0.113.10:9");
        (text(&record, "/geofenced/verdict_now") == "approved").then_some(record)
    });
    let last = ground.told("203.0.113.10:9");
    let record = met.unwrap_or_else(|| panic!("the rule is for the file of {last}"));
    // What was in violation before the rule stays so.
    assert_eq!(text(&record, "/geofenced/verdict"), "unapproved", "{record}");
    works.send();
    works.end();
    assert_eq!(daemon.stop(), Some(0), "{}", ground.site.log());
}
