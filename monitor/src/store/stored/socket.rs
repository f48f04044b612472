//! The stored form of an address and a port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum StoredSocket {
    V4 {
        address: [u8; 4],
        port: u16,
    },
    V6 {
        address: [u8; 16],
        port: u16,
    },
    /// With a flow label or scope.
    V6Scoped {
        address: [u8; 16],
        port: u16,
        flow_info: u32,
        scope: u32,
    },
    /// Not known.
    Unknown,
}

pub(super) fn socket_to_stored(socket: SocketAddr) -> StoredSocket {
    let port = socket.port();
    match socket {
        SocketAddr::V4(v4) => StoredSocket::V4 { address: v4.ip().octets(), port },
        SocketAddr::V6(v6) if v6.flowinfo() == 0 && v6.scope_id() == 0 => {
            StoredSocket::V6 { address: v6.ip().octets(), port }
        }
        SocketAddr::V6(v6) => StoredSocket::V6Scoped {
            address: v6.ip().octets(),
            port,
            flow_info: v6.flowinfo(),
            scope: v6.scope_id(),
        },
    }
}

pub(super) fn socket_from_stored(socket: &StoredSocket) -> Option<SocketAddr> {
    Some(match *socket {
        StoredSocket::Unknown => return None,
        StoredSocket::V4 { address, port } => {
            SocketAddr::new(IpAddr::V4(Ipv4Addr::from(address)), port)
        }
        StoredSocket::V6 { address, port } => {
            SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)), port)
        }
        StoredSocket::V6Scoped { address, port, flow_info, scope } => {
            SocketAddrV6::new(Ipv6Addr::from(address), port, flow_info, scope).into()
        }
    })
}
