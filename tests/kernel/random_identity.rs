//! A random walk through what a process can change of itself (`GEOFENCED_SEED` repeats one): no record
//! of what was sent on the way names a program, a user or a cgroup that did not send it. Needs root.

use std::{
    collections::{HashMap, HashSet},
    io::Read,
    net::TcpListener,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use harness::{Lab, Programs, Site, text};
use serde::Deserialize;
use serde_json::{Value, json};

/// Forks, execs, changes of user and cgroup, sockets, connections and sends.
const STEPS: u64 = 10_000;
const SINK: &str = "203.0.113.250";
/// Below the ports that a host gives to its own ends.
const SINK_PORT: u16 = 900;

/// One step, as the process that made it told it.
#[derive(Clone, Debug, Deserialize)]
struct Step {
    action: String,
    #[serde(flatten)]
    who: Who,
    transport: Option<String>,
    source_port: Option<u64>,
    address: Option<String>,
    port: Option<u64>,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash)]
struct Who {
    pid: u64,
    executable: String,
    user: u32,
    cgroup: String,
}

/// A step that sends has a destination of its own; only the sink is every connection's, and their own
/// ports tell them apart.
type Flow = (String, String, u64, Option<u64>);

/// Who used a flow.
#[derive(Clone, Debug, Default)]
struct Used {
    sent: HashSet<Who>,
    connected: HashSet<Who>,
}

/// What was told wrongly, counted.
#[derive(Debug, Default)]
struct Wrong {
    nobodys_flow: usize,
    pid: usize,
    executable: usize,
    user: usize,
    cgroup: usize,
    /// Each of one sender, but not all of the same.
    mixed: usize,
    such_as: Vec<String>,
}

fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").subsec_nanos();
    let asked = std::env::var("GEOFENCED_SEED").ok();
    asked.map_or_else(|| now().into(), |seed| seed.parse().expect("GEOFENCED_SEED is a number"))
}

/// Takes connections in the internet for as long as the test lives.
fn sink(lab: &Lab) {
    let listen = || TcpListener::bind(("0.0.0.0", SINK_PORT)).expect("listen in the internet");
    let listener = lab.internet.within(listen);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || stream.read_to_end(&mut Vec::new()));
        }
    });
}

/// The walk, to its end.
fn walk(lab: &Lab, programs: &Programs, cgroups: &[String], seed: u64) -> Vec<Step> {
    let images = ["one/curl", "two/curl", "three/wget", "four/wget", "five/python3"];
    let images = images.map(|name| programs.copy(name));
    let plan = json!({
        "seed": seed,
        "sink": format!("{SINK}:{SINK_PORT}"),
        "images": images,
        "cgroups": cgroups,
        "users": [0, 1001, 1002, 1003],
    });
    let mut command = Programs::command(lab, &images[0], &format!("walk 0 {STEPS}"));
    let output = command.env("SENDER_PLAN", plan.to_string()).output().expect("walk");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "seed {seed}: {}: {errors}", output.status);
    let lines = String::from_utf8(output.stdout).expect("lines in UTF-8");
    lines.lines().map(|line| serde_json::from_str(line).expect("a step")).collect()
}

fn truth(steps: &[Step]) -> HashMap<Flow, Used> {
    let mut flows: HashMap<Flow, Used> = HashMap::new();
    for step in steps {
        let (Some(transport), Some(address)) = (&step.transport, &step.address) else { continue };
        let own = step.source_port.filter(|_| transport == "tcp");
        let port = step.port.unwrap_or_default();
        let used = flows.entry((transport.clone(), address.clone(), port, own)).or_default();
        let by = if step.action == "send" { &mut used.sent } else { &mut used.connected };
        by.insert(step.who.clone());
    }
    flows
}

fn flow_of(record: &Value) -> Flow {
    let transport = text(record, "/network/transport").to_owned();
    let own = record["source"]["port"].as_u64().filter(|_| transport == "tcp");
    let port = record["destination"]["port"].as_u64().unwrap_or_default();
    (transport, text(record, "/destination/ip").to_owned(), port, own)
}

