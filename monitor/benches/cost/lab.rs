//! Where it is measured: a gateway with a client and an internet that takes what comes, and what watches
//! there. No packet of it leaves the machine.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    process::{Child, Command, Stdio},
    thread,
};

use harness::{CLIENT, CLIENT_ROUTED, Daemon, Gateway, Namespace, Site};

use super::{
    empty::Empty,
    times::{self, Times},
    work::{self, Done, Operation},
};

/// Who watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Watch {
    Bare,
    Empty,
    Watched,
    /// A script with maps, of what a user writes in ten minutes.
    Script,
    /// Bare again: what is left of the difference is noise.
    Control,
}

impl Watch {
    pub(super) const TURN: [Self; 5] =
        [Self::Bare, Self::Empty, Self::Watched, Self::Script, Self::Control];

    /// Only whoever judges makes a difference between destinations.
    pub(super) fn destinations(self) -> &'static [Destination] {
        if self == Self::Watched {
            &[Destination::Approved, Destination::Unapproved]
        } else {
            &[Destination::Unapproved]
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Destination {
    Approved,
    Unapproved,
}

impl Destination {
    fn address(self) -> &'static str {
        match self {
            Self::Approved => "198.51.100.5",
            Self::Unapproved => "203.0.113.5",
        }
    }
}

/// Program, destination, packets and bytes by system call; as in the comparison of
/// docs/performance.md.
const SCRIPT: &str = "
tracepoint:syscalls:sys_enter_connect { @calls[pid, comm, args->fd] = count(); }
tracepoint:syscalls:sys_enter_sendto { @bytes[pid, comm, args->fd] = sum(args->len); }
tracepoint:syscalls:sys_enter_sendmsg { @calls[pid, comm, args->fd] = count(); }
tracepoint:syscalls:sys_enter_sendmmsg { @calls[pid, comm, args->fd] = count(); }
";

pub(super) struct Lab {
    gateway: Gateway,
    site: Site,
    /// Take what fits, drop the rest, answer nothing.
    _sinks: Vec<UdpSocket>,
    has_bpftrace: bool,
}

impl Lab {
    pub(super) fn new() -> Self {
        let gateway = Gateway::new();
        let (host, internet) = (&gateway.lab.host, &gateway.lab.internet);
        // A fast machine makes more connections than there are ports to wait for their ends.
        host.sysctl("ipv4/tcp_max_tw_buckets", "1");
        host.sysctl("ipv4/ip_local_port_range", "1024 65535");
        // Nobody listens to the 250 destinations.
        internet.sysctl("ipv4/icmp_ratemask", "6168");
        // The lab's counting of each packet would be most of what is measured.
        for namespace in [host, internet] {
            let mut nft = Command::new("nft");
            nft.args(["delete", "table", "inet", "truth"]);
            let done = namespace.admit(&mut nft).status().expect("run nft");
            assert!(done.success(), "nft: {done}");
        }
        let sinks = internet.within(|| UdpSocket::bind("0.0.0.0:9")).expect("the sink");
        for port in [7000, 7001, 7002] {
            let server = internet.within(|| TcpListener::bind(("0.0.0.0", port)));
            serve(server.expect("the server"), port == 7001);
        }
        let site = Site::inside(host, env!("CARGO_BIN_EXE_geofenced"));
        site.watch_only(gateway.lab.cgroup.path());
        site.drop_in("store", "[store]\nrecord = \"unapproved\"\n");
        let bpftrace = Command::new("bpftrace").arg("--version").stdout(Stdio::null()).status();
        let has_bpftrace = bpftrace.is_ok_and(|ended| ended.success());
        Self { gateway, site, _sinks: vec![sinks], has_bpftrace }
    }

    /// `None`: that program is not installed.
    pub(super) fn watch(&self, watch: Watch) -> Option<Watching<'_>> {
        Some(match watch {
            Watch::Bare | Watch::Control => Watching::Nobody,
            Watch::Empty => {
                let cgroup = self.gateway.lab.cgroup.path();
                Watching::Empty(self.gateway.lab.host.within(|| Empty::attach(cgroup)))
            }
            Watch::Watched => {
                let daemon = self.site.start();
                let ids = times::held_by(daemon.pid());
                Watching::Daemon { daemon, ids, site: &self.site }
            }
            Watch::Script if !self.has_bpftrace => return None,
            Watch::Script => Watching::Script(script()),
        })
    }

    /// Lets a process of its own do it. Of what is forwarded counts what arrived.
    pub(super) fn perform(&self, operation: Operation, to: Destination) -> Done {
        let lab = &self.gateway.lab;
        let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
        command.args([work::WORD, &operation.word(), to.address()]);
        match operation {
            Operation::ForwardNat => self.gateway.client.admit(command.arg(CLIENT)),
            Operation::ForwardPlain => self.gateway.client.admit(command.arg(CLIENT_ROUTED)),
            _ => lab.host.admit(lab.cgroup.admit(&mut command)),
        };
        let before = received(&lab.internet);
        let output = command.stderr(Stdio::inherit()).output().expect("run the work");
        assert!(output.status.success(), "{operation:?}: {}", output.status);
        let done = Done::parse(&String::from_utf8_lossy(&output.stdout));
        if operation.is_forwarded() { done.but(received(&lab.internet) - before) } else { done }
    }
}

/// Reads each connection to its end; `answers`: a byte for each.
fn serve(server: TcpListener, answers: bool) {
    thread::spawn(move || {
        for stream in server.incoming().flatten() {
            thread::spawn(move || {
                let (mut stream, mut room) = (stream, vec![0; 256 << 10]);
                let _ = stream.set_nodelay(true);
                while let Ok(1..) = stream.read(&mut room) {
                    if answers && stream.write_all(&[1]).is_err() {
                        break;
                    }
                }
            });
        }
    });
}

fn script() -> Child {
    let mut command = Command::new("bpftrace");
    command.args(["-e", SCRIPT]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("start bpftrace");
    // "Attaching 4 probes..."
    let mut first = [0; 1];
    child.stdout.as_mut().expect("its output").read_exact(&mut first).expect("it attaches");
    thread::sleep(std::time::Duration::from_secs(1));
    child
}

pub(super) enum Watching<'l> {
    Nobody,
    Empty(Empty),
    Daemon { daemon: Daemon<'l>, ids: BTreeSet<u32>, site: &'l Site },
    Script(Child),
}

impl Watching<'_> {
    pub(super) fn times(&self) -> Times {
        match self {
            Self::Nobody | Self::Script(_) => Times::new(),
            Self::Empty(empty) => times::of(&empty.ids),
            Self::Daemon { ids, .. } => times::of(ids),
        }
    }

    pub(super) fn end(self) {
        match self {
            Self::Nobody | Self::Empty(_) => {}
            Self::Daemon { daemon, site, .. } => {
                let seen = site.metrics().sum("geofenced_egress_packets_total", &[]);
                assert!(seen > 1000.0, "the daemon saw {seen} packets\n{}", site.log());
                assert_eq!(daemon.stop(), Some(0), "{}", site.log());
            }
            Self::Script(mut child) => {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
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
