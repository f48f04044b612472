//! What is proof for a rule that allows, what is suspicion for one that forbids, and what a query
//! finds.

use super::*;
use crate::event::{ExecutedFile, User};

const CURL: &str = "/usr/bin/curl";
const ID: &str = "4f2c1e0d9b8a7f6e5d4c3b2a190817263544536271809fae0d1c2b3a49586776";

/// The host's curl.
fn curl() -> Process {
    Process {
        pid: 7,
        name: "curl".into(),
        executable: Some(CURL.into()),
        executable_claimed: None,
        file: ExecutedFile { is_hosts: true, ..ExecutedFile::default() },
        command_line: None,
        started_at: None,
        parents: Vec::new(),
        user: User { id: 1000, name: None },
        unit: Some("sync.service".into()),
        container: None,
        cgroup: Some("/system.slice/sync.service".into()),
        netns: None,
    }
}

fn file(path: &str) -> ProgramSelector {
    ProgramSelector::parse(path).unwrap()
}

fn unknown(claim: &str) -> Process {
    Process {
        executable: None,
        executable_claimed: Some(claim.into()),
        file: ExecutedFile::default(),
        ..curl()
    }
}

#[test]
fn a_path_allows_the_hosts_file_and_no_other_that_shows_this_path() {
    assert!(file(CURL).allows(&curl(), false));
    let elsewhere = Process { file: ExecutedFile::default(), ..curl() };
    assert!(!file(CURL).allows(&elsewhere, false));
    assert!(!file(CURL).allows(&elsewhere, true), "what is known is no claim");
    let other = Process { executable: Some("/tmp/curl".into()), ..curl() };
    assert!(!file(CURL).allows(&other, true));
}

#[test]
fn a_path_allows_a_file_that_is_called_otherwise_if_it_leads_there() {
    let known_as: Arc<[Arc<str>]> = vec!["/usr/bin/python3".into()].into();
    let process = Process {
        executable: Some("/usr/bin/python3.13".into()),
        file: ExecutedFile { known_as: Some(known_as), ..curl().file },
        ..curl()
    };
    assert!(file("/usr/bin/python3").allows(&process, false));
    assert!(!file(CURL).allows(&process, false));
    // Of a stored record, links are followed by path.
    let stored = Process { file: curl().file, ..process };
    assert!(!file("/usr/bin/python3").allows(&stored, false));
    let leads_to = Some("/usr/bin/python3.13".into());
    let followed = ProgramSelector::File { path: "/usr/bin/python3".into(), leads_to };
    assert!(followed.allows(&stored, false) && followed.forbids(&stored));
    let elsewhere = Process { file: ExecutedFile::default(), ..stored };
    assert!(!followed.allows(&elsewhere, false));
}

#[test]
fn no_claim_allows_but_where_the_policy_trusts_claims_and_nothing_is_known() {
    assert!(!file(CURL).allows(&unknown(CURL), false));
    assert!(file(CURL).allows(&unknown(CURL), true));
    assert!(!file(CURL).allows(&unknown("curl"), true));
    assert!(!file(CURL).allows(&unknown("./curl"), true));
    let executable = Some("/tmp/evil".into());
    let known = Process { executable, executable_claimed: Some(CURL.into()), ..curl() };
    assert!(!file(CURL).allows(&known, true));
}

#[test]
fn a_name_allows_nothing() {
    let name = file("curl");
    assert!(!name.allows(&curl(), true));
    assert!(name.forbids(&curl()));
}

#[test]
fn a_path_forbids_whatever_may_be_it() {
    let elsewhere = Process { file: ExecutedFile::default(), ..curl() };
    let known_as: Arc<[Arc<str>]> = vec![CURL.into()].into();
    let linked = Process {
        executable: Some("/opt/c".into()),
        file: ExecutedFile { known_as: Some(known_as), ..ExecutedFile::default() },
        ..curl()
    };
    for process in [curl(), elsewhere, linked, unknown(CURL), unknown("./curl"), unknown("curl")] {
        assert!(file(CURL).forbids(&process), "{process:?}");
    }
    for process in [unknown("/tmp/curl"), unknown("./wget")] {
        assert!(!file(CURL).forbids(&process), "{process:?}");
    }
}

#[test]
fn a_name_forbids_by_what_the_process_calls_itself_and_by_its_file() {
    let renamed = Process { name: "innocent".into(), ..curl() };
    let posing = Process { executable: Some("/tmp/x".into()), ..curl() };
    let claimed = Process { name: "x".into(), ..unknown("/opt/curl") };
    for process in [renamed, posing, claimed] {
        assert!(file("curl").forbids(&process), "{process:?}");
    }
    assert!(!file("wget").forbids(&curl()));
}

#[test]
fn a_query_finds_programs_by_what_they_are_and_by_what_they_claim() {
    let query = |text| ProcessSelector::parse(text).unwrap();
    assert!(query(CURL).finds(&curl()) && query("curl").finds(&curl()));
    assert!(query(CURL).finds(&unknown(CURL)));
    let claimed = Process { name: "x".into(), ..unknown("/opt/curl") };
    assert!(query("curl").finds(&claimed) && !query(CURL).finds(&claimed));
    assert_eq!(claimed.program().as_ref(), "claimed:/opt/curl");
    assert!(query(&claimed.program()).finds(&claimed));
    assert_eq!(curl().program().as_ref(), CURL);
}

