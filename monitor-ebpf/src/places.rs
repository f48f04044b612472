//! The class tables as the kernel holds them: bounds, and the layout of each map's value. How they
//! are built and looked up is told in `monitor/src/locate/tables.rs`.
//!
//! Two generations lie side by side; the word `ACTIVE` says which is in force. No value is larger than
//! 4 MiB, the most that Linux 5.10 allows (`KMALLOC_MAX_SIZE`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Class of an address that the probes say nothing of: user space looks itself.
pub const UNASKED: u16 = 0;

/// Classes there can be.
pub const CLASSES: usize = 1 << 16;

/// Words of the index of IPv4 networks, one for each /16.
pub const V4_INDEX: usize = 1 << 16;

/// Set in a word of the index whose /16 network is all of one class, which is its lower half.
pub const V4_WHOLE: u32 = 1 << 31;

/// Starts come in groups of this many.
pub const V4_GROUP: usize = 8;

/// Starts of IPv4 ranges there is room for, networks of one class not counted. A power of two: the
/// probes mask with it.
pub const V4_STARTS: usize = 1 << 20;

/// Bits of a word of the index that say by which group its ranges begin; those above, but for
/// [`V4_WHOLE`], say how many groups follow the first.
pub const V4_OFFSET_BITS: u32 = (V4_STARTS / V4_GROUP).ilog2();

/// Keys of a block of IPv6 ranges, of which the first is in the fence too.
pub const V6_BLOCK: usize = 64;

/// Keys of one value of the map.
pub const V6_CHUNK: usize = 1 << 16;

/// Values of the map for one generation.
pub const V6_CHUNKS: usize = 12;

/// IPv6 ranges there is room for.
pub const V6_KEYS: usize = V6_CHUNKS * V6_CHUNK;

/// Entries of the fence: one for each block that there can be, and a power of two.
pub const V6_FENCE: usize = (V6_KEYS / V6_BLOCK).next_power_of_two();

/// Where the other half of the address space begins, which is not searched: see [`Fence6::upper`].
/// Also what fills up keys and fence: keys are compared by the sign of their difference.
pub const V6_ABOVE: u64 = 1 << 63;

/// Classes of that half, one for each /10: the special ranges that are there are no
/// smaller.
pub const V6_UPPER: usize = 1 << 9;

/// Of IPv4: where each network's ranges are, and where each begins.
#[repr(C)]
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Index4 {
    pub index: [u32; V4_INDEX],
    pub starts: [u16; V4_STARTS],
}

/// Of IPv4: the class of each range.
#[repr(C)]
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Classes4 {
    pub classes: [u16; V4_STARTS],
}

/// Of IPv6: the first key of each block.
#[repr(C)]
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Fence6 {
    pub fence: [u64; V6_FENCE],
    /// Classes of addresses from [`V6_ABOVE`] on, by bits 54 to 62 of their upper half;
    /// [`UNASKED`] where they are not all of one.
    pub upper: [u16; V6_UPPER],
}

/// Of IPv6: a part of the sorted keys below [`V6_ABOVE`], and the class of each range.
#[repr(C)]
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Chunk6 {
    pub keys: [u64; V6_CHUNK],
    pub classes: [u16; V6_CHUNK],
}

/// The verdict on each class, without the policy's rules.
#[repr(C)]
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Verdicts {
    pub verdicts: [u8; CLASSES],
}

/// What [`Verdicts`] holds.
pub mod verdict {
    /// Nothing is known of the class.
    pub const NONE: u8 = 0;
    pub const UNAPPROVED: u8 = 1;
    pub const UNKNOWN: u8 = 2;
    pub const APPROVED: u8 = 3;
    pub const LOCAL: u8 = 4;
}

/// The word that says what is in force. Programs read it once a run, so that they never mix classes
/// of one generation with verdicts of another. Its value names the generation: the bits above count
/// the changes.
pub mod active {
    /// Which of the two class tables.
    pub const TABLES: u32 = 1;
    /// Which of the two tables of verdicts, shifted by one.
    pub const VERDICTS: u32 = 1 << 1;
    /// Without it, there are none.
    pub const ON: u32 = 1 << 2;
    pub const COUNT: u32 = 1 << 3;
}

/// Addresses that the program `classify` looks up in one run. Its packet has them behind the Ethernet
/// header, 16 bytes each, then room for as many answers of 8 bytes: class, verdict and generation,
/// in the low 16, next 8 and high 32 bits.
pub const CLASSIFIED: usize = 64;

const _: () = {
    assert!(size_of::<Index4>() <= 4 << 20);
    assert!(size_of::<Classes4>() <= 4 << 20);
    assert!(size_of::<Fence6>() == (128 << 10) + 1024);
    assert!(size_of::<Chunk6>() == 640 << 10);
    assert!(V4_OFFSET_BITS == 17 && V4_INDEX / V4_GROUP <= 1 << (31 - V4_OFFSET_BITS));
};
