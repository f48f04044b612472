//! What the daemon writes to stderr, over a recording: violations, priorities, JSON.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::replay::{one_datagram, replay};

/// Each line that the daemon writes over one datagram to CN, with this behind its configuration.
fn lines(config: &str) -> Vec<String> {
    let ran = replay(&TempDir::new().unwrap(), &one_datagram(), "", config);
    ran.lines().map(ToOwned::to_owned).collect()
}

fn having<'a>(lines: &'a [String], what: &str) -> Vec<&'a String> {
    lines.iter().filter(|line| line.contains(what)).collect()
}

#[test]
fn a_violation_has_a_line_and_so_have_what_is_approved_and_the_end() {
    let lines = lines("");
    let violations = having(&lines, "violation: ");
    assert_eq!(violations.len(), 1, "{lines:#?}");
    for part in [" WARN ", "/opt/uplink (pid 4711, user ", "sent to 203.0.113.7:5000 by udp in CN"]
    {
        assert!(violations[0].contains(part), "{part}: {lines:#?}");
    }
    let approved =
        having(&lines, "Data may go to US (United States), and to no other country. Policy ");
    assert_eq!(approved.len(), 1, "{lines:#?}");
    let stopped = having(&lines, "stopped after ");
    assert!(stopped[0].ends_with(": 1 flow seen, 1 violation, 0 events lost"), "{lines:#?}");
    assert_eq!(having(&lines, "nothing is approved").len(), 0);
}

#[test]
fn no_violation_has_a_line_where_none_is_wanted() {
    let lines = lines("[log]\nviolations = \"off\"\n");
    assert_eq!(having(&lines, "violation: ").len(), 0, "{lines:#?}");
    assert_eq!(having(&lines, " 1 violation").len(), 1, "{lines:#?}");
}

#[test]
fn lines_of_json_are_objects_and_a_violation_is_the_whole_record() {
    let lines = lines("[log]\nformat = \"json\"\n");
    let read: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let is_violation =
        |it: &&Value| it["message"].as_str().is_some_and(|it| it.starts_with("violation: "));
    let violations: Vec<_> = read.iter().filter(is_violation).collect();
    assert_eq!(violations.len(), 1, "{lines:#?}");
    let violation = violations[0];
    assert_eq!(violation["log.level"], "warn");
    assert_eq!(violation["process"]["executable"], "/opt/uplink");
    assert_eq!(violation["destination"]["geo"]["country_iso_code"], "CN");
    assert_eq!(violation["geofenced"]["reason"], "country");
    for line in &read {
        assert!(line["@timestamp"].is_string() && line["log.level"].is_string(), "{line}");
    }
}

/// stderr of a start that fails, said to be the journal's: by this variable, and by that of another.
#[test]
fn the_journal_is_told_how_bad_a_line_is_and_nobody_else_is() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("config.toml"), "[log]\nviolation = \"first\"\n").unwrap();
    let ends = |is_journal: bool| {
        let stderr = File::create(path("stderr")).unwrap();
        let it = stderr.metadata().unwrap();
        let inode = if is_journal { it.ino() } else { it.ino() + 1 };
        let status = Command::new(env!("CARGO_BIN_EXE_geofenced"))
            .arg("--config")
            .arg(path("config.toml"))
            .arg("run")
            .env("JOURNAL_STREAM", format!("{}:{inode}", it.dev()))
            .stdin(Stdio::null())
            .stderr(stderr)
            .status();
        assert_eq!(status.unwrap().code(), Some(2));
        fs::read_to_string(path("stderr")).unwrap()
    };
    let told = ends(true);
    assert!(told.starts_with("<3>geofenced: "), "{told}");
    assert!(told.contains("unknown key `log.violation`; did you mean `violations`?"), "{told}");
    assert!(ends(false).starts_with("geofenced: "));
}
