//! A clock that tests set, and that moves only when they say so.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Backing, Clock};
use crate::event::{BootId, Moment, Timeline, Timestamp};

/// How long its first boot has lasted when it is made.
const UPTIME_NS: u64 = 60_000_000_000;

#[derive(Clone, Debug)]
pub(crate) struct FakeClock(Arc<Mutex<Moment>>);

impl FakeClock {
    /// Not trusted.
    pub(crate) fn at(wall: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(booted(1, wall))))
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock::of(Backing::Fake(self.clone()))
    }

    pub(crate) fn now(&self) -> Moment {
        *self.0.lock().unwrap()
    }

    /// Time passes, awake or asleep: for the clocks it is the same.
    pub(crate) fn pass(&self, time: Duration) {
        self.0.lock().unwrap().boot_ns += time.as_nanos() as u64;
    }

    pub(crate) fn step(&self, seconds: i64) {
        self.step_ns(seconds * 1_000_000_000);
    }

    pub(crate) fn step_ns(&self, ns: i64) {
        self.0.lock().unwrap().timeline.wall_at_boot_ns += ns;
    }

    pub(crate) fn set(&self, wall: Timestamp) {
        let now = self.now().wall();
        self.step_ns(wall.0.wrapping_sub(now.0).cast_signed());
    }

    pub(crate) fn trust(&self, is_trusted: bool) {
        self.0.lock().unwrap().timeline.is_trusted = is_trusted;
    }

    /// Comes up again a minute ago, with a clock that shows this and is not trusted.
    pub(crate) fn boot(&self, wall: Timestamp) {
        let mut now = self.0.lock().unwrap();
        *now = booted(now.timeline.boot.0[0] + 1, wall);
    }
}

fn booted(number: u8, wall: Timestamp) -> Moment {
    let wall_at_boot_ns = wall.0.wrapping_sub(UPTIME_NS).cast_signed();
    let timeline = Timeline { boot: BootId([number; 16]), wall_at_boot_ns, is_trusted: false };
    Moment { boot_ns: UPTIME_NS, timeline }
}
