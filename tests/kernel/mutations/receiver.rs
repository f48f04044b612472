//! What arrives at a link, frame by frame, and of what kind it must be told: by a packet socket of the
//! receiver's and a parser of its own. It knows nothing of what was sent.

use std::{
    collections::BTreeMap,
    ffi::CString,
    io, mem,
    net::{IpAddr, Ipv6Addr},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use crate::{
    is_approved, is_near,
    made::MARK,
    oracle::{self, Verdict},
};

/// What is told as one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Ip { to: IpAddr, is_malformed: bool },
    Frame { ethertype: u16 },
}

/// Of two addresses the less is the worse: far, approved, near.
fn rank(address: [u8; 16]) -> u8 {
    match Ipv6Addr::from(address).to_canonical() {
        to if is_near(to) => 2,
        to => u8::from(is_approved(to)),
    }
}

/// Packets and bytes.
pub(crate) type Tally = BTreeMap<Kind, (u64, u64)>;

/// `tpacket_auxdata.tp_status`: a VLAN tag was taken off, and its type is told.
const VLAN_VALID: u32 = 1 << 4;
/// Longest frame of the cable, and the tag.
const FRAME_MAX: usize = 2048;
const BUFFER_BYTES: i32 = 128 << 20;
const OUTGOING: u8 = 4;

pub(crate) struct Receiver(OwnedFd);

/// The error of the last call if it returned less than nothing.
fn checked<T: Default + PartialOrd>(result: T) -> io::Result<T> {
    if result < T::default() { Err(io::Error::last_os_error()) } else { Ok(result) }
}

impl Receiver {
    /// At a device of the namespace that the thread is in.
    pub(crate) fn at(device: &str) -> io::Result<Self> {
        let all = (libc::ETH_P_ALL as u16).to_be();
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: socket(2) takes no pointers.
        let fd = checked(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the kernel just gave us this descriptor, nobody else has it.
        let receiver = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        receiver.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, BUFFER_BYTES)?;
        receiver.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
        let name = CString::new(device)?;
        // SAFETY: all zeros is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = all;
        // SAFETY: the name is a C string.
        address.sll_ifindex = unsafe { libc::if_nametoindex(name.as_ptr()) }.cast_signed();
        let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: pointer and length describe one live address.
        checked(unsafe { libc::bind(receiver.0.as_raw_fd(), (&raw const address).cast(), size) })?;
        Ok(receiver)
    }

    fn set(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        let (fd, size) = (self.0.as_raw_fd(), size_of::<i32>() as libc::socklen_t);
        let value = (&raw const value).cast();
        // SAFETY: pointer and length describe one live integer.
        checked(unsafe { libc::setsockopt(fd, level, name, value, size) }).map(|_| ())
    }

    /// Frames that the kernel had no room for.
    pub(crate) fn dropped(&self) -> u32 {
        let mut stats = [0_u32; 2];
        let mut size = size_of_val(&stats) as libc::socklen_t;
        let (fd, to) = (self.0.as_raw_fd(), stats.as_mut_ptr().cast());
        // SAFETY: pointer and length describe the two integers of tpacket_stats.
        let result = unsafe {
            libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, to, &raw mut size)
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        stats[1]
    }

    /// Takes in what is there.
    pub(crate) fn drain(&self, into: &mut Tally) -> io::Result<()> {
        while let Some(frame) = self.next()? {
            if let Some((kind, bytes)) = kind(&frame) {
                let count = into.entry(kind).or_default();
                count.0 += 1;
                count.1 += bytes;
            }
        }
        Ok(())
    }

