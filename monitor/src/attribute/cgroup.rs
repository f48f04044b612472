//! `/proc/PID/cgroup`: which of its lines tells where the process belongs, and the unit and
//! container that the path names. Pure text, no I/O. Nothing that a service, a user or a container
//! called so below its own boundary is told as the host's.

use std::{borrow::Cow, sync::Arc};

use super::{container, unit};

/// Where a process belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// Path below the mount: `/system.slice/chrony.service`.
    pub(super) path: Arc<str>,
    /// The system manager's; one of a user's manager as `user:<uid>/<unit>`.
    pub(super) unit: Option<Arc<str>>,
    pub(super) container: Option<Arc<str>>,
}

impl Cgroup {
    /// `None` when no line is well-formed.
    ///
    /// With cgroup v2 alone there is one line, `0::PATH`. Hybrid hosts have more, and runtimes put
    /// a container in only some of the hierarchies: the first line that names a container tells
    /// most, then the first that is not the root; v2 before systemd's own before the controllers'.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut paths: Vec<(u8, &str)> = text.lines().filter_map(ranked).collect();
        paths.sort_by_key(|(rank, _)| *rank);
        let paths = || paths.iter().map(|(_, path)| *path);
        let path = paths()
            .find(|path| owners(path).1.is_some())
            .or_else(|| paths().find(|path| *path != "/"))
            .or_else(|| paths().next())?;
        let (unit, container) = owners(path);
        Some(Self {
            path: path.into(),
            unit: unit.map(Into::into),
            container: container.map(Into::into),
        })
    }
}

/// The unit and the container that a path names.
///
/// The system manager's units stand below its slices, one deep: what is further down, the unit (or
/// who it was delegated to) made and named itself. A container is no unit's, wherever its cgroup is:
/// a rule for `containerd.service` is for that, not for all that it runs. Only where a unit was told
/// to be the container (Quadlet), it is both.
fn owners(path: &str) -> (Option<Cow<'_, str>>, Option<Cow<'_, str>>) {
    let components: Vec<&str> = path.split('/').filter(|it| !it.is_empty()).collect();
    let container = container::outermost(&components);
    let end = container.as_ref().map_or(components.len(), |it| it.at);
    let is_units = container.as_ref().is_none_or(|it| it.is_units_own);
    let unit = if is_units { unit_of(&components[..end]) } else { None };
    (unit, container.map(|it| it.name))
}

/// The unit of a path that leads into no container.
fn unit_of<'a>(components: &[&'a str]) -> Option<Cow<'a, str>> {
    let (slices, rest) = below_slices(components);
    let (first, inner) = rest.split_first()?;
    let unit = unit::named_by(first)?;
    if let Some(uid) = unit::user_of_manager(unit, slices)
        && let (_, [next, ..]) = below_slices(inner)
        && let Some(users) = unit::named_by(next)
    {
        return Some(Cow::Owned(format!("user:{uid}/{users}")));
    }
    Some(Cow::Borrowed(unit))
}

fn below_slices<'p, 'a>(components: &'p [&'a str]) -> (&'p [&'a str], &'p [&'a str]) {
    components.split_at(components.iter().take_while(|it| unit::is_slice(it)).count())
}

