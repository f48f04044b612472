//! Whether the machine was what was asked for, and whether doctor's verdict is what then happened on it: a tier
//! that is better than what the daemon saw is a failure, and so is one that is worse. Pure.

use serde_json::Value;

use super::{
    checks::{self, Check, Subject},
    machine::{Machine, Trait},
    transcript::{Section, Transcript},
};

/// What a short course is judged by; of a whole one, what every other check leaves out.
pub(super) fn all(machine: &Machine, said: &Transcript) -> Vec<Check> {
    let own = [
        ("the machine that was asked for", is_asked_for(machine, said)),
        ("doctor agrees with what was seen", agrees(machine, said)),
    ];
    let own = own.map(|(name, outcome)| Check {
        subject: Subject::Daemon,
        name: name.into(),
        outcome,
        limit: None,
    });
    let mut checks = own.to_vec();
    if !machine.has(Trait::CgroupV1) {
        checks.extend(checks::all(said, machine.is_plain()));
    }
    checks
}

/// A trait that took no effect would be green for nothing.
fn is_asked_for(machine: &Machine, said: &Transcript) -> Result<(), String> {
    let section = said.section("machine").ok_or("the guest does not say what it is")?;
    let has = |text: &str| section.lines.iter().any(|line| line == text);
    let has_btf = if machine.has(Trait::NoBtf) { "btf no" } else { "btf yes" };
    let cgroups = match () {
        () if machine.has(Trait::CgroupV1) => "cgroup v1 yes v2 no",
        () if machine.has(Trait::Hybrid) => "cgroup v1 yes v2 yes",
        () => "cgroup v1 no v2 yes",
    };
    let locked = if machine.has(Trait::Lockdown) { "lockdown yes" } else { "lockdown no" };
    let page = format!("page {}", machine.flavour.page_size());
    for expected in [&*page, cgroups, locked] {
        if !has(expected) {
            return Err(format!("not \"{expected}\": {}", section.lines.join(", ")));
        }
    }
    // Debian's 5.10 for clouds has none to hide.
    if has(has_btf) || (has("btf no") && !machine.has(Trait::NoBtf)) {
        return Ok(());
    }
    Err(format!("not \"{has_btf}\": {}", section.lines.join(", ")))
}

fn agrees(machine: &Machine, said: &Transcript) -> Result<(), String> {
    let doctor = said.section("doctor").ok_or("doctor said nothing")?;
    let report = doctor.json().next().ok_or("doctor told no JSON")?;
    let tier = report["tier"].as_str().unwrap_or_default();
    if machine.has(Trait::CgroupV1) {
        return refused(doctor, &report, said.section("refused"));
    }
    if !matches!(tier, "full" | "degraded") || doctor.status != Some(0) {
        return Err(format!("doctor says {tier}, exit code {:?}", doctor.status));
    }
    let status = said.section("status").and_then(|it| it.json().next()).unwrap_or_default();
    if status["tier"] != tier {
        return Err(format!("doctor says {tier}, the daemon {}", status["tier"]));
    }
    for (name, is_attached) in checks::attached(said) {
        let check = named(&report, &name).ok_or_else(|| format!("doctor leaves out {name}"))?;
        let is_promised = promises(check);
        if is_promised != is_attached {
            return Err(format!("{name} attached: {is_attached}; doctor: {check}"));
        }
    }
    let executables = named(&report, "executables").ok_or("doctor leaves out executables")?;
    let has_btf =
        said.section("machine").is_some_and(|it| it.lines.iter().any(|it| it == "btf yes"));
    let is_locked = machine.has(Trait::Lockdown);
    if (executables["state"] == "ok") != (has_btf && !is_locked) {
        return Err(format!("btf: {has_btf}, lockdown: {is_locked}; doctor: {executables}"));
    }
    let unseen = report["unseen"].as_array().map_or(0, Vec::len);
    let lost = checks_of(&report).filter(|it| it["lost"] != "").count();
    if unseen == 0 || (lost > 0 && unseen < 2) {
        return Err(format!("{lost} checks lost something, told are {unseen}"));
    }
    Ok(())
}

/// Whether doctor says that a probe holds: as well as can be, or by a program that is not the best one.
fn promises(check: &Value) -> bool {
    let found = check["found"].as_str().unwrap_or_default();
    check["state"] == "ok" || found.contains("; this kernel refused ")
}

