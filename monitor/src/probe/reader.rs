//! Keeps the ring empty while the pipeline is busy with a sweep: a thread that copies samples into
//! memory and does nothing else, before other work of the host. The ring can then be small, which
//! counts, since all of it is resident memory twice; the copies are there only while they wait.
//!
//! As the driver of a network card: the first sample that is urgent wakes it, then it looks every few
//! milliseconds while it finds something, and the probes see that it is awake.

use std::{
    fmt, io, mem,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering, fence},
    },
    thread,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use monitor_ebpf::settings::awake;
use rustix::{
    buffer::spare_capacity,
    event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll},
    process::setpriority_process,
};

use super::{
    Mark, Progress, Waker, packed::Unpacking, places::Window, positions::Positions,
    waiting::Waiting,
};
use crate::sandbox;

/// Samples copied before the pipeline is let in between.
const COPIED_MAX: usize = 512;
/// The reader's nice value. It must run within the 30 ms in which a burst fills the ring, however many
/// others want the processor, and a burst is when they do.
const NICE: i32 = -10;
/// How long the reader rests between two looks while it is awake. Each waking costs whoever sends
/// some 15 us; resting, it is woken only when the ring fills, and for what only `/proc` can tell.
const REST: Duration = Duration::from_millis(10);
/// For which it is woken this often at most.
const BUSY: Duration = Duration::from_millis(1);
/// A reader that was asked to look and did not for so long has no processor.
const ASKED: Duration = Duration::from_millis(20);

/// What is between the reader and the pipeline. At most one of the two waits for the other, so one
/// condition serves both.
struct Between {
    handover: Mutex<Handover>,
    changed: Condvar,
    /// Whoever takes samples out of it; taken before `handover`.
    ring: Mutex<RingBuf<MapData>>,
    /// The reader looks again soon.
    is_awake: AtomicBool,
    /// Ends the reader's rest.
    call: OwnedFd,
    positions: Positions,
}

#[derive(Debug)]
struct Handover {
    waiting: Waiting,
    /// Somebody wants the pipeline to look up from waiting.
    wanted: bool,
    /// How often the pipeline asked for all that there is, and to how much of that the reader has looked since.
    asked: u64,
    looked: u64,
    /// One of the two ends is gone.
    ended: bool,
}

impl fmt::Debug for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Between").finish_non_exhaustive()
    }
}

impl Between {
    fn lock(&self) -> MutexGuard<'_, Handover> {
        self.handover.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the reader look now. `false`: it did not for so long, or has no room.
    fn ask(&self, timeout: Duration) -> bool {
        let mut handover = self.lock();
        handover.asked += 1;
        let own = handover.asked;
        self.call();
        let is_open = |it: &mut Handover| it.looked < own && !it.waiting.is_full() && !it.ended;
        let waited = self.changed.wait_timeout_while(handover, timeout, is_open);
        waited.unwrap_or_else(PoisonError::into_inner).0.looked >= own
    }

