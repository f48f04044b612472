//! Measures where addresses are looked up: the image against the `maxminddb` crate in the same run,
//! building an image, opening a kept one, decoding what is embedded.
//! `cargo bench -p monitor --bench locate [-- COUNTRY.mmdb]`; the numbers go to
//! docs/performance.md. It asserts nothing about time. Without a file it makes one of the embedded
//! ranges' shape, so that both look into the same networks.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    time::{Duration, Instant},
};

use geofenced::inside::{
    config::Config,
    locate::{Cache, Locator},
};
use maxminddb::{PathElement, Reader};

const ADDRESSES: usize = 1 << 16;
const ROUNDS: usize = 16;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let geo = Config::builtin().geo;
    println!("machine: {}", cpu());

    let resident_before = resident_kb();
    let (took, locator) = timed(|| open(&geo, Cache::Keep(folder.path())));
    println!(
        "image built and kept: {took:.1?}, resident at most {} kB more",
        peak_kb() - resident_before
    );
    println!(
        "image: {} bytes, {} classes",
        locator.image().bytes(),
        locator.image().classes().len()
    );
    let columns = locator.image().tables().columns();
    println!("IPv4 starts {}, IPv6 keys {}", columns.starts.len(), columns.keys.len());
    drop(locator);
    let opened: Vec<Duration> =
        (0..20).map(|_| timed(|| open(&geo, Cache::Keep(folder.path()))).0).collect();
    tell("image opened, kept one", &opened);
    let built: Vec<Duration> = (0..5).map(|_| timed(|| open(&geo, Cache::Off)).0).collect();
    tell("image built in memory", &built);

    let locator = open(&geo, Cache::Keep(folder.path()));
    let addresses4 = some_addresses(&locator, true);
    let addresses6 = some_addresses(&locator, false);
    for (family, addresses) in [("IPv4", &addresses4), ("IPv6", &addresses6)] {
        lookup(&format!("{family}: image, class"), addresses, |address| {
            locator.image().tables().class(address)
        });
        lookup(&format!("{family}: image, place with its operator"), addresses, |address| {
            locator.locate(address)
        });
    }
    if let Some(path) = std::env::args().skip(1).find(|it| Path::new(it).is_file()) {
        against(Path::new(&path), &addresses4, &addresses6, folder.path());
    } else {
        println!("maxminddb: no file given");
    }
}

/// The same addresses in a database of MaxMind's format, by the crate; and an image of that database.
fn against(path: &Path, addresses4: &[IpAddr], addresses6: &[IpAddr], folder: &Path) {
    let reader = Reader::open_readfile(path).expect("a database");
    for (family, addresses) in [("IPv4", addresses4), ("IPv6", addresses6)] {
        lookup(&format!("{family}: maxminddb, country"), addresses, |address| {
            let found = reader.lookup(address).expect("found");
            found.decode_path::<&str>(&[PathElement::Key("country_code")]).expect("read")
        });
    }
    drop(reader);
    let mut geo = Config::builtin().geo;
    geo.database = Some(path.to_owned());
    let (took, _) = timed(|| open(&geo, Cache::Keep(folder)));
    println!("image built with {}: {took:.1?}", path.display());
    let opened: Vec<Duration> =
        (0..20).map(|_| timed(|| open(&geo, Cache::Keep(folder))).0).collect();
    tell("image opened, that one", &opened);
}

fn open(geo: &geofenced::inside::config::Geo, cache: Cache<'_>) -> Locator {
    Locator::open_with(geo, &[], cache).expect("an image")
}

/// Within ranges of known countries, each range as likely as the others: hard on caches.
fn some_addresses(locator: &Locator, is_v4: bool) -> Vec<IpAddr> {
    let tables = locator.image().tables();
    let (v4, v6): (Vec<u32>, Vec<u64>) =
        (tables.ranges4().map(|it| it.0).collect(), tables.ranges6().map(|it| it.0).collect());
    let mut seed = 20_261_125_u64;
    let mut random = || {
        // SplitMix64.
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let address = |random: u64| -> IpAddr {
        if is_v4 {
            let start = v4[random as usize % v4.len()];
            Ipv4Addr::from(start.wrapping_add(random as u32 >> 28)).into()
        } else {
            let start = v6[random as usize % v6.len()];
            Ipv6Addr::from(u128::from(start) << 64 | u128::from(random)).into()
        }
    };
    (0..ADDRESSES).map(|_| address(random())).collect()
}

fn lookup<T>(what: &str, addresses: &[IpAddr], mut look: impl FnMut(IpAddr) -> T) {
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| timed(|| addresses.iter().for_each(|it| drop(black_box(look(black_box(*it)))))).0)
        .collect();
    rounds.sort_unstable();
    let each = |round: Duration| round.as_secs_f64() * 1e9 / addresses.len() as f64;
    println!("{what}: {:.0} ns (best {:.0})", each(rounds[ROUNDS / 2]), each(rounds[0]));
}

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let made = work();
    (begun.elapsed(), made)
}

fn tell(what: &str, times: &[Duration]) {
    let mut times = times.to_vec();
    times.sort_unstable();
    println!(
        "{what}: {:.1?} (best {:.1?}, worst {:.1?})",
        times[times.len() / 2],
        times[0],
        times[times.len() - 1]
    );
}

fn resident_kb() -> u64 {
    status("VmRSS:")
}

fn peak_kb() -> u64 {
    status("VmHWM:")
}

fn status(field: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    name.unwrap_or("unknown").to_owned()
}
