//! Where the stations of a simulation send to, and which programs do. The same for all, so that the truth is told
//! by their numbers.

/// 2026-10-01T00:00:00Z.
pub const START_S: u64 = 1_790_812_800;

#[derive(Debug)]
pub struct Destination {
    pub address: [u8; 4],
    pub country: &'static str,
    pub asn: u32,
    pub operator: &'static str,
    pub operator_country: &'static str,
    pub domain: &'static str,
}

#[derive(Debug)]
pub struct Program {
    pub path: &'static str,
    pub user: &'static str,
}

const fn to(
    last: u8,
    country: &'static str,
    (asn, operator, operator_country): (u32, &'static str, &'static str),
    domain: &'static str,
) -> Destination {
    let address = [198, 51, 100, last];
    Destination { address, country, asn, operator, operator_country, domain }
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
    to(1, "US", AMAZON, "telemetry.example"),
    to(2, "DE", HETZNER, "updates.example"),
    to(3, "US", AMAZON, "maps.example"),
    to(4, "FR", OVH, "time.example"),
    to(5, "JP", NTT, "mirror.example"),
    to(6, "DE", HETZNER, "logs.example"),
    to(7, "US", ALIBABA, "edge.example"),
    to(8, "CN", ALIBABA, "statistical.example"),
    to(9, "FR", OVH, "backup.example"),
    to(10, "CN", TENCENT, "push.example"),
    to(11, "RU", ROSTELECOM, "weather.example"),
    to(12, "US", AMAZON, "crash.example"),
    to(13, "DE", HETZNER, "git.example"),
    to(14, "CN", TENCENT, "sdk.example"),
    to(15, "JP", NTT, "video.example"),
    to(16, "RU", ROSTELECOM, "relay.example"),
];

const fn by(path: &'static str, user: &'static str) -> Program {
    Program { path, user }
}

pub const PROGRAMS: [Program; 9] = [
    by("/opt/flight/autopilot", "pilot"),
    by("/opt/flight/camera", "pilot"),
    by("/usr/lib/updater", "root"),
    by("/usr/sbin/chronyd", "_chrony"),
    by("/usr/bin/curl", "field"),
    by("/usr/bin/python3.11", "field"),
    by("/opt/flight/telemetryd", "telemetry"),
    by("/opt/flight/mapd", "maps"),
    by("/opt/vendor/sdkd", "vendor"),
];
