//! What devices on the LAN are called: by the leases that a DHCP server of this host keeps. Read when
//! somebody asks, from local files alone; a lease that can't be read names nobody.

mod formats;

use std::{
    fs::{self, File},
    io::{self, Read},
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustc_hash::FxHashMap;
use rustix::{
    fs::{Mode, OFlags},
    process::geteuid,
};

use crate::event::Mac;

/// Most bytes that are read of a file of leases; what lies beyond is the newest, but such a file has
/// some 50,000 leases.
const FILE_MAX: u64 = 8 << 20;
/// Files that are read of a directory: a server writes one for each network it serves.
const FILES_MAX: usize = 64;
/// Users from here on are people; DHCP servers run as system users.
const PEOPLE_FROM: u32 = 1_000;
/// Leases kept at once.
const LEASES_MAX: usize = 65_536;
/// Longest name (RFC 1035).
const NAME_MAX: usize = 255;

/// Reads leases out of a file's text, the newer ones later.
type Reader = fn(&str, &mut dyn FnMut(Lease));

/// Where DHCP servers keep their leases; a `*` stands for any name or part of one. What is read later
/// is newer.
const PLACES: [(&str, Reader); 22] = [
    // dnsmasq: Debian, Fedora, OpenWrt, Pi-hole; of NetworkManager's shared connections, lxc-net, LXD,
    // its snap, and Incus.
    ("var/lib/misc/dnsmasq.leases", formats::dnsmasq),
    ("var/lib/misc/dnsmasq.*.leases", formats::dnsmasq),
    ("var/lib/dnsmasq/dnsmasq.leases", formats::dnsmasq),
    ("tmp/dhcp.leases", formats::dnsmasq),
    ("etc/pihole/dhcp.leases", formats::dnsmasq),
    ("var/lib/NetworkManager/dnsmasq-*.leases", formats::dnsmasq),
    ("var/lib/lxd/networks/*/dnsmasq.leases", formats::dnsmasq),
    ("var/snap/lxd/common/lxd/networks/*/dnsmasq.leases", formats::dnsmasq),
    ("var/lib/incus/networks/*/dnsmasq.leases", formats::dnsmasq),
    // libvirt: a network's file before 1.2.6, a bridge's since.
    ("var/lib/libvirt/dnsmasq/*.leases", formats::dnsmasq),
    ("var/lib/libvirt/dnsmasq/*.status", formats::libvirt),
    ("var/lib/dhcp/dhcpd.leases", formats::dhcpd),
    ("var/lib/dhcpd/dhcpd.leases", formats::dhcpd),
    // Kea moves its file away to clean it up (kea-lfc(8)): the last clean one is `.2` or, before it is
    // renamed, `.completed`; `.1` is what is being cleaned.
    ("var/lib/kea/kea-leases4.csv.2", formats::kea),
    ("var/lib/kea/kea-leases4.csv.completed", formats::kea),
    ("var/lib/kea/kea-leases4.csv.1", formats::kea),
    ("var/lib/kea/kea-leases4.csv", formats::kea),
    ("var/lib/kea/kea-leases6.csv.2", formats::kea),
    ("var/lib/kea/kea-leases6.csv.completed", formats::kea),
    ("var/lib/kea/kea-leases6.csv.1", formats::kea),
    ("var/lib/kea/kea-leases6.csv", formats::kea),
    ("var/lib/systemd/network/dhcp-server-lease/*", formats::networkd),
];

/// One lease, as far as it was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lease {
    address: Option<IpAddr>,
    mac: Option<Mac>,
    name: Option<String>,
}

/// Who has which address, and what it calls itself.
#[derive(Debug, Default)]
pub struct Leases {
    by_mac: FxHashMap<Mac, Arc<str>>,
    by_address: FxHashMap<IpAddr, (Option<Mac>, Option<Arc<str>>)>,
}

impl Leases {
    /// Of this host.
    pub fn read() -> Self {
        Self::below(Path::new("/"))
    }

    fn below(root: &Path) -> Self {
        let mut leases = Self::default();
        for (place, read) in PLACES {
            for path in files(root, place) {
                if let Ok(bytes) = content(&path) {
                    read(&String::from_utf8_lossy(&bytes), &mut |lease| leases.put(lease));
                }
            }
        }
        leases
    }

