//! Keeps the ring empty while the pipeline is busy with a sweep: a thread that copies samples into
//! memory and does nothing else, before other work of the host. The ring can then be small, which
//! counts, since all of it is resident memory twice; the copies are there only while they wait.

use std::{
    io, mem,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    process::setpriority_process,
};

use super::{
    Mark, Progress, Waker,
    packed::{Packed, Unpacking},
    positions::Positions,
};
use crate::sandbox;

/// Samples that wait for the pipeline at most, of flows some 25 MB; as many may be on their way through
/// it. Then the ring fills, and the probes count.
const WAITING_MAX: usize = 1 << 18;
/// Of a host with memory for few flows.
const WAITING_LEAST: usize = 1 << 14;
/// Bytes that so many may take on average: those that name destinations are larger.
const WAITING_BYTES: usize = 128;

/// How many samples may wait, where the kernel counts so many flows.
pub fn waiting_max(max_flows: u32) -> usize {
    (max_flows as usize).clamp(WAITING_LEAST, WAITING_MAX)
}
/// Samples copied before the pipeline is let in between.
const CHUNK: usize = 512;
/// The reader's nice value. It must run within the 30 ms in which a burst fills the ring, however many
/// others want the processor, and a burst is when they do.
const NICE: i32 = -10;
/// Woken again sooner than this, the reader rests before it looks. Each waking costs whoever sends
/// some 15 us, and while samples wait to be read the kernel wakes nobody for more of them.
const BUSY: Duration = Duration::from_millis(2);
/// What `/proc` tells of a program that has just started is read so much later, at most.
const REST: Duration = Duration::from_millis(1);
/// How long the pipeline waits for a reader it called.
const CALL: Duration = Duration::from_millis(50);

/// What is between the reader and the pipeline. At most one of the two waits for the other, so one
/// condition serves both.
#[derive(Debug)]
struct Between {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    /// Wakes the reader, whom the probes don't wake for what nobody waits for.
    call: OwnedFd,
    positions: Positions,
}

#[derive(Debug, Default)]
struct Waiting {
    /// In order.
    samples: Packed,
    count: usize,
    most: usize,
    /// Where in the ring they end.
    end: Mark,
    /// The reader is to look at once.
    called: bool,
    /// Somebody wants the pipeline to look up from waiting.
    wanted: bool,
    /// One of the two ends is gone.
    ended: bool,
}

impl Waiting {
    /// The reader copies no more until the pipeline took what waits.
    fn is_full(&self) -> bool {
        self.count >= self.most || self.samples.len() >= self.most * WAITING_BYTES
    }

    /// A call that the reader will still answer.
    fn is_unanswered(&self) -> bool {
        self.called && !self.ended && !self.is_full()
    }
}

impl Between {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self) {
        // It fails only where as many calls are unanswered as 64 bits count.
        let _ = rustix::io::write(&self.call, &1_u64.to_ne_bytes());
    }
}

/// One end; the other learns when it is dropped.
#[derive(Debug)]
struct End(Arc<Between>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_one();
        self.0.call();
    }
}

/// The pipeline's end.
#[derive(Debug)]
pub(super) struct Samples {
    end: End,
    current: Unpacking,
    /// Where in the ring the current ones begin and end.
    taken_in: Mark,
    current_end: Mark,
}

impl Samples {
    /// Starts the thread, which gives up its privileges by itself. `most`: samples that may wait.
    pub(super) fn start(ring: RingBuf<MapData>, most: usize) -> io::Result<Self> {
        let positions = Positions::of(ring.as_fd())?;
        let begin = positions.read();
        let between = Arc::new(Between {
            waiting: Mutex::new(Waiting { end: begin, most, ..Waiting::default() }),
            changed: Condvar::new(),
            call: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            positions,
        });
        let end = End(Arc::clone(&between));
        thread::Builder::new().name("ring".into()).spawn(move || {
            // On Linux a nice value is the calling thread's own, as capabilities are.
            if let Err(error) = setpriority_process(None, NICE) {
                tracing::debug!("the ring's reader has no priority: {error}");
            }
            match sandbox::confine() {
                Ok(_) => read(ring, &end),
                Err(error) => tracing::error!("the ring is not read: {error}"),
            }
        })?;
        let (end, current) = (End(between), Unpacking::default());
        Ok(Self { end, current, taken_in: begin, current_end: begin })
    }

