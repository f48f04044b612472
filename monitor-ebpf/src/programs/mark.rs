//! A note at a packet that a device above has looked at, for the devices below by which it goes on:
//! so that each packet is told once. It lies in `skb->tc_index`, which clones and segments keep, and
//! is good for one packet's hash: nobody who can set the field knows what to write.

use aya_ebpf::{Global, bindings::__sk_buff, helpers::generated::bpf_get_hash_recalc};

/// User space sets it before load, to a number of its own.
#[unsafe(no_mangle)]
static MARK: Global<u32> = Global::new(0);

/// What the device above was.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Above {
    /// A bridge, bond, VLAN: the packet goes on as it is.
    Upper,
    /// A tunnel: it may be inside another by now.
    Tunnel,
}

#[inline(always)]
fn mark(skb: *mut __sk_buff, above: Above) -> u32 {
    // SAFETY: the helper takes the program's context.
    let hash = unsafe { bpf_get_hash_recalc(skb) } ^ MARK.load();
    let hash = if above == Above::Tunnel { hash.rotate_left(9) ^ 0x5bd1_e995 } else { hash };
    let mixed = (hash ^ hash >> 15).wrapping_mul(0x2c1b_3c6d);
    // Never 0, which is that of an unmarked packet.
    (mixed >> 16) | 1
}

#[inline(always)]
pub fn put(skb: *mut __sk_buff, above: Above) {
    let mark = mark(skb, above);
    // SAFETY: a context field that tc programs may write; 16 bits of it are kept.
    unsafe { (&raw mut (*skb).tc_index).write_volatile(mark) };
}

/// Of an address, in 16 bits that nobody can foresee; never 0.
#[inline(always)]
pub fn digest(high: u64, low: u64) -> u16 {
    let secret = u64::from(MARK.load());
    let mut mixed = (high ^ secret).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^= mixed >> 29;
    mixed = (mixed ^ low ^ secret << 32).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 48) as u16 | 1
}

/// Which device above has looked at it.
#[inline(always)]
pub fn of(skb: *mut __sk_buff) -> Option<Above> {
    // SAFETY: a context field.
    let found = unsafe { (&raw const (*skb).tc_index).read_volatile() };
    if found == 0 {
        None
    } else if found == mark(skb, Above::Upper) {
        Some(Above::Upper)
    } else if found == mark(skb, Above::Tunnel) {
        Some(Above::Tunnel)
    } else {
        None
    }
}

/// Whether there may be a note at it.
#[inline(always)]
pub fn is_any(skb: *mut __sk_buff) -> bool {
    // SAFETY: a context field.
    (unsafe { (&raw const (*skb).tc_index).read_volatile() }) != 0
}

/// What comes in was looked at by nobody here.
#[inline(always)]
pub fn clear(skb: *mut __sk_buff) {
    // SAFETY: a context field that tc programs may read and write.
    unsafe {
        let field = &raw mut (*skb).tc_index;
        if field.read_volatile() != 0 {
            field.write_volatile(0);
        }
    }
}
