//! Class of an address and the verdict on it, from the tables that user space fills. Asked only
//! when a flow is new. It tells; it never decides on a packet.
//!
//! The searches have no branches but their length's: with branches, the verifier follows each path.

use core::arch::asm;

use aya_ebpf::{
    helpers::generated::{bpf_skb_load_bytes, bpf_skb_store_bytes},
    macros::classifier,
    programs::TcContext,
};
use monitor_ebpf::places::{
    CLASSIFIED, UNASKED, V4_GROUP, V4_OFFSET_BITS, V4_STARTS, V4_WHOLE, V6_ABOVE, V6_BLOCK,
    V6_CHUNK, V6_CHUNKS, V6_FENCE, active,
};

use super::maps::{ACTIVE, CHUNKS6, CLASSES4, FENCE6, INDEX4, VERDICTS};

/// What is known of an address.
#[derive(Clone, Copy)]
pub struct Answer {
    pub class: u16,
    pub verdict: u8,
    /// By which tables: the word that was in force.
    pub generation: u32,
}

#[inline(always)]
pub fn ask(remote: &[u8; 16]) -> Answer {
    let whole = u128::from_be_bytes(*remote);
    let answer = look((whole >> 64) as u64, whole as u64);
    Answer {
        class: answer as u16,
        verdict: (answer >> 16) as u8,
        generation: (answer >> 32) as u32,
    }
}

/// The class, above it the verdict and the generation, since a function returns one register.
///
/// A global function (Linux 5.6): the verifier looks at it once and by itself, and not once more for
/// each way that leads here, of which Linux 5.10 and 6.1 see too many.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn look(high: u64, low: u64) -> u64 {
    let Some(word) = ACTIVE.get_ptr(0) else { return 0 };
    // SAFETY: a value of the map. Once, by volatility: both tables must be of one generation.
    let word = unsafe { word.read_volatile() };
    if word & active::ON == 0 {
        return 0;
    }
    let tables = word & active::TABLES;
    let class = if high == 0 && low >> 32 == 0xffff {
        class4(tables, low as u32)
    } else {
        class6(tables, high)
    };
    let Some(verdicts) = VERDICTS.get_ptr((word & active::VERDICTS) >> 1) else { return 0 };
    // SAFETY: a value of the map, as long as there are classes.
    let verdict =
        unsafe { (&raw const (*verdicts).verdicts).cast::<u8>().add(class.into()).read() };
    u64::from(class) | u64::from(verdict) << 16 | u64::from(word) << 32
}

#[inline(always)]
fn class4(tables: u32, address: u32) -> u16 {
    let (Some(index), Some(classes)) = (INDEX4.get_ptr(tables), CLASSES4.get_ptr(tables)) else {
        return UNASKED;
    };
    // SAFETY: values of the maps; a /16 network has its word.
    let (word, starts, classes) = unsafe {
        (
            (&raw const (*index).index).cast::<u32>().add((address >> 16) as usize).read(),
            (&raw const (*index).starts).cast::<u16>(),
            (&raw const (*classes).classes).cast::<u16>(),
        )
    };
    if word & V4_WHOLE != 0 {
        return word as u16;
    }
    let groups = u64::from((word & !V4_WHOLE) >> V4_OFFSET_BITS) + 1;
    let mut its = Starts4 {
        starts,
        at: u64::from(word & ((1 << V4_OFFSET_BITS) - 1)) * V4_GROUP as u64,
        last: 0,
        key: u64::from(address as u16),
    };
    its.last = its.at + groups * V4_GROUP as u64 - 1;
    // A network has seldom more than 512.
    if groups > 64 {
        its.steps::<0x8000, 7>();
    }
    if groups > 8 {
        its.steps::<0x100, 3>();
    }
    if groups > 1 {
        its.steps::<0x20, 3>();
    }
    its.steps::<4, 3>();
    let at = its.at;
    // SAFETY: masked to the array's length.
    unsafe { classes.add(mask::<V4_LAST>(at)).read() }
}

/// A search among the starts of a /16 network.
struct Starts4 {
    starts: *const u16,
    at: u64,
    last: u64,
    key: u64,
}

impl Starts4 {
    /// Goes on by `HALF`, then by half of that, `COUNT` times, as far as the starts are not above
    /// the key.
    #[inline(always)]
    fn steps<const HALF: u64, const COUNT: u32>(&mut self) {
        for step in 0..COUNT {
            let half = HALF >> step;
            let next = self.at + half;
            // SAFETY: masked to the array's length.
            let start = unsafe { self.starts.add(mask::<V4_LAST>(next)).read() };
            let above = sign(self.key.wrapping_sub(start.into()));
            let beyond = sign(self.last.wrapping_sub(next));
            self.at += half * ((above | beyond) ^ 1);
        }
    }
}

