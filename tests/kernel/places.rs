//! Classes and verdicts in the kernel: it finds what user space finds, and one generation of tables is
//! never mixed with another, however often they change under traffic. Needs root.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use geofenced::inside::{
    config::{Capture, Config, NamesConfig, UnknownCountry},
    event::{CountryCode, Verdict},
    locate::{
        Locator,
        tables::{Tables, TablesRef},
    },
    pipeline::Rules,
    probe::{Classified, Kernel, Places, Source, Trial},
};
use harness::{Lab, Side, Site};
use monitor_ebpf::{
    loss::Loss,
    places::UNASKED,
    sample::{EgressSample, kind},
    settings,
};
use zerocopy::FromBytes;

const MILLION: usize = 1_000_000;
/// Times that tables, verdicts or both change.
const CHANGES: usize = 300;

/// The embedded databases, and a policy under which every verdict is one of some class.
fn rules() -> Rules {
    let mut config = Config::builtin();
    config.policy.approved_countries =
        ["US", "DE"].into_iter().filter_map(CountryCode::new).collect();
    config.policy.unknown_country = UnknownCountry::Unknown;
    let locator = Locator::open(&config.geo, &config.policy.local_networks);
    Rules::new(config.policy, locator.expect("the embedded databases"))
}

/// Numbers that look random and are the same each time (`xorshift64*`).
fn random(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Fails at the first address of which the kernel says something else than the tables in user space.
fn assert_agrees(addresses: &[IpAddr]) {
    let rules = rules();
    let (trial, mut places) = Trial::load().expect("load the lookup");
    let (tables, verdicts) = (rules.locator.image().tables(), rules.verdicts());
    let generation = places.put(&tables, &verdicts).expect("put the tables");
    let (mut asked, mut unasked) = (0, 0);
    let check = |address: IpAddr, answer: Classified| {
        let class = tables.class(address.to_canonical());
        let verdict = verdicts[usize::from(class)];
        assert_eq!(answer, Classified { class, verdict, generation }, "{address}");
        asked += 1;
        unasked += usize::from(class == UNASKED);
    };
    trial.ask(addresses, check).expect("run the lookup");
    assert_eq!(asked, addresses.len());
    // Whatever an IPv4 address is carried in, and what lies in ::/64.
    println!("{asked} addresses agree; of {unasked} the probes say nothing");
}

#[test]
fn the_kernel_finds_what_user_space_finds_for_a_million_random_ipv4_addresses() {
    let mut next = random(1);
    let v4: Vec<IpAddr> = (0..MILLION).map(|_| Ipv4Addr::from(next() as u32).into()).collect();
    assert_agrees(&v4);
}

#[test]
fn the_kernel_finds_what_user_space_finds_for_a_million_random_ipv6_addresses() {
    let mut next = random(2);
    let address = |number| {
        let (high, low) = (next(), next());
        // Most of them where addresses are given out: 2000::/3.
        let high = if number % 8 == 0 { high } else { 1 << 61 | high >> 3 };
        Ipv6Addr::from(u128::from(high) << 64 | u128::from(low)).into()
    };
    let v6: Vec<IpAddr> = (0..MILLION).map(address).collect();
    assert_agrees(&v6);
}

#[test]
fn the_kernel_finds_what_user_space_finds_at_two_million_bounds_of_ranges() {
    let rules = rules();
    let tables = rules.locator.image().tables();
    let count = |is_v4: bool, all: &[IpAddr]| all.iter().filter(|it| it.is_ipv4() == is_v4).count();
    let mut seams: Vec<IpAddr> = tables.seams(usize::MAX).collect();
    let mut next = random(3);
    // A little beyond each bound, until there are a million of each family.
    let bounds = seams.clone();
    for is_v4 in [true, false] {
        let missing = MILLION.saturating_sub(count(is_v4, &seams));
        let some = bounds.iter().filter(|it| it.is_ipv4() == is_v4).cycle().take(missing);
        let nearby = some.map(|address| match address {
            IpAddr::V4(it) => {
                Ipv4Addr::from(u32::from(*it).wrapping_add(next() as u32 % 300)).into()
            }
            IpAddr::V6(it) => {
                let by = u128::from(next() % 300) << 64;
                Ipv6Addr::from(u128::from(*it).wrapping_add(by)).into()
            }
        });
        let nearby: Vec<IpAddr> = nearby.collect();
        seams.extend(nearby);
    }
    assert!(count(true, &seams) >= MILLION && count(false, &seams) >= MILLION);
    assert_agrees(&seams);
}

/// What was in force under one name.
#[derive(Clone, Copy, Debug)]
struct Generation {
    name: u32,
    /// Which of the two tables.
    tables: usize,
    /// Verdicts are those of the classes, moved on by this.
    shift: usize,
}

/// Two tables that give every address another class, and verdicts that each change moves on: class
/// and verdict of an address tell which of them were looked into.
struct Changing {
    tables: [Tables; 2],
    history: Vec<Generation>,
}

impl Changing {
    fn new() -> Self {
        let rules = rules();
        let real = rules.locator.image().tables();
        let other = |class: u16| class.wrapping_add(0x8001);
        let moved4 = real.ranges4().map(|(start, class)| (start, other(class)));
        let moved6 = real.ranges6().map(|(start, class)| (start, other(class)));
        let tables = [Tables::build(real.ranges4(), real.ranges6()), Tables::build(moved4, moved6)];
        Self { tables: tables.map(|it| it.expect("tables")), history: Vec::new() }
    }

    fn verdict(class: u16, shift: usize) -> Verdict {
        Verdict::ALL[(usize::from(class) + shift) % Verdict::ALL.len()]
    }

    /// The change with this number: every third is one of verdicts alone. Returns how long it took.
    fn change(&mut self, places: &mut Places, number: usize) -> Duration {
        let verdicts: Vec<_> = (0..=u16::MAX).map(|it| Some(Self::verdict(it, number))).collect();
        let last = self.history.last().map_or(1, |it| it.tables);
        let alone = number % 3 == 2;
        let tables = if alone { last } else { 1 - last };
        places.settle();
        let began = Instant::now();
        let name = if alone {
            places.put_verdicts(&verdicts)
        } else {
            places.put(&self.tables[tables].borrow(), &verdicts)
        };
        let took = began.elapsed();
        self.history.push(Generation { name: name.expect("a change"), tables, shift: number });
        took
    }

    /// Fails if an answer is not one of its generation's tables and verdicts alone.
    fn assert_consistent(&self, address: IpAddr, answer: Classified) {
        let its = self.history.iter().find(|it| it.name == answer.generation);
        let its = its.unwrap_or_else(|| panic!("{address}: {answer:?} is of no generation"));
        let tables: TablesRef<'_> = self.tables[its.tables].borrow();
        let class = tables.class(address.to_canonical());
        let verdict = Some(Self::verdict(class, its.shift));
        let right = Classified { class, verdict, generation: its.name };
        assert_eq!(answer, right, "{address} by {its:?}");
    }
}

fn report(mut took: Vec<Duration>, what: &str) {
    took.sort_unstable();
    let at = |share: usize| took[(took.len() - 1) * share / 100];
    println!("{what}: a change takes {:?} (median), {:?} at most", at(50), at(100));
}

#[test]
fn three_hundred_changes_under_the_lookups_of_two_threads_never_mix_generations() {
    let (trial, mut places) = Trial::load().expect("load the lookup");
    let mut changing = Changing::new();
    let mut took = vec![changing.change(&mut places, 0)];
    let mut next = random(4);
    let addresses: Vec<IpAddr> = (0..64)
        .map(|number| match number % 2 {
            0 => Ipv4Addr::from(next() as u32).into(),
            _ => Ipv6Addr::from((1_u128 << 125) | u128::from(next()) << 61).into(),
        })
        .collect();
    let done = AtomicBool::new(false);
    let ask = || {
        let mut seen: HashMap<(IpAddr, u32), Classified> = HashMap::new();
        let mut asked = 0_u64;
        while !done.load(Ordering::Relaxed) {
            let each = |address, answer: Classified| {
                let first = *seen.entry((address, answer.generation)).or_insert(answer);
                assert_eq!(first, answer, "{address}");
                asked += 1;
            };
            trial.ask(&addresses, each).expect("run the lookup");
        }
        (seen, asked)
    };
    let asked = thread::scope(|scope| {
        let asking = [scope.spawn(ask), scope.spawn(ask)];
        for number in 1..=CHANGES {
            took.push(changing.change(&mut places, number));
        }
        done.store(true, Ordering::Relaxed);
        asking.map(|it| it.join().expect("no answer contradicts another"))
    });
    let generations: std::collections::BTreeSet<u32> =
        asked.iter().flat_map(|(seen, _)| seen.keys().map(|(_, name)| *name)).collect();
    for ((address, _), answer) in asked.iter().flat_map(|(seen, _)| seen) {
        changing.assert_consistent(*address, *answer);
    }
    let lookups: u64 = asked.iter().map(|(_, asked)| asked).sum();
    println!("{lookups} lookups in {} of {} generations", generations.len(), CHANGES + 1);
    report(took, "under lookups");
    assert!(generations.len() > CHANGES / 3, "the lookups saw {} generations", generations.len());
}

/// Adds what was told of flows since.
fn samples(kernel: &mut Kernel, samples: &mut Vec<EgressSample>) {
    kernel.collect_all();
    kernel.drain(usize::MAX, &mut |bytes| {
        if let Ok((sample, _)) = EgressSample::read_from_prefix(bytes)
            && sample.kind == kind::EGRESS
        {
            samples.push(sample);
        }
    });
}

#[test]
fn three_hundred_changes_under_traffic_lose_no_flow_and_mix_no_generations() {
    const FLOWS: u64 = 20_000;
    let lab = Lab::new();
    let capture = Capture {
        interfaces: Some(Vec::new()),
        cgroup: Some(lab.cgroup.path().to_owned()),
        ring_bytes: settings::RING_BYTES,
        // None of them is ever forgotten here.
        max_flows: 1 << 20,
        self_test: None,
    };
    let mut kernel = Kernel::attach(&capture, &NamesConfig::default()).expect("attach the probes");
    let mut places = kernel.take_places().expect("where tables go");
    let mut changing = Changing::new();
    let mut took = vec![changing.change(&mut places, 0)];
    let done = AtomicBool::new(false);
    let mut told = Vec::new();
    let made = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let mut made = 0;
            for round in 0.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                // A round's flows have ports of their own; new sockets begin new flows at old ones.
                let first = 10_000 + round % 5 * 10_000;
                let words = format!(
                    "burst-new-socket --to 203.0.113.1 --to 203.0.113.2 --to 2001:db8:f::1 --ports {first}-{} --bytes 10 --count {FLOWS}",
                    first + 9_999
                );
                made += lab.egress(&words).flows_made;
            }
            made
        });
        for number in 1..=CHANGES {
            took.push(changing.change(&mut places, number));
            samples(&mut kernel, &mut told);
        }
        done.store(true, Ordering::Relaxed);
        while !sending.is_finished() {
            samples(&mut kernel, &mut told);
            thread::sleep(Duration::from_millis(10));
        }
        sending.join().expect("the generator")
    });
    samples(&mut kernel, &mut told);
    let losses = kernel.losses().expect("read the losses");
    assert_eq!(losses, [0; Loss::ALL.len()]);
    let flows: std::collections::HashSet<_> = told.iter().map(|it| it.flow).collect();
    let mine = |address: [u8; 16]| {
        let address = IpAddr::from(address).to_canonical();
        ["203.0.113.1", "203.0.113.2", "2001:db8:f::1"].iter().any(|it| it.parse() == Ok(address))
    };
    let seen = flows.iter().filter(|flow| mine(flow.remote)).count() as u64;
    assert_eq!(seen, made);
    for sample in &told {
        let answer = Classified {
            class: sample.class,
            verdict: geofenced::inside::decode::verdict(sample.verdict),
            generation: sample.generation,
        };
        changing.assert_consistent(IpAddr::from(sample.flow.remote), answer);
    }
    println!("{made} flows, each told, in {} samples", told.len());
    report(took, "under traffic");
}

