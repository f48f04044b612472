//! Tables that give the class of an address: built from ranges, checked, looked up. The probes look
//! into the same ones (`monitor_ebpf::places` has the bounds). Must not know what a class means.
//!
//! IPv4 is DXR: 2^16 words, one a /16 network. A word with `V4_WHOLE` set has the class of all of
//! it in its lower half. Any other says where the network's ranges are in `starts` and `classes4`,
//! in groups of 8: the first group (17 bits), and how many follow it (13 bits above). `starts` has
//! the lower half of each range's first address, the last group filled up with 0xffff and the last
//! class. IPv6 is the sorted upper halves of each range's first address.

use std::net::IpAddr;

use monitor_ebpf::places::{
    UNASKED, V4_GROUP, V4_INDEX, V4_OFFSET_BITS, V4_STARTS, V4_WHOLE, V6_KEYS,
};

/// Why there are no tables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TablesError {
    #[error("the {0} ranges do not begin at 0 or do not ascend")]
    Unordered(&'static str),
    #[error("more than {1} {0} ranges: the probes have no room for them")]
    Capacity(&'static str, usize),
    #[error("the tables are inconsistent: {0}")]
    Inconsistent(&'static str),
}

/// Tables in memory of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    index: Vec<u32>,
    starts: Vec<u16>,
    classes4: Vec<u16>,
    keys: Vec<u64>,
    classes6: Vec<u16>,
}

/// The columns of tables, wherever they lie. Each is an array in the machine's byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Columns<'a> {
    /// `V4_INDEX` words.
    pub index: &'a [u32],
    pub starts: &'a [u16],
    /// As many as `starts`.
    pub classes4: &'a [u16],
    /// Strictly ascending from 0.
    pub keys: &'a [u64],
    /// As many as `keys`.
    pub classes6: &'a [u16],
}

/// Tables that were checked, in memory of somebody else's, such as a mapped file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablesRef<'a>(Columns<'a>);

impl Tables {
    /// From ranges (first address, class), sorted, the first at 0, each up to the next. IPv6
    /// addresses are their upper halves. Neighbours of the same class are merged.
    pub fn build(
        v4: impl IntoIterator<Item = (u32, u16)>,
        v6: impl IntoIterator<Item = (u64, u16)>,
    ) -> Result<Self, TablesError> {
        Ok(Self::build4(v4)?.with6(columns6(v6)?))
    }

    /// Of IPv4 alone.
    pub(super) fn build4(v4: impl IntoIterator<Item = (u32, u16)>) -> Result<Self, TablesError> {
        let mut tables = Self {
            index: Vec::with_capacity(V4_INDEX),
            starts: Vec::new(),
            classes4: Vec::new(),
            keys: Vec::new(),
            classes6: Vec::new(),
        };
        tables.fill_v4(v4)?;
        Ok(tables)
    }

    pub(super) fn with6(self, (keys, classes6): (Vec<u64>, Vec<u16>)) -> Self {
        Self { keys, classes6, ..self }
    }

    fn fill_v4(&mut self, ranges: impl IntoIterator<Item = (u32, u16)>) -> Result<(), TablesError> {
        let mut ranges = Merged::new(ranges, "IPv4").peekable();
        // What goes on from the network before.
        let mut class = match ranges.peek() {
            Some(Ok((_, class))) => *class,
            Some(Err(error)) => return Err(error.clone()),
            None => return Err(TablesError::Unordered("IPv4")),
        };
        for network in 0..V4_INDEX as u32 {
            let offset = self.starts.len();
            self.starts.push(0);
            self.classes4.push(class);
            while let Some(range) =
                ranges.next_if(|range| range.as_ref().map_or(true, |(at, _)| at >> 16 == network))
            {
                let (start, next) = range?;
                class = next;
                if start as u16 == 0 {
                    self.classes4[offset] = class;
                } else {
                    self.starts.push(start as u16);
                    self.classes4.push(class);
                }
            }
            let count = self.starts.len() - offset;
            if count == 1 {
                self.starts.truncate(offset);
                self.classes4.truncate(offset);
                self.index.push(V4_WHOLE | u32::from(class));
                continue;
            }
            let groups = count.div_ceil(V4_GROUP);
            let end = offset + groups * V4_GROUP;
            if end > V4_STARTS {
                return Err(TablesError::Capacity("IPv4", V4_STARTS));
            }
            self.starts.resize(end, u16::MAX);
            self.classes4.resize(end, class);
            let first = offset / V4_GROUP;
            self.index.push(((groups - 1) as u32) << V4_OFFSET_BITS | first as u32);
        }
        Ok(())
    }

