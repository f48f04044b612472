//! Writes the ledger of a station by the store's own code, from seeded traffic of some days, and beside it what it
//! wrote: the truth that a fleet is held against. It ships nothing.
//!
//! `station STORE NAME TRUTH KEY=NUMBER...`: see `Script`.

#[path = "../simulation/world.rs"]
mod world;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use geofenced::{
    fleet::KeyName,
    inside::{
        config::{RecordMode, StoreConfig},
        event::{
            Attribution, BootId, Certainty, Country, CountryCode, Domain, DomainSource, Egress,
            Entry, ExecutedFile, Findings, FlowId, Host, Judgement, Moment, Notice, Operator,
            Origin, Passage, Phase, Place, Process, Provenance, Reason, Record, Rollup, Sender,
            Timeline, Timestamp, Traffic, Transport, User, Verdict,
        },
        store::{Options, Store},
    },
};
use world::{DESTINATIONS, Destination, PROGRAMS, START_S};

const PORT: u16 = 443;

/// Neither the place nor who runs it.
fn is_approved(to: &Destination) -> bool {
    ![to.country, to.operator_country].iter().any(|it| ["CN", "RU"].contains(it))
}

/// Each user's own.
fn uid_of(user: &str) -> u32 {
    if user == "root" { 0 } else { user.bytes().fold(1000, |sum, byte| sum + u32::from(byte)) }
}

const SECOND: u64 = 1_000_000_000;
const DAY_S: u64 = 86_400;
/// The daemon says each minute that it watches; a minute of these is ten of the world's.
const ALIVE_S: u64 = 600;
/// One flow in so many is told twice: while it lasts, and when it has ended.
const TWICE: u32 = 8;
/// One in so many got no answer and was never sent.
const ATTEMPT: u32 = 50;

/// What is to be written.
#[derive(Debug)]
struct Script {
    seed: u64,
    first_day: u64,
    days: u64,
    records_a_day: u64,
    segment_bytes: u64,
    /// Which boot of the machine.
    boot: u64,
    /// The first word of a store: the daemon starts.
    starts: bool,
    /// Hours of each third day in which it was stopped, or died at the beginning of them.
    stopped_hours: u64,
    dies: bool,
    /// Lets the last segment end.
    ends: bool,
    /// So many bytes at most are kept.
    keep_bytes: u64,
    /// Of the flows that would violate one in so many does.
    violating: u64,
}

impl Script {
    fn parse(words: &[String]) -> Self {
        let number = |key: &str, otherwise: u64| {
            let value = words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
            value.map_or(otherwise, |it| it.parse().expect("KEY=NUMBER"))
        };
        Self {
            seed: number("seed", 1),
            first_day: number("first", 0),
            days: number("days", 1),
            records_a_day: number("records", 1_000),
            segment_bytes: number("segment", 64 << 10),
            boot: number("boot", 1),
            starts: number("starts", 1) > 0,
            stopped_hours: number("stopped", 0),
            dies: number("dies", 0) > 0,
            ends: number("ends", 1) > 0,
            keep_bytes: number("keep", 1 << 40),
            violating: number("violating", 1),
        }
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [store, name, truth, script @ ..] = &words[..] else { panic!("STORE NAME TRUTH K=N...") };
    let script = Script::parse(script);
    let mut station = Station::open(Path::new(store), name, &script);
    for day in script.first_day..script.first_day + script.days {
        station.day(day);
    }
    station.close(Path::new(store), name);
    let mut out = fs::File::create(truth).expect("a file for the truth");
    out.write_all(station.truth.text(name).as_bytes()).expect("write the truth");
}

/// Sums of a day, destination and program.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    states: u64,
    flows: u64,
    attempts: u64,
    violations: u64,
    sent: u64,
    received: u64,
    violating: u64,
    first_ns: u64,
}

