//! Measures the lookup of class and verdict inside the kernel, by the kernel's own clock: the time of
//! a program that looks addresses up, less that of one that does all but that. Needs root.
//! `cargo bench -p monitor --bench places`; the numbers go to docs/performance.md. It asserts nothing
//! about time.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use geofenced::inside::{
    config::Config,
    locate::Locator,
    pipeline::Rules,
    probe::{Places, Trial},
};
use monitor_ebpf::places::CLASSIFIED;

const ADDRESSES: usize = 1 << 16;
const ROUNDS: usize = 25;
/// Runs over the same addresses, one after the other.
const OFTEN: u32 = 200;
const CHANGES: usize = 101;

fn main() {
    let config = Config::builtin();
    let locator = Locator::open(&config.geo, &config.policy.local_networks);
    let rules = Rules::new(config.policy, locator.expect("the embedded databases"));
    let (trial, mut places) = Trial::load().expect("load the lookup; as root");
    changes(&mut places, &rules);
    let mut random = random();
    println!("nanoseconds a lookup, {ROUNDS} rounds: best, median, worst");
    let v4 = routed(&rules, || Ipv4Addr::from(random() as u32).into());
    let v6 = routed(&rules, || Ipv6Addr::from(u128::from(1 << 61 | random() >> 3) << 64).into());
    for (family, addresses) in [("IPv4", v4), ("IPv6", v6)] {
        let few = &addresses[..64 * CLASSIFIED];
        cost(&trial, &format!("{family}, {CLASSIFIED} destinations, each often"), few, OFTEN);
        cost(&trial, &format!("{family}, {ADDRESSES} destinations, each once"), &addresses, 1);
    }
    let bounds: Vec<IpAddr> = rules.locator.image().tables().seams(ADDRESSES).collect();
    let (of_v4, of_v6): (Vec<IpAddr>, Vec<IpAddr>) = bounds.iter().partition(|it| it.is_ipv4());
    cost(&trial, "IPv4, bounds of ranges in order", &of_v4, 1);
    cost(&trial, "IPv6, bounds of ranges in order", &of_v6, 1);
}

/// Numbers that look random and are the same each time (`xorshift64*`).
fn random() -> impl FnMut() -> u64 {
    let mut state = 7_u64;
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Random addresses of which an operator is known.
fn routed(rules: &Rules, mut next: impl FnMut() -> IpAddr) -> Vec<IpAddr> {
    let image = rules.locator.image();
    let classes = image.classes();
    let is_routed = |address: &IpAddr| {
        let class = classes.get(usize::from(image.tables().class(*address)));
        class.is_some_and(|class| class.operator_country().is_some())
    };
    std::iter::repeat_with(&mut next).filter(is_routed).take(ADDRESSES).collect()
}

fn cost(trial: &Trial, name: &str, addresses: &[IpAddr], times: u32) {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(trial, addresses, times)).collect();
    rounds.sort_by(f64::total_cmp);
    println!("{name:42} {:6.1} {:6.1} {:6.1}", rounds[0], rounds[ROUNDS / 2], rounds[ROUNDS - 1]);
}

fn round(trial: &Trial, addresses: &[IpAddr], times: u32) -> f64 {
    let mut nanoseconds = 0.0;
    let mut lookups = 0;
    for some in addresses.chunks_exact(CLASSIFIED) {
        let (with, without) = trial.cost(some, times).expect("run the lookup");
        nanoseconds += with.as_secs_f64() * 1e9 - without.as_secs_f64() * 1e9;
        lookups += CLASSIFIED;
    }
    nanoseconds / f64::from(u32::try_from(lookups).unwrap_or(u32::MAX))
}

/// How long new tables and verdicts take, and verdicts alone.
fn changes(places: &mut Places, rules: &Rules) {
    let began = Instant::now();
    let verdicts = rules.verdicts();
    println!("{} classes judged in {:?}", verdicts.len(), began.elapsed());
    let tables = rules.locator.image().tables();
    let mut report = |what: &str, change: &mut dyn FnMut(&mut Places)| {
        let mut took: Vec<_> = (0..CHANGES)
            .map(|_| {
                places.settle();
                let began = Instant::now();
                change(places);
                began.elapsed()
            })
            .collect();
        took.sort_unstable();
        println!("{what}: {:?} (median), {:?} at most", took[CHANGES / 2], took[CHANGES - 1]);
    };
    report("tables and verdicts changed", &mut |places| {
        places.put(&tables, &verdicts).expect("put the tables");
    });
    report("verdicts changed", &mut |places| {
        places.put_verdicts(&verdicts).expect("put the verdicts");
    });
}
