//! Measures what the probes cost a packet that is forwarded, a datagram and a connection of the host:
//! the same work with the daemon attached and without, in turns, in namespaces of its own.
//! `cargo bench -p monitor --bench forward [-- ROUNDS]`, as root; the numbers go to
//! docs/performance.md. It asserts nothing about time, but that the daemon saw what was measured.

#[path = "forward/sender.rs"]
mod sender;

use std::{
    fs,
    io::Read,
    net::{SocketAddr, TcpListener, UdpSocket},
    process::{Command, Stdio},
    thread,
};

use harness::{CLIENT, CLIENT_ROUTED, Gateway, Namespace, Site};
use sender::{Sent, Work};

const ROUNDS: usize = 15;
/// In the internet: its socket takes what fits and drops the rest, so nothing is answered.
const SINK: &str = "203.0.113.5:9";
/// In the internet: accepts and waits for the end of each connection.
const SERVER: &str = "203.0.113.6:7000";

/// One kind of work, and who does it.
struct Kind {
    name: &'static str,
    work: Work,
    to: &'static str,
    from: Option<&'static str>,
    count: u64,
}

const KINDS: [Kind; 5] = [
    Kind {
        name: "forwarded behind NAT, a packet",
        work: Work::Flood,
        to: SINK,
        from: Some(CLIENT),
        count: 200_000,
    },
    Kind {
        name: "forwarded without NAT, a packet",
        work: Work::Flood,
        to: SINK,
        from: Some(CLIENT_ROUTED),
        count: 200_000,
    },
    Kind {
        name: "sendto(2), one flow",
        work: Work::Datagrams,
        to: SINK,
        from: None,
        count: 60_000,
    },
    Kind {
        name: "socket, sendto(2), close: a flow each",
        work: Work::Sockets,
        to: SINK,
        from: None,
        count: 20_000,
    },
    Kind {
        name: "TCP connect, accept, close",
        work: Work::Connections,
        to: SERVER,
        from: None,
        count: 3_000,
    },
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == sender::WORD) {
        return sender::run(&words[1..]);
    }
    let rounds = words.iter().find_map(|word| word.parse().ok()).unwrap_or(ROUNDS);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}, rounds: {rounds}", load.trim());
    let bench = Bench::new();
    println!("| | CPU without | with | ratio (quartiles) | control | a second without | with |");
    println!("|---|---|---|---|---|---|---|");
    for kind in &KINDS {
        let turns: Vec<Turn> = (0..rounds).map(|_| bench.turn(kind)).collect();
        report(kind, &turns);
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load after: {}", load.trim());
}

/// Without the daemon, with it, and without it again.
struct Turn {
    before: Sent,
    with: Sent,
    after: Sent,
}

struct Bench {
    gateway: Gateway,
    _sink: UdpSocket,
}

impl Bench {
    fn new() -> Self {
        let gateway = Gateway::new();
        // A fast machine makes more connections than there are ports to wait for their ends.
        gateway.lab.host.sysctl("ipv4/tcp_max_tw_buckets", "1");
        gateway.lab.host.sysctl("ipv4/ip_local_port_range", "1024 65535");
        // The lab's counting of each packet would be most of what is measured.
        for namespace in [&gateway.lab.host, &gateway.lab.internet] {
            let mut nft = Command::new("nft");
            nft.args(["delete", "table", "inet", "truth"]);
            let done = namespace.admit(&mut nft).status().expect("run nft");
            assert!(done.success(), "nft: {done}");
        }
        let internet = &gateway.lab.internet;
        let sink = internet.within(|| UdpSocket::bind(SINK)).expect("the sink");
        let server = internet.within(|| TcpListener::bind(SERVER)).expect("the server");
        thread::spawn(move || {
            for stream in server.incoming().flatten() {
                let _ = (&stream).read(&mut [0; 16]);
            }
        });
        Self { gateway, _sink: sink }
    }

    fn turn(&self, kind: &Kind) -> Turn {
        let before = self.measure(kind);
        let site = Site::inside(&self.gateway.lab.host, env!("CARGO_BIN_EXE_geofenced"));
        site.watch_only(self.gateway.lab.cgroup.path());
        let daemon = site.start();
        let with = self.measure(kind);
        let seen = || site.metrics().sum("geofenced_egress_packets_total", &[]);
        let told = harness::eventually(|| (seen() >= with.done as f64 * 0.99).then_some(()));
        assert!(told.is_some(), "{}: of {} the daemon saw {}", kind.name, with.done, seen());
        assert_eq!(daemon.stop(), Some(0), "{}", site.log());
        Turn { before, with, after: self.measure(kind) }
    }

    /// Lets a process of its own do the work. What counts is what arrived.
    fn measure(&self, kind: &Kind) -> Sent {
        let (lab, internet) = (&self.gateway.lab, &self.gateway.lab.internet);
        let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
        command.args([sender::WORD, kind.work.word(), kind.to, &kind.count.to_string()]);
        command.args(kind.from);
        match kind.from {
            Some(_) => self.gateway.client.admit(&mut command),
            None => lab.host.admit(lab.cgroup.admit(&mut command)),
        };
        let arrived_before = received(internet);
        let output = command.stderr(Stdio::inherit()).output().expect("run the sender");
        assert!(output.status.success(), "the sender: {}", output.status);
        let mut sent = Sent::parse(&String::from_utf8_lossy(&output.stdout));
        if kind.from.is_some() {
            sent.done = received(internet) - arrived_before;
        }
        sent
    }
}

/// Packets that came in by the internet's end of the cable.
fn received(internet: &Namespace) -> u64 {
    let text = internet.within(|| fs::read_to_string("/proc/thread-self/net/dev"));
    let text = text.expect("the namespace's devices");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lan:"));
    let packets = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    packets.expect("the packets of lan")
}

fn report(kind: &Kind, turns: &[Turn]) {
    let each = |of: &dyn Fn(&Turn) -> f64| quartiles(turns.iter().map(of).collect());
    let without = |turn: &Turn| f64::midpoint(turn.before.cpu(), turn.after.cpu());
    let base = each(&without);
    let with = each(&|turn| turn.with.cpu());
    let ratio = each(&|turn| turn.with.cpu() / without(turn));
    let control = each(&|turn| turn.after.cpu() / turn.before.cpu());
    let rate = |ns: f64| 1e9 / ns;
    let rate_without = each(&|turn| rate(f64::midpoint(turn.before.wall(), turn.after.wall())));
    let rate_with = each(&|turn| rate(turn.with.wall()));
    println!(
        "| {} | {:.0} ns | {:.0} ns | **{:.2}** ({:.2} to {:.2}) | {:.2} ({:.2} to {:.2}) | {:.0} | {:.0} |",
        kind.name,
        base[1],
        with[1],
        ratio[1],
        ratio[0],
        ratio[2],
        control[1],
        control[0],
        control[2],
        rate_without[1],
        rate_with[1],
    );
}

/// Lower quartile, median, upper quartile.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

/// Where the sender is to send.
fn address(text: &str) -> SocketAddr {
    text.parse().expect("address and port")
}
