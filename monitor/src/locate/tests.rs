//! Answers of the whole stage.

use std::fs;

use proptest::prelude::*;

use super::{
    fixture::{Value, mmdb, text},
    *,
};
use crate::{
    config::{Config, Override},
    event::CountryCode,
};

fn nothing() -> Geo {
    Config::builtin().geo
}

fn an_override(network: &str, country: Option<&str>, operator: Option<&str>) -> Override {
    Override {
        network: network.parse().unwrap(),
        country: country.and_then(CountryCode::new),
        operator: operator.map(Into::into),
        asn: operator.map(|_| 64500),
    }
}

fn country(locator: &Locator, address: &str) -> Country {
    locator.locate(address.parse().unwrap()).country
}

fn known(code: &str) -> Country {
    Country::Known(CountryCode::new(code).unwrap())
}

#[test]
fn an_address_is_found_in_whatever_form_it_is_written() {
    let locator = Locator::open(&nothing(), &[]).unwrap();
    let forms = [
        ("8.8.8.8", "US"),
        ("::ffff:8.8.8.8", "US"),
        ("64:ff9b::8.8.8.8", "US"),
        ("2002:808:808::1", "US"),
        // Teredo, the client 114.114.114.114 with its bits inverted.
        ("2001:0:4136:e378:8000:63bf:8d8d:8d8d", "CN"),
        ("64:ff9b::7272:7272", "CN"),
        ("2620:fe::fe", "US"),
    ];
    for (address, code) in forms {
        assert_eq!(country(&locator, address), known(code), "{address}");
    }
}

#[test]
fn what_is_explained_is_the_address_asked_for_and_what_was_looked_up() {
    let locator = Locator::open(&nothing(), &[]).unwrap();
    let explained = locator.explain("64:ff9b::8.8.8.8".parse().unwrap());
    assert_eq!(explained.address.to_string(), "64:ff9b::808:808");
    assert_eq!(explained.carried, Some((Carrier::Nat64, "8.8.8.8".parse().unwrap())));
    assert_eq!(explained.country_source, Source::Database(&locator.databases()[0]));
    assert!(explained.country_source.to_string().ends_with("2026-10-01"));
    assert_eq!(explained.operator_source, Some(Source::Database(&locator.databases()[1])));
    let mapped = locator.explain("::ffff:10.0.0.1".parse().unwrap());
    assert_eq!(mapped.address.to_string(), "10.0.0.1");
    assert_eq!(mapped.country_source.to_string(), "private (RFC 1918)");
}

#[test]
fn a_private_address_is_local_but_not_inside_what_crosses_the_internet() {
    let locator = Locator::open(&nothing(), &[]).unwrap();
    for address in ["10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "fd00::1", "127.0.0.1"] {
        assert_eq!(country(&locator, address), Country::Local, "{address}");
    }
    for address in ["2002:a00:1::1", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "203.0.113.1"] {
        assert_eq!(country(&locator, address), Country::Unlocated, "{address}");
    }
}

#[test]
fn the_longest_override_wins_over_special_ranges_local_networks_and_database() {
    let overrides = vec![
        an_override("10.0.0.0/8", Some("CN"), None),
        an_override("10.1.0.0/16", Some("RU"), Some("Example Cloud")),
        an_override("8.8.8.8/32", None, Some("Example Cloud")),
        an_override("2001:db8::/32", Some("DE"), None),
    ];
    let geo = Geo { overrides, ..nothing() };
    let locator = Locator::open(&geo, &["10.1.0.0/16".parse().unwrap()]).unwrap();
    assert_eq!(country(&locator, "10.0.0.1"), known("CN"));
    assert_eq!(country(&locator, "10.1.0.1"), known("RU"));
    assert_eq!(country(&locator, "64:ff9b::10.1.0.1"), known("RU"));
    assert_eq!(country(&locator, "2001:db8::1"), known("DE"));
    let dns = locator.explain("8.8.8.8".parse().unwrap());
    assert_eq!(dns.place.country, known("US"));
    assert_eq!(dns.place.operator.unwrap().asn, Some(64500));
    assert_eq!(dns.operator_source.unwrap().to_string(), "override of 8.8.8.8/32");
}

#[test]
fn a_network_of_the_configuration_is_local() {
    let local = ["203.0.113.0/24".parse().unwrap(), "2002:a00::/24".parse().unwrap()];
    let locator = Locator::open(&nothing(), &local).unwrap();
    let explained = locator.explain("203.0.113.7".parse().unwrap());
    assert_eq!(explained.place.country, Country::Local);
    assert_eq!(explained.country_source, Source::LocalNetwork(local[0]));
    assert_eq!(country(&locator, "8.8.8.8"), known("US"));
    assert_eq!(country(&locator, "2002:a00:1::1"), Country::Local);
}

