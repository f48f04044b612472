//! Reads `IPFire`'s `location.db`, version 1 of libloc's format: a binary tree of the address bits
//! (IPv4 below `::ffff:0:0/96`) whose nodes may each name a network; the deepest one counts.
//! Big-endian; layout after libloc's `src/libloc/format.h`. Trusts no byte of it.

mod draft;

pub use self::draft::draft;
use crate::{AssetError, is_country, is_kept6, operator::FLAGS};

const MAGIC: &[u8] = b"LOCDBXX\x01";
const NODE: usize = 12;
const NETWORK: usize = 12;
const SYSTEM: usize = 8;
const NO_NETWORK: u32 = u32::MAX;

/// RFC 5737, the upper 24 bits.
const DOCUMENTATION4: [u64; 3] = [0xc0_0002, 0xc6_3364, 0xcb_0071];
/// RFC 3849, the upper 32 bits.
const DOCUMENTATION6: u64 = 0x2001_0db8;

/// Leaves of one family; a whole database has some million. A damaged tree may lead everywhere from everywhere.
const LEAVES_MAX: usize = 1 << 24;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub country: Option<[u8; 2]>,
    /// 0: none.
    pub system: u32,
    pub flags: u8,
}

/// `(start, network)`, ascending from 0, neighbours differ.
pub type Networks = Vec<(u64, Network)>;

/// The file, cut into its parts.
#[derive(Debug)]
pub struct Database<'a> {
    /// Seconds since 1970.
    pub dated: u64,
    /// Number and name, ascending.
    pub systems: Vec<(u32, String)>,
    networks: Vec<Network>,
    tree: &'a [u8],
}

/// Whether these bytes, of which the first hundred are enough, begin such a file, and its date.
pub fn dated(bytes: &[u8]) -> Option<u64> {
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    bytes.get(8..).and_then(<[u8]>::first_chunk).map(|date| u64::from_be_bytes(*date))
}

pub fn parse(bytes: &[u8]) -> Result<Database<'_>, AssetError> {
    let dated = dated(bytes).ok_or(AssetError::Foreign)?;
    // After the date: vendor, description and licence, then offset and length of each part.
    let part = |number: usize| {
        let at = 28 + number * 8;
        let (offset, length) = (u32_at(bytes, at)? as usize, u32_at(bytes, at + 4)? as usize);
        offset
            .checked_add(length)
            .and_then(|end| bytes.get(offset..end))
            .ok_or(AssetError::Truncated)
    };
    let (systems, networks, tree, pool) = (part(0)?, part(1)?, part(2)?, part(4)?);
    let systems = systems.chunks_exact(SYSTEM).map(|row| {
        let name = pool.get(u32_at(row, 4)? as usize..).unwrap_or_default();
        let end = name.iter().position(|byte| *byte == 0);
        let end = end.ok_or(AssetError::Inconsistent("a name without an end"))?;
        Ok((u32_at(row, 0)?, String::from_utf8_lossy(&name[..end]).into_owned()))
    });
    let systems = systems.collect::<Result<Vec<_>, _>>()?;
    if !systems.is_sorted_by(|a: &(u32, String), b| a.0 < b.0) {
        return Err(AssetError::Inconsistent("the numbers of the systems"));
    }
    let networks = networks.chunks_exact(NETWORK).map(network).collect::<Result<_, _>>()?;
    Ok(Database { dated, systems, networks, tree })
}

