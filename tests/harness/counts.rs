//! Reads the counters of `truth.nft`: which packets really arrived.

use std::{collections::HashMap, net::IpAddr, ops::AddAssign};

use serde_json::Value;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub packets: u64,
    /// IP bytes, headers included.
    pub bytes: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// One direction of a TCP or UDP conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub destination: IpAddr,
    /// The contract's word: `tcp`, `icmp`, `253`.
    pub transport: String,
    pub source_port: u16,
    pub port: u16,
}

#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub flows: HashMap<Flow, Count>,
    pub totals: HashMap<(IpAddr, String), Count>,
}

impl Counts {
    /// From what `nft -j -y list table inet truth` prints.
    pub fn parse(json: &str) -> Self {
        let document: Value = serde_json::from_str(json).expect("nft prints JSON");
        let objects = document["nftables"].as_array().expect("nft prints a list");
        let mut counts = Self::default();
        for set in objects.iter().filter_map(|object| object.get("set")) {
            for element in set["elem"].as_array().into_iter().flatten() {
                counts.add(&element["elem"]);
            }
        }
        counts
    }

    fn add(&mut self, element: &Value) {
        let number = |name: &str| element["counter"][name].as_u64().expect("a counter");
        let count = Count { packets: number("packets"), bytes: number("bytes") };
        let key = element["val"]["concat"].as_array().expect("a concatenated key");
        let destination = key[0].as_str().and_then(|text| text.parse().ok()).expect("an address");
        let transport = transport(&key[1]);
        let port = |value: &Value| value.as_u64().and_then(|n| n.try_into().ok()).expect("a port");
        if let [_, _, source, target] = key.as_slice() {
            let (source_port, port) = (port(source), port(target));
            *self.flows.entry(Flow { destination, transport, source_port, port }).or_default() +=
                count;
        } else {
            *self.totals.entry((destination, transport)).or_default() += count;
        }
    }

    pub fn flow(&self, flow: &Flow) -> Count {
        self.flows.get(flow).copied().unwrap_or_default()
    }

    /// Everything to one address over one transport.
    pub fn total(&self, destination: IpAddr, transport: &str) -> Count {
        self.totals.get(&(destination, transport.to_owned())).copied().unwrap_or_default()
    }
}

/// nft names protocols as `/etc/protocols` does, where it is installed.
fn transport(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.as_str() {
        "1" => "icmp".into(),
        "6" => "tcp".into(),
        "17" => "udp".into(),
        "58" | "icmpv6" => "ipv6-icmp".into(),
        _ => text,
    }
}
