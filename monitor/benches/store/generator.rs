//! Realistic states of flows for the benchmark of the store, the same on every run. It measures nothing.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use geofenced::inside::event::{
    Ancestor, Attribution, BootId, Certainty, Country, CountryCode, DatabaseId, Domain,
    DomainSource, Egress, ExecutedFile, Findings, FlowId, Host, Judgement, Operator, Origin, Phase,
    Place, Process, Provenance, Reason, Record, Sender, Timeline, Timestamp, Traffic, Transport,
    User, Verdict,
};

pub(super) const HOUR: u64 = 3_600_000_000_000;
/// 2026-06-01T00:00:00Z.
pub(super) const START: u64 = 1_780_272_000_000_000_000;
/// A program, and with it a destination, of 40 flows among the million.
pub(super) const RARE: &str = "rare-tool";
/// That it is in.
pub(super) const CONTAINER: &str = "rare-container";
const RARE_EVERY: u64 = 19_231;
const COUNTRIES: [&str; 40] = [
    "US", "DE", "IE", "NL", "GB", "FR", "SG", "JP", "CN", "RU", "CA", "SE", "FI", "BR", "IN", "AU",
    "KR", "HK", "TW", "IT", "ES", "PL", "CH", "AT", "BE", "DK", "NO", "CZ", "RO", "UA", "TR", "IL",
    "AE", "ZA", "MX", "AR", "CL", "ID", "VN", "IR",
];

/// States of flows in the order a daemon would write them; programs, destinations and countries by
/// Zipf; three flows of ten told a second time when they end.
pub(super) struct Generator {
    random: Random,
    programs: Zipf,
    destinations: Zipf,
    pub(super) processes: Vec<Arc<Process>>,
    pub(super) places: Vec<(SocketAddr, Place)>,
    ends: BinaryHeap<Reverse<(u64, u128)>>,
    open: std::collections::HashMap<u128, Record>,
    pub(super) now: u64,
    step: u64,
    next_pid: u32,
    begun: u64,
    rare: (Arc<Process>, SocketAddr, Place),
    provenance: Arc<Provenance>,
    /// By program: which of its own destinations.
    pub(super) own: Vec<Zipf>,
}

fn rare() -> (Arc<Process>, SocketAddr, Place) {
    let process = Process {
        name: RARE.into(),
        executable: Some("/usr/bin/python3.11".into()),
        file: ExecutedFile { sha256: Some([0xab; 32]), ..ExecutedFile::default() },
        command_line: Some(format!("{RARE} /opt/{RARE}.py").into()),
        user: User { id: 4711, name: Some("rare".into()) },
        unit: Some(format!("{RARE}.service").into()),
        container: Some(CONTAINER.into()),
        ..(*process(999, 999)).clone()
    };
    let operator = Operator {
        asn: Some(65_000),
        name: Some("Rare Networks".into()),
        country: CountryCode::new("IR"),
        is_anycast: false,
    };
    let name = "www.rare.example".into();
    let place = Place {
        country: CountryCode::new("IR").map_or(Country::Unlocated, Country::Known),
        second: None,
        operator: Some(Arc::new(operator)),
        domain: Some(Domain { name, source: DomainSource::Dns, is_trusted: false }),
        server_name: None,
        via: None,
    };
    (Arc::new(process), SocketAddr::new(Ipv4Addr::new(203, 0, 113, 7).into(), 443), place)
}

fn provenance() -> Arc<Provenance> {
    let database = |label: &str, sha256: u8| DatabaseId {
        label: label.into(),
        name: format!("Example {label} database").into(),
        dated: Timestamp(START),
        sha256: std::array::from_fn(|at| sha256.wrapping_mul(31).wrapping_add((at * at) as u8)),
    };
    let databases = vec![database("country", 7), database("second", 8), database("operator", 9)];
    let host = Host { name: "uav-7.example.org".into(), id: Some([0x7b; 32]) };
    Arc::new(Provenance {
        policy_sha256: [0x5a; 32],
        is_learning: false,
        databases,
        host: Some(Arc::new(host)),
    })
}

