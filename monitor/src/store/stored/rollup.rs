//! The stored form of roll-ups. What they rest on is told beside them (`basis`).

use serde::{Deserialize, Serialize};

use super::{
    error::FormError,
    flow::{StoredTraffic, traffic_from_stored, traffic_to_stored},
    place::{StoredCountry, country_from_stored, country_to_stored},
    process::{StoredUser, user_from_stored, user_to_stored},
    text::{Text, TextInterner, Texts},
    words::{verdict, verdict_code},
};
use crate::event::{Rollup, Timestamp};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredRollup {
    hour: u64,
    program: Text,
    user: Option<StoredUser>,
    country: StoredCountry,
    verdict: u8,
    flows: u64,
    traffic: StoredTraffic,
}

pub(super) fn rollup_to_stored(rollup: &Rollup, texts: &mut TextInterner) -> StoredRollup {
    StoredRollup {
        hour: rollup.hour.0,
        program: texts.text(&rollup.program),
        user: rollup.user.as_ref().map(|user| user_to_stored(user, texts)),
        country: country_to_stored(rollup.country),
        verdict: verdict_code(rollup.verdict),
        flows: rollup.flows,
        traffic: traffic_to_stored(rollup.traffic),
    }
}

pub(super) fn rollup_from_stored(
    rollup: &StoredRollup,
    texts: &Texts,
) -> Result<Rollup, FormError> {
    Ok(Rollup {
        hour: Timestamp(rollup.hour),
        program: texts.text(rollup.program)?,
        user: rollup.user.as_ref().map(|user| user_from_stored(user, texts)).transpose()?,
        country: country_from_stored(rollup.country)?,
        verdict: verdict(rollup.verdict)?,
        provenance: None,
        flows: rollup.flows,
        traffic: traffic_from_stored(rollup.traffic),
    })
}