    /// The next frame, with its outermost tag where it was; empty if it went the other way.
    fn next(&self) -> io::Result<Option<Vec<u8>>> {
        let mut frame = vec![0_u8; FRAME_MAX];
        // SAFETY: all zeros is a valid sockaddr_ll.
        let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
        // SAFETY: all zeros is a valid, empty msghdr.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        let mut part = libc::iovec { iov_base: frame.as_mut_ptr().cast(), iov_len: frame.len() };
        let mut control = [0_u64; 8];
        message.msg_name = (&raw mut from).cast();
        message.msg_namelen = size_of_val(&from) as libc::socklen_t;
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        // SAFETY: the message points to values that live through the call.
        let read = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut message, 0) };
        match checked(read) {
            Ok(length) => frame.truncate(length.unsigned_abs()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        if from.sll_pkttype == OUTGOING {
            return Ok(Some(Vec::new()));
        }
        // SAFETY: the kernel filled the control buffer as msghdr says.
        let auxiliary = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
        if !auxiliary.is_null() {
            // SAFETY: a control message of the buffer.
            let data = unsafe { libc::CMSG_DATA(auxiliary) };
            // SAFETY: the only kind of message that was asked for, whole.
            let data = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
            if data.tp_status & VLAN_VALID != 0 {
                let tag = [data.tp_vlan_tpid.to_be_bytes(), data.tp_vlan_tci.to_be_bytes()];
                frame.splice(12..12, tag.concat());
            }
        }
        Ok(Some(frame))
    }
}

/// Of what kind a frame must be told, and with how many bytes; `None`: it is of no way that is compared.
fn kind(frame: &[u8]) -> Option<(Kind, u64)> {
    let is_marked = frame.get(6..12)? == MARK;
    let (at, ethertype, is_ip) = open(frame);
    let rest = frame.get(at..).unwrap_or_default();
    if is_ip {
        let is_v6 = ethertype == 0x86dd;
        let is_belied = rest
            .first()
            .is_none_or(|first| (first >> 4 == 6) != is_v6 || !matches!(first >> 4, 4 | 6));
        if !(is_belied && is_marked)
            && let Verdict::Flow(flow) = oracle::judge(rank, rest, is_v6, oracle::Cut::default())
        {
            let to = Ipv6Addr::from(flow.destination).to_canonical();
            return Some((Kind::Ip { to, is_malformed: flow.is_malformed }, flow.bytes));
        }
    }
    // The kernel's own frames are neighbours looked for.
    is_marked.then_some((Kind::Frame { ethertype }, rest.len() as u64))
}

/// Where IP begins in a frame, or what can't be opened; the ethertype of that, and whether it is IP.
fn open(frame: &[u8]) -> (usize, u16, bool) {
    let word = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    let byte = |at: usize| frame.get(at).copied();
    let mut at = 14;
    let Some(mut kind) = word(12) else { return (14, 0, false) };
    for _ in 0..7 {
        let next = match kind {
            0x0800 | 0x86dd => return (at, kind, true),
            0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => word(at + 2).map(|next| (4, next)),
            0x8864 => match word(at + 6) {
                Some(0x0021) => Some((8, 0x0800)),
                Some(0x0057) => Some((8, 0x86dd)),
                Some(0x0281) => Some((8, 0x8847)),
                _ => None,
            },
            // Behind the last label, what the first four bits say.
            0x8847 | 0x8848 => match (byte(at + 2), byte(at + 4)) {
                (Some(label), Some(_)) if label & 1 == 0 => Some((4, kind)),
                (Some(_), Some(first)) if first >> 4 == 4 => Some((4, 0x0800)),
                (Some(_), Some(first)) if first >> 4 == 6 => Some((4, 0x86dd)),
                _ => None,
            },
            0..=1500 => match (frame.get(at..at + 5), byte(at + 5), word(at + 6)) {
                (Some([0xaa, 0xaa, 3, 0, 0]), Some(0 | 0xf8), Some(next)) => Some((8, next)),
                _ => return (at, 4, false),
            },
            _ => None,
        };
        let Some((bytes, inner)) = next else { return (at, kind, false) };
        (at, kind) = (at + bytes, inner);
    }
    (at, kind, false)
}
