//! Who sends on the ground station of the incident, and where to. Values only: when and how much is `plan`'s.

use std::{net::SocketAddr, sync::Arc};

use geofenced::inside::event::{
    Ancestor, Country, CountryCode, Domain, DomainSource, ExecutedFile, Operator, Place, Process,
    Timestamp, User,
};

/// Of the program from /tmp.
pub(crate) const FWCHECK_SHA256: [u8; 32] = [
    0x9f, 0x2c, 0x41, 0xd0, 0x3b, 0x77, 0x58, 0xe1, 0x0a, 0xc6, 0x94, 0x5d, 0x22, 0xef, 0x83, 0x1b,
    0x60, 0x7a, 0xb9, 0x4e, 0x15, 0xd8, 0x3f, 0xa2, 0xc7, 0x06, 0x9b, 0x51, 0xe4, 0x2d, 0x78, 0xf3,
];
const RECORDER: &str = "5d1c7a90e2b8434f9a60c1d7e3f25b8894a6d0c3b7e1f2859c4d6a0b3e7f1c25";

/// A program of the host: what the kernel executed, how it was called, as whom, in which unit.
pub(crate) struct Program<'a> {
    pub(crate) pid: u32,
    pub(crate) name: &'a str,
    pub(crate) executable: &'a str,
    pub(crate) command_line: &'a str,
    pub(crate) user: (u32, &'a str),
    pub(crate) unit: &'a str,
    pub(crate) started_at: Timestamp,
}

fn init() -> Ancestor {
    ancestor(1, "systemd", "/usr/lib/systemd/systemd", "/sbin/init")
}

fn ancestor(pid: u32, name: &str, executable: &str, command_line: &str) -> Ancestor {
    Ancestor {
        pid,
        name: name.into(),
        executable: Some(executable.into()),
        command_line: Some(command_line.into()),
        started_at: None,
    }
}

impl Program<'_> {
    /// As a service manager starts it.
    pub(crate) fn service(&self) -> Process {
        Process {
            pid: self.pid,
            name: self.name.into(),
            executable: Some(self.executable.into()),
            executable_claimed: None,
            file: ExecutedFile { is_hosts: true, ..ExecutedFile::default() },
            command_line: Some(self.command_line.into()),
            started_at: Some(self.started_at),
            parents: vec![init()],
            user: User { id: self.user.0, name: Some(self.user.1.into()) },
            unit: Some(self.unit.into()),
            container: None,
            cgroup: Some(format!("/system.slice/{}", self.unit).into()),
            netns: Some(4_026_531_840),
        }
    }

    fn below(&self, parents: Vec<Ancestor>) -> Process {
        Process { parents, ..self.service() }
    }
}

pub(crate) fn chronyd(started_at: Timestamp) -> Process {
    let program = Program {
        pid: 612,
        name: "chronyd",
        executable: "/usr/sbin/chronyd",
        command_line: "/usr/sbin/chronyd -F 1",
        user: (110, "_chrony"),
        unit: "chrony.service",
        started_at,
    };
    program.service()
}

pub(crate) fn live_video(started_at: Timestamp) -> Process {
    let program = Program {
        pid: 2210,
        name: "live-video",
        executable: "/usr/bin/python3.11",
        command_line: "/usr/bin/python3 -u /opt/gs/live-video --room 7",
        user: (1001, "gs"),
        unit: "live-video.service",
        started_at,
    };
    program.service()
}

pub(crate) fn telemetry(started_at: Timestamp) -> Process {
    let program = Program {
        pid: 987,
        name: "python3",
        executable: "/usr/bin/python3.11",
        command_line: "/usr/bin/python3 /opt/gs/telemetry.py",
        user: (1001, "gs"),
        unit: "telemetry.service",
        started_at,
    };
    program.service()
}

pub(crate) fn apt(pid: u32, started_at: Timestamp) -> Process {
    let program = Program {
        pid,
        name: "http",
        executable: "/usr/lib/apt/methods/http",
        command_line: "/usr/lib/apt/methods/http",
        user: (42, "_apt"),
        unit: "apt-daily.service",
        started_at,
    };
    let get = ancestor(pid - 3, "apt-get", "/usr/bin/apt-get", "apt-get -qq update");
    program.below(vec![get, init()])
}

pub(crate) fn recorder(started_at: Timestamp) -> Process {
    let program = Program {
        pid: 1450,
        name: "recorder",
        executable: "/app/recorder",
        command_line: "/app/recorder --keep 30d",
        user: (0, "root"),
        unit: "docker.service",
        started_at,
    };
    let shim = "/usr/bin/containerd-shim-runc-v2";
    let shim = ancestor(1401, "containerd-shim", shim, &format!("{shim} -id {RECORDER}"));
    let mut process = program.below(vec![shim, init()]);
    process.file.is_hosts = false;
    process.container = Some(RECORDER.into());
    process.unit = None;
    process.cgroup = Some(format!("/system.slice/docker-{RECORDER}.scope").into());
    process.netns = Some(4_026_532_612);
    process
}

pub(crate) fn sshd(pid: u32, started_at: Timestamp) -> Process {
    let program = Program {
        pid,
        name: "sshd",
        executable: "/usr/sbin/sshd",
        command_line: "sshd: ana [priv]",
        user: (0, "root"),
        unit: "ssh.service",
        started_at,
    };
    let listener = ancestor(655, "sshd", "/usr/sbin/sshd", "sshd: /usr/sbin/sshd -D [listener]");
    program.below(vec![listener, init()])
}

