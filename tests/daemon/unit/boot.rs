//! The boot of a host that has everything which may order itself around a network: systemd's own tool
//! looks for cycles in it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::{UNIT, run, text};

/// Units that their packages enable, or an administrator.
const ENABLED: [&str; 12] = [
    "cloud-config.service",
    "cloud-final.service",
    "cloud-init-local.service",
    "cloud-init.service",
    "geofenced.service",
    "networking.service",
    "NetworkManager.service",
    "NetworkManager-wait-online.service",
    "systemd-networkd.service",
    "systemd-networkd-wait-online.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
];
const MISSING: &str = "`cargo xtask test` unpacks Debian's units into target/tools/boot";

/// What the boot of such a host with `unit` is blamed for.
fn verified(unit: &str) -> String {
    let root = tempfile::tempdir().unwrap();
    let units = root.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&units).unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_geofenced"));
    let packages = binary.ancestors().nth(2).unwrap().join("tools/boot");
    for from in ["lib/systemd/system", "usr/lib/systemd/system"] {
        copy(&packages.join(from), &units);
    }
    fs::write(units.join("geofenced.service"), unit).unwrap();
    let at = format!("--root={}", root.path().display());
    for name in ENABLED.into_iter().filter(|name| units.join(name).exists()) {
        let enabled = run("systemctl", &[&at, "enable", name]);
        assert!(enabled.status.success(), "{}", text(&enabled));
    }
    // As its generator does, where there is a source of data.
    let wants = root.path().join("etc/systemd/system/multi-user.target.wants");
    symlink("/usr/lib/systemd/system/cloud-init.target", wants.join("cloud-init.target")).unwrap();
    for needed in ["cloud-init.service", "networking.service", "NetworkManager.service"] {
        assert!(units.join(needed).exists(), "there is no {needed}: {MISSING}");
    }
    text(&run("systemd-analyze", &["verify", "--man=no", &at, "default.target"]))
}

fn copy(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    for entry in entries.map(Result::unwrap) {
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_symlink() {
            let _ = symlink(fs::read_link(entry.path()).unwrap(), target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_host_with_cloud_init_and_three_managers_of_networks_boots_without_a_cycle() {
    let unit = fs::read_to_string(UNIT).unwrap();
    let said = verified(&unit);
    assert!(!said.contains("cycle") && !said.contains("geofenced"), "{said}");

    // With what a service waits for by default the tool does find one: it looks where it should.
    let by_default = unit.replace("DefaultDependencies=no\n", "");
    let said = verified(&by_default);
    assert!(said.contains("ordering cycle") && said.contains("geofenced.service"), "{said}");
}
