//! One value at a time: text in, a type that can't lie out, or what to write instead.
//! Knows no files and no keys but those it is given.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};

use crate::{
    event::{CountryCode, Host},
    locate::codes,
    select::ProgramSelector,
};

/// What serde says of a file's form, in words that name the key and the nearest known one.
pub(super) fn form_problem(key: &str, message: &str) -> String {
    let quoted = |text: &str| -> Vec<String> {
        text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    if message.starts_with("unknown field") {
        let names = quoted(message);
        let (unknown, known) = names.split_first().map_or(("", &[][..]), |(u, k)| (u, k));
        let near = nearest(unknown, known.iter().map(String::as_str));
        let hint = near.map_or_else(
            || format!("known here: {}", known.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        return format!("unknown key `{key}`; {hint}");
    }
    if let Some(missing) = message.strip_prefix("missing field ") {
        return format!("`{key}` needs the key {missing}");
    }
    if key.is_empty() { message.to_owned() } else { format!("{key}: {message}") }
}

/// The known word that was most likely meant.
pub(super) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let rated = known.into_iter().map(|word| (strsim::jaro_winkler(text, word), word));
    let best = rated.max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(similarity, _)| *similarity > 0.75).map(|(_, word)| word)
}

pub(super) fn choice<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    found.ok_or_else(|| {
        let words: Vec<String> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("\"{text}\" is none of {}", words.join(", "))
    })
}

pub(super) fn country(text: &str) -> Result<CountryCode, String> {
    if let Some(code) = CountryCode::new(text).filter(|code| codes::is_assigned(*code)) {
        return Ok(code);
    }
    let what = if text.len() == 2 { "assigned" } else { "a two-letter code" };
    Err(match codes::meant_by(text) {
        Some(code) => format!("country \"{text}\" is not {what}; did you mean \"{code}\"?"),
        None => format!(
            "country \"{text}\" is not {what}; write an ISO 3166-1 alpha-2 code, such as \"US\""
        ),
    })
}

/// A network or a single address, host bits cut off; `::ffff:a.b.c.d/n` as IPv4.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let parsed = text.parse::<IpNet>().ok();
    let parsed = parsed.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    let network = parsed.ok_or_else(|| {
        format!("\"{text}\" is no network; write a CIDR such as \"203.0.113.0/24\"")
    })?;
    if let IpNet::V6(v6) = network
        && v6.prefix_len() >= 96
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(v4, v6.prefix_len() - 96)
    {
        return Ok(IpNet::V4(v4.trunc()));
    }
    Ok(network.trunc())
}

const SIZES: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Bytes.
pub(super) fn size(text: &str) -> Result<u64, String> {
    quantity(text, &SIZES).ok_or_else(|| {
        format!(
            "\"{text}\" is no size; write a number and B, KiB, MiB, GiB or TiB, such as \"512MiB\""
        )
    })
}

const SPANS: [(&str, u64); 5] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)];

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    quantity(text, &SPANS).filter(|seconds| *seconds > 0).map(Duration::from_secs).ok_or_else(
        || {
            format!(
                "\"{text}\" is no span of time; write a number and s, m, h, d or w, such as \"30d\""
            )
        },
    )
}

/// The same, or "" for never.
pub(super) fn optional_duration(text: &str) -> Result<Option<Duration>, String> {
    if text.is_empty() { Ok(None) } else { duration(text).map(Some) }
}

/// A whole number and a unit.
fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

pub(super) fn listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        format!("\"{text}\" is no address to listen on; write \"127.0.0.1:9871\", or \"\" for off")
    })
}

pub(super) fn absolute(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if path.is_absolute() && !text.contains('\0') {
        Ok(path)
    } else {
        Err(format!("\"{text}\" is no absolute path"))
    }
}

/// `""` is none.
pub(super) fn optional_path(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() { Ok(None) } else { absolute(text).map(Some) }
}

/// The kernel's limit for a Unix socket's path, the final NUL left out.
const SOCKET_PATH_MAX: usize = 107;

pub(super) fn socket(text: &str) -> Result<PathBuf, String> {
    if text.len() > SOCKET_PATH_MAX {
        return Err(format!("a socket's path has at most {SOCKET_PATH_MAX} bytes"));
    }
    absolute(text)
}

