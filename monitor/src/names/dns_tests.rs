//! What answers tell, the honest ones and the others. Messages are written byte by byte: no library
//! would write the hostile ones.

use proptest::prelude::*;

use super::*;

/// A message in the making.
#[derive(Clone)]
pub(in crate::names) struct Wire(pub(in crate::names) Vec<u8>);

fn labels(name: &str) -> Vec<u8> {
    let label = |label: &str| [&[label.len() as u8][..], label.as_bytes()].concat();
    name.split('.').filter(|it| !it.is_empty()).flat_map(label).chain([0]).collect()
}

impl Wire {
    /// An answer to a question of type A, without records yet.
    pub(in crate::names) fn answer_to(name: &str) -> Self {
        let mut bytes = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(labels(name));
        bytes.extend([0, 1, 0, 1]);
        Self(bytes)
    }

    pub(in crate::names) fn query(name: &str) -> Self {
        let mut message = Self::answer_to(name);
        message.0[2..4].copy_from_slice(&[1, 0]);
        message
    }

    pub(in crate::names) fn record(
        mut self,
        owner: &[u8],
        kind: u16,
        ttl: u32,
        data: &[u8],
    ) -> Self {
        self.0[7] += 1;
        self.0.extend_from_slice(owner);
        self.0.extend(kind.to_be_bytes());
        self.0.extend([0, 1]);
        self.0.extend(ttl.to_be_bytes());
        self.0.extend((data.len() as u16).to_be_bytes());
        self.0.extend_from_slice(data);
        self
    }

    pub(in crate::names) fn address(self, owner: &str, ttl: u32, address: &str) -> Self {
        match address.parse().unwrap() {
            IpAddr::V4(v4) => self.record(&labels(owner), 1, ttl, &v4.octets()),
            IpAddr::V6(v6) => self.record(&labels(owner), 28, ttl, &v6.octets()),
        }
    }

    fn alias(self, owner: &str, target: &str) -> Self {
        self.record(&labels(owner), 5, 30, &labels(target))
    }

