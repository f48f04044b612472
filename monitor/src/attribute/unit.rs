//! The systemd unit that one component of a cgroup path names. Pure text, no I/O. Whose unit it is,
//! `cgroup` says from where the component stands.

/// The kinds of unit that own processes (systemd.exec(5)); slices only group them.
const KINDS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

/// The unit that a component names, if it does.
pub(super) fn named_by(component: &str) -> Option<&str> {
    // systemd puts one underscore before a name that would collide with a file of the kernel's.
    let name = component.strip_prefix('_').unwrap_or(component);
    let stem = KINDS.iter().find_map(|kind| name.strip_suffix(kind))?;
    is_name(stem).then_some(name)
}

pub(super) fn is_slice(component: &str) -> bool {
    let name = component.strip_prefix('_').unwrap_or(component);
    name.strip_suffix(".slice").is_some_and(is_name)
}

/// The characters of systemd.unit(5).
fn is_name(stem: &str) -> bool {
    !stem.is_empty()
        && stem.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
        })
}

/// The user whose manager a service is, if it stands in that user's slice.
pub(super) fn user_of_manager(service: &str, slices: &[&str]) -> Option<u32> {
    let uid = service.strip_prefix("user@")?.strip_suffix(".service")?;
    let slice = slices.last()?.strip_prefix("user-")?.strip_suffix(".slice")?;
    // systemd writes numbers without a sign or zeros in front.
    let is_number = uid.bytes().all(|byte| byte.is_ascii_digit());
    (slices.len() == 2 && slices[0] == "user.slice" && slice == uid && is_number)
        .then(|| uid.parse().ok())?
}

/// What `systemd-escape` made of a name; `None` where it is no such text.
pub(super) fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, rest) {
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = after;
            }
            (b'\\', _) => return None,
            (b'-', _) => bytes.push(b'/'),
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_component_names_its_unit_or_none() {
        for (component, unit) in [
            ("chrony.service", Some("chrony.service")),
            ("init.scope", Some("init.scope")),
            ("getty@tty1.service", Some("getty@tty1.service")),
            ("app-org.gnome\\x2dterm-1.scope", Some("app-org.gnome\\x2dterm-1.scope")),
            ("_cgroup.weird.service", Some("cgroup.weird.service")),
            ("__under.service", Some("_under.service")),
            ("dbus.socket", Some("dbus.socket")),
            ("system.slice", None),
            (".service", None),
            ("a b.service", None),
            ("payload", None),
            ("", None),
        ] {
            assert_eq!(named_by(component), unit, "{component}");
        }
        assert!(is_slice("system.slice") && is_slice("user-1000.slice"));
        assert!(!is_slice(".slice") && !is_slice("p.slice:cri:1") && !is_slice("a.service"));
    }

    #[test]
    fn a_users_manager_is_known_by_its_slice_and_by_nothing_else() {
        let slices = ["user.slice", "user-1000.slice"];
        assert_eq!(user_of_manager("user@1000.service", &slices), Some(1000));
        for (service, slices) in [
            ("user@1001.service", &slices[..]),
            ("user@.service", &["user.slice", "user-.slice"]),
            ("user@+1.service", &["user.slice", "user-+1.slice"]),
            ("user@1000.service", &["system.slice"]),
            ("user@1000.service", &["system.slice", "user-1000.slice"]),
            ("user@1000.service", &[]),
            ("session-3.scope", &slices[..]),
        ] {
            assert_eq!(user_of_manager(service, slices), None, "{service} {slices:?}");
        }
    }

    #[test]
    fn an_escaped_name_is_read_back_and_a_malformed_one_is_none() {
        assert_eq!(unescaped("my\\x2dbox").as_deref(), Some("my-box"));
        assert_eq!(unescaped("web").as_deref(), Some("web"));
        for wrong in ["", "a\\", "a\\x2", "a\\xzz", "\\xff", "\\y00"] {
            assert_eq!(unescaped(wrong), None, "{wrong}");
        }
    }
}