pub(super) fn database(text: &str) -> Result<Option<PathBuf>, String> {
    let path = optional_path(text)?;
    match &path {
        Some(file) if file.is_dir() => Err(format!("\"{text}\" is a folder; name an MMDB file")),
        Some(file) if !file.exists() => {
            Err(format!("\"{text}\" does not exist; correct the path, or write \"\" for none"))
        }
        _ => Ok(path),
    }
}

pub(super) fn rule_name(text: &str) -> Result<&str, String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if text.is_empty() || text.len() > 64 || !text.bytes().all(plain) {
        return Err(format!("\"{text}\" is no rule's name; use up to 64 of a-z, 0-9, _ and -"));
    }
    Ok(text)
}

/// Where programs lie that people call by their bare names.
const FOLDERS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// A bare name is for rules that forbid: any program can call itself so.
pub(super) fn program(text: &str, allow: bool) -> Result<ProgramSelector, String> {
    let program = ProgramSelector::parse(text)?;
    match &program {
        ProgramSelector::Name(name) if allow => Err(no_proof(name, &FOLDERS.map(Path::new))),
        _ => Ok(program),
    }
}

fn no_proof(name: &str, folders: &[&Path]) -> String {
    let found = programs_called(name, folders);
    let paths: Vec<String> = found.iter().map(|path| format!("\"{}\"", path.display())).collect();
    let path = if paths.is_empty() { String::new() } else { format!(": {}", paths.join(" or ")) };
    format!(
        "\"{name}\" is a name, which any program can give itself; write the program's path{path}"
    )
}

/// Each file once, by the first path that leads to it.
fn programs_called(name: &str, folders: &[&Path]) -> Vec<PathBuf> {
    let mut seen = Vec::new();
    let mut paths = Vec::new();
    for path in folders.iter().map(|folder| folder.join(name)) {
        let Ok(file) = fs::metadata(&path) else { continue };
        let id = (file.dev(), file.ino());
        if file.is_file() && file.mode() & 0o111 != 0 && !seen.contains(&id) {
            seen.push(id);
            paths.push(path);
        }
    }
    paths
}

/// A name for people: anything but nothing.
pub(super) fn free_text(text: &str) -> Result<Arc<str>, String> {
    match text.trim() {
        "" => Err("is empty; leave the key out".into()),
        text => Ok(text.into()),
    }
}

/// Empty: the host's own.
pub(super) fn host_name(text: &str) -> Result<Option<Arc<str>>, String> {
    if text.is_empty() || Host::is_name(text) {
        return Ok((!text.is_empty()).then(|| text.into()));
    }
    let problem = "use at most 255 bytes that can be printed, without spaces and +";
    Err(format!("{text:?} is no host's name; {problem}"))
}

pub(super) fn interface(text: &str) -> Result<String, String> {
    // IFNAMSIZ is 16, with the final NUL.
    let fits = (1..=15).contains(&text.len())
        && !text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
    if fits { Ok(text.to_owned()) } else { Err(format!("\"{text}\" is no interface's name")) }
}

/// A number between two bounds.
pub(super) fn within(number: i64, least: u32, most: u32) -> Result<u32, String> {
    let fits = u32::try_from(number).ok().filter(|number| (least..=most).contains(number));
    fits.ok_or_else(|| format!("{number} is not within {least} and {most}"))
}

const RING_LEAST: u64 = 64 << 10;
const RING_MOST: u64 = 1 << 30;

/// What the kernel accepts for a ring buffer, whatever its page size.
pub(super) fn ring_bytes(text: &str) -> Result<u32, String> {
    let bytes = size(text)?;
    if bytes.is_power_of_two() && (RING_LEAST..=RING_MOST).contains(&bytes) {
        return Ok(bytes as u32);
    }
    let near = bytes.clamp(RING_LEAST, RING_MOST).next_power_of_two();
    let near =
        if near >= 1 << 20 { format!("{}MiB", near >> 20) } else { format!("{}KiB", near >> 10) };
    Err(format!("\"{text}\" is not a power of two from 64KiB to 1GiB; the next is \"{near}\""))
}

