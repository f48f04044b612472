//! One boot: the emulator with two serial ports, the kernel's console and the guest's transcript,
//! each a file. It ends by itself, or is ended.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{archive::Kernel, machine::Machine};

const TICK: Duration = Duration::from_millis(100);
/// Of the console, when the guest did not end well.
const SHOWN_LINES: usize = 25;

/// Boots, and waits until the guest has switched itself off.
pub(super) fn boot(
    machine: &Machine,
    kernel: &Kernel,
    image: &Path,
    transcript: &Path,
    limit: Duration,
) -> Result<()> {
    let console = transcript.with_extension("console");
    let mut emulator = emulator(machine, kernel, image, transcript);
    let ended = run(emulator.args(["-append", &command_line(machine, &machine.options())]), limit)?;
    let said = fs::read(transcript).unwrap_or_default();
    if ended && String::from_utf8_lossy(&said).lines().any(|line| line == "done") {
        return Ok(());
    }
    let text = fs::read(if machine.flavour.is_arm64() { transcript } else { &console });
    let text = text.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n      | ");
    let how = if ended { "ended early" } else { "was still running, and was ended" };
    bail!(
        "the guest {how}; its console:\n      | {last}\n      what it said: {}",
        transcript.display()
    )
}

/// The same with disks, `words` on the kernel's command line and no judgement; whether it ended.
pub(super) fn boot_disk(
    machine: &Machine,
    (kernel, image): (&Kernel, &Path),
    disks: &[&Path],
    transcript: &Path,
    limit: Duration,
    words: &str,
) -> Result<bool> {
    let mut emulator = emulator(machine, kernel, image, transcript);
    for path in disks {
        emulator.arg("-drive").arg(format!("file={},format=raw,if=virtio", path.display()));
    }
    run(emulator.args(["-append", &command_line(machine, words)]), limit)
}

/// It translates: a machine that is itself virtual often can't virtualize.
fn emulator(machine: &Machine, kernel: &Kernel, image: &Path, transcript: &Path) -> Command {
    let console = transcript.with_extension("console");
    let mut emulator = if machine.flavour.is_arm64() { arm64() } else { amd64(&console) };
    // What an earlier boot said is no word of this one's.
    let _ = fs::remove_file(transcript);
    emulator
        .args(["-accel", "tcg", "-m", "1024", "-smp", "2", "-no-reboot"])
        .args(["-nodefaults", "-display", "none", "-nic", "none"])
        // As a board without a battery: the guest sets its clock later.
        .args(["-rtc", "base=1970-01-01"])
        .arg("-serial")
        .arg(format!("file:{}", transcript.display()))
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(image);
    emulator
}

/// Whether it ended in time; if not, it is ended.
fn run(emulator: &mut Command, limit: Duration) -> Result<bool> {
    let name = emulator.get_program().to_owned();
    let mut child = emulator
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", name.display()))?;
    let ended = wait(&mut child, limit)?;
    if !ended {
        child.kill().and_then(|()| child.wait()).context("cannot end the emulator")?;
    }
    Ok(ended)
}

/// Its first serial port is the kernel's, the second the guest's.
fn amd64(console: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command.arg("-serial").arg(format!("file:{}", console.display()));
    command
}

/// It has but one serial port, where the kernel is silent once the guest speaks. A processor that knows pages of
/// 16 KiB, and no newer than an emulator of 2022 has.
fn arm64() -> Command {
    let mut command = Command::new("qemu-system-aarch64");
    command.args(["-machine", "virt", "-cpu", "cortex-a76"]);
    command
}

/// A panic ends the emulator, by way of -no-reboot. On a busy machine the emulated timer looks broken to a kernel
/// that checks it.
fn command_line(machine: &Machine, options: &str) -> String {
    let port = if machine.flavour.is_arm64() { "ttyAMA0" } else { "ttyS0" };
    format!("console={port} loglevel=4 panic=-1 no_timer_check {options}").trim_end().to_owned()
}

/// Whether it ended in time.
fn wait(child: &mut Child, limit: Duration) -> Result<bool> {
    let started = Instant::now();
    while started.elapsed() < limit {
        if child.try_wait()?.is_some() {
            return Ok(true);
        }
        thread::sleep(TICK);
    }
    Ok(false)
}
