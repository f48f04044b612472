//! Shares of users in what is bounded, as kernel and daemon reckon them alike. Counts only.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// In place of a user id: what has none, or none that is known.
pub const NOBODY: u32 = u32::MAX;

/// Accounts: each user id below has one of its own.
pub const ACCOUNTS: u32 = 1 << 16;
/// Of all together.
pub const ALL: u32 = ACCOUNTS;

/// From here on user ids are handed out by ranges (subid(5)): whoever has a range is one user.
const RANGES_FROM: u32 = 100_000;
const RANGE: u32 = 65_536;

/// This part of the flow table is kept for who has little,
pub const KEPT: i64 = 5;
/// which is less than this part of it.
pub const LEAST: i64 = 64;
/// Of what is free besides, a user may have so many times as much,
pub const TIMES: i64 = 64;
/// and of what is approved,
pub const APPROVED_TIMES: i64 = 32;
/// and of what is local: it must not take the place of anything else.
pub const LOCAL_TIMES: i64 = 1;
/// Each user may fill this part of the ring while the reader takes half of it.
pub const RING: u64 = 8;

/// Value of the table of shares.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Share {
    /// Entries of the flow table. Whoever removes an entry subtracts it.
    pub flows: u64,
    /// In the upper half how often the reader took half a ring, in the lower the bytes told since.
    pub told: u64,
}

/// Where a user's account is. Those above share accounts by chance, and with users below.
#[inline]
pub const fn slot(uid: u32) -> u32 {
    if uid < ACCOUNTS {
        return uid;
    }
    let first = if uid < RANGES_FROM { uid } else { uid - (uid - RANGES_FROM) % RANGE };
    first.wrapping_mul(0x9e37_79b1) >> 16
}

const _: () = {
    assert!(size_of::<Share>() == 16);
    assert!(slot(0) == 0 && slot(1001) == 1001 && slot(NOBODY) < ACCOUNTS);
    assert!(slot(100_000) == slot(165_535) && slot(100_000) != slot(165_536));
};
