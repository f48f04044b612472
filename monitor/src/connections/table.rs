//! Who has a place on a listener, and who makes way. Knows no sockets and no HTTP.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until},
};

use super::{Bounds, Peer, refused};

#[derive(Debug)]
pub(super) struct Table {
    bounds: Bounds,
    places: Arc<Mutex<Places>>,
    is_ending: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Places {
    last: u64,
    taken: BTreeMap<u64, Place>,
}

#[derive(Debug)]
struct Place {
    peer: Peer,
    /// Since when it has not asked; `None` while it is being answered.
    idle_since: Option<Instant>,
    has_asked: bool,
    displaced: Arc<Notify>,
}

#[derive(Debug)]
pub(super) enum Admission {
    /// `displaced`: an idle one lost its place for it.
    Placed { ticket: Ticket, displaced: bool },
    /// By the reason.
    Refused(&'static str),
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    number: u64,
    peer: Peer,
    bounds: Bounds,
    places: Arc<Mutex<Places>>,
    displaced: Arc<Notify>,
    is_ending: watch::Receiver<bool>,
}

/// One request being answered; over when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    number: u64,
    places: Arc<Mutex<Places>>,
}

/// Why a connection is over, or soon will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    Displaced,
    /// Never asked, and its time is up.
    Late,
    /// Asked once, and was answered, and not again in its time.
    Idle,
    Ending,
}

fn lock(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    // No code that holds it panics half way.
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Table {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, places: Arc::default(), is_ending: watch::Sender::new(false) }
    }

    /// A peer with its full share displaces its own idlest; others that of whoever has most. Nobody
    /// who is being answered makes way.
    pub(super) fn admit(&self, peer: Peer) -> Admission {
        let mut places = lock(&self.places);
        let mut displaced = false;
        if places.of(peer) >= self.bounds.of_peer {
            match places.idlest(|it| it == peer) {
                Some(number) => displaced = places.displace(number),
                None => return Admission::Refused(refused::PEER),
            }
        } else if places.taken.len() >= self.bounds.connections {
            let greedy = places.greediest();
            match places.idlest(|it| Some(it) == greedy) {
                Some(number) => displaced = places.displace(number),
                None => return Admission::Refused(refused::FULL),
            }
        }
        places.last += 1;
        let number = places.last;
        let place = Place {
            peer,
            idle_since: Some(Instant::now()),
            has_asked: false,
            displaced: Arc::default(),
        };
        let ticket = Ticket {
            number,
            peer,
            bounds: self.bounds,
            places: Arc::clone(&self.places),
            displaced: Arc::clone(&place.displaced),
            is_ending: self.is_ending.subscribe(),
        };
        places.taken.insert(number, place);
        Admission::Placed { ticket, displaced }
    }

    /// Idle connections close, others after their answer.
    pub(super) fn end(&self) {
        self.is_ending.send_replace(true);
    }
}

impl Places {
    fn of(&self, peer: Peer) -> usize {
        self.taken.values().filter(|place| place.peer == peer).count()
    }

    /// Who has most places, among those with an idle one.
    fn greediest(&self) -> Option<Peer> {
        let idle = self.taken.values().filter(|place| place.idle_since.is_some());
        idle.map(|place| place.peer).max_by_key(|peer| self.of(*peer))
    }

    fn idlest(&self, is_meant: impl Fn(Peer) -> bool) -> Option<u64> {
        let meant = self.taken.iter().filter(|(_, place)| is_meant(place.peer));
        let idle = meant.filter_map(|(number, place)| Some((place.idle_since?, *number)));
        idle.min().map(|(_, number)| number)
    }

    /// Always true: its place is free at once, and it learns that it must close.
    fn displace(&mut self, number: u64) -> bool {
        if let Some(place) = self.taken.remove(&number) {
            place.displaced.notify_one();
        }
        true
    }
}

impl Ticket {
    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    /// A whole request is there.
    pub(super) fn begin(&self) -> Turn {
        if let Some(place) = lock(&self.places).taken.get_mut(&self.number) {
            (place.idle_since, place.has_asked) = (None, true);
        }
        Turn { number: self.number, places: Arc::clone(&self.places) }
    }

    /// Completes when the connection must close. `knows_end`: it was told that the daemon ends.
    pub(super) async fn over(&self, knows_end: bool) -> Wait {
        let mut is_ending = self.is_ending.clone();
        let asked = async {
            if knows_end {
                std::future::pending::<()>().await;
            }
            // An error means that the server is gone.
            let _ = is_ending.wait_for(|it| *it).await;
        };
        tokio::select! {
            () = self.displaced.notified() => Wait::Displaced,
            wait = self.late() => wait,
            () = asked => Wait::Ending,
        }
    }

    async fn late(&self) -> Wait {
        let Bounds { first_request, idle, .. } = self.bounds;
        loop {
            let now = Instant::now();
            let (since, has_asked) = match lock(&self.places).taken.get(&self.number) {
                Some(place) => (place.idle_since, place.has_asked),
                None => return Wait::Displaced,
            };
            let (patience, wait) =
                if has_asked { (idle, Wait::Idle) } else { (first_request, Wait::Late) };
            // One that is being answered has its whole patience left when it is looked at again.
            let until = since.unwrap_or(now) + patience;
            if since.is_some() && until <= now {
                return wait;
            }
            // Its first request may come meanwhile, and then it has the other patience.
            sleep_until(until.min(now + idle)).await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        lock(&self.places).taken.remove(&self.number);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(place) = lock(&self.places).taken.get_mut(&self.number) {
            place.idle_since = Some(Instant::now());
        }
    }
}