    pub fn borrow(&self) -> TablesRef<'_> {
        let Self { index, starts, classes4, keys, classes6 } = self;
        TablesRef(Columns { index, starts, classes4, keys, classes6 })
    }
}

/// The columns of IPv6: keys and classes.
pub(super) fn columns6(
    v6: impl IntoIterator<Item = (u64, u16)>,
) -> Result<(Vec<u64>, Vec<u16>), TablesError> {
    let (mut keys, mut classes) = (Vec::new(), Vec::new());
    for range in Merged::new(v6, "IPv6") {
        let (key, class) = range?;
        if keys.len() == V6_KEYS {
            return Err(TablesError::Capacity("IPv6", V6_KEYS));
        }
        keys.push(key);
        classes.push(class);
    }
    if keys.is_empty() {
        return Err(TablesError::Unordered("IPv6"));
    }
    Ok((keys, classes))
}

impl<'a> TablesRef<'a> {
    /// Reads every column once.
    pub fn check(columns: Columns<'a>) -> Result<Self, TablesError> {
        let Columns { index, starts, classes4, keys, classes6 } = columns;
        let wrong = |what| Err(TablesError::Inconsistent(what));
        if index.len() != V4_INDEX || starts.len() != classes4.len() || keys.len() != classes6.len()
        {
            return wrong("columns of different lengths");
        }
        if starts.len() > V4_STARTS {
            return Err(TablesError::Capacity("IPv4", V4_STARTS));
        }
        if keys.len() > V6_KEYS {
            return Err(TablesError::Capacity("IPv6", V6_KEYS));
        }
        for word in index.iter().filter(|word| *word & V4_WHOLE == 0) {
            let (offset, count) = parts(*word);
            match starts.get(offset..offset + count) {
                Some(its) if its[0] == 0 && its.is_sorted() => {}
                _ => return wrong("a word of the index leads to no ranges"),
            }
        }
        if keys.first() != Some(&0) || !keys.is_sorted_by(|a, b| a < b) {
            return Err(TablesError::Unordered("IPv6"));
        }
        Ok(Self(columns))
    }

    /// Columns that [`TablesRef::check`] accepted before, and that did not change since.
    pub(super) fn checked_before(columns: Columns<'a>) -> Self {
        Self(columns)
    }

    pub fn columns(&self) -> Columns<'a> {
        self.0
    }

    /// Of a canonical address.
    pub fn class(&self, address: IpAddr) -> u16 {
        match address {
            IpAddr::V4(address) => self.class4(address.into()),
            IpAddr::V6(address) => self.class6((u128::from(address) >> 64) as u64),
        }
    }

    pub fn class4(&self, address: u32) -> u16 {
        let word = self.0.index.get((address >> 16) as usize).copied().unwrap_or(V4_WHOLE);
        if word & V4_WHOLE != 0 {
            return word as u16;
        }
        let (offset, count) = parts(word);
        let its = self.0.starts.get(offset..offset + count).unwrap_or_default();
        class_of(its, self.0.classes4.get(offset..).unwrap_or_default(), address as u16)
    }

    /// Of the network with this upper half.
    pub fn class6(&self, key: u64) -> u16 {
        class_of(self.0.keys, self.0.classes6, key)
    }

    /// The ranges again, merged, as [`Tables::build`] takes them.
    pub fn ranges4(&self) -> impl Iterator<Item = (u32, u16)> + Clone + use<'a> {
        let Columns { index, starts, classes4, .. } = self.0;
        let networks = index.iter().zip(0_u32..).flat_map(move |(word, network)| {
            let (offset, count) = if word & V4_WHOLE == 0 { parts(*word) } else { (0, 0) };
            let whole = (count == 0).then_some((network << 16, *word as u16));
            let its = starts.iter().zip(classes4).skip(offset).take(count);
            its.map(move |(start, class)| (network << 16 | u32::from(*start), *class)).chain(whole)
        });
        let mut last = None;
        networks.filter(move |(_, class)| last.replace(*class) != Some(*class))
    }

    /// Addresses to test a lookup with: `most` of each family, the first of a range and the last of
    /// the one before, from ranges all over.
    pub fn seams(&self, most: usize) -> impl Iterator<Item = IpAddr> + use<'a> {
        let v4 = spread(self.ranges4(), most / 2).flat_map(|(start, _)| {
            [start, start.wrapping_sub(1)].map(|address| IpAddr::V4(address.into()))
        });
        let v6 = spread(self.ranges6(), most / 2).flat_map(|(start, _)| {
            let start = u128::from(start) << 64;
            [start, start.wrapping_sub(1)].map(|address| IpAddr::V6(address.into()))
        });
        v4.chain(v6)
    }

    pub fn ranges6(&self) -> impl Iterator<Item = (u64, u16)> + Clone + use<'a> {
        self.0.keys.iter().copied().zip(self.0.classes6.iter().copied())
    }
}