    fn read(&self) -> Answer {
        answer(&self.0).unwrap()
    }
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A pointer to the question.
const QUESTION: [u8; 2] = [0xc0, 12];

#[test]
fn an_answer_names_its_addresses_by_what_was_asked() {
    let read = Wire::answer_to("WWW.Example.org")
        .record(&QUESTION, 1, 300, &[203, 0, 113, 1])
        .address("www.EXAMPLE.org", 200, "203.0.113.2")
        .address("www.example.org", 400, "2001:db8::1")
        .address("www.example.org", 400, "::ffff:203.0.113.2")
        .read();
    assert_eq!(read.question.name.as_ref(), "www.example.org");
    assert_eq!(read.question.kind.as_ref(), "A");
    assert_eq!(read.question.id, 0x1234);
    assert_eq!(read.addresses, addresses(&["203.0.113.1", "203.0.113.2", "2001:db8::1"]));
    assert_eq!(read.ttl, 200);
}

#[test]
fn aliases_lead_from_the_name_asked_for_to_addresses_in_whatever_order() {
    let read = Wire::answer_to("www.example.org")
        .address("edge.example.net", 90, "203.0.113.1")
        .alias("cdn.example.com", "edge.example.net")
        .alias("www.example.org", "cdn.example.com")
        .read();
    assert_eq!(read.question.name.as_ref(), "www.example.org");
    assert_eq!(read.addresses, addresses(&["203.0.113.1"]));
    assert_eq!(read.ttl, 30);
}

#[test]
fn records_that_nobody_asked_for_name_nothing() {
    let read = Wire::answer_to("example.org").address("bank.example", 60, "203.0.113.1").read();
    assert!(read.addresses.is_empty());
}

#[test]
fn hints_of_a_service_binding_count_as_addresses() {
    let data =
        [&[0, 1, 0][..], &[0, 4, 0, 4, 203, 0, 113, 9], &[0, 6, 0, 16], &[0x20; 16]].concat();
    let read = Wire::answer_to("example.org").record(&QUESTION, 65, 60, &data).read();
    assert_eq!(read.addresses[0], addresses(&["203.0.113.9"])[0]);
    assert_eq!(read.addresses.len(), 2);
}

#[test]
fn an_answer_without_addresses_is_still_one() {
    assert!(Wire::answer_to("nowhere.example").read().addresses.is_empty());
}

#[test]
fn of_a_cut_answer_the_records_before_the_cut_count() {
    let whole = Wire::answer_to("example.org").address("example.org", 60, "203.0.113.1").address(
        "example.org",
        60,
        "203.0.113.2",
    );
    let read = answer(&whole.0[..whole.0.len() - 1]).unwrap();
    assert_eq!(read.addresses, addresses(&["203.0.113.1"]));
}

#[test]
fn more_than_it_says_and_less_than_it_says_do_no_harm() {
    let mut lying = Wire::answer_to("example.org").address("example.org", 60, "203.0.113.1");
    lying.0[6..8].copy_from_slice(&[0xff, 0xff]);
    lying.0[10..12].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(lying.read().addresses, addresses(&["203.0.113.1"]));
}

#[test]
fn names_that_point_to_themselves_or_ahead_end() {
    for pointer in [[0xc0, 12], [0xc0, 14], [0xff, 0xff]] {
        let mut message = vec![0, 0, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        message.extend(pointer);
        message.extend([0, 1, 0, 1]);
        message.extend(pointer);
        assert_eq!(answer(&message), Err(DnsError::Malformed), "{pointer:?}");
    }
    // Two that point to each other, behind an honest question.
    let mut message = Wire::answer_to("example.org");
    let at = message.0.len() as u8;
    message = message.record(&[1, b'a', 0xc0, at], 1, 60, &[203, 0, 113, 1]);
    assert!(message.read().addresses.is_empty());
}

#[test]
fn aliases_in_a_circle_end() {
    let read = Wire::answer_to("a.example")
        .alias("a.example", "b.example")
        .alias("b.example", "a.example")
        .address("b.example", 60, "203.0.113.1")
        .read();
    assert_eq!(read.addresses, addresses(&["203.0.113.1"]));
}

#[test]
fn thousands_of_records_are_looked_at_to_a_bound() {
    let mut message = Wire::answer_to("example.org");
    for number in 0..200_u8 {
        message = message.record(&QUESTION, 1, 60, &[203, 0, 113, number]);
    }
    assert_eq!(message.read().addresses.len(), RECORDS_MAX);
}

#[test]
fn thousands_of_hints_are_looked_at_to_a_bound() {
    let hint = |key: u8, bytes: Vec<u8>| {
        [&[0, key][..], &(bytes.len() as u16).to_be_bytes(), &bytes].concat()
    };
    let v4 = (0..3_000_u32).flat_map(|number| (0xcb00_7100 + number).to_be_bytes()).collect();
    let v6 = (0..3_000_u128).flat_map(|number| ((0x2001_0db8 << 96) + number).to_be_bytes());
    for hints in [hint(4, v4), hint(6, v6.collect())] {
        let data = [&[0, 1, 0][..], &hints].concat();
        let message = Wire::answer_to("example.org").record(&QUESTION, 65, 60, &data);
        let read = message.address("example.org", 60, "203.0.112.1").read();
        assert_eq!(read.addresses.len(), ADDRESSES_MAX);
    }
}

#[test]
fn what_a_name_hides_is_shown_escaped() {
    let mut message = Wire::answer_to("x");
    message.0.splice(12..15, [4, b'a', 0x1b, b'.', b'b', 0]);
    assert_eq!(message.read().question.name.as_ref(), "a\\027\\046b");
}

#[test]
fn a_query_is_no_answer_and_the_root_has_no_name() {
    assert_eq!(answer(&Wire::query("example.org").0), Err(DnsError::Direction));
    assert_eq!(query(&Wire::query("Example.org").0).unwrap().name.as_ref(), "example.org");
    assert_eq!(query(&Wire::answer_to("example.org").0), Err(DnsError::Direction));
    assert_eq!(query(&Wire::query("").0), Err(DnsError::Nameless));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = answer(&bytes);
        let _ = query(&bytes);
    }

    #[test]
    fn no_changed_bytes_make_it_panic(
        changes in prop::collection::vec((0_usize..200, any::<u8>()), 1..6),
        cut in 0_usize..300,
    ) {
        let mut bytes = Wire::answer_to("www.example.org")
            .alias("www.example.org", "cdn.example.com")
            .record(&[0xc0, 16], 65, 60, &[0, 1, 0, 0, 4, 0, 4, 203, 0, 113, 9])
            .record(&[0xc0, 12], 28, 60, &[0x20; 16])
            .address("cdn.example.com", 60, "203.0.113.1")
            .0;
        for (at, to) in changes {
            let at = at % bytes.len();
            bytes[at] = to;
        }
        bytes.truncate(cut);
        let _ = answer(&bytes);
        if let Some(flags) = bytes.get_mut(2) {
            *flags |= 0x80;
        }
        if let Ok(answer) = answer(&bytes) {
            prop_assert!(answer.question.name.len() <= host::NAME_MAX);
            prop_assert!(answer.question.name.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
