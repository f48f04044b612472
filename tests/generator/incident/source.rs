//! By which way something leaves the ground station, and how much by when. Values only.

use std::sync::Arc;

use geofenced::inside::event::{Attribution, Mac, Origin, Passage, Process, Sender};

/// So much by this many seconds after the start.
#[derive(Clone, Copy)]
pub(crate) struct State {
    pub(crate) after: u64,
    pub(crate) sent: (u64, u64),
    pub(crate) received: (u64, u64),
}

/// One state, its last.
pub(crate) const fn once(after: u64, sent: (u64, u64), received: (u64, u64)) -> [State; 1] {
    [State { after, sent, received }]
}

/// Who sends, and by which way.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) sender: Sender,
    pub(crate) origin: Origin,
    pub(crate) address: &'static str,
    pub(crate) passage: Passage,
}

impl Source {
    pub(crate) fn of(process: &Arc<Process>) -> Self {
        let process = Arc::clone(process);
        let attribution = Attribution::Socket;
        Self {
            sender: Sender::Process { process, attribution, creator: None },
            origin: Origin::Process,
            address: "192.0.2.10",
            passage: Passage::default(),
        }
    }

    /// As one whose address is of the other family.
    pub(crate) fn by_ipv6(process: &Arc<Process>) -> Self {
        Self { address: "2001:db8::10", ..Self::of(process) }
    }

    pub(crate) fn accepted(process: &Arc<Process>) -> Self {
        Self { origin: Origin::Accepted, ..Self::of(process) }
    }

    pub(crate) fn drone() -> Self {
        let passage = Passage {
            mac: Some(Mac([0x00, 0x00, 0x5e, 0x00, 0x53, 0x07])),
            from: Some("wlan0".into()),
            by: Some("eth0".into()),
            ..Passage::default()
        };
        let (sender, origin) = (Sender::Nobody, Origin::Forwarded);
        Self { sender, origin, address: "192.0.2.50", passage }
    }
}
