//! What may be asked at once of the API: so much in all, so much for each peer. A slot is given back
//! when dropped.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connections::Peer;

/// How much of something there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Its name in refusals.
    pub what: &'static str,
    pub all: usize,
    pub of_peer: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many {0} at once; try again")]
pub(super) struct NoSlot(&'static str);

#[derive(Clone, Debug)]
pub(super) struct Slots {
    share: Share,
    /// One entry a slot that is taken.
    holders: Arc<Mutex<Vec<Peer>>>,
}

#[derive(Debug)]
pub(super) struct Slot {
    peer: Peer,
    holders: Arc<Mutex<Vec<Peer>>>,
}

fn lock(holders: &Mutex<Vec<Peer>>) -> MutexGuard<'_, Vec<Peer>> {
    // No code that holds it panics half way.
    holders.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slots {
    pub(super) fn new(share: Share) -> Self {
        Self { share, holders: Arc::default() }
    }

    pub(super) fn take(&self, peer: Peer) -> Result<Slot, NoSlot> {
        let mut holders = lock(&self.holders);
        let own = holders.iter().filter(|holder| **holder == peer).count();
        if holders.len() >= self.share.all || own >= self.share.of_peer {
            return Err(NoSlot(self.share.what));
        }
        holders.push(peer);
        Ok(Slot { peer, holders: Arc::clone(&self.holders) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut holders = lock(&self.holders);
        if let Some(own) = holders.iter().position(|holder| *holder == self.peer) {
            holders.swap_remove(own);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Share = Share { what: "queries", all: 3, of_peer: 2 };

    #[test]
    fn no_user_takes_the_slots_of_all_and_a_slot_comes_back() {
        let slots = Slots::new(FEW);
        let (greedy, other) = (Peer::User(1000), Peer::User(0));
        let first = slots.take(greedy).unwrap();
        let _second = slots.take(greedy).unwrap();
        assert_eq!(slots.take(greedy).unwrap_err(), NoSlot("queries"));
        let _others = slots.take(other).unwrap();
        assert!(slots.take(other).is_err(), "all are taken");
        drop(first);
        slots.take(greedy).unwrap();
    }
}