#[derive(Debug, Default)]
struct Truth {
    sums: BTreeMap<(u64, usize, usize), Sum>,
    rollups: BTreeMap<(u64, usize), (u64, u64)>,
    largest: Vec<(u64, String)>,
    notices: u64,
    /// First word, last word, and seconds in between in which nobody watched.
    first_s: u64,
    last_s: u64,
    gaps: Vec<(u64, u64, &'static str)>,
}

impl Truth {
    /// Lines of words: what it is of, and numbers.
    fn text(&self, name: &str) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for ((day, to, by), it) in &self.sums {
            let Sum { states, flows, attempts, violations, sent, received, violating, first_ns } =
                it;
            writeln!(
                text,
                "flows {name} {day} {to} {by} {states} {flows} {attempts} {violations} {sent} {received} {violating} {first_ns}"
            )
            .expect("memory");
        }
        for ((day, to), (flows, sent)) in &self.rollups {
            writeln!(text, "rollup {name} {day} {to} {flows} {sent}").expect("memory");
        }
        for (bytes, id) in &self.largest {
            writeln!(text, "largest {name} {bytes} {id}").expect("memory");
        }
        for (from, to, why) in &self.gaps {
            writeln!(text, "gap {name} {from} {to} {why}").expect("memory");
        }
        writeln!(text, "watch {name} {} {} {}", self.first_s, self.last_s, self.notices)
            .expect("memory");
        text
    }

    fn large(&mut self, bytes: u64, id: FlowId) {
        const KEPT: usize = 12;
        if self.largest.len() == KEPT && self.largest[KEPT - 1].0 >= bytes {
            return;
        }
        self.largest.push((bytes, id.to_string()));
        self.largest.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        self.largest.truncate(KEPT);
    }
}

struct Station {
    store: Store,
    rng: fastrand::Rng,
    findings: Vec<Vec<Arc<Findings>>>,
    timeline: Timeline,
    records_a_day: u64,
    violating: u64,
    stopped_hours: u64,
    dies: bool,
    ends: bool,
    boot: u64,
    flows: u64,
    truth: Truth,
    said_s: u64,
    provenance: Arc<Provenance>,
}

fn config(store: &Path, keep_bytes: u64) -> StoreConfig {
    StoreConfig {
        path: PathBuf::from(store),
        record: RecordMode::All,
        retention: Duration::from_hours(24 * 365 * 100),
        max_bytes: keep_bytes,
        sync: Duration::from_secs(10),
        shipping: None,
    }
}

fn open(store: &Path, name: &str, keep_bytes: u64, segment_bytes: u64) -> Store {
    let options = Options { segment_bytes, segment_age: Duration::from_hours(24), index: None };
    let name = KeyName::parse(name).expect("a name");
    Store::open_named_with(&config(store, keep_bytes), options, name).expect("a store")
}

fn code(text: &str) -> CountryCode {
    CountryCode::new(text).expect("a country")
}

fn findings(
    to: &Destination,
    by: usize,
    timeline: Timeline,
    provenance: &Arc<Provenance>,
) -> Arc<Findings> {
    let program = &PROGRAMS[by];
    let name = program.path.rsplit('/').next().unwrap_or(program.path);
    let process = Process {
        pid: 400 + by as u32,
        name: name.into(),
        executable: Some(program.path.into()),
        executable_claimed: None,
        file: ExecutedFile { sha256: Some([by as u8; 32]), ..ExecutedFile::default() },
        command_line: Some(format!("{} --config /etc/{}.conf", program.path, name).into()),
        started_at: Some(Timestamp::from_secs(START_S - 60)),
        parents: Vec::new(),
        user: User { id: uid_of(program.user), name: Some(program.user.into()) },
        unit: Some(format!("{name}.service").into()),
        container: None,
        cgroup: Some(format!("/system.slice/{name}.service").into()),
        netns: Some(4_026_531_840),
    };
    let operator = Operator {
        asn: Some(to.asn),
        name: Some(to.operator.into()),
        country: Some(code(to.operator_country)),
        is_anycast: false,
    };
    let domain = Domain { name: to.domain.into(), source: DomainSource::Dns, is_trusted: false };
    let verdict = if is_approved(to) { Verdict::Approved } else { Verdict::Unapproved };
    let reason = if to.operator_country == to.country { Reason::Country } else { Reason::Operator };
    Arc::new(Findings {
        sender: Sender::Process {
            process: Arc::new(process),
            attribution: Attribution::Socket,
            creator: None,
        },
        place: Place {
            country: Country::Known(code(to.country)),
            second: Some(code(to.country)),
            operator: Some(Arc::new(operator)),
            domain: Some(domain),
            ..Place::unknown()
        },
        judgement: Judgement { verdict, certainty: Certainty::Full, reason },
        verdict_now: None,
        provenance: Some(Arc::clone(provenance)),
        timeline: Some(timeline),
    })
}

