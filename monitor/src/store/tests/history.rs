//! Made-up histories of flows, with everything that a ledger may hold and few values of each, so
//! that filters match some. It knows nothing of the store.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use crate::{
    event::{
        Activity, Ancestor, Attribution, BootId, Certainty, Country, CountryCode, DatabaseId,
        Domain, DomainSource, Egress, Entry, ExecutedFile, FileId, Findings, FlowId, Host,
        Judgement, Lookup, Mac, Mark, MarkKind, Moment, Notice, Operator, Origin, Passage, Phase,
        Place, Process, Provenance, Reason, Record, Rollup, Sender, ServerName, Share, Timeline,
        Timestamp, Traffic, Transport, User, Verdict, Via,
    },
    filter::{Filter, Query, RawFilter},
};

const COUNTRIES: [&str; 5] = ["US", "CN", "RU", "IR", "DE"];
const REMOTES: [&str; 10] = [
    "203.0.113.7:443",
    "203.0.113.9:80",
    "203.0.112.1:53",
    "198.51.100.1:443",
    "198.51.101.1:22",
    "[2001:db8:f::1]:443",
    "[2001:db8:f:1::2]:443",
    "[2001:db8:e::2]:443",
    "192.0.2.1:0",
    "10.1.2.3:5432",
];
const DOMAINS: [&str; 6] =
    ["example.com", "api.Example.com.", "badexample.com", "example.org", "cdn.example.org", "org"];
const ANSWERS: [[&str; 2]; 3] = [
    ["2001:db8::1", "203.0.113.7"],
    ["203.0.112.200", "203.0.112.201"],
    ["2001:db8:f::7", "2001:db8:e::2"],
];
const SECOND: u64 = 1_000_000_000;
const SCRIPT: &str = "python3 -u /opt/live.py 5";
const LONG_ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

pub(in crate::store) struct History {
    seed: u64,
    now: u64,
    open: Vec<Record>,
}

impl History {
    pub(in crate::store) fn new(seed: u64) -> Self {
        Self { seed: seed | 1, now: 1_700_000_000 * SECOND, open: Vec::new() }
    }

    pub(in crate::store) fn random(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        (self.seed >> 11) % below
    }

