//! Country and operator databases in MaxMind's format, as several vendors fill it. Reads one file
//! whole, once; gives its ranges in order of address, and never more than it is asked for.

use std::{
    cell::RefCell,
    fs::File as FsFile,
    io::Read as _,
    net::{IpAddr, Ipv6Addr},
    path::{Path, PathBuf},
};

use ipnet::Ipv6Subnets;
use maxminddb::{LookupResult, MaxMindDbError, PathElement, Reader, Within, WithinOptions};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    LocateError, codes,
    seen::{Found, IpVersion, Seen},
};
use crate::event::{CountryCode, Timestamp};

type Entry<'a> = LookupResult<'a, Vec<u8>>;
type Keys = [PathElement<'static>];

/// Leaves of the tree looked at to learn how a file names things.
const SAMPLE: usize = 4_096;
/// Bytes of a file; the largest databases of cities have a tenth.
const FILE_MAX: u64 = 1 << 30;
/// Leaves of one family. A damaged tree may lead everywhere from everywhere; its walk ends here.
const LEAVES_MAX: usize = 1 << 24;

/// Where a country stands in a record, the first that is there; by vendor.
const COUNTRY_LAYOUTS: [&[&Keys]; 3] = [
    // MaxMind GeoIP2 and GeoLite2, DB-IP. The second is where the block is registered.
    &[&COUNTRY, &REGISTERED],
    // IPinfo Lite, and flat re-encodings.
    &[&[PathElement::Key("country_code")]],
    // IPinfo Country.
    &[&[PathElement::Key("country")]],
];
const COUNTRY: [PathElement<'static>; 2] =
    [PathElement::Key("country"), PathElement::Key("iso_code")];
const REGISTERED: [PathElement<'static>; 2] =
    [PathElement::Key("registered_country"), PathElement::Key("iso_code")];

/// How a file names the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OperatorLayout {
    /// `autonomous_system_number`, `autonomous_system_organization`: MaxMind, DB-IP.
    MaxMind,
    /// `asn` as "AS64500", `as_name`: `IPinfo`.
    IpInfo,
    /// Only a country: that of the registrant of the autonomous system.
    CountryOnly,
}

/// A file, wholly in memory: a mapped one would kill the daemon when somebody truncates it.
#[derive(Debug)]
struct File {
    reader: Reader<Vec<u8>>,
    path: PathBuf,
    sha256: [u8; 32],
    failure: RefCell<Option<LocateError>>,
}

#[derive(Debug)]
pub(super) struct CountryFile {
    file: File,
    layout: &'static [&'static Keys],
}

#[derive(Debug)]
pub(super) struct OperatorFile {
    file: File,
    layout: OperatorLayout,
}

/// What can be said of a file without looking anything up.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) name: &'a str,
    pub(super) dated: Timestamp,
    pub(super) sha256: [u8; 32],
}

/// A file's bytes, and their hash.
#[derive(Debug)]
pub(super) struct Bytes {
    path: PathBuf,
    content: Vec<u8>,
    pub(super) sha256: [u8; 32],
}

impl Bytes {
    pub(super) fn read(path: &Path) -> Result<Self, LocateError> {
        let unreadable = |error| LocateError::Unreadable { path: path.to_owned(), error };
        let mut bytes = Vec::new();
        let file = FsFile::open(path).map_err(unreadable)?;
        file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > FILE_MAX {
            let problem = format!("it is larger than {} MiB", FILE_MAX >> 20);
            return Err(LocateError::Broken { path: path.to_owned(), problem });
        }
        Ok(Self::of(path, bytes))
    }

    pub(super) fn of(path: &Path, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), sha256: Sha256::digest(&bytes).into(), content: bytes }
    }
}

impl CountryFile {
    pub(super) fn open(bytes: Bytes) -> Result<Self, LocateError> {
        let file = File::open(bytes)?;
        let layout = file.sample(|entry| {
            COUNTRY_LAYOUTS
                .into_iter()
                .find(|layout| country(entry, layout).ok().flatten().is_some())
        })?;
        let layout = layout.ok_or_else(|| file.holds_no("country"))?;
        Ok(Self { file, layout })
    }

    pub(super) fn ranges(&self, family: IpVersion) -> impl Iterator<Item = (u64, Seen)> {
        self.file.ranges(family, |entry| {
            let seen = country(entry, self.layout)?;
            let registered = match self.layout {
                [_, _] => code_at(entry, &REGISTERED)?,
                _ => None,
            };
            Ok(Seen { country: seen, registered })
        })
    }

    pub(super) fn about(&self) -> About<'_> {
        self.file.about()
    }

    /// Why the ranges ended early.
    pub(super) fn failure(&self) -> Option<LocateError> {
        self.file.failure.take()
    }
}

