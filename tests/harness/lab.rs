//! Two namespaces and the cable between them: a host that sends, and an internet that owns the
//! documentation networks and counts what arrives. No packet of it leaves the machine.

use std::{
    net::IpAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{Cgroup, Count, Counts, Flow, Namespace, Running, Truth, TruthFlow};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Host,
    Internet,
}

/// Networks of the internet side: each address in them answers.
const NETWORKS: [&str; 3] = ["203.0.113.0/24", "198.51.100.0/24", "2001:db8:f::/48"];

#[derive(Debug)]
pub struct Lab {
    pub host: Namespace,
    pub internet: Namespace,
    /// Where the generators of the host side run.
    pub cgroup: Cgroup,
    generator: PathBuf,
}

impl Lab {
    pub fn new() -> Self {
        let (host, internet) = (Namespace::new(), Namespace::new());
        for namespace in [&host, &internet] {
            // No address is tentative: a test can send at once.
            namespace.sysctl("ipv6/conf/default/accept_dad", "0");
            namespace.sysctl("ipv6/conf/default/accept_ra", "0");
            namespace.sysctl("ipv4/ping_group_range", "0 2147483647");
        }
        let peer = internet.path();
        host.ip(&format!("link add wan type veth peer name lan netns {peer}"));
        for (namespace, device, number) in [(&host, "wan", 2), (&internet, "lan", 1)] {
            whole_packets(namespace, device);
            namespace.ip(&format!("address add 10.77.0.{number}/24 dev {device}"));
            namespace.ip(&format!("address add fd77::{number}/64 dev {device} nodad"));
            namespace.ip(&format!("link set {device} up"));
            crate::tool(
                namespace.admit(
                    Command::new("nft")
                        .args(["-f", "/dev/stdin"])
                        .stdin(Stdio::from(script(include_bytes!("truth.nft")))),
                ),
            );
        }
        for network in NETWORKS {
            let (family, via) =
                if network.contains(':') { ("-6", "fd77::1") } else { ("-4", "10.77.0.1") };
            internet.ip(&format!("{family} route add local {network} dev lo"));
            host.ip(&format!("{family} route add {network} via {via}"));
        }
        Self { host, internet, cgroup: Cgroup::new(), generator: example("egress") }
    }

    fn namespace(&self, side: Side) -> &Namespace {
        match side {
            Side::Host => &self.host,
            Side::Internet => &self.internet,
        }
    }

    /// The generator at `side`, ready to be started; on the host side in the lab's cgroup.
    pub fn command(&self, side: Side, words: &str) -> Command {
        let mut command = self.command_in(self.namespace(side), words);
        if side == Side::Host {
            self.cgroup.admit(&mut command);
        }
        command
    }

    /// The generator in this namespace, ready to be started.
    pub fn command_in(&self, namespace: &Namespace, words: &str) -> Command {
        let mut command = Command::new(&self.generator);
        command.args(words.split_whitespace());
        crate::tied(&mut command);
        namespace.admit(&mut command);
        command
    }

    /// Starts a generator; it is killed when what this gives is dropped.
    pub fn start(&self, side: Side, words: &str) -> Running {
        Running::start(&mut self.command(side, words))
    }

    /// Runs a generator of the host side to its end.
    pub fn egress(&self, words: &str) -> Truth {
        self.start(Side::Host, words).finish()
    }

    /// Runs `words` with `{port}` replaced by that of a TCP sink in the internet, to the end of both.
    pub fn egress_to_sink(&self, words: &str) -> Truth {
        self.egress_to(words, "serve-tcp --listen [::]:0 --count 1")
    }

    /// The same with a sink of one's own choice, which must listen on TCP.
    pub fn egress_to(&self, words: &str, sink: &str) -> Truth {
        let mut sink = self.start(Side::Internet, sink);
        let port = sink.listening().port().to_string();
        let truth = self.egress(&words.replace("{port}", &port));
        let received = sink.finish().received_bytes;
        let sent: u64 = truth.flows.iter().map(|flow| flow.payload_bytes).sum();
        assert_eq!(received, Some(sent), "the sink did not get what {words} sent");
        truth
    }

