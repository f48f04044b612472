//! Reads legacy country files (`GeoIP.dat`, `GeoIPv6.dat`): a binary tree of the address
//! bits, two records of three bytes a node; a record from `LEAF` up is a country's number.

use std::{fs, path::Path};

use anyhow::{Context as _, bail};

use assets::is_kept6;

use super::{Spans, push};

const LEAF: u32 = 0xff_ff00;

/// Numbers of the format, from 0. `--` and what is no country follow ISO in nothing but form.
const CODES: &str = "\
-- AP EU AD AE AF AG AI AL AM CW AO AQ AR AS AT AU AW AZ BA BB BD BE BF BG BH BI BJ BM BN BO BR \
BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CX CY CZ DE DJ DK DM DO DZ EC EE \
EG EH ER ES ET FI FJ FK FM FO FR SX GA GB GD GE GF GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM \
HN HR HT HU ID IE IL IN IO IQ IR IS IT JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK \
LR LS LT LU LV LY MA MC MD MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG \
NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RU RW SA SB SC SD SE \
SG SH SI SJ SK SL SM SN SO SR ST SV SY SZ TC TD TF TG TH TJ TK TM TN TO TL TR TT TV TW TZ UA UG \
UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT RS ZA ZM ME ZW A1 A2 O1 AX GG IM JE BL MF BQ SS O1";

const NO_COUNTRY: [&str; 6] = ["--", "AP", "EU", "A1", "A2", "O1"];

/// A tree and the country of each number.
pub(super) struct Tree {
    bytes: Vec<u8>,
    countries: Vec<Option<[u8; 2]>>,
}

pub(super) fn read(path: &Path) -> anyhow::Result<Tree> {
    let countries = CODES
        .split(' ')
        .map(|code| match code.as_bytes() {
            [a, b] if !NO_COUNTRY.contains(&code) => Some([*a, *b]),
            _ => None,
        })
        .collect();
    Ok(Tree { bytes: fs::read(path)?, countries })
}

/// Starts are addresses.
pub(super) fn ranges4(tree: &Tree) -> anyhow::Result<Spans> {
    let mut spans = Spans::new();
    tree.walk(0, 0, 32, &mut |start, country| push(&mut spans, start, country))?;
    Ok(spans)
}

/// Starts are upper halves. Where an IPv4 address is carried the file repeats all of IPv4.
pub(super) fn ranges6(tree: &Tree) -> anyhow::Result<Spans> {
    let mut spans: Spans = vec![(0, None)];
    let mut all = Vec::new();
    tree.walk(0, 0, 64, &mut |start, country| all.push((start, country)))?;
    for (start, country) in all {
        push(&mut spans, start, country.filter(|_| is_kept6(start)));
    }
    Ok(spans)
}

impl Tree {
    /// Calls `each` with every leaf in order of address; what is below `depth_max` has the country
    /// of its first address. `prefix` holds the bits so far at the top of `depth_max` bits.
    fn walk(
        &self,
        node: u32,
        prefix: u64,
        depth_max: u32,
        each: &mut impl FnMut(u64, Option<[u8; 2]>),
    ) -> anyhow::Result<()> {
        // The left child is walked first, so the right one waits.
        let mut waiting = vec![(node, prefix, 0_u32)];
        while let Some((record, prefix, depth)) = waiting.pop() {
            if record >= LEAF {
                each(prefix, self.country(record)?);
            } else if depth >= 128 {
                bail!("the tree is deeper than an address");
            } else if depth >= depth_max {
                waiting.push((self.record(record, 0)?, prefix, depth + 1));
            } else {
                let one = prefix | 1 << (depth_max - depth - 1);
                waiting.push((self.record(record, 1)?, one, depth + 1));
                waiting.push((self.record(record, 0)?, prefix, depth + 1));
            }
        }
        Ok(())
    }

    fn record(&self, node: u32, side: usize) -> anyhow::Result<u32> {
        let at = node as usize * 6 + side * 3;
        let bytes = self.bytes.get(at..at + 3).context("a node beyond the file's end")?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]))
    }

    fn country(&self, record: u32) -> anyhow::Result<Option<[u8; 2]>> {
        let number = (record - LEAF) as usize;
        self.countries.get(number).copied().with_context(|| format!("no country {number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_read_in_order_of_address() {
        let leaf = |code: &str| LEAF + CODES.split(' ').position(|c| c == code).unwrap() as u32;
        // 0/1 is US; 128/2 is DE; 192/2 is no country.
        let records = [leaf("US"), 1, leaf("DE"), leaf("EU")];
        let bytes = records.iter().flat_map(|record| record.to_le_bytes()[..3].to_vec()).collect();
        let countries = read(Path::new("/dev/null")).unwrap().countries;
        assert_eq!(countries.len(), 256);
        let tree = Tree { bytes, countries };
        let expected = vec![(0, Some(*b"US")), (0x8000_0000, Some(*b"DE")), (0xc000_0000, None)];
        assert_eq!(ranges4(&tree).unwrap(), expected);
        let cut = Tree { bytes: tree.bytes[..7].to_vec(), countries: tree.countries };
        assert!(ranges4(&cut).is_err());
    }
}
