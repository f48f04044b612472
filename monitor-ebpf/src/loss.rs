//! Every reason for which a probe can fail to tell user space something. One per-CPU counter each.

/// Index into the `LOSSES` array.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The ring was full when a flow's first packet was to be told: the flow is lost until it
    /// sends again.
    RingFullFlow = 0,
    /// The ring was full when an attempt was to be told; its packet, if any, is told for itself.
    RingFullAttempt = 1,
    /// The ring was full when a socket's end was to be told; the flow ends by its idle time.
    RingFullEnd = 2,
    /// The ring was full when an exec, fork or exit was to be told; `/proc` is the fallback.
    RingFullProcess = 3,
    /// The flow table was full: this packet is in no counter of a flow. The first one is told.
    FlowTableFull = 4,
    /// A packet whose network header could not be read.
    PacketMalformed = 5,
    /// No memory for a socket's owner: its flows have no process.
    OwnerUnstored = 6,
    /// The ring had no room for what names a destination: the flow is told without, or by another
    /// name.
    RingFullName = 7,
    /// The ring was full when it was to be told who sends on a connection: it is told with who made
    /// it.
    RingFullSender = 8,
    /// More questions without an answer, or more answers than were asked for, than is told of one
    /// flow to a name server: it goes without what they name.
    NameExcess = 9,
    /// A user had used up a share of the flow table or of the ring: an attempt is not told.
    AttemptShare = 10,
}

impl Loss {
    pub const ALL: [Self; 11] = [
        Self::RingFullFlow,
        Self::RingFullAttempt,
        Self::RingFullEnd,
        Self::RingFullProcess,
        Self::FlowTableFull,
        Self::PacketMalformed,
        Self::OwnerUnstored,
        Self::RingFullName,
        Self::RingFullSender,
        Self::NameExcess,
        Self::AttemptShare,
    ];

    /// The `reason` label of `geofenced_events_lost_total`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::RingFullFlow => "ring-full-flow",
            Self::RingFullAttempt => "ring-full-attempt",
            Self::RingFullEnd => "ring-full-end",
            Self::RingFullProcess => "ring-full-process",
            Self::FlowTableFull => "flow-table-full",
            Self::PacketMalformed => "packet-malformed",
            Self::OwnerUnstored => "owner-unstored",
            Self::RingFullName => "ring-full-name",
            Self::RingFullSender => "ring-full-sender",
            Self::NameExcess => "name-excess",
            Self::AttemptShare => "attempt-share",
        }
    }
}

/// Index into the `LOSSES` array behind all reasons: frames that are told to nobody and no loss, since
/// they hold nobody's data.
pub const HOUSEKEEPING: u32 = Loss::ALL.len() as u32;
/// Behind it: what sockets received from where no flow of theirs leads, which is no loss either.
pub const WITHOUT_FLOW_PACKETS: u32 = HOUSEKEEPING + 1;
pub const WITHOUT_FLOW_BYTES: u32 = HOUSEKEEPING + 2;
/// Entries of the `LOSSES` array.
pub const LOSSES: u32 = HOUSEKEEPING + 3;
