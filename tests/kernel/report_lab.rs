//! A report of real packets against what arrived on the far side, number by number: flows and bytes by country,
//! operator, program and destination, violations, times, and what was declared. Needs root.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use geofenced::inside::event::Timestamp;
use harness::{Count, Lab, Page, Programs, Running, Side, Site, Truth, TruthFlow, number, text};
use serde_json::Value;

/// Parts of the lab's networks, and whose they are.
const PLACES: &str = r#"
[[geo.override]]
network = "203.0.113.64/26"
country = "CN"
operator = "Example Telemetry"
asn = 64501

[[geo.override]]
network = "203.0.113.128/26"
country = "CA"
operator = "Example Tiles"
asn = 64502

[[geo.override]]
network = "198.51.100.0/25"
country = "US"
operator = "Example Cloud"
asn = 64503
"#;
const TILES: &str = "203.0.113.130";
/// Between the wall clock and what the kernel's clock makes of it, which may be adjusted meanwhile.
const CLOCKS: Duration = Duration::from_millis(200);

/// Country, operator and whether the policy approves: by this test's own reckoning.
fn place(flow: &TruthFlow) -> (&'static str, &'static str, bool) {
    let address = flow.destination.to_string();
    let last: u8 = address.rsplit('.').next().and_then(|it| it.parse().ok()).unwrap_or(0);
    match (address.split(['.', ':']).next(), last) {
        (Some("203"), 64..128) => ("CN", "AS64501 Example Telemetry", false),
        (Some("203"), 128..192) => ("CA", "AS64502 Example Tiles", false),
        (Some("198"), 0..128) => ("US", "AS64503 Example Cloud", true),
        (Some("2001"), _) => ("RU", "unknown", false),
        _ => panic!("{address} is of no place of this test"),
    }
}

/// A flow that arrived: by whom, and between which times.
struct Sent {
    program: String,
    flow: TruthFlow,
    span: [SystemTime; 2],
}

/// What is known without asking the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sum {
    flows: u64,
    violations: u64,
    sent: Count,
    received: Count,
}

struct Field<'a> {
    lab: &'a Lab,
    site: &'a Site,
    programs: Programs,
    sent: Vec<Sent>,
}

impl Field<'_> {
    /// One run of a program; `{port}` is that of a sink in the internet.
    fn send(&mut self, program: &str, words: &str) {
        let path = self.programs.path(program);
        let before = SystemTime::now();
        let mut sink = words
            .contains("{port}")
            .then(|| self.lab.start(Side::Internet, "serve-tcp --listen [::]:0 --count 1"));
        let port = sink.as_mut().map_or(0, |it| it.listening().port());
        let words = words.replace("{port}", &port.to_string());
        let truth: Truth = Running::start(&mut Programs::command(self.lab, &path, &words)).finish();
        assert_eq!(truth.executable, path);
        if let Some(sink) = sink {
            sink.finish();
        }
        let begun = self.sent.len();
        for flow in truth.flows {
            self.sent.push(Sent { program: path.clone(), flow, span: [before; 2] });
        }
        self.told(begun);
        for sent in &mut self.sent[begun..] {
            sent.span[1] = SystemTime::now();
        }
    }

    /// Waits until the daemon tells of what was sent since then all that arrived.
    fn told(&self, begun: usize) {
        for sent in &self.sent[begun..] {
            let flow = &sent.flow;
            let address = flow.destination.to_string();
            let words = ["--destination", &address, "--process", &sent.program];
            let told = harness::eventually(|| {
                let is_its = |it: &&Value| {
                    number(it, "/source/port") == u64::from(flow.source_port.unwrap_or(0))
                        && number(it, "/source/bytes") == self.lab.arrived(flow).bytes
                };
                self.site.events(&words).iter().find(is_its).map(|_| ())
            });
            assert!(
                told.is_some(),
                "{flow:?}: {:?}\n{}",
                self.site.events(&words),
                self.site.log()
            );
        }
    }

    fn mark(&self, words: &[&str]) {
        let marked = self.site.ask(&[&["mark"], words].concat());
        assert_eq!(marked.code, Some(0), "{marked:?}");
    }

    /// Sums of what arrived, by `key`, of the flows with these numbers.
    fn truth(&self, of: &[usize], key: impl Fn(&Sent) -> String) -> BTreeMap<String, Sum> {
        let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
        for sent in of.iter().map(|number| &self.sent[*number]) {
            let sum = sums.entry(key(sent)).or_default();
            sum.flows += 1;
            sum.violations += u64::from(!place(&sent.flow).2);
            sum.sent += self.lab.arrived(&sent.flow);
            sum.received += self.lab.came_back(&sent.flow);
        }
        sums
    }

    fn report(&self, words: &[&str]) -> Value {
        let outcome = self.site.ask(&[&["report", "-o", "json"], words].concat());
        assert_eq!(outcome.code, Some(0), "{outcome:?}\n{}", self.site.log());
        serde_json::from_str(&outcome.stdout).expect("JSON")
    }

    fn page(&self, words: &[&str]) -> String {
        self.site.ask(&[&["report"], words].concat()).stdout
    }
}