impl Wrong {
    fn count(&mut self, record: &Value, flows: &HashMap<Flow, Used>) {
        let nobody = Used::default();
        let used = flows.get(&flow_of(record)).unwrap_or(&nobody);
        self.nobodys_flow += usize::from(used.sent.is_empty() && used.connected.is_empty());
        // Who only connected is told of an attempt; what was sent is the sender's.
        let attempted = text(record, "/geofenced/phase") == "attempt";
        let right: Vec<&Who> =
            used.sent.iter().chain(used.connected.iter().filter(|_| attempted)).collect();
        // What is not told is not wrong.
        let (pid, executable) =
            (record["process"]["pid"].as_u64(), record["process"]["executable"].as_str());
        let user = record["user"]["id"].as_str().and_then(|id| id.parse::<u32>().ok());
        let cgroup = record["geofenced"]["cgroup"].as_str();
        let pid_fits = |who: &Who| pid.is_none_or(|it| it == who.pid);
        let executable_fits = |who: &Who| executable.is_none_or(|it| it == who.executable);
        let user_fits = |who: &Who| user.is_none_or(|it| it == who.user);
        let cgroup_fits = |who: &Who| cgroup.is_none_or(|it| it == who.cgroup);
        let any = |fits: &dyn Fn(&Who) -> bool| right.iter().any(|who| fits(who));
        let is_one =
            |who: &Who| pid_fits(who) && executable_fits(who) && user_fits(who) && cgroup_fits(who);
        if any(&is_one) {
            return;
        }
        let parts = [any(&pid_fits), any(&executable_fits), any(&user_fits), any(&cgroup_fits)];
        self.pid += usize::from(!parts[0]);
        self.executable += usize::from(!parts[1]);
        self.user += usize::from(!parts[2]);
        self.cgroup += usize::from(!parts[3]);
        self.mixed += usize::from(parts == [true; 4]);
        // Another process is the worst: of these each is shown.
        if self.such_as.len() < 5 || (!parts[0] && self.pid <= 5) {
            let of = text(record, "/geofenced/phase");
            self.such_as.push(format!(
                "{of} {:?}: {pid:?} {executable:?} {user:?} {cgroup:?} for {used:?}",
                flow_of(record)
            ));
        }
    }
}

/// The records once each flow of the walk has its own, and what was sent is told as sent.
fn told(site: &Site, flows: &HashMap<Flow, Used>) -> Vec<Value> {
    let missing = |records: &[Value]| {
        let is_settled = |record: &&Value| {
            let is_sent = flows.get(&flow_of(record)).is_some_and(|used| !used.sent.is_empty());
            !is_sent || text(record, "/geofenced/phase") == "sent"
        };
        let settled: HashSet<Flow> = records.iter().filter(is_settled).map(flow_of).collect();
        flows.keys().filter(|flow| !settled.contains(flow)).cloned().collect::<Vec<_>>()
    };
    let told = harness::eventually(|| {
        let records = site.events(&[]);
        missing(&records).is_empty().then_some(records)
    });
    told.unwrap_or_else(|| {
        let records = site.events(&[]);
        let missing = missing(&records);
        for flow in missing.iter().take(3) {
            println!("{flow:?}: {:?}", flows.get(flow));
            for record in records.iter().filter(|it| flow_of(it) == *flow) {
                println!("    told as {record}");
            }
        }
        panic!("{} flows are not told\n{}", missing.len(), site.log())
    })
}

#[test]
fn no_record_of_a_random_walk_names_who_did_not_send() {
    let seed = seed();
    println!("GEOFENCED_SEED={seed}");
    let lab = Lab::new();
    let cgroups = ["one", "two", "three"].map(|name| lab.cgroup.inside(name));
    let site = Site::inside(&lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    sink(&lab);
    let programs = Programs::new();
    let daemon = site.start();

    let directories: Vec<String> =
        cgroups.iter().map(|it| it.path().display().to_string()).collect();
    let steps = walk(&lab, &programs, &directories, seed);
    let mut actions: HashMap<&str, usize> = HashMap::new();
    for step in &steps {
        *actions.entry(&step.action).or_default() += 1;
    }
    println!("{} steps: {actions:?}", steps.len());
    assert_eq!(steps.len() as u64, STEPS, "each step is made once");

    let flows = truth(&steps);
    let records = told(&site, &flows);
    let mut wrong = Wrong::default();
    for record in &records {
        wrong.count(record, &flows);
    }
    let unnamed = records.iter().filter(|it| it["process"]["executable"].is_null()).count();
    println!("{} flows, {} records, {unnamed} without an executable", flows.len(), records.len());
    println!("wrong: {wrong:#?}");
    let Wrong { nobodys_flow, pid, executable, user, cgroup, mixed, .. } = &wrong;
    let all = [nobodys_flow, pid, executable, user, cgroup, mixed];
    assert_eq!(all, [&0; 6], "GEOFENCED_SEED={seed}: {wrong:#?}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
    drop(cgroups);
}
