//! Where the stations of a simulation send to, and which programs do. The same for all, so that the truth is told
//! by their numbers.

/// 2026-10-01T00:00:00Z.
pub const START_S: u64 = 1_790_812_800;

#[derive(Debug)]
pub struct Destination {
    pub address: [u8; 4],
    pub port: u16,
    pub country: &'static str,
    pub asn: u32,
    pub operator: &'static str,
    pub operator_country: &'static str,
    pub domain: &'static str,
    pub is_approved: bool,
}

#[derive(Debug)]
pub struct Program {
    pub name: &'static str,
    pub path: &'static str,
    pub uid: u32,
    pub user: &'static str,
}

const fn to(
    last: u8,
    country: &'static str,
    (asn, operator, operator_country): (u32, &'static str, &'static str),
    domain: &'static str,
    is_approved: bool,
) -> Destination {
    let (address, port) = ([198, 51, 100, last], 443);
    Destination { address, port, country, asn, operator, operator_country, domain, is_approved }
}

const AMAZON: (u32, &str, &str) = (16509, "Amazon.com, Inc.", "US");
const HETZNER: (u32, &str, &str) = (24940, "Hetzner Online GmbH", "DE");
const ALIBABA: (u32, &str, &str) = (37963, "Hangzhou Alibaba Advertising", "CN");
const TENCENT: (u32, &str, &str) = (45090, "Shenzhen Tencent Computer Systems", "CN");
const ROSTELECOM: (u32, &str, &str) = (12389, "PJSC Rostelecom", "RU");
const OVH: (u32, &str, &str) = (16276, "OVH SAS", "FR");
const NTT: (u32, &str, &str) = (2914, "NTT America", "JP");

/// The first get most.
pub const DESTINATIONS: [Destination; 16] = [
    to(1, "US", AMAZON, "telemetry.example", true),
    to(2, "DE", HETZNER, "updates.example", true),
    to(3, "US", AMAZON, "maps.example", true),
    to(4, "FR", OVH, "time.example", true),
    to(5, "JP", NTT, "mirror.example", true),
    to(6, "DE", HETZNER, "logs.example", true),
    to(7, "US", ALIBABA, "edge.example", false),
    to(8, "CN", ALIBABA, "statistical.example", false),
    to(9, "FR", OVH, "backup.example", true),
    to(10, "CN", TENCENT, "push.example", false),
    to(11, "RU", ROSTELECOM, "weather.example", false),
    to(12, "US", AMAZON, "crash.example", true),
    to(13, "DE", HETZNER, "git.example", true),
    to(14, "CN", TENCENT, "sdk.example", false),
    to(15, "JP", NTT, "video.example", true),
    to(16, "RU", ROSTELECOM, "relay.example", false),
];

const fn by(name: &'static str, path: &'static str, uid: u32, user: &'static str) -> Program {
    Program { name, path, uid, user }
}

pub const PROGRAMS: [Program; 9] = [
    by("autopilot", "/opt/flight/autopilot", 1000, "pilot"),
    by("camera", "/opt/flight/camera", 1000, "pilot"),
    by("updater", "/usr/lib/updater", 0, "root"),
    by("chronyd", "/usr/sbin/chronyd", 120, "_chrony"),
    by("curl", "/usr/bin/curl", 1001, "field"),
    by("python3", "/usr/bin/python3.11", 1001, "field"),
    by("telemetryd", "/opt/flight/telemetryd", 997, "telemetry"),
    by("mapd", "/opt/flight/mapd", 996, "maps"),
    by("sdkd", "/opt/vendor/sdkd", 995, "vendor"),
];
