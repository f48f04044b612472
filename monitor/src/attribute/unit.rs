//! The systemd unit that a cgroup path names. Pure text, no I/O.

use super::container;

/// The kinds of unit that own processes (systemd.exec(5)); slices only group them.
const KINDS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

/// The innermost unit: that of a user's manager rather than `user@1000.service` around it. A
/// container's own scope is no unit, and no unit outside a container is its processes'.
pub(super) fn of(path: &str) -> Option<&str> {
    let mut unit = None;
    let mut parent = "";
    for component in path.split('/') {
        if container::named_by(component, parent).is_some() {
            unit = None;
        } else {
            unit = named_by(component).or(unit);
        }
        parent = component;
    }
    unit
}

/// The unit that one component of a path names, if it does.
fn named_by(component: &str) -> Option<&str> {
    // systemd puts one underscore before a name that would collide with a file of the kernel's.
    let name = component.strip_prefix('_').unwrap_or(component);
    let stem = KINDS.iter().find_map(|kind| name.strip_suffix(kind))?;
    let is_name = !stem.is_empty()
        && stem.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
        });
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_names_its_unit() {
        let container = "b".repeat(64);
        for (path, unit) in [
            ("/system.slice/chrony.service", Some("chrony.service")),
            ("/init.scope", Some("init.scope")),
            ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
            ("/system.slice/foo.service/payload/deep", Some("foo.service")),
            ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope")),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service",
                Some("foo.service"),
            ),
            ("/user.slice/user-1000.slice/user@1000.service/init.scope", Some("init.scope")),
            ("/user.slice/user-1000.slice/user@1000.service", Some("user@1000.service")),
            (
                "/user.slice/u.slice/user@1.service/app.slice/app-org.gnome\\x2dterm-1.scope",
                Some("app-org.gnome\\x2dterm-1.scope"),
            ),
            ("/system.slice/_cgroup.weird.service", Some("cgroup.weird.service")),
            ("/system.slice/__under.service", Some("_under.service")),
            ("/system.slice/dbus.socket", Some("dbus.socket")),
            ("/machine.slice/machine-debian.scope", Some("machine-debian.scope")),
            ("/system.slice", None),
            ("/user.slice/user-1000.slice", None),
            ("/", None),
            ("", None),
            ("/docker/short", None),
            ("/odd/.service", None),
            ("/odd/a b.service", None),
        ] {
            assert_eq!(of(path), unit, "{path}");
        }
        for (path, unit) in [
            (format!("/system.slice/docker-{container}.scope"), None),
            (format!("/system.slice/containerd.service/p.slice:cri-containerd:{container}"), None),
            (format!("/docker/{container}/system.slice/nginx.service"), Some("nginx.service")),
            (format!("/system.slice/docker-{container}.scope/init.scope"), Some("init.scope")),
        ] {
            assert_eq!(of(&path), unit, "{path}");
        }
        assert_eq!(of("/lxc/web.service"), None);
    }
}
