//! Files of each vendor's kind, and of no vendor's.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::locate::{
    build::{CountryInput, Inputs},
    curated,
    embedded::{Countries, Operators},
    fixture::{Value, mmdb, text},
    layers::Layers,
};

fn bytes(bytes: &[u8]) -> Bytes {
    Bytes::of(Path::new("test.mmdb"), bytes.to_vec())
}

fn map(entries: Vec<(&str, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn country_map(key: &str, code: &str) -> Value {
    map(vec![(key, map(vec![("iso_code", text(code))]))])
}

/// What the range says that an IPv4 address is in.
fn at<T: Copy + Default>(ranges: impl Iterator<Item = (u64, T)>, address: [u8; 4]) -> T {
    let key = u64::from(u32::from_be_bytes(address));
    let before = ranges.take_while(|(start, _)| *start <= key);
    before.last().map(|(_, value)| value).unwrap_or_default()
}

fn seen(record: Value) -> Seen {
    let file = CountryFile::open(bytes(&mmdb("Test", &[("203.0.113.0/24", record)]))).unwrap();
    assert_eq!(at(file.ranges(IpVersion::V4), [198, 51, 100, 1]), Seen::default());
    let seen = at(file.ranges(IpVersion::V4), [203, 0, 113, 9]);
    assert!(file.failure().is_none());
    seen
}

#[test]
fn each_vendors_country_is_found() {
    let flat = map(vec![("country", text("Germany")), ("country_code", text("DE"))]);
    let ipinfo = map(vec![("country", text("DE"))]);
    let records =
        [country_map("country", "DE"), country_map("registered_country", "DE"), flat, ipinfo];
    for record in records {
        assert_eq!(seen(record).country, CountryCode::new("DE"));
    }
    assert_eq!(seen(map(vec![("country_code", text("UK"))])).country, CountryCode::new("GB"));
}

#[test]
fn where_a_block_is_registered_is_told_beside_where_it_is() {
    let both = map(vec![
        ("country", map(vec![("iso_code", text("DE"))])),
        ("registered_country", map(vec![("iso_code", text("CN"))])),
    ]);
    let expected = Seen { country: CountryCode::new("DE"), registered: CountryCode::new("CN") };
    assert_eq!(seen(both), expected);
}

#[test]
fn a_code_that_is_no_country_is_none() {
    let flat = |code| map(vec![("country_code", text(code))]);
    let networks = [("203.0.113.0/24", flat("EU")), ("198.51.100.0/24", flat("CN"))];
    let file = CountryFile::open(bytes(&mmdb("Test", &networks))).unwrap();
    assert_eq!(at(file.ranges(IpVersion::V4), [203, 0, 113, 9]).country, None);
    assert_eq!(at(file.ranges(IpVersion::V4), [198, 51, 100, 9]).country, CountryCode::new("CN"));
}

#[test]
fn ranges_of_ipv6_are_cut_to_their_upper_halves_and_end_where_they_end() {
    let flat = |code| map(vec![("country_code", text(code))]);
    let networks = [
        ("2001:db8::/64", flat("CN")),
        ("2001:db8:0:1::/96", flat("DE")),
        ("2001:db8:0:2::/63", flat("US")),
        ("3fff:ffff:ffff:ffff::/64", flat("RU")),
    ];
    let file = CountryFile::open(bytes(&mmdb("Test", &networks))).unwrap();
    let all: Vec<_> = file.ranges(IpVersion::V6).collect();
    assert!(all.is_sorted_by(|a, b| a.0 < b.0));
    let key = |group: u64| 0x2001_0db8 << 32 | group;
    let last = 0x3fff_ffff_ffff_ffff;
    for (key, code) in [
        (key(0), "CN"),
        (key(1), "DE"),
        (key(2), "US"),
        (key(3), "US"),
        (key(4), ""),
        (last, "RU"),
        (last + 1, ""),
    ] {
        let before = all.iter().take_while(|(start, _)| *start <= key);
        let found = before.last().and_then(|(_, seen)| seen.country);
        assert_eq!(found, CountryCode::new(code), "{key:x}");
    }
}

#[test]
fn each_vendors_operator_is_found() {
    let operator = |record| {
        let file = mmdb("Test", &[("203.0.113.0/24", record)]);
        let file = OperatorFile::open(bytes(&file)).unwrap();
        let kept = RefCell::new(Vec::new());
        let keep = |found: Found<'_>| {
            let name = found.name.map(str::to_owned);
            kept.borrow_mut().push((found.asn, name, found.country));
            kept.borrow().len()
        };
        let number = at(file.ranges(IpVersion::V4, keep), [203, 0, 113, 9]);
        kept.take().swap_remove(number - 1)
    };
    let cloud = (Some(64500), Some("Cloud".to_owned()), None);
    let maxmind = map(vec![
        ("autonomous_system_number", Value::Number(64500)),
        ("autonomous_system_organization", text("Cloud")),
    ]);
    assert_eq!(operator(maxmind), cloud);
    let ipinfo = map(vec![
        ("as_name", text("Cloud")),
        ("asn", text("AS64500")),
        ("country_code", text("DE")),
    ]);
    assert_eq!(operator(ipinfo), cloud);
    let registrant = operator(map(vec![("country_code", text("CN"))]));
    assert_eq!(registrant, (None, None, CountryCode::new("CN")));
}

#[test]
fn a_file_that_is_of_no_use_says_why_in_one_line() {
    let asn = map(vec![("autonomous_system_number", Value::Number(64500))]);
    let whole = mmdb("Test-ASN", &[("203.0.113.0/24", asn)]);
    let folder = tempfile::tempdir().unwrap();
    let huge = folder.path().join("huge.mmdb");
    fs::File::create(&huge).unwrap().set_len(FILE_MAX + 1).unwrap();
    let missing = Bytes::read(Path::new("/no/such.mmdb")).unwrap_err().to_string();
    assert!(missing.contains("/no/such.mmdb"), "{missing}");
    let mut other_end = whole.clone();
    let size = other_end.len();
    other_end[..size / 2].reverse();
    let reasons = [
        (CountryFile::open(bytes(b"")).map(drop), "is empty"),
        (CountryFile::open(bytes(b"hello")).map(drop), "is not a MaxMind database"),
        (CountryFile::open(bytes(&whole)).map(drop), "Test-ASN holds no country"),
        (CountryFile::open(bytes(&other_end)).map(drop), "test.mmdb"),
        (Bytes::read(Path::new("/")).map(drop), "cannot be read"),
        (Bytes::read(&huge).map(drop), "larger than 1024 MiB"),
    ];
    for (result, reason) in reasons {
        let message = result.unwrap_err().to_string();
        assert!(message.contains(reason) && !message.contains('\n'), "{message}");
    }
}

/// A tree in which every node leads to the next one both ways: 2^100 leaves.
#[test]
fn a_tree_that_leads_everywhere_from_everywhere_is_refused_in_bounded_time() {
    let record = map(vec![("country_code", text("DE"))]);
    let whole = mmdb("Bomb", &[("203.0.113.0/24", record)]);
    let nodes = 96 + 24;
    let mut bomb = whole.clone();
    for node in 0..nodes - 1 {
        for side in 0..2 {
            let next = &((node + 1) as u32).to_be_bytes()[1..];
            bomb[node * 6 + side * 3..][..3].copy_from_slice(next);
        }
    }
    let file = CountryFile::open(bytes(&bomb)).unwrap();
    assert!(file.ranges(IpVersion::V6).count() <= LEAVES_MAX);
    assert!(file.failure().unwrap().to_string().contains("more than"));
}

/// A record whose only value is a pointer to itself, and one of maps in maps in maps.
#[test]
fn a_record_that_never_ends_is_refused_in_bounded_time() {
    let record = map(vec![("country_code", text("DE"))]);
    let whole = mmdb("Bomb", &[("203.0.113.0/24", record)]);
    let data = whole.windows(13).position(|it| it == b"\x4ccountry_code").unwrap() - 1;
    let mut own_tail = whole.clone();
    // In place of the key's value: a pointer to offset 0 of the data, where the map begins.
    own_tail[data + 14..data + 16].copy_from_slice(&[0x20, 0]);
    let mut own_head = whole;
    own_head[data..data + 2].copy_from_slice(&[0x20, 0]);
    for bomb in [own_tail, own_head] {
        assert!(try_database(&bomb).is_err());
    }
}

fn some_database() -> Vec<u8> {
    let registered = map(vec![
        ("country", map(vec![("iso_code", text("DE"))])),
        ("registered_country", map(vec![("iso_code", text("CN"))])),
        ("autonomous_system_number", Value::Number(64500)),
        ("autonomous_system_organization", text("Cloud")),
    ]);
    let networks =
        [("203.0.113.0/24", registered), ("2001:db8::/48", country_map("country", "CN"))];
    mmdb("Test", &networks)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_file_is_an_error_or_read_and_never_a_panic(
        at in any::<prop::sample::Index>(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let whole = some_database();
        prop_assert!(try_database(&whole[..at.index(whole.len())]).is_err());
        let mut flipped = whole;
        for (at, flip) in flips {
            let at = at.index(flipped.len());
            flipped[at] ^= flip;
        }
        // An error that says why, or ranges.
        if let Err(error) = try_database(&flipped) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}

/// Reads a database as a plug-in would be read, all of it, and gives its number of ranges. For
/// properties: bytes of any kind are an error or a number, in bounded time and memory.
fn try_database(bytes: &[u8]) -> Result<usize, LocateError> {
    let path = Path::new("fuzzed");
    let geo = crate::config::Config::builtin().geo;
    let (layers, corrections) = (&Layers::new(&geo, &[]), &curated::corrections(&geo)?);
    let mut ranges = 0;
    let embedded = &Operators::default();
    if let Ok(file) = CountryFile::open(Bytes::of(path, bytes.to_vec())) {
        let country = CountryInput::File(file);
        let inputs = Inputs { country, embedded, operator: None, layers, corrections };
        ranges += inputs.build()?.ranges();
    }
    let operator = OperatorFile::open(Bytes::of(path, bytes.to_vec()))?;
    let country = CountryInput::Embedded(Countries::default());
    let operator = Some(&operator);
    ranges += Inputs { country, embedded, operator, layers, corrections }.build()?.ranges();
    Ok(ranges)
}
