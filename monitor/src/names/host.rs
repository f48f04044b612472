//! Names as they are kept: lower case, without the final dot, printable whatever the packet held.

use std::{net::IpAddr, sync::Arc};

/// Longest name as text (RFC 1035, 2.3.4, less the length bytes). What escapes make longer is none.
pub(super) const NAME_MAX: usize = 253;

/// From the labels of a DNS name, without the root. `None` for the root itself.
pub(super) fn of_labels<'l>(labels: impl Iterator<Item = &'l [u8]>) -> Option<Arc<str>> {
    let mut name = String::new();
    for label in labels.filter(|label| !label.is_empty()) {
        if !name.is_empty() {
            name.push('.');
        }
        for byte in label {
            push(&mut name, *byte);
        }
        if name.len() > NAME_MAX {
            return None;
        }
    }
    (!name.is_empty()).then(|| name.into())
}

/// From the text of a TLS server name, which is no address (RFC 6066, 3).
pub(super) fn of_text(text: &[u8]) -> Option<Arc<str>> {
    let text = text.strip_suffix(b".").unwrap_or(text);
    let is_address = || std::str::from_utf8(text).is_ok_and(|it| it.parse::<IpAddr>().is_ok());
    if text.len() > NAME_MAX
        || is_address()
        || text.split(|byte| *byte == b'.').any(<[u8]>::is_empty)
    {
        return None;
    }
    of_labels(text.split(|byte| *byte == b'.'))
}

/// Letters, digits, hyphen and underscore as they are, the rest as `\DDD` (RFC 1035, 5.1).
fn push(name: &mut String, byte: u8) {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => {
            name.push(char::from(byte.to_ascii_lowercase()));
        }
        _ => {
            name.push('\\');
            for digit in [byte / 100, byte / 10 % 10, byte % 10] {
                name.push(char::from(b'0' + digit));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Option<Arc<str>> {
        of_labels(text.split('.').map(str::as_bytes))
    }

    #[test]
    fn a_name_is_lower_case_and_has_no_final_dot() {
        assert_eq!(labels("WWW.Example.ORG.").as_deref(), Some("www.example.org"));
        assert_eq!(of_text(b"Example.org.").as_deref(), Some("example.org"));
        assert_eq!(labels("_dmarc.a-b").as_deref(), Some("_dmarc.a-b"));
    }

    #[test]
    fn what_no_host_name_has_is_escaped_and_stays_printable() {
        let name = of_labels([&b"a\x1b[2J"[..], &b"b.c"[..], &[0xff][..]].into_iter());
        assert_eq!(name.as_deref(), Some("a\\027\\0912j.b\\046c.\\255"));
    }

    #[test]
    fn the_root_an_address_and_what_is_too_long_are_no_names() {
        assert_eq!(labels("."), None);
        assert_eq!(of_text(b"192.0.2.1"), None);
        assert_eq!(of_text(b"2001:db8::1"), None);
        assert_eq!(of_text(b"a..b"), None);
        assert_eq!(of_text(&[b'a'; 254]), None);
        assert_eq!(of_labels(std::iter::repeat_n(&[0xff_u8; 60][..], 3)), None);
    }
}
