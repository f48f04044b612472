//! The names of programs and maps in the object, written once for both sides.

/// Programs, by their symbol in the object.
pub mod program {
    pub const SOCK_CREATE: &str = "sock_create";
    pub const SOCK_RELEASE: &str = "sock_release";
    pub const CONNECT4: &str = "connect4";
    pub const CONNECT6: &str = "connect6";
    pub const SENDMSG4: &str = "sendmsg4";
    pub const SENDMSG6: &str = "sendmsg6";
    pub const PACKET_EGRESS: &str = "packet_egress";
    /// The same for kernels that let a packet program ask who runs (Linux 6.10).
    pub const PACKET_EGRESS_NAMED: &str = "packet_egress_named";
    /// The same for kernels that also let it ask for user and cgroup (Linux 6.18).
    pub const PACKET_EGRESS_WHOLE: &str = "packet_egress_whole";
    pub const PACKET_INGRESS: &str = "packet_ingress";
    pub const UPLINK_EGRESS: &str = "uplink_egress";
    /// The same for kernels that let a tc program ask who runs (Linux 6.10).
    pub const UPLINK_EGRESS_NAMED: &str = "uplink_egress_named";
    pub const DEVICE_INGRESS: &str = "device_ingress";
    pub const LINK_SEND: &str = "link_send";
    pub const PROCESS_EXEC: &str = "process_exec";
    pub const PROCESS_FORK: &str = "process_fork";
    pub const PROCESS_EXIT: &str = "process_exit";
    /// Attached nowhere: gives the class and verdict of addresses it is run with.
    pub const CLASSIFY: &str = "classify";
    /// The same without looking, to know what looking costs.
    pub const CLASSIFY_NOTHING: &str = "classify_nothing";
}

/// Maps, by their symbol in the object.
pub mod map {
    pub const SAMPLES: &str = "SAMPLES";
    pub const FLOWS: &str = "FLOWS";
    pub const OWNERS: &str = "OWNERS";
    pub const STARTS: &str = "STARTS";
    pub const INTERFACES: &str = "INTERFACES";
    pub const LINK_SENDERS: &str = "LINK_SENDERS";
    pub const TRANSITS: &str = "TRANSITS";
    pub const TUNNELS: &str = "TUNNELS";
    pub const LOSSES: &str = "LOSSES";
    pub const INDEX4: &str = "INDEX4";
    pub const CLASSES4: &str = "CLASSES4";
    pub const FENCE6: &str = "FENCE6";
    pub const CHUNKS6: &str = "CHUNKS6";
    pub const VERDICTS: &str = "VERDICTS";
    pub const ACTIVE: &str = "ACTIVE";
    pub const ONCE: &str = "ONCE";
    pub const SHARES: &str = "SHARES";
    pub const UNITEMISED: &str = "UNITEMISED";
    pub const AWAKE: &str = "AWAKE";
    pub const FORGOTTEN: &str = "FORGOTTEN";
    pub const SUSPENDED: &str = "SUSPENDED";
    pub const CGROUPS: &str = "CGROUPS";
    /// Its size is the version of the contract.
    pub const ABI: &str = "ABI";
}

/// Settings in the object's read-only data, by their symbol: set before load, constant after.
pub mod setting {
    /// One byte of [`crate::settings::naming`].
    pub const NAMING: &str = "NAMING";
    /// One byte: whether the kernel has the clock that is cheaper to read.
    pub const COARSE: &str = "COARSE";
    /// One byte of [`crate::layout::reads`].
    pub const READS: &str = "READS";
    /// Four bytes that nobody else knows.
    pub const MARK: &str = "MARK";
    /// Four bytes: entries that the flow table has room for.
    pub const CAPACITY: &str = "CAPACITY";
}
