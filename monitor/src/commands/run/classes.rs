//! Puts the class tables and the verdicts on classes into the kernel, when rules are about to come
//! into force. Without them the probes say nothing of an address, and the daemon judges alone.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{
    probe::{Places, ProbeError},
    rules::Rules,
};

/// Where they go; nowhere in a replay.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes(Arc<Mutex<Option<Places>>>);

impl Classes {
    pub(super) fn new(places: Option<Places>) -> Self {
        Self(Arc::new(Mutex::new(places)))
    }

    /// Puts what belongs to `rules` in force, and notes in them how samples will name it. `before`:
    /// the rules until now.
    pub(super) fn put(&self, rules: &mut Rules, before: Option<&Rules>) {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(places) = &mut *places else { return };
        rules.generation = put(places, rules, before).unwrap_or_else(|error| {
            tracing::warn!("the probes don't judge, the daemon does: {error}");
            places.clear();
            0
        });
        // All of it was read, and little of it will be.
        rules.locator.image().rest();
    }
}

fn put(places: &mut Places, rules: &Rules, before: Option<&Rules>) -> Result<u32, ProbeError> {
    let image = rules.locator.image();
    let are_there = |before: &Rules| {
        before.generation != 0 && before.locator.image().inputs() == image.inputs()
    };
    if before.is_some_and(are_there) {
        places.put_verdicts(&rules.verdicts())
    } else {
        places.put(&image.tables(), &rules.verdicts())
    }
}
