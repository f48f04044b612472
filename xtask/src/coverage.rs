//! `cargo xtask coverage`: docs/coverage.md from what the kernel test found. The page says nothing of
//! its own but how it is to be read; which kernels a kind was seen on is what docs/kernels.md says.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    build::{self, Profile},
    console::{Console, say},
    host, paths, probes,
};

/// What stands before it in the page is written by people and stays.
const MARK: &str = "<!-- From here on made by `cargo xtask coverage`; don't edit. -->\n";

/// What the test says of a kind that does not reach the internet as such, and of one whose
/// destination nobody reads.
const LOCAL: &str = "local";
const UNADDRESSED: &str = "unaddressed";
/// The same of one that is told by its ethertype.
const FRAME: &str = "frame";

pub fn run(console: &Console) -> Result<()> {
    if !host::is_root() {
        bail!("the test makes network namespaces and loads the probes: run it as root");
    }
    probes::ensure_built(console)?;
    build::example(console, "egress", Profile::Debug)?;
    let results = paths::target().join("coverage.jsonl");
    let _ = fs::remove_file(&results);
    let mut cargo = host::cargo();
    cargo.args(["test", "--locked", "--package", "monitor", "--test", "coverage"]);
    cargo.env("GEOFENCED_COVERAGE", &results).env("PATH", paths::search_path(&[]));
    console.step("every way out, one after the other", &mut cargo)?;

    let cases = parse(&fs::read_to_string(&results).context("the test wrote no results")?)?;
    let docs = paths::root().join("docs");
    let kernels = fs::read_to_string(docs.join("kernels.md")).context("no docs/kernels.md")?;
    let page = docs.join("coverage.md");
    let old = fs::read_to_string(&page).unwrap_or_default();
    fs::write(&page, render(&old, &cases, &kernels))
        .with_context(|| format!("cannot write {}", page.display()))?;
    say(format_args!("      {}", page.display()));
    Ok(())
}

/// One kind of egress, as the test's line of JSON says it.
#[derive(Debug)]
struct Case {
    kernel: String,
    kind: String,
    what: String,
    from: String,
    /// `whole`, [`LOCAL`] or [`UNADDRESSED`].
    seen: String,
    origin: String,
    phase: String,
    attribution: String,
    arrived_bytes: u64,
    told_bytes: u64,
}

fn parse(lines: &str) -> Result<Vec<Case>> {
    let cases: Result<Vec<Case>> = lines.lines().map(case).collect();
    let cases = cases?;
    if cases.is_empty() {
        bail!("the test told of no kind of egress");
    }
    Ok(cases)
}

fn case(line: &str) -> Result<Case> {
    let value: Value = serde_json::from_str(line).context("a result is not JSON")?;
    let text = |key: &str| {
        let text = value[key].as_str().map(str::to_owned);
        text.with_context(|| format!("a result without {key}: {line}"))
    };
    if let Some(problem) = value["problem"].as_str() {
        bail!("a kind that is not as it should be: {problem}");
    }
    let number =
        |key: &str| value[key].as_u64().with_context(|| format!("a result without {key}: {line}"));
    Ok(Case {
        kernel: text("kernel")?,
        kind: text("kind")?,
        what: text("what")?,
        from: text("from")?,
        seen: text("seen")?,
        origin: text("origin")?,
        phase: text("phase")?,
        attribution: text("attribution")?,
        arrived_bytes: number("arrived_bytes")?,
        told_bytes: number("told_bytes")?,
    })
}

impl Case {
    /// Which hook counts its bytes, by what it was told as.
    fn hook(&self) -> &'static str {
        match (self.phase.as_str(), self.origin.as_str()) {
            ("attempt", _) => "connect",
            _ if self.seen == UNADDRESSED => "interface",
            (_, "process" | "accepted" | "pre-existing") => "cgroup",
            _ => "tc",
        }
    }

    /// How far what was told is from what arrived.
    fn accuracy(&self) -> String {
        match (self.arrived_bytes, self.told_bytes) {
            (0, 0) => "nothing left".to_owned(),
            // Its bytes were compared with what the generator made.
            (0, _) => "exact".to_owned(),
            (arrived, told) if arrived == told => "exact".to_owned(),
            (arrived, told) => {
                let off = (told as f64 - arrived as f64) / arrived as f64 * 100.0;
                format!("{off:+.2} %")
            }
        }
    }
}

/// `old` with its end made anew.
fn render(old: &str, cases: &[Case], kernels: &str) -> String {
    let written = old.split(MARK).next().unwrap_or_default().trim_end();
    let mut page = format!("{written}\n\n{MARK}");
    let kernel = cases.first().map_or("", |it| it.kernel.as_str());
    let exact = cases.iter().filter(|it| it.accuracy() == "exact").count();
    let is_unaddressed = |it: &&Case| it.seen == UNADDRESSED || it.seen == FRAME;
    let unaddressed = cases.iter().filter(is_unaddressed).count();
    let _ = writeln!(
        page,
        "## Seen\n{} kinds of egress on Linux {kernel}: {exact} with every byte that left, \
         {unaddressed} without knowing where to.\n",
        cases.len(),
    );
    page += "| kind | what | from | origin | process known by | counted by | bytes sent | told | other kernels |\n";
    page += "|---|---|---|---|---|---|---|---|---|\n";
    let kernels = Kernels::parse(kernels);
    for case in cases {
        let bytes = case.arrived_bytes.max(case.told_bytes);
        let origin = match case.seen.as_str() {
            LOCAL => format!("{}, local", case.origin),
            UNADDRESSED => format!("{}, not where to", case.origin),
            FRAME => format!("{}, by its ethertype", case.origin),
            _ => case.origin.clone(),
        };
        let attribution = if case.attribution == "none" { "-" } else { &case.attribution };
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {origin} | {attribution} | {} | {bytes} | {} | {} |",
            case.kind,
            case.what,
            case.from,
            case.hook(),
            case.accuracy(),
            kernels.of(&case.kind),
        );
    }
    page
}

