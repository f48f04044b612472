//! Network namespaces without a name: they end with the last process that holds them, however the
//! test ends, and nothing of them stays behind.

use std::{
    fs::File,
    os::{
        fd::{AsFd, AsRawFd},
        unix::process::CommandExt,
    },
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

#[derive(Clone, Debug)]
pub struct Namespace {
    handle: Arc<File>,
}

impl Namespace {
    /// A fresh, empty network namespace with its loopback up.
    pub fn new() -> Self {
        let made = thread::spawn(|| {
            // SAFETY: a new network namespace for this thread alone touches no descriptor table.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("unshare(CLONE_NEWNET): root?");
            File::open("/proc/thread-self/ns/net").expect("open /proc/thread-self/ns/net")
        });
        let handle = made.join().expect("the thread of the new namespace");
        let namespace = Self { handle: Arc::new(handle) };
        namespace.ip("link set lo up");
        namespace
    }

    /// A path that names it to other programs while this lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.handle.as_raw_fd())
    }

    /// Lets `command` start inside.
    pub fn admit<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        let handle = Arc::clone(&self.handle);
        let enter = move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(handle.as_fd(), kind).map_err(Into::into)
        };
        // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
        unsafe { command.pre_exec(enter) }
    }

    /// Runs `ip` with these words inside.
    pub fn ip(&self, words: &str) {
        crate::tool(self.admit(Command::new("ip").args(words.split_whitespace())));
    }

    /// Lets a device write another destination into packets that are already on their way out (Linux
    /// 5.16).
    pub fn rewrite_leaving(&self, device: &str, old: &str, new: &str) {
        let hook = format!("type filter hook egress device \"{device}\" priority 0");
        let rule = format!("ip daddr {old} ip daddr set {new}");
        let rules = format!("table netdev moved {{\n chain out {{\n {hook};\n {rule}\n }}\n}}\n");
        let mut nft = Command::new("nft");
        nft.args(["-f", "/dev/stdin"]).stdin(Stdio::from(crate::lab::script(rules.as_bytes())));
        crate::tool(self.admit(&mut nft));
    }

    /// Does something inside, on a thread of its own.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("setns");
            work()
        };
        thread::scope(|scope| scope.spawn(enter).join()).expect("the thread inside")
    }

    /// Sets a sysctl, by its path below `/proc/sys/net`, inside.
    pub fn sysctl(&self, path: &str, value: &str) {
        let path = format!("/proc/sys/net/{path}");
        // /proc/sys/net shows the namespace of the thread that opens it.
        self.within(|| std::fs::write(&path, value).unwrap_or_else(|it| panic!("{path}: {it}")));
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}
