//! Where members of kernel structures are, by the running kernel's own description of its types (BTF,
//! Documentation/bpf/btf.rst). Looks up what the probes read and no more; a member that is not as
//! expected is absent, and with it its group. Keeps nothing of the file.

use std::{fs, path::Path};

use monitor_ebpf::layout::{GROUPS, Group, Member};
use rustc_hash::FxHashMap;

/// Where the kernel gives it, if it was built with `CONFIG_DEBUG_INFO_BTF`.
const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// Set, the kernel's BTF is not looked at: for tests of what goes without.
const WITHOUT: &str = "GEOFENCED_WITHOUT_BTF";

/// Offsets of the members that the probes may read on this kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Bits of `monitor_ebpf::layout::reads`.
    pub(super) reads: u8,
    /// By setting.
    pub(super) offsets: Vec<(&'static str, u16)>,
}

impl Layout {
    /// Of the running kernel; nothing where it does not say.
    pub(super) fn of_kernel() -> Self {
        if std::env::var_os(WITHOUT).is_some() {
            return Self::default();
        }
        let read = fs::read(Path::new(VMLINUX));
        let layout = read.ok().and_then(|bytes| Some(Self::of(&Types::parse(&bytes)?)));
        layout.unwrap_or_default()
    }

    /// Of it only these groups.
    pub(super) fn only(&self, reads: u8) -> Self {
        Self { reads: self.reads & reads, offsets: self.offsets.clone() }
    }

    fn of(types: &Types<'_>) -> Self {
        let structures = types.structures();
        let mut layout = Self::default();
        for group in &GROUPS {
            let offset = |it: &Member| Some((it.setting, types.offset(&structures, it)?));
            let offsets: Option<Vec<_>> = group.members.iter().map(offset).collect();
            if let Some(offsets) = offsets {
                layout.reads |= group.bit;
                layout.offsets.extend(offsets);
            }
        }
        layout
    }
}

const MAGIC: u16 = 0xeb9f;
const INT: u32 = 1;
const POINTER: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;
/// Structures within structures, typedefs of typedefs.
const DEPTH_MAX: usize = 16;

/// Structures that some member is of, by name.
type Structures = FxHashMap<&'static str, Type>;

#[derive(Clone, Copy)]
struct Type {
    /// Of its record in the section of types.
    at: usize,
    kind: u32,
    /// Of members.
    count: usize,
    /// Of a structure: offsets of members carry the size of bit fields.
    has_bit_fields: bool,
    /// Bytes, or the type referred to.
    size_or_number: u32,
}

/// The file, with the place of each type by its number.
struct Types<'b> {
    records: &'b [u8],
    strings: &'b [u8],
    places: Vec<u32>,
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl<'b> Types<'b> {
    fn parse(bytes: &'b [u8]) -> Option<Self> {
        if u16::from_ne_bytes(*bytes.first_chunk()?) != MAGIC {
            return None;
        }
        let header = |at: usize| word(bytes, at).map(|it| it as usize);
        let body = bytes.get(header(4)?..)?;
        let section = |from: usize, length: usize| body.get(from..from.checked_add(length)?);
        let mut this = Self {
            records: section(header(8)?, header(12)?)?,
            strings: section(header(16)?, header(20)?)?,
            // The first is void.
            places: vec![u32::MAX],
        };
        let mut at = 0;
        while at < this.records.len() {
            this.places.push(u32::try_from(at).ok()?);
            at += this.type_at(at)?.bytes();
        }
        Some(this)
    }

    fn type_at(&self, at: usize) -> Option<Type> {
        let info = word(self.records, at + 4)?;
        Some(Type {
            at,
            kind: info >> 24 & 0x1f,
            count: (info & 0xffff) as usize,
            has_bit_fields: info >> 31 != 0,
            size_or_number: word(self.records, at + 8)?,
        })
    }

    /// By number, behind typedefs and qualifiers.
    fn resolved(&self, number: u32) -> Option<Type> {
        let mut number = number;
        for _ in 0..DEPTH_MAX {
            let found = self.type_at(*self.places.get(number as usize)? as usize)?;
            match found.kind {
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => number = found.size_or_number,
                _ => return Some(found),
            }
        }
        None
    }

    fn is_named(&self, at: u32, name: &str) -> bool {
        let found = self.strings.get(at as usize..).unwrap_or_default();
        found.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
    }

    fn structures(&self) -> Structures {
        let members = || GROUPS.iter().flat_map(|group: &Group| group.members);
        let mut found = Structures::default();
        for at in self.places.iter().skip(1) {
            let at = *at as usize;
            let Some(it) = self.type_at(at).filter(|it| it.kind == STRUCT) else { continue };
            let Some(name) = word(self.records, at) else { continue };
            if let Some(member) = members().find(|member| self.is_named(name, member.structure)) {
                found.insert(member.structure, it);
            }
        }
        found
    }

    /// In bytes; `None` where there is no such member, or it is another than the probes read.
    fn offset(&self, structures: &Structures, member: &Member) -> Option<u16> {
        let mut within = *structures.get(member.structure)?;
        let mut bits = 0;
        for name in member.path {
            let (offset, number) = self.member(within, name, 0)?;
            bits += offset;
            within = self.resolved(number)?;
        }
        let bytes = match within.kind {
            POINTER => 8,
            // Only where it begins is asked for.
            ARRAY if member.bytes == 0 => 0,
            INT | ENUM | STRUCT | UNION => within.size_or_number,
            _ => return None,
        };
        if member.bytes != 0 && member.bytes != bytes || bits % 8 != 0 {
            return None;
        }
        u16::try_from(bits / 8).ok()
    }

    /// Bits from the start of the structure, and the type, of a member that is no bit field; also of
    /// one within a member without a name.
    fn member(&self, within: Type, name: &str, depth: usize) -> Option<(u32, u32)> {
        if depth > DEPTH_MAX || !matches!(within.kind, STRUCT | UNION) {
            return None;
        }
        (0..within.count).find_map(|nth| {
            let at = within.at + 12 + nth * 12;
            let (label, number) = (word(self.records, at)?, word(self.records, at + 4)?);
            let offset = word(self.records, at + 8)?;
            let (bits, is_bit_field) = if within.has_bit_fields {
                (offset & 0x00ff_ffff, offset >> 24 != 0)
            } else {
                (offset, false)
            };
            if label == 0 {
                let (inner, number) = self.member(self.resolved(number)?, name, depth + 1)?;
                return Some((bits + inner, number));
            }
            (!is_bit_field && self.is_named(label, name)).then_some((bits, number))
        })
    }
}