impl Station {
    fn open(path: &Path, name: &str, script: &Script) -> Self {
        let store = open(path, name, script.keep_bytes, script.segment_bytes);
        let mut boot = [0; 16];
        boot[..8].copy_from_slice(&script.boot.to_be_bytes());
        boot[8..].copy_from_slice(&script.seed.to_be_bytes());
        let begins_s = START_S + script.first_day * DAY_S;
        let wall_at_boot_ns = (begins_s - 60).cast_signed() * SECOND.cast_signed();
        let timeline = Timeline { boot: BootId(boot), wall_at_boot_ns, is_trusted: true };
        let host = Host { name: name.into(), id: Some([script.seed as u8; 32]) };
        let provenance = Arc::new(Provenance {
            policy_sha256: [7; 32],
            is_learning: false,
            databases: Vec::new(),
            host: Some(Arc::new(host)),
        });
        let of = |to| (0..PROGRAMS.len()).map(move |by| (to, by));
        let findings = DESTINATIONS
            .iter()
            .map(|to| of(to).map(|(to, by)| findings(to, by, timeline, &provenance)).collect());
        let mut station = Self {
            store,
            rng: fastrand::Rng::with_seed(script.seed ^ script.boot << 32 ^ script.first_day << 16),
            findings: findings.collect(),
            timeline,
            records_a_day: script.records_a_day,
            violating: script.violating,
            stopped_hours: script.stopped_hours,
            dies: script.dies,
            ends: script.ends,
            boot: script.boot,
            flows: 0,
            truth: Truth { first_s: begins_s, last_s: begins_s, ..Truth::default() },
            said_s: begins_s,
            provenance,
        };
        if script.starts {
            station.starts(begins_s);
        }
        station
    }

    fn notice(&mut self, at_s: u64, notice: Notice) {
        let at = Timestamp::from_secs(at_s);
        self.store.append(&Entry::Notice { at, notice }).expect("append");
        self.truth.notices += 1;
        self.truth.last_s = at_s;
        self.said_s = at_s;
    }

    fn starts(&mut self, at_s: u64) {
        let policy_sha256 = [7; 32];
        self.notice(
            at_s,
            Notice::Started { version: "1".into(), probes: Vec::new(), policy_sha256 },
        );
        let boot_ns = self.timeline.boot_ns(Timestamp::from_secs(at_s));
        self.notice(at_s, Notice::ClockRead(Moment { boot_ns, timeline: self.timeline }));
    }

    fn day(&mut self, day: u64) {
        let begins_s = START_S + day * DAY_S;
        // Nobody watches in the first hours of it.
        let stopped_s = if day % 3 == 1 { self.stopped_hours * 3_600 } else { 0 };
        let from_s = begins_s + stopped_s;
        if stopped_s > 0 {
            let before_s = self.said_s;
            if !self.dies {
                self.notice(begins_s, Notice::Stopped);
            }
            let gap_from = if self.dies { before_s } else { begins_s };
            let why = if self.dies { "ended-without-a-word" } else { "stopped" };
            self.truth.gaps.push((gap_from, from_s, why));
            self.starts(from_s);
        }
        let (watched_s, count) = (DAY_S - stopped_s, self.records_a_day);
        for number in 0..count {
            let at_ns = from_s * SECOND + (number * watched_s * SECOND) / count;
            while self.said_s + ALIVE_S <= at_ns / SECOND {
                self.notice(self.said_s + ALIVE_S, Notice::Alive);
            }
            self.flow(day, at_ns);
            if number % 20_000 == 19_999 {
                self.store.sync().expect("sync");
            }
        }
        while self.said_s + ALIVE_S <= begins_s + DAY_S {
            self.notice(self.said_s + ALIVE_S, Notice::Alive);
        }
        self.rollup(day);
        self.store.sync().expect("sync");
        if self.store.retain().expect("retain").segments.is_empty() {
            self.store.seal().expect("seal");
        } else {
            self.store.sync().expect("sync");
            self.store.seal().expect("seal");
        }
    }

    /// Few get most, and each program has some of its own.
    fn destination(&mut self) -> usize {
        let to = self.rng.usize(..DESTINATIONS.len()).min(self.rng.usize(..DESTINATIONS.len()));
        let violates = !is_approved(&DESTINATIONS[to]);
        if self.violating > 1 && violates && self.rng.u64(..self.violating) > 0 {
            // The first ones are approved.
            return self.rng.usize(..6);
        }
        to
    }