/// What a person calls from her shell.
pub(crate) fn by_ana(
    pid: u32,
    executable: &str,
    command_line: &str,
    started_at: Timestamp,
) -> Process {
    let program = Program {
        pid,
        name: executable.rsplit('/').next().unwrap_or(executable),
        executable,
        command_line,
        user: (1000, "ana"),
        unit: "session-4.scope",
        started_at,
    };
    program.below(vec![ancestor(3105, "bash", "/usr/bin/bash", "-bash"), init()])
}

/// The shell that runs the update, as those who come of it know it.
fn update(pid: u32) -> Ancestor {
    ancestor(pid, "update.sh", "/usr/bin/dash", "/bin/sh /opt/gs/update.sh")
}

/// By which the update fetches what it then starts.
pub(crate) fn curl(shell: u32, started_at: Timestamp) -> Process {
    let program = Program {
        pid: shell + 2,
        name: "curl",
        executable: "/usr/bin/curl",
        command_line: "curl -fsSo /tmp/.fwcheck https://updates.example.com/gs/fwcheck",
        user: (0, "root"),
        unit: "fwupdate.service",
        started_at,
    };
    program.below(vec![update(shell), init()])
}

/// What the update starts from /tmp.
pub(crate) fn fwcheck(shell: u32, started_at: Timestamp) -> Process {
    let program = Program {
        pid: shell + 5,
        name: ".fwcheck",
        executable: "/tmp/.fwcheck",
        command_line: "/tmp/.fwcheck --quiet",
        user: (0, "root"),
        unit: "fwupdate.service",
        started_at,
    };
    let mut process = program.below(vec![update(shell), init()]);
    process.file.sha256 = Some(FWCHECK_SHA256);
    process
}

/// A destination: its address, what the databases say of it, and the name by which it was asked for.
#[derive(Clone)]
pub(crate) struct Destination {
    pub(crate) address: SocketAddr,
    pub(crate) place: Place,
}

impl Destination {
    fn at(address: &str, country: &str, operator: Option<(u32, &str)>) -> Self {
        let code = CountryCode::new(country);
        let operator = operator.map(|(asn, name)| {
            let (asn, name) = (Some(asn), Some(name.into()));
            Arc::new(Operator { asn, name, country: code, is_anycast: false })
        });
        let country = code.map_or(Country::Unlocated, Country::Known);
        Self {
            address: address.parse().expect("an address and its port"),
            place: Place { country, operator, ..Place::unknown() },
        }
    }

    fn named(mut self, name: &str) -> Self {
        let source = DomainSource::Dns;
        self.place.domain = Some(Domain { name: name.into(), source, is_trusted: true });
        self
    }
}

const CLOUD: Option<(u32, &str)> = Some((64_500, "Example Cloud"));
const HOSTING: Option<(u32, &str)> = Some((64_501, "Example Hosting"));
const TELECOM: Option<(u32, &str)> = Some((64_502, "Example Telecom"));

pub(crate) fn clock() -> Destination {
    Destination::at("198.51.100.10:123", "US", CLOUD).named("ntp.example.com")
}

pub(crate) fn video() -> Destination {
    Destination::at("198.51.100.20:443", "US", CLOUD).named("video.example.com")
}

pub(crate) fn maps() -> Destination {
    Destination::at("198.51.100.21:443", "US", CLOUD)
}

/// From where ana logs in.
pub(crate) fn office() -> Destination {
    Destination::at("198.51.100.30:51514", "US", CLOUD)
}

pub(crate) fn updates() -> Destination {
    Destination::at("198.51.100.66:443", "US", CLOUD).named("updates.example.com")
}

pub(crate) fn broker() -> Destination {
    Destination::at("198.51.100.150:8883", "DE", HOSTING).named("telemetry.example.org")
}

pub(crate) fn packages() -> Destination {
    Destination::at("198.51.100.200:80", "DE", HOSTING).named("deb.example.org")
}

pub(crate) fn storage() -> Destination {
    Destination::at("[2001:db8:1::40]:443", "CA", Some((64_503, "Example Storage")))
        .named("storage.example.org")
}

/// Where the drone's own firmware sends what it logs.
pub(crate) fn drone_logs() -> Destination {
    Destination::at("203.0.113.20:8080", "CN", TELECOM)
}

pub(crate) fn beacon() -> Destination {
    Destination::at("203.0.113.7:443", "CN", TELECOM).named("sync.example.net")
}

pub(crate) fn dropped_at() -> Destination {
    Destination::at("203.0.113.77:8443", "CN", TELECOM).named("drop.example.net")
}

/// What the firewall refused.
pub(crate) fn refused() -> Destination {
    Destination::at("203.0.113.77:22", "CN", TELECOM).named("drop.example.net")
}

/// No database knows where that is.
pub(crate) fn unlocated() -> Destination {
    Destination::at("203.0.113.210:443", "", None).named("paste.example.net")
}

/// One database says Germany, the other Russia.
pub(crate) fn disputed() -> Destination {
    let mut destination = Destination::at("203.0.113.140:443", "DE", None).named("www.example.net");
    destination.place.second = CountryCode::new("RU");
    destination
}

/// The station's own resolver.
pub(crate) fn resolver() -> Destination {
    let mut destination = Destination::at("192.0.2.53:53", "", None);
    destination.place.country = Country::Local;
    destination
}
