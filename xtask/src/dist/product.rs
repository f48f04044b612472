//! The programs that are handed out, each in packages of its own, and which files come with it. It makes nothing.

/// One of them.
#[derive(Debug)]
pub struct Product {
    /// Of the program and of its packages.
    pub name: &'static str,
    /// Where its source is, as cargo calls it.
    pub package: &'static str,
    /// Of the binary alone: what it has today and a little more, so that it only grows on purpose.
    pub bytes_most: u64,
    /// Of the repository, and where they go. A folder is taken with all in it, where there is one.
    pub files: &'static [(&'static str, &'static str)],
    /// Of these, what an administrator may change.
    pub configuration: &'static str,
    /// Within `deploy/package`.
    pub templates: &'static str,
}

impl Product {
    /// Where its documents lie on a host.
    pub fn documents(&self) -> String {
        format!("usr/share/doc/{}", self.name)
    }

    /// Completions: for which shell, and where they go.
    pub fn completions(&self) -> [(&'static str, String); 3] {
        let name = self.name;
        [
            ("bash", format!("usr/share/bash-completion/completions/{name}")),
            ("zsh", format!("usr/share/zsh/vendor-completions/_{name}")),
            ("fish", format!("usr/share/fish/vendor_completions.d/{name}.fish")),
        ]
    }
}

/// The daemon. With the databases that are embedded in it; 12 MB is the aim (decision 36).
pub const DAEMON: Product = Product {
    name: "geofenced",
    package: "monitor",
    bytes_most: 18_700_000,
    files: &[
        ("deploy/systemd/geofenced.service", "usr/lib/systemd/system/geofenced.service"),
        (
            "deploy/systemd/geofenced-databases.service",
            "usr/lib/systemd/system/geofenced-databases.service",
        ),
        (
            "deploy/systemd/geofenced-databases.timer",
            "usr/lib/systemd/system/geofenced-databases.timer",
        ),
        ("deploy/sysusers/geofenced.conf", "usr/lib/sysusers.d/geofenced.conf"),
        ("deploy/tmpfiles/geofenced.conf", "usr/lib/tmpfiles.d/geofenced.conf"),
        ("deploy/config.toml", "etc/geofenced/config.toml"),
        ("deploy/policies", "usr/share/geofenced/policies"),
        ("deploy/prometheus", "usr/share/geofenced/prometheus"),
        ("deploy/grafana", "usr/share/geofenced/grafana"),
        ("README.md", "usr/share/doc/geofenced/README.md"),
        ("NOTICE", "usr/share/doc/geofenced/NOTICE"),
        ("CHANGELOG.md", "usr/share/doc/geofenced/NEWS.md"),
    ],
    configuration: "/etc/geofenced/config.toml\n",
    templates: "",
};

/// What carries ledgers: only who installs it has code that sends.
pub const FLEET: Product = Product {
    name: "geofenced-fleet",
    package: "fleet",
    bytes_most: 20_000_000,
    files: &[
        ("deploy/systemd/geofenced-ship.service", "usr/lib/systemd/system/geofenced-ship.service"),
        ("deploy/duckdb", "usr/share/geofenced-fleet/duckdb"),
        ("deploy/clickhouse", "usr/share/geofenced-fleet/clickhouse"),
        ("deploy/lake", "usr/share/geofenced-fleet/lake"),
        ("docs/fleet.md", "usr/share/doc/geofenced-fleet/README.md"),
        ("NOTICE", "usr/share/doc/geofenced-fleet/NOTICE"),
        ("CHANGELOG.md", "usr/share/doc/geofenced-fleet/NEWS.md"),
    ],
    configuration: "",
    templates: "fleet/",
};

/// The databases that the daemon has inside, for those whose daemon is not changed. No program is in it.
pub const DATABASES: Product = Product {
    name: "geofenced-databases",
    package: "",
    bytes_most: 0,
    files: &[
        ("monitor/assets/country.bin", "usr/share/geofenced/databases/country.bin"),
        ("monitor/assets/operator.bin", "usr/share/geofenced/databases/operator.bin"),
        ("NOTICE", "usr/share/doc/geofenced-databases/NOTICE"),
    ],
    configuration: "",
    templates: "databases/",
};

/// The programs.
pub const ALL: [&Product; 2] = [&DAEMON, &FLEET];
