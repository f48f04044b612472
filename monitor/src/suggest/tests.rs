//! What makes a rule, how narrow it is, and what makes none.

use super::*;
use crate::{
    config::Config,
    ecs::tests::full_record,
    event::{Domain, DomainSource, Operator, Process, Sender},
};

/// Of the host's own /usr/bin/curl, to the US, by nobody's rule.
pub(super) fn flow(change: impl FnOnce(&mut Record, &mut Process)) -> Record {
    let mut record = full_record();
    record.egress.phase = Phase::Sent;
    record.egress.passage.is_malformed = false;
    record.egress.origin = Origin::Process;
    record.judgement.reason = Reason::Country;
    record.judgement.verdict = Verdict::Unapproved;
    (record.place.via, record.place.domain) = (None, None);
    record.place.country = Country::Known(CountryCode::new("US").unwrap());
    let operator = record.place.operator.as_deref().unwrap().clone();
    record.place.operator = Some(Arc::new(Operator { is_anycast: false, ..operator }));
    let mut process = record.sender.process().unwrap().clone();
    process.executable = Some("/usr/bin/curl".into());
    process.executable_claimed = None;
    process.file.is_hosts = true;
    (process.container, process.unit) = (None, None);
    change(&mut record, &mut process);
    if let Sender::Process { process: of, .. } = &mut record.sender {
        *of = Arc::new(process);
    }
    record
}

fn policy_of(records: &[Record]) -> String {
    let mut suggestion = Suggestion::default();
    for record in records {
        suggestion.see(record);
    }
    suggestion.policy(&Config::builtin().policy, "a test")
}

fn rules(text: &str) -> usize {
    text.matches("[[policy.rule]]").count()
}

