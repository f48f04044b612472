//! The stored form of the other address that packets go to.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{RecordError, StoredCountry, country_code, country_from_stored, country_to_stored};
use crate::{
    event::{CountryCode, Place, Via},
    store::tables::{Interner, Tables},
};

#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store) struct StoredVia {
    address: IpAddr,
    country: StoredCountry,
    /// The second database's.
    second: Option<[u8; 2]>,
    /// Position in the operator table, and whether the address is announced from many places.
    operator: Option<(u32, bool)>,
}

pub(super) fn via_to_stored(via: &Via, into: &mut Interner) -> StoredVia {
    let Via { address, place } = via;
    StoredVia {
        address: *address,
        country: country_to_stored(place.country),
        second: place.second.map(CountryCode::bytes),
        operator: place.operator.as_ref().map(|it| (into.operator(it), it.is_anycast)),
    }
}

pub(super) fn via_from_stored(via: &StoredVia, tables: &mut Tables) -> Result<Via, RecordError> {
    let operator = match via.operator {
        Some((at, true)) => Some(tables.anycast(at)?),
        Some((at, false)) => Some(tables.operator(at)?),
        None => None,
    };
    let place = Place {
        country: country_from_stored(via.country)?,
        second: via.second.map(country_code).transpose()?,
        operator,
        ..Place::unknown()
    };
    Ok(Via { address: via.address, place })
}
