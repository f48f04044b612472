//! What the stations of a simulation wrote, added up: told by who made it, and never read from a ledger.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path};

use geofenced::fleet::{Phase, Record};

use super::world::{DESTINATIONS, PROGRAMS, START_S};

/// Sums of one station, day, destination and program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum {
    pub states: u64,
    pub flows: u64,
    pub attempts: u64,
    pub violations: u64,
    pub sent: u64,
    pub received: u64,
    pub violating: u64,
    pub first_ns: u64,
}

/// Of which station, on which day, where to and by which program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Of {
    pub station: String,
    pub day: u64,
    pub to: usize,
    pub by: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub sums: BTreeMap<Of, Sum>,
    /// Flows and bytes that were only added up, by station, day and destination.
    pub rollups: BTreeMap<(String, u64, usize), (u64, u64)>,
    /// Bytes and id.
    pub largest: Vec<(u64, String)>,
    /// From, to and why, in seconds, by station.
    pub gaps: BTreeMap<String, Vec<(u64, u64, String)>>,
    /// First and last word, in seconds.
    pub watched: BTreeMap<String, (u64, u64)>,
}

impl Truth {
    pub fn read(&mut self, path: &Path) {
        let text = fs::read_to_string(path).expect("the truth of a station");
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<u64>().expect("a number");
            let station = words[1].to_owned();
            match words[0] {
                "flows" => {
                    let (day, to, by) = (number(2), number(3) as usize, number(4) as usize);
                    let sum = self.sums.entry(Of { station, day, to, by }).or_default();
                    if sum.states == 0 {
                        sum.first_ns = number(12);
                    }
                    sum.states += number(5);
                    sum.flows += number(6);
                    sum.attempts += number(7);
                    sum.violations += number(8);
                    sum.sent += number(9);
                    sum.received += number(10);
                    sum.violating += number(11);
                    sum.first_ns = sum.first_ns.min(number(12));
                }
                "rollup" => {
                    let key = (station, number(2), number(3) as usize);
                    let sum = self.rollups.entry(key).or_default();
                    *sum = (sum.0 + number(4), sum.1 + number(5));
                }
                "largest" => self.largest.push((number(2), words[3].to_owned())),
                "gap" => {
                    let gap = (number(2), number(3), words[4].to_owned());
                    self.gaps.entry(station).or_default().push(gap);
                }
                "watch" => {
                    let (from, to) = (number(2), number(3));
                    let span = self.watched.entry(station).or_insert((from, to));
                    *span = (span.0.min(from), span.1.max(to));
                }
                other => panic!("{other} is no word of the truth"),
            }
        }
        self.largest.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        self.largest.truncate(12);
    }

    /// A state that is nowhere any more.
    pub fn forget(&mut self, station: &str, record: &Record) {
        let egress = &record.egress;
        let address = egress.remote.expect("an address").ip();
        let to = DESTINATIONS.iter().position(|it| IpAddr::from(it.address) == address);
        let path = record.sender.process().and_then(|it| it.executable.clone()).expect("a path");
        let by = PROGRAMS.iter().position(|it| it.path == &*path).expect("a program");
        let day = (egress.started_at.secs() - START_S) / 86_400;
        let of = Of { station: station.to_owned(), day, to: to.expect("a destination"), by };
        let sum = self.sums.get_mut(&of).expect("it was made");
        sum.states -= 1;
        if egress.ended_at.is_some() {
            sum.flows -= 1;
            sum.attempts -= u64::from(egress.phase == Phase::Attempt);
            sum.sent -= egress.traffic.sent_bytes;
            sum.received -= egress.traffic.received_bytes;
            if record.is_violation() {
                sum.violations -= 1;
                sum.violating -= egress.traffic.sent_bytes;
            }
        }
        if sum.states == 0 {
            self.sums.remove(&of);
        }
        let id = egress.flow.to_string();
        self.largest.retain(|(_, it)| *it != id);
    }

    pub fn forget_rollup(&mut self, station: &str, hour_ns: u64) {
        let day = (hour_ns / 1_000_000_000 - START_S) / 86_400;
        self.rollups.retain(|(name, of, _), _| name != station || *of != day);
    }

    /// States of flows of a station.
    pub fn states(&self, station: &str) -> u64 {
        self.sums.iter().filter(|(of, _)| of.station == station).map(|(_, it)| it.states).sum()
    }

    /// Seconds in which nobody watched.
    pub fn unwatched_s(&self, station: &str) -> u64 {
        self.gaps.get(station).into_iter().flatten().map(|(from, to, _)| to - from).sum()
    }
}
