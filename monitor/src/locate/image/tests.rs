//! Images that are kept, reused, damaged, or can't be kept.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use proptest::prelude::*;

use super::*;
use crate::{
    config::Config,
    locate::{
        LocateError,
        build::{Built, CountryInput, Inputs},
        curated,
        embedded::{Countries, Operators},
        layers::Layers,
    },
};

const INPUTS: [u8; 32] = [7; 32];

/// Of no database: special ranges and one override are all that is known.
fn small() -> Result<(Built, Vec<u8>), LocateError> {
    let mut geo = Config::builtin().geo;
    geo.overrides.push(crate::config::Override {
        network: "203.0.113.0/24".parse().unwrap(),
        country: crate::event::CountryCode::new("CN"),
        operator: Some("Cloud".into()),
        asn: Some(64_500),
    });
    let inputs = Inputs {
        country: CountryInput::Embedded(Countries::default()),
        embedded: &Operators::default(),
        operator: None,
        layers: &Layers::new(&geo, &[]),
        corrections: &curated::corrections(&geo)?,
    };
    Ok((inputs.build()?, b"[]".to_vec()))
}

fn must_not_build() -> Result<(Built, Vec<u8>), LocateError> {
    panic!("the image on disk was not used")
}

fn country(image: &Image, address: &str) -> Option<String> {
    let class = image.tables().class(address.parse().unwrap());
    image.class(class).country().code().map(|code| code.to_string())
}

fn bytes() -> Vec<u8> {
    let (built, sources) = small().unwrap();
    let mut bytes = Vec::new();
    layout::write(&mut bytes, &built, &sources, INPUTS).unwrap();
    bytes
}

#[test]
fn an_image_is_kept_and_used_again_while_it_is_of_the_same_sources() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let image = obtain(Cache::Keep(&path), &INPUTS, small).unwrap();
    assert_eq!(country(&image, "203.0.113.9").as_deref(), Some("CN"));
    let operator = image.operator("203.0.113.9".parse().unwrap(), false).unwrap();
    assert_eq!((operator.asn, operator.name.as_deref()), (Some(64_500), Some("Cloud")));
    for cache in [Cache::Keep(&path), Cache::Read(&path)] {
        let again = obtain(cache, &INPUTS, must_not_build).unwrap();
        assert_eq!(country(&again, "203.0.113.9").as_deref(), Some("CN"));
    }
    // Other sources: built anew, and what is mapped stays whole.
    obtain(Cache::Keep(&path), &[8; 32], small).unwrap();
    image.rest();
    assert_eq!(country(&image, "203.0.113.9").as_deref(), Some("CN"));
    let names: Vec<_> =
        fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["geo.img"]);
}

#[test]
fn a_broken_image_is_built_again_and_what_a_crash_left_is_in_no_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("geo.img");
    fs::write(folder.path().join("geo.img.new"), b"half").unwrap();
    let mut flipped = bytes();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for broken in [&b""[..], b"GEOFIMG\0", &flipped, &bytes()[..middle]] {
        fs::write(&path, broken).unwrap();
        let image = obtain(Cache::Keep(folder.path()), &INPUTS, small).unwrap();
        assert_eq!(country(&image, "203.0.113.9").as_deref(), Some("CN"));
        assert_eq!(fs::read(&path).unwrap(), bytes());
    }
}

#[test]
fn where_nothing_can_be_kept_the_image_is_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    for cache in [Cache::Off, Cache::Read(folder.path()), Cache::Keep(&file)] {
        let image = obtain(cache, &INPUTS, small).unwrap();
        image.rest();
        assert_eq!(country(&image, "203.0.113.9").as_deref(), Some("CN"));
    }
    assert!(!folder.path().join("geo.img").exists(), "a command changes nothing");
}

#[test]
fn of_an_image_that_can_not_be_kept_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    // No file takes a folder's name.
    fs::create_dir(folder.path().join("geo.img")).unwrap();
    let image = obtain(Cache::Keep(folder.path()), &INPUTS, small).unwrap();
    assert_eq!(country(&image, "203.0.113.9").as_deref(), Some("CN"));
    assert!(!folder.path().join("geo.img.new").exists());
}

#[test]
fn an_image_is_not_for_everybody_to_read() {
    let folder = tempfile::tempdir().unwrap();
    obtain(Cache::Keep(folder.path()), &INPUTS, small).unwrap();
    let mode = fs::metadata(folder.path().join("geo.img")).unwrap().permissions().mode();
    assert_eq!(mode & 0o007, 0);
}

#[test]
fn another_version_or_another_machines_is_refused() {
    let whole = bytes();
    assert!(layout::check(&whole, &INPUTS).is_ok());
    assert_eq!(layout::check(&whole, &[8; 32]).unwrap_err(), layout::ImageError::Other);
    for at in [0, 8, 12] {
        let mut other = whole.clone();
        other[at..at + 4].reverse();
        let refused = layout::check(&other, &INPUTS).unwrap_err();
        assert_eq!(refused, layout::ImageError::Foreign, "{at}");
    }
    assert!(layout::check(b"", &INPUTS).is_err());
    assert!(
        File::open(Path::new("/dev/null")).map(|it| Image::open(&it, &INPUTS)).unwrap().is_err()
    );
}

/// Aligned as a mapping is.
fn check(bytes: &[u8]) -> Result<(), layout::ImageError> {
    let mut words = vec![0_u64; bytes.len().div_ceil(8)];
    let all = zerocopy::IntoBytes::as_mut_bytes(words.as_mut_slice());
    all[..bytes.len()].copy_from_slice(bytes);
    layout::check(&all[..bytes.len()], &INPUTS).map(drop)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn damage_of_an_image_is_seen(at in any::<prop::sample::Index>(), bit in 0..8) {
        let whole = bytes();
        let mut flipped = whole.clone();
        let at = at.index(whole.len());
        flipped[at] ^= 1_u8 << bit;
        // Nothing is read between sections.
        let is_padding = check(&flipped).is_ok();
        prop_assert!(!is_padding || whole[at] == 0, "at {at}");
        prop_assert!(check(&whole[..at]).is_err());
    }
}