    fn flow(&mut self, day: u64, at_ns: u64) {
        let to = self.destination();
        let by = (to * 7 + self.rng.usize(..3)) % PROGRAMS.len();
        let destination = &DESTINATIONS[to];
        self.flows += 1;
        let low = u128::from(self.boot << 48 | self.flows);
        let flow = FlowId(u128::from(at_ns) << 64 | low);
        let is_attempt = self.rng.u32(..ATTEMPT) == 0;
        let sent = if is_attempt { 0 } else { 60 + self.rng.u64(..40_000) };
        let received = if is_attempt { 0 } else { self.rng.u64(..100_000) };
        let started_at = Timestamp(at_ns);
        let local = SocketAddr::from(([192, 0, 2, 7], self.rng.u16(32_768..)));
        let remote = SocketAddr::from((destination.address, PORT));
        // No flow is told of after the last word of its day.
        let day_ends_ns = (START_S + (day + 1) * DAY_S) * SECOND;
        let last_at = Timestamp((at_ns + self.rng.u64(..30) * SECOND).min(day_ends_ns));
        let traffic = Traffic {
            sent_bytes: sent,
            sent_packets: sent / 600,
            received_bytes: received,
            received_packets: received / 900,
        };
        let egress = Egress {
            flow,
            revision: 0,
            started_at,
            last_at,
            ended_at: Some(last_at),
            phase: if is_attempt { Phase::Attempt } else { Phase::Sent },
            origin: Origin::Process,
            transport: Transport::TCP,
            local: Some(local),
            remote: Some(remote),
            traffic,
            passage: Passage { by: Some("eth0".into()), ..Passage::default() },
            activity: None,
        };
        let findings = Arc::clone(&self.findings[to][by]);
        let is_twice = self.rng.u32(..TWICE) == 0;
        let mut states = 1;
        if is_twice {
            let half = Egress {
                last_at: started_at,
                ended_at: None,
                traffic: traffic.part(1, 2),
                ..egress.clone()
            };
            let findings = Arc::clone(&findings);
            self.append(&Entry::Flow(Record { egress: half, findings }));
            states = 2;
        }
        let egress = Egress { revision: states - 1, ..egress };
        self.append(&Entry::Flow(Record { egress, findings }));
        let is_violation = !is_approved(destination) && !is_attempt;
        let sum = self.truth.sums.entry((day, to, by)).or_default();
        if sum.states == 0 {
            sum.first_ns = at_ns;
        }
        sum.states += u64::from(states);
        sum.flows += 1;
        sum.attempts += u64::from(is_attempt);
        sum.violations += u64::from(is_violation);
        sum.sent += sent;
        sum.received += received;
        sum.violating += if is_violation { sent } else { 0 };
        self.truth.large(sent, flow);
    }

    fn append(&mut self, entry: &Entry) {
        self.store.append(entry).expect("append");
    }

    /// What was only added up.
    fn rollup(&mut self, day: u64) {
        let to = (day as usize) % DESTINATIONS.len();
        let destination = &DESTINATIONS[to];
        let sent_bytes = 1_000 + self.rng.u64(..1_000_000);
        let rollup = Rollup {
            hour: Timestamp::from_secs(START_S + day * DAY_S),
            program: PROGRAMS[0].path.into(),
            user: Some(User { id: 0, name: Some("root".into()) }),
            country: Country::Known(code(destination.country)),
            verdict: if is_approved(destination) { Verdict::Approved } else { Verdict::Unapproved },
            provenance: Some(Arc::clone(&self.provenance)),
            flows: 10,
            traffic: Traffic { sent_bytes, sent_packets: 10, ..Traffic::default() },
        };
        self.append(&Entry::Rollup(rollup));
        self.truth.rollups.insert((day, to), (10, sent_bytes));
    }

    /// The last segment is one that is still written; with `ends` nothing of note is in it.
    fn close(&mut self, path: &Path, name: &str) {
        self.store.seal().expect("seal");
        if !self.ends {
            return;
        }
        let spare = tempfile::tempdir().expect("a directory");
        let other = open(spare.path(), name, 1 << 40, 1);
        std::mem::replace(&mut self.store, other).close().expect("close");
        let mut store = open(path, name, 1 << 40, 1);
        for _ in 0..3 {
            let at = Timestamp::from_secs(self.said_s);
            store.append(&Entry::Notice { at, notice: Notice::Alive }).expect("append");
            store.seal().expect("seal");
        }
        store.close().expect("close");
    }
}
