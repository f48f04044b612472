//! Whose answers the configuration trusts, and where: an address means the same host only in the
//! host's own network namespace, since anybody can make another with any address in it.

use std::{
    fs,
    io::Read as _,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Where the host says whom it asks.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Bytes and addresses of it that are read.
const FILE_MAX: u64 = 64 << 10;
const ADDRESSES_MAX: usize = 64;

/// Changes when the file does.
type Mark = (u64, u64, u64, i64, i64);

/// By default, nobody.
#[derive(Debug, Default)]
pub struct Resolvers {
    addresses: Vec<IpAddr>,
    /// Read again when it changes; `None`: the addresses are those of the configuration.
    file: Option<PathBuf>,
    mark: Option<Mark>,
    /// Cookie of the host's network namespace, once it is known.
    namespace: Option<u64>,
}

impl Resolvers {
    /// `configured`: empty are those that the host itself asks. `namespace`: where the daemon runs;
    /// `None` where the kernel does not tell (before Linux 5.14).
    pub fn new(configured: &[IpAddr], namespace: Option<u64>) -> Self {
        Self::of(configured, Path::new(RESOLV_CONF), namespace)
    }

    fn of(configured: &[IpAddr], file: &Path, namespace: Option<u64>) -> Self {
        let file = configured.is_empty().then(|| file.to_owned());
        let mut new = Self { addresses: configured.to_vec(), file, mark: None, namespace };
        new.refresh();
        new
    }

    /// Cookie of the host's network namespace; `None` while nobody knows.
    pub(super) fn namespace(&self) -> Option<u64> {
        self.namespace
    }

    /// A process that nobody but root could have put there made a socket in it.
    pub(super) fn learn_namespace(&mut self, cookie: u64) {
        if cookie != 0 {
            self.namespace.get_or_insert(cookie);
        }
    }

    pub(super) fn trusts(&self, server: IpAddr, namespace: u64) -> bool {
        let is_known =
            self.addresses.contains(&server) || (self.file.is_some() && server.is_loopback());
        self.namespace == Some(namespace) && namespace != 0 && is_known
    }

    /// Reads the file where it changed. One that is gone names nobody.
    pub(super) fn refresh(&mut self) {
        let Some(path) = &self.file else { return };
        let mark = fs::metadata(path)
            .ok()
            .map(|it| (it.dev(), it.ino(), it.size(), it.mtime(), it.mtime_nsec()));
        if mark == self.mark && mark.is_some() {
            return;
        }
        let mut text = Vec::new();
        let read = fs::File::open(path).and_then(|it| it.take(FILE_MAX).read_to_end(&mut text));
        self.addresses =
            if read.is_ok() { parse(&String::from_utf8_lossy(&text)) } else { Vec::new() };
        self.mark = mark;
    }
}

/// Name servers of a `resolv.conf(5)`.
fn parse(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and(words.next())?;
        // A link-local address has its interface behind it.
        let address: IpAddr = address.split('%').next()?.parse().ok()?;
        Some(address.to_canonical())
    };
    text.lines().filter_map(server).take(ADDRESSES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_servers_of_the_host_are_trusted_and_loopback_in_its_own_namespace_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        let text = "# nameserver 192.0.2.9\nsearch example\nnameserver 192.0.2.53\n\
                    nameserver fe80::1%eth0\n nameserver ::ffff:192.0.2.54 # second\n";
        fs::write(&file, text).unwrap();
        let resolvers = Resolvers::of(&[], &file, Some(4));
        for server in ["192.0.2.53", "192.0.2.54", "fe80::1", "127.0.0.53", "::1"] {
            assert!(resolvers.trusts(ip(server), 4), "{server}");
            assert!(!resolvers.trusts(ip(server), 5), "{server}");
            assert!(!resolvers.trusts(ip(server), 0), "{server}");
        }
        assert!(!resolvers.trusts(ip("192.0.2.9"), 4));
    }

    #[test]
    fn another_file_counts_from_its_next_look_on_and_one_that_is_gone_names_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("resolv.conf");
        fs::write(&file, "nameserver 192.0.2.53\n").unwrap();
        let mut resolvers = Resolvers::of(&[], &file, Some(4));
        fs::remove_file(&file).unwrap();
        fs::write(&file, "nameserver 192.0.2.254\n").unwrap();
        resolvers.refresh();
        assert!(resolvers.trusts(ip("192.0.2.254"), 4) && !resolvers.trusts(ip("192.0.2.53"), 4));
        fs::remove_file(&file).unwrap();
        resolvers.refresh();
        assert!(!resolvers.trusts(ip("192.0.2.254"), 4) && resolvers.trusts(ip("127.0.0.1"), 4));
    }

    #[test]
    fn those_of_the_configuration_stand_alone() {
        let resolvers = Resolvers::new(&[ip("192.0.2.53")], Some(4));
        assert!(resolvers.trusts(ip("192.0.2.53"), 4));
        assert!(!resolvers.trusts(ip("127.0.0.53"), 4));
    }

    #[test]
    fn nobody_is_trusted_while_the_namespace_of_the_host_is_not_known() {
        let mut resolvers = Resolvers::new(&[ip("192.0.2.53")], None);
        assert!(!resolvers.trusts(ip("192.0.2.53"), 4));
        resolvers.learn_namespace(0);
        resolvers.learn_namespace(4);
        resolvers.learn_namespace(5);
        assert!(resolvers.trusts(ip("192.0.2.53"), 4) && !resolvers.trusts(ip("192.0.2.53"), 5));
    }
}
