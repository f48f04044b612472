//! A tick every so often for an asynchronous thread that does little else. By the kernel's own timer: the
//! runtime's wakes twice for each of its ticks. Reads no clock.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Ticks that were missed come as one.
#[derive(Debug)]
pub struct Ticks(AsyncFd<OwnedFd>);

impl Ticks {
    /// The first comes after one `period`. Must be called within the runtime.
    pub fn every(period: Duration) -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let time = Timespec::try_from(period).map_err(io::Error::other)?;
        let each = Itimerspec { it_interval: time, it_value: time };
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &each)?;
        // SAFETY: it owns the descriptor, which stays open and the same as long as it lives.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE)? };
        Ok(Self(timer))
    }

    /// The next one. Nothing is lost where this is not waited for to its end.
    pub async fn next(&self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable().await?;
            let read = |timer: &AsyncFd<OwnedFd>| {
                rustix::io::read(timer.get_ref(), &mut [0; 8]).map_err(Into::into)
            };
            if let Ok(read) = ready.try_io(read) {
                return read.map(drop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ticks_come_again_and_again() {
        let ticks = Ticks::every(Duration::from_millis(1)).unwrap();
        for _ in 0..3 {
            // One that never comes must not hold the test for ever.
            let ticked = tokio::time::timeout(Duration::from_mins(1), ticks.next());
            ticked.await.expect("it ticks").unwrap();
        }
    }
}