impl OperatorFile {
    pub(super) fn open(bytes: Bytes) -> Result<Self, LocateError> {
        use OperatorLayout::{CountryOnly, IpInfo, MaxMind};
        let file = File::open(bytes)?;
        let layout = file.sample(|entry| {
            let layouts = [MaxMind, IpInfo, CountryOnly].into_iter();
            layouts.into_iter().find(|layout| operator(entry, *layout).ok().flatten().is_some())
        })?;
        let layout = layout.ok_or_else(|| file.holds_no("operator"))?;
        Ok(Self { file, layout })
    }

    /// `keep` is asked once for each record, not for each range.
    pub(super) fn ranges<'a, T: Copy + Default + 'a>(
        &'a self,
        family: IpVersion,
        mut keep: impl FnMut(Found<'_>) -> T + 'a,
    ) -> impl Iterator<Item = (u64, T)> + 'a {
        self.file.ranges(family, move |entry| {
            Ok(operator(entry, self.layout)?.map(&mut keep).unwrap_or_default())
        })
    }

    pub(super) fn about(&self) -> About<'_> {
        self.file.about()
    }

    pub(super) fn failure(&self) -> Option<LocateError> {
        self.file.failure.take()
    }
}

/// Every leaf is told, so that the walk through a damaged tree is bounded too.
fn every_leaf() -> WithinOptions {
    WithinOptions::default().include_networks_without_data().include_aliased_networks()
}

impl File {
    fn open(Bytes { path, content, sha256 }: Bytes) -> Result<Self, LocateError> {
        let broken = |problem: String| LocateError::Broken { path: path.clone(), problem };
        if content.is_empty() {
            return Err(broken("it is empty".into()));
        }
        let reader = Reader::from_source(content).map_err(|error| broken(one_line(&error)))?;
        Ok(Self { reader, path, sha256, failure: RefCell::default() })
    }

    fn broken(&self, problem: String) -> LocateError {
        LocateError::Broken { path: self.path.clone(), problem }
    }

    /// The first `Some` that `learn` gives for a network of the file.
    fn sample<T>(&self, learn: impl Fn(&Entry<'_>) -> Option<T>) -> Result<Option<T>, LocateError> {
        let broken = |error: MaxMindDbError| self.broken(one_line(&error));
        for entry in self.reader.networks(every_leaf()).map_err(broken)?.take(SAMPLE) {
            if let Some(learned) = learn(&entry.map_err(broken)?) {
                return Ok(Some(learned));
            }
        }
        Ok(None)
    }

    /// Ends early, and notes why, where the file can't be read. `read` is asked once for each record.
    fn ranges<'a, T: Copy + Default + 'a>(
        &'a self,
        family: IpVersion,
        read: impl FnMut(&Entry<'a>) -> Result<T, MaxMindDbError> + 'a,
    ) -> impl Iterator<Item = (u64, T)> + 'a {
        let (spans, end) = match family {
            IpVersion::V4 => (vec![(0, "0.0.0.0/0".to_owned())], None),
            IpVersion::V6 if self.reader.metadata().ip_version == 4 => (vec![], None),
            IpVersion::V6 => (global_unicast(), Some(0x4000 << 48)),
        };
        let mut ranges = LeafRanges {
            file: self,
            family,
            spans: spans.into_iter(),
            within: None,
            read,
            known: FxHashMap::default(),
            first: 0,
            last: None,
            end,
            leaves: 0,
        };
        std::iter::from_fn(move || {
            ranges.step().unwrap_or_else(|problem| {
                self.failure.borrow_mut().get_or_insert(self.broken(problem));
                None
            })
        })
    }

    fn holds_no(&self, what: &'static str) -> LocateError {
        let kind = self.reader.metadata().database_type.clone();
        LocateError::Useless { path: self.path.clone(), kind, what }
    }

    fn about(&self) -> About<'_> {
        let metadata = self.reader.metadata();
        About {
            name: &metadata.database_type,
            dated: Timestamp(metadata.build_epoch.saturating_mul(1_000_000_000)),
            sha256: self.sha256,
        }
    }
}

/// What is looked up in IPv6, as networks with their first key: global unicast but for Teredo and
/// 6to4, which carry an address that is looked up instead.
fn global_unicast() -> Vec<(u64, String)> {
    let spans: [(u128, u128); 3] = [(0x2000, 0x2000), (0x2001_0001, 0x2001_ffff), (0x2003, 0x3fff)];
    let networks = spans.into_iter().flat_map(|(first, last)| {
        let shift = if first > 0xffff { 96 } else { 112 };
        let (first, last) = (first << shift, ((last + 1) << shift) - 1);
        Ipv6Subnets::new(Ipv6Addr::from(first), Ipv6Addr::from(last), 0)
    });
    let first_key = |address: Ipv6Addr| (u128::from(address) >> 64) as u64;
    networks.map(|network| (first_key(network.network()), network.to_string())).collect()
}

