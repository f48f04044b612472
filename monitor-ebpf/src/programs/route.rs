//! Where a packet is told to go besides the address in its header: a routing header (IPv6), a source route
//! (IPv4). The worst of all counts, by the verdict on each; it reads what is asked for, and tells nothing.
//!
//! Global functions, as `places::look`: the verifier looks at them once.

use aya_ebpf::bindings::__sk_buff;

use super::{kernel, mark, places};

/// Stops that are looked at. More than one on the way is told as malformed.
const STOPS_MAX: u32 = 9;
/// Where the destination stands in either header.
const DESTINATION4: u32 = 16;
const DESTINATION6: u32 = 24;
/// Types of routing headers: RFC 2460, RFC 6275, RFC 6554, RFC 8754.
const SOURCE_ROUTE: u8 = 0;
const HOME_ADDRESS: u8 = 2;
const RPL: u8 = 3;
const SEGMENTS: u8 = 4;
/// Options of IPv4 (RFC 791): end of all, none, loose and strict source route.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const LOOSE: u8 = 131;
const STRICT: u8 = 137;

/// Where a packet goes, in one word. Places count from where IP begins.
#[derive(Clone, Copy)]
pub struct Route(u64);

impl Route {
    const MALFORMED: u64 = 1 << 48;

    /// Of the address that counts.
    #[inline(always)]
    pub fn to(self) -> u32 {
        self.0 as u32 & 0xffff
    }

    /// Of the other; 0: there is none.
    #[inline(always)]
    pub fn via(self) -> u32 {
        (self.0 >> 16) as u32 & 0xffff
    }

    /// A digest of the other; 0: there is none.
    #[inline(always)]
    pub fn digest(self) -> u16 {
        (self.0 >> 32) as u16
    }

    /// It can't be read, or leads by more addresses than are told.
    #[inline(always)]
    pub fn is_malformed(self) -> bool {
        self.0 & Self::MALFORMED != 0
    }
}

/// The route of an IPv6 packet at `at`, whose routing header is at `routing`.
#[inline(always)]
pub fn of6(skb: *mut __sk_buff, at: u32, routing: u32) -> Route {
    Route(stops6(skb, at.into(), routing.into()))
}

/// The route of an IPv4 packet at `at`, whose header has `length` bytes.
#[inline(always)]
pub fn of4(skb: *mut __sk_buff, at: u32, length: u32) -> Route {
    Route(stops4(skb, at.into(), length.into()))
}

/// What counts so far, and why: the worst verdict, and of two with the same the last destination, which
/// who sends has in mind; then the next.
#[derive(Clone, Copy)]
struct Worst(u64);

impl Worst {
    const LAST: u64 = 0;
    const NEXT: u64 = 1;
    const BETWEEN: u64 = 2;

    #[inline(always)]
    fn new(verdict: u8, which: u64, place: u32) -> Self {
        Self(u64::from(verdict) << 32 | which << 24 | u64::from(place))
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }

    #[inline(always)]
    fn place(self) -> u32 {
        self.0 as u32 & 0xffff
    }
}

#[inline(always)]
fn address<const IS_V6: bool>(skb: *mut __sk_buff, at: u32) -> (u64, u64) {
    if IS_V6 {
        let Some(bytes) = kernel::load::<16>(skb, at) else { return (0, 0) };
        let (mut high, mut low) = ([0; 8], [0; 8]);
        high.copy_from_slice(&bytes[..8]);
        low.copy_from_slice(&bytes[8..]);
        (u64::from_be_bytes(high), u64::from_be_bytes(low))
    } else {
        let Some(bytes) = kernel::load::<4>(skb, at) else { return (0, 0) };
        (0, 0xffff << 32 | u64::from(u32::from_be_bytes(bytes)))
    }
}

#[inline(always)]
fn weigh<const IS_V6: bool>(skb: *mut __sk_buff, at: u32, place: u32, which: u64) -> Worst {
    let (high, low) = address::<IS_V6>(skb, at + place);
    Worst::new((places::look(high, low) >> 16) as u8, which, place)
}

