//! What this machine lets us do.

use std::{
    env,
    process::{Command, Stdio},
};

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The name of this machine's architecture as the probes are told it (`bpf_target_arch`).
pub fn arch() -> &'static str {
    env::consts::ARCH
}

/// Whether `sudo` would run a command without asking, so that it can be used unattended.
pub fn sudo_works() -> bool {
    Command::new("sudo")
        .args(["--non-interactive", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The cargo that runs us, so that one toolchain builds everything but the probes.
///
/// `target/` is part of what we promise (`target/release/geofenced`), so a target directory
/// set elsewhere doesn't count here.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(crate::paths::root());
    cargo.env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET_DIR");
    cargo
}
