//! The systemd unit, judged by systemd's own tools, and the binary run under its restrictions:
//! capabilities, system calls and read-only file systems, in a mount namespace of its own.

#[path = "unit/boot.rs"]
mod boot;
#[path = "unit/restricted.rs"]
mod restricted;
#[path = "unit/syscalls.rs"]
mod syscalls;

use std::{
    fs,
    os::unix::{net::UnixDatagram, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use capctl::{Cap, CapSet};
use restricted::{Refused, Restrictions};

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd");
const UNIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/systemd/geofenced.service");
/// The others that are in the same package.
const BESIDE: [&str; 2] = ["geofenced-databases.service", "geofenced-databases.timer"];
const GEOFENCED: &str = env!("CARGO_BIN_EXE_geofenced");

/// Values of a setting of the unit, in order.
fn setting(name: &str) -> Vec<String> {
    setting_of(Path::new(UNIT), name)
}

fn setting_of(unit: &Path, name: &str) -> Vec<String> {
    let unit = fs::read_to_string(unit).unwrap();
    let value = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
    unit.lines().filter_map(value).collect()
}

/// The unit with nothing changed but the paths of the binary, which is not installed here.
fn unit_in(directory: &Path) -> PathBuf {
    let unit = fs::read_to_string(UNIT).unwrap();
    let path = directory.join("geofenced.service");
    fs::write(&path, unit.replace("=/usr/bin/geofenced ", &format!("={GEOFENCED} "))).unwrap();
    path
}

fn run(command: &str, arguments: &[&str]) -> Output {
    let needed = "comes with: apt-get install systemd";
    let output = Command::new(command).args(arguments).output();
    output.unwrap_or_else(|error| panic!("{command}: {error}; it {needed}"))
}

fn text(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let directory = tempfile::tempdir().unwrap();
    let unit = unit_in(directory.path());
    // Its manual pages are not installed here.
    let mut units = vec![unit.clone()];
    for name in BESIDE {
        let text = fs::read_to_string(Path::new(UNITS).join(name)).unwrap();
        let path = directory.path().join(name);
        let here = format!("={GEOFENCED} ");
        fs::write(&path, text.replace("=/usr/bin/geofenced ", &here)).unwrap();
        units.push(path);
    }
    for unit in units {
        let output = run("systemd-analyze", &["verify", "--man=no", unit.to_str().unwrap()]);
        assert_eq!(text(&output), "", "{}", unit.display());
        assert!(output.status.success());
    }
}

#[test]
fn systemd_scores_the_unit_as_well_confined() {
    let directory = tempfile::tempdir().unwrap();
    let unit = unit_in(directory.path());
    // Of what starts early in the boot the tool leaves four settings out of its sum, whatever they are: so it is
    // shown the same confinement as that of any service.
    let late = fs::read_to_string(&unit).unwrap().replace("DefaultDependencies=no\n", "");
    fs::write(&unit, late).unwrap();
    let arguments = ["security", "--offline=true", "--no-pager", unit.to_str().unwrap()];
    let output = text(&run("systemd-analyze", &arguments));
    let overall = output.lines().find(|line| line.contains("Overall exposure level")).unwrap();
    let score: f64 = overall
        .split(": ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap()
        .parse()
        .unwrap();
    // Of that 0.4 is for asking whether the clock is synchronised, and 0.1 for a network namespace of the self-test's.
    assert!(score <= 3.3, "{overall}");
}

#[test]
fn the_unit_lets_the_daemon_ask_about_the_clock_and_not_set_it() {
    let allowed = syscalls::allowed(&setting("SystemCallFilter"));
    for (call, is_allowed) in
        [("adjtimex", true), ("clock_adjtime", true), ("clock_settime", false)]
    {
        assert_eq!(allowed.contains(call), is_allowed, "{call}");
    }
    // It forbids to ask, too.
    assert_eq!(setting("ProtectClock"), [""; 0]);
    assert!(!setting("CapabilityBoundingSet").concat().contains("CAP_SYS_TIME"));
}

#[test]
fn the_unit_starts_what_the_contract_names() {
    let start = "/usr/bin/geofenced run --last-good %S/geofenced/last-good.json";
    assert_eq!(setting("ExecStart"), [start]);
    // A broken file fails the reload before it reaches the daemon.
    let reload = ["/usr/bin/geofenced check --quiet", "/bin/sh -c 'kill -HUP $MAINPID'"];
    assert_eq!(setting("ExecReload"), reload);
    assert_eq!(setting("Type"), ["notify"]);
    assert_eq!(setting("RestartPreventExitStatus"), ["2 5"]);
    assert_eq!(setting("StateDirectory"), ["geofenced"]);
    assert_eq!(setting("RuntimeDirectory"), ["geofenced"]);
    assert_eq!(setting("Group"), ["geofenced"]);
    assert_eq!(setting("IPAddressDeny"), ["any"]);
}

#[test]
fn the_group_and_the_directories_are_made_by_systemds_tools() {
    assert_root();
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let of = |name: &str| format!("{}/../deploy/{name}/geofenced.conf", env!("CARGO_MANIFEST_DIR"));
    let at = format!("--root={}", root.path().display());
    let output = run("systemd-sysusers", &[&at, &of("sysusers")]);
    assert!(output.status.success(), "{}", text(&output));
    let groups = fs::read_to_string(root.path().join("etc/group")).unwrap();
    assert!(groups.contains("geofenced:"), "{groups}");
    let output = run("systemd-tmpfiles", &["--create", &at, &of("tmpfiles")]);
    assert!(output.status.success(), "{}", text(&output));
    for made in ["etc/geofenced/config.d", "var/lib/geofenced", "run/geofenced"] {
        assert!(root.path().join(made).is_dir(), "{made}");
    }
}

fn bounding_set() -> CapSet {
    let [bounding] = &setting("CapabilityBoundingSet")[..] else { panic!("one bounding set") };
    bounding.split(' ').map(|name| name.parse::<Cap>().expect("a capability")).collect()
}

/// The unit's restrictions, with `writable` in the place of its state and runtime directories.
fn restrictions(writable: &Path) -> Restrictions {
    let allowed = syscalls::allowed(&setting("SystemCallFilter"));
    Restrictions::new(bounding_set(), (&allowed, Refused::Fails), writable)
}

fn status(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap()
}

fn bits(caps: &[Cap]) -> u64 {
    caps.iter().fold(0, |bits, &cap| bits | 1 << (cap as u8))
}

fn assert_root() {
    let why = "this test makes groups or mount namespaces; run it as root";
    assert!(rustix::process::geteuid().is_root(), "{why}");
}

/// Without this, the next test could pass for want of restrictions.
#[test]
fn the_restrictions_of_the_unit_restrict() {
    assert_root();
    let directory = tempfile::tempdir().unwrap();
    let writable = directory.path();
    let script = "
        cat /proc/self/status
        touch /etc/geofenced-test 2>/dev/null && echo wrote /etc
        (echo 1 >/proc/sys/kernel/panic) 2>/dev/null && echo wrote /proc/sys
        mkdir /sys/fs/cgroup/geofenced-test 2>/dev/null && echo wrote cgroup
        mount -t tmpfs none /mnt 2>/dev/null && echo mounted
        chroot / true 2>/dev/null && echo chroot
        touch \"$WRITABLE\"/here && echo wrote state
        cat /sys/kernel/tracing/events/sched/sched_process_exec/id >/dev/null && echo tracefs
        true";
    let mut command = Command::new("sh");
    command.args(["-c", script]).env("WRITABLE", writable);
    let output = restrictions(writable).apply(&mut command).output().unwrap();
    let text = text(&output);
    let lines: Vec<_> = text.lines().collect();
    let caps: Vec<Cap> = bounding_set().iter().collect();
    let expected = bits(&caps);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(lines.contains(&&*format!("{set}:\t{expected:016x}")), "{set}: {text}");
    }
    assert!(lines.contains(&"NoNewPrivs:\t1"), "{text}");
    if syscalls::ARE_KNOWN {
        assert!(lines.contains(&"Seccomp:\t2"), "{text}");
    }
    let told = |what| lines.contains(&what);
    assert!(told("wrote state") && told("tracefs"), "{text}");
    for forbidden in ["wrote /etc", "wrote /proc/sys", "wrote cgroup", "mounted", "chroot"] {
        assert!(!told(forbidden), "{text}");
    }
}

/// What it would be refused ends it here, so that nothing is asked for in vain.
#[test]
fn the_service_of_databases_calls_nothing_that_its_unit_forbids() {
    assert_root();
    let unit = Path::new(UNITS).join("geofenced-databases.service");
    let mut filters = setting_of(&unit, "SystemCallFilter");
    if setting_of(&unit, "ProtectClock") == ["yes"] {
        filters.push("~@clock".to_owned());
    }
    let allowed = syscalls::allowed(&filters);
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.toml");
    let at = directory.path().display();
    let text_of = format!("[geo]\nfolders = [\"{at}/taken\"]\nupdate_from = [\"{at}/none\"]\n");
    fs::write(&config, text_of).unwrap();
    for (name, code) in [("ExecCondition", 1), ("ExecStart", 0)] {
        let [line] = &setting_of(&unit, name)[..] else { panic!("one {name}") };
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let mut command = Command::new(GEOFENCED);
        command.args(&words).env("GEOFENCED_CONFIG", &config);
        let refused = (&allowed, Refused::Ends);
        let restrictions = Restrictions::new(CapSet::empty(), refused, directory.path());
        let output = restrictions.apply(&mut command).output().unwrap();
        let told = text(&output);
        assert_eq!((output.status.code(), output.status.signal()), (Some(code), None), "{told}");
    }
}

/// A daemon under the unit's restrictions; killed with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_daemon_gets_ready_under_the_restrictions_of_the_unit_and_gives_up_the_rest() {
    assert_root();
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let config = format!(
        "[store]\npath = \"{}\"\n[metrics]\nlisten = \"\"\n[api]\nsocket = \"{}\"\n",
        at("store").display(),
        at("geofenced.sock").display()
    );
    fs::write(at("config.toml"), config).unwrap();
    let notify = UnixDatagram::bind(at("notify")).unwrap();
    notify.set_read_timeout(Some(Duration::from_millis(100))).unwrap();

    let mut command = Command::new(GEOFENCED);
    command
        .arg("--config")
        .arg(at("config.toml"))
        .arg("run")
        .env("NOTIFY_SOCKET", at("notify"))
        .stdout(Stdio::null())
        .stderr(fs::File::create(at("stderr")).unwrap());
    let mut daemon = Daemon(restrictions(directory.path()).apply(&mut command).spawn().unwrap());
    // A slow board is ended in the middle of a start that gets on otherwise, as often as it begins.
    let steps = await_ready(&mut daemon, &notify, &at("stderr"));
    assert!(steps >= 4, "{steps}");

    let pid = daemon.0.id();
    let needed = bits(&geofenced::inside::sandbox::NEEDED);
    assert_eq!(status(pid, "CapPrm:"), needed);
    assert_eq!(status(pid, "CapEff:"), needed);
    assert_eq!(status(pid, "CapInh:"), 0);
    assert_eq!(status(pid, "CapAmb:"), 0);
    assert_eq!(status(pid, "NoNewPrivs:"), 1);

    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = daemon.0.wait().unwrap();
    let told = fs::read_to_string(at("stderr")).unwrap();
    assert!(ended.success(), "{ended} (signal {:?}): {told}", ended.signal());
}

/// Waits for `READY=1`, as systemd does; how often before that more time was asked for.
fn await_ready(daemon: &mut Daemon, notify: &UnixDatagram, stderr: &Path) -> usize {
    let mut message = [0; 4096];
    let told = || fs::read_to_string(stderr).unwrap();
    let mut steps = 0;
    for _ in 0..600 {
        if let Ok(len) = notify.recv(&mut message) {
            let has =
                |word: &[u8]| message[..len].split(|&byte| byte == b'\n').any(|it| it == word);
            steps += usize::from(has(b"EXTEND_TIMEOUT_USEC=30000000"));
            if has(b"READY=1") {
                return steps;
            }
        }
        if let Some(ended) = daemon.0.try_wait().unwrap() {
            panic!("the daemon ended before it was ready, {ended}: {}", told());
        }
    }
    panic!("the daemon did not get ready: {}", told());
}