/// The leaves of a tree, span after span.
struct LeafRanges<'a, T, F> {
    file: &'a File,
    family: IpVersion,
    spans: std::vec::IntoIter<(u64, String)>,
    within: Option<Within<'a, Vec<u8>>>,
    read: F,
    /// By the record's place in the file: many networks share one.
    known: FxHashMap<usize, T>,
    /// First key of the span.
    first: u64,
    /// Start of the range before: networks within one key are cut to the first.
    last: Option<u64>,
    /// Where nothing is known any more.
    end: Option<u64>,
    leaves: usize,
}

impl<'a, T: Copy + Default, F: FnMut(&Entry<'a>) -> Result<T, MaxMindDbError>>
    LeafRanges<'a, T, F>
{
    fn step(&mut self) -> Result<Option<(u64, T)>, String> {
        loop {
            let Some(within) = &mut self.within else {
                if !self.enter()? {
                    return Ok(self.end.take().map(|start| (start, T::default())));
                }
                continue;
            };
            let Some(entry) = within.next() else {
                self.within = None;
                continue;
            };
            self.leaves += 1;
            if self.leaves > LEAVES_MAX {
                return Err(format!("its tree has more than {LEAVES_MAX} networks"));
            }
            let entry = entry.map_err(|error| one_line(&error))?;
            let network = entry.network().map_err(|error| one_line(&error))?;
            let start = match (network.ip(), self.family) {
                (IpAddr::V4(address), IpVersion::V4) => u64::from(u32::from(address)),
                (IpAddr::V6(address), IpVersion::V6) => (u128::from(address) >> 64) as u64,
                // A tree without IPv4 shows the IPv6 network that all of it lies in.
                _ => self.first,
            };
            let start = start.max(self.first);
            if self.last.replace(start).is_some_and(|last| last >= start) {
                continue;
            }
            let known = entry.offset().map(|offset| (offset, self.known.get(&offset).copied()));
            let value = match known {
                None => T::default(),
                Some((_, Some(value))) => value,
                Some((offset, None)) => {
                    let value = (self.read)(&entry).map_err(|error| one_line(&error))?;
                    self.known.insert(offset, value);
                    value
                }
            };
            return Ok(Some((start, value)));
        }
    }

    /// Goes on to the next span.
    fn enter(&mut self) -> Result<bool, String> {
        let Some((first, span)) = self.spans.next() else { return Ok(false) };
        self.first = first;
        let span = span.parse().map_err(|_| "a span that is no network".to_owned())?;
        let within = self.file.reader.within(span, every_leaf());
        self.within = Some(within.map_err(|error| one_line(&error))?);
        Ok(true)
    }
}

fn code_at(entry: &Entry<'_>, keys: &Keys) -> Result<Option<CountryCode>, MaxMindDbError> {
    Ok(entry.decode_path::<&str>(keys)?.and_then(codes::from_database))
}

fn country(entry: &Entry<'_>, layout: &[&Keys]) -> Result<Option<CountryCode>, MaxMindDbError> {
    for keys in layout {
        if let Some(text) = entry.decode_path::<&str>(keys)? {
            return Ok(codes::from_database(text));
        }
    }
    Ok(None)
}

fn operator<'a>(
    entry: &Entry<'a>,
    layout: OperatorLayout,
) -> Result<Option<Found<'a>>, MaxMindDbError> {
    fn at<'a, T: Deserialize<'a>>(
        entry: &Entry<'a>,
        key: &'static str,
    ) -> Result<Option<T>, MaxMindDbError> {
        entry.decode_path(&[PathElement::Key(key)])
    }
    let (asn, name, country) = match layout {
        OperatorLayout::MaxMind => {
            let asn = at::<u32>(entry, "autonomous_system_number")?;
            (asn, at::<&str>(entry, "autonomous_system_organization")?, None)
        }
        OperatorLayout::IpInfo => {
            let asn = at::<&str>(entry, "asn")?.map(|asn| asn.trim_start_matches("AS"));
            (asn.and_then(|asn| asn.parse().ok()), at::<&str>(entry, "as_name")?, None)
        }
        OperatorLayout::CountryOnly => {
            (None, None, at::<&str>(entry, "country_code")?.and_then(codes::from_database))
        }
    };
    let asn = asn.filter(|asn| *asn != 0);
    let name = name.filter(|name| !name.is_empty());
    let known = asn.is_some() || name.is_some() || country.is_some();
    Ok(known.then_some(Found { asn, name, country }))
}

fn one_line(error: &MaxMindDbError) -> String {
    error.to_string().replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests;
