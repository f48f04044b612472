//! Databases in MaxMind's format as a user may give them: a damaged one is refused or answers
//! nothing, for every address, and never hangs or panics.
#![no_main]

#[path = "../../../monitor/src/locate/fixture.rs"]
mod fixture;

use std::{fs, net::IpAddr, path::PathBuf, sync::LazyLock};

use fixture::{Value, text};
use geofenced::inside::{
    config::{Config, Geo},
    locate::Locator,
};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

/// A directory in memory, a good country database in it, and the file that is tried.
struct Files {
    directory: TempDir,
}

static FILES: LazyLock<Files> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory in memory");
    let record = Value::Map(vec![("country_code".to_owned(), text("CN"))]);
    let good = fixture::mmdb("good", &[("203.0.113.0/24", record)]);
    fs::write(directory.path().join("good.mmdb"), good).expect("write the good database");
    Files { directory }
});

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let tried = FILES.path("tried.mmdb");
    fs::write(&tried, bytes).expect("write the database");
    let country = Geo {
        database: Some(tried.clone()),
        ..Config::builtin().geo
    };
    let operator = Geo {
        database: Some(FILES.path("good.mmdb")),
        operator_database: Some(tried),
        ..Config::builtin().geo
    };
    for geo in [country, operator] {
        let Ok(locator) = Locator::open(&geo, &[]) else { continue };
        for address in ["203.0.113.5", "8.8.8.8", "2001:db8::1", "2a00:1450::1", "255.255.255.255"]
        {
            let address: IpAddr = address.parse().expect("an address");
            let _ = locator.locate(address);
        }
        for database in locator.databases() {
            assert!(!database.to_string().is_empty());
        }
    }
});
