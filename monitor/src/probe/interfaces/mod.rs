//! Follows the interfaces of this network namespace as they come, go, move and change their names,
//! and keeps the tc programs attached to them. A thread of its own, since attaching takes a
//! privilege that the rest of the daemon gives up. It hears from the kernel alone.

mod attached;
mod compare;
mod held;
mod listing;
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
use tokio::{runtime, sync::oneshot};

use self::{
    attached::{Attached, Extent},
    held::{Held, Looked},
    listing::Listing,
};
use super::{Bypassed, ProbeChange, attach::Guarded, link::Link};
use crate::{clock, sandbox, ticks::Ticks};

/// What the thread needs: to attach, and to write its table.
const NEEDED: [Cap; 2] = [Cap::BPF, Cap::NET_ADMIN];
/// How often the bytes of each interface are compared with the kernel's own count, and every program
/// is looked after.
const COMPARE: Duration = Duration::from_secs(1);
/// Changes that nobody fetched yet; more of them are counted alone.
const CHANGES_MAX: usize = 4096;

/// Names of interfaces, by index.
pub type InterfaceNames = Arc<FxHashMap<u32, Arc<str>>>;

/// Since when the program at an interface has seen whatever leaves by it, by index: nanoseconds of
/// `CLOCK_BOOTTIME`.
pub type SeenSince = Arc<FxHashMap<u32, u64>>;

/// What the thread tells.
#[derive(Debug, Default)]
pub(super) struct Told {
    names: Mutex<InterfaceNames>,
    is_new: AtomicBool,
    seen: Mutex<SeenSince>,
    is_seen_new: AtomicBool,
    unattributed_bytes: AtomicU64,
    bypassed: Mutex<Vec<Bypassed>>,
    changes: Mutex<(Vec<ProbeChange>, u64)>,
    unknown: Mutex<Vec<String>>,
}