type Key = fn(&Sent) -> String;
const KEYS: [(&str, &str, Key); 3] = [
    ("countries", "By country of the address", |it| place(&it.flow).0.to_owned()),
    ("operators", "By operator of the address", |it| place(&it.flow).1.to_owned()),
    ("programs", "By program", |it| it.program.clone()),
];
const COMPARED: [(&str, Key); 4] = [
    ("countries", KEYS[0].2),
    ("operators", KEYS[1].2),
    ("programs", KEYS[2].2),
    ("destinations", |it| it.flow.destination.to_string()),
];

fn row(row: &Value, sent: &str, received: &str) -> Sum {
    let count = |side: &str| Count {
        packets: number(row, &format!("/{side}/packets")),
        bytes: number(row, &format!("/{side}/bytes")),
    };
    let (flows, violations) = (number(row, "/flows"), number(row, "/violations"));
    Sum { flows, violations, sent: count(sent), received: count(received) }
}

fn list<'v>(value: &'v Value, pointer: &str) -> &'v Vec<Value> {
    value.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("{pointer}: {value}"))
}

fn keyed(rows: &[Value], of: impl Fn(&Value) -> Sum) -> BTreeMap<String, Sum> {
    let told = rows.iter().map(|it| (text(it, "/key").to_owned(), of(it)));
    told.filter(|(_, sum)| *sum != Sum::default()).collect()
}

