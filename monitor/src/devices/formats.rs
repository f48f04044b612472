//! The forms in which DHCP servers write their leases. Whatever is not understood is passed over.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use super::Lease;
use crate::event::Mac;

/// dnsmasq(8): `expiry mac address name client-id`; in the part for IPv6 an identifier stands for
/// the hardware address.
pub(super) fn dnsmasq(text: &str, each: &mut dyn FnMut(Lease)) {
    for line in text.lines() {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [_, mac, address, name, ..] = fields[..] {
            each(Lease {
                address: address.parse().ok(),
                mac: Mac::parse(mac),
                name: Some(unquoted(name)),
            });
        }
    }
}

/// A string of dhcpd's, which escapes quotes, backslashes and, by three octal digits, what is not
/// printable; any other text as it is.
fn unquoted(text: &str) -> String {
    let Some(quoted) = text.strip_prefix('"') else { return text.to_owned() };
    let mut name = Vec::with_capacity(quoted.len());
    let mut rest = quoted.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, rest) {
            (b'"', _) => break,
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                name.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            (b'\\', [escaped, after @ ..]) => {
                name.push(*escaped);
                rest = after;
            }
            (byte, _) => name.push(*byte),
        }
    }
    String::from_utf8_lossy(&name).into_owned()
}

/// dhcpd.leases(5): `lease ADDRESS { hardware ethernet MAC; client-hostname "NAME"; ... }`.
pub(super) fn dhcpd(text: &str, each: &mut dyn FnMut(Lease)) {
    let mut lease = Lease::default();
    for line in text.lines().map(str::trim) {
        let value = |key: &str| line.strip_prefix(key).map(|it| it.trim().trim_end_matches(';'));
        if let Some(address) = line.strip_prefix("lease ").and_then(|it| it.split(' ').next()) {
            lease = Lease { address: address.parse().ok(), ..Lease::default() };
        } else if let Some(mac) = value("hardware ethernet ") {
            lease.mac = Mac::parse(mac);
        } else if let Some(name) = value("client-hostname ") {
            lease.name = Some(unquoted(name));
        } else if line == "}" && lease != Lease::default() {
            each(std::mem::take(&mut lease));
        }
    }
}

/// Kea's memfile: CSV whose first line names the columns, which differ by version and family.
pub(super) fn kea(text: &str, each: &mut dyn FnMut(Lease)) {
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let Ok(heads) = reader.headers().cloned() else { return };
    let column = |name: &str| heads.iter().position(|head| head == name);
    let (address, mac, name) = (column("address"), column("hwaddr"), column("hostname"));
    for row in reader.records().filter_map(Result::ok) {
        let cell = |at: Option<usize>| at.and_then(|at| row.get(at));
        each(Lease {
            address: cell(address).and_then(|text| text.parse().ok()),
            mac: cell(mac).and_then(Mac::parse),
            // A comma in it is written so.
            name: cell(name).map(|name| name.trim_end_matches('.').replace("&#x2c", ",")),
        });
    }
}

/// libvirt's helper for its dnsmasq: `[{"ip-address": "..", "mac-address": "..", "hostname": ".."}]`.
pub(super) fn libvirt(text: &str, each: &mut dyn FnMut(Lease)) {
    let Ok(document) = serde_json::from_str::<Value>(text) else { return };
    for lease in document.as_array().into_iter().flatten() {
        let text = |key: &str| lease[key].as_str();
        each(Lease {
            address: text("ip-address").and_then(|it| it.parse().ok()),
            mac: text("mac-address").and_then(Mac::parse),
            name: text("hostname").map(str::to_owned),
        });
    }
}

/// systemd-networkd (v256): `{"Leases": [{"Address": [..], "Hostname": "..",
/// "HardwareAddress": [..]}]}`.
pub(super) fn networkd(text: &str, each: &mut dyn FnMut(Lease)) {
    let Ok(document) = serde_json::from_str::<Value>(text) else { return };
    for lease in document["Leases"].as_array().into_iter().flatten() {
        each(Lease {
            address: numbers::<4>(&lease["Address"]).map(|it| IpAddr::V4(Ipv4Addr::from(it))),
            mac: numbers(&lease["HardwareAddress"]).map(Mac),
            name: lease["Hostname"].as_str().map(str::to_owned),
        });
    }
}

fn numbers<const N: usize>(value: &Value) -> Option<[u8; N]> {
    let numbers = value.as_array()?.iter().map(|it| u8::try_from(it.as_u64()?).ok());
    numbers.collect::<Option<Vec<u8>>>()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Reader, *};

    const ALL: [Reader; 5] = [dnsmasq, dhcpd, kea, libvirt, networkd];

    fn leases(read: Reader, text: &str) -> Vec<Lease> {
        let mut leases = Vec::new();
        read(text, &mut |lease| leases.push(lease));
        leases
    }

    #[test]
    fn the_part_of_dnsmasq_for_ipv6_has_no_hardware_addresses() {
        let text = "duid 00:01:00:01\n1764115200 6446433 2001:db8::5 camera 00:01:00:01:2a\n";
        let lease = &leases(dnsmasq, text)[0];
        assert_eq!(lease.address, "2001:db8::5".parse().ok());
        assert_eq!((lease.mac, lease.name.as_deref()), (None, Some("camera")));
    }

    #[test]
    fn a_lease_of_dhcpd_without_a_name_is_one_all_the_same() {
        let text = "# comment\nserver-duid \"x\";\nlease 192.0.2.1 {\n  starts 2 2026/11/24 08:00:00;\n  \
                    hardware ethernet 02:00:5e:00:53:01;\n}\nlease 192.0.2.2 {\n";
        let found = leases(dhcpd, text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].address, "192.0.2.1".parse().ok());
        assert_eq!(found[0].name, None);
    }

    #[test]
    fn a_name_with_quotes_is_the_one_that_the_device_chose() {
        let names = [
            (r#""tv";"#, "tv"),
            (r#""Ana's \"tv\" \\ 1";"#, r#"Ana's "tv" \ 1"#),
            (r#""caf\303\251\033[2J";"#, "café\u{1b}[2J"),
            (r#""tv"#, "tv"),
            (r#"""quoted"";"#, ""),
        ];
        for (written, name) in names {
            let text = format!("lease 192.0.2.1 {{\n  client-hostname {written}\n}}\n");
            assert_eq!(leases(dhcpd, &text)[0].name.as_deref(), Some(name), "{written}");
        }
        let line = "1764115200 02:00:5e:00:53:01 192.0.2.1 \"camera\" *\n";
        assert_eq!(leases(dnsmasq, line)[0].name.as_deref(), Some("camera"));
    }

    #[test]
    fn a_comma_in_a_name_of_kea_is_one() {
        let text = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,\
                    hostname,state,user_context,pool_id\n\
                    192.0.2.3,02:00:5e:00:53:03,01:02,3600,1764115200,1,0,0,printer&#x2cold.,0,,0\n";
        assert_eq!(leases(kea, text)[0].name.as_deref(), Some("printer,old"));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in "\\PC*", lines in prop::collection::vec("[a-z0-9:{}\";,. \\[\\]]{0,40}", 0..8)) {
            for read in ALL {
                leases(read, &text);
                leases(read, &lines.join("\n"));
            }
        }
    }
}
