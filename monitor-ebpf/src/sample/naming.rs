//! What packets are told for the names in them, and how many of them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::FlowKey;

/// [`super::FlowCounters::naming_state`] of a TCP stream.
pub mod stream {
    /// It did not begin as TLS does; it may become TLS later.
    pub const PLAIN: u8 = 0;
    /// A `ClientHello` seems to have begun; nobody knows where it ends.
    pub const TLS: u8 = 1;
    /// The stream began with a `ClientHello`, which ends at [`super::super::FlowCounters::naming_until`].
    pub const WHOLE: u8 = 2;
}

/// [`super::FlowCounters::naming`]: no further packet of the flow is looked at.
pub const NAMING_DONE: u8 = u8::MAX;
/// Packets with payload that are looked at for the beginning of a TLS or QUIC handshake. Those that
/// do not begin as one cost a look at their first bytes, and no more.
pub const NAMING_LOOKS: u8 = 250;
/// Packets of a stream that does not begin as TLS does that are told: what comes before `STARTTLS`
/// or its like, and what begins in the middle of a packet.
pub const PLAIN_PACKETS: u8 = 8;
/// Bytes of the same.
pub const PLAIN_BYTES: u32 = 8 << 10;
/// Packets that are told of a `ClientHello`. Of those with few bytes ([`SCRAP`]), as a hello may come
/// in, each eighth counts.
pub const HELLO_PACKETS: u8 = 200;
/// A segment of fewer bytes is a scrap.
pub const SCRAP: u32 = 16;
/// Bytes of the same, and the most of any.
pub const HELLO_BYTES: u32 = 16 << 10;
/// QUIC's long headers that are told of a flow: a hello with post-quantum keys is in two datagrams,
/// which may be sent again, also after a Retry or in another version.
pub const QUIC_PACKETS: u8 = 16;
/// Smallest datagram with a client's Initial (RFC 9000, 14.1).
pub const QUIC_LEAST: u32 = 1200;
/// Questions that are told of a flow while none is answered.
pub const UNANSWERED: u8 = 200;
/// Answers that are told for each question: some are cut, broken or sent again.
pub const ANSWERS: u8 = 8;

/// [`NameHead::what`]: what the payload is.
pub mod told {
    /// What came from port 53 to a socket that had sent there.
    pub const ANSWER: u8 = 1;
    /// What went to port 53.
    pub const QUERY: u8 = 2;
    /// Bytes of a TCP connection from where they began as a TLS `ClientHello` does.
    pub const TLS: u8 = 3;
    /// One of the first datagrams of a flow, which begins as a QUIC Initial does, or with a long
    /// header of a version that the probes do not know.
    pub const QUIC: u8 = 4;
    /// The first bytes of a TCP connection, which do not begin so.
    pub const PLAIN: u8 = 5;
}

/// Sizes of what is behind a [`NameHead`]: the smallest that holds the payload, which the largest
/// cuts. A question or plain answer; one packet of an Ethernet; two that left as one (GSO); the most
/// that is told of a stream.
pub const NAME_PAYLOADS: [usize; 4] = [512, 2048, 4096, 16384];

/// A packet from which a destination gets its name. The payload of its transport follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NameHead {
    pub kind: u32,
    /// [`told`].
    pub what: u8,
    pub reserved: [u8; 3],
    pub at_ns: u64,
    /// Its `remote` is the other side, whichever way the packet went.
    pub flow: FlowKey,
    /// When the owner was forked; 0 if that was before the probes, or it is not known.
    pub started_ns: u64,
    /// Network namespace of the socket, which it never leaves; 0 if its making was not seen.
    pub netns_cookie: u64,
    /// The socket's last user, else its creator; 0 if neither is known.
    pub tgid: u32,
    /// TCP's sequence number of the first byte of the payload; else 0.
    pub sequence: u32,
    /// Of the whole packet.
    pub payload_bytes: u32,
    /// Of these, the ones that follow.
    pub bytes: u32,
}

/// A [`NameHead`] and room for its payload.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NameSample<const N: usize> {
    pub head: NameHead,
    pub payload: [u8; N],
}