    fn put(&mut self, lease: Lease) {
        let Lease { address, mac, name } = lease;
        let is_name = |name: &String| !name.is_empty() && name != "*" && name.len() <= NAME_MAX;
        let name: Option<Arc<str>> = name.filter(is_name).map(Into::into);
        if self.by_address.len().max(self.by_mac.len()) >= LEASES_MAX {
            return;
        }
        if let (Some(mac), Some(name)) = (mac, &name) {
            self.by_mac.insert(mac, Arc::clone(name));
        }
        if let Some(address) = address {
            self.by_address.insert(address, (mac, name));
        }
    }

    /// The hardware address of who has this address.
    pub fn mac(&self, address: IpAddr) -> Option<Mac> {
        self.by_address.get(&address)?.0
    }

    /// The name of a device.
    pub fn name(&self, mac: Option<Mac>, address: Option<IpAddr>) -> Option<&str> {
        let by_mac = mac.and_then(|mac| self.by_mac.get(&mac));
        let by_address = || self.by_address.get(&address?)?.1.as_ref();
        by_mac.or_else(by_address).map(AsRef::as_ref)
    }
}

/// The files of a place, in the order of their names.
fn files(root: &Path, place: &str) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    for part in place.split('/') {
        found = match part.split_once('*') {
            None => found.into_iter().map(|path| path.join(part)).collect(),
            Some((begin, end)) => {
                let is_meant = |name: &str| {
                    name.len() >= part.len() - 1 && name.starts_with(begin) && name.ends_with(end)
                };
                let below = found.iter().filter_map(|path| fs::read_dir(path).ok()).flatten();
                let entries = below.filter_map(|entry| Some(entry.ok()?.path()));
                let meant = entries.filter(|path| {
                    path.file_name().is_some_and(|name| is_meant(&name.to_string_lossy()))
                });
                let mut found: Vec<PathBuf> = meant.take(FILES_MAX).collect();
                found.sort();
                found
            }
        };
    }
    found
}

/// Of a server's file. Some of the places are anybody's to write to: nothing there may lead elsewhere,
/// make the reader wait, or name devices as somebody likes.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if !metadata.is_file() || !is_trusted(metadata.uid(), geteuid().as_raw()) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