    /// Lets a firewall of the host drop what leaves and matches this nftables expression.
    pub fn drop_leaving(&self, expression: &str) {
        let chain = "add chain inet truth leaving { type filter hook output priority 0; }";
        for rule in [chain, &format!("add rule inet truth leaving {expression} drop")] {
            crate::tool(self.host.admit(Command::new("nft").arg(rule)));
        }
    }

    /// Lets the host send to `new` what its programs send to `old` (DNAT).
    pub fn translate_leaving(&self, old: &str, new: &str) {
        let hook = "type nat hook output priority -100";
        let rule = format!("ip daddr {old} dnat to {new}");
        let rules = format!("table ip moved {{\n chain leaving {{\n {hook}\n {rule}\n }}\n}}\n");
        let mut nft = Command::new("nft");
        nft.args(["-f", "/dev/stdin"]).stdin(Stdio::from(script(rules.as_bytes())));
        crate::tool(self.host.admit(&mut nft));
    }

    /// Frames that arrived at the internet's end of the cable, of whatever kind, and their bytes.
    pub fn frames_arrived(&self) -> Count {
        let mut show = Command::new("ip");
        show.args(["-j", "-s", "link", "show", "dev", "lan"]);
        let shown = crate::tool(self.internet.admit(&mut show));
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("ip prints JSON");
        let stats = &shown[0]["stats64"]["rx"];
        let number = |name| crate::number(stats, name);
        Count { packets: number("/packets"), bytes: number("/bytes") }
    }

    /// What arrived at `side` up to now.
    pub fn counts(&self, side: Side) -> Counts {
        let mut list = Command::new("nft");
        list.args(["-j", "-y", "list", "table", "inet", "truth"]);
        Counts::parse(&crate::tool(self.namespace(side).admit(&mut list)))
    }

    /// What arrived in the internet of one flow of the generator. Flows without ports are told
    /// apart by address and transport alone: send one of a kind to one address.
    pub fn arrived(&self, flow: &TruthFlow) -> Count {
        let counts = self.counts(Side::Internet);
        match (flow.transport.as_str(), flow.source_port) {
            ("tcp" | "udp", Some(source_port)) => counts.flow(&Flow {
                destination: flow.destination,
                transport: flow.transport.clone(),
                source_port,
                port: flow.port,
            }),
            (transport, _) => counts.total(flow.destination, transport),
        }
    }

    /// What arrived back at the host for one TCP or UDP flow of it.
    pub fn came_back(&self, flow: &TruthFlow) -> Count {
        let is_answer = |it: &Flow| {
            it.transport == flow.transport
                && it.source_port == flow.port
                && Some(it.port) == flow.source_port
        };
        let counts = self.counts(Side::Host);
        let mut sum = Count::default();
        for (_, count) in counts.flows.iter().filter(|(it, _)| is_answer(it)) {
            sum += *count;
        }
        sum
    }

    /// Everything that arrived in the internet over `transport` for these addresses.
    pub fn arrived_at(&self, addresses: &[IpAddr], transport: &str) -> Count {
        let counts = self.counts(Side::Internet);
        let mut sum = Count::default();
        for address in addresses {
            sum += counts.total(*address, transport);
        }
        sum
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

/// Neither end of the cable may send or join packets larger than it carries: each is counted as it
/// would be on a wire.
fn whole_packets(namespace: &Namespace, device: &str) {
    let off = ["tso", "off", "gso", "off", "gro", "off", "tx-udp-segmentation", "off"];
    crate::tool(namespace.admit(Command::new("ethtool").args(["-K", device]).args(off)));
}

/// Rules for nft, as a file that is gone when it is read.
pub(crate) fn script(rules: &[u8]) -> std::fs::File {
    use std::io::{Seek, SeekFrom, Write};
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(rules).expect("write the rules");
    file.seek(SeekFrom::Start(0)).expect("rewind the rules");
    file
}

/// What sends is an example of the package whose test this is: `target/<profile>/examples`.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("a test runs from target/<profile>/deps");
    profile.join("examples").join(name)
}
