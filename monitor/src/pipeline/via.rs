//! Where packets go besides the address of their flow: read from the sample, and located as any address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use monitor_ebpf::sample::{EgressSample, FlowKey};

use super::Pipeline;
use crate::{event::canonical, flow::remote};

/// The other address; the probes tell it as it stands in the packet.
pub(super) fn via(sample: &EgressSample) -> Option<IpAddr> {
    let address = sample.via;
    if sample.flow.via == 0 || address == [0; 16] {
        return None;
    }
    let is_v4 = Ipv6Addr::from(sample.flow.remote).to_ipv4_mapped().is_some();
    let v4 = || Ipv4Addr::new(address[0], address[1], address[2], address[3]).into();
    Some(if is_v4 { v4() } else { canonical(address.into()) })
}

/// There is another address, and nobody told which: what told it was lost.
pub(super) fn is_untold(sample: &EgressSample) -> bool {
    sample.flow.via != 0 && via(sample).is_none()
}

impl Pipeline {
    /// What a socket named is no attempt where its packet went by a hop: that is a flow of its own, to
    /// where the worse of both verdicts is.
    pub(super) fn supersede(&mut self, sample: &EgressSample) {
        let Some(via) = via(sample) else { return };
        for remote in [remote(&sample.flow).ip(), via] {
            let remote = match remote {
                IpAddr::V4(it) => it.to_ipv6_mapped().octets(),
                IpAddr::V6(it) => it.octets(),
            };
            self.flows.supersede(&FlowKey { remote, via: 0, ..sample.flow });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(remote: &str, told: &[u8]) -> EgressSample {
        let remote: IpAddr = remote.parse().unwrap();
        let remote = match remote {
            IpAddr::V4(it) => it.to_ipv6_mapped(),
            IpAddr::V6(it) => it,
        };
        let flow = FlowKey { remote: remote.octets(), via: 7, ..FlowKey::default() };
        let mut via = [0; 16];
        via[..told.len()].copy_from_slice(told);
        EgressSample { flow, via, ..EgressSample::default() }
    }

    #[test]
    fn the_other_address_is_of_the_same_family_as_the_flows() {
        let found = via(&sample("203.0.113.7", &[198, 51, 100, 9]));
        assert_eq!(found, Some("198.51.100.9".parse().unwrap()));
        let address: Ipv6Addr = "2001:db8::9".parse().unwrap();
        assert_eq!(via(&sample("2001:db8::7", &address.octets())), Some(address.into()));
    }

    #[test]
    fn another_address_that_nobody_told_is_none_and_known_to_be_missing() {
        let lost = sample("203.0.113.7", &[]);
        assert_eq!((via(&lost), is_untold(&lost)), (None, true));
        let plain = EgressSample { flow: FlowKey { via: 0, ..lost.flow }, ..lost };
        assert_eq!((via(&plain), is_untold(&plain)), (None, false));
    }
}