#[inline(always)]
fn class6(tables: u32, key: u64) -> u16 {
    let Some(fence) = FENCE6.get_ptr(tables) else { return UNASKED };
    // SAFETY: a value of the map.
    let (fence, upper) = unsafe {
        ((&raw const (*fence).fence).cast::<u64>(), (&raw const (*fence).upper).cast::<u16>())
    };
    if key >= V6_ABOVE {
        // SAFETY: masked to the array's length.
        return unsafe { upper.add(mask::<V6_UPPER_LAST>(key >> 54)).read() };
    }
    let block = search::<V6_FENCE, V6_FENCE_END>(fence, 0, key);
    let chunk = block / (V6_CHUNK / V6_BLOCK) as u64;
    if chunk >= V6_CHUNKS as u64 {
        return UNASKED;
    }
    let Some(chunk) = CHUNKS6.get_ptr(tables * V6_CHUNKS as u32 + chunk as u32) else {
        return UNASKED;
    };
    // SAFETY: a value of the map.
    let (keys, classes) = unsafe {
        ((&raw const (*chunk).keys).cast::<u64>(), (&raw const (*chunk).classes).cast::<u16>())
    };
    let at = search::<V6_BLOCK, V6_CHUNK_END>(keys, block * V6_BLOCK as u64, key);
    // SAFETY: masked to the array's length.
    unsafe { classes.add(mask::<V6_CHUNK_LAST>(at)).read() }
}

const V4_LAST: i32 = V4_STARTS as i32 - 1;
const V6_CHUNK_LAST: i32 = V6_CHUNK as i32 - 1;
/// In bytes.
const V6_FENCE_END: i32 = V6_FENCE as i32 * 8 - 8;
const V6_CHUNK_END: i32 = V6_CHUNK as i32 * 8 - 8;
const V6_UPPER_LAST: i32 = monitor_ebpf::places::V6_UPPER as i32 - 1;

/// The last of `COUNT` keys from `at` on that is not above `key`. A power of two, and the keys end
/// where `LAST` masks to, in bytes. Inside, places are counted in bytes: a shift less on the way to each load.
#[inline(always)]
fn search<const COUNT: usize, const LAST: i32>(keys: *const u64, at: u64, key: u64) -> u64 {
    let mut at = at * 8;
    let beyond = key + 1;
    let mut half = COUNT as u64 * 4;
    while half >= 8 {
        // SAFETY: masked to the array's length.
        let start = unsafe { keys.byte_add(mask::<LAST>(at + half)).read() };
        at += half * sign(start.wrapping_sub(beyond));
        half /= 2;
    }
    at / 8
}

/// 1 if the sign bit is set, else 0. In assembly, because LLVM would make a branch of it. Not all
/// ones, because newer verifiers follow both ways of a mask that is all ones or none.
#[inline(always)]
fn sign(mut difference: u64) -> u64 {
    // SAFETY: arithmetic on one register.
    unsafe {
        asm!("{0} >>= 63", inout(reg) difference, options(pure, nomem, nostack, preserves_flags));
    }
    difference
}

/// In assembly, because LLVM would leave out what it can prove, and old verifiers can't.
#[inline(always)]
fn mask<const LAST: i32>(at: u64) -> usize {
    let mut at = at;
    // SAFETY: arithmetic on one register.
    unsafe {
        asm!("{0} &= {last}", inout(reg) at, last = const LAST,
            options(pure, nomem, nostack, preserves_flags));
    }
    at as usize
}

/// Bytes of the Ethernet header that a packet of `BPF_PROG_TEST_RUN` has.
const ETHERNET: u32 = 14;

/// Writes what is known of the addresses in a packet behind them: for `BPF_PROG_TEST_RUN`, attached
/// nowhere.
#[classifier]
pub fn classify(context: TcContext) -> i32 {
    classify_all(&context, |high, low| look(high, low))
}

#[classifier]
pub fn classify_nothing(context: TcContext) -> i32 {
    classify_all(&context, |high, low| high ^ low)
}

#[inline(always)]
fn classify_all(context: &TcContext, look: impl Fn(u64, u64) -> u64) -> i32 {
    let skb = context.skb.skb;
    for number in 0..CLASSIFIED as u32 {
        let from = ETHERNET + 16 * number;
        let to = ETHERNET + 16 * CLASSIFIED as u32 + 8 * number;
        let mut address = [0_u64; 2];
        // SAFETY: the helpers read and write as many bytes as there are behind the pointer.
        unsafe {
            if bpf_skb_load_bytes(skb.cast(), from, (&raw mut address).cast(), 16) != 0 {
                return 0;
            }
            let mut answer = look(u64::from_be(address[0]), u64::from_be(address[1]));
            bpf_skb_store_bytes(skb, to, (&raw mut answer).cast(), 8, 0);
        }
    }
    1
}
