//! The container that a cgroup path names, by the shapes the runtimes give it. Pure text, no I/O.

/// The innermost container of `path`: 64 hexadecimal digits for OCI runtimes, the name for LXC.
pub(super) fn of(path: &str) -> Option<&str> {
    let mut innermost = None;
    let mut parent = "";
    for component in path.split('/') {
        innermost = named_by(component, parent).or(innermost);
        parent = component;
    }
    innermost
}

/// The container that one component of a path names, if it does.
pub(super) fn named_by<'a>(component: &'a str, parent: &str) -> Option<&'a str> {
    // LXC 4 and later; `lxc.monitor.NAME` is its supervisor on the host.
    if let Some(name) = component.strip_prefix("lxc.payload.") {
        return (!name.is_empty()).then_some(name);
    }
    if matches!(parent, "lxc" | "lxc.payload") && !component.is_empty() {
        return Some(component);
    }
    oci(component)
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
    let is_id = id.len() == 64 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f2c1e0d9b8a7f6e5d4c3b2a190817263544536271809fae0d1c2b3a49586776";

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
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1a_2b.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1.slice/crio-ID.scope/container",
            "/kubepods/burstable/pod0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9/ID",
            "/kubepods/besteffort/pod0a1b/ID",
            "/kubepods/pod0a1b/ID",
            "/kubepods.slice/kubepods-pod1.slice/docker-ID.scope",
            "/system.slice/containerd.service/kubepods-burstable-pod1.slice:cri-containerd:ID",
            "/system.slice/nerdctl-ID.scope",
            "/default/ID",
            "/ecs/0a1b/ID",
        ] {
            let path = shape.replace("ID", ID);
            assert_eq!(of(&path), Some(ID), "{shape}");
        }
    }

    #[test]
    fn lxc_containers_have_names() {
        for path in
            ["/lxc/web-1", "/lxc.payload.web-1", "/lxc.payload.web-1/system.slice/a.service"]
        {
            assert_eq!(of(path), Some("web-1"), "{path}");
        }
        assert_eq!(of("/lxc.payload/web-1/init.scope"), Some("web-1"));
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
        ] {
            let path = shape.replace("ID", ID);
            assert_eq!(of(&path), None, "{shape}");
        }
        assert_eq!(of(&format!("/docker/{}", ID.to_uppercase())), None);
    }

    #[test]
    fn of_nested_containers_the_innermost_is_named() {
        let outer = "a".repeat(64);
        assert_eq!(of(&format!("/docker/{outer}/kubepods/pod1/{ID}")), Some(ID));
        assert_eq!(of(&format!("/lxc.payload.box/docker/{ID}")), Some(ID));
    }
}
