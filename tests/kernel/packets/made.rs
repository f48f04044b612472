//! Packets that no one would send: well-formed ones of every shape the probes tell apart, the same
//! with bytes changed, cut off or put in, and plain noise.

use std::fmt;

use proptest::{prelude::*, sample::Index};

use crate::oracle::Cut;

/// What a program is run over: a link header with its IP packet, and how it is to be cut.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    pub(crate) cut: Cut,
}

impl fmt::Debug for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ", {:?}", self.cut)
    }
}

pub(crate) fn made() -> impl Strategy<Value = Made> {
    let bytes = prop_oneof![
        4 => frame(),
        4 => (frame(), changes()).prop_map(|(bytes, changes)| changes.apply(bytes)),
        1 => noise(),
    ];
    let cut = prop_oneof![
        3 => Just((0, 0)),
        1 => (1_u32..70, 1_u32..1500),
        1 => (Just(0), 1_u32..1500),
    ];
    let cut = cut.prop_map(|(segments, size)| Cut { segments, size });
    (bytes, cut).prop_map(|(bytes, cut)| Made { bytes, cut })
}

/// What the kernel asks of a frame at least: addresses and type.
const LINK: usize = 14;

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let bytes = prop::collection::vec(any::<u8>(), LINK..160);
    (bytes, prop_oneof![Just(0x0800_u16), Just(0x86dd), Just(0x8100), any::<u16>()]).prop_map(
        |(mut bytes, kind)| {
            bytes[12..14].copy_from_slice(&kind.to_be_bytes());
            bytes
        },
    )
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let packet = prop_oneof![ipv4(), ipv6()];
    (any::<[u8; 12]>(), link(), packet).prop_map(|(addresses, link, packet)| {
        let is_v4 = packet[0] >> 4 == 4;
        let mut bytes = addresses.to_vec();
        bytes.extend(link.before(is_v4));
        bytes.extend(packet);
        bytes
    })
}

/// What is between the addresses of a frame and its IP packet.
#[derive(Clone, Copy, Debug)]
enum Link {
    Vlans(usize),
    Pppoe,
    /// As many labels, of `PPPoE` or not.
    Mpls(usize, bool),
    Snap,
}

fn link() -> impl Strategy<Value = Link> {
    prop_oneof![
        12 => Just(Link::Vlans(0)),
        2 => (1..4_usize).prop_map(Link::Vlans),
        1 => Just(Link::Pppoe),
        1 => (1..7_usize, any::<bool>()).prop_map(|(labels, is_ppp)| Link::Mpls(labels, is_ppp)),
        1 => Just(Link::Snap),
    ]
}

impl Link {
    fn before(self, is_v4: bool) -> Vec<u8> {
        let (kind, protocol) = if is_v4 { ([8, 0], [0, 0x21]) } else { ([0x86, 0xdd], [0, 0x57]) };
        let session = [0x88, 0x64, 0x11, 0, 0, 1, 0, 60];
        let mut bytes = Vec::new();
        match self {
            Self::Vlans(tags) => {
                for tag in 0..tags {
                    bytes.extend(if tag == 0 && tags > 1 { [0x88, 0xa8] } else { [0x81, 0] });
                    bytes.extend([0, 7]);
                }
                bytes.extend(kind);
            }
            Self::Pppoe => {
                bytes.extend(session);
                bytes.extend(protocol);
            }
            Self::Mpls(labels, is_ppp) => {
                bytes.extend(if is_ppp { session.as_slice() } else { &[0x88, 0x47] });
                bytes.extend(if is_ppp { [2, 0x81].as_slice() } else { &[] });
                for label in 1..=labels {
                    bytes.extend([0, 1, u8::from(label == labels), 255]);
                }
            }
            Self::Snap => {
                bytes.extend([0, 136, 0xaa, 0xaa, 3, 0, 0, 0]);
                bytes.extend(kind);
            }
        }
        bytes
    }
}

/// A protocol that the probes look into, or any.
fn protocol() -> impl Strategy<Value = u8> {
    let known = prop::sample::select(vec![1_u8, 6, 17, 33, 47, 50, 51, 58, 132, 136, 253]);
    prop_oneof![5 => known, 1 => any::<u8>()]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![1 => prop::collection::vec(any::<u8>(), 0..8), 3 => prop::collection::vec(any::<u8>(), 8..90)]
}

