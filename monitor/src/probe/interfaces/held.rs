//! A program that was attached, and whether it still is: looked at each second, attached again where it
//! was detached or another was put before it. Says what befell; logs nothing.

use std::{
    io, mem,
    time::{Duration, Instant},
};

use crate::probe::{ProbeEvent, link::Link};

/// Two that both want to be first would change places for ever: each further time waits twice as
/// long.
const WAIT_MAX: Duration = Duration::from_mins(5);
/// First for this long, it is left alone.
const SETTLED: Duration = Duration::from_mins(10);

#[derive(Debug)]
pub(super) struct Held {
    /// `None`: it could not be attached again yet.
    link: Option<Link>,
    /// It was not what it should be when it was last looked at.
    is_broken: bool,
    moved_at: Option<Instant>,
    wait: Duration,
}

/// What a look finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Looked {
    Unchanged,
    Event(ProbeEvent),
}

impl Held {
    pub(super) fn new(link: Link) -> Self {
        Self { link: Some(link), is_broken: false, moved_at: None, wait: Duration::ZERO }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// `is_first`: whether the program of this number runs before all others. `attach`: attaches it,
    /// before all others.
    pub(super) fn look(
        &mut self,
        is_first: impl FnOnce(u32) -> bool,
        attach: impl FnOnce() -> io::Result<Link>,
    ) -> Looked {
        // A link that can't be asked is taken to hold: nothing is known against it.
        let held = self.link.as_ref().map(|link| link.program().unwrap_or(Some(0)));
        let event = match held.flatten() {
            Some(0) => return Looked::Unchanged,
            Some(program) if is_first(program) => return self.is_well(),
            Some(_) if !self.may_move() => return self.is_well(),
            Some(_) => ProbeEvent::Displaced,
            None => ProbeEvent::Detached,
        };
        // A program is at a hook once.
        self.link = None;
        match attach() {
            Ok(link) => self.link = Some(link),
            // The interface is gone, and the next look at them all says so.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Looked::Unchanged,
            Err(_) => {}
        }
        // Until the next look it is not told as attached: nobody knows yet that it stays.
        if mem::replace(&mut self.is_broken, true) && self.link.is_none() {
            return Looked::Unchanged;
        }
        Looked::Event(event)
    }

    fn is_well(&mut self) -> Looked {
        if mem::replace(&mut self.is_broken, false) {
            return Looked::Event(ProbeEvent::Attached);
        }
        Looked::Unchanged
    }

    fn may_move(&mut self) -> bool {
        let since = self.moved_at.map(|at| at.elapsed());
        if since.is_some_and(|since| since < self.wait) {
            return false;
        }
        let is_settled = since.is_none_or(|since| since > SETTLED);
        self.wait = if is_settled {
            Duration::from_secs(1)
        } else {
            self.wait.saturating_mul(2).min(WAIT_MAX)
        };
        self.moved_at = Some(Instant::now());
        true
    }
}
