//! Names of domains in other letters than ASCII, as DNS holds them: punycode (RFC 3492) behind `xn--`. It
//! lowers letters and does not normalise: what is typed composed is what is looked for.

const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const BIAS: u32 = 72;
const FIRST: u32 = 0x80;

/// The name with each label that is not ASCII encoded; full stops of other scripts part labels, too.
/// `None`: a label holds what can't be encoded.
pub(super) fn to_ascii(name: &str) -> Option<String> {
    let name = name.to_lowercase().replace(['\u{3002}', '\u{ff0e}', '\u{ff61}'], ".");
    let labels = name.split('.').map(|label| {
        if label.is_ascii() {
            Some(label.to_owned())
        } else {
            encode(label).map(|it| format!("xn--{it}"))
        }
    });
    Some(labels.collect::<Option<Vec<_>>>()?.join("."))
}

fn encode(label: &str) -> Option<String> {
    // Neither is part of a name.
    if label.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let mut out: String = label.chars().filter(char::is_ascii).collect();
    let basic = out.len() as u32;
    if basic > 0 {
        out.push('-');
    }
    let count = label.chars().count() as u32;
    let (mut next, mut delta, mut bias, mut handled) = (FIRST, 0_u32, BIAS, basic);
    while handled < count {
        let least = label.chars().map(u32::from).filter(|it| *it >= next).min()?;
        delta = delta.checked_add((least - next).checked_mul(handled + 1)?)?;
        next = least;
        for c in label.chars().map(u32::from) {
            if c < next {
                delta = delta.checked_add(1)?;
            }
            if c == next {
                push_number(&mut out, delta, bias);
                bias = adapted(delta, handled + 1, handled == basic);
                (delta, handled) = (0, handled + 1);
            }
        }
        (delta, next) = (delta.checked_add(1)?, next.checked_add(1)?);
    }
    Some(out)
}

fn push_number(out: &mut String, mut number: u32, bias: u32) {
    // a to z, then 0 to 9.
    let digit = |value: u32| {
        let value = value as u8;
        char::from(if value < 26 { b'a' + value } else { b'0' + value - 26 })
    };
    let mut k = BASE;
    loop {
        let threshold = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if number < threshold {
            out.push(digit(number));
            return;
        }
        out.push(digit(threshold + (number - threshold) % (BASE - threshold)));
        number = (number - threshold) / (BASE - threshold);
        k += BASE;
    }
}

fn adapted(delta: u32, count: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / DAMP } else { delta / 2 };
    delta += delta / count;
    let mut k = 0;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k += BASE;
    }
    k + (BASE - T_MIN + 1) * delta / (delta + SKEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_other_letters_is_what_dns_holds_for_it() {
        for (name, ascii) in [
            ("b\u{fc}cher.example", "xn--bcher-kva.example"),
            ("B\u{dc}CHER.example", "xn--bcher-kva.example"),
            ("m\u{fc}nchen.de", "xn--mnchen-3ya.de"),
            ("\u{4f8b}\u{3048}.\u{30c6}\u{30b9}\u{30c8}", "xn--r8jz45g.xn--zckzah"),
            ("\u{4f8b}\u{3048}\u{3002}jp", "xn--r8jz45g.jp"),
            ("\u{43f}\u{440}\u{438}\u{43c}\u{435}\u{440}.\u{440}\u{444}", "xn--e1afmkfd.xn--p1ai"),
            ("plain.example", "plain.example"),
        ] {
            assert_eq!(to_ascii(name).as_deref(), Some(ascii), "{name}");
        }
        assert_eq!(to_ascii("b\u{fc} x"), None);
    }
}