impl Type {
    /// Of its record.
    fn bytes(self) -> usize {
        let behind = match self.kind {
            INT | VAR | DECL_TAG => 4,
            ARRAY => 12,
            STRUCT | UNION | DATASEC | ENUM64 => self.count * 12,
            ENUM | FUNC_PROTO => self.count * 8,
            _ => 0,
        };
        12 + behind
    }
}

#[cfg(test)]
mod tests {
    use monitor_ebpf::layout::reads;

    use super::*;

    /// A file of these types, each given by name, info and the words behind.
    fn file(types: &[(&str, u32, Vec<u32>)], names: &[&str]) -> Vec<u8> {
        let mut strings = vec![0];
        let mut place = |name: &str| {
            if name.is_empty() {
                return 0;
            }
            let at = strings.len() as u32;
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
            at
        };
        let names: Vec<u32> = names.iter().map(|name| place(name)).collect();
        let mut body = Vec::new();
        for (name, info, words) in types {
            let words = words.iter().map(|word| match word >> 28 {
                // A name by its position.
                0xf => names[(word & 0xff) as usize],
                _ => *word,
            });
            for word in [place(name), *info].into_iter().chain(words) {
                body.extend_from_slice(&word.to_ne_bytes());
            }
        }
        let mut out = MAGIC.to_ne_bytes().to_vec();
        out.extend_from_slice(&[1, 0]);
        for word in [24, 0, body.len() as u32, body.len() as u32, strings.len() as u32] {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.extend_from_slice(&body);
        out.extend_from_slice(&strings);
        out
    }

    const NAME: u32 = 0xf000_0000;

    /// `sock_common` with its namespace in a structure of its own behind a typedef, and its cookie in
    /// a union without a name.
    fn sample(cookie_bytes: u32) -> Vec<u8> {
        file(
            &[
                ("long", INT << 24, vec![cookie_bytes, 0]),
                ("", POINTER << 24, vec![0]),
                ("", STRUCT << 24 | 1, vec![8, NAME | 1, 2, 0]),
                ("possible_net_t", TYPEDEF << 24, vec![3]),
                ("", UNION << 24 | 1, vec![8, NAME | 2, 1, 0]),
                ("sock_common", STRUCT << 24 | 2, vec![64, NAME, 4, 48 * 8, 0, 5, 56 * 8]),
                ("int", INT << 24, vec![4, 0]),
                ("ns_common", STRUCT << 24 | 1, vec![8, NAME | 3, 7, 32]),
                ("net", STRUCT << 24 | 1, vec![128, NAME | 4, 8, 64 * 8]),
            ],
            &["skc_net", "net", "skc_cookie", "inum", "ns"],
        )
    }

    #[test]
    fn members_are_found_behind_typedefs_and_in_structures_without_a_name() {
        let bytes = sample(8);
        let layout = Layout::of(&Types::parse(&bytes).unwrap());
        assert_eq!(layout.reads, reads::COOKIE | reads::NETNS);
        assert_eq!(layout.offsets, [("SOCK_COOKIE", 56), ("SOCK_NET", 48), ("NET_NUMBER", 68)]);
    }

    #[test]
    fn a_member_of_another_size_is_not_read() {
        let bytes = sample(4);
        let layout = Layout::of(&Types::parse(&bytes).unwrap());
        assert_eq!(layout.reads, reads::NETNS);
    }

    #[test]
    fn cut_and_foreign_files_have_no_types() {
        let bytes = sample(8);
        for length in 0..bytes.len() {
            if let Some(types) = Types::parse(&bytes[..length]) {
                let _ = Layout::of(&types);
            }
        }
        assert!(Types::parse(b"").is_none());
        assert!(Types::parse(&[0; 64]).is_none());
    }

    #[test]
    fn this_kernel_says_where_all_is_that_the_probes_read() {
        let layout = Layout::of_kernel();
        let all = GROUPS.iter().fold(0, |bits, group| bits | group.bit);
        assert!(!Path::new(VMLINUX).exists() || layout.reads == all, "{layout:?}");
    }
}
