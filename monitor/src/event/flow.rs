//! One state of one flow, before anyone asked who and where: its identity, its ends, its way out, its bytes.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use super::{Activity, Mac, Timestamp, Traffic, Transport, Way, words::words};

/// Identity of a flow, unique and ordered by start: the start in the upper 64 bits, a hash of boot
/// and flow key in the lower. Written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u128);

impl FlowId {
    /// As it is displayed: 32 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let is_id = text.len() == 32 && text.bytes().all(|it| it.is_ascii_hexdigit());
        let id = is_id.then(|| u128::from_str_radix(text, 16).ok()).flatten();
        id.map(Self).ok_or("no event.id: it has 32 hexadecimal digits")
    }
}

/// Flows whose ids begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowIds {
    pub first: FlowId,
    pub last: FlowId,
}

/// Digits of an id that tell its start to some seconds: fewer would be of everything.
const ID_DIGITS_MIN: usize = 8;

impl FlowIds {
    /// From the first digits of an id, or all of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_id = (ID_DIGITS_MIN..=32).contains(&text.len())
            && text.bytes().all(|it| it.is_ascii_hexdigit());
        let padded =
            |digit: &str| format!("{text}{}", digit.repeat(32_usize.saturating_sub(text.len())));
        let id = |digit| FlowId::parse(&padded(digit)).ok();
        match (id("0"), id("f")) {
            (Some(first), Some(last)) if is_id => Ok(Self { first, last }),
            _ => Err(format!(
                "`{text}` is no event.id; write its 32 hexadecimal digits, or the first {ID_DIGITS_MIN} of them or more"
            )),
        }
    }

    pub fn holds(self, flow: FlowId) -> bool {
        (self.first..=self.last).contains(&flow)
    }

    /// Between which they began, both included.
    pub fn starts(self) -> [Timestamp; 2] {
        [self.first, self.last].map(|it| Timestamp((it.0 >> 64) as u64))
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// `::ffff:a.b.c.d` as `a.b.c.d`; everything else as it is.
pub fn canonical(address: Ipv6Addr) -> IpAddr {
    IpAddr::V6(address).to_canonical()
}

/// Whether a packet was seen, or only the wish to send one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    Attempt,
    Sent,
}

/// By which way the flow leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    Process,
    Accepted,
    Forwarded,
    PacketSocket,
    Tunnel,
    Kernel,
    PreExisting,
}

words!(Phase { Attempt = "attempt", Sent = "sent" });
words!(Origin {
    Process = "process",
    Accepted = "accepted",
    Forwarded = "forwarded",
    PacketSocket = "packet-socket",
    Tunnel = "tunnel",
    Kernel = "kernel",
    PreExisting = "pre-existing",
});

/// The interfaces that a flow passed; of this host's own sockets it is told only if there was one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passage {
    /// Of the device that sent it here.
    pub mac: Option<Mac>,
    /// By which it came in, or that of the tunnel that wrapped it.
    pub from: Option<Arc<str>>,
    /// By which it left.
    pub by: Option<Arc<str>>,
    /// Of frames in which no IP was found: what their link header says that they hold.
    pub ethertype: Option<u16>,
    /// The kernel had no room to count the flow: more may have left than its first packet.
    pub is_uncounted: bool,
    /// The IP headers of its packets can't be read: the addresses stand where the kernel looks for them,
    /// the transport is that of the first header that can't be read, and there are no ports.
    pub is_malformed: bool,
    pub way: Way,
}

/// One state of one flow, before anyone asked who and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Egress {
    pub flow: FlowId,
    /// 0 for the first state told, then counting up.
    pub revision: u32,
    pub started_at: Timestamp,
    /// Last packet, or the attempt.
    pub last_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub phase: Phase,
    pub origin: Origin,
    pub transport: Transport,
    /// Source; `None` until a packet chose it.
    pub local: Option<SocketAddr>,
    /// Canonical address; port 0 where the transport has none. `None`: the packets went around
    /// every hook that could have read it.
    pub remote: Option<SocketAddr>,
    /// Totals since the flow began.
    pub traffic: Traffic,
    pub passage: Passage,
    /// How it beats, where it lasts and does.
    pub activity: Option<Box<Activity>>,
}
