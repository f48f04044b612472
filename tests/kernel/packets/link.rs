//! What is behind the header of a frame, by the oracle's own reckoning. It judges no packet.

/// The IP packet of a frame, where it begins and whether it is that of version 6; `None`: it is no IP that
/// can be found. Looked behind are six headers of VLANs, `PPPoE` (RFC 2516), MPLS (RFC 3032) and SNAP (RFC
/// 1042).
pub(crate) fn behind(frame: &[u8]) -> Option<(usize, &[u8], bool)> {
    const LAYERS: usize = 7;
    let word = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let (mut at, mut kind) = (14, word(12)?);
    for _ in 0..LAYERS {
        let (bytes, next) = match kind {
            0x0800 | 0x86dd => {
                return Some((at, frame.get(at..).unwrap_or_default(), kind == 0x86dd));
            }
            0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => (4, word(at + 2)?),
            0x8864 => (8, of_ppp(word(at + 6)?)?),
            0x8847 | 0x8848 => (4, behind_label(*frame.get(at + 2)?, *frame.get(at + 4)?, kind)?),
            0..=1500 => match frame.get(at..at + 8)? {
                [0xaa, 0xaa, 3, 0, 0, 0 | 0xf8, ..] => (8, word(at + 6)?),
                _ => return None,
            },
            _ => return None,
        };
        (at, kind) = (at + bytes, next);
    }
    None
}

fn of_ppp(protocol: u16) -> Option<u16> {
    match protocol {
        0x0021 => Some(0x0800),
        0x0057 => Some(0x86dd),
        0x0281 => Some(0x8847),
        _ => None,
    }
}

/// `third`: of the label, with the bit of the last one; `next`: the byte behind it.
fn behind_label(third: u8, next: u8, kind: u16) -> Option<u16> {
    match (third & 1, next >> 4) {
        (0, _) => Some(kind),
        (_, 4) => Some(0x0800),
        (_, 6) => Some(0x86dd),
        _ => None,
    }
}
