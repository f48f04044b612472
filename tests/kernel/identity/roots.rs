//! A rule that names a path means the host's file: what an unprivileged user shows at that path, in
//! a mount namespace or a root of its own, is not allowed by it.

use harness::{Programs, text};

use crate::ground::{Ground, tally};

const RUNS: usize = 40;
/// An unprivileged user.
const USER: &str = "uid 1001";

/// What these words start `own` by, `{own}` at the place of `{allowed}`: once for long, so that it can
/// be looked at, and in short runs.
fn assert_not_approved(make: impl FnOnce(&Programs, &str, &str) -> String) {
    let ground = Ground::new();
    let allowed = ground.programs.copy("allowed/curl");
    let own = ground.programs.copy("own/curl");
    ground.allow("curl", &allowed);
    let words = make(&ground.programs, &allowed, &own);
    ground.watched(|| {
        let mut long = ground.start(&own, &format!("{words} udp sendto 203.0.113.11:9 hold"));
        long.holding();
        let record = ground.told("203.0.113.11:9");
        long.send();
        long.end();
        let runs =
            ground.spawn(&own, "", RUNS, "203.0.113.10", &format!("{words} udp sendto {{to}}"));
        let told = tally(&runs, &ground.told_at("203.0.113.10", RUNS), |_| String::new());
        let verdict = text(&record, "/geofenced/verdict");
        println!("{words}: one that runs long {verdict}; {} of {RUNS} approved", told.approved);
        assert_eq!(verdict, "unapproved", "{record}");
        assert_eq!(told.approved, 0, "{told:?}");

        // Who is allowed still is, for that user, too.
        let words = format!("{USER} exec {allowed} udp sendto {{to}}");
        let runs = ground.spawn(&allowed, "", RUNS, "203.0.113.12", &words);
        let told = tally(&runs, &ground.told_at("203.0.113.12", RUNS), |_| allowed.clone());
        assert_eq!(told.approved, RUNS, "the allowed program itself: {told:?}");
    });
}

#[test]
fn a_program_that_is_mounted_over_an_allowed_one_is_not_approved_by_its_rule() {
    assert_not_approved(|_, allowed, own| {
        format!("{USER} own-namespaces bind {own} {allowed} exec {allowed}")
    });
}

#[test]
fn a_program_at_an_allowed_path_in_a_root_that_was_mounted_is_not_approved_by_its_rule() {
    assert_not_approved(|programs, allowed, own| {
        let root = programs.directory("mounted");
        let mount = format!("bind / {root} bind {own} {root}{allowed}");
        format!("{USER} own-namespaces {mount} chroot {root} exec {allowed}")
    });
}

#[test]
fn a_program_at_an_allowed_path_in_a_root_of_its_own_is_not_approved_by_its_rule() {
    assert_not_approved(|programs, allowed, own| {
        let root = programs.root("root", own, allowed);
        format!("{USER} own-namespaces chroot {root} exec {allowed}")
    });
}
