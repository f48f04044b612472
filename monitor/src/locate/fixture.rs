//! Writes small databases in MaxMind's format for tests, so that none has to be shipped.
//! Format: <https://maxmind.github.io/MaxMind-DB/>.

use std::net::IpAddr;

use ipnet::IpNet;

pub(crate) enum Value {
    Text(String),
    Short(u16),
    Number(u32),
    Long(u64),
    Map(Vec<(String, Value)>),
    EmptyList,
}

pub(crate) fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// A file of IPv6 shape (IPv4 below `::/96`), as vendors ship them. Networks must not overlap.
pub(crate) fn mmdb(kind: &str, networks: &[(&str, Value)]) -> Vec<u8> {
    /// A record of the tree.
    #[derive(Clone, Copy)]
    enum Record {
        Empty,
        Node(usize),
        Data(usize),
    }
    let mut nodes = vec![[Record::Empty; 2]];
    let mut data = Vec::new();
    for (network, value) in networks {
        let network: IpNet = network.parse().unwrap();
        let (bits, length) = match network.network() {
            IpAddr::V4(address) => (u128::from(u32::from(address)), 96 + network.prefix_len()),
            IpAddr::V6(address) => (u128::from(address), network.prefix_len()),
        };
        let mut node = 0;
        for depth in 0..length {
            let side = (bits >> (127 - depth) & 1) as usize;
            if depth + 1 == length {
                nodes[node][side] = Record::Data(data.len());
            } else if let Record::Node(next) = nodes[node][side] {
                node = next;
            } else {
                nodes.push([Record::Empty; 2]);
                nodes[node][side] = Record::Node(nodes.len() - 1);
                node = nodes.len() - 1;
            }
        }
        push(&mut data, value);
    }
    let count = nodes.len();
    let mut out: Vec<u8> = Vec::new();
    for record in nodes.as_flattened() {
        let number = match record {
            Record::Empty => count,
            Record::Node(node) => *node,
            Record::Data(offset) => count + 16 + offset,
        };
        out.extend(&(number as u32).to_be_bytes()[1..]);
    }
    out.extend([0; 16]);
    out.extend(data);
    out.extend(b"\xab\xcd\xefMaxMind.com");
    let entry = |key: &str, value| (key.to_owned(), value);
    let metadata = Value::Map(vec![
        entry("binary_format_major_version", Value::Short(2)),
        entry("binary_format_minor_version", Value::Short(0)),
        entry("build_epoch", Value::Long(1_790_000_000)),
        entry("database_type", text(kind)),
        entry("description", Value::Map(vec![entry("en", text("for tests"))])),
        entry("ip_version", Value::Short(6)),
        entry("languages", Value::EmptyList),
        entry("node_count", Value::Number(count as u32)),
        entry("record_size", Value::Short(24)),
    ]);
    push(&mut out, &metadata);
    out
}

fn push(out: &mut Vec<u8>, value: &Value) {
    let head = |out: &mut Vec<u8>, kind: u8, size: usize| {
        assert!(size < 285, "longer values need another size form");
        out.push(kind << 5 | size.min(29) as u8);
        if size >= 29 {
            out.push((size - 29) as u8);
        }
    };
    match value {
        Value::Text(text) => {
            head(out, 2, text.len());
            out.extend(text.bytes());
        }
        Value::Short(number) => {
            head(out, 5, 2);
            out.extend(number.to_be_bytes());
        }
        Value::Long(number) => {
            // An extended type: kind 0, and the kind less 7 in the byte after.
            head(out, 0, 8);
            out.push(9 - 7);
            out.extend(number.to_be_bytes());
        }
        Value::Number(number) => {
            head(out, 6, 4);
            out.extend(number.to_be_bytes());
        }
        Value::EmptyList => {
            head(out, 0, 0);
            out.push(11 - 7);
        }
        Value::Map(entries) => {
            head(out, 7, entries.len());
            for (key, value) in entries {
                push(out, &Value::Text(key.clone()));
                push(out, value);
            }
        }
    }
}
