//! `geofenced suggest` as a process: what it writes is checked and replayed by the others.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    sync::Arc,
};

use geofenced::inside::{
    config::Config,
    event::{
        Country, CountryCode, Entry, ExecutedFile, Phase, Process, Provenance, Record, Sender,
        Verdict,
    },
    store::Store,
};
use tempfile::TempDir;

use crate::{records::violation, rig::geofenced};

/// Of the host's own file, under a policy that only learned.
fn learned(number: u64, change: impl FnOnce(&mut Record, &mut Process)) -> Record {
    let mut record = violation(number);
    let mut process = record.sender.process().unwrap().clone();
    process.file = ExecutedFile { is_hosts: true, ..ExecutedFile::default() };
    record.provenance = Some(Arc::new(Provenance {
        policy_sha256: [1; 32],
        is_learning: true,
        databases: vec![],
        host: None,
    }));
    change(&mut record, &mut process);
    if let Sender::Process { process: of, .. } = &mut record.sender {
        *of = Arc::new(process);
    }
    record
}

fn to(country: &str, port: u16) -> impl Fn(&mut Record) {
    let code = CountryCode::new(country).unwrap();
    move |record| {
        record.place.country = Country::Known(code);
        record.egress.remote.as_mut().unwrap().set_port(port);
    }
}

/// Beside what was learned a store of what came after.
struct Host {
    folder: TempDir,
}

impl Host {
    fn of(records: &[Record]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let host = Self { folder };
        host.store("learned", records);
        host
    }

    fn store(&self, name: &str, records: &[Record]) {
        let mut config = Config::builtin();
        config.store.path = self.folder.path().join(name);
        let mut store = Store::open(&config.store).unwrap();
        for record in records {
            store.append(&Entry::Flow(record.clone())).unwrap();
        }
        store.close().unwrap();
        let text = format!("[store]\npath = \"{}\"\n", config.store.path.display());
        fs::write(self.folder.path().join(format!("{name}.toml")), text).unwrap();
    }

    fn run(&self, of: &str, words: &[&str]) -> Output {
        let mut command: Command = geofenced(words);
        let config = self.folder.path().join(of);
        command.current_dir(self.folder.path()).arg("--config").arg(config).output().unwrap()
    }

    fn policy(&self) -> String {
        let output = self.run("learned.toml", &["suggest", "--since", "2027-01-01T00:00:00Z"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        fs::write(self.folder.path().join("policy.toml"), &text).unwrap();
        text
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

const REPLAY: [&str; 6] =
    ["replay", "--policy", "policy.toml", "--since", "2027-01-01T00:00:00Z", "--fail-on-violation"];

#[test]
fn what_was_seen_is_no_violation_of_the_policy_that_is_suggested_and_what_is_outside_of_it_is() {
    let learned = |number, to: &dyn Fn(&mut Record)| learned(number, |it, _| to(it));
    let seen: Vec<Record> = (0..40)
        .map(|number| match number % 3 {
            0 => learned(number, &to("CN", 443)),
            1 => learned(number, &to("RU", 443)),
            _ => learned(number, &to("US", 123)),
        })
        .collect();
    let host = Host::of(&seen);
    // Before: all of them.
    let before = host.run("learned.toml", &["replay", "--since", "2027-01-01T00:00:00Z"]);
    assert!(said(&before).contains("In violation of it are 40."), "{}", said(&before));

    let policy = host.policy();
    assert!(Path::new(&host.folder.path().join("policy.toml")).exists());
    assert_eq!(policy.matches("[[policy.rule]]").count(), 2, "{policy}");
    for line in [
        "process = \"/usr/bin/curl\"",
        "country = [\"CN\", \"RU\"]",
        "operator = \"AS64500\"",
        "# 27 flows, ",
        "# 13 flows, ",
    ] {
        assert!(policy.contains(line), "{line} is not in\n{policy}");
    }
    let check = host.run("policy.toml", &["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));
    assert!(said(&check).contains("No country is approved"), "{}", said(&check));

    let after = host.run("learned.toml", &REPLAY);
    assert_eq!(after.status.code(), Some(0), "{}", said(&after));
    assert!(said(&after).contains("In violation of it are 0."), "{}", said(&after));

    // Another port, another program, another country, another user.
    let outside = [
        learned(50, &to("CN", 8443)),
        self::learned(51, |_, it| it.executable = Some("/usr/bin/wget".into())),
        learned(52, &to("IR", 443)),
        self::learned(53, |_, it| it.user.id = 0),
    ];
    host.store("later", &outside);
    let later = host.run("later.toml", &REPLAY);
    assert_eq!(later.status.code(), Some(3), "{}", said(&later));
    assert!(said(&later).contains("In violation of it are 4."), "{}", said(&later));
}

#[test]
fn a_claim_and_an_attempt_make_no_rule_and_the_claim_stays_a_violation() {
    let claimed = learned(1, |_, it| {
        it.file = ExecutedFile::default();
        (it.executable, it.executable_claimed) = (None, Some("/usr/bin/curl".into()));
    });
    let attempt = learned(2, |it, _| it.egress.phase = Phase::Attempt);
    let approved = learned(3, |it, _| it.judgement.verdict = Verdict::Approved);
    let host = Host::of(&[claimed, attempt, approved]);
    let policy = host.policy();
    assert_eq!(policy.matches("[[policy.rule]]").count(), 1, "{policy}");
    assert!(policy.contains("# 1 flows made no rule: of their program is known only"), "{policy}");
    assert!(policy.contains("claimed:/usr/bin/curl"), "{policy}");
    let after = host.run("learned.toml", &REPLAY);
    assert_eq!(after.status.code(), Some(3), "{}", said(&after));
    assert!(said(&after).contains("In violation of it are 1."), "{}", said(&after));
}

#[test]
fn a_policy_has_no_other_form_and_nothing_seen_allows_nothing() {
    let host = Host::of(&[]);
    let refused = host.run("learned.toml", &["suggest", "-o", "json"]);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    let policy = host.policy();
    assert!(policy.contains("approved_countries = []") && !policy.contains("[[policy.rule]]"));
    let check = host.run("policy.toml", &["check"]);
    assert_eq!(check.status.code(), Some(0), "{}", said(&check));
}