const fn is_trusted(owner: u32, own: u32) -> bool {
    owner < PEOPLE_FROM || owner == own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn the_leases_of_each_server_name_their_devices() {
        let root = tempfile::tempdir().unwrap();
        let put = |place: &str, text: &str| {
            let path = root.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("var/lib/misc/dnsmasq.leases", "1764115200 02:00:5e:00:53:01 192.0.2.1 camera *\n");
        put(
            "var/lib/dhcp/dhcpd.leases",
            "lease 192.0.2.2 {\n  hardware ethernet 02:00:5e:00:53:02;\n  client-hostname \"tv\";\n}\n",
        );
        put(
            "var/lib/kea/kea-leases4.csv",
            "address,hwaddr,client_id,hostname\n192.0.2.3,02:00:5e:00:53:03,,printer\n",
        );
        put(
            "var/lib/systemd/network/dhcp-server-lease/lan0",
            r#"{"Leases":[{"Address":[192,0,2,4],"Hostname":"phone","HardwareAddress":[2,0,94,0,83,4]}]}"#,
        );
        let leases = Leases::below(root.path());
        for (number, name) in [(1, "camera"), (2, "tv"), (3, "printer"), (4, "phone")] {
            let mac = Some(Mac([2, 0, 0x5e, 0, 0x53, number]));
            let address = at(&format!("192.0.2.{number}"));
            assert_eq!(leases.name(mac, None), Some(name));
            assert_eq!(leases.name(None, address), Some(name));
            assert_eq!(leases.mac(address.unwrap()), mac);
        }
        assert_eq!(leases.name(Some(Mac([1; 6])), at("192.0.2.9")), None);
    }

    const PLACE: &str = "tmp/dhcp.leases";
    const LINE: &str = "1764115200 02:00:5e:00:53:01 192.0.2.1 camera *\n";

    fn named(root: &Path) -> bool {
        Leases::below(root).name(None, at("192.0.2.1")).is_some()
    }

    #[test]
    fn only_a_servers_own_file_names_devices() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(PLACE);
        let elsewhere = root.path().join("elsewhere");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&elsewhere, LINE).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert!(!named(root.path()), "a link");
        fs::remove_file(&path).unwrap();
        // Opened as files are, it would be waited for without end.
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, Mode::RWXU).unwrap();
        assert!(!named(root.path()), "a pipe");
        fs::remove_file(&path).unwrap();
        fs::rename(&elsewhere, &path).unwrap();
        assert!(named(root.path()));
        // Who may not give a file away still has one that is believed.
        let is_given_away = std::os::unix::fs::chown(&path, Some(65_534), None).is_ok();
        assert_eq!(named(root.path()), !is_given_away);
    }

    #[test]
    fn root_system_users_and_who_reads_are_trusted() {
        assert!(is_trusted(0, 0) && is_trusted(999, 0) && is_trusted(1_000, 1_000));
        assert!(!is_trusted(1_000, 0) && !is_trusted(1_000, 1_001) && !is_trusted(65_534, 0));
    }

    #[test]
    fn of_a_directory_a_bounded_number_of_files_is_read() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("var/lib/NetworkManager");
        fs::create_dir_all(&place).unwrap();
        for number in 1..=100 {
            let line = LINE.replace("192.0.2.1", &format!("192.0.2.{number}"));
            fs::write(place.join(format!("dnsmasq-lan{number}.leases")), line).unwrap();
        }
        fs::write(place.join("dnsmasq-lan1.pid"), LINE.replace("192.0.2.1", "192.0.2.200"))
            .unwrap();
        assert_eq!(Leases::below(root.path()).by_address.len(), FILES_MAX);
    }

    #[test]
    fn the_files_of_those_who_run_a_dnsmasq_of_their_own_are_read() {
        let root = tempfile::tempdir().unwrap();
        let places = [
            "var/lib/misc/dnsmasq.lxcbr0.leases",
            "etc/pihole/dhcp.leases",
            "var/lib/NetworkManager/dnsmasq-wlan0.leases",
            "var/lib/lxd/networks/lxdbr0/dnsmasq.leases",
            "var/snap/lxd/common/lxd/networks/lxdbr0/dnsmasq.leases",
            "var/lib/incus/networks/incusbr0/dnsmasq.leases",
            "var/lib/libvirt/dnsmasq/default.leases",
            "var/lib/libvirt/dnsmasq/virbr0.status",
        ];
        for (number, place) in (1..).zip(places) {
            let path = root.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = if place.ends_with(".status") {
                format!(
                    "[\n  {{\n    \"ip-address\": \"192.0.2.{number}\",\n    \"mac-address\": \
                     \"02:00:5e:00:53:0{number}\",\n    \"hostname\": \"host{number}\",\n    \
                     \"expiry-time\": 1764115200\n  }}\n]\n"
                )
            } else {
                format!("1764115200 02:00:5e:00:53:0{number} 192.0.2.{number} host{number} *\n")
            };
            fs::write(path, text).unwrap();
        }
        let leases = Leases::below(root.path());
        for (number, place) in (1..).zip(places) {
            let name = leases.name(Some(Mac([2, 0, 0x5e, 0, 0x53, number])), None);
            assert_eq!(name, Some(format!("host{number}").as_str()), "{place}");
        }
    }

    #[test]
    fn what_kea_set_aside_to_clean_it_up_is_read_and_the_newest_counts() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("var/lib/kea");
        fs::create_dir_all(&place).unwrap();
        let files = [
            ("kea-leases4.csv.2", "1,2,3,4", "oldest"),
            ("kea-leases4.csv.completed", "2,3,4", "older"),
            ("kea-leases4.csv.1", "3,4", "newer"),
            ("kea-leases4.csv", "4", "newest"),
        ];
        for (file, numbers, name) in files {
            let rows = numbers.split(',').map(|number| {
                format!(
                    "192.0.2.{number},02:00:5e:00:53:0{number},,3600,1764115200,1,0,0,{name},0,\n"
                )
            });
            let head = "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,\
                        hostname,state,user_context\n";
            fs::write(place.join(file), head.to_owned() + &rows.collect::<String>()).unwrap();
        }
        let leases = Leases::below(root.path());
        let names = (1..=4).map(|it| leases.name(None, at(&format!("192.0.2.{it}"))).unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["oldest", "older", "newer", "newest"]);
    }

    #[test]
    fn a_host_without_leases_names_nobody() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Leases::below(root.path()).name(Some(Mac([1; 6])), at("192.0.2.1")), None);
    }
}
