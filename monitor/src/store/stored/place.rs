//! The stored form of places: countries, the table of operators, and the other address that packets go to.

use std::{net::IpAddr, sync::Arc};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::{
    error::FormError,
    text::{Text, TextInterner, Texts},
};
use crate::event::{Country, CountryCode, Operator, Place, Via};

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) enum StoredCountry {
    Known([u8; 2]),
    Unlocated,
    Local,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredOperator {
    asn: Option<u32>,
    name: Option<Text>,
    country: Option<[u8; 2]>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredVia {
    address: IpAddr,
    country: StoredCountry,
    /// The second database's.
    second: Option<[u8; 2]>,
    /// Position in the operator table, and whether the address is announced from many places.
    operator: Option<(u32, bool)>,
}

pub(super) fn country_to_stored(country: Country) -> StoredCountry {
    match country {
        Country::Known(code) => StoredCountry::Known(code.bytes()),
        Country::Unlocated => StoredCountry::Unlocated,
        Country::Local => StoredCountry::Local,
    }
}

pub(super) fn country_from_stored(country: StoredCountry) -> Result<Country, FormError> {
    Ok(match country {
        StoredCountry::Known(bytes) => Country::Known(country_code(bytes)?),
        StoredCountry::Unlocated => Country::Unlocated,
        StoredCountry::Local => Country::Local,
    })
}

pub(super) fn country_code(bytes: [u8; 2]) -> Result<CountryCode, FormError> {
    let code = std::str::from_utf8(&bytes).ok().and_then(CountryCode::new);
    code.ok_or(FormError::Unknown("Country"))
}

/// Operators of a block that is being filled.
#[derive(Debug, Default)]
pub(super) struct OperatorInterner {
    stored: Vec<StoredOperator>,
    at: FxHashMap<Arc<Operator>, u32>,
}

impl OperatorInterner {
    pub(super) fn operator(&mut self, operator: &Arc<Operator>, texts: &mut TextInterner) -> u32 {
        if let Some(at) = self.at.get(operator) {
            return *at;
        }
        let at = self.stored.len() as u32;
        self.stored.push(StoredOperator {
            asn: operator.asn,
            name: texts.maybe(operator.name.as_ref()),
            country: operator.country.map(CountryCode::bytes),
        });
        self.at.insert(Arc::clone(operator), at);
        at
    }

    pub(super) fn take_stored(&mut self) -> Vec<StoredOperator> {
        std::mem::take(&mut self.stored)
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(self.stored.as_slice())
    }
}

/// Operators of a block that was read.
#[derive(Debug, Default)]
pub(super) struct Operators {
    operators: Vec<Arc<Operator>>,
    /// By position, as those of anycast addresses.
    anycast: FxHashMap<u32, Arc<Operator>>,
}

impl Operators {
    pub(super) fn from_stored(stored: &[StoredOperator], texts: &Texts) -> Result<Self, FormError> {
        let operators = stored.iter().map(|operator| {
            Ok(Arc::new(Operator {
                asn: operator.asn,
                name: texts.maybe(operator.name)?,
                country: operator.country.map(country_code).transpose()?,
                is_anycast: false,
            }))
        });
        let operators = operators.collect::<Result<_, FormError>>()?;
        Ok(Self { operators, anycast: FxHashMap::default() })
    }

    pub(super) fn operator(&self, at: u32) -> Result<Arc<Operator>, FormError> {
        self.operators.get(at as usize).cloned().ok_or(FormError::Dangling)
    }

    /// The same operator, of an address that is announced from many places.
    pub(super) fn anycast(&mut self, at: u32) -> Result<Arc<Operator>, FormError> {
        if let Some(operator) = self.anycast.get(&at) {
            return Ok(Arc::clone(operator));
        }
        let operator = Operator { is_anycast: true, ..(*self.operator(at)?).clone() };
        Ok(Arc::clone(self.anycast.entry(at).or_insert(Arc::new(operator))))
    }
}

/// `operator`: the position of the place's.
pub(super) fn via_to_stored(via: &Via, operator: Option<u32>) -> StoredVia {
    let Via { address, place } = via;
    StoredVia {
        address: *address,
        country: country_to_stored(place.country),
        second: place.second.map(CountryCode::bytes),
        operator: place.operator.as_ref().zip(operator).map(|(it, at)| (at, it.is_anycast)),
    }
}

pub(super) fn via_from_stored(
    via: &StoredVia,
    operators: &mut Operators,
) -> Result<Via, FormError> {
    let operator = match via.operator {
        Some((at, true)) => Some(operators.anycast(at)?),
        Some((at, false)) => Some(operators.operator(at)?),
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
