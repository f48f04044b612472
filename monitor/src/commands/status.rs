//! `status`: what the running daemon says of itself.

use std::io::Write;

use super::{Outcome, load, out};
use crate::{
    api::{
        Status,
        client::Client,
        status::{Fill, SelfTestState, Store},
    },
    cli::{Exit, Global, Output},
    config::Mode,
    outputs::live,
    table::{Times, bytes, counted, printable, small, span, styled, verdict_style},
};

pub(super) fn run(global: &Global) -> Outcome {
    let status: Status = Client::new(&load::socket(global)?)?.get("/v1/status", &[(); 0])?;
    let mut out = out::stdout();
    match global.output {
        Output::Json => out::json_line(&mut out, &status)?,
        Output::Csv => {
            out::csv_head(&mut out, ["name", "value"])?;
            for [name, value] in lines(&status, false) {
                out::csv_line(&mut out, [name, value])?;
            }
        }
        Output::Table => {
            let rows = lines(&status, global.color_on_stdout()).into_iter().map(Vec::from);
            out::table(&mut out, &small(&[], rows))?;
        }
    }
    out.flush()?;
    Ok(Exit::Fine)
}

/// Name and value, worst news not hidden at the end.
fn lines(status: &Status, color: bool) -> Vec<[String; 2]> {
    let clock = Times::new(false);
    let good = |text: &str| styled(text, verdict_style("approved"), color);
    let bad = |text: &str| styled(text, verdict_style("unapproved"), color);
    let mut lines = Vec::new();
    let mut add = |name: &str, value: String| lines.push([name.to_owned(), value]);
    let watching = if status.ready { good("watching") } else { bad("not ready") };
    add("state", format!("{watching}, capture tier {}", printable(&status.tier)));
    add(
        "daemon",
        format!(
            "{} ({}), pid {}, up {}",
            status.version,
            status.commit,
            status.pid,
            span(status.uptime)
        ),
    );
    let since = status.coverage_since.map(|since| clock.format(since));
    add("coverage", since.map_or_else(|| bad("none"), |since| format!("since {since}")));
    // Who follows too slowly misses something; the record does not.
    let of_record = status.losses.iter().filter(|loss| loss.stage != live::STAGE);
    let lost: u64 = of_record.map(|loss| loss.count).sum();
    add("lost", if lost == 0 { good("nothing") } else { bad(&lost.to_string()) });
    for loss in status.losses.iter().filter(|loss| loss.count > 0) {
        add("", format!("{} at {}: {}", loss.count, loss.stage, loss.reason));
    }
    for warning in &status.warnings {
        add("warning", bad(&printable(warning)));
    }
    for probe in &status.probes {
        let state = if probe.attached { good("attached") } else { bad("missing") };
        add("probe", format!("{} {state}, {}", probe.name, printable(&probe.detail)));
    }
    for [name, value] in policy_lines(status, color) {
        add(&name, value);
    }
    for database in &status.databases {
        let built = database.built_at.map(|at| clock.format(at)).unwrap_or_default();
        let text = format!("{}: {} {built}", database.label, database.name);
        let text = printable(text.trim_end()).into_owned();
        let is_old = !matches!(database.freshness.as_str(), "" | "fresh");
        let old = is_old.then(|| format!(", {}", bad(&printable(&database.freshness))));
        add("database", text + &old.unwrap_or_default());
    }
    let store = &status.store;
    add("store", store_line(store));
    store.oldest.iter().for_each(|oldest| add("oldest", clock.format(*oldest)));
    if let Some(test) = &status.self_test {
        add("self-test", self_test_line(test, color));
    }
    for [name, value] in evidence_lines(status, color) {
        add(&name, value);
    }
    for [name, value] in clock_lines(status, color) {
        add(&name, value);
    }
    add("flows", format!("{} live", status.flows));
    let fill = |fill: &Fill| format!("{} {} of {}", fill.name, fill.entries, fill.capacity);
    status.queues.iter().for_each(|queue| add("queue", fill(queue)));
    status.maps.iter().for_each(|map| add("map", fill(map)));
    status.details.iter().for_each(|(name, value)| add(name, value.to_string()));
    lines
}

