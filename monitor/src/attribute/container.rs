//! The container that a cgroup path names, by the shapes the runtimes give it. Pure text, no I/O.
//! Where a container ends and the host begins, `cgroup` says.

use std::borrow::Cow;

use super::unit;

/// A container, and the component of the path that is its boundary: all below is its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container<'a> {
    pub(super) at: usize,
    pub(super) name: Cow<'a, str>,
    /// The runtime was told to make it within the unit that started it: `podman --cgroups=split`, as
    /// Quadlet does. What runs in it is what the unit runs.
    pub(super) is_units_own: bool,
}

/// The outermost container of a path: the one that the host's runtime made. What a container makes
/// below its boundary is called as the container likes.
pub(super) fn outermost<'a>(components: &[&'a str]) -> Option<Container<'a>> {
    (0..components.len()).find_map(|at| {
        let name = nspawn(components, at)
            .or_else(|| named_by(components[at], &components[..at]).map(Cow::Borrowed))?;
        let is_units_own = components[at].starts_with(SPLIT);
        Some(Container { at, name, is_units_own })
    })
}

const SPLIT: &str = "libpod-payload-";

/// The container that a component names, if it does; `above` stand before it in the path.
fn named_by<'a>(component: &'a str, above: &[&str]) -> Option<&'a str> {
    // LXC 4 and later, Incus and LXD; `lxc.monitor.NAME` is the supervisor on the host.
    if let Some(name) = component.strip_prefix("lxc.payload.") {
        return (!name.is_empty()).then_some(name);
    }
    let is_named = match above {
        [.., "lxc" | "lxc.payload"] => true,
        // containerd's own namespace, in which `ctr run` names containers as it is told. Of other
        // namespaces only what has the shape of an id is sure to be a container.
        ["default"] => is_containerd_id(component),
        [.., "buildkit"] => is_build_id(component),
        [.., "garden"] | [.., "garden", "good" | "bad"] => is_garden_handle(component),
        _ => above.contains(&"ecs") && is_task_id(component),
    };
    if is_named {
        return Some(component);
    }
    // BuildKit within Docker, where systemd makes its cgroups.
    let stem = component.strip_prefix("docker-").and_then(|it| it.strip_suffix(".scope"));
    stem.filter(|id| is_build_id(id)).or_else(|| oci(component))
}

/// `ID`, `RUNTIME-ID.scope` (systemd driver) or `SLICE:RUNTIME:ID` (runc told a systemd path while
/// it manages cgroups itself).
fn oci(component: &str) -> Option<&str> {
    let stem = component.strip_suffix(".scope").unwrap_or(component);
    let (runtime, id) = match stem.rfind(['-', ':']) {
        Some(at) => (&stem[..at], &stem[at + 1..]),
        None => ("", stem),
    };
    // conmon is a container's supervisor on the host, not in the container.
    if runtime.ends_with("conmon") {
        return None;
    }
    (id.len() == 64 && is_hex(id)).then_some(id)
}

/// systemd-nspawn and what else systemd-machined knows, but for virtual machines: their programs
/// are the host's. The supervisor of nspawn is the host's, too.
fn nspawn<'a>(components: &[&'a str], at: usize) -> Option<Cow<'a, str>> {
    let ["machine.slice"] = components[..at] else { return None };
    let (inside, component) = (components.get(at + 1).copied(), components[at]);
    let escaped = match component.strip_prefix("systemd-nspawn@") {
        // At its start nspawn itself is here, and then below.
        Some(instance) if inside.is_some() => instance.strip_suffix(".service")?,
        Some(_) => return None,
        None => component.strip_prefix("machine-")?.strip_suffix(".scope")?,
    };
    let is_hosts = inside == Some("supervisor");
    let name = unit::unescaped(escaped)?;
    let is_virtual = name.starts_with("qemu-");
    (!is_hosts && !is_virtual).then_some(Cow::Owned(name))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Amazon ECS on Fargate: 32 hexadecimal digits of the task and a number.
