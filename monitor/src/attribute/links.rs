//! Sockets below IP (`AF_PACKET`, `AF_XDP`) of this network namespace, and who holds them: no hook
//! of a socket is called for them, so they are looked for in `/proc`. Judges nothing.

use std::{path::Path, sync::Arc, time::Instant};

use rustc_hash::FxHashMap;

use super::{
    chooser::Chooser,
    older::UNHELD_KEPT_NS,
    place::Place,
    procfs::{Procfs, is_of},
    sockets::Ration,
};
use crate::event::Process;

/// Sockets remembered at once; what lies beyond has no holder that could be told.
const SOCKETS_MAX: usize = 1024;
/// How long a socket that is gone still counts: bytes are compared after they left.
const GONE_KEPT_NS: u64 = 3_000_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LinkFamily {
    Packet,
    Xdp,
}

/// One socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSocket {
    pub inode: u64,
    pub family: LinkFamily,
    /// That it is bound to; 0: none, or not known.
    pub ifindex: u32,
    /// `None`: nobody was found to hold it yet, or several who are not alike.
    pub process: Option<Arc<Process>>,
    /// Where it was found.
    place: Option<Place>,
    seen_ns: u64,
    /// When its holder was last searched for.
    asked_ns: Option<u64>,
}

impl LinkSocket {
    fn wants_holder(&self, now_ns: u64) -> bool {
        let is_due = |asked_ns: u64| asked_ns.saturating_add(UNHELD_KEPT_NS) < now_ns;
        self.process.is_none() && self.asked_ns.is_none_or(is_due)
    }

    /// Whether another than this is named for it.
    fn place_differs(&self, place: Place) -> bool {
        self.process.as_ref().is_some_and(|process| process.pid != place.tgid)
    }

    /// Whether it can send by this interface.
    pub fn reaches(&self, ifindex: u32) -> bool {
        self.ifindex == 0 || self.ifindex == ifindex
    }
}

#[derive(Debug, Default)]
pub(super) struct LinkSockets {
    known: FxHashMap<u64, LinkSocket>,
    ration: Ration,
}

impl LinkSockets {
    pub(super) fn all(&self) -> impl Iterator<Item = &LinkSocket> {
        self.known.values()
    }

    /// Looks what is there, and gives back the inodes whose holder is not known, with that holder where it
    /// is one. `pid`: a process of the network namespace.
    pub(super) fn look(&mut self, procfs: &Procfs, pid: u32, now_ns: u64) -> Vec<(u64, u32)> {
        for (inode, ifindex) in packet_sockets(procfs, pid) {
            self.see(inode, LinkFamily::Packet, ifindex, now_ns);
        }
        self.look_after(procfs, now_ns);
        let xdp_sockets = xdp_sockets(procfs, pid);
        let mut xdp_known = 0;
        for socket in self.known.values_mut().filter(|it| it.family == LinkFamily::Xdp) {
            // They are listed nowhere: while there are any, those that were found are taken to be.
            if xdp_sockets > 0 {
                socket.seen_ns = now_ns;
            }
            xdp_known += 1;
        }
        self.known.retain(|_, socket| socket.seen_ns + GONE_KEPT_NS >= now_ns);
        let is_wanted = self.known.values().any(|socket| socket.wants_holder(now_ns));
        if (is_wanted || xdp_known != xdp_sockets) && self.ration.is_due(now_ns) {
            let netns = if xdp_sockets > 0 { procfs.netns(pid) } else { None };
            return self.search(procfs, netns, now_ns);
        }
        Vec::new()
    }

    pub(super) fn hold(&mut self, inode: u64, process: Option<Arc<Process>>) {
        if let Some(socket) = self.known.get_mut(&inode) {
            socket.process = process;
        }
    }

    fn see(&mut self, inode: u64, family: LinkFamily, ifindex: u32, seen_ns: u64) {
        if self.known.len() >= SOCKETS_MAX && !self.known.contains_key(&inode) {
            return;
        }
        let (process, place, asked_ns) = (None, None, None);
        let new = LinkSocket { inode, family, ifindex, process, place, seen_ns, asked_ns };
        let socket = self.known.entry(inode).or_insert(new);
        (socket.ifindex, socket.seen_ns) = (ifindex, seen_ns);
    }

