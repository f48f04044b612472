//! Whether what goes to a port is encrypted, as far as the port alone tells. It proves nothing: any program
//! may speak anything to any port, so what is not known by its port is said to be not known.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Encrypted {
    Yes,
    No,
    Unknown,
}

/// What a port is for, and what that says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct ByPort {
    pub encrypted: Encrypted,
    /// What is usually spoken there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usually: Option<&'static str>,
}

const TCP: u8 = 1;
const UDP: u8 = 2;
const BOTH: u8 = TCP | UDP;

/// Transports, port, what is spoken there, and whether that is encrypted from its first byte on. What
/// begins in the clear and may go on encrypted (STARTTLS) is in neither list.
const PORTS: [(u8, u16, &str, Encrypted); 54] = {
    use Encrypted::{No, Yes};
    [
        (TCP, 20, "FTP data", No),
        (TCP, 21, "FTP", No),
        (TCP, 22, "SSH", Yes),
        (TCP, 23, "Telnet", No),
        (BOTH, 53, "DNS", No),
        (UDP, 69, "TFTP", No),
        (TCP, 70, "Gopher", No),
        (TCP, 79, "Finger", No),
        (TCP, 80, "HTTP", No),
        (UDP, 123, "NTP", No),
        (UDP, 137, "NetBIOS", No),
        (UDP, 138, "NetBIOS", No),
        (UDP, 161, "SNMP", No),
        (UDP, 162, "SNMP", No),
        (UDP, 443, "QUIC", Yes),
        (TCP, 443, "HTTPS", Yes),
        (TCP, 465, "SMTP over TLS", Yes),
        (UDP, 500, "IKE", Yes),
        (UDP, 514, "syslog", No),
        (TCP, 513, "rlogin", No),
        (TCP, 514, "rsh", No),
        (TCP, 515, "LPD", No),
        (TCP, 554, "RTSP", No),
        (TCP, 563, "NNTP over TLS", Yes),
        (TCP, 636, "LDAP over TLS", Yes),
        (TCP, 853, "DNS over TLS", Yes),
        (UDP, 853, "DNS over QUIC", Yes),
        (TCP, 873, "rsync", No),
        (TCP, 989, "FTP data over TLS", Yes),
        (TCP, 990, "FTP over TLS", Yes),
        (TCP, 992, "Telnet over TLS", Yes),
        (TCP, 993, "IMAP over TLS", Yes),
        (TCP, 995, "POP3 over TLS", Yes),
        (UDP, 1194, "OpenVPN", Yes),
        (TCP, 1883, "MQTT", No),
        (TCP, 1935, "RTMP", No),
        (UDP, 1900, "SSDP", No),
        (TCP, 2049, "NFS", No),
        (UDP, 3478, "STUN", No),
        (UDP, 4500, "IPsec", Yes),
        (UDP, 5004, "RTP", No),
        (UDP, 5060, "SIP", No),
        (TCP, 5060, "SIP", No),
        (TCP, 5061, "SIP over TLS", Yes),
        (UDP, 5353, "mDNS", No),
        (TCP, 5349, "STUN over TLS", Yes),
        (TCP, 6667, "IRC", No),
        (TCP, 6697, "IRC over TLS", Yes),
        (TCP, 8008, "HTTP", No),
        (TCP, 8080, "HTTP", No),
        (UDP, 14_550, "MAVLink", No),
        (TCP, 8443, "HTTPS", Yes),
        (TCP, 8883, "MQTT over TLS", Yes),
        (UDP, 51_820, "WireGuard", Yes),
    ]
};

/// `transport` in the contract's word.
pub fn by_port(transport: Option<&str>, port: Option<u16>) -> ByPort {
    let which = match transport {
        Some("tcp") => TCP,
        Some("udp") => UDP,
        _ => 0,
    };
    let found = PORTS.iter().find(|(of, number, ..)| of & which != 0 && Some(*number) == port);
    match found {
        Some((_, _, usually, encrypted)) => {
            ByPort { encrypted: *encrypted, usually: Some(usually) }
        }
        None => ByPort { encrypted: Encrypted::Unknown, usually: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn telemetry_over_plain_http_is_told_as_not_encrypted() {
        let by = by_port(Some("tcp"), Some(80));
        assert_eq!((by.encrypted, by.usually), (Encrypted::No, Some("HTTP")));
        assert_eq!(by_port(Some("tcp"), Some(443)).encrypted, Encrypted::Yes);
        assert_eq!(by_port(Some("udp"), Some(443)).usually, Some("QUIC"));
    }

    #[test]
    fn what_is_not_known_by_its_port_is_not_said_to_be_encrypted() {
        for (transport, port) in [
            (Some("tcp"), Some(49_152)),
            (Some("udp"), Some(80)),
            (Some("tcp"), None),
            (Some("icmp"), None),
            (None, Some(443)),
            // STARTTLS: nobody knows by the port alone.
            (Some("tcp"), Some(25)),
            (Some("tcp"), Some(587)),
        ] {
            let by = by_port(transport, port);
            assert_eq!((by.encrypted, by.usually), (Encrypted::Unknown, None), "{port:?}");
        }
    }
}
