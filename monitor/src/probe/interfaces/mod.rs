//! Follows the interfaces of this network namespace as they come, go, move and change their names,
//! and keeps the tc programs attached to them. A thread of its own, since attaching takes a
//! privilege that the rest of the daemon gives up. It hears from the kernel alone.

mod attached;
mod roles;
mod rtnetlink;

use std::{
    io, mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use aya::Ebpf;
use capctl::Cap;
use rustc_hash::FxHashMap;
use tokio::{
    runtime,
    sync::oneshot,
    time::{MissedTickBehavior, interval},
};

use self::{
    attached::{Attached, Extent},
    rtnetlink::Rtnetlink,
};
use super::Bypassed;
use crate::sandbox;

/// What the thread needs: to attach, and to write its table.
const NEEDED: [Cap; 2] = [Cap::BPF, Cap::NET_ADMIN];
/// How often the bytes of each uplink are compared with the kernel's own count.
const COMPARE: Duration = Duration::from_secs(1);

/// Names of interfaces, by index.
pub type Names = Arc<FxHashMap<u32, Arc<str>>>;

/// What the thread tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    names: Mutex<Names>,
    is_new: AtomicBool,
    unattributed_bytes: AtomicU64,
    bypassed: Mutex<Vec<Bypassed>>,
}

impl Told {
    fn put(&self, names: Names) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        self.is_new.store(true, Ordering::Release);
    }

    /// The names, if they changed since they were last asked for.
    pub(super) fn new_names(&self) -> Option<Names> {
        let is_new = self.is_new.swap(false, Ordering::Acquire);
        is_new.then(|| Arc::clone(&self.names.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Bytes of sockets that left by an uplink and that no flow accounts for, so far.
    pub(super) fn unattributed_bytes(&self) -> u64 {
        self.unattributed_bytes.load(Ordering::Relaxed)
    }

    /// What left by each uplink around its program, so far.
    pub(super) fn bypassed(&self) -> Vec<Bypassed> {
        self.bypassed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a start waits for: each interface costs a grace period of RCU, in which others may work.
#[derive(Debug, Default)]
pub struct Attaching(Option<mpsc::Receiver<()>>);

impl Attaching {
    /// Returns once the interfaces that were up at first are attached to.
    pub fn wait(self) {
        // An end of the thread ends the wait, too.
        let _ = self.0.map(|is_ready| is_ready.recv());
    }
}

/// The running thread. It holds every program and link; dropping this detaches them all.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) told: Arc<Told>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Returns before anything is attached.
    ///
    /// `is_partial`: only a part of this host's sockets is watched, so that a packet without a
    /// known flow says nothing.
    pub(super) fn start(
        ebpf: Ebpf,
        listed: Option<Vec<String>>,
        is_partial: bool,
    ) -> io::Result<(Self, Attaching)> {
        let told = Arc::<Told>::default();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::sync_channel(1);
        let attached = Attached::new(ebpf, listed, is_partial);
        let thread = thread::Builder::new().name("interfaces".into()).spawn({
            let told = Arc::clone(&told);
            move || {
                let followed = sandbox::confine_to(&NEEDED)
                    .map_err(io::Error::other)
                    .and_then(|_| runtime::Builder::new_current_thread().enable_all().build())
                    .and_then(|runtime| {
                        runtime.block_on(follow(attached, &told, stopped, &ready))
                    });
                if let Err(error) = followed {
                    tracing::error!(
                        "interfaces are not followed ({error}); not seen: what is forwarded or injected"
                    );
                    let _ = ready.try_send(());
                }
            }
        })?;
        let follower = Self { told, stop: Some(stop), thread: Some(thread) };
        Ok((follower, Attaching(Some(is_ready))))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn follow(
    mut attached: Attached,
    told: &Told,
    mut stopped: oneshot::Receiver<()>,
    ready: &mpsc::SyncSender<()>,
) -> io::Result<()> {
    let mut kernel = Rtnetlink::open()?;
    let mut names = Names::default();
    let mut compare = interval(COMPARE);
    compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Attaching to one takes up to 20 ms (a grace period of RCU): what is down can wait for that.
    let mut extent = Extent::Up;
    loop {
        match look(&kernel, &mut attached, extent).await {
            Ok(now) if now != *names => {
                names = Arc::new(now);
                told.put(Arc::clone(&names));
            }
            Ok(_) => {}
            Err(error) => tracing::warn!("can't list interfaces: {error}; tried again in a second"),
        }
        told.unattributed_bytes.store(attached.unattributed_bytes(), Ordering::Relaxed);
        *told.bypassed.lock().unwrap_or_else(PoisonError::into_inner) = attached.bypassed();
        let _ = ready.try_send(());
        if mem::replace(&mut extent, Extent::All) == Extent::Up {
            continue;
        }
        tokio::select! {
            _ = &mut stopped => return Ok(()),
            _ = compare.tick() => {}
            is_open = kernel.changed() => if !is_open {
                return Err(io::Error::other("the kernel's word of changes broke off"));
            },
        }
    }
}

async fn look(
    kernel: &Rtnetlink,
    attached: &mut Attached,
    extent: Extent,
) -> Result<FxHashMap<u32, Arc<str>>, ::rtnetlink::Error> {
    attached.mark();
    let links = kernel.links().await?;
    let routed = kernel.routed().await?;
    attached.update(&links, &routed, extent);
    Ok(links.into_iter().map(|mut link| (link.index, mem::take(&mut link.name).into())).collect())
}