fn policy_lines(status: &Status, color: bool) -> Vec<[String; 2]> {
    let policy = &status.policy;
    let mut lines = Vec::new();
    if policy.mode == Mode::Learn.word() {
        let text = "learn: what is not approved is recorded, and no violation is raised";
        let text = styled(text, verdict_style("unapproved"), color);
        lines.push(["mode".to_owned(), text]);
    }
    let approved = match policy.approved_countries.as_slice() {
        [] => "no country is approved".to_owned(),
        countries => countries.join(" "),
    };
    let rules = counted(policy.rules, "rule", "rules");
    let text = format!("{approved}; {rules}; sha256 {}", policy.sha256);
    lines.push(["policy".to_owned(), text]);
    lines
}

fn self_test_line(test: &SelfTestState, color: bool) -> String {
    let (state, detail) = (printable(&test.state), printable(&test.detail));
    let state = match &*test.state {
        "failing" => styled(&state, verdict_style("unapproved"), color),
        "passed" => styled(&state, verdict_style("approved"), color),
        _ => state.into_owned(),
    };
    let last = test.last_passed.map(|at| format!(", last seen {}", Times::new(false).format(at)));
    format!("{state}{}; {detail}", last.unwrap_or_default())
}

fn store_line(store: &Store) -> String {
    format!(
        "{}, {}, {} in {}, index {}",
        printable(&store.path),
        bytes(store.bytes),
        counted(store.records, "record", "records"),
        counted(store.segments, "segment", "segments"),
        store.index
    )
}

fn evidence_lines(status: &Status, color: bool) -> Vec<[String; 2]> {
    let bad = |text: &str| styled(text, verdict_style("unapproved"), color);
    let Some(evidence) = &status.evidence else {
        return vec![["signed".to_owned(), bad("nothing yet")]];
    };
    let at = evidence.signed_at.map(|at| format!(" at {}", Times::new(false).format(at)));
    let (origin, size) = (printable(&evidence.origin), evidence.size);
    let blocks = counted(size, "block", "blocks");
    let text = format!("{blocks} as `{origin}`{}", at.unwrap_or_default());
    let mut lines = vec![
        ["signed".to_owned(), text],
        [String::new(), format!("root {}", printable(&evidence.root))],
        [String::new(), format!("key {}", printable(&evidence.key))],
    ];
    if let Some(before) = &evidence.rolled_back_from {
        let text = format!("the ledger was not what had been signed as `{}`", printable(before));
        lines.push(["rollback".to_owned(), bad(&text)]);
    }
    lines
}

fn clock_lines(status: &Status, color: bool) -> Vec<[String; 2]> {
    let Some(clock) = &status.clock else { return Vec::new() };
    let not = "not synchronised: times may be wrong, ages count by the boot clock";
    let (trust, verdict) =
        if clock.trusted { ("synchronised", "approved") } else { (not, "unapproved") };
    let trust = styled(trust, verdict_style(verdict), color);
    let mut lines = vec![["clock".to_owned(), format!("{trust}; boot {}", printable(&clock.boot))]];
    if let Some(step) = &clock.last_step {
        let by = Times::new(false);
        let (from, to) = (by.format(step.from), by.format(step.to));
        let times = counted(clock.steps, "time", "times");
        let text = format!("set {times}, last from {from} to {to}");
        lines.push([String::new(), styled(&text, verdict_style("unapproved"), color)]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::tests::some_status;

    #[test]
    fn losses_and_missing_probes_are_shown() {
        let mut status = some_status();
        status.probes[0].attached = false;
        let text: Vec<String> = lines(&status, false).iter().map(|line| line.join(": ")).collect();
        assert!(text.contains(&"lost: 2".to_owned()));
        assert!(text.contains(&": 2 at store: queue-full".to_owned()));
        assert!(text.contains(&"probe: connect4 missing, /".to_owned()));
        let set = ": set 1 time, last from ";
        assert!(text.iter().any(|line| line.starts_with(set)), "{text:?}");
        assert!(text.iter().any(|line| line.starts_with("clock: not synchronised")), "{text:?}");
        let signed = "signed: 12 blocks as `field-7`";
        assert!(text.iter().any(|line| line.starts_with(signed)), "{text:?}");
        assert!(text.iter().any(|line| line.starts_with("rollback: ")), "{text:?}");
        let warning = "warning: capture.interfaces: no interface is called wann".to_owned();
        assert!(text.contains(&warning));
    }
}