/// A line `ID:CONTROLLERS:PATH` as its rank and path.
fn ranked(line: &str) -> Option<(u8, &str)> {
    let (id, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    // The kernel marks a removed cgroup; its processes may live on.
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    if !path.starts_with('/') {
        return None;
    }
    let rank = match (id, controllers) {
        ("0", "") => 0,
        (_, "name=systemd") => 1,
        _ => 2,
    };
    Some((rank, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f2c1e0d9b8a7f6e5d4c3b2a190817263544536271809fae0d1c2b3a49586776";

    fn parse(text: &str) -> (String, Option<String>, Option<String>) {
        let cgroup = Cgroup::parse(text).unwrap();
        let text = |part: Option<Arc<str>>| part.map(|part| part.to_string());
        (cgroup.path.to_string(), text(cgroup.unit), text(cgroup.container))
    }

    #[test]
    fn the_one_line_of_cgroup_v2_is_taken() {
        let (path, unit, container) = parse("0::/system.slice/chrony.service\n");
        assert_eq!(path, "/system.slice/chrony.service");
        assert_eq!(unit.as_deref(), Some("chrony.service"));
        assert_eq!(container, None);
    }

    #[test]
    fn on_a_hybrid_host_the_hierarchy_that_knows_the_process_is_taken() {
        let text = "9:name=systemd:/system.slice/ssh.service\n4:memory:/odd\n0::/\n";
        assert_eq!(parse(text).0, "/system.slice/ssh.service");
        assert_eq!(parse("9:name=systemd:/\n4:memory:/jail/one\n0::/\n").0, "/jail/one");
        assert_eq!(parse("9:name=systemd:/\n4:memory:/\n0::/\n").0, "/");
    }

    #[test]
    fn the_hierarchy_that_names_a_container_wins() {
        let text = format!("4:memory:/docker/{ID}\n0::/system.slice/containerd.service\n");
        let (path, unit, container) = parse(&text);
        assert_eq!(path, format!("/docker/{ID}"));
        assert_eq!(container.as_deref(), Some(ID));
        assert_eq!(unit, None);
    }

    #[test]
    fn a_path_may_contain_colons_and_a_removed_cgroup_keeps_its_name() {
        let text = format!("0::/system.slice/k.slice:cri-containerd:{ID} (deleted)\n");
        assert_eq!(parse(&text).0, format!("/system.slice/k.slice:cri-containerd:{ID}"));
    }

    fn owners_of(path: &str) -> (Option<String>, Option<String>) {
        let (unit, container) = owners(path);
        (unit.map(Cow::into_owned), container.map(Cow::into_owned))
    }

    #[test]
    fn the_units_are_the_system_managers() {
        for (path, unit) in [
            ("/system.slice/chrony.service", Some("chrony.service")),
            ("/init.scope", Some("init.scope")),
            ("/system.slice/system-getty.slice/getty@tty1.service", Some("getty@tty1.service")),
            ("/user.slice/user-1000.slice/session-3.scope", Some("session-3.scope")),
            ("/user.slice/user-1000.slice/user@1000.service", Some("user@1000.service")),
            ("/user.slice/u.slice/user@1.service/app.slice/a.service", Some("user@1.service")),
            ("/system.slice/_cgroup.weird.service", Some("cgroup.weird.service")),
            ("/system.slice/dbus.socket", Some("dbus.socket")),
            (
                "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
                Some("machine-qemu\\x2d1\\x2dvm.scope"),
            ),
            ("/unusual.slice/a.service", Some("a.service")),
            ("/system.slice", None),
            ("/user.slice/user-1000.slice", None),
            ("/", None),
            ("", None),
            ("/docker/short", None),
            ("/odd/a.service", None),
            ("/system.slice/odd/a.service", None),
            ("/system.slice/.service", None),
            ("/../a.service", None),
        ] {
            assert_eq!(owners_of(path), (unit.map(str::to_owned), None), "{path}");
        }
    }

    #[test]
    fn a_unit_that_a_service_makes_within_itself_is_that_service() {
        let made = "/system.slice/foo.service/bar.service";
        assert_eq!(owners_of(made).0.as_deref(), Some("foo.service"));
        let deep = "/system.slice/foo.service/payload/system.slice/bar.service/x";
        assert_eq!(owners_of(deep).0.as_deref(), Some("foo.service"));
        let session = "/user.slice/user-1000.slice/session-3.scope/backup.service";
        assert_eq!(owners_of(session).0.as_deref(), Some("session-3.scope"));
    }

    #[test]
    fn a_unit_of_a_users_manager_is_told_as_that_users() {
        let manager = "/user.slice/user-1000.slice/user@1000.service";
        for (below, unit) in [
            ("app.slice/foo.service", "user:1000/foo.service"),
            ("init.scope", "user:1000/init.scope"),
            ("app.slice/app-a.slice/a@1.service/sub/b.service", "user:1000/a@1.service"),
            // `mkdir`, in a cgroup that was delegated.
            ("backup.service", "user:1000/backup.service"),
            ("system.slice/backup.service", "user:1000/backup.service"),
            ("odd/backup.service", "user@1000.service"),
        ] {
            assert_eq!(
                owners_of(&format!("{manager}/{below}")).0.as_deref(),
                Some(unit),
                "{below}"
            );
        }
    }

    #[test]
    fn what_is_below_a_containers_boundary_is_the_containers() {
        for path in [
            "/system.slice/docker-ID.scope",
            "/system.slice/docker-ID.scope/init.scope",
            "/system.slice/docker-ID.scope/system.slice/nginx.service",
            "/docker/ID/system.slice/nginx.service",
            "/system.slice/containerd.service/p.slice:cri-containerd:ID",
            "/system.slice/docker.service/docker/ID",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
        ] {
            let owners = owners_of(&path.replace("ID", ID));
            assert_eq!(owners, (None, Some(ID.to_owned())), "{path}");
        }
        let nspawn = "/machine.slice/systemd-nspawn@web.service";
        for below in ["payload", "payload/system.slice/nginx.service", "payload/init.scope"] {
            let owners = owners_of(&format!("{nspawn}/{below}"));
            assert_eq!(owners, (None, Some("web".into())), "{below}");
        }
        let scope = owners_of("/machine.slice/machine-web.scope/payload/system.slice/a.service");
        assert_eq!(scope, (None, Some("web".into())));
        assert_eq!(owners_of("/lxc/web.service"), (None, Some("web.service".into())));
    }

    #[test]
    fn the_supervisor_of_a_container_is_the_hosts() {
        for (path, unit) in [
            ("/machine.slice/systemd-nspawn@web.service/supervisor", "systemd-nspawn@web.service"),
            ("/machine.slice/systemd-nspawn@web.service", "systemd-nspawn@web.service"),
            ("/machine.slice/machine-web.scope/supervisor", "machine-web.scope"),
            ("/machine.slice/libpod-conmon-ID.scope", "libpod-conmon-ID.scope"),
            ("/system.slice/nginx.service/runtime", "nginx.service"),
        ] {
            let (path, unit) = (path.replace("ID", ID), unit.replace("ID", ID));
            assert_eq!(owners_of(&path), (Some(unit), None), "{path}");
        }
    }

    #[test]
    fn a_unit_that_is_a_container_is_told_as_both() {
        let quadlet = format!("/system.slice/nginx.service/libpod-payload-{ID}");
        let both = |unit: &str| (Some(unit.to_owned()), Some(ID.to_owned()));
        assert_eq!(owners_of(&quadlet), both("nginx.service"));
        assert_eq!(owners_of(&format!("{quadlet}/system.slice/a.service")), both("nginx.service"));
        let users = "/user.slice/user-1000.slice/user@1000.service/app.slice/redis.service";
        let users = format!("{users}/libpod-payload-{ID}");
        assert_eq!(owners_of(&users), both("user:1000/redis.service"));
    }

    #[test]
    fn malformed_text_names_no_cgroup() {
        for text in ["", "\n", "0::", "0:", "nonsense", "0::relative\n"] {
            assert_eq!(Cgroup::parse(text), None, "{text:?}");
        }
    }
}