#[test]
fn a_rules_program_is_one_path_or_a_name() {
    for wrong in [
        "",
        "bin/curl",
        "./curl",
        "/usr/bin/*",
        "cur?",
        "/opt/[ab]",
        "/usr//bin/curl",
        "/bin/../x",
        "/bin/",
        "/",
    ] {
        assert!(ProgramSelector::parse(wrong).is_err(), "{wrong}");
    }
    assert_eq!(file("/usr/bin/[").path().map(AsRef::as_ref), Some("/usr/bin/["));
    assert_eq!(file("curl").path(), None);
}

#[test]
fn a_unit_allows_itself_and_forbids_what_it_makes_below_itself() {
    let unit = |text| UnitSelector::parse(text).unwrap();
    assert!(unit("sync").allows(&curl()) && unit("sync").forbids(&curl()));
    let hidden = Process {
        unit: None,
        container: Some(ID.into()),
        cgroup: Some(format!("/system.slice/sync.service/docker-{ID}.scope").into()),
        ..curl()
    };
    assert!(!unit("sync").allows(&hidden) && unit("sync").forbids(&hidden));
    let users = Process {
        unit: Some("user:1000/sync.service".into()),
        cgroup: Some("/user.slice/user-1000.slice/user@1000.service/sync.service".into()),
        ..curl()
    };
    assert!(!unit("sync").allows(&users), "a user's unit is not the host's");
    assert!(unit("user:1000/sync").allows(&users) && unit("user:1000/sync").forbids(&users));
    assert!(unit("sync").forbids(&users) && unit("sync").finds(&users));
    assert!(!unit("other").forbids(&users) && !unit("user:1001/sync").forbids(&users));
    assert!(!unit("user:1000/sync").forbids(&curl()), "the host's is not a user's");
}

fn contained(cgroup: &str, unit: Option<&str>) -> Process {
    let (cgroup, unit) = (Some(cgroup.replace("ID", ID).into()), unit.map(Into::into));
    Process { cgroup, unit, container: Some(ID.into()), ..curl() }
}

#[test]
fn a_container_is_named_by_its_id_the_beginning_of_it_or_its_name() {
    let selector = |text| ContainerSelector::parse(text).unwrap();
    let process = contained("/system.slice/docker-ID.scope", None);
    assert!(selector(ID).allows(&process, false));
    assert!(selector(&ID[..12]).allows(&process, false));
    assert!(!selector(&ID[..11]).allows(&process, false));
    assert!(!selector("web").allows(&process, false) && !selector("web").forbids(&process));
    let named = Process { container: Some("web".into()), ..contained("/lxc.payload.web", None) };
    assert!(selector("web").allows(&named, false) && !selector("we").allows(&named, false));
    let nspawn = contained("/machine.slice/systemd-nspawn@web.service/payload", None);
    let nspawn = Process { container: Some("web".into()), ..nspawn };
    assert!(selector("web").allows(&nspawn, false) && !ContainerSelector::None.forbids(&nspawn));
    for wrong in ["a b", "a/b", "web*"] {
        assert!(ContainerSelector::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_container_within_a_service_is_believed_only_with_that_service() {
    let selector = ContainerSelector::parse(ID).unwrap();
    let quadlet = contained("/system.slice/web.service/libpod-payload-ID", Some("web.service"));
    let made_up = contained("/system.slice/web.service/docker-ID.scope", None);
    let users = contained("/user.slice/user-1.slice/user@1.service/docker-ID.scope", None);
    for process in [&quadlet, &made_up, &users] {
        assert!(!selector.allows(process, false) && selector.forbids(process), "{process:?}");
        assert!(ContainerSelector::None.forbids(process), "{process:?}");
    }
    assert!(selector.allows(&quadlet, true));
    assert!(!selector.allows(&made_up, true));
}

#[test]
fn the_host_itself_is_only_what_surely_is_no_container() {
    let none = ContainerSelector::parse("").unwrap();
    let on =
        |cgroup: &str, unit: Option<&str>| Process { container: None, ..contained(cgroup, unit) };
    assert!(none.allows(&curl(), false) && none.allows(&on("/", None), false));
    assert!(
        none.allows(
            &on("/user.slice/user-1.slice/session-1.scope", Some("session-1.scope")),
            false
        )
    );
    let odd = on("/example/redis", None);
    assert!(!none.allows(&odd, false) && none.forbids(&odd));
    let docker = contained("/system.slice/docker-ID.scope", None);
    assert!(!none.allows(&docker, false) && !none.forbids(&docker));
    let unknown = Process { cgroup: None, unit: None, ..curl() };
    assert!(!none.allows(&unknown, false) && none.forbids(&unknown));
}

#[test]
fn a_hash_is_64_digits() {
    assert_eq!(parse_sha256(&"aB".repeat(32)), Ok([0xab; 32]));
    for wrong in ["", "ab", &"g".repeat(64), &"a".repeat(63), &"é".repeat(32)] {
        assert!(parse_sha256(wrong).is_err(), "{wrong}");
    }
}
