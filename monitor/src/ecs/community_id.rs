//! Community ID v1: one name for a 5-tuple, the same in every tool that computes it.
//!
//! Source: <https://github.com/corelight/community-id-spec>, pseudo code, seed 0.

use std::net::{IpAddr, SocketAddr};

use data_encoding::BASE64;
use sha1::{Digest, Sha1};

use crate::event::{Egress, Transport};

/// `None` while the source is not chosen, and for transports whose ports this crate does not see.
pub fn community_id(egress: &Egress) -> Option<String> {
    let has_id = matches!(egress.transport, Transport::TCP | Transport::UDP | Transport::SCTP);
    let local = egress.local.filter(|_| has_id)?;
    Some(of_tuple(egress.transport, local, egress.remote?))
}

fn of_tuple(transport: Transport, one: SocketAddr, other: SocketAddr) -> String {
    let (a, b) = ((octets(one.ip()), one.port()), (octets(other.ip()), other.port()));
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    let mut hash = Sha1::new();
    hash.update(0_u16.to_be_bytes());
    hash.update(&low.0);
    hash.update(&high.0);
    hash.update([transport.0, 0]);
    hash.update(low.1.to_be_bytes());
    hash.update(high.1.to_be_bytes());
    format!("1:{}", BASE64.encode(&hash.finalize()))
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ids_are_those_of_the_specification_in_both_directions() {
        for (transport, one, other, id) in [
            (
                Transport::TCP,
                "128.232.110.120:34855",
                "66.35.250.204:80",
                "1:LQU9qZlK+B5F3KDmev6m5PMibrg=",
            ),
            (Transport::UDP, "192.168.1.52:54585", "8.8.8.8:53", "1:d/FP5EW3wiY1vCndhwleRRKHowQ="),
            (
                Transport::SCTP,
                "192.168.170.8:7",
                "192.168.170.56:7",
                "1:MP2EtRCAUIZvTw6MxJHLV7N7JDs=",
            ),
        ] {
            let (one, other) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(of_tuple(transport, one, other), id);
            assert_eq!(of_tuple(transport, other, one), id);
        }
    }
}
