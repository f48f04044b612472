//! Which members of kernel structures the probes read beyond the stable interface, and in which
//! settings their offsets stand. User space takes them from the running kernel's BTF before load, a
//! group as a whole; without a group the probes read nothing of it.

/// Bits of the setting [`crate::names::setting::READS`]: the groups whose offsets are set.
pub mod reads {
    /// Which file a process executed.
    pub const EXECUTABLE: u8 = 1;
    /// The cookie of a socket, from its address.
    pub const COOKIE: u8 = 2;
    /// The network namespace of a socket.
    pub const NETNS: u8 = 4;
    /// The connection that a subflow of Multipath TCP belongs to.
    pub const CONNECTION: u8 = 8;
    /// What a process was executed with, and where: its arguments, network namespace and cgroups.
    pub const CIRCUMSTANCES: u8 = 16;
}

/// A member of a kernel structure, at whose offset in bytes the setting of this name stands.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub setting: &'static str,
    pub structure: &'static str,
    /// Through structures that are embedded, not pointed to.
    pub path: &'static [&'static str],
    /// Bytes that the probes read; 0: none, it is embedded.
    pub bytes: u32,
}

/// A group of [`reads`].
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub bit: u8,
    pub members: &'static [Member],
}

const fn member(
    setting: &'static str,
    structure: &'static str,
    path: &'static [&'static str],
    bytes: u32,
) -> Member {
    Member { setting, structure, path, bytes }
}

pub const GROUPS: [Group; 5] = [
    Group {
        bit: reads::EXECUTABLE,
        members: &[
            member("TASK_MM", "task_struct", &["mm"], 8),
            member("TASK_NSPROXY", "task_struct", &["nsproxy"], 8),
            member("MM_EXE_FILE", "mm_struct", &["exe_file"], 8),
            member("FILE_INODE", "file", &["f_inode"], 8),
            member("FILE_MOUNT", "file", &["f_path", "mnt"], 8),
            member("FILE_DENTRY", "file", &["f_path", "dentry"], 8),
            member("INODE_NUMBER", "inode", &["i_ino"], 8),
            member("INODE_SUPER", "inode", &["i_sb"], 8),
            member("INODE_LINKS", "inode", &["i_nlink"], 4),
            member("SUPER_DEVICE", "super_block", &["s_dev"], 4),
            member("DENTRY_PARENT", "dentry", &["d_parent"], 8),
            member("DENTRY_NAME", "dentry", &["d_name", "name"], 8),
            member("VFSMOUNT_ROOT", "vfsmount", &["mnt_root"], 8),
            member("MOUNT_VFSMOUNT", "mount", &["mnt"], 0),
            member("MOUNT_PARENT", "mount", &["mnt_parent"], 8),
            member("MOUNT_POINT", "mount", &["mnt_mountpoint"], 8),
            member("NSPROXY_MOUNTS", "nsproxy", &["mnt_ns"], 8),
            member("MOUNTS_NUMBER", "mnt_namespace", &["ns", "inum"], 4),
        ],
    },
    Group {
        bit: reads::COOKIE,
        members: &[member("SOCK_COOKIE", "sock_common", &["skc_cookie"], 8)],
    },
    Group {
        bit: reads::NETNS,
        members: &[
            member("SOCK_NET", "sock_common", &["skc_net", "net"], 8),
            member("NET_NUMBER", "net", &["ns", "inum"], 4),
        ],
    },
    Group {
        bit: reads::CONNECTION,
        members: &[
            member("TCP_IS_MPTCP", "tcp_sock", &["is_mptcp"], 1),
            member("ICSK_ULP_DATA", "inet_connection_sock", &["icsk_ulp_data"], 8),
            member("SUBFLOW_CONNECTION", "mptcp_subflow_context", &["conn"], 8),
            member("CONNECTION_COOKIE", "sock_common", &["skc_cookie"], 8),
        ],
    },
    Group {
        bit: reads::CIRCUMSTANCES,
        members: &[
            member("EXEC_MM", "task_struct", &["mm"], 8),
            member("MM_ARG_START", "mm_struct", &["arg_start"], 8),
            member("MM_ARG_END", "mm_struct", &["arg_end"], 8),
            member("EXEC_NSPROXY", "task_struct", &["nsproxy"], 8),
            member("NSPROXY_NET", "nsproxy", &["net_ns"], 8),
            member("NETNS_NUMBER", "net", &["ns", "inum"], 4),
            member("TASK_CGROUPS", "task_struct", &["cgroups"], 8),
            member("CSS_SET_SUBSYSTEMS", "css_set", &["subsys"], 0),
            // What comes behind them.
            member("CSS_SET_REFCOUNT", "css_set", &["refcount"], 0),
            member("CSS_SERIAL", "cgroup_subsys_state", &["serial_nr"], 8),
        ],
    },
];
