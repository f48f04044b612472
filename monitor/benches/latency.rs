//! How long after its first packet a violation is on the live stream, and when queries can show it: flows of
//! a socket each, at several rates, through the real probes in a lab of namespaces. It asserts nothing about
//! time. Needs root: `cargo bench -p monitor --bench latency`; the numbers go to docs/performance.md.

use std::{
    collections::HashSet,
    io::{BufRead, BufReader, Write},
    net::UdpSocket,
    os::unix::net::UnixStream,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use harness::{Lab, Site};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

/// By which this program knows that it is to send.
const WORD: &str = "send";
/// Flows a second, and how many of them.
const RATES: [(u64, u64); 4] = [(20, 300), (1_000, 10_000), (10_000, 50_000), (20_000, 100_000)];
/// A tick of who sends: shorter sleeps are not kept anyway.
const TICK: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(10);
const LATENCY: &str = "geofenced_event_latency_seconds";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [word, rate, count] = &words[..]
        && word == WORD
    {
        return send(rate.parse().expect("a rate"), count.parse().expect("a count"));
    }
    println!("| new flows a second | made | on the stream | p50 | p99 | most | to stored, p99 |");
    println!("|---|---|---|---|---|---|---|");
    for (rate, count) in RATES {
        measure(rate, count);
    }
}

fn send(rate: u64, count: u64) {
    let began = Instant::now();
    let mut made = 0;
    while made < count {
        let due = began.elapsed().as_micros() as u64 * rate / 1_000_000;
        while made < due.min(count) {
            let to =
                (["203.0.113.1", "203.0.113.2"][(made & 1) as usize], 9 + (made % 60_000) as u16);
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            // The link may take no more for a moment; who counts sees it.
            let _ = socket.send_to(&[0; 64], to);
            made += 1;
        }
        thread::sleep(TICK);
    }
}

fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

fn measure(rate: u64, count: u64) {
    let lab = Lab::new();
    let site = Site::new(env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(lab.cgroup.path());
    site.drop_in("store", "[store]\nmax_size = \"4GiB\"\n");
    let daemon = site.start();
    let arrivals = listen(&site);
    let mut sender = Command::new(std::env::current_exe().expect("the path of this program"));
    sender.args([WORD, &rate.to_string(), &count.to_string()]);
    let ended = lab.host.admit(lab.cgroup.admit(&mut sender)).status().expect("send");
    assert!(ended.success(), "{ended}");
    // The stream stays open: it is at its end when nothing comes any more.
    let (mut seen, mut took_ns) = (HashSet::new(), Vec::new());
    while let Ok((line, at_ns)) = arrivals.recv_timeout(Duration::from_secs(3)) {
        let event: Value = serde_json::from_str(&line).expect("an event");
        if event["geofenced"]["phase"] != "sent" {
            continue;
        }
        let id = event["event"]["id"].as_str().expect("its id").to_owned();
        let began_ns = event["geofenced"]["boot"]["ns"].as_u64().expect("when it began");
        if seen.insert(id) {
            took_ns.push(at_ns - began_ns);
        }
    }
    took_ns.sort_unstable();
    let part = |percent: usize| took_ns[(took_ns.len() - 1) * percent / 100] as f64 / 1e6;
    let stored = stored(&site);
    println!(
        "| {rate} | {count} | {} | {:.1} ms | {:.1} ms | {:.1} ms | {stored} |",
        took_ns.len(),
        part(50),
        part(99),
        part(100)
    );
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}

/// Lines of the stream as they come, each with the time at which it was there.
fn listen(site: &Site) -> mpsc::Receiver<(String, u64)> {
    let mut stream = UnixStream::connect(site.socket()).expect("the daemon's socket");
    write!(stream, "GET /v1/events/stream HTTP/1.1\r\nhost: x\r\n\r\n").expect("ask");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let (told, arrivals) = mpsc::channel();
    let mut lines = BufReader::with_capacity(1 << 20, stream).lines();
    // Behind the head, the stream is there.
    assert!(lines.any(|line| line.expect("the head").is_empty()), "no answer");
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            // Between them stand sizes of chunks.
            if line.starts_with('{') && told.send((line, boot_ns())).is_err() {
                break;
            }
        }
    });
    arrivals
}

/// The bound of the histogram below which 99 of 100 are.
fn stored(site: &Site) -> String {
    let metrics = site.metrics();
    let all = metrics.sum(&format!("{LATENCY}_count"), &[]);
    let bounds = metrics.nonzero(&format!("{LATENCY}_bucket"));
    let bound = bounds.iter().find_map(|line| {
        let (labels, value) = line.rsplit_once(' ')?;
        let value: f64 = value.parse().ok()?;
        (value >= 0.99 * all).then(|| labels.split('"').nth(3).map(str::to_owned))?
    });
    format!("at most {} s of {all}", bound.unwrap_or_else(|| "?".into()))
}
