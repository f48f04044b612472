//! What lies between a station and the ground: objects that never change, each named by what it holds. A name
//! says enough to know what is missing. It reads and writes none.

use std::fmt::{self, Write as _};

use geofenced::fleet::{Hash, hex};
use sha2::{Digest as _, Sha256};

/// Bytes of a folder's name that are the origin's.
const ORIGIN_BYTES: usize = 200;
/// Digits of a hash in a name: enough that nobody meets another by chance. What counts is what is signed.
const DIGITS: usize = 16;

/// The first digits of a hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Short(String);

impl Short {
    pub fn of(hash: &Hash) -> Self {
        Self(hex(&hash[..DIGITS / 2]))
    }

    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self::of(&Sha256::digest(bytes).into())
    }

    fn parse(text: &str) -> Option<Self> {
        let is_hex = text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == DIGITS && is_hex).then(|| Self(text.to_owned()))
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A part of a segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece {
    pub segment: u32,
    /// Of the whole segment.
    pub whole: Short,
    pub offset: u64,
    pub length: u64,
    pub total: u64,
}

/// What an object is, by its name within its origin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Object {
    Piece(Piece),
    /// Leaves from one block on up to another, and the checkpoints among them.
    Leaves {
        from: u64,
        to: u64,
        content: Short,
    },
    /// A block that tells of a violation, before it is signed.
    Urgent {
        block: u64,
        leaf: Short,
    },
    /// That one key follows on another.
    Succession {
        content: Short,
    },
    /// What the ground has of this origin: the only one that changes.
    Answer,
}

impl Object {
    /// Within the folder of its origin.
    pub fn name(&self) -> String {
        match self {
            Self::Piece(Piece { segment, whole, offset, length, total }) => {
                format!("segments/{segment:08}-{whole}.{offset}+{length}of{total}")
            }
            Self::Leaves { from, to, content } => format!("leaves/{to:012}-{from}-{content}"),
            Self::Urgent { block, leaf } => format!("urgent/{block:012}-{leaf}"),
            Self::Succession { content } => format!("keys/{content}"),
            Self::Answer => "answer.json".to_owned(),
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        if name == "answer.json" {
            return Some(Self::Answer);
        }
        let (folder, name) = name.split_once('/')?;
        Some(match folder {
            "segments" => {
                let (segment, rest) = name.split_once('-')?;
                let (whole, rest) = rest.split_once('.')?;
                let (offset, rest) = rest.split_once('+')?;
                let (length, total) = rest.split_once("of")?;
                Self::Piece(Piece {
                    segment: segment.parse().ok()?,
                    whole: Short::parse(whole)?,
                    offset: offset.parse().ok()?,
                    length: length.parse().ok()?,
                    total: total.parse().ok()?,
                })
            }
            "leaves" => {
                let (to, rest) = name.split_once('-')?;
                let (from, content) = rest.split_once('-')?;
                let (from, to) = (from.parse().ok()?, to.parse().ok()?);
                Self::Leaves { from, to, content: Short::parse(content)? }
            }
            "urgent" => {
                let (block, leaf) = name.split_once('-')?;
                Self::Urgent { block: block.parse().ok()?, leaf: Short::parse(leaf)? }
            }
            "keys" => Self::Succession { content: Short::parse(name)? },
            _ => return None,
        })
    }

    /// The whole key.
    pub fn key(&self, origin: &str) -> String {
        format!("{}/{}", folder(origin), self.name())
    }
}

/// As one part of a path, each byte that could be more than itself as `%XX`.
pub fn folder(origin: &str) -> String {
    let mut out = String::with_capacity(origin.len());
    for byte in origin.bytes() {
        if out.len() + 3 > ORIGIN_BYTES {
            break;
        }
        let is_plain = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        // A dot first would hide the folder, or be more than a name.
        if is_plain || byte == b'.' && !out.is_empty() {
            out.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The origin of a folder; `None`: none is called so.
pub fn origin_of(folder_name: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::new(), folder_name.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    let origin = String::from_utf8(bytes).ok()?;
    (folder(&origin) == folder_name && !origin.is_empty()).then_some(origin)
}

/// Name of the station, and which of its origins this is: `NAME` is the first, `NAME/2` the second.
pub fn station_of(origin: &str) -> (&str, u64) {
    let numbered = origin.rsplit_once('/').and_then(|(name, number)| {
        let number = number.parse().ok().filter(|it| *it > 1)?;
        (!name.is_empty()).then_some((name, number))
    });
    numbered.unwrap_or((origin, 1))
}

/// The origin before this one, of the same station.
pub fn before(origin: &str) -> Option<String> {
    match station_of(origin) {
        (_, 1) => None,
        (name, 2) => Some(name.to_owned()),
        (name, number) => Some(format!("{name}/{}", number - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_what_its_name_says() {
        let whole = Short::of(&[0xab; 32]);
        let piece = Piece { segment: 7, whole: whole.clone(), offset: 9, length: 4, total: 20 };
        let objects = [
            Object::Piece(piece),
            Object::Leaves { from: 0, to: 1 << 40, content: whole.clone() },
            Object::Urgent { block: 3, leaf: whole.clone() },
            Object::Succession { content: whole },
            Object::Answer,
        ];
        for object in objects {
            assert_eq!(Object::parse(&object.name()), Some(object.clone()), "{object:?}");
        }
        for name in ["", "x", "segments/1", "leaves/1-2-zz", "keys/../../etc", "urgent/-1-"] {
            assert_eq!(Object::parse(name), None, "{name}");
        }
    }

    #[test]
    fn an_origin_of_any_name_is_one_folder_and_comes_back() {
        for origin in ["uav-7", "uav-7/2", "..", "../../etc", "Fähre_2", "%41", ".hidden"] {
            let folder = folder(origin);
            assert!(!folder.contains('/') && !folder.starts_with('.'), "{folder}");
            assert_eq!(origin_of(&folder).as_deref(), Some(origin));
        }
        for folder in ["", "..", "a%2", "a%ZZ", "a b", "%61"] {
            assert_eq!(origin_of(folder), None, "{folder}");
        }
    }

    #[test]
    fn origins_of_a_station_follow_on_each_other() {
        assert_eq!(station_of("uav/7"), ("uav", 7));
        assert_eq!(station_of("uav-7"), ("uav-7", 1));
        assert_eq!(station_of("uav/1"), ("uav/1", 1));
        assert_eq!(before("uav-7/3").as_deref(), Some("uav-7/2"));
        assert_eq!(before("uav-7/2").as_deref(), Some("uav-7"));
        assert_eq!(before("uav-7"), None);
    }
}