    fn one_of<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.random(of.len() as u64) as usize].clone()
    }

    pub(in crate::store) fn entries(&mut self, count: usize) -> Vec<Entry> {
        (0..count).map(|_| self.entry()).collect()
    }

    pub(in crate::store) fn entry(&mut self) -> Entry {
        // At times two begin at the same instant.
        self.now += self.random(4) * SECOND * 20;
        match self.random(20) {
            0 => Entry::Notice { at: Timestamp(self.now), notice: self.notice() },
            1 => Entry::Rollup(self.rollup()),
            2 => Entry::Lookup(self.lookup()),
            3..=9 if !self.open.is_empty() => Entry::Flow(self.restate()),
            _ => Entry::Flow(self.begin()),
        }
    }

    pub(in crate::store) fn begin(&mut self) -> Record {
        let id = u128::from(self.now) << 64 | u128::from(self.random(u64::MAX));
        let at = Timestamp(self.now);
        let egress = Egress {
            flow: FlowId(id),
            revision: 0,
            started_at: at,
            last_at: at,
            ended_at: (self.random(3) == 0).then_some(at),
            phase: self.one_of(Phase::ALL),
            origin: self.one_of(Origin::ALL),
            transport: Transport(self.one_of(&[6, 17, 1, 132])),
            local: self.one_of(&[None, "192.168.1.2:40000".parse().ok(), scoped()]),
            remote: Some(self.one_of(&REMOTES).parse().unwrap()),
            traffic: Traffic { sent_bytes: self.bytes(), ..Traffic::default() },
            passage: Passage {
                is_malformed: self.random(4) == 0,
                mac: self.one_of(&[None, Some(Mac([2; 6])), Some(Mac([6; 6]))]),
                ..Passage::default()
            },
            activity: self.activity(),
        };
        let record = Record {
            egress,
            findings: Arc::new(Findings {
                sender: self.sender(),
                place: self.place(),
                judgement: self.judgement(),
                provenance: self.provenance(),
                verdict_now: (self.random(9) == 0).then_some(Verdict::Approved),
                timeline: self.timeline(),
            }),
        };
        if record.egress.ended_at.is_none() {
            self.open.push(record.clone());
        }
        record
    }

    /// Of any size, up to a mebibyte.
    fn bytes(&mut self) -> u64 {
        let bits = self.random(21);
        self.random(1 << bits)
    }

    fn activity(&mut self) -> Option<Box<Activity>> {
        let counted = (0..self.random(4)).map(|at| (at as u8 * 7, self.random(255) as u8 + 1));
        let counted: Vec<(u8, u8)> = counted.collect();
        (!counted.is_empty()).then(|| Activity::of(counted).map(Box::new))?
    }

    /// Another state of a flow; anything but its start may have changed.
    fn restate(&mut self) -> Record {
        let at = self.random(self.open.len() as u64) as usize;
        let (ends, more) = (self.random(2) == 0, self.bytes());
        let mut record = if ends { self.open.swap_remove(at) } else { self.open[at].clone() };
        let egress = &mut record.egress;
        egress.revision += 1;
        egress.last_at = egress.last_at.max(Timestamp(self.now));
        egress.phase = Phase::Sent;
        egress.traffic.received_bytes += 1000;
        egress.traffic.sent_bytes += more;
        egress.ended_at = ends.then_some(egress.last_at);
        if self.random(2) == 0 {
            record.place = self.place();
            record.judgement = self.judgement();
            record.sender = self.sender();
        }
        if !ends {
            self.open[at] = record.clone();
        }
        record
    }

    fn sender(&mut self) -> Sender {
        if self.random(6) == 0 {
            return Sender::Nobody;
        }
        let program = self.random(6);
        let text = |text: String| Some(Arc::from(text));
        let process = Process {
            pid: 100 + program as u32,
            name: if program == 0 { "Web Content".into() } else { format!("prog{program}").into() },
            executable: text(match self.random(5) {
                0 => "/usr/bin/python3.11".into(),
                other => format!("/opt/v{}/prog{program}", other % 2),
            })
            .filter(|_| self.random(4) != 0),
            executable_claimed: self.one_of(&[
                None,
                Some("./prog0".into()),
                Some("/opt/v1/prog2".into()),
            ]),
            file: ExecutedFile {
                executed_ns: 0,
                id: self.one_of(&[None, Some(FileId { device: 1 << 40, inode: program })]),
                is_hosts: self.random(2) == 0,
                known_as: None,
                sha256: self.one_of(&[None, Some([7; 32])]),
            },
            command_line: self.one_of(&[None, Some("a b c".into()), Some(SCRIPT.into())]),
            started_at: self.one_of(&[None, Some(Timestamp(self.now))]),
            parents: vec![
                Ancestor {
                    pid: 1,
                    name: "init".into(),
                    executable: None,
                    command_line: text("/sbin/init ü".into()),
                    started_at: Some(Timestamp(3)),
                };
                self.random(3) as usize
            ],
            user: User { id: self.random(3) as u32, name: self.one_of(&[None, Some("me".into())]) },
            unit: self.one_of(&[
                None,
                Some("chrony.service".into()),
                Some("user:1000/chrony.service".into()),
            ]),
            container: self.one_of(&[None, Some("0123abcd".into()), Some(LONG_ID.into())]),
            cgroup: self.one_of(&[None, Some("/system.slice".into())]),
            netns: self.one_of(&[None, Some(4_026_531_840)]),
        };
        let creator =
            (self.random(5) == 0).then(|| Arc::new(Process { pid: 99, ..process.clone() }));
        Sender::Process {
            process: Arc::new(process),
            attribution: self.one_of(Attribution::ALL),
            creator,
        }
    }

    fn lookup(&mut self) -> Lookup {
        let is_answered = self.random(2) == 0;
        let mut sender = self.sender();
        if let Sender::Process { creator, .. } = &mut sender {
            // Of a lookup nobody keeps it.
            *creator = None;
        }
        Lookup {
            at: Timestamp(self.now),
            sender,
            server: "192.0.2.53:53".parse().unwrap(),
            transport: Transport::UDP,
            name: self.one_of(&DOMAINS).into(),
            kind: "AAAA".into(),
            answer: is_answered.then(|| self.one_of(&ANSWERS).map(|it| it.parse().unwrap()).into()),
            host: self.host(),
        }
    }

    fn place(&mut self) -> Place {
        let operator = self.random(4);
        let operator = Operator {
            asn: (operator != 1).then_some(64_500 + operator as u32),
            name: (operator != 2).then(|| format!("ÖRTLICHE Cloud {operator}").into()),
            country: CountryCode::new(self.one_of(&COUNTRIES)),
            is_anycast: self.random(3) == 0,
        };
        Place {
            country: self.country(),
            second: self.one_of(&[None, CountryCode::new("CN"), CountryCode::new("US")]),
            operator: (self.random(4) != 0).then(|| Arc::new(operator)),
            domain: (self.random(3) != 0).then(|| Domain {
                name: self.one_of(&DOMAINS).into(),
                source: self.one_of(&[DomainSource::Dns, DomainSource::DnsHost]),
                is_trusted: self.random(2) == 0,
            }),
            server_name: match self.random(4) {
                0 => Some(ServerName::Undetermined),
                1 => Some(ServerName::Said {
                    name: self.one_of(&DOMAINS).into(),
                    source: self.one_of(&[DomainSource::Sni, DomainSource::Quic]),
                }),
                _ => None,
            },
            via: (self.random(8) == 0).then(|| Box::new(self.via())),
        }
    }

    fn via(&mut self) -> Via {
        let address = Ipv4Addr::from(0xcb00_7100 | self.random(9) as u32).into();
        let place = Place { domain: None, server_name: None, via: None, ..self.place() };
        Via { address, place }
    }

    fn country(&mut self) -> Country {
        match self.random(8) {
            0 => Country::Unlocated,
            1 => Country::Local,
            _ => Country::Known(CountryCode::new(self.one_of(&COUNTRIES)).unwrap()),
        }
    }

    fn judgement(&mut self) -> Judgement {
        Judgement {
            verdict: self.one_of(Verdict::ALL),
            certainty: self.one_of(Certainty::ALL),
            reason: self.one_of(&[
                Reason::Country,
                Reason::Operator,
                Reason::Unlocated,
                Reason::Rule("ntp".into()),
                Reason::LocalNetwork,
                Reason::Undetermined,
                Reason::Malformed,
            ]),
        }
    }

    fn provenance(&mut self) -> Option<Arc<Provenance>> {
        let dated = Timestamp(self.random(2));
        let database = |label: &str| DatabaseId {
            label: label.into(),
            name: format!("{label} database").into(),
            dated,
            sha256: [dated.0 as u8; 32],
        };
        (self.random(4) != 0).then(|| {
            let databases = ["country", "operator"].map(database);
            let databases = databases[..self.random(3) as usize].to_vec();
            let policy_sha256 = [self.random(2) as u8; 32];
            Arc::new(Provenance {
                policy_sha256,
                is_learning: self.random(4) == 0,
                databases,
                host: self.host(),
            })
        })
    }

    /// By the time alone, so that all else stays as made up as it was.
    fn host(&self) -> Option<Arc<Host>> {
        let which = self.now / SECOND;
        let id = which.is_multiple_of(2).then_some([7; 32]);
        let name = if which.is_multiple_of(3) { "uav-7" } else { "uav-8" }.into();
        (!which.is_multiple_of(4)).then(|| Arc::new(Host { name, id }))
    }

    fn timeline(&mut self) -> Option<Timeline> {
        let (boot, is_trusted) = (BootId([self.random(2) as u8; 16]), self.random(2) == 0);
        let wall_at_boot_ns = self.one_of(&[-1, 1_699_000_000_000_000_000]);
        (self.random(4) != 0).then_some(Timeline { boot, wall_at_boot_ns, is_trusted })
    }

    fn rollup(&mut self) -> Rollup {
        Rollup {
            hour: Timestamp(self.now).hour(),
            program: self.one_of(&["/opt/v0/prog1", "prog2", ""]).into(),
            user: self.one_of(&[None, Some(User { id: 2, name: None })]),
            country: self.country(),
            verdict: self.one_of(Verdict::ALL),
            provenance: self.provenance(),
            flows: self.random(100),
            traffic: Traffic { sent_packets: self.random(1 << 40), ..Traffic::default() },
        }
    }

    fn notice(&mut self) -> Notice {
        let count = self.random(1000);
        self.one_of(&[
            Notice::Started {
                version: "0.1.0".into(),
                probes: vec!["connect4".into(), "packet_egress".into()],
                policy_sha256: [9; 32],
            },
            Notice::Alive,
            Notice::Stopped,
            Notice::Lost {
                stage: "ring".into(),
                reason: "full".into(),
                count,
                since: count.is_multiple_of(2).then_some(Timestamp(count)),
            },
            Notice::Reloaded { policy_sha256: [count as u8; 32] },
            Notice::Cut { segment: count, bytes: 77 },
            Notice::AddedUp { user: Some(1000), flows: count, attempts: 3 },
            Notice::AddedUp { user: None, flows: count, attempts: 0 },
            Notice::Removed {
                segments: vec![1, 2, count],
                entries: 9,
                from: Timestamp(1),
                to: Timestamp(count),
            },
            Notice::Detached {
                probe: "uplink_egress".into(),
                interface: Some("eth0".into()),
                is_displaced: count.is_multiple_of(2),
            },
            Notice::Attached { probe: "connect4".into(), interface: None },
            Notice::Policy {
                sha256: [count as u8; 32],
                lines: vec!["geofenced policy 2".into(), "approved US".into()],
            },
            Notice::ClockStepped { from: Timestamp(count), to: Timestamp(3) },
            Notice::LostSight { flows: count },
            Notice::Mark(Arc::new(Mark {
                kind: if count.is_multiple_of(2) { MarkKind::Start } else { MarkKind::Stop },
                name: "LDM on".into(),
                note: count.is_multiple_of(3).then(|| "seen by Bo".into()),
                shares: vec![Share {
                    destination: "203.0.113.0/24".into(),
                    purpose: "maps".into(),
                    until: count.is_multiple_of(5).then_some(Timestamp(count)),
                }],
                moment: Moment {
                    boot_ns: count,
                    timeline: Timeline {
                        boot: BootId([4; 16]),
                        wall_at_boot_ns: 7,
                        is_trusted: false,
                    },
                },
            })),
            Notice::Host(Arc::new(Host { name: "uav-7".into(), id: Some([count as u8; 32]) })),
            Notice::ClockRead(Moment {
                boot_ns: count,
                timeline: Timeline { boot: BootId([3; 16]), wall_at_boot_ns: -5, is_trusted: true },
            }),
        ])
    }

    /// A question that some of its lookups may answer.
    pub(in crate::store) fn query_of_lookups(&mut self) -> Query {
        let Query { filter, .. } = self.query();
        let filter = Filter {
            countries: Vec::new(),
            operators: Vec::new(),
            ports: Vec::new(),
            verdicts: Vec::new(),
            origins: Vec::new(),
            reasons: Vec::new(),
            certainties: Vec::new(),
            min_bytes: None,
            phase: None,
            ..filter
        };
        Query { filter, ..Query::default() }
    }

    /// A question that some of it may answer.
    pub(in crate::store) fn query(&mut self) -> Query {
        let mut raw = RawFilter::default();
        let begun = 1_700_000_000 * SECOND;
        let span = (self.now - begun).max(1);
        let some = |history: &mut Self, of: &[&str]| {
            (history.random(4) == 0).then(|| history.one_of(of).to_owned())
        };
        raw.country = some(self, &["CN", "US,RU", "IR", "FR"]);
        raw.operator = some(self, &["AS64500", "AS64503", "örtliche", "cloud 3", "nobody"]);
        raw.process =
            some(self, &["prog1", "/opt/v1/prog2", "prog0", "Web Content", "none", "live.py"]);
        let rare = |history: &mut Self, of: &[&str]| {
            (history.random(8) == 0).then(|| history.one_of(of).to_owned())
        };
        raw.script = rare(self, &["live.py", "/opt/live.py", "/srv/live.py"]);
        raw.container = rare(self, &["0123abcd", "", "0123456789ab", "0123"]);
        raw.hash = rare(self, &["07070707", "070707070707070", "ffffffff"]);
        raw.pid = rare(self, &["101", "99,104"]);
        raw.tree = rare(self, &["1", "103"]);
        raw.verdict_reason = rare(self, &["rule:ntp", "country,rule:none", "malformed"]);
        raw.origin = rare(self, &["forwarded", "tunnel,kernel"]);
        raw.certainty = rare(self, &["disputed", "full,partial"]);
        raw.port = rare(self, &["443", "22,80", "9"]);
        raw.min_bytes = rare(self, &["0", "1", "1000", "64KiB", "1MiB"]);
        raw.destination = some(
            self,
            &[
                "203.0.113.0/24",
                "203.0.112.0/23",
                "203.0.113.7",
                "2001:db8:f::/48",
                "2001:db8::/32",
                "0.0.0.0/0",
                "example.com",
                "org",
            ],
        );
        raw.verdict = some(self, &["unapproved", "unknown,local"]);
        raw.transport = some(self, &["tcp", "udp,icmp"]);
        raw.phase = some(self, &["sent"]);
        raw.user = some(self, &["1", "me"]);
        raw.unit = some(self, &["chrony", "user:1000/chrony"]);
        raw.limit = some(self, &["1", "7", "1000"]);
        raw.reverse = self.random(2) == 0;
        let mut query = raw.parse(Timestamp(self.now)).unwrap();
        if self.random(2) == 0 {
            let since = begun + self.random(span);
            query.filter.since = Some(Timestamp(since));
            query.filter.until =
                (self.random(2) == 0).then(|| Timestamp(since + 1 + self.random(span)));
        }
        query
    }
}

fn scoped() -> Option<SocketAddr> {
    "[fe80::1%3]:546".parse().ok()
}

/// The answer by definition: the latest state of each flow, if it matches, by start.
pub(in crate::store) fn expected(entries: &[Entry], query: &Query) -> Vec<Record> {
    let mut latest: Vec<&Record> = Vec::new();
    for entry in entries {
        let Entry::Flow(record) = entry else { continue };
        latest.retain(|it| it.egress.flow != record.egress.flow);
        latest.push(record);
    }
    let filter: &Filter = &query.filter;
    latest.retain(|record| filter.matches(record));
    // Stable: flows of the same start stand as the ledger has their latest states.
    latest.sort_by_key(|record| record.egress.started_at);
    let skip = query.limit.map_or(0, |limit| latest.len().saturating_sub(limit));
    let mut latest: Vec<Record> = latest.into_iter().skip(skip).cloned().collect();
    if query.newest_first {
        latest.reverse();
    }
    latest
}