/// `most` of these, or all, as far from each other as can be.
fn spread<I: Iterator + Clone>(all: I, most: usize) -> impl Iterator<Item = I::Item> {
    let count = all.clone().count();
    let most = most.min(count);
    let is_one = move |at: usize| at * most / count != (at + 1) * most / count;
    all.enumerate().filter(move |(at, _)| is_one(*at)).map(|(_, item)| item)
}

/// Of a word without `V4_WHOLE`: where the network's starts begin, and how many they are.
fn parts(word: u32) -> (usize, usize) {
    let first = word & ((1 << V4_OFFSET_BITS) - 1);
    let groups = ((word & !V4_WHOLE) >> V4_OFFSET_BITS) + 1;
    (first as usize * V4_GROUP, groups as usize * V4_GROUP)
}

fn class_of<K: Copy + Ord>(starts: &[K], classes: &[u16], key: K) -> u16 {
    let after = starts.partition_point(|start| *start <= key);
    after.checked_sub(1).and_then(|at| classes.get(at)).copied().unwrap_or(UNASKED)
}

/// Ranges without those that go on with the class before; an error where they do not ascend.
struct Merged<I, K> {
    ranges: I,
    family: &'static str,
    last: Option<(K, u16)>,
}

impl<K, I: Iterator<Item = (K, u16)>> Merged<I, K> {
    fn new(ranges: impl IntoIterator<IntoIter = I>, family: &'static str) -> Self {
        Self { ranges: ranges.into_iter(), family, last: None }
    }
}