/// Weighs `left` stops: the last is at `last`, and those before it are `step` bytes further each.
#[inline(always)]
fn weigh_all<const IS_V6: bool>(
    skb: *mut __sk_buff,
    at: u32,
    last: u32,
    step: u32,
    left: u32,
) -> u64 {
    let next = if IS_V6 { DESTINATION6 } else { DESTINATION4 };
    let mut worst = weigh::<IS_V6>(skb, at, next, Worst::NEXT);
    worst = worst.or(weigh::<IS_V6>(skb, at, last, Worst::LAST));
    let mut place = last;
    for number in 1..STOPS_MAX {
        place = place.wrapping_add(step) & 0xffff;
        if number < left {
            worst = worst.or(weigh::<IS_V6>(skb, at, place, Worst::BETWEEN));
        }
    }
    let to = worst.place();
    let via = if to == next { last } else { next };
    let (high, low) = address::<IS_V6>(skb, at + via);
    let malformed = if left > 1 { Route::MALFORMED } else { 0 };
    u64::from(to) | u64::from(via) << 16 | u64::from(mark::digest(high, low)) << 32 | malformed
}

/// A route that can't be read: where the kernel sends it is all that is known.
const UNREADABLE6: u64 = DESTINATION6 as u64 | Route::MALFORMED;
const UNREADABLE4: u64 = DESTINATION4 as u64 | Route::MALFORMED;

#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn stops6(skb: *mut __sk_buff, at: u64, routing: u64) -> u64 {
    let (at, routing) = (at as u32, routing as u32);
    let Some(h) = kernel::load::<8>(skb, at + routing) else { return UNREADABLE6 };
    let (bytes, left) = (u32::from(h[1]) * 8, u32::from(h[3]));
    if left == 0 || left * 16 > bytes {
        return UNREADABLE6;
    }
    let (last, step) = match h[2] {
        SEGMENTS => (8, 16),
        SOURCE_ROUTE | HOME_ADDRESS if h[1] & 1 == 0 => (bytes - 8, 16_u32.wrapping_neg()),
        // Whole addresses, that is; others are no matter of hosts.
        RPL if h[1] & 1 == 0 && h[4] == 0 && h[5] >> 4 == 0 => (bytes - 8, 16_u32.wrapping_neg()),
        _ => return UNREADABLE6,
    };
    weigh_all::<true>(skb, at, (routing + last) & 0xffff, step, left)
}

/// Options are read as the kernel does (`ip_options_compile`), of which each router has something alike.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn stops4(skb: *mut __sk_buff, at: u64, length: u64) -> u64 {
    let (at, end) = (at as u32, length as u32);
    // How many stops are left, above the place of the last: one word, for the stack is short of room.
    let (mut place, mut stops) = (20, 0);
    for _ in 0..40 {
        if place >= end {
            break;
        }
        let Some([kind]) = kernel::load::<1>(skb, at + place) else { return UNREADABLE4 };
        if kind == END {
            break;
        }
        let mut bytes = 1;
        if kind != NO_OPERATION {
            let Some([length]) = kernel::load::<1>(skb, at + place + 1) else { return UNREADABLE4 };
            bytes = u32::from(length);
            if bytes < 2 || place + bytes > end {
                return UNREADABLE4;
            }
            if kind == LOOSE || kind == STRICT {
                let Some([next]) = kernel::load::<1>(skb, at + place + 2) else {
                    return UNREADABLE4;
                };
                let next = u32::from(next);
                if stops != 0 || bytes < 3 || next < 4 || (next <= bytes && next + 3 > bytes) {
                    return UNREADABLE4;
                }
                let left = if next > bytes { 0 } else { (bytes - next + 1) / 4 };
                stops = left << 16 | (place + next - 1 + left.saturating_sub(1) * 4);
            }
        }
        place = kernel::forgotten(skb, place + bytes);
    }
    let left = stops >> 16;
    if left == 0 {
        return u64::from(DESTINATION4);
    }
    weigh_all::<false>(skb, at, stops & 0xffff, 4_u32.wrapping_neg(), left)
}
