//! Who sends on TCP connections that others made, and whose the subflows are that the kernel makes for
//! a Multipath TCP connection. Bounded and forgetful; reads nothing.

use std::sync::Arc;

use monitor_ebpf::sample::{EgressSample, SenderSample};
use rustc_hash::FxHashMap;

use super::Processes;
use crate::event::{Attribution, Process, Sender};

/// Connections and senders remembered, each.
const KNOWN_MAX: usize = 8_192;
/// Subflows remembered of one connection; the kernel allows 8 (`MPTCP_SUBFLOWS_MAX`).
const SUBFLOWS_MAX: usize = 8;
/// How long a sender is remembered of whose flow nothing was told yet.
const SENDER_KEPT_NS: u64 = 60_000_000_000;

#[derive(Debug, Default)]
pub(super) struct Connections {
    /// By the cookie of the connection.
    known: FxHashMap<u64, Connection>,
    /// By the cookie of the socket, and when.
    senders: FxHashMap<u64, (Arc<Process>, u64)>,
}

#[derive(Debug)]
struct Connection {
    process: Arc<Process>,
    /// Cookies of its sockets.
    subflows: Vec<u64>,
}

impl Connections {
    pub(super) fn expire(&mut self, now_ns: u64) {
        self.senders.retain(|_, (_, at_ns)| at_ns.saturating_add(SENDER_KEPT_NS) >= now_ns);
        if self.senders.is_empty() {
            self.senders = FxHashMap::default();
        }
    }

    fn subflow(&mut self, connection: u64, socket: u64) {
        if let Some(known) = self.known.get_mut(&connection)
            && known.subflows.len() < SUBFLOWS_MAX
            && !known.subflows.contains(&socket)
        {
            known.subflows.push(socket);
        }
    }
}

impl Processes {
    /// Whose a subflow is that a kernel thread made: of who made the connection. Takes note of one
    /// that a process made.
    pub(super) fn of_connection(
        &mut self,
        sample: &EgressSample,
        owner: &Arc<Process>,
        is_kernel_thread: bool,
    ) -> Option<Sender> {
        let connection = sample.connection_cookie;
        if connection == 0 {
            return None;
        }
        let known = &mut self.connections.known;
        if !is_kernel_thread && !known.contains_key(&connection) {
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            let process = Arc::clone(owner);
            known.insert(connection, Connection { process, subflows: Vec::new() });
        }
        self.connections.subflow(connection, sample.flow.cookie);
        if !is_kernel_thread {
            return None;
        }
        let process = Arc::clone(&self.connections.known.get(&connection)?.process);
        Some(Sender::Process { process, attribution: Attribution::Socket, creator: None })
    }

    /// Somebody sends on a TCP socket: the cookies of the sockets that carry it, and who. `None`: a
    /// kernel thread, which sends for others.
    pub fn learn_sender(&mut self, sample: &SenderSample) -> Option<(Vec<u64>, Arc<Process>)> {
        let at_ns = sample.owner.touched_ns;
        let (process, is_kernel_thread) = self.owner(&sample.owner, at_ns);
        if is_kernel_thread || sample.owner.tgid == 0 {
            return None;
        }
        let sockets = match self.connections.known.get(&sample.cookie) {
            Some(connection) => connection.subflows.clone(),
            None => vec![sample.cookie],
        };
        if self.connections.senders.len() >= KNOWN_MAX {
            self.connections.senders.clear();
        }
        for socket in sockets.iter().chain([&sample.cookie]) {
            self.connections.senders.insert(*socket, (Arc::clone(&process), at_ns));
        }
        Some((sockets, process))
    }

    /// Who sent on this TCP socket last, where that was told before its flow.
    pub(super) fn sender_on(&self, sample: &EgressSample) -> Option<Arc<Process>> {
        const TCP: u8 = 6;
        let of = |cookie: u64| self.connections.senders.get(&cookie);
        let found = of(sample.flow.cookie).or_else(|| of(sample.connection_cookie))?;
        (sample.flow.transport == TCP).then(|| Arc::clone(&found.0))
    }
}