    /// All that was submitted before it was asked for so often lies there.
    fn looked(&self, asked: u64) {
        let mut handover = self.lock();
        if handover.looked < asked {
            handover.looked = asked;
            self.changed.notify_one();
        }
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
    /// Starts the thread, which gives up its privileges by itself. `awake`: where it says that it is.
    /// `most`: samples that may wait.
    pub(super) fn start(ring: RingBuf<MapData>, awake: &MapData, most: usize) -> io::Result<Self> {
        let awake = Window::open(awake.fd().as_fd(), 0, size_of::<u32>())?;
        let positions = Positions::of(ring.as_fd())?;
        let begin = positions.read();
        let call = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let bell = Bell::of(ring.as_fd(), call.as_fd())?;
        let between = Arc::new(Between {
            handover: Mutex::new(Handover {
                waiting: Waiting::new(begin, most),
                wanted: false,
                asked: 0,
                looked: 0,
                ended: false,
            }),
            changed: Condvar::new(),
            ring: Mutex::new(ring),
            is_awake: AtomicBool::new(true),
            call,
            positions,
        });
        let end = End(Arc::clone(&between));
        thread::Builder::new().name("ring".into()).spawn(move || {
            // On Linux a nice value is the calling thread's own, as capabilities are.
            if let Err(error) = setpriority_process(None, NICE) {
                tracing::debug!("the ring's reader has no priority: {error}");
            }
            match sandbox::confine() {
                Ok(_) => read(&end, &bell, &awake),
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
        let handover = self.end.0.lock();
        let nothing = |it: &mut Handover| it.waiting.is_empty() && !it.ended && !it.wanted;
        let waited = self.end.0.changed.wait_timeout_while(handover, timeout, nothing);
        let (mut handover, _) = waited.unwrap_or_else(PoisonError::into_inner);
        handover.wanted = false;
        if handover.waiting.is_empty() && handover.ended {
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

    /// Fetches what the reader was not woken for. Wakes nobody. Not while the reader looks by itself: it
    /// would wait for the pipeline, before which it has the processor.
    pub(super) fn collect(&self) {
        if !self.end.0.is_awake.load(Ordering::Acquire) {
            self.collect_all();
        }
    }

    /// Fetches what there is. A reader that is awake is asked to; it comes before others, so that takes as
    /// long as it takes.
    pub(super) fn collect_all(&self) {
        let between = &*self.end.0;
        if between.is_awake.load(Ordering::Acquire) && between.ask(ASKED) {
            return;
        }
        while between.copy() > 0 && !between.lock().waiting.is_full() {}
    }

    /// How many wait.
    pub(super) fn depth(&self) -> usize {
        self.end.0.lock().waiting.count()
    }

    pub(super) fn progress(&self) -> Progress {
        let between = &self.end.0;
        let submitted = between.positions.written();
        let waiting = &between.lock().waiting;
        let taken_in = match (!self.current.is_at_end(), waiting.is_empty()) {
            (true, _) => self.taken_in,
            (false, false) => self.current_end,
            (false, true) => waiting.end(),
        };
        Progress { submitted, taken_in }
    }

    /// The next sample that is there.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        if self.current.is_at_end() {
            let chunk = self.end.0.lock().waiting.take()?;
            self.taken_in = mem::replace(&mut self.current_end, chunk.end);
            self.current = chunk.samples.into();
            self.end.0.changed.notify_one();
        }
        self.current.next()
    }
}

/// What the reader is about to do when it finds nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Look again soon.
    Awake,
    /// The probes were told that it will sleep. One that had looked before that is through by the next
    /// look, and left word.
    Tired,
    Asleep,
}

/// Until the pipeline's end is dropped.
fn read(end: &End, bell: &Bell, awake: &Window) {
    let (awake, mut state) = (awake.word(), State::Awake);
    let (mut has_rung, mut was_wanted) = (true, false);
    loop {
        // Before the ring is looked at: what is urgent from here on leaves word again.
        let (is_wanted, asked) = (is_wanted(awake), end.0.lock().asked);
        // What only `/proc` can tell of rings and leaves none; and who left it may not have submitted yet.
        let wakes = has_rung || is_wanted || was_wanted;
        while end.0.copy_into_room(wakes).is_some_and(|copied| copied > 0) {}
        if end.0.lock().ended {
            return;
        }
        end.0.looked(asked);
        was_wanted = is_wanted;
        state = match state {
            _ if is_wanted => State::Awake,
            State::Awake => match awake.compare_exchange(
                awake::YES,
                awake::NO,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) | Err(awake::NO) => State::Tired,
                Err(_) => continue,
            },
            State::Tired | State::Asleep => State::Asleep,
        };
        end.0.is_awake.store(state != State::Asleep, Ordering::Release);
        let rest = (state != State::Asleep).then_some(REST);
        match bell.rest(&end.0.call, rest) {
            Ok(rung) => has_rung = rung,
            Err(error) => {
                tracing::error!("waiting for samples failed: {error}");
                return;
            }
        }
    }
}

/// Whether something urgent was submitted, or the ring fills; the reader is awake then.
fn is_wanted(word: &AtomicU32) -> bool {
    let is_wanted = matches!(word.load(Ordering::Acquire), awake::WANTED | awake::HURRIED);
    if is_wanted {
        word.store(awake::YES, Ordering::Release);
        // Not before that is seen are samples looked for.
        fence(Ordering::SeqCst);
    }
    is_wanted
}

/// What rings when the reader is woken; not for what is in the ring without that.
struct Bell(OwnedFd);

impl Bell {
    fn of(ring: BorrowedFd<'_>, call: BorrowedFd<'_>) -> io::Result<Self> {
        let bell = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (wakings, level) =
            (epoll::EventFlags::IN | epoll::EventFlags::ET, epoll::EventFlags::IN);
        epoll::add(&bell, ring, epoll::EventData::new_u64(0), wakings)?;
        epoll::add(&bell, call, epoll::EventData::new_u64(1), level)?;
        Ok(Self(bell))
    }

    /// Until it rings, or the time is over, or a signal came; not sooner than after [`BUSY`] where
    /// there is a time, but for a call. Whether it rang.
    fn rest(&self, call: &OwnedFd, timeout: Option<Duration>) -> rustix::io::Result<bool> {
        let began = Instant::now();
        let mut rung = Vec::with_capacity(2);
        let limit = timeout.and_then(|it| Timespec::try_from(it).ok());
        let has_rung = match epoll::wait(&self.0, spare_capacity(&mut rung), limit.as_ref()) {
            Ok(count) => count > 0,
            Err(rustix::io::Errno::INTR) => false,
            Err(error) => return Err(error),
        };
        let left = BUSY.saturating_sub(began.elapsed());
        if timeout.is_some() && !left.is_zero() {
            let limit = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(call, PollFlags::IN)], limit.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        // Answered by what comes now. Where there was none, there is nothing to read.
        let _ = rustix::io::read(call, &mut [0; size_of::<u64>()]);
        Ok(has_rung)
    }
}

impl Between {
    /// Copies a chunk of what the ring has, once there is room for it; `None`: nobody wants it.
    /// `wakes`: the pipeline, if there was something.
    fn copy_into_room(&self, wakes: bool) -> Option<usize> {
        let full = |it: &mut Handover| it.waiting.is_full() && !it.ended;
        let room = self.changed.wait_while(self.lock(), full);
        let is_ended = room.unwrap_or_else(PoisonError::into_inner).ended;
        if is_ended {
            return None;
        }
        let copied = self.copy();
        // So much of what is not urgent is not left to its next sweep either.
        if copied > 0 && (wakes || copied == COPIED_MAX) {
            self.changed.notify_one();
        }
        Some(copied)
    }

    fn copy(&self) -> usize {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = &mut self.lock().waiting;
        let mut copied = 0;
        while copied < COPIED_MAX
            && let Some(sample) = ring.next()
        {
            waiting.push(&sample);
            copied += 1;
        }
        // Also past what was reserved and thrown away.
        waiting.ends_at(self.positions.read());
        copied
    }
}
