//! The stored form of what a verdict rests on: the second database's country, anycast, and which
//! policy and databases were in force. It is nearly always that of the record before, so a block
//! tells each once, with the first record that has it; later ones refer to that.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{
    again::{Learnt, Told},
    error::FormError,
    host::{StoredHost, host_from_stored, host_to_stored},
    place::country_code,
    text::{Text, TextInterner, Texts},
};
use crate::event::{CountryCode, DatabaseId, Place, Provenance, Timestamp};

/// The second database's country, as it relates to the first's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Second {
    #[default]
    None,
    Same,
    Other([u8; 2]),
}

/// One for all records that rest on the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Basis {
    second: Second,
    pub(super) is_anycast: bool,
    pub(super) provenance: Option<Arc<Provenance>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredBasis {
    /// The next one of the block, counted from 0.
    Told { second: Second, is_anycast: bool, provenance: Option<StoredProvenance> },
    /// One that was told.
    Again(u32),
    /// As the first, and who wrote.
    ToldBy { second: Second, is_anycast: bool, provenance: StoredProvenance, host: StoredHost },
    /// As the first, of a policy that only learned, and who wrote, if that is known.
    ToldLearning {
        second: Second,
        is_anycast: bool,
        provenance: StoredProvenance,
        host: Option<StoredHost>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredProvenance {
    policy_sha256: [u8; 32],
    databases: Vec<StoredDatabase>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredDatabase {
    label: Text,
    name: Text,
    dated: u64,
    sha256: [u8; 32],
}

impl Basis {
    pub(super) fn of_flow(place: &Place, provenance: Option<&Arc<Provenance>>) -> Self {
        Self {
            second: match place.second {
                None => Second::None,
                second if second == place.country.code() => Second::Same,
                Some(code) => Second::Other(code.bytes()),
            },
            is_anycast: place.operator.as_ref().is_some_and(|operator| operator.is_anycast),
            provenance: provenance.cloned(),
        }
    }

    pub(super) fn of_rollup(provenance: Option<&Arc<Provenance>>) -> Self {
        Self { provenance: provenance.cloned(), ..Self::default() }
    }

    /// What a record without one is understood to have.
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// `country`: that of the first database.
    pub(super) fn second(
        &self,
        country: Option<CountryCode>,
    ) -> Result<Option<CountryCode>, FormError> {
        match self.second {
            Second::None => Ok(None),
            Second::Same => Ok(country),
            Second::Other(bytes) => country_code(bytes).map(Some),
        }
    }
}

pub(super) fn database_to_stored(
    database: &DatabaseId,
    texts: &mut TextInterner,
) -> StoredDatabase {
    StoredDatabase {
        label: texts.text(&database.label),
        name: texts.text(&database.name),
        dated: database.dated.0,
        sha256: database.sha256,
    }
}

pub(super) fn database_from_stored(
    database: &StoredDatabase,
    texts: &Texts<'_>,
) -> Result<DatabaseId, FormError> {
    Ok(DatabaseId {
        label: texts.text(database.label)?,
        name: texts.text(database.name)?,
        dated: Timestamp(database.dated),
        sha256: database.sha256,
    })
}

pub(super) fn basis_to_stored(
    basis: &Basis,
    told: &mut Told<Basis>,
    texts: &mut TextInterner,
) -> StoredBasis {
    if let Some(at) = told.again(basis.clone()) {
        return StoredBasis::Again(at);
    }
    let (second, is_anycast) = (basis.second, basis.is_anycast);
    let provenance = basis.provenance.as_ref().map(|it| StoredProvenance {
        policy_sha256: it.policy_sha256,
        databases: it.databases.iter().map(|it| database_to_stored(it, texts)).collect(),
    });
    let host = basis.provenance.as_ref().and_then(|it| it.host.as_ref());
    let is_learning = basis.provenance.as_ref().is_some_and(|it| it.is_learning);
    match (provenance, host) {
        (Some(provenance), host) if is_learning => {
            let host = host.map(|it| host_to_stored(it, texts));
            StoredBasis::ToldLearning { second, is_anycast, provenance, host }
        }
        (Some(provenance), Some(host)) => {
            let host = host_to_stored(host, texts);
            StoredBasis::ToldBy { second, is_anycast, provenance, host }
        }
        (provenance, _) => StoredBasis::Told { second, is_anycast, provenance },
    }
}

/// To be asked for every entry of a block, in order.
pub(super) fn basis_from_stored(
    stored: &StoredBasis,
    learnt: &mut Learnt<Arc<Basis>>,
    texts: &Texts<'_>,
) -> Result<Arc<Basis>, FormError> {
    let (second, is_anycast, provenance, host) = match stored {
        StoredBasis::Again(at) => return learnt.get(*at),
        StoredBasis::Told { second, is_anycast, provenance } => {
            (*second, *is_anycast, provenance.as_ref(), None)
        }
        StoredBasis::ToldBy { second, is_anycast, provenance, host } => {
            let host = host_from_stored(host, texts)?;
            (*second, *is_anycast, Some(provenance), Some(host))
        }
        StoredBasis::ToldLearning { second, is_anycast, provenance, host } => {
            let host = host.as_ref().map(|it| host_from_stored(it, texts)).transpose()?;
            (*second, *is_anycast, Some(provenance), host)
        }
    };
    let is_learning = matches!(stored, StoredBasis::ToldLearning { .. });
    let provenance = provenance.map(|it| {
        let databases = it.databases.iter().map(|it| database_from_stored(it, texts));
        let databases = databases.collect::<Result<_, FormError>>()?;
        Ok(Arc::new(Provenance { policy_sha256: it.policy_sha256, is_learning, databases, host }))
    });
    let provenance = provenance.transpose()?;
    Ok(learnt.learn(Arc::new(Basis { second, is_anycast, provenance })))
}
