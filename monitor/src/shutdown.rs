//! Shutdown as a value that is handed to whoever must end, the signals that ask for it, and what the
//! service manager is told.

use std::{io, sync::Arc};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Asks everyone who holds the matching [`Shutdown`] to end.
#[derive(Clone, Debug)]
pub struct Trigger {
    token: CancellationToken,
    /// Nobody is left to ask once the last of these is gone: that counts as asked.
    _last: Arc<DropGuard>,
}

/// Learns that it is time to end. Clones cheaply.
#[derive(Clone, Debug)]
pub struct Shutdown(CancellationToken);

pub fn channel() -> (Trigger, Shutdown) {
    let token = CancellationToken::new();
    let last = Arc::new(token.clone().drop_guard());
    (Trigger { token: token.clone(), _last: last }, Shutdown(token))
}

impl Trigger {
    /// Again is harmless.
    pub fn request(&self) {
        self.token.cancel();
    }
}

impl Shutdown {
    /// For the synchronous threads: looked at between two pieces of work.
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Completes once it is time to end.
    pub async fn requested(self) {
        self.0.cancelled_owned().await;
    }
}

/// Waits for signals until one asks for the end: SIGTERM and SIGINT trigger it, SIGHUP calls
/// `reload`. Returns when shutdown is requested, by whomever.
pub async fn watch_signals(trigger: &Trigger, mut reload: impl FnMut()) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => trigger.request(),
            _ = interrupt.recv() => trigger.request(),
            _ = hangup.recv() => reload(),
            () = trigger.token.cancelled() => return Ok(()),
        }
    }
}

/// What the service manager is told. Without one (`NOTIFY_SOCKET` unset) nothing happens.
pub mod notify {
    use sd_notify::NotifyState;

    /// For each step of the start, as for the first of them by the unit's `TimeoutStartSec=`.
    const STEP_USEC: u32 = 30_000_000;

    fn send(states: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(states) {
            tracing::warn!(%error, "the service manager can't be told");
        }
    }

    /// Started, or done with a reload; `status` is the line of `systemctl status`.
    pub fn ready(status: &str) {
        send(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// One more step of the start is done. A slow board that gets on is given more time than the unit does: killed
    /// in the middle, and begun anew as often, it would never watch. What hangs is ended all the same.
    pub fn starting(next: &str) {
        send(&[NotifyState::Status(next), NotifyState::ExtendTimeoutUsec(STEP_USEC)]);
    }

    /// Reading the configuration again; [`ready`] ends it.
    pub fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => send(&[NotifyState::Reloading, now]),
            Err(error) => tracing::warn!(%error, "the clock can't be read"),
        }
    }

    pub fn stopping() {
        send(&[NotifyState::Stopping]);
    }

    pub fn alive() {
        send(&[NotifyState::Watchdog]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everyone_who_holds_it_learns_of_the_shutdown() {
        let (trigger, shutdown) = channel();
        let waiting = tokio::spawn(shutdown.clone().requested());
        assert!(!shutdown.is_requested());
        trigger.request();
        waiting.await.unwrap();
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn a_lost_trigger_counts_as_asked() {
        let (trigger, shutdown) = channel();
        drop(trigger);
        assert!(shutdown.is_requested());
        shutdown.requested().await;
    }

    #[tokio::test]
    async fn sighup_reloads_and_sigterm_ends() {
        let (trigger, shutdown) = channel();
        let (reloads, mut reloaded) = tokio::sync::mpsc::unbounded_channel();
        let pid = rustix::process::getpid();
        // Both handlers must stand before a signal is sent, else the default action ends the test.
        let _handlers =
            (signal(SignalKind::hangup()).unwrap(), signal(SignalKind::terminate()).unwrap());
        let watcher =
            tokio::spawn(
                async move { watch_signals(&trigger, || reloads.send(()).unwrap()).await },
            );
        tokio::task::yield_now().await;
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
        reloaded.recv().await.unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        watcher.await.unwrap().unwrap();
        assert!(shutdown.is_requested());
    }
}