#[test]
fn databases_of_the_configuration_replace_the_embedded_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("country.mmdb");
    let code = Value::Map(vec![("country_code".to_owned(), text("CN"))]);
    fs::write(&path, mmdb("Example-Country", &[("203.0.113.0/24", code)])).unwrap();
    let operators = folder.path().join("operator.mmdb");
    let asn = Value::Map(vec![
        ("autonomous_system_number".to_owned(), Value::Number(64501)),
        ("autonomous_system_organization".to_owned(), text("Example")),
    ]);
    fs::write(&operators, mmdb("Example-ASN", &[("203.0.113.0/25", asn)])).unwrap();
    let geo = Geo { database: Some(path.clone()), operator_database: Some(operators), ..nothing() };
    let locator = Locator::open(&geo, &[]).unwrap();
    let place = locator.locate("64:ff9b::203.0.113.1".parse().unwrap());
    assert_eq!(place.country, known("CN"));
    assert_eq!(place.operator.unwrap().name.as_deref(), Some("Example"));
    assert_eq!(locator.locate("203.0.113.200".parse().unwrap()).operator, None);
    assert_eq!(country(&locator, "8.8.8.8"), Country::Unlocated);
    let labels: Vec<_> = locator.databases().iter().map(|it| it.label).collect();
    assert_eq!(labels, ["country", "operator", "second", "corrections"]);
    assert_eq!(locator.databases()[0].path, Some(path));
}

#[test]
fn well_known_addresses_are_where_they_are_and_whose_they_are() {
    let locator = Locator::open(&Config::builtin().geo, &[]).unwrap();
    let known = [
        ("8.8.8.8", "US", 15_169),
        ("114.114.114.114", "CN", 21_859),
        ("223.5.5.5", "CN", 45_102),
        ("77.88.8.8", "RU", 208_398),
        ("52.80.0.1", "CN", 55_960),
        ("3.120.0.1", "DE", 16_509),
        ("193.0.14.129", "NL", 25_152),
        ("47.254.128.1", "DE", 45_102),
        ("2620:fe::fe", "US", 19_281),
        // The data says so, in every edition at hand.
        ("2001:4860:4860::8888", "CA", 15_169),
        ("240e::1", "CN", 4_134),
        ("2a02:6b8::feed:ff", "RU", 13_238),
        ("2400:3200::1", "CN", 45_102),
    ];
    for (address, code, asn) in known {
        let place = locator.locate(address.parse().unwrap());
        assert_eq!(place.country, self::known(code), "{address}");
        assert_eq!(place.operator.and_then(|it| it.asn), Some(asn), "{address}");
    }
    // Hosted in Germany, says one; in the US, says the other; by a company of China.
    let alibaba = locator.locate("47.254.128.1".parse().unwrap());
    assert_eq!(alibaba.second, CountryCode::new("US"));
    assert_eq!(alibaba.operator.unwrap().country, CountryCode::new("CN"));
    let anycast = locator.locate("1.1.1.1".parse().unwrap()).operator.unwrap();
    assert!(anycast.is_anycast);
    for address in
        ["0.0.0.1", "203.0.113.9", "240.0.0.1", "::2", "2001:db8::1", "fec0::1", "4000::1"]
    {
        assert_eq!(country(&locator, address), Country::Unlocated, "{address}");
    }
}

#[test]
fn what_an_override_says_of_an_address_is_not_disputed() {
    let overrides = vec![
        an_override("47.254.128.0/24", Some("SG"), None),
        an_override("1.1.1.1/32", Some("AU"), Some("Example Cloud")),
        Override { asn: Some(45_102), ..an_override("192.0.2.0/24", Some("DE"), None) },
    ];
    let locator = Locator::open(&Geo { overrides, ..nothing() }, &[]).unwrap();
    let alibaba = locator.locate("47.254.128.1".parse().unwrap());
    assert_eq!((alibaba.country, alibaba.second), (known("SG"), None));
    assert_eq!(alibaba.operator.unwrap().asn, Some(45_102));
    let own = locator.locate("1.1.1.1".parse().unwrap()).operator.unwrap();
    assert_eq!((own.asn, own.is_anycast), (Some(64_500), false));
    // A number says who it is, and where that is registered.
    let by_number = locator.locate("192.0.2.1".parse().unwrap()).operator.unwrap();
    assert_eq!(by_number.country, CountryCode::new("CN"));
    assert!(by_number.name.is_some());
}

