//! Three days of a ground station, minute by minute: what its ledger holds. Always the same. Who and where is
//! `cast`'s; it writes nothing.

use std::{net::SocketAddr, sync::Arc};

use geofenced::inside::{
    config::Policy,
    event::{
        BootId, DatabaseId, Egress, Entry, Findings, FlowId, Host, Lookup, Mark, MarkKind, Moment,
        Notice, Origin, Phase, Process, Provenance, Record, Share, Timeline, Timestamp, Traffic,
        Transport,
    },
    judge::judge_address,
};

use super::{
    cast::{self, Destination},
    source::{Source, State, once},
};

const SECOND: u64 = 1_000_000_000;
/// 2026-11-17 00:00:00 UTC, a Tuesday.
const FIRST_DAY: u64 = 1_794_873_600;
const DAYS: u64 = 3;
pub(crate) const MIB: u64 = 1 << 20;
/// By what the program from /tmp sent at three in the morning.
pub(crate) const UPLOADED: u64 = 48 * MIB;
/// How often it called home in that night.
pub(crate) const BEATS: u64 = 180;

/// `(day, hour, minute, second)`, the first day is 0.
type Clock = (u64, u64, u64, u64);

fn at((day, hour, minute, second): Clock) -> Timestamp {
    Timestamp::from_secs(FIRST_DAY + ((day * 24 + hour) * 60 + minute) * 60 + second)
}

fn later(moment: Timestamp, seconds: u64) -> Timestamp {
    Timestamp(moment.0 + seconds * SECOND)
}

fn timeline() -> Timeline {
    // Booted five days before, at six.
    let wall_at_boot_ns = i64::try_from((FIRST_DAY - 5 * 86_400 + 6 * 3_600) * SECOND);
    let wall_at_boot_ns = wall_at_boot_ns.expect("a time of this century");
    Timeline { boot: BootId([0x6b; 16]), wall_at_boot_ns, is_trusted: true }
}

fn moment(wall: Timestamp) -> Moment {
    Moment { boot_ns: timeline().boot_ns(wall), timeline: timeline() }
}

fn host() -> Arc<Host> {
    Arc::new(Host { name: "gs-1".into(), id: Some([0x91; 32]) })
}

/// When the second policy came into force.
fn reloaded_at() -> Timestamp {
    at((1, 9, 0, 0))
}

/// What is in force: a policy, and what records name it by.
struct InForce<'a> {
    policy: &'a Policy,
    provenance: Arc<Provenance>,
}

impl<'a> InForce<'a> {
    fn of(policy: &'a Policy) -> Self {
        let database = |label: &str, name: &str, digit| DatabaseId {
            label: label.into(),
            name: name.into(),
            dated: Timestamp::from_secs(FIRST_DAY - 16 * 86_400),
            sha256: [digit; 32],
        };
        let databases = vec![
            database("country", "Example Country", 0x1c),
            database("operator", "Example Operator", 0x1d),
        ];
        let (policy_sha256, host) = (policy.sha256, Some(host()));
        let provenance =
            Arc::new(Provenance { policy_sha256, databases, is_learning: false, host });
        Self { policy, provenance }
    }

    fn notice(&self) -> Notice {
        let lines = self.policy.text.lines().map(Into::into).collect();
        Notice::Policy { sha256: self.policy.sha256, lines }
    }
}

/// The ledger as it comes about.
struct Plan<'a> {
    before: InForce<'a>,
    after: InForce<'a>,
    flows: u64,
    entries: Vec<(Timestamp, Entry)>,
}

/// All that the ledger holds, in its order.
pub(crate) fn entries(before: &Policy, after: &Policy) -> Vec<Entry> {
    let (before, after) = (InForce::of(before), InForce::of(after));
    let mut plan = Plan { before, after, flows: 0, entries: Vec::new() };
    plan.daemon();
    plan.services();
    plan.flights();
    plan.people();
    plan.incident();
    // Of one moment in the order in which they were planned.
    plan.entries.sort_by_key(|(at, _)| *at);
    plan.entries.into_iter().map(|(_, entry)| entry).collect()
}

