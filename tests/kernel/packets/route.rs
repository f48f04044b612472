//! Where a packet goes besides the address in its header, read once more: what stops it names, and which
//! of them counts. Written from the RFCs (791, 8200, 6275, 6554, 8754), not from the probes.

use std::ops::Range;

/// Of an address of 16 bytes; the less, the worse.
pub(crate) type Rank = fn([u8; 16]) -> u8;

/// Where the address stands that counts.
pub(crate) struct Route {
    pub(crate) to: Range<usize>,
    pub(crate) is_malformed: bool,
}

/// The probes look at no more of them.
const BETWEEN_MAX: usize = 8;

/// IPv4 as `::ffff:a.b.c.d`.
pub(crate) fn address(packet: &[u8], at: &Range<usize>) -> [u8; 16] {
    let mut address = [0; 16];
    if at.len() == 4 {
        address[10..12].fill(0xff);
        address[12..].copy_from_slice(&packet[at.clone()]);
    } else {
        address.copy_from_slice(&packet[at.clone()]);
    }
    address
}

/// `stops` in the order of the way, without the first, which stands in the header.
fn worst(packet: &[u8], header: Range<usize>, stops: &[Range<usize>], rank: Rank) -> Route {
    let Some((last, between)) = stops.split_last() else {
        return Route { to: header, is_malformed: false };
    };
    // Of two that are as bad, the first of these.
    let mut all = vec![last.clone(), header];
    all.extend(between.iter().rev().take(BETWEEN_MAX).cloned());
    let to = all.into_iter().min_by_key(|at| rank(address(packet, at))).expect("two at least");
    Route { to, is_malformed: !between.is_empty() }
}

/// Of the IPv6 packet whose routing header this is, with stops left.
pub(crate) fn v6(packet: &[u8], routing: Range<usize>, rank: Rank) -> Route {
    const HEADER: Range<usize> = 24..40;
    let (kind, left) = (packet[routing.start + 2], usize::from(packet[routing.start + 3]));
    let list = routing.start + 8..routing.end;
    let count = list.len() / 16;
    let at = |number: usize| list.start + number * 16..list.start + number * 16 + 16;
    let is_whole = list.len() % 16 == 0;
    let is_plain = packet[routing.start + 4] == 0 && packet[routing.start + 5] >> 4 == 0;
    let stops: Option<Vec<Range<usize>>> = match kind {
        _ if left > count => None,
        4 => Some((0..left).rev().map(at).collect()),
        0 | 2 if is_whole => Some((count - left..count).map(at).collect()),
        3 if is_whole && is_plain => Some((count - left..count).map(at).collect()),
        _ => None,
    };
    match stops {
        Some(stops) => worst(packet, HEADER, &stops, rank),
        None => Route { to: HEADER, is_malformed: true },
    }
}

/// Of an IPv4 packet with a header of so many bytes.
pub(crate) fn v4(packet: &[u8], header: usize, rank: Rank) -> Route {
    const HEADER: Range<usize> = 16..20;
    match stops4(&packet[..header]) {
        Some(stops) => worst(packet, HEADER, &stops, rank),
        None => Route { to: HEADER, is_malformed: true },
    }
}

fn stops4(header: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut at = 20;
    let mut route = None;
    while let Some(kind) = header.get(at) {
        match kind {
            0 => break,
            1 => at += 1,
            kind => {
                let length = usize::from(*header.get(at + 1)?);
                let option = header.get(at..at + length).filter(|_| length >= 2)?;
                if matches!(kind, 131 | 137) {
                    let next = usize::from(*option.get(2)?);
                    let rest = option.get(next.checked_sub(1).filter(|it| *it >= 3)?..);
                    let rest = rest.unwrap_or_default();
                    if route.is_some() || (!rest.is_empty() && rest.len() < 4) {
                        return None;
                    }
                    let first = at + next - 1;
                    let stops = (0..rest.len() / 4).map(|it| first + it * 4..first + it * 4 + 4);
                    route = Some(stops.collect());
                }
                at += length;
            }
        }
    }
    Some(route.unwrap_or_default())
}
