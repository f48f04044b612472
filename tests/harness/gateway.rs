//! A lab whose host is a gateway: a client on its LAN and a container behind its bridge reach the
//! internet through it, with and without NAT.

use std::process::{Command, Stdio};

use crate::{Lab, Namespace, Running, Truth};

/// The client's addresses: its own behind NAT, another behind NAT, one that is routed as it is.
pub const CLIENT: &str = "192.168.77.5";
pub const CLIENT_TOO: &str = "192.168.77.7";
pub const CLIENT_ROUTED: &str = "192.168.77.6";
/// What the client's network card is called by.
pub const CLIENT_MAC: &str = "02-00-5E-00-53-05";

const NAT: &str = "table ip nat {
  chain leaving {
    type nat hook postrouting priority 100;
    oifname \"wan\" ip saddr { 192.168.77.5, 192.168.77.7, 172.30.0.0/24 } masquerade
  }
}
";

#[derive(Debug)]
pub struct Gateway {
    /// Its host is the gateway.
    pub lab: Lab,
    pub client: Namespace,
    pub container: Namespace,
}

impl Gateway {
    pub fn new() -> Self {
        let lab = Lab::new();
        let (client, container) = (Namespace::new(), Namespace::new());
        for namespace in [&client, &container] {
            namespace.sysctl("ipv6/conf/default/accept_dad", "0");
            namespace.sysctl("ipv4/ping_group_range", "0 2147483647");
        }
        let host = &lab.host;
        host.sysctl("ipv4/ip_forward", "1");
        host.sysctl("ipv6/conf/all/forwarding", "1");
        host.ip(&format!("link add lan0 type veth peer name eth0 netns {}", client.path()));
        host.ip("address add 192.168.77.1/24 dev lan0");
        host.ip("address add fd77:1::1/64 dev lan0 nodad");
        host.ip("link set lan0 up");
        client.ip("link set eth0 address 02:00:5e:00:53:05 up");
        for address in [CLIENT, CLIENT_TOO, CLIENT_ROUTED] {
            client.ip(&format!("address add {address}/24 dev eth0"));
        }
        client.ip("address add fd77:1::5/64 dev eth0 nodad");
        client.ip("route add default via 192.168.77.1");
        client.ip("-6 route add default via fd77:1::1");

        host.ip("link add br0 type bridge");
        host.ip("address add 172.30.0.1/24 dev br0");
        host.ip("link set br0 up");
        host.ip(&format!("link add vec0 type veth peer name eth0 netns {}", container.path()));
        host.ip("link set vec0 master br0 up");
        container.ip("address add 172.30.0.2/24 dev eth0");
        container.ip("link set eth0 up");
        container.ip("route add default via 172.30.0.1");

        lab.internet.ip("route add 192.168.77.0/24 via 10.77.0.2");
        lab.internet.ip("-6 route add fd77:1::/64 via fd77::2");
        let mut nft = Command::new("nft");
        nft.args(["-f", "/dev/stdin"]).stdin(Stdio::from(crate::lab::script(NAT.as_bytes())));
        crate::tool(host.admit(&mut nft));
        Self { lab, client, container }
    }

    /// Runs a generator at the client, which stands for another machine: in no watched cgroup.
    pub fn from_client(&self, words: &str) -> Truth {
        Running::start(&mut self.lab.command_in(&self.client, words)).finish()
    }

    /// The same in the container, whose processes are this host's.
    pub fn from_container(&self, words: &str) -> Truth {
        let mut command = self.lab.command_in(&self.container, words);
        Running::start(self.lab.cgroup.admit(&mut command)).finish()
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self::new()
    }
}
