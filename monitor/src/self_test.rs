//! Sends a packet of the daemon's own each minute, in a network namespace that nobody else is in, and says whether
//! it was seen: that the ledger is empty is then no blindness. It sends nothing to anybody, and records nothing.

use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use thiserror::Error;

use crate::{clock, netns, sandbox};

/// A packet that is not seen after so long is taken for unseen, or half of what is between two of them.
const PATIENCE_LONGEST: Duration = Duration::from_secs(30);

/// Why no test can be made.
#[derive(Debug, Error)]
pub enum SelfTestError {
    #[error(transparent)]
    Netns(#[from] netns::NetnsError),
    #[error("it can't give up its rights: {0}")]
    Sandbox(#[from] sandbox::SandboxError),
    #[error("its thread can't be started: {0}")]
    Thread(#[source] io::Error),
}

/// What is to be told, once it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The last packet that was seen was sent then, by the boot clock; the start if there is none.
    Failed { since_ns: u64 },
    /// It is seen again.
    Passed,
}

/// How it stands, for whoever asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub passed: u64,
    pub failed: u64,
    /// When the last packet that was seen was sent, by the boot clock.
    pub last_passed_ns: Option<u64>,
    pub is_failing: bool,
}

/// What was sent and what was seen of it.
#[derive(Debug)]
struct Trials {
    patience_ns: u64,
    began_ns: u64,
    /// Cookie of the socket, and when it sent.
    pending: Option<(u64, u64)>,
    standing: Standing,
    /// Not told yet.
    change: Option<Change>,
}

impl Trials {
    fn new(patience: Duration, began_ns: u64) -> Self {
        Self {
            patience_ns: patience.as_nanos() as u64,
            began_ns,
            pending: None,
            standing: Standing::default(),
            change: None,
        }
    }

    fn send(&mut self, cookie: u64, now_ns: u64) {
        // One that is still waited for stays so.
        self.pending.get_or_insert((cookie, now_ns));
    }

    fn see(&mut self, cookie: u64) {
        let Some((sent, at_ns)) = self.pending else { return };
        if sent != cookie {
            return;
        }
        self.pending = None;
        self.standing.passed += 1;
        self.standing.last_passed_ns = Some(at_ns);
        if std::mem::take(&mut self.standing.is_failing) {
            self.change = Some(Change::Passed);
        }
    }

    /// It could not even be sent.
    fn refuse(&mut self) {
        self.pending = None;
        self.standing.failed += 1;
        if !std::mem::replace(&mut self.standing.is_failing, true) {
            let since_ns = self.standing.last_passed_ns.unwrap_or(self.began_ns);
            self.change = Some(Change::Failed { since_ns });
        }
    }

    fn wait_until(&mut self, now_ns: u64) -> Option<Change> {
        if self.pending.is_some_and(|(_, at_ns)| now_ns.saturating_sub(at_ns) > self.patience_ns) {
            self.refuse();
        }
        self.change.take()
    }
}

#[derive(Debug)]
struct Shared {
    /// Cookies of the newest socket and the one before; 0: none.
    cookies: [AtomicU64; 2],
    trials: Mutex<Trials>,
}

impl Shared {
    fn trials(&self) -> MutexGuard<'_, Trials> {
        self.trials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handle of who looks for the packets; cheap to clone.
#[derive(Clone, Debug)]
pub struct SelfTest(Arc<Shared>);

impl SelfTest {
    /// Starts the thread that sends, which keeps no rights. Call it before rights are given up.
    pub fn start(period: Duration) -> Result<Self, SelfTestError> {
        let patience = (period / 2).min(PATIENCE_LONGEST);
        let shared = Arc::new(Shared {
            cookies: [AtomicU64::new(0), AtomicU64::new(0)],
            trials: Mutex::new(Trials::new(patience, clock::boot_ns())),
        });
        let (told, is_set_up) = mpsc::channel();
        let tester = Arc::clone(&shared);
        let name = "self-test".to_owned();
        let spawned = thread::Builder::new().name(name).stack_size(64 << 10).spawn(move || {
            let outcome = set_up();
            let goes_on = outcome.is_ok();
            if told.send(outcome).is_ok() && goes_on {
                send_each(&tester, period);
            }
        });
        spawned.map_err(SelfTestError::Thread)?;
        let ended = || SelfTestError::Thread(io::ErrorKind::BrokenPipe.into());
        is_set_up.recv().map_err(|_| ended())??;
        Ok(Self(shared))
    }