#[test]
fn a_rule_names_program_user_operator_country_port_and_transport() {
    let text = policy_of(&[flow(|_, _| {}), flow(|_, _| {})]);
    assert_eq!(rules(&text), 1, "{text}");
    for part in [
        "process = \"/usr/bin/curl\"",
        "user = ",
        "operator = \"AS",
        "country = [\"US\"]",
        "port = ",
        "transport = \"",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(text.contains("# 2 flows"), "{text}");
    let of_unit = policy_of(&[flow(|_, it| it.unit = Some("backup.service".into()))]);
    assert!(
        of_unit.contains("unit = \"backup.service\"") && !of_unit.contains("user = "),
        "{of_unit}"
    );
}

#[test]
fn what_is_only_claimed_or_nobodys_makes_no_rule_and_is_told() {
    let claimed = flow(|_, it| {
        (it.executable, it.executable_claimed) = (None, Some("/usr/bin/evil\n[x]".into()));
    });
    let elsewhere = flow(|_, it| it.file = crate::event::ExecutedFile::default());
    let nobodys = {
        let mut record = flow(|_, _| {});
        record.sender = Sender::Nobody;
        record
    };
    let forbidden = flow(|it, _| it.judgement.reason = Reason::Rule("no".into()));
    let text = policy_of(&[claimed, elsewhere, nobodys, forbidden]);
    assert_eq!(rules(&text), 0, "{text}");
    assert!(text.contains("# 2 flows made no rule: of their program is known only"), "{text}");
    assert!(text.contains("# 1 flows made no rule: no process"), "{text}");
    assert!(text.contains("# 1 flows made no rule: a rule of the policy"), "{text}");
    // No text of others ends a comment.
    assert!(text.lines().all(|line| line != "[x]"), "{text}");
}

#[test]
fn a_rule_for_an_interpreter_says_what_it_ran() {
    let runs = |script: &str| {
        flow(|_, it| {
            it.executable = Some("/usr/bin/python3.11".into());
            it.command_line = Some(format!("python3 {script}").into());
        })
    };
    let text = policy_of(&[runs("/opt/b.py"), runs("/opt/a\u{1b}[2J\n[x].py"), runs("/opt/b.py")]);
    assert_eq!(rules(&text), 1, "{text}");
    let line = text.lines().find(|it| it.starts_with("# It says that it ran: "));
    assert!(line.is_some_and(|it| it.ends_with(", /opt/b.py")), "{text}");
    assert!(!text.contains('\u{1b}') && text.lines().all(|it| it != "[x].py"), "{text}");
    let many: Vec<Record> = (0..9).map(|it| runs(&format!("/opt/{it}.py"))).collect();
    assert!(policy_of(&many).contains("/opt/4.py, and more\n"));
    assert!(!policy_of(&[flow(|_, _| {})]).contains("It says"));
}

#[test]
fn what_was_only_tried_or_stays_local_needs_no_rule() {
    let attempt = flow(|it, _| it.egress.phase = Phase::Attempt);
    let local = flow(|it, _| it.place.country = Country::Local);
    let text = policy_of(&[attempt, local]);
    assert_eq!((rules(&text), text.contains("made no rule")), (0, false), "{text}");
}

#[test]
fn without_a_number_of_the_operator_a_rule_names_the_address() {
    let text = policy_of(&[flow(|it, _| it.place.operator = None)]);
    assert!(text.contains("destination = \"") && !text.contains("operator = "), "{text}");
}

#[test]
fn only_names_of_trusted_resolvers_are_told_and_none_is_a_selector() {
    let named = |name: &str, is_trusted| {
        let name = name.into();
        flow(|it, _| it.place.domain = Some(Domain { name, source: DomainSource::Dns, is_trusted }))
    };
    let text = policy_of(&[named("good.example", true), named("claimed.example", false)]);
    assert!(text.contains("# By name: good.example\n"), "{text}");
    assert!(!text.contains("claimed.example") && !text.contains("destination ="), "{text}");
}

#[test]
fn many_ports_and_the_other_ends_choice_are_no_port() {
    let to = |port: u16| flow(|it, _| it.egress.remote.as_mut().unwrap().set_port(port));
    let few: Vec<Record> = (1..=8).map(to).collect();
    assert_eq!(rules(&policy_of(&few)), 8);
    let many: Vec<Record> = (1..=40).map(to).collect();
    let text = policy_of(&many);
    assert_eq!((rules(&text), text.contains("\nport = ")), (1, false), "{text}");
    assert!(text.contains("# 40 flows"), "{text}");
    let answers = policy_of(&[flow(|it, _| it.egress.origin = Origin::Accepted)]);
    assert_eq!((rules(&answers), answers.contains("\nport = ")), (1, false), "{answers}");
}

#[test]
fn whatever_a_program_is_called_the_policy_is_one_and_its_rules_have_names() {
    let hostile =
        ["/opt/a\"b", "/opt/a\nb = 1", "/opt/'''", "/opt/\u{202e}x", "/opt/A B", "/opt/\u{fc}"];
    let long = format!("/opt/{}", "x".repeat(300));
    let paths = hostile.into_iter().chain([long.as_str()]);
    let records: Vec<Record> =
        paths.map(|path| flow(|_, it| it.executable = Some(path.into()))).collect();
    let text = policy_of(&records);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    std::fs::write(&path, &text).unwrap();
    let read = Config::load(&path).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(read.policy.rules.len(), records.len(), "{text}");
    for record in &records {
        let judged =
            crate::judge::judge(&read.policy, &record.egress, &record.sender, &record.place);
        assert_eq!(judged.verdict, Verdict::Approved, "{text}");
    }
    // Another user, another place, another port.
    let other = flow(|_, it| it.user.id += 1);
    let elsewhere =
        flow(|it, _| it.place.country = Country::Known(CountryCode::new("CN").unwrap()));
    for record in [other, elsewhere] {
        let judged =
            crate::judge::judge(&read.policy, &record.egress, &record.sender, &record.place);
        assert_eq!(judged.verdict, Verdict::Unapproved);
    }
}
