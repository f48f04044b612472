//! The operator database of a location database: who is registered where comes from elsewhere.

use std::collections::{BTreeMap, HashMap};

use super::{Database, Network, Networks};
use crate::{
    AssetError,
    operator::{Draft, Holding, System},
};

/// `registered`: the country of a system's registrant; `source`: what the result says of where it is from.
pub fn draft<'a>(
    database: &'a Database<'_>,
    [v4, v6]: [&Networks; 2],
    registered: impl Fn(u32) -> Option<[u8; 2]>,
    source: String,
) -> Result<Draft<'a>, AssetError> {
    let all = || v4.iter().chain(v6).map(|(_, network)| network);
    // The countries of each system in use, and how many ranges are there.
    let mut in_use: BTreeMap<u32, BTreeMap<Option<[u8; 2]>, u32>> = BTreeMap::new();
    for network in all().filter(|network| network.system != 0) {
        *in_use.entry(network.system).or_default().entry(network.country).or_default() += 1;
    }
    let registrants = in_use.keys().filter_map(|system| registered(*system));
    let mut codes: Vec<[u8; 2]> = all().filter_map(|it| it.country).chain(registrants).collect();
    codes.sort_unstable();
    codes.dedup();
    if codes.len() > 253 {
        return Err(AssetError::Inconsistent("the country codes"));
    }
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
            registered: class(registered(*number)),
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
    let (v4, v6) = (ranges(v4), ranges(v6));
    Ok(Draft { source, dated: database.dated, codes, systems, v4, v6 })
}