    /// Whether this socket is one of the test's. Nobody can choose a cookie.
    pub fn is_its(&self, cookie: u64) -> bool {
        cookie != 0 && self.0.cookies.iter().any(|it| it.load(Ordering::Relaxed) == cookie)
    }

    /// Its packet was seen to leave.
    pub fn see(&self, cookie: u64) {
        self.0.trials().see(cookie);
    }

    /// What changed by now.
    pub fn wait_until(&self, now_ns: u64) -> Option<Change> {
        self.0.trials().wait_until(now_ns)
    }

    pub fn standing(&self) -> Standing {
        self.0.trials().standing
    }
}

/// From here on this thread is where nobody else is, with no rights.
fn set_up() -> Result<(), SelfTestError> {
    netns::leave()?;
    sandbox::confine_to(&[])?;
    Ok(())
}

fn send_each(shared: &Shared, period: Duration) {
    // Its end is told as that of any other, when the next takes its place.
    let mut _last = None;
    loop {
        match send(shared) {
            Ok(socket) => _last = Some(socket),
            Err(error) => {
                tracing::warn!("the self-test's packet can't be sent: {error}");
                shared.trials().refuse();
            }
        }
        thread::sleep(period);
    }
}

/// To itself, by loopback: a flow of its own, since the socket is new.
fn send(shared: &Shared) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let cookie = rustix::net::sockopt::socket_cookie(&socket)?;
    let [newest, before] = &shared.cookies;
    before.store(newest.swap(cookie, Ordering::Relaxed), Ordering::Relaxed);
    shared.trials().send(cookie, clock::boot_ns());
    socket.send_to(b"geofenced self-test", socket.local_addr()?)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn trials() -> Trials {
        Trials::new(Duration::from_secs(30), 5 * SECOND)
    }

    #[test]
    fn what_is_seen_passes_and_nothing_is_told_of_it() {
        let mut trials = trials();
        trials.send(7, 10 * SECOND);
        trials.see(7);
        assert_eq!(trials.wait_until(100 * SECOND), None);
        let passed =
            Standing { passed: 1, last_passed_ns: Some(10 * SECOND), ..Standing::default() };
        assert_eq!(trials.standing, passed);
    }

    #[test]
    fn what_nobody_saw_is_told_once_since_the_last_that_was_seen() {
        let mut trials = trials();
        trials.send(7, 10 * SECOND);
        trials.see(7);
        trials.send(8, 70 * SECOND);
        trials.see(9);
        assert_eq!(trials.wait_until(100 * SECOND), None, "it may still come");
        let failed = Change::Failed { since_ns: 10 * SECOND };
        assert_eq!(trials.wait_until(101 * SECOND), Some(failed));
        trials.send(10, 130 * SECOND);
        assert_eq!(trials.wait_until(161 * SECOND), None, "it is told already");
        assert_eq!((trials.standing.failed, trials.standing.is_failing), (2, true));
        trials.send(11, 190 * SECOND);
        trials.see(11);
        assert_eq!(trials.wait_until(191 * SECOND), Some(Change::Passed));
        assert!(!trials.standing.is_failing);
    }

    #[test]
    fn what_is_unseen_or_refused_from_the_start_on_is_told_since_the_start() {
        let mut unseen = trials();
        unseen.send(7, 6 * SECOND);
        let failed = Some(Change::Failed { since_ns: 5 * SECOND });
        assert_eq!(unseen.wait_until(40 * SECOND), failed);
        let mut refused = trials();
        refused.refuse();
        assert_eq!(refused.wait_until(6 * SECOND), failed);
    }

    #[test]
    fn one_that_comes_late_does_not_hide_that_it_was_waited_for() {
        let mut trials = trials();
        trials.send(7, 10 * SECOND);
        trials.send(8, 35 * SECOND);
        assert!(
            trials.wait_until(41 * SECOND).is_some(),
            "the first is not forgotten for the second"
        );
    }
}
