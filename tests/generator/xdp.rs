//! A frame through the transmit ring of an `AF_XDP` socket (kernel: `Documentation/networking/af_xdp.rst`):
//! it meets neither the queues nor any hook of a socket.

use std::{
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
    ptr, thread,
    time::Duration,
};

use crate::{
    Options, link,
    socket::{check, length},
    truth::Truth,
};

const CHUNK: usize = 2048;
const CHUNKS: usize = 2;
/// Entries of each ring; a power of two.
const ENTRIES: u32 = 4;

fn set<T>(fd: RawFd, name: i32, value: &T) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    let value = ptr::from_ref(value).cast();
    // SAFETY: pointer and length describe one live value.
    check(unsafe { libc::setsockopt(fd, libc::SOL_XDP, name, value, size) })?;
    Ok(())
}

/// Anonymous memory, or a ring of the socket.
fn map(bytes: usize, flags: i32, fd: RawFd, offset: libc::off_t) -> io::Result<*mut libc::c_void> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(ptr::null_mut(), bytes, access, flags, fd, offset) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at) }
}

fn offsets(fd: RawFd) -> io::Result<libc::xdp_mmap_offsets> {
    // SAFETY: all zeros is a valid value of these numbers.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { mem::zeroed() };
    let mut size = size_of::<libc::xdp_mmap_offsets>() as libc::socklen_t;
    let (to, size) = ((&raw mut offsets).cast(), &raw mut size);
    // SAFETY: pointer and length describe one live value.
    check(unsafe { libc::getsockopt(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, to, size) })?;
    Ok(offsets)
}

fn bind(fd: RawFd, ifindex: u32) -> io::Result<()> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: libc::XDP_COPY,
        sxdp_ifindex: ifindex,
        sxdp_queue_id: 0,
        sxdp_shared_umem_fd: 0,
    };
    let size = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: pointer and length describe one live address.
    check(unsafe { libc::bind(fd, (&raw const address).cast(), size) })?;
    Ok(())
}

pub(crate) fn transmit(options: &Options) -> io::Result<Truth> {
    let (frame, truth) = link::frame(options)?;
    // SAFETY: socket(2) takes no pointers.
    let fd = check(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel just gave us this descriptor, nobody else has it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let fd = socket.as_raw_fd();

    let bytes = CHUNK * CHUNKS;
    let memory = map(bytes, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)?;
    // SAFETY: all zeros is a valid value of these numbers.
    let mut region: libc::xdp_umem_reg = unsafe { mem::zeroed() };
    (region.addr, region.len) = (memory as u64, bytes as u64);
    region.chunk_size = CHUNK as u32;
    set(fd, libc::XDP_UMEM_REG, &region)?;
    for ring in [libc::XDP_UMEM_FILL_RING, libc::XDP_UMEM_COMPLETION_RING, libc::XDP_TX_RING] {
        set(fd, ring, &ENTRIES)?;
    }
    let at = offsets(fd)?.tx;
    let ring_bytes = at.desc as usize + ENTRIES as usize * size_of::<libc::xdp_desc>();
    let shared = libc::MAP_SHARED | libc::MAP_POPULATE;
    let ring = map(ring_bytes, shared, fd, libc::XDP_PGOFF_TX_RING)?;
    bind(fd, link::interface(options)?)?;

    let descriptor = libc::xdp_desc { addr: 0, len: frame.len() as u32, options: 0 };
    // SAFETY: the frame fits into the first chunk, and nobody else writes there.
    unsafe { ptr::copy_nonoverlapping(frame.as_ptr(), memory.cast(), frame.len()) };
    let entry = ring.wrapping_byte_add(at.desc as usize).cast::<libc::xdp_desc>();
    // SAFETY: the ring's first entry lies where the kernel said, aligned as it is.
    unsafe { entry.write_volatile(descriptor) };
    let producer = ring.wrapping_byte_add(at.producer as usize).cast::<u32>();
    // SAFETY: the ring's producer lies where the kernel said, aligned as it is.
    unsafe { producer.write_volatile(1) };
    // SAFETY: nothing is pointed to; the call only wakes the kernel up.
    length(unsafe { libc::sendto(fd, ptr::null(), 0, libc::MSG_DONTWAIT, ptr::null(), 0) })?;
    // Whoever looks for the socket later must find it.
    thread::sleep(Duration::from_millis(options.linger));
    Ok(truth)
}