impl Generator {
    pub(super) fn new(records: usize, days: u64) -> Self {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let processes = (0..300).map(|program| process(program, 1000 + program)).collect();
        let countries = Zipf::new(COUNTRIES.len(), 1.3);
        let operators: Vec<Arc<Operator>> = (0..800)
            .map(|number| {
                Arc::new(Operator {
                    asn: Some(64_000 + number),
                    name: Some(format!("Operator {number} Networks Inc.").into()),
                    country: CountryCode::new(COUNTRIES[countries.pick(&mut random)]),
                    is_anycast: number.is_multiple_of(20),
                })
            })
            .collect();
        let by_size = Zipf::new(operators.len(), 1.0);
        let places = (0..20_000_u32)
            .map(|number| {
                let [_, a, b, c] = (number * 13).to_be_bytes();
                let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(20, a, b, c)), 443);
                let country = CountryCode::new(COUNTRIES[countries.pick(&mut random)]);
                let domain = (!number.is_multiple_of(3))
                    .then(|| format!("host{number}.service{}.example", number % 2000).into())
                    .map(|name| Domain { name, source: DomainSource::Dns, is_trusted: false });
                let place = Place {
                    country: country.map_or(Country::Unlocated, Country::Known),
                    second: if number.is_multiple_of(30) {
                        CountryCode::new("DE")
                    } else {
                        country
                    },
                    operator: Some(Arc::clone(&operators[by_size.pick(&mut random)])),
                    domain,
                    server_name: None,
                    via: None,
                };
                (address, place)
            })
            .collect();
        Self {
            random,
            programs: Zipf::new(300, 1.2),
            destinations: Zipf::new(20_000, 1.05),
            processes,
            places,
            ends: BinaryHeap::new(),
            open: std::collections::HashMap::new(),
            now: START,
            // Of ten flows come thirteen states.
            step: days * 24 * HOUR * 13 / 10 / records as u64,
            next_pid: 5000,
            begun: 0,
            rare: rare(),
            provenance: provenance(),
            own: Vec::new(),
        }
    }

    fn destination(&mut self, program: usize) -> usize {
        match self.own.get(program) {
            Some(own) => (program * 7_919 + own.pick(&mut self.random) * 13) % self.places.len(),
            None => self.destinations.pick(&mut self.random),
        }
    }

    pub(super) fn next_state(&mut self) -> Record {
        let next = self.now + self.step / 2 + self.random.below(self.step);
        if self.ends.peek().is_some_and(|Reverse((at, _))| *at <= next)
            && let Some(Reverse((at, flow))) = self.ends.pop()
            && let Some(mut record) = self.open.remove(&flow)
        {
            let egress = &mut record.egress;
            egress.revision += 1;
            egress.last_at = Timestamp(at);
            egress.ended_at = Some(Timestamp(at));
            egress.traffic.sent_bytes += 60 + self.random.below(200_000);
            egress.traffic.received_bytes += self.random.below(2_000_000);
            return record;
        }
        self.now = next;
        let mut record = self.begin();
        record.egress.ended_at = Some(Timestamp(self.now));
        if self.random.below(10) < 3 {
            record.egress.ended_at = None;
            let lasts = 1_000_000_000 + self.random.below(600_000_000_000);
            self.ends.push(Reverse((self.now + lasts, record.egress.flow.0)));
            self.open.insert(record.egress.flow.0, record.clone());
        }
        record
    }

    fn begin(&mut self) -> Record {
        let program = self.programs.pick(&mut self.random);
        if self.random.below(20) == 0 {
            self.next_pid += 1;
            self.processes[program] = process(program as u32, self.next_pid);
        }
        let destination = self.destination(program);
        let (remote, place) = &self.places[destination];
        let sender = &self.processes[program];
        self.begun += 1;
        let is_rare = self.begun.is_multiple_of(RARE_EVERY);
        let (sender, remote, place) = match &self.rare {
            (process, remote, place) if is_rare => (process, remote, place),
            _ => (sender, remote, place),
        };
        let is_udp = if self.own.is_empty() {
            self.random.below(4) == 0
        } else {
            destination.is_multiple_of(4)
        };
        let unapproved =
            !matches!(place.country.code().map(CountryCode::bytes), Some([b'U', b'S']));
        Record {
            egress: Egress {
                flow: FlowId(u128::from(self.now) << 64 | u128::from(self.random.next())),
                revision: 0,
                started_at: Timestamp(self.now),
                last_at: Timestamp(self.now),
                ended_at: None,
                phase: Phase::Sent,
                origin: Origin::Process,
                transport: if is_udp { Transport::UDP } else { Transport::TCP },
                local: Some(SocketAddr::new(
                    Ipv4Addr::new(192, 168, 1, 7).into(),
                    32_768 + self.random.below(28_000) as u16,
                )),
                remote: Some(*remote),
                traffic: Traffic { sent_bytes: 60, sent_packets: 1, ..Traffic::default() },
                passage: geofenced::inside::event::Passage::default(),
                activity: None,
            },
            findings: Arc::new(Findings {
                sender: Sender::Process {
                    process: Arc::clone(sender),
                    attribution: Attribution::Socket,
                    creator: None,
                },
                place: place.clone(),
                judgement: Judgement {
                    verdict: if unapproved { Verdict::Unapproved } else { Verdict::Approved },
                    certainty: Certainty::Full,
                    reason: if is_rare { Reason::Rule("rare".into()) } else { Reason::Country },
                },
                provenance: Some(Arc::clone(&self.provenance)),
                verdict_now: None,
                timeline: Some(Timeline {
                    boot: BootId([7; 16]),
                    wall_at_boot_ns: START.cast_signed(),
                    is_trusted: true,
                }),
            }),
        }
    }
}

fn process(program: u32, pid: u32) -> Arc<Process> {
    let text = |text: String| -> Option<Arc<str>> { Some(text.into()) };
    Arc::new(Process {
        pid,
        name: format!("program-{program}").into(),
        executable: text(format!("/usr/lib/vendor{}/bin/program-{program}", program % 17)),
        executable_claimed: None,
        file: ExecutedFile::default(),
        command_line: text(format!(
            "program-{program} --config /etc/program-{program}.conf --id {pid}"
        )),
        started_at: Some(Timestamp(START - u64::from(pid) * 1_000_003)),
        parents: vec![Ancestor {
            pid: 1,
            name: "systemd".into(),
            executable: text("/usr/lib/systemd/systemd".into()),
            command_line: text("/sbin/init".into()),
            started_at: Some(Timestamp(START - HOUR)),
        }],
        user: User { id: program % 40, name: text(format!("user{}", program % 40)) },
        unit: text(format!("program-{program}.service")),
        container: None,
        cgroup: text(format!("/system.slice/program-{program}.service")),
        netns: Some(4_026_531_840),
    })
}

/// xorshift64*: the same records on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
}

pub(super) struct Zipf(Vec<f64>);

impl Zipf {
    pub(super) fn new(count: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=count).map(|rank| {
            sum += 1.0 / (rank as f64).powf(exponent);
            sum
        });
        Self(weights.collect())
    }
    fn pick(&self, random: &mut Random) -> usize {
        let total = self.0.last().copied().unwrap_or(1.0);
        let at = (random.next() >> 11) as f64 / (1_u64 << 53) as f64 * total;
        self.0.partition_point(|sum| *sum < at).min(self.0.len() - 1)
    }
}