impl Plan<'_> {
    fn in_force(&self, at: Timestamp) -> &InForce<'_> {
        if at < reloaded_at() { &self.before } else { &self.after }
    }

    fn notice(&mut self, at: Timestamp, notice: Notice) {
        self.entries.push((at, Entry::Notice { at, notice }));
    }

    /// Starts of the daemon, its restart on the first day, and the new policy.
    fn daemon(&mut self) {
        for (started, stopped) in [((0, 0, 0, 0), (0, 12, 0, 0)), ((0, 12, 3, 0), (DAYS, 0, 0, 0))]
        {
            let started = at(started);
            let probes = ["egress", "connect", "forward"].map(Into::into).to_vec();
            let policy_sha256 = self.before.policy.sha256;
            self.notice(
                started,
                Notice::Started { version: "0.1.0".into(), probes, policy_sha256 },
            );
            self.notice(started, Notice::Host(host()));
            self.notice(started, Notice::ClockRead(moment(started)));
            self.notice(started, self.before.notice());
            self.notice(at(stopped), Notice::Stopped);
        }
        // Each minute a word, but in those of the restart.
        for minute in (1..DAYS * 24 * 60).filter(|minute| !(720..=723).contains(minute)) {
            self.notice(at((0, 0, minute, 0)), Notice::Alive);
        }
        let policy_sha256 = self.after.policy.sha256;
        self.notice(reloaded_at(), Notice::Reloaded { policy_sha256 });
        self.notice(reloaded_at(), self.after.notice());
    }

    fn flow(
        &mut self,
        from: Timestamp,
        source: &Source,
        transport: Transport,
        to: &Destination,
        states: &[State],
    ) {
        let number = self.flows;
        self.flows += 1;
        let port = 32_768 + u16::try_from(number * 37 % 28_000).expect("below 28000");
        // The key of an accepted connection is the other way round.
        let port = if source.origin == Origin::Accepted { 22 } else { port };
        let in_force = self.in_force(from);
        let findings = Arc::new(Findings {
            sender: source.sender.clone(),
            place: to.place.clone(),
            judgement: judge_address(in_force.policy, to.address, &to.place),
            provenance: Some(Arc::clone(&in_force.provenance)),
            verdict_now: None,
            timeline: Some(timeline()),
        });
        let hash = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let address = source.address.parse().expect("an address");
        for (revision, state) in (0..).zip(states) {
            let last_at = later(from, state.after);
            let is_last = usize::try_from(revision) == Ok(states.len() - 1);
            let egress = Egress {
                flow: FlowId(u128::from(from.0) << 64 | u128::from(hash)),
                revision,
                started_at: from,
                last_at,
                ended_at: is_last.then_some(last_at),
                phase: if state.sent.1 == 0 { Phase::Attempt } else { Phase::Sent },
                origin: source.origin,
                transport,
                local: Some(SocketAddr::new(address, port)),
                remote: Some(to.address),
                traffic: Traffic {
                    sent_bytes: state.sent.0,
                    sent_packets: state.sent.1,
                    received_bytes: state.received.0,
                    received_packets: state.received.1,
                },
                passage: source.passage.clone(),
                activity: None,
            };
            let record = Record { egress, findings: Arc::clone(&findings) };
            self.entries.push((last_at, Entry::Flow(record)));
        }
    }

    /// A question to the resolver and its answer, and the flow that they are.
    fn lookup(
        &mut self,
        asked_at: Timestamp,
        process: &Arc<Process>,
        kind: &str,
        name: &str,
        answer: &[Destination],
    ) {
        let source = Source::of(process);
        let resolver = cast::resolver();
        let answer = answer.iter().map(|it| it.address.ip()).collect();
        for (at, answer) in [(asked_at, None), (Timestamp(asked_at.0 + SECOND / 50), Some(answer))]
        {
            let lookup = Lookup {
                at,
                sender: source.sender.clone(),
                server: resolver.address,
                transport: Transport::UDP,
                name: name.into(),
                kind: kind.into(),
                answer,
                host: Some(host()),
            };
            self.entries.push((at, Entry::Lookup(lookup)));
        }
        self.flow(asked_at, &source, Transport::UDP, &resolver, &once(0, (63, 1), (79, 1)));
    }

    /// What the station does every day.
    fn services(&mut self) {
        let boot = at((0, 0, 0, 0));
        let chronyd = Source::of(&Arc::new(cast::chronyd(boot)));
        let recorder = Source::by_ipv6(&Arc::new(cast::recorder(boot)));
        let telemetry = Arc::new(cast::telemetry(boot));
        for hour in 0..DAYS * 24 {
            let states = once(30, (228, 3), (228, 3));
            self.flow(at((0, hour, 17, 0)), &chronyd, Transport::UDP, &cast::clock(), &states);
            if hour % 2 == 0 {
                let states = once(95, (640_000 + hour * 1_000, 460), (18_000, 300));
                let from = at((0, hour, 30, 0));
                self.flow(from, &recorder, Transport::TCP, &cast::storage(), &states);
            }
            for minute in [5, 35] {
                let states = once(8, (4_200 + hour % 7 * 60, 24), (2_400, 20));
                let source = Source::of(&telemetry);
                let from = at((0, hour, minute, 0));
                self.flow(from, &source, Transport::TCP, &cast::broker(), &states);
            }
        }
        for day in 0..DAYS {
            let asked_at = at((day, 0, 4, 59));
            self.lookup(asked_at, &telemetry, "A", "telemetry.example.org", &[cast::broker()]);
            let pid = 8_000 + u32::try_from(day).expect("three days") * 100;
            for (pid, minute, received) in
                [(pid, 10, (412_000, 300)), (pid + 1, 11, (9_800_000, 6_900))]
            {
                let from = at((day, 6, minute, 0));
                let source = Source::of(&Arc::new(cast::apt(pid, from)));
                let states = once(6, (1_900, 30), received);
                self.flow(from, &source, Transport::TCP, &cast::packages(), &states);
            }
        }
    }

    /// A flight a day: live video, and the drone's own traffic through the station.
    fn flights(&mut self) {
        for (start, tens_of_minutes) in [((0, 10, 0, 0), 3), ((1, 14, 0, 0), 4), ((2, 11, 0, 0), 2)]
        {
            let start = at(start);
            let process = Arc::new(cast::live_video(start));
            let video = "video.example.com";
            self.lookup(later(start, 1), &process, "A", video, &[cast::video()]);
            let states: Vec<State> = (1..=tens_of_minutes)
                .map(|ten| State {
                    after: ten * 600 - 60,
                    sent: (ten * 200 * MIB, ten * 150_000),
                    received: (ten * MIB, ten * 20_000),
                })
                .collect();
            let source = Source::of(&process);
            self.flow(later(start, 2), &source, Transport::TCP, &cast::video(), &states);
            for number in 0..3 {
                let states = once(12, (6_200, 40), (310_000, 260));
                let from = later(start, 60 + number * 20);
                self.flow(from, &Source::drone(), Transport::TCP, &cast::maps(), &states);
            }
            let states = once(20, (84_000, 70), (2_100, 30));
            let from = later(start, 300);
            self.flow(from, &Source::drone(), Transport::TCP, &cast::drone_logs(), &states);
        }
        let shares = vec![Share {
            destination: "video.example.com".into(),
            purpose: "flight control".into(),
            until: None,
        }];
        let marks = [
            (MarkKind::Start, (1, 13, 58, 0), Some("pilot Bo"), shares),
            (MarkKind::Stop, (1, 14, 42, 0), None, vec![]),
        ];
        for (kind, clock, note, shares) in marks {
            let note = note.map(Into::into);
            let mark =
                Mark { kind, name: "flight 12".into(), note, shares, moment: moment(at(clock)) };
            self.notice(at(clock), Notice::Mark(Arc::new(mark)));
        }
    }

    /// Who logs in, and what ana does there.
    fn people(&mut self) {
        for (pid, clock, lasts) in [
            (7_001, (0, 8, 0, 0), 1_200),
            (7_101, (1, 8, 20, 0), 2_400),
            (7_201, (2, 8, 0, 0), 600),
        ] {
            let from = at(clock);
            let source = Source::accepted(&Arc::new(cast::sshd(pid, from)));
            let states = once(lasts, (220_000, 900), (31_000, 700));
            self.flow(from, &source, Transport::TCP, &cast::office(), &states);
        }
        for (pid, clock) in [(3_204, (0, 15, 40, 0)), (3_390, (2, 15, 12, 0))] {
            let from = at(clock);
            let line = "curl -T notes.txt https://paste.example.net/";
            let source = Source::of(&Arc::new(cast::by_ana(pid, "/usr/bin/curl", line, from)));
            let states = once(2, (3_300, 12), (1_800, 9));
            self.flow(from, &source, Transport::TCP, &cast::unlocated(), &states);
        }
        for (pid, clock) in [(3_220, (0, 16, 2, 0)), (3_402, (2, 16, 20, 0))] {
            let from = at(clock);
            let file = "/usr/lib/firefox/firefox";
            let source = Source::of(&Arc::new(cast::by_ana(pid, file, file, from)));
            let states = once(45, (9_100, 60), (240_000, 190));
            self.flow(from, &source, Transport::TCP, &cast::disputed(), &states);
        }
    }

    /// The update of each night; in the second it starts what it fetched, in the third that begins again, and is
    /// stopped.
    fn incident(&mut self) {
        for (day, shell, received) in
            [(0, 3_901, (21_000, 24)), (1, 4_101, (1_482_000, 1_050)), (2, 5_101, (21_000, 24))]
        {
            let from = at((day, 1, 58, 30));
            let curl = Arc::new(cast::curl(shell, from));
            self.lookup(from, &curl, "A", "updates.example.com", &[cast::updates()]);
            let source = Source::of(&curl);
            let states = once(3, (2_400, 18), received);
            self.flow(later(from, 1), &source, Transport::TCP, &cast::updates(), &states);
        }
        let fwcheck = Arc::new(cast::fwcheck(4_101, at((1, 1, 58, 40))));
        let again = Arc::new(cast::fwcheck(5_101, at((2, 1, 58, 40))));
        for (day, process, beats) in [(1, &fwcheck, BEATS), (2, &again, 3)] {
            let asked_at = at((day, 1, 59, 58));
            self.lookup(asked_at, process, "A", "sync.example.net", &[cast::beacon()]);
            for beat in 0..beats {
                let states = once(1, (412, 6), (380, 5));
                let from = later(at((day, 2, 0, 0)), beat * 60);
                let source = Source::of(process);
                self.flow(from, &source, Transport::TCP, &cast::beacon(), &states);
            }
        }
        self.upload(&fwcheck);
    }

    fn upload(&mut self, fwcheck: &Arc<Process>) {
        let source = Source::of(fwcheck);
        self.lookup(at((1, 2, 59, 50)), fwcheck, "A", "drop.example.net", &[cast::dropped_at()]);
        let nothing = once(0, (0, 0), (0, 0));
        self.flow(at((1, 2, 59, 55)), &source, Transport::TCP, &cast::refused(), &nothing);
        let thirds: Vec<State> = (1..=3)
            .map(|third| State {
                after: third * 120,
                sent: (UPLOADED / 3 * third, 12_000 * third),
                received: (210_000 * third, 4_000 * third),
            })
            .collect();
        self.flow(at((1, 3, 0, 7)), &source, Transport::TCP, &cast::dropped_at(), &thirds);
        self.lookup(at((1, 3, 6, 10)), fwcheck, "TXT", "done.gs-1.drop.example.net", &[]);
    }
}