fn time(value: &Value, pointer: &str) -> SystemTime {
    let text = text(value, pointer);
    let at: jiff::Timestamp = text.parse().unwrap_or_else(|error| panic!("{text:?}: {error}"));
    let Timestamp(nanos) = Timestamp(u64::try_from(at.as_nanosecond()).expect("after 1970"));
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

/// First and last seen are within what was seen from outside of these flows.
fn assert_seen(row: &Value, of: &[&Sent]) {
    let (first, last) = (time(row, "/first_seen"), time(row, "/last_seen"));
    let begin = of.iter().map(|it| it.span).min().expect("a flow");
    let end = of.iter().map(|it| it.span[1]).max().expect("a flow");
    let start_of_last = of.iter().map(|it| it.span[0]).max().expect("a flow");
    assert!(begin[0] - CLOCKS <= first && first <= begin[1] + CLOCKS, "{row}");
    assert!(start_of_last - CLOCKS <= last && last <= end + CLOCKS, "{row}");
}

/// All of the lab in one report: tables, totals, violations, and the page.
fn assert_agrees(field: &Field<'_>, report: &Value, page: &str) {
    let all: Vec<usize> = (0..field.sent.len()).collect();
    let page = Page(page);
    for (list_name, caption, key) in KEYS {
        let rows = list(report, &format!("/{list_name}"));
        let truth = field.truth(&all, key);
        assert_eq!(keyed(rows, |it| row(it, "source", "destination")), truth, "{list_name}");
        let shown = page.table(caption);
        assert_eq!(shown.len(), rows.len(), "{list_name}");
        for (cells, told) in shown.iter().zip(rows) {
            let of: Vec<&Sent> =
                field.sent.iter().filter(|it| key(it) == text(told, "/key")).collect();
            assert_seen(told, &of);
            let Sum { flows, violations, sent, received } = &truth[text(told, "/key")];
            let numbers = [*flows, 0, *violations, sent.bytes, received.bytes];
            assert_eq!(cells[1..6], numbers.map(|it| it.to_string()), "{list_name}: {told}");
        }
    }
    let total = field.truth(&all, |_| String::new()).remove("").expect("a sum");
    assert_eq!(row(&report["totals"], "sent", "received"), total);
    for (name, number) in [
        ("flows sent", total.flows),
        ("violations", total.violations),
        ("bytes sent", total.sent.bytes),
        ("bytes received", total.received.bytes),
    ] {
        assert_eq!(page.figure(name), number, "{name}");
    }
    assert_violations(field, report, page);
}

/// Of a program and a destination there is one group, and another where a flow was over before its program's
/// file was hashed.
fn assert_violations(field: &Field<'_>, report: &Value, page: Page<'_>) {
    let groups = list(report, "/violations/groups");
    let shown = page.table("Violations by program and destination");
    assert_eq!(shown.len(), groups.len());
    let mut told: BTreeMap<(String, String, u64), Vec<&Value>> = BTreeMap::new();
    for (cells, group) in shown.iter().zip(groups) {
        let numbers = ["/flows", "/sent/bytes", "/received/bytes"].map(|it| number(group, it));
        assert_eq!(cells[7..10], numbers.map(|it| it.to_string()), "{group}");
        let program = text(group, "/program/executable").to_owned();
        let address = text(group, "/destination/address").to_owned();
        let port = number(group, "/destination/port");
        told.entry((program, address, port)).or_default().push(group);
    }
    let mut flows = 0;
    for ((program, address, port), groups) in told {
        let is_its = |it: &&Sent| {
            it.program == program
                && it.flow.destination.to_string() == address
                && u64::from(it.flow.port) == port
        };
        let of: Vec<&Sent> = field.sent.iter().filter(is_its).collect();
        let (mut sent, mut received) = (Count::default(), Count::default());
        for flow in of.iter().map(|it| &it.flow) {
            sent += field.lab.arrived(flow);
            received += field.lab.came_back(flow);
        }
        let sum = |pointer: &str| groups.iter().map(|it| number(it, pointer)).sum::<u64>();
        assert_eq!(sum("/flows"), of.len() as u64, "{groups:?}");
        assert_eq!(sum("/sent/bytes"), sent.bytes, "{groups:?}");
        assert_eq!(sum("/received/bytes"), received.bytes, "{groups:?}");
        for group in &groups {
            assert_eq!(text(group, "/destination/country"), place(&of[0].flow).0, "{group}");
        }
        if let [group] = groups[..] {
            assert_seen(group, &of);
        }
        flows += of.len();
    }
    let violations = field.sent.iter().filter(|it| !place(&it.flow).2).count();
    assert_eq!(flows, violations, "each is in a group");
    assert_eq!(list(report, "/violations/listed").len(), violations);
}

/// R7, and what of the two intervals left in each.
fn assert_intervals(field: &Field<'_>, [survey, later]: [&[usize]; 2]) {
    let report = field.report(&["--interval", "survey", "--compare", "later"]);
    let found = &report["comparison"];
    for (name, key) in COMPARED {
        for (side, flows) in [("first", survey), ("second", later)] {
            let told = keyed(list(found, &format!("/{name}/rows")), |it| {
                row(&it[side], "sent", "received")
            });
            assert_eq!(told, field.truth(flows, key), "{name} of {side}");
        }
    }
    let rows = list(found, "/countries/rows");
    let us = rows.iter().find(|it| it["key"] == "US").expect("a row");
    assert_eq!((&us["only_in"], &us["absence_shown"]), (&"first".into(), &true.into()), "{us}");
    // What was declared was violations all the same, within and outside of it.
    let listed = list(&report, "/violations/listed");
    let declared: Vec<&Value> = listed.iter().filter(|it| it["declared"].is_array()).collect();
    let tiles = survey.iter().filter(|it| field.sent[**it].flow.destination.to_string() == TILES);
    assert_eq!(declared.len(), tiles.count(), "{listed:?}");
    assert!(declared.iter().all(|it| it["declared"][0]["purpose"] == "map tiles"), "{declared:?}");
    assert_eq!(report["declared"]["violations"], declared.len());
    let later = field.report(&["--interval", "later"]);
    assert!(list(&later, "/declared/shares").is_empty(), "{later}");
    let tiles = list(&later, "/violations/groups").iter();
    let tiles = tiles.filter(|it| text(it, "/destination/address") == TILES);
    assert_eq!(tiles.map(|it| number(it, "/flows")).sum::<u64>(), 1, "it is reported: {later}");
    assert!(list(&later, "/violations/listed").iter().all(|it| it["declared"].is_null()));
}

#[test]
fn the_report_of_a_lab_run_agrees_with_what_arrived_number_by_number() {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    site.drop_in("places", PLACES);
    let daemon = site.start();
    let programs = Programs::new();
    for name in ["mapper", "uplink"] {
        programs.generator(name);
    }
    let mut field = Field { lab: &lab, site: &site, programs, sent: Vec::new() };

    field.send("mapper", &format!("udp-sendto --to {TILES}:443 --bytes 700 --count 3"));
    field.send("uplink", "tcp-connect-send --to 203.0.113.70:{port} --bytes 30000");
    let survey = field.sent.len();
    let share = ["--share", "203.0.113.128/26", "--purpose", "map tiles"];
    field.mark(&[&["start", "survey"], &share[..]].concat());
    field.send("mapper", &format!("udp-sendto --to {TILES}:443 --bytes 500 --count 2"));
    field.send("mapper", "tcp-connect-send --to 198.51.100.7:{port} --bytes 5000");
    field.send("uplink", "udp-sendto --to 203.0.113.71:9 --bytes 90");
    field.mark(&["stop", "survey"]);
    let later = field.sent.len();
    field.mark(&["start", "later"]);
    field.send("mapper", &format!("udp-sendto --to {TILES}:443 --bytes 100"));
    field.send("uplink", "udp-sendto --to [2001:db8:f::5]:9 --bytes 100 --count 5");
    field.send("uplink", "udp-sendmmsg --to 203.0.113.72:9 --to 203.0.113.73:10 --bytes 32");
    field.mark(&["stop", "later"]);

    // Nothing arrived that the generators do not know of.
    let counts = field.lab.counts(Side::Internet);
    assert_eq!(counts.flows.len(), field.sent.len(), "{:?}", counts.flows);
    assert_agrees(&field, &field.report(&[]), &field.page(&[]));
    let of = |from: usize, to: usize| (from..to).collect::<Vec<_>>();
    let end = field.sent.len();
    let intervals = [of(survey, later), of(later, end)];
    assert_intervals(&field, [&intervals[0], &intervals[1]]);
    assert_eq!(daemon.stop(), Some(0), "{}", field.site.log());
    assert_agrees(&field, &field.report(&[]), &field.page(&[]));
    assert_intervals(&field, [&intervals[0], &intervals[1]]);
}
