//! Puts the operator database together: ranges, flags and names from `IPFire` Location, the country
//! of each registrant from the join.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use anyhow::{Context as _, ensure};
use assets::operator::{self, Draft, Holding, System};

use super::{
    libloc::{self, Network, Networks},
    obtain::Packages,
    registrants::Registrants,
    write,
};

/// Fewer systems with a known registrant than this share: the two sets do not fit each other.
const REGISTERED_MIN: f64 = 0.9;

pub(super) fn build(packages: &Packages, out: &Path) -> anyhow::Result<()> {
    let database = libloc::read(&packages.location)?;
    let (v4, v6) = (database.networks4()?, database.networks6()?);
    let registrants = Registrants::join(&packages.registrants, &v4, &v6)?;
    let draft = draft(&database, &v4, &v6, &registrants, &packages.operator_version)?;
    let known = draft.systems.iter().filter(|system| system.registered != 0).count();
    let share = known as f64 / draft.systems.len().max(1) as f64;
    println!("{:.1} % of the systems have a registrant whose country is known", share * 100.0);
    ensure!(share > REGISTERED_MIN, "{} does not fit", packages.registrants.display());
    let bytes = operator::encode(&draft)?;
    let read = operator::decode(&bytes).context("what was written")?;
    let same = read.systems().eq(draft.systems.iter().cloned())
        && read.ranges4().eq(draft.v4.iter().copied())
        && read.ranges6().eq(draft.v6.iter().copied());
    ensure!(same, "what was written reads back differently");
    write(out, &bytes)?;
    println!(
        "{}: {} IPv4 and {} IPv6 ranges, {} systems, {} KB",
        out.display(),
        draft.v4.len(),
        draft.v6.len(),
        draft.systems.len(),
        bytes.len() / 1000
    );
    Ok(())
}

fn draft<'a>(
    database: &'a libloc::Database,
    v4: &Networks,
    v6: &Networks,
    registrants: &Registrants,
    version: &str,
) -> anyhow::Result<Draft<'a>> {
    let all = || v4.iter().chain(v6).map(|(_, network)| network);
    // The countries of each system in use, and how many ranges are there.
    let mut in_use: BTreeMap<u32, BTreeMap<Option<[u8; 2]>, u32>> = BTreeMap::new();
    for network in all().filter(|network| network.system != 0) {
        *in_use.entry(network.system).or_default().entry(network.country).or_default() += 1;
    }
    let registered = in_use.keys().filter_map(|system| registrants.country(*system));
    let mut codes: Vec<[u8; 2]> = all().filter_map(|it| it.country).chain(registered).collect();
    codes.sort_unstable();
    codes.dedup();
    ensure!(codes.len() <= 253, "{} countries do not fit a byte", codes.len());
    let class = |country: Option<[u8; 2]>| {
        // Every country is in `codes`, which was collected from the same places.
        country.map_or(0, |code| codes.partition_point(|known| *known <= code) as u8)
    };
    let names: HashMap<u32, &str> =
        database.systems.iter().map(|(number, name)| (*number, name.as_str())).collect();
    let systems: Vec<System<'_>> = in_use
        .iter()
        .map(|(number, countries)| System {
            number: *number,
            registered: class(registrants.country(*number)),
            // Of equals the first by alphabet: max_by_key takes the last.
            typical: countries.iter().rev().max_by_key(|it| it.1).map_or(0, |it| class(*it.0)),
            name: names.get(number).map(|name| name.trim().into()).unwrap_or_default(),
        })
        .collect();
    let places: HashMap<u32, u32> =
        systems.iter().zip(1..).map(|(system, place)| (system.number, place)).collect();
    let holding = |network: &Network| Holding {
        system: places.get(&network.system).copied().unwrap_or(0),
        class: class(network.country),
        flags: network.flags,
    };
    let ranges = |networks: &Networks| -> Vec<(u64, Holding)> {
        networks.iter().map(|(start, network)| (*start, holding(network))).collect()
    };
    let source = format!("IPFire Location Database (Debian libloc-database {version})");
    let (v4, v6) = (ranges(v4), ranges(v6));
    Ok(Draft { source, dated: database.dated, codes, systems, v4, v6 })
}