#[test]
fn where_a_block_is_registered_is_the_second_opinion_where_it_differs() {
    let record = |country: &str, registered: &str| {
        let part = |code| Value::Map(vec![("iso_code".to_owned(), text(code))]);
        Value::Map(vec![
            ("country".to_owned(), part(country)),
            ("registered_country".to_owned(), part(registered)),
        ])
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("country.mmdb");
    let networks = [
        ("47.254.128.0/24", record("DE", "CN")),
        ("47.254.129.0/24", record("DE", "DE")),
        ("203.0.113.0/24", record("DE", "DE")),
    ];
    fs::write(&path, mmdb("Test-Country", &networks)).unwrap();
    let locator = Locator::open(&Geo { database: Some(path), ..nothing() }, &[]).unwrap();
    let second = |address: &str| locator.locate(address.parse().unwrap()).second;
    assert_eq!(second("47.254.128.1"), CountryCode::new("CN"));
    assert_eq!(second("47.254.129.1"), CountryCode::new("US"));
    assert_eq!(second("203.0.113.1"), None);
}

/// Networks that nest, of all kinds of forms.
fn some_network() -> impl Strategy<Value = IpNet> {
    let all: Vec<IpNet> = [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.1.0.0/16",
        "192.0.2.0/24",
        "192.0.2.128/25",
        "192.0.2.200/32",
        "255.255.255.255/32",
        "::/0",
        "2001:db8::/32",
        "2001:db8:0:1::/64",
        "2001:db8:0:1:8000::/65",
        "2001:db8:0:1::1/128",
        "64:ff9b::/96",
        "64:ff9b::c000:200/120",
        "2002:c000:200::/40",
        "2001:0:4136:e378::/64",
        "fe80::/64",
        "::1/128",
        "ffff:ffff:ffff:ffff::/64",
    ]
    .map(|text| text.parse().unwrap())
    .to_vec();
    prop::sample::select(all)
}

fn some_address() -> impl Strategy<Value = IpAddr> {
    let near = (some_network(), 0_u128..3, any::<bool>()).prop_map(|(network, by, at_end)| {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        let at = bits(if at_end { network.broadcast() } else { network.network() });
        let at = at.wrapping_add(by).wrapping_sub(1);
        if network.addr().is_ipv4() {
            IpAddr::V4((at as u32).into())
        } else {
            IpAddr::V6(at.into())
        }
    });
    prop_oneof![3 => near, 1 => any::<u32>().prop_map(|at| IpAddr::V4(at.into()))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The tables, which the probes use too, against the layers and the database asked one by one.
    #[test]
    fn the_image_says_what_layers_and_database_say_of_each_address(
        overrides in prop::collection::btree_map(some_network(), prop::option::of(prop::sample::select(vec!["CN", "RU", "DE"])), 0..8),
        local in prop::collection::vec(some_network(), 0..2),
        database in prop::collection::vec(prop::sample::select(vec!["192.0.2.0/24", "10.0.0.0/9", "2001:db8::/33", "198.51.100.0/25"]), 0..3),
        addresses in prop::collection::vec(some_address(), 30),
    ) {
        let overrides = overrides.into_iter().map(|(network, country)| {
            let operator = country.is_none_or(|code| code == "RU").then_some("Example Cloud");
            an_override(&network.to_string(), country, operator)
        });
        let geo = Geo { overrides: overrides.collect(), ..nothing() };
        let code = || Value::Map(vec![("country_code".to_owned(), text("US"))]);
        let mut networks: Vec<_> = database.into_iter().map(|network| (network, code())).collect();
        networks.dedup_by_key(|it| it.0);
        networks.push(("192.88.99.0/24", code()));
        let bytes = mmdb("Test", &networks);
        let reader = maxminddb::Reader::from_source(bytes.clone()).unwrap();

        let (layers, corrections) = (Layers::new(&geo, &local), curated::corrections(&geo).unwrap());
        let file = mmdb::CountryFile::open(Bytes::of(std::path::Path::new("test"), bytes)).unwrap();
        let inputs = build::Inputs {
            country: build::CountryInput::File(file),
            embedded: &embedded::Operators::default(),
            operator: None,
            layers: &layers,
            corrections: &corrections,
        };
        let image = image::obtain(Cache::Off, &[0; 32], || Ok((inputs.build()?, b"[]".to_vec())));
        let databases = vec![Database::of_corrections(&corrections)];
        let passed_over = Vec::new();
        let locator =
            Locator { image: image.unwrap(), layers, corrections, databases, passed_over };

        for address in addresses {
            let address = address.to_canonical();
            let carried = special::carried(address);
            let inner = carried.map_or(address, |(_, inner)| inner);
            let layer = locator.layers.of(address, carried);
            let found = reader.lookup(inner).unwrap().has_data();
            let is_unicast = match inner {
                IpAddr::V4(_) => true,
                IpAddr::V6(inner) => inner.segments()[0] >> 13 == 1,
            };
            let of_database =
                if found && is_unicast { known("US") } else { Country::Unlocated };
            let expected = layer.country.map_or(of_database, |it| it.0);
            let place = locator.locate(address);
            prop_assert_eq!(&locator.explain(address).place, &place);
            // What an override of the outer address leaves open, one of the inner address may say.
            let is_open = carried.is_some() && layer.country.is_none();
            prop_assert!(place.country == expected || is_open, "{} {:?} {:?}", address, place, expected);
            let name = layer.operator.and_then(|(named, _)| named.name.clone());
            let is_open = carried.is_some() && name.is_none();
            let found = place.operator.as_ref().and_then(|it| it.name.clone());
            prop_assert!(found == name || is_open, "{} {:?} {:?}", address, place, name);
        }
    }
}
