//! Two network namespaces: a host that sends, and an internet that owns the documentation
//! addresses. Each lives as long as a process of ours waits in it, so that none is left behind
//! even where we are killed.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::paths;

/// What the internet side owns, and the way to it.
const NETWORKS: [(&str, &str, &str); 3] = [
    ("-4", "203.0.113.0/24", "10.77.0.1"),
    ("-4", "198.51.100.0/24", "10.77.0.1"),
    ("-6", "2001:db8:f::/48", "fd77::1"),
];

pub struct World {
    pub host: Namespace,
    _internet: Namespace,
}

impl World {
    pub fn new() -> Result<World> {
        let (host, internet) = (Namespace::new()?, Namespace::new()?);
        let peer = internet.holder.id();
        host.ip(&format!("link add wan type veth peer name lan netns {peer}"))?;
        for (namespace, device, number) in [(&host, "wan", 2), (&internet, "lan", 1)] {
            namespace.ip("link set lo up")?;
            namespace.ip(&format!("address add 10.77.0.{number}/24 dev {device}"))?;
            // Without duplicate detection an IPv6 address can be used at once.
            namespace.ip(&format!("address add fd77::{number}/64 dev {device} nodad"))?;
            namespace.ip(&format!("link set {device} up"))?;
        }
        for (family, network, way) in NETWORKS {
            internet.ip(&format!("{family} route add local {network} dev lo"))?;
            host.ip(&format!("{family} route add {network} via {way}"))?;
        }
        let everyone = "echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range";
        tool(host.command("sh").args(["-c", everyone]))?;
        Ok(World { host, _internet: internet })
    }
}

pub struct Namespace {
    /// Waits for the end of its input, which is ours: it ends when we do.
    holder: Child,
}

impl Namespace {
    fn new() -> Result<Namespace> {
        let holder = Command::new("unshare")
            .args(["--net", "cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start unshare (Debian package util-linux)")?;
        let namespace = Namespace { holder };
        namespace.wait_until_apart()?;
        Ok(namespace)
    }

    /// A program that starts inside, under its own name.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id())).arg(program);
        command.env("PATH", paths::search_path(&[]));
        command
    }

    fn ip(&self, words: &str) -> Result<()> {
        tool(self.command("ip").args(words.split_whitespace()))
            .with_context(|| format!("ip {words}"))
    }

    /// unshare(1) starts in our namespace and leaves it a moment later.
    fn wait_until_apart(&self) -> Result<()> {
        let ours = fs::read_link("/proc/self/ns/net")?;
        for _ in 0..200 {
            let its = fs::read_link(format!("/proc/{}/ns/net", self.holder.id()));
            if its.is_ok_and(|its| its != ours) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("unshare --net made no network namespace: is this a container without CAP_SYS_ADMIN?")
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Runs a tool that must succeed, and says what it said if it does not.
fn tool(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    let program = Path::new(command.get_program()).display();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} failed ({}): {}", output.status, said.trim());
    Ok(())
}