impl Told {
    fn put(&self, names: InterfaceNames) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
        self.is_new.store(true, Ordering::Release);
    }

    fn put_seen(&self, seen: FxHashMap<u32, u64>) {
        let mut kept = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if **kept != seen {
            *kept = Arc::new(seen);
            self.is_seen_new.store(true, Ordering::Release);
        }
    }

    /// Since when what leaves by each is seen, if that changed since it was last asked for.
    pub(super) fn new_seen(&self) -> Option<SeenSince> {
        let is_new = self.is_seen_new.swap(false, Ordering::Acquire);
        is_new.then(|| Arc::clone(&self.seen.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The names, if they changed since they were last asked for.
    pub(super) fn new_names(&self) -> Option<InterfaceNames> {
        let is_new = self.is_new.swap(false, Ordering::Acquire);
        is_new.then(|| Arc::clone(&self.names.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Bytes of sockets that left by an interface and that no flow accounts for, so far.
    pub(super) fn unattributed_bytes(&self) -> u64 {
        self.unattributed_bytes.load(Ordering::Relaxed)
    }

    fn put_changes(&self, mut changes: Vec<ProbeChange>) {
        let mut kept = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let room = CHANGES_MAX - kept.0.len();
        kept.1 += changes.len().saturating_sub(room) as u64;
        changes.truncate(room);
        kept.0.append(&mut changes);
    }

    /// What befell programs since this was last asked, and how much more was not kept.
    pub(super) fn take_changes(&self) -> (Vec<ProbeChange>, u64) {
        mem::take(&mut self.changes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Names in the configuration by which no interface goes.
    pub(super) fn unknown(&self) -> Vec<String> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What left by each interface around its program, so far.
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
    /// Returns before anything is attached to an interface.
    ///
    /// `follows`: interfaces are followed; else only `guarded` is looked after. `is_partial`: only a
    /// part of this host's sockets is watched, so that a packet without a known flow says nothing.
    pub(super) fn start(
        ebpf: Ebpf,
        guarded: Vec<Guarded>,
        listed: Option<Vec<String>>,
        follows: bool,
        is_partial: bool,
    ) -> io::Result<(Self, Attaching)> {
        let told = Arc::<Told>::default();
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::sync_channel(1);
        let attached = Attached::new(ebpf, listed, is_partial);
        let (guarded, looked_ns) = (Guards::new(guarded), clock::boot_ns());
        let mut keeper = Keeper { attached, guarded, looked_ns };
        let thread = thread::Builder::new().name("interfaces".into()).spawn({
            let told = Arc::clone(&told);
            move || {
                let followed = sandbox::confine_to(&NEEDED)
                    .map_err(io::Error::other)
                    .and_then(|_| runtime::Builder::new_current_thread().enable_all().build())
                    .and_then(|runtime| {
                        runtime.block_on(async {
                            if follows {
                                follow(&mut keeper, &told, stopped, &ready).await
                            } else {
                                guard(&mut keeper, &told, stopped, &ready).await
                            }
                        })
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

/// What the thread holds.
struct Keeper {
    attached: Attached,
    guarded: Guards,
    /// When the last look after them began, by the boot clock.
    looked_ns: u64,
}

/// The programs of the cgroup's hooks.
struct Guards(Vec<(Guarded, Held)>);

impl Guards {
    fn new(mut guarded: Vec<Guarded>) -> Self {
        let held = |guard: &mut Guarded| guard.link.take().map(Held::new);
        let mut guards = Vec::with_capacity(guarded.len());
        for mut guard in guarded.drain(..) {
            if let Some(held) = held(&mut guard) {
                guards.push((guard, held));
            }
        }
        Self(guards)
    }

    fn look_after(&mut self, ebpf: &Ebpf, changes: &mut Vec<ProbeChange>) {
        for (guard, held) in &mut self.0 {
            let Some(fd) = ebpf.program(guard.program).and_then(|it| it.fd().ok()) else {
                continue;
            };
            let attach = || {
                use std::os::fd::AsFd as _;
                Link::at_cgroup(fd.as_fd(), guard.cgroup.as_fd(), guard.at)
            };
            // Of a cgroup's programs all run, in whatever order.
            if let Looked::Event(event) = held.look(|_| true, attach) {
                let (probe, ifindex, since_ns) = (guard.probe, None, 0);
                changes.push(ProbeChange { probe, ifindex, event, since_ns });
            }
        }
    }
}

impl Keeper {
    fn look_after(&mut self, mut changes: Vec<ProbeChange>, told: &Told) {
        let since_ns = mem::replace(&mut self.looked_ns, clock::boot_ns());
        self.attached.look_after(&mut changes);
        self.guarded.look_after(self.attached.ebpf(), &mut changes);
        for change in &mut changes {
            change.since_ns = since_ns;
        }
        told.put_seen(self.attached.seen_since());
        told.put_changes(changes);
    }
}

/// Looks after what is attached, and follows no interface.
async fn guard(
    keeper: &mut Keeper,
    told: &Told,
    mut stopped: oneshot::Receiver<()>,
    ready: &mpsc::SyncSender<()>,
) -> io::Result<()> {
    let _ = ready.try_send(());
    let ticks = Ticks::every(COMPARE)?;
    loop {
        keeper.look_after(Vec::new(), told);
        tokio::select! {
            _ = &mut stopped => return Ok(()),
            ticked = ticks.next() => ticked?,
        }
    }
}

async fn follow(
    keeper: &mut Keeper,
    told: &Told,
    mut stopped: oneshot::Receiver<()>,
    ready: &mpsc::SyncSender<()>,
) -> io::Result<()> {
    let mut listing = Listing::open()?;
    let mut names = InterfaceNames::default();
    let compare = Ticks::every(COMPARE)?;
    // Attaching to one takes up to 20 ms (a grace period of RCU): what is down can wait for that.
    let mut extent = Extent::Up;
    let mut is_news = true;
    let mut problem = None;
    loop {
        let mut changes = Vec::new();
        let attached = &mut keeper.attached;
        match look(&mut listing, attached, is_news, extent, &mut changes).await {
            Ok(Some(now)) if now != *names => {
                names = Arc::new(now);
                told.put(Arc::clone(&names));
                problem = None;
            }
            Ok(_) => problem = None,
            // Once: it would be said each second.
            Err(error) => {
                if problem.replace(error.to_string()).is_none() {
                    tracing::warn!("can't list interfaces: {error}; tried again each second");
                }
            }
        }
        keeper.look_after(changes, told);
        let attached = &keeper.attached;
        told.unattributed_bytes.store(attached.unattributed_bytes(), Ordering::Relaxed);
        *told.bypassed.lock().unwrap_or_else(PoisonError::into_inner) = attached.bypassed();
        *told.unknown.lock().unwrap_or_else(PoisonError::into_inner) = attached.unknown().to_vec();
        let _ = ready.try_send(());
        if mem::replace(&mut extent, Extent::All) == Extent::Up {
            continue;
        }
        tokio::select! {
            _ = &mut stopped => return Ok(()),
            ticked = compare.next() => {
                ticked?;
                is_news = false;
            }
            changed = listing.changed() => {
                changed?;
                is_news = true;
            }
        }
    }
}

/// The names of what is there, unless nothing changed.
async fn look(
    listing: &mut Listing,
    attached: &mut Attached,
    is_news: bool,
    extent: Extent,
    changes: &mut Vec<ProbeChange>,
) -> Result<Option<FxHashMap<u32, Arc<str>>>, LookError> {
    attached.mark();
    if !listing.look(is_news || attached.is_refused()).await? {
        attached.compare(&listing.links);
        return Ok(None);
    }
    attached.update(&listing.links, &listing.routed, extent, changes);
    attached.compare(&listing.links);
    let names = listing.links.iter().map(|link| (link.index, link.name.as_str().into()));
    Ok(Some(names.collect()))
}

/// Why the interfaces could not be listed.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error(transparent)]
    Links(#[from] io::Error),
    #[error(transparent)]
    Routes(#[from] ::rtnetlink::Error),
}

/// Of these names, the ones by which no interface of this network namespace goes now.
pub fn unknown_interfaces(listed: &[String]) -> io::Result<Vec<String>> {
    let links = rtnetlink::links()?;
    Ok(roles::unknown(&links, listed).into_iter().map(str::to_owned).collect())
}
