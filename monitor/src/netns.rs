//! A network namespace of its own for a thread, with its loopback up. It joins nobody else's, and configures
//! no network but the one that it made.

use std::{
    fs::File,
    io,
    mem::MaybeUninit,
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::mpsc,
    thread,
};

use rustix::thread::{UnshareFlags, unshare_unsafe};
use thiserror::Error;

/// `lo` is there in each network namespace.
pub const LOOPBACK: &str = "lo";
/// The network namespace of the thread that opens it (proc(5)).
const OWN: &str = "/proc/thread-self/ns/net";

/// Why there is none.
#[derive(Debug, Error)]
pub enum NetnsError {
    #[error("no network namespace of its own: {0}")]
    Namespace(#[source] io::Error),
    #[error("its loopback can't be set up: {0}")]
    Loopback(#[source] io::Error),
    #[error("its thread can't be started: {0}")]
    Thread(#[source] io::Error),
}

/// From here on this thread is where nobody else is; and so is what it starts.
pub fn leave() -> Result<(), NetnsError> {
    // SAFETY: no descriptor of this process depends on which namespace this thread is in.
    let moved = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
    moved.map_err(|error| NetnsError::Namespace(error.into()))?;
    bring_up_loopback().map_err(NetnsError::Loopback)
}

/// `ioctl(SIOCSIFFLAGS)` (netdevice(7)).
fn bring_up_loopback() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: a structure of integers and bytes, of which zeroes are a value.
    let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
    for (to, from) in request.ifr_name.iter_mut().zip(LOOPBACK.as_bytes()) {
        *to = (*from).cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: an open socket, and a request of the kind that the call takes.
    let failed = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

type Job = Box<dyn FnOnce() + Send>;

/// A thread that lives in a network namespace of its own, and does there what it is told. The namespace ends
/// with it, and with whatever it started.
#[derive(Debug)]
pub struct Inhabitant {
    jobs: mpsc::Sender<Job>,
    place: File,
}

impl Inhabitant {
    pub fn new(name: &str) -> Result<Self, NetnsError> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (told, is_there) = mpsc::channel();
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let place = leave().and_then(|()| File::open(OWN).map_err(NetnsError::Namespace));
            let stays = place.is_ok();
            if told.send(place).is_ok() && stays {
                for job in todo {
                    job();
                }
            }
        });
        spawned.map_err(NetnsError::Thread)?;
        let ended = |_| NetnsError::Thread(io::ErrorKind::BrokenPipe.into());
        let place = is_there.recv().map_err(ended)??;
        Ok(Self { jobs, place })
    }

    /// Waits for what it comes to; nothing where it ended in a panic.
    pub fn within<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (told, done) = mpsc::channel();
        // Nobody waits any more where this fails.
        let job: Job = Box::new(move || drop(told.send(job())));
        self.jobs.send(job).ok()?;
        done.recv().ok()
    }

    /// Its namespace, to move an interface to.
    pub fn place(&self) -> &File {
        &self.place
    }
}
