//! Where a flow's packets go besides its address. What that means for the verdict is `judge`'s to say.

use std::net::IpAddr;

use super::Place;

/// The other address that the packets of a flow are told to go to, by a routing header or a source route:
/// of the two, the flow's own is the one that the probes found the worse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// Canonical.
    pub address: IpAddr,
    /// Its own names and ways are none.
    pub place: Place,
}