fn ipv4() -> impl Strategy<Value = Vec<u8>> {
    let options = prop_oneof![3 => Just(0_usize), 1 => 1..11_usize];
    // Whole, whole and not to be cut, first, middle, last.
    let fragment = prop_oneof![
        4 => Just(0_u16), 1 => Just(0x4000), 1 => Just(0x2000), 1 => Just(0x2010), 1 => Just(0x0020)
    ];
    let fixed = (any::<[u8; 8]>(), any::<u16>(), protocol(), fragment);
    (fixed, options, prop::collection::vec(any::<u8>(), 40), payload()).prop_map(
        |((addresses, id, protocol, fragment), words, options, payload)| {
            let header = 20 + words * 4;
            let length = (header + payload.len()) as u16;
            let mut bytes = vec![0x40 | (header / 4) as u8, 0];
            bytes.extend(length.to_be_bytes());
            bytes.extend(id.to_be_bytes());
            bytes.extend(fragment.to_be_bytes());
            bytes.extend([64, protocol, 0, 0]);
            bytes.extend(addresses);
            bytes.extend(options_of(words * 4, &options));
            bytes.extend(payload);
            bytes
        },
    )
}

/// Options as they were made, none, or a source route behind some that do nothing.
fn options_of(count: usize, random: &[u8]) -> Vec<u8> {
    let mut options = random[..count].to_vec();
    let [.., kind, padding, next, length] = random else { return options };
    if *kind >= 80 {
        options.fill(1);
    }
    let at = usize::from(padding % 5);
    if *kind >= 160 && count >= at + 7 {
        let addresses = (count - at - 3) / 4;
        let length = 3 + 4 * (usize::from(*length) % addresses + 1);
        options[at..at + length].copy_from_slice(&random[..length]);
        let kind = if kind & 1 == 0 { 131 } else { 137 };
        options[at..at + 3].copy_from_slice(&[kind, length as u8, 4 + next % 10]);
    }
    options
}

/// An extension: its type, its length in 8 bytes less the first, and what it holds.
fn extension() -> impl Strategy<Value = (u8, u8, [u8; 8])> {
    (prop::sample::select(vec![0_u8, 43, 60, 44]), 0..3_u8, any::<[u8; 8]>())
}

fn ipv6() -> impl Strategy<Value = Vec<u8>> {
    let extensions = prop_oneof![
        2 => Just(Vec::new()),
        2 => prop::collection::vec(extension(), 1..7),
    ];
    (any::<[u8; 32]>(), protocol(), extensions, payload()).prop_map(
        |(addresses, protocol, extensions, payload)| {
            let kinds: Vec<u8> = extensions.iter().map(|it| it.0).chain([protocol]).collect();
            let mut rest = Vec::new();
            for ((kind, length, fill), next) in extensions.iter().zip(&kinds[1..]) {
                let is_route = *kind == 43 && fill[7] < 200;
                let length = match kind {
                    44 => 0,
                    _ if is_route => *length * 2,
                    _ => *length,
                };
                let start = rest.len();
                rest.extend(fill);
                rest.resize(start + (usize::from(length) + 1) * 8, 0x5a);
                rest[start] = *next;
                // The byte is reserved in a fragment header, and its offset is mostly 0 here.
                rest[start + 1] = length;
                if is_route {
                    let kind = [0, 2, 3, 4][usize::from(fill[6] & 3)];
                    rest[start + 2..start + 8].copy_from_slice(&[kind, fill[5] & 3, 0, 0, 0, 0]);
                }
                if *kind == 44 && fill[4] < 200 {
                    rest[start + 2..start + 4].copy_from_slice(&[0, fill[3] & 1]);
                }
            }
            rest.extend(payload);
            let mut bytes = vec![0x60, 0, 0, 0];
            bytes.extend((rest.len() as u16).to_be_bytes());
            bytes.extend([kinds[0], 64]);
            bytes.extend(addresses);
            bytes.extend(rest);
            bytes
        },
    )
}

/// What happens to a well-formed frame.
#[derive(Clone, Debug)]
struct Changes {
    bytes: Vec<(Index, u8)>,
    cut: Option<Index>,
    put_in: Option<(Index, Vec<u8>)>,
}

fn changes() -> impl Strategy<Value = Changes> {
    let bytes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..5);
    let put_in =
        prop::option::weighted(0.2, (any::<Index>(), prop::collection::vec(any::<u8>(), 1..24)));
    (bytes, prop::option::weighted(0.4, any::<Index>()), put_in)
        .prop_map(|(bytes, cut, put_in)| Changes { bytes, cut, put_in })
}

impl Changes {
    fn apply(self, mut frame: Vec<u8>) -> Vec<u8> {
        // Behind the addresses, where something is read.
        for (index, byte) in self.bytes {
            let at = 12 + index.index(frame.len() - 12);
            frame[at] = byte;
        }
        if let Some((index, bytes)) = self.put_in {
            let at = LINK + index.index(frame.len() - LINK);
            frame.splice(at..at, bytes);
        }
        if let Some(index) = self.cut {
            frame.truncate(LINK + index.index(frame.len() - LINK));
        }
        frame
    }
}