fn network(row: &[u8]) -> Result<Network, AssetError> {
    let flags = u16::from_be_bytes([row[8], row[9]]);
    let flags = u8::try_from(flags).ok().filter(|flags| flags & !FLAGS == 0);
    let country = match [row[0], row[1]] {
        [b'U', b'K'] => Some(*b"GB"),
        code => is_country(code).then_some(code),
    };
    let flags = flags.ok_or(AssetError::Inconsistent("flags that are not known"))?;
    Ok(Network { country, system: u32_at(row, 4)?, flags })
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32, AssetError> {
    let four = bytes.get(at..).and_then(<[u8]>::first_chunk).ok_or(AssetError::Truncated)?;
    Ok(u32::from_be_bytes(*four))
}

impl Database<'_> {
    /// Starts are addresses. Documentation networks are nobody's, though they are registered.
    pub fn networks4(&self) -> Result<Networks, AssetError> {
        let mut node = 0;
        for bit in 0..96 {
            let child = self.child(node, usize::from(bit >= 80))?;
            node = child.ok_or(AssetError::Inconsistent("no IPv4 in the tree"))?;
        }
        let mut networks = Networks::new();
        self.walk(node, 32, &mut |start, found| {
            let is_example = DOCUMENTATION4.contains(&(start >> 8));
            push(&mut networks, start, if is_example { Network::default() } else { found });
        })?;
        Ok(networks)
    }

    /// Starts are upper halves.
    pub fn networks6(&self) -> Result<Networks, AssetError> {
        let mut networks: Networks = vec![(0, Network::default())];
        self.walk(0, 64, &mut |start, found| {
            let is_kept = is_kept6(start) && start >> 32 != DOCUMENTATION6;
            push(&mut networks, start, if is_kept { found } else { Network::default() });
        })?;
        Ok(networks)
    }

    /// Calls `each` with every range below `root` in order of address; what is below `depth_max` is
    /// what its first address is.
    fn walk(
        &self,
        root: usize,
        depth_max: u32,
        each: &mut impl FnMut(u64, Network),
    ) -> Result<(), AssetError> {
        // The left child is walked first, so the right one waits.
        let mut waiting = vec![(Some(root), 0_u64, 0_u32, Network::default())];
        let mut leaves = 0;
        let mut each = |start, found| {
            leaves += 1;
            each(start, found);
            if leaves > LEAVES_MAX {
                Err(AssetError::Inconsistent("more than there can be"))
            } else {
                Ok(())
            }
        };
        while let Some((node, start, depth, outer)) = waiting.pop() {
            let Some(node) = node else {
                each(start, outer)?;
                continue;
            };
            let inner = self.own(node)?.unwrap_or(outer);
            let (zero, one) = (self.child(node, 0)?, self.child(node, 1)?);
            if depth == depth_max || (zero.is_none() && one.is_none()) {
                each(start, inner)?;
            } else {
                waiting.push((one, start | 1 << (depth_max - depth - 1), depth + 1, inner));
                waiting.push((zero, start, depth + 1, inner));
            }
        }
        Ok(())
    }

    /// `None`: nothing is below; no child is the root.
    fn child(&self, node: usize, side: usize) -> Result<Option<usize>, AssetError> {
        let child = u32_at(self.tree, node * NODE + side * 4)? as usize;
        Ok((child != 0).then_some(child))
    }

    fn own(&self, node: usize) -> Result<Option<Network>, AssetError> {
        let index = u32_at(self.tree, node * NODE + 8)?;
        let network = self.networks.get(index as usize).copied();
        match network {
            None if index == NO_NETWORK => Ok(None),
            None => Err(AssetError::Inconsistent("a network that is not there")),
            network => Ok(network),
        }
    }
}

fn push(networks: &mut Networks, start: u64, found: Network) {
    if networks.last().is_none_or(|(_, before)| *before != found) {
        networks.push((start, found));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database of IPv4 with 0/1 of AS7, and 128/2 inside 128/1, in the United Kingdom.
    fn small() -> Vec<u8> {
        let mut nodes: Vec<[u32; 3]> = (1..=96_u32)
            .map(|next| if next > 80 { [0, next, NO_NETWORK] } else { [next, 0, NO_NETWORK] })
            .collect();
        nodes.push([97, 98, NO_NETWORK]);
        nodes.push([0, 0, 0]);
        nodes.push([99, 0, 1]);
        nodes.push([0, 0, 2]);
        let tree: Vec<u8> = nodes.into_iter().flatten().flat_map(u32::to_be_bytes).collect();
        let network = |code: &[u8; 2], system: u32, flags: u8| {
            [&code[..], &[0, 0], &system.to_be_bytes(), &[0, flags, 0, 0]].concat()
        };
        let networks = [network(b"DE", 7, 0), network(b"EU", 0, 4), network(b"UK", 9, 8)].concat();
        let systems = [7_u32, 0, 9, 4].map(u32::to_be_bytes).concat();
        let pool = b"Seven\0Nine\0";
        let parts: [&[u8]; 5] = [&systems, &networks, &tree, b"", pool];
        let mut out = MAGIC.to_vec();
        out.extend(1_787_373_369_u64.to_be_bytes());
        out.extend([0; 12]);
        let mut at = 28 + 5 * 8;
        for part in parts {
            out.extend([at as u32, part.len() as u32].map(u32::to_be_bytes).concat());
            at += part.len();
        }
        out.extend(parts.concat());
        out
    }

    #[test]
    fn the_deepest_network_counts_and_a_region_is_no_country() {
        let whole = small();
        let database = parse(&whole).unwrap();
        assert_eq!(database.dated, 1_787_373_369);
        assert_eq!(database.systems[0], (7, "Seven".to_owned()));
        let of = |country: Option<&[u8; 2]>, system, flags| Network {
            country: country.copied(),
            system,
            flags,
        };
        let expected = vec![
            (0, of(Some(b"DE"), 7, 0)),
            (0x8000_0000, of(Some(b"GB"), 9, 8)),
            (0xc000_0000, of(None, 0, 4)),
        ];
        assert_eq!(database.networks4().unwrap(), expected);
    }

    #[test]
    fn a_cut_file_is_an_error() {
        let whole = small();
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn a_tree_that_leads_back_into_itself_ends() {
        let mut whole = small();
        let tree = u32_at(&whole, 28 + 2 * 8).unwrap() as usize;
        // The node of 0/0 leads to itself on either side.
        for side in 0..2 {
            let at = tree + 96 * NODE + side * 4;
            whole[at..at + 4].copy_from_slice(&96_u32.to_be_bytes());
        }
        let found = parse(&whole).unwrap().networks4();
        assert_eq!(found, Err(AssetError::Inconsistent("more than there can be")));
    }
}