fn is_task_id(text: &str) -> bool {
    text.split_once('-').is_some_and(|(task, number)| {
        task.len() == 32
            && is_hex(task)
            && (1..=20).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// `BuildKit`: a random number, in base 36.
fn is_build_id(text: &str) -> bool {
    text.len() == 25 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z'))
}

/// Garden, of Cloud Foundry: groups of 8, 4, 4, 4 and 4 (or 12) hexadecimal digits; a process that
/// the platform runs beside the application has a suffix.
fn is_garden_handle(text: &str) -> bool {
    let groups: Vec<&str> = text.splitn(6, '-').take(5).collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    matches!(lengths[..], [8, 4, 4, 4, 4 | 12]) && groups.iter().all(|group| is_hex(group))
}

/// What containerd accepts as an id.
fn is_containerd_id(text: &str) -> bool {
    text.len() <= 76
        && text
            .split(['-', '_', '.'])
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f2c1e0d9b8a7f6e5d4c3b2a190817263544536271809fae0d1c2b3a49586776";

    fn of(path: &str) -> Option<String> {
        let components: Vec<&str> = path.split('/').filter(|it| !it.is_empty()).collect();
        outermost(&components).map(|it| it.name.into_owned())
    }

    #[test]
    fn each_runtime_has_its_shape() {
        for shape in [
            "/docker/ID",
            "/system.slice/docker-ID.scope",
            "/docker/ID/system.slice/nginx.service",
            "/system.slice/docker-ID.scope/init.scope",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/machine.slice/libpod-ID.scope",
            "/libpod_parent/libpod-ID",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            "/system.slice/nginx.service/libpod-payload-ID",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1a_2b.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/crio-ID.scope/container",
            "/kubepods/burstable/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/ID",
            "/kubepods/besteffort/pod0a1b/ID",
            "/kubepods/besteffort/pod0a1b/crio-ID",
            "/kubepods/pod0a1b/ID",
            "/kubepods.slice/kubepods-pod1.slice/docker-ID.scope",
            "/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:ID",
            "/system.slice/nerdctl-ID.scope",
            "/default/ID",
            "/k8s.io/ID",
            "/ecs/0a1b/ID",
            "/ecs/cluster/0a1b/ID",
        ] {
            let path = shape.replace("ID", ID);
            assert_eq!(of(&path).as_deref(), Some(ID), "{shape}");
        }
    }

    #[test]
    fn runtimes_that_do_not_write_64_digits_have_theirs() {
        let task = "34dc0b5e626f2c5c4c5170e34b10e765";
        for (path, name) in [
            (format!("/ecs/{task}/{task}-1234567890"), format!("{task}-1234567890")),
            (format!("/ecs/cluster/{task}/{task}-12"), format!("{task}-12")),
            ("/buildkit/abcdefghij0123456789klmno".into(), "abcdefghij0123456789klmno".into()),
            ("/docker/buildkit/abcdefghij0123456789klmno".into(), "abcdefghij0123456789klmno".into()),
            (
                "/system.slice/docker-abcdefghij0123456789klmno.scope".into(),
                "abcdefghij0123456789klmno".into(),
            ),
            ("/garden/6f265890-5165-7fab-6b52-18d1".into(), "6f265890-5165-7fab-6b52-18d1".into()),
            (
                "/system.slice/garden.service/garden/good/2f57368b-0eda-4e52-64d8-af5c".into(),
                "2f57368b-0eda-4e52-64d8-af5c".into(),
            ),
            (
                "/system.slice/garden.service/garden/c034152c-80b0-4a44-70df-5c61-liveness-healthcheck-0".into(),
                "c034152c-80b0-4a44-70df-5c61-liveness-healthcheck-0".into(),
            ),
            ("/default/redis-1".into(), "redis-1".into()),
        ] {
            assert_eq!(of(&path), Some(name), "{path}");
        }
    }

    #[test]
    fn lxc_containers_have_names() {
        for path in [
            "/lxc/web-1",
            "/lxc.payload.web-1",
            "/lxc.payload.web-1/system.slice/a.service",
            "/lxc.payload/web-1/init.scope",
            "/lxc/web-1/ns/init.scope",
            "/user.slice/user-1000.slice/user@1000.service/lxc.payload.web-1",
        ] {
            assert_eq!(of(path).as_deref(), Some("web-1"), "{path}");
        }
    }

    #[test]
    fn machines_of_nspawn_and_libvirt_have_names_and_virtual_machines_are_none() {
        for (path, name) in [
            ("/machine.slice/systemd-nspawn@web.service/payload", Some("web")),
            ("/machine.slice/systemd-nspawn@my\\x2dbox.service/payload/init.scope", Some("my-box")),
            ("/machine.slice/systemd-nspawn@web.service/system.slice/a.service", Some("web")),
            ("/machine.slice/machine-web.scope", Some("web")),
            ("/machine.slice/machine-web.scope/payload/system.slice/a.service", Some("web")),
            ("/machine.slice/machine-lxc\\x2d123\\x2dweb.scope", Some("lxc-123-web")),
            ("/machine.slice/systemd-nspawn@web.service", None),
            ("/machine.slice/systemd-nspawn@web.service/supervisor", None),
            ("/machine.slice/machine-web.scope/supervisor", None),
            ("/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt/emulator", None),
            ("/system.slice/machine-web.scope", None),
            ("/user.slice/user-1.slice/user@1.service/machine.slice/machine-web.scope", None),
        ] {
            assert_eq!(of(path).as_deref(), name, "{path}");
        }
    }

    #[test]
    fn what_is_no_container_names_none() {
        for shape in [
            "/",
            "",
            "/system.slice/docker.service",
            "/system.slice/containerd.service",
            "/machine.slice/libpod-conmon-ID.scope",
            "/kubepods.slice/crio-conmon-ID.scope",
            "/kubepods.slice/kubepods-burstable.slice",
            "/lxc.monitor.web-1",
            "/lxc",
            "/lxc.payload.",
            "/docker/0123abc",
            "/docker/IDff",
            "/user.slice/user-1000.slice/session-3.scope",
            "/example/redis-1",
            "/default",
            "/default/a..b",
            "/system.slice/a.service/default/redis-1",
            "/buildkit/short",
            "/garden/good",
            "/garden/6f265890-5165-7fab-6b52",
            "/34dc0b5e626f2c5c4c5170e34b10e765-12",
            "/ecs/34dc0b5e626f2c5c4c5170e34b10e765",
            "/ecs/34dc0b5e626f2c5c4c5170e34b10e765-x",
        ] {
            let path = shape.replace("ID", ID);
            assert_eq!(of(&path), None, "{shape}");
        }
        assert_eq!(of(&format!("/docker/{}", ID.to_uppercase())), None);
    }

    #[test]
    fn of_nested_containers_the_one_that_the_host_made_is_named() {
        let outer = "a".repeat(64);
        assert_eq!(of(&format!("/docker/{outer}/kubepods/pod1/{ID}")), Some(outer));
        assert_eq!(of(&format!("/lxc.payload.box/docker/{ID}")).as_deref(), Some("box"));
        let nspawn = "/machine.slice/systemd-nspawn@web.service/payload";
        assert_eq!(of(&format!("{nspawn}/system.slice/docker-{ID}.scope")).as_deref(), Some("web"));
    }
}