    /// Waits for samples. An error means that the reader is gone.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        if !self.current.is_at_end() {
            return Ok(());
        }
        let waiting = self.end.0.lock();
        let nothing =
            |waiting: &mut Waiting| waiting.samples.is_empty() && !waiting.ended && !waiting.wanted;
        let waited = self.end.0.changed.wait_timeout_while(waiting, timeout, nothing);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.wanted = false;
        if waiting.samples.is_empty() && waiting.ended {
            return Err(io::Error::other("no reader"));
        }
        Ok(())
    }

    /// Ends a wait of the pipeline's for samples, or the next one.
    pub(super) fn waker(&self) -> Waker {
        let between = Arc::clone(&self.end.0);
        Box::new(move || {
            between.lock().wanted = true;
            // Of reader and pipeline at most one waits; the reader looks again and goes on waiting.
            between.changed.notify_one();
        })
    }

    /// Has the reader fetch what it was not woken for, and waits until it did.
    pub(super) fn collect(&self) {
        let between = &self.end.0;
        let mut waiting = between.lock();
        waiting.called = true;
        between.call();
        // One that does not come is busy with the ring, as it should be.
        drop(between.changed.wait_timeout_while(waiting, CALL, |it| it.is_unanswered()));
    }

    /// How many wait.
    pub(super) fn depth(&self) -> usize {
        self.end.0.lock().count
    }

    pub(super) fn progress(&self) -> Progress {
        let between = &self.end.0;
        let submitted = between.positions.written();
        let waiting = between.lock();
        let taken_in = match (!self.current.is_at_end(), waiting.samples.is_empty()) {
            (true, _) => self.taken_in,
            (false, false) => self.current_end,
            (false, true) => waiting.end,
        };
        Progress { submitted, taken_in }
    }

    /// The next sample that is there.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        if self.current.is_at_end() {
            let Waiting { samples, count, end, .. } = &mut *self.end.0.lock();
            self.current = mem::take(samples).into();
            self.taken_in = mem::replace(&mut self.current_end, *end);
            *count = 0;
            self.end.0.changed.notify_one();
        }
        self.current.next()
    }
}

/// Until the pipeline's end is dropped.
fn read(mut ring: RingBuf<MapData>, end: &End) {
    let mut looked_at = Instant::now();
    loop {
        match copy(&mut ring, &end.0) {
            Copied::Some => continue,
            Copied::Nothing => {}
            Copied::Unwanted => return,
        }
        if let Err(error) = rest(&ring, &end.0.call, looked_at) {
            tracing::error!("waiting for samples failed: {error}");
            return;
        }
        looked_at = Instant::now();
    }
}

/// Until there is something to look at, or a call.
fn rest(ring: &RingBuf<MapData>, call: &OwnedFd, looked_at: Instant) -> rustix::io::Result<()> {
    let watch = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    let mut both = [watch(ring.as_fd()), watch(call.as_fd())];
    until(&mut both, None)?;
    if both[1].revents().is_empty() && looked_at.elapsed() < BUSY {
        until(&mut both[1..], Some(REST))?;
    }
    // Nothing is there to be read where it was the ring.
    let _ = rustix::io::read(call, &mut [0; 8]);
    Ok(())
}

/// Until one of these can be read, the time is over, or a signal came.
fn until(watched: &mut [PollFd<'_>], timeout: Option<Duration>) -> rustix::io::Result<()> {
    let timeout = timeout.and_then(|it| Timespec::try_from(it).ok());
    match poll(watched, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}

enum Copied {
    Some,
    Nothing,
    Unwanted,
}

/// Copies a chunk of what the ring has, once there is room for it.
fn copy(ring: &mut RingBuf<MapData>, between: &Between) -> Copied {
    let full = |waiting: &mut Waiting| waiting.is_full() && !waiting.ended;
    let room = between.changed.wait_while(between.lock(), full);
    let mut waiting = room.unwrap_or_else(PoisonError::into_inner);
    if waiting.ended {
        return Copied::Unwanted;
    }
    let mut copied = 0;
    while copied < CHUNK
        && let Some(sample) = ring.next()
    {
        waiting.samples.push(&sample);
        copied += 1;
    }
    waiting.count += copied;
    // Also past what was reserved and thrown away.
    waiting.end = between.positions.read();
    if copied == 0 {
        if mem::take(&mut waiting.called) {
            between.changed.notify_one();
        }
        return Copied::Nothing;
    }
    between.changed.notify_one();
    Copied::Some
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_without_room_is_not_waited_for_whether_samples_are_many_or_large() {
        let waiting = |count, bytes| {
            let mut samples = Packed::default();
            samples.push(&vec![0; bytes]);
            Waiting { samples, count, most: WAITING_LEAST, called: true, ..Waiting::default() }
        };
        let bytes = WAITING_LEAST * WAITING_BYTES;
        for full in [waiting(WAITING_LEAST, 0), waiting(1, bytes)] {
            assert!(full.is_full() && !full.is_unanswered());
        }
        let room = waiting(WAITING_LEAST - 1, bytes - 8);
        assert!(!room.is_full() && room.is_unanswered());
    }
}