    /// A socket that is there may have been passed on since its holder was found.
    fn look_after(&mut self, procfs: &Procfs, now_ns: u64) {
        let is_there =
            |it: &&mut LinkSocket| it.seen_ns == now_ns && it.family == LinkFamily::Packet;
        for socket in self.known.values_mut().filter(is_there) {
            let Some(place) = socket.place else { continue };
            socket.place = procfs.still(place);
            if socket.place.is_none() {
                (socket.process, socket.asked_ns) = (None, None);
            }
        }
    }

    /// `netns`: the network namespace in which there are `AF_XDP` sockets.
    fn search(&mut self, procfs: &Procfs, netns: Option<u64>, now_ns: u64) -> Vec<(u64, u32)> {
        let began = Instant::now();
        let mut places: FxHashMap<u64, Vec<Place>> = FxHashMap::default();
        let mut hold = |inode, pid, descriptor: &Path| {
            places.entry(inode).or_default().extend(Place::at(descriptor, pid, inode));
        };
        let mut xdp = Vec::new();
        let mut pids = procfs.pids().unwrap_or_default();
        pids.sort_unstable();
        for pid in pids {
            let has_xdp = netns.is_some() && procfs.netns(pid) == netns;
            procfs.sockets(pid, |inode, descriptor| match self.known.get(&inode) {
                Some(socket) if socket.process.is_some() && socket.family == LinkFamily::Packet => {
                }
                Some(_) => hold(inode, pid, descriptor),
                None if has_xdp && is_of(descriptor, "XDP") => {
                    xdp.push(inode);
                    hold(inode, pid, descriptor);
                }
                None => {}
            });
        }
        for socket in self.known.values_mut().filter(|it| it.family == LinkFamily::Xdp) {
            if !places.contains_key(&socket.inode) {
                socket.seen_ns = 0;
            }
        }
        for inode in xdp {
            self.see(inode, LinkFamily::Xdp, 0, now_ns);
        }
        let mut chooser = Chooser::new(procfs);
        let mut held = Vec::new();
        for socket in self.known.values_mut() {
            socket.asked_ns = Some(now_ns);
            if let Some(found) = places.get(&socket.inode) {
                socket.place = chooser.choose(found);
                if socket.place.is_none_or(|it| socket.place_differs(it)) {
                    socket.process = None;
                }
                held.extend(socket.place.map(|place| (place.inode, place.tgid)));
            }
        }
        self.ration.spend(began, now_ns);
        held
    }
}

/// Lines of `/proc/net/packet`: `sk RefCnt Type Proto Iface R Rmem User Inode`.
fn packet_sockets(procfs: &Procfs, pid: u32) -> Vec<(u64, u32)> {
    let parse = |line: String| {
        let mut fields = line.split_ascii_whitespace();
        let ifindex = fields.nth(4)?.parse().ok()?;
        Some((fields.nth(3)?.parse().ok()?, ifindex))
    };
    procfs.net_lines(pid, "packet").filter_map(parse).take(SOCKETS_MAX).collect()
}

