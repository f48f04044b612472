//! Devices on the LAN by the names that a real DHCP server leased addresses to. Needs root, dnsmasq and
//! udhcpc; the host's own leases are neither read nor written.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use harness::{Gateway, Running, Site};
use serde_json::Value;

const NAME: &str = "drone-7";
const MAC: &str = "02-00-5E-00-53-05";
/// Where dnsmasq keeps its leases on Debian. The daemon's is another directory, bound there.
const LEASES: &str = "/var/lib/misc";

/// The server; ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(gateway: &Gateway, leases: &Path) -> Server {
    let mut command = Command::new("dnsmasq");
    command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--no-ping"]);
    command.args(["--user=root", "--interface=lan0", "--bind-interfaces", "--pid-file="]);
    command.arg("--dhcp-range=192.168.77.100,192.168.77.120,1h");
    command.arg(format!("--dhcp-leasefile={}", leases.join("dnsmasq.leases").display()));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = gateway.lab.host.admit(&mut command).spawn();
    Server(child.expect("start dnsmasq: is the Debian package dnsmasq-base installed?"))
}

/// The client asks for an address as a device of this name, and takes it.
fn lease(gateway: &Gateway, directory: &Path) -> String {
    let (script, told) = (directory.join("lease.sh"), directory.join("address"));
    let text = format!(
        "#!/bin/sh\n[ \"$1\" = bound ] || exit 0\nip address add $ip/24 dev $interface\necho $ip > {}\n",
        told.display()
    );
    fs::write(&script, text).expect("write the script");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("chmod");
    let asked = harness::eventually(|| {
        let mut command = Command::new("udhcpc");
        command.args(["-i", "eth0", "-f", "-n", "-q", "-t", "3", "-T", "1"]);
        command.args(["-x", &format!("hostname:{NAME}"), "-s"]).arg(&script);
        let status = gateway.client.admit(&mut command).stdin(Stdio::null()).output();
        let output = status.expect("run udhcpc: is the Debian package udhcpc installed?");
        output.status.success().then_some(())
    });
    assert!(asked.is_some(), "no lease was given");
    fs::read_to_string(told).expect("the leased address").trim().to_owned()
}

/// The daemon, with the directory where leases are looked for bound to another.
fn command(site: &Site, gateway: &Gateway, leases: &Path) -> Command {
    let run = site.command(&["run"]);
    let mut command = Command::new("unshare");
    let script = "mkdir -p \"$1\"; mount --bind \"$0\" \"$1\"; shift; exec \"$@\"";
    command.args(["--mount", "sh", "-ec", script]).arg(leases).arg(LEASES);
    command.arg(run.get_program()).args(run.get_args()).stdin(Stdio::null());
    gateway.lab.host.admit(&mut command);
    command
}

#[test]
fn a_device_that_a_server_leased_an_address_to_is_told_by_its_name() {
    let gateway = Gateway::new();
    let leases = tempfile::tempdir().expect("a directory of leases");
    let server = serve(&gateway, leases.path());
    let address = lease(&gateway, leases.path());
    let site = Site::inside(&gateway.lab.host, env!("CARGO_BIN_EXE_geofenced"));
    site.watch_only(gateway.lab.cgroup.path());
    let daemon = site.start_as(&mut command(&site, &gateway, leases.path()));

    let words = format!("udp-sendto --from {address} --to 203.0.113.5:9 --bytes 100");
    Running::start(&mut gateway.lab.command_in(&gateway.client, &words)).finish();
    let of_device = || {
        let outcome = site.ask(&["summary", "--by", "device", "-o", "json"]);
        let rows = outcome.stdout.lines().filter_map(|line| serde_json::from_str(line).ok());
        rows.into_iter().find(|row: &Value| row.to_string().contains(NAME))
    };
    let row = harness::eventually(of_device);
    let all = || site.ask(&["summary", "--by", "device"]).stdout;
    let row = row.unwrap_or_else(|| panic!("{}\n{:?}", all(), site.events(&[])));
    assert!(row.to_string().contains(MAC), "{row}");
    assert_eq!(row.pointer("/source/bytes").and_then(Value::as_u64), Some(128), "{row}");
    drop(server);
    assert_eq!(daemon.stop(), Some(0), "{}", site.log());
}
