//! What many records of a block share and the first of them tells: later ones give its number, counted
//! from 0 through the block.

use std::{collections::HashMap, hash::Hash};

use rustc_hash::FxBuildHasher;

use super::error::FormError;

/// Of a block that is being filled.
#[derive(Debug)]
pub(super) struct Told<T>(HashMap<T, u32, FxBuildHasher>);

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<T: Eq + Hash> Told<T> {
    /// The number of what was told before; from now on it was.
    pub(super) fn again(&mut self, value: T) -> Option<u32> {
        let next = self.0.len() as u32;
        let at = *self.0.entry(value).or_insert(next);
        (at != next).then_some(at)
    }
}

/// Of a block that is being read: what its entries told so far.
#[derive(Debug)]
pub(super) struct Learnt<T>(Vec<T>);

impl<T> Default for Learnt<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone> Learnt<T> {
    pub(super) fn get(&self, at: u32) -> Result<T, FormError> {
        self.0.get(at as usize).cloned().ok_or(FormError::Dangling)
    }

    pub(super) fn learn(&mut self, value: T) -> T {
        self.0.push(value.clone());
        value
    }
}