/// `None`: what fits.
pub(super) fn ring(text: &str) -> Result<Option<u32>, String> {
    if text == "auto" { Ok(None) } else { ring_bytes(text).map(Some) }
}

/// A store smaller than this could not keep one block of each kind.
const STORE_LEAST: u64 = 1 << 20;

pub(super) fn store_bytes(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if bytes < STORE_LEAST { Err(format!("\"{text}\" is less than 1MiB")) } else { Ok(bytes) }
}

/// The same, or nothing.
pub(super) fn kept_bytes(text: &str) -> Result<u64, String> {
    let bytes = size(text)?;
    if bytes == 0 { Ok(0) } else { store_bytes(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn for_a_bare_name_the_paths_of_the_programs_called_so_are_told() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let root = tempfile::tempdir().unwrap();
        let folders = ["a", "b", "c", "d"].map(|name| root.path().join(name));
        for folder in &folders[..3] {
            fs::create_dir(folder).unwrap();
        }
        symlink(&folders[0], &folders[3]).unwrap();
        let file = |at: usize, mode| {
            let path = folders[at].join("curl");
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let (first, _plain, other) = (file(0, 0o755), file(1, 0o644), file(2, 0o755));
        let folders: Vec<&Path> = folders.iter().map(AsRef::as_ref).collect();
        assert_eq!(programs_called("curl", &folders), [first.clone(), other]);
        let message = no_proof("curl", &folders[..1]);
        assert!(message.ends_with(&format!("write the program's path: {first:?}")), "{message}");
        assert!(no_proof("wget", &folders).ends_with("write the program's path"));
        assert!(program("curl", false).is_ok() && program("curl", true).is_err());
        assert!(program("/usr/bin/curl", true).is_ok());
    }

    #[test]
    fn sizes_and_spans_have_units() {
        assert_eq!(size("512MiB"), Ok(512 << 20));
        assert_eq!(size("1 GB"), Ok(1_000_000_000));
        assert_eq!(duration("30d"), Ok(Duration::from_hours(30 * 24)));
        for wrong in ["512", "512M", "MiB", "-1MiB", "1.5GiB", "99999999999TiB", ""] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        for wrong in ["30", "0d", "d", "1y", "99999999999999999w"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_ring_buffer_is_a_power_of_two_that_every_page_size_divides() {
        assert_eq!(ring("auto"), Ok(None));
        assert_eq!(ring("16MiB"), Ok(Some(16 << 20)));
        assert_eq!(ring_bytes("16MiB"), Ok(16 << 20));
        assert!(ring_bytes("3MiB").unwrap_err().contains("\"4MiB\""));
        assert!(ring_bytes("4KiB").unwrap_err().contains("\"64KiB\""));
        assert!(ring_bytes("4GiB").is_err());
    }

    #[test]
    fn a_wrong_country_suggests_the_right_one() {
        let wrong = |text| country(text).unwrap_err();
        assert!(wrong("USA").ends_with("is not a two-letter code; did you mean \"US\"?"));
        assert!(wrong("Germany").contains("\"DE\""));
        assert!(wrong("UK").contains("not assigned; did you mean \"GB\"?"));
        assert!(wrong("ZZ").contains("not assigned"));
        assert_eq!(country("us"), Ok(CountryCode::new("US").unwrap()));
        assert_eq!(country("XK"), Ok(CountryCode::new("XK").unwrap()));
    }

    #[test]
    fn a_network_is_canonical() {
        let canonical = |text| network(text).map(|net| net.to_string());
        assert_eq!(canonical("203.0.113.9/24"), Ok("203.0.113.0/24".into()));
        assert_eq!(canonical("203.0.113.9"), Ok("203.0.113.9/32".into()));
        assert_eq!(canonical("::ffff:203.0.113.0/120"), Ok("203.0.113.0/24".into()));
        assert_eq!(canonical("2001:db8::1/32"), Ok("2001:db8::/32".into()));
        assert!(canonical("203.0.113.0/33").is_err());
    }

    #[test]
    fn a_socket_path_fits_the_kernels_limit() {
        assert!(socket(&format!("/{}", "s".repeat(106))).is_ok());
        assert!(socket(&format!("/{}", "s".repeat(107))).is_err());
        assert!(socket("run/geofenced.sock").is_err());
    }
}