/// Where nothing can be watched both say so, with the same exit code and the same reason.
fn refused(doctor: &Section, report: &Value, run: Option<&Section>) -> Result<(), String> {
    let run = run.ok_or("the daemon was not tried")?;
    if (doctor.status, run.status) != (Some(5), Some(5)) || report["tier"] != "none" {
        let tier = &report["tier"];
        return Err(format!("doctor: {tier}, {:?}; the daemon: {:?}", doctor.status, run.status));
    }
    let found = named(report, "cgroup2").map(|it| it["found"].to_string()).unwrap_or_default();
    let told = run.stderr.join(" ");
    if found.contains("no cgroup2 hierarchy") && told.contains("no cgroup2 hierarchy") {
        return Ok(());
    }
    Err(format!("doctor: {found}; the daemon: {told}"))
}

fn checks_of(report: &Value) -> impl Iterator<Item = &Value> {
    report["checks"].as_array().into_iter().flatten()
}

fn named<'r>(report: &'r Value, name: &str) -> Option<&'r Value> {
    checks_of(report).find(|it| it["check"] == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str =
        "begin machine\npage 4 kB\nbtf yes\ncgroup v1 no v2 yes\nlockdown no\nend machine 0\n";

    fn said(tier: &str, state: &str, attached: u8) -> String {
        format!(
            "{MACHINE}begin doctor\n{{\"tier\":\"{tier}\",\"unseen\":[\"x\",\"y\"],\"checks\":[\
             {{\"check\":\"connect4\",\"state\":\"{state}\",\"found\":\"\",\"lost\":\"\"}},\
             {{\"check\":\"executables\",\"state\":\"ok\",\"found\":\"\",\"lost\":\"\"}}]}}\nend doctor 0\n\
             begin metrics\ngeofenced_probe_attached{{probe=\"connect4\"}} {attached}\nend metrics 0\n\
             begin status\n{{\"tier\":\"{tier}\"}}\nend status 0\n"
        )
    }

    fn told(machine: &str, text: &str) -> (Result<(), String>, Result<(), String>) {
        let (machine, said) = (machine.parse().unwrap(), Transcript::parse(text));
        (is_asked_for(&machine, &said), agrees(&machine, &said))
    }

    #[test]
    fn a_verdict_that_is_not_what_was_seen_fails_either_way() {
        assert_eq!(told("6.12", &said("full", "ok", 1)), (Ok(()), Ok(())));
        assert!(told("6.12", &said("full", "ok", 0)).1.is_err(), "better than it is");
        assert!(told("6.12", &said("degraded", "degraded", 1)).1.is_err(), "worse than it is");
        assert!(told("6.12", &said("none", "ok", 1)).1.is_err());
        let other = said("full", "ok", 1).replacen("\"tier\":\"full\"", "\"tier\":\"degraded\"", 1);
        assert!(told("6.12", &other).1.is_err(), "the daemon says otherwise");
    }

    #[test]
    fn a_guest_that_says_nothing_or_is_another_than_was_asked_for_fails() {
        assert!(told("6.12", "").0.is_err() && told("6.12", "").1.is_err());
        let plain = said("full", "ok", 1);
        for machine in ["6.12+no-btf", "6.12+hybrid", "6.12+lockdown", "arm64-16k:6.12"] {
            assert!(told(machine, &plain).0.is_err(), "{machine}");
        }
        let hidden = plain.replace("btf yes", "btf no");
        assert_eq!(told("6.12+no-btf", &hidden).0, Ok(()));
        assert!(told("6.12+no-btf", &hidden).1.is_err(), "doctor says that it reads executables");
    }

    #[test]
    fn without_cgroup2_both_must_refuse_for_that_reason() {
        let text = |doctor: u8, run: u8| {
            format!(
                "begin doctor\n{{\"tier\":\"none\",\"checks\":[{{\"check\":\"cgroup2\",\"found\":\"no cgroup2 hierarchy\"}}]}}\n\
                 end doctor {doctor}\nbegin refused\nstderr: no cgroup2 hierarchy is mounted\nend refused {run}\n"
            )
        };
        assert_eq!(told("6.1+cgroup-v1", &text(5, 5)).1, Ok(()));
        for (doctor, run) in [(0, 5), (5, 0), (5, 1)] {
            assert!(told("6.1+cgroup-v1", &text(doctor, run)).1.is_err());
        }
    }
}
