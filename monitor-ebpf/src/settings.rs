//! Bounds of the kernel tables at their default sizes. User space may shrink or grow them at load.

/// Bytes of the sample ring buffer: a power of two, and a multiple of a 64 KiB page. The kernel maps
/// its data twice, and all of it counts as the daemon's resident memory.
pub const RING_BYTES: u32 = 4 << 20;

/// Flows the kernel keeps counters of at once.
pub const FLOWS: u32 = 1 << 18;

/// Flows of which it is remembered that an attempt at them was told, or that they were added up.
pub const ONCE: u32 = 1 << 14;

/// Sums of what is not told one by one: by user and class.
pub const UNITEMISED: u32 = 4096;

/// Interfaces that are watched at once.
pub const INTERFACES: u32 = 4096;

/// Forwarded flows that are told apart at once, and those of them in tunnels.
pub const TRANSITS: u32 = 1 << 16;

/// Fragmented packets whose further fragments are awaited.
pub const FRAGMENTS: u32 = 4096;

/// Processes that send on sockets below IP whose sends are counted at once.
pub const LINK_SENDERS: u32 = 1024;

/// TCP sockets of which it is remembered who sent last.
pub const SENDERS: u32 = 1 << 14;

/// Processes whose start time the kernel remembers for socket owners.
pub const STARTS: u32 = 1 << 15;

/// Counters of forgotten flows, each of many sockets. A power of two.
pub const FORGOTTEN: u32 = 1 << 12;

/// Counters of executed programs, each of many processes. A power of two.
pub const EXECUTIONS: u32 = 1 << 12;

/// Sets of cgroups whose paths user space knows.
pub const CGROUPS: u32 = 4096;

/// What the reader of the ring does, and so who wakes it.
pub mod awake {
    /// It waits to be woken.
    pub const NO: u32 = 0;
    /// It looks again in a few milliseconds.
    pub const YES: u32 = 1;
    /// The same, and there is something that is urgent.
    pub const WANTED: u32 = 2;
    /// The same, and it was woken, since the ring fills.
    pub const HURRIED: u32 = 3;
}

/// Bits of what the probes tell so that destinations get names.
pub mod naming {
    /// Answers of DNS, and the first bytes of TLS and QUIC.
    pub const ANSWERS: u8 = 1;
    /// Also each query for a name.
    pub const QUERIES: u8 = 2;
}
