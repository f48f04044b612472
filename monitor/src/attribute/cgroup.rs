//! `/proc/PID/cgroup`: which of its lines tells where the process belongs, and the unit and
//! container that the path names. Pure text, no I/O.

use std::sync::Arc;

use super::{container, unit};

/// Where a process belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// Path below the mount: `/system.slice/chrony.service`.
    pub(super) path: Arc<str>,
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
            .find(|path| container::of(path).is_some())
            .or_else(|| paths().find(|path| *path != "/"))
            .or_else(|| paths().next())?;
        Some(Self {
            path: path.into(),
            unit: unit::of(path).map(Into::into),
            container: container::of(path).map(Into::into),
        })
    }
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

    #[test]
    fn malformed_text_names_no_cgroup() {
        for text in ["", "\n", "0::", "0:", "nonsense", "0::relative\n"] {
            assert_eq!(Cgroup::parse(text), None, "{text:?}");
        }
    }
}