const CLASSIFIED: &str = "geofenced_classified_flows_total";
const BY_KERNEL: [(&str, &str); 1] = [("by", "kernel")];

/// Sends to an address until that is told with this verdict: the pipeline takes new rules over at its
/// next sweep.
fn assert_judged(lab: &Lab, site: &Site, to: &str, verdict: &str) {
    let socket = SocketAddr::new(to.parse().expect("an address"), 9);
    let send = || {
        let truth = lab.egress(&format!("udp-sendto --to {socket}"));
        let event = harness::eventually(|| site.events_of(truth.pid).pop())?;
        (event["geofenced"]["verdict"] == verdict).then_some(())
    };
    let is_told = harness::eventually(send).is_some();
    assert!(is_told, "{to} is not {verdict}: {:?}", site.events(&["--destination", to]));
}

fn reload(site: &Site, daemon: &harness::Daemon<'_>) {
    let count = || site.metrics().sum("geofenced_config_reloads_total", &[("result", "success")]);
    let before = count();
    daemon.signal(rustix::process::Signal::HUP);
    let reloaded = harness::eventually(|| (count() > before).then_some(()));
    assert!(reloaded.is_some(), "not reloaded\n{}", site.log());
}

#[test]
fn a_reloaded_policy_and_database_are_those_that_the_kernel_judges_by() {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    assert_judged(&lab, &site, "198.51.100.1", "approved");
    assert_judged(&lab, &site, "203.0.113.1", "unapproved");
    assert_judged(&lab, &site, "2001:db8:f::1", "unapproved");

    site.drop_in("policy", "[policy]\napproved_countries = [\"CN\", \"RU\"]\n");
    reload(&site, &daemon);
    assert_judged(&lab, &site, "198.51.100.2", "unapproved");
    assert_judged(&lab, &site, "203.0.113.2", "approved");
    assert_judged(&lab, &site, "2001:db8:f::2", "approved");

    let elsewhere = "[[geo.override]]\nnetwork = \"203.0.113.128/25\"\ncountry = \"US\"\n";
    site.drop_in("policy", elsewhere);
    reload(&site, &daemon);
    assert_judged(&lab, &site, "203.0.113.3", "unapproved");
    assert_judged(&lab, &site, "203.0.113.129", "approved");
    assert_judged(&lab, &site, "198.51.100.3", "approved");

    let metrics = site.metrics();
    let by_kernel = metrics.sum(CLASSIFIED, &BY_KERNEL);
    // What is sent while the daemon takes new rules over, it judges itself: two of three are later.
    assert!(by_kernel > 6.5, "{:?}\n{}", metrics.nonzero(CLASSIFIED), site.log());
    assert!(metrics.sum("geofenced_verdict_disagreements_total", &[]) < 0.5);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn a_connection_that_a_new_policy_objects_to_is_a_violation_from_then_on_and_counted_once() {
    const VIOLATIONS: &str = "geofenced_violations_total";
    let to = "198.51.100.3";
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    let mut sink = lab.start(Side::Internet, "serve-tcp --listen [::]:0 --count 1");
    let port = sink.listening().port();
    let mut holding = lab.start(Side::Host, &format!("hold-tcp --to {to}:{port} --count 1"));
    holding.holding();
    let verdict = |wanted: &str| {
        harness::eventually(|| {
            let event = site.events(&["--destination", to]).pop()?;
            (event["geofenced"]["verdict"] == wanted).then_some(())
        })
    };
    assert!(verdict("approved").is_some(), "{:?}", site.events(&[]));
    assert!(site.metrics().nonzero(VIOLATIONS).is_empty());

    site.drop_in("policy", "[policy]\napproved_countries = [\"RU\"]\n");
    reload(&site, &daemon);
    // The new policy is in force; a violation before that is one of another country.
    assert_judged(&lab, &site, "2001:db8:f::9", "approved");
    holding.finish();
    sink.finish();
    assert!(verdict("unapproved").is_some(), "{:?}", site.events(&[]));
    let violations = site.metrics().sum(VIOLATIONS, &[("country", "US")]);
    assert!((violations - 1.0).abs() < f64::EPSILON, "{violations}");
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

#[test]
fn approved_flows_for_which_nobody_is_woken_are_told_and_none_is_lost() {
    const FLOWS: f64 = 50_000.0;
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    let daemon = site.start();
    lab.egress("burst-one-socket --to 198.51.100.1 --ports 10000-59999 --count 50000");
    let approved = [("verdict", "approved")];
    let seen = || site.metrics().sum("geofenced_egress_flows_total", &approved);
    let all = harness::eventually(|| (seen() > FLOWS - 0.5).then_some(()));
    let metrics = site.metrics();
    let lost = metrics.nonzero("geofenced_events_lost_total");
    assert!(all.is_some() && lost.is_empty(), "{} seen, lost {lost:?}\n{}", seen(), site.log());
    assert!(metrics.sum(CLASSIFIED, &BY_KERNEL) > FLOWS - 0.5, "{:?}", metrics.nonzero(CLASSIFIED));
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}