/// How many there are, by `/proc/net/protocols`: `protocol size sockets ...`.
fn xdp_sockets(procfs: &Procfs, pid: u32) -> usize {
    let count = |line: String| {
        let mut fields = line.split_ascii_whitespace();
        (fields.next()? == "XDP").then(|| fields.nth(1)?.parse().ok())?
    };
    procfs.net_lines(pid, "protocols").find_map(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::fake::{FakeProc, Fields, SEC, process};

    fn packet(inode: u64, ifindex: u32) -> String {
        format!("00000000deadbeef 3      3    0003   {ifindex}     1 0      0      {inode}")
    }

    #[test]
    fn a_packet_socket_is_found_with_its_holder_and_forgotten_some_time_after_its_end() {
        let proc = FakeProc::new();
        proc.put(&Fields { pid: 101, sockets: &[11], ..Fields::default() });
        proc.net(101, "packet", &[packet(11, 2)]);
        let mut sockets = LinkSockets::default();
        assert_eq!(sockets.look(&proc.procfs(), 101, 100 * SEC), [(11, 101)]);
        let socket = sockets.all().next().unwrap();
        assert_eq!((socket.inode, socket.family, socket.ifindex), (11, LinkFamily::Packet, 2));
        assert!(socket.reaches(2) && !socket.reaches(3));

        proc.net(101, "packet", &[]);
        sockets.look(&proc.procfs(), 101, 102 * SEC);
        assert_eq!(sockets.all().count(), 1);
        sockets.look(&proc.procfs(), 101, 104 * SEC);
        assert_eq!(sockets.all().count(), 0);
    }

    /// As the caller does: each is held by who was found.
    fn look(sockets: &mut LinkSockets, proc: &FakeProc, now_ns: u64) -> Vec<(u64, u32)> {
        let held = sockets.look(&proc.procfs(), 101, now_ns);
        for (inode, tgid) in &held {
            sockets.hold(*inode, Some(Arc::new(process(*tgid, "some"))));
        }
        held
    }

    fn holder(sockets: &LinkSockets) -> Option<u32> {
        sockets.all().next().unwrap().process.as_ref().map(|process| process.pid)
    }

    #[test]
    fn a_packet_socket_that_was_passed_on_is_its_new_holders_and_one_that_is_shared_is_nobodys() {
        let proc = FakeProc::new();
        proc.put(&Fields { pid: 101, sockets: &[11], ..Fields::default() });
        proc.net(101, "packet", &[packet(11, 2)]);
        let mut sockets = LinkSockets::default();
        look(&mut sockets, &proc, 100 * SEC);
        assert_eq!(holder(&sockets), Some(101));
        proc.put(&Fields { pid: 101, ..Fields::default() });
        proc.net(101, "packet", &[packet(11, 2)]);
        proc.put(&Fields { pid: 102, sockets: &[11], ..Fields::default() });
        look(&mut sockets, &proc, 102 * SEC);
        assert_eq!(holder(&sockets), Some(102));
        proc.put(&Fields { pid: 102, ..Fields::default() });
        for pid in [103, 104] {
            proc.put(&Fields { pid, sockets: &[11], ..Fields::default() });
        }
        assert_eq!(look(&mut sockets, &proc, 104 * SEC), []);
        assert_eq!(holder(&sockets), None);
    }

    #[test]
    fn a_socket_without_an_interface_reaches_each() {
        let proc = FakeProc::new();
        proc.put(&Fields { pid: 101, ..Fields::default() });
        proc.net(101, "packet", &[packet(11, 0), "odd".into(), packet(12, 0)]);
        let mut sockets = LinkSockets::default();
        assert_eq!(sockets.look(&proc.procfs(), 101, 100 * SEC), []);
        assert_eq!(sockets.all().filter(|socket| socket.reaches(7)).count(), 2);
    }

    #[test]
    fn a_real_packet_socket_of_this_process_is_found() {
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0) };
        assert!(fd >= 0, "needs root: {}", std::io::Error::last_os_error());
        let me = std::process::id();
        let held = LinkSockets::default().look(&Procfs::host(), me, 100 * SEC);
        // SAFETY: the descriptor is ours, and used by nobody.
        unsafe { libc::close(fd) };
        assert!(held.iter().any(|(_, pid)| *pid == me), "{held:?}");
    }

    #[test]
    fn a_real_xdp_socket_of_this_process_is_found_by_the_name_of_its_protocol() {
        // SAFETY: socket(2) takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW, 0) };
        assert!(fd >= 0, "needs root: {}", std::io::Error::last_os_error());
        let me = std::process::id();
        let mut sockets = LinkSockets::default();
        let held = sockets.look(&Procfs::host(), me, 100 * SEC);
        // SAFETY: the descriptor is ours, and used by nobody.
        unsafe { libc::close(fd) };
        let is_there =
            sockets.all().any(|it| it.family == LinkFamily::Xdp && held.contains(&(it.inode, me)));
        assert!(is_there, "{held:?}");
    }
}