impl<K: Copy + Default + Ord, I: Iterator<Item = (K, u16)>> Iterator for Merged<I, K> {
    type Item = Result<(K, u16), TablesError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (start, class) = self.ranges.next()?;
            let is_next = match self.last {
                None => start == K::default(),
                Some((last, _)) => last < start,
            };
            if !is_next {
                return Some(Err(TablesError::Unordered(self.family)));
            }
            let before = self.last.replace((start, class));
            if before.is_none_or(|(_, before)| before != class) {
                return Some(Ok((start, class)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Starts that crowd where tables have seams: network bounds, single addresses, the ends.
    fn start4() -> impl Strategy<Value = u32> {
        let near =
            (0_u32..6, -3_i32..3).prop_map(|(network, by)| (network << 16).wrapping_add_signed(by));
        prop_oneof![near, any::<u32>(), Just(u32::MAX)]
    }

    fn start6() -> impl Strategy<Value = u64> {
        let near = (0_u64..6, -3_i64..3).prop_map(|(at, by)| (at << 61).wrapping_add_signed(by));
        prop_oneof![near, any::<u64>(), Just(u64::MAX)]
    }

    fn ranges<K: Ord + Default + std::fmt::Debug>(
        start: impl Strategy<Value = K>,
    ) -> impl Strategy<Value = BTreeMap<K, u16>> {
        (any::<u16>(), prop::collection::btree_map(start, 0_u16..4, 0..60)).prop_map(
            |(first, mut ranges)| {
                ranges.insert(K::default(), first);
                ranges
            },
        )
    }

    fn naive<K: Ord + Copy>(ranges: &BTreeMap<K, u16>, key: K) -> u16 {
        *ranges.range(..=key).next_back().unwrap().1
    }

    fn copied<K: Copy>(ranges: &BTreeMap<K, u16>) -> impl Iterator<Item = (K, u16)> {
        ranges.iter().map(|(start, class)| (*start, *class))
    }

    #[test]
    fn as_many_as_are_wanted_are_taken_from_all_over() {
        let taken = |most| spread(0..10, most).collect::<Vec<_>>();
        assert_eq!(taken(4), [2, 4, 7, 9]);
        assert_eq!(taken(0), [0; 0]);
        assert_eq!(taken(usize::MAX), (0..10).collect::<Vec<_>>());
        assert_eq!(spread(0..0, 4).count(), 0);
    }

    proptest! {
        #[test]
        fn tables_say_what_the_ranges_say(
            v4 in ranges(start4()), v6 in ranges(start6()),
            some4 in prop::collection::vec(start4(), 20), some6 in prop::collection::vec(start6(), 20),
        ) {
            let tables = Tables::build(copied(&v4), copied(&v6)).unwrap();
            let tables = TablesRef::check(tables.borrow().columns()).unwrap();
            let around4 = v4.keys().flat_map(|at| [at.wrapping_sub(1), *at, at.wrapping_add(1)]);
            for address in around4.chain(some4) {
                prop_assert_eq!(tables.class(IpAddr::V4(address.into())), naive(&v4, address));
            }
            let around6 = v6.keys().flat_map(|at| [at.wrapping_sub(1), *at, at.wrapping_add(1)]);
            for key in around6.chain(some6) {
                let address = u128::from(key) << 64 | u128::from(u64::MAX);
                prop_assert_eq!(tables.class(IpAddr::V6(address.into())), naive(&v6, key));
            }
        }

        #[test]
        fn ranges_come_back_out_and_make_the_same_tables(v4 in ranges(start4()), v6 in ranges(start6())) {
            let tables = Tables::build(copied(&v4), copied(&v6)).unwrap();
            let again = tables.borrow();
            let rebuilt = Tables::build(again.ranges4(), again.ranges6());
            prop_assert_eq!(rebuilt.as_ref(), Ok(&tables));
            prop_assert!(again.ranges4().map(|range| range.1).collect::<Vec<_>>()
                .windows(2).all(|pair| pair[0] != pair[1]));
        }

        #[test]
        fn damaged_columns_are_refused_or_looked_up_without_a_panic(
            v4 in ranges(start4()), v6 in ranges(start6()),
            column in 0..3,  at in any::<prop::sample::Index>(), bit in 0_u32..16, address in any::<u128>(),
        ) {
            let mut tables = Tables::build(copied(&v4), copied(&v6)).unwrap();
            match column {
                0 => tables.index[at.index(V4_INDEX)] ^= 1_u32 << (16 + bit),
                1 if !tables.starts.is_empty() => {
                    let at = at.index(tables.starts.len());
                    tables.starts[at] ^= 1_u16 << bit;
                }
                _ => {
                    let at = at.index(tables.keys.len());
                    tables.keys[at] ^= 1_u64 << (4 * bit);
                }
            }
            if let Ok(checked) = TablesRef::check(tables.borrow().columns()) {
                prop_assert!(checked.columns().keys.is_sorted());
            }
            let unchecked = tables.borrow();
            unchecked.class(IpAddr::V4((address as u32).into()));
            unchecked.class(IpAddr::V6(address.into()));
        }
    }

    #[test]
    fn ranges_that_do_not_begin_at_0_or_do_not_ascend_are_refused() {
        let v6 = [(0, 1)];
        for v4 in [&[][..], &[(1, 1)], &[(0, 1), (5, 2), (5, 3)], &[(0, 1), (70_000, 1), (9, 2)]] {
            let error = Tables::build(v4.iter().copied(), v6).unwrap_err();
            assert_eq!(error, TablesError::Unordered("IPv4"), "{v4:?}");
        }
        assert_eq!(Tables::build([(0, 1)], []), Err(TablesError::Unordered("IPv6")));
    }

    #[test]
    fn ranges_the_probes_have_no_room_for_are_refused() {
        let v4 = [(0, 0)];
        let class = |at: usize| (at % 2) as u16;
        // Every address of 16 networks is a range of its own, and there is one more.
        let full = (0..V4_STARTS).map(|at| (at as u32, class(at)));
        let tables = Tables::build(full.clone(), [(0, 0)]).unwrap();
        let checked = TablesRef::check(tables.borrow().columns()).unwrap();
        assert!((0..V4_STARTS).all(|at| checked.class4(at as u32) == class(at)));
        let more = full.chain([(V4_STARTS as u32, 2), (V4_STARTS as u32 + 1, 3)]);
        let error = Tables::build(more, [(0, 0)]).unwrap_err();
        assert_eq!(error, TablesError::Capacity("IPv4", V4_STARTS));
        let just = (0..V6_KEYS).map(|at| (at as u64, class(at)));
        let tables = Tables::build(v4, just).unwrap();
        assert!(TablesRef::check(tables.borrow().columns()).is_ok());
        let beyond = (0..=V6_KEYS).map(|at| (at as u64, class(at)));
        assert_eq!(Tables::build(v4, beyond), Err(TablesError::Capacity("IPv6", V6_KEYS)));
    }
}