/// The table of egress in docs/kernels.md.
struct Kernels {
    /// As they are called: `5.10`.
    names: Vec<String>,
    /// Kind, and the word for it on each.
    rows: Vec<(String, Vec<String>)>,
}

impl Kernels {
    fn parse(page: &str) -> Self {
        let cells = |line: &str| -> Vec<String> {
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let mut lines = page.lines().skip_while(|line| !line.starts_with("| Egress "));
        let heading = lines.next().map(cells).unwrap_or_default();
        let rows = lines.skip(1).take_while(|line| line.starts_with('|')).map(cells);
        let rows = rows.filter_map(|row| {
            let (kind, words) = row.split_first()?;
            Some((kind.clone(), words.to_vec()))
        });
        Self { names: heading.iter().skip(1).map(|it| short(it)).collect(), rows: rows.collect() }
    }

    fn of(&self, kind: &str) -> String {
        let Some((_, words)) = self.rows.iter().find(|row| row.0 == kind) else {
            return "not tried".to_owned();
        };
        let list = |word: &str| {
            let names = self.names.iter().zip(words).filter(|(_, it)| *it == word);
            let names = names.map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            (!names.is_empty()).then_some(names)
        };
        [
            list("ok"),
            list("no process").map(|it| format!("{it} without process")),
            list("absent").map(|it| format!("absent in {it}")),
            list("FAIL").map(|it| format!("not {it}")),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
    }
}

/// `5.10` of `5.10.0-46-cloud-amd64`.
fn short(release: &str) -> String {
    let digits = release.split(['-', '+']).next().unwrap_or(release);
    digits.split('.').take(2).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULTS: &str = r#"{"kernel":"6.18.0","kind":"udp-sendto","what":"sendto(2)","from":"host","seen":"whole","origin":"process","phase":"sent","attribution":"socket","arrived_bytes":1000,"told_bytes":1000}
{"kernel":"6.18.0","kind":"udp-attempt","what":"connect(2) alone","from":"host","seen":"whole","origin":"process","phase":"attempt","attribution":"socket","arrived_bytes":0,"told_bytes":0}
{"kernel":"6.18.0","kind":"routed","what":"UDP","from":"LAN client","seen":"whole","origin":"forwarded","phase":"sent","attribution":"none","arrived_bytes":1000,"told_bytes":995}
{"kernel":"6.18.0","kind":"dark","what":"around","from":"host","seen":"unaddressed","origin":"packet-socket","phase":"sent","attribution":"procfs","arrived_bytes":60,"told_bytes":60}
"#;
    const KERNELS: &str = "\
| Probe | 5.10.0-46-cloud-amd64 |
|-------|-----------------------|
| dark  | ok                    |

| Egress     | 5.10.0-46-cloud-amd64 | 6.12.117+deb13-cloud-amd64 |
|------------|-----------------------|----------------------------|
| udp-sendto | FAIL                  | ok                         |
| routed     | absent                | no process                 |
";

    #[test]
    fn each_kind_has_a_row_with_what_was_found_of_it() {
        let cases = parse(RESULTS).unwrap();
        let page = render("# Coverage\n", &cases, KERNELS);
        for line in [
            "4 kinds of egress on Linux 6.18.0: 2 with every byte that left, 1 without knowing where to.",
            "| `udp-sendto` | sendto(2) | host | process | socket | cgroup | 1000 | exact | 6.12; not 5.10 |",
            "| `udp-attempt` | connect(2) alone | host | process | socket | connect | 0 | nothing left | not tried |",
            "| `routed` | UDP | LAN client | forwarded | - | tc | 1000 | -0.50 % | 6.12 without process; absent in 5.10 |",
            "| `dark` | around | host | packet-socket, not where to | procfs | interface | 60 | exact | not tried |",
        ] {
            assert!(page.lines().any(|it| it == line), "{line}\n{page}");
        }
    }

    #[test]
    fn what_people_wrote_stays_and_the_rest_is_made_anew() {
        let cases = parse(RESULTS).unwrap();
        let once = render("# Coverage\n\nHow to read it.\n", &cases, KERNELS);
        assert!(once.starts_with("# Coverage\n\nHow to read it.\n\n<!--"), "{once}");
        assert_eq!(render(&once, &cases, KERNELS), once);
        let fewer = render(&once, &cases[..3], KERNELS);
        assert!(!fewer.contains("`dark`"), "{fewer}");
    }

    #[test]
    fn a_result_that_lacks_something_is_an_error() {
        assert!(parse(r#"{"kind":"x"}"#).is_err());
        let bad = RESULTS.replace("\"kernel\"", "\"problem\":\"not told\",\"kernel\"");
        assert!(parse(&bad).unwrap_err().to_string().contains("not told"));
        assert!(parse("").is_err());
    }
}
