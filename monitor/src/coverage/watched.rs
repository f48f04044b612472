//! Who watched and by what, as answers tell it: JSON, and a sentence. It is told; it reads nothing.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ecs::{Time, day, hex},
    event::{Timestamp, Watching},
};

/// What watched from then on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    pub noted_at: Time,
    /// Of geofenced.
    pub version: String,
    /// Of this and all else but probes and policy, versions before this one tell nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<WatchedClock>,
    pub probes: Vec<WatchedProbe>,
    #[serde(default)]
    pub interfaces: Vec<String>,
    pub policy_sha256: String,
    #[serde(default)]
    pub databases: Vec<WatchedDatabase>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedClock {
    pub boot_id: String,
    /// The boot clock when this was noted.
    pub boot_ns: u64,
    /// The kernel said that the wall clock is synchronised, and by how much it may be wrong at most.
    pub trusted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tolerance_ns: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedProbe {
    pub name: String,
    pub attached: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedDatabase {
    pub label: String,
    pub name: String,
    pub date: String,
    pub sha256: String,
}

impl Watched {
    /// As versions told it that knew no more of themselves.
    pub fn started(
        at: Timestamp,
        version: &str,
        probes: &[Arc<str>],
        policy_sha256: &[u8; 32],
    ) -> Self {
        let probe = |name: &Arc<str>| WatchedProbe {
            name: name.to_string(),
            attached: true,
            because: None,
        };
        Self {
            noted_at: Time(at),
            version: version.to_owned(),
            kernel: None,
            clock: None,
            probes: probes.iter().map(probe).collect(),
            interfaces: Vec::new(),
            policy_sha256: hex(policy_sha256),
            databases: Vec::new(),
        }
    }

    pub fn of(at: Timestamp, it: &Watching) -> Self {
        let timeline = it.clock.timeline;
        let probes = it.probes.iter().map(|it| WatchedProbe {
            name: it.name.to_string(),
            attached: it.missing.is_none(),
            because: it.missing.as_ref().map(ToString::to_string),
        });
        let databases = it.databases.iter().map(|it| WatchedDatabase {
            label: it.label.to_string(),
            name: it.name.to_string(),
            date: day(it.dated),
            sha256: hex(&it.sha256),
        });
        Self {
            noted_at: Time(at),
            version: it.version.to_string(),
            kernel: Some(it.kernel.to_string()),
            clock: Some(WatchedClock {
                boot_id: timeline.boot.to_string(),
                boot_ns: it.clock.boot_ns,
                trusted: timeline.is_trusted,
                tolerance_ns: it.tolerance_ns,
            }),
            probes: probes.collect(),
            interfaces: it.interfaces.iter().map(ToString::to_string).collect(),
            policy_sha256: hex(&it.policy_sha256),
            databases: databases.collect(),
        }
    }

    /// Whether it says the same, whenever that was.
    pub fn is_as(&self, other: &Self) -> bool {
        let mut now = self.clone();
        now.noted_at = other.noted_at;
        if let (Some(clock), Some(other)) = (&mut now.clock, &other.clock) {
            (clock.boot_ns, clock.tolerance_ns) = (other.boot_ns, other.tolerance_ns);
        }
        now == *other
    }

    /// `geofenced 0.1.0 on Linux 6.18.5, 14 of 15 probes (not: fork), at eth0; ...`
    pub fn sentence(&self) -> String {
        let on = self.kernel.as_ref().map(|kernel| format!(" on Linux {kernel}"));
        let missing: Vec<&str> =
            self.probes.iter().filter(|it| !it.attached).map(|it| it.name.as_str()).collect();
        let not = match missing.as_slice() {
            [] => String::new(),
            missing => format!(" (not: {})", missing.join(", ")),
        };
        let all = self.probes.len();
        let (version, attached) = (&self.version, all - missing.len());
        let on = on.unwrap_or_default();
        let who = format!("geofenced {version}{on}, {attached} of {all} probes{not}");
        if self.kernel.is_none() {
            return who;
        }
        let at = match self.interfaces.as_slice() {
            [] => "no interface".to_owned(),
            interfaces => interfaces.join(", "),
        };
        let short = |hash: &str| hash.chars().take(8).collect::<String>();
        let mut parts = vec![format!("{who}, at {at}")];
        if let Some(clock) = &self.clock {
            parts.push(match (clock.trusted, clock.tolerance_ns) {
                (false, _) => "the clock was not synchronised".to_owned(),
                (true, None) => "the clock was synchronised".to_owned(),
                (true, Some(ns)) => {
                    format!("the clock was synchronised to {} ms", ns.div_ceil(1_000_000))
                }
            });
            parts.push(format!("boot {}", clock.boot_id));
        }
        parts.push(format!("policy {}", short(&self.policy_sha256)));
        let database =
            |it: &WatchedDatabase| format!("{} {} {}", it.label, it.date, short(&it.sha256));
        parts.extend(self.databases.iter().map(database));
        parts.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{BootId, DatabaseId, Moment, Timeline, Watcher};

    fn watching() -> Watching {
        let timeline = Timeline { boot: BootId([7; 16]), wall_at_boot_ns: 5, is_trusted: true };
        Watching {
            version: "0.1.0".into(),
            kernel: "6.18.5".into(),
            probes: vec![
                Watcher { name: "connect4".into(), missing: None },
                Watcher { name: "fork".into(), missing: Some("no tracefs".into()) },
            ],
            interfaces: vec!["eth0".into(), "wlan0".into()],
            clock: Moment { boot_ns: 9, timeline },
            tolerance_ns: Some(12_000_001),
            policy_sha256: [0xab; 32],
            databases: vec![DatabaseId {
                label: "country".into(),
                name: "Example".into(),
                dated: Timestamp::from_secs(1_800_000_000),
                sha256: [0xcd; 32],
            }],
        }
    }

    #[test]
    fn who_watched_is_one_sentence() {
        let told = Watched::of(Timestamp(1), &watching()).sentence();
        assert_eq!(
            told,
            "geofenced 0.1.0 on Linux 6.18.5, 1 of 2 probes (not: fork), at eth0, wlan0; the clock \
             was synchronised to 13 ms; boot 07070707-0707-0707-0707-070707070707; policy abababab; \
             country 2027-01-15 cdcdcdcd"
        );
        let probes = ["connect4".into()];
        let told = Watched::started(Timestamp(1), "0.0.9", &probes, &[0; 32]).sentence();
        assert_eq!(told, "geofenced 0.0.9, 1 of 1 probes", "as an older version told it");
    }

    #[test]
    fn what_is_told_again_is_the_same_and_what_changed_is_not() {
        let (first, mut later) = (watching(), watching());
        (later.clock.boot_ns, later.tolerance_ns) = (99, None);
        let of = |at, it: &Watching| Watched::of(Timestamp(at), it);
        assert!(first.is_as(&later) && of(1, &first).is_as(&of(2, &later)));
        later.databases[0].sha256 = [0; 32];
        assert!(!first.is_as(&later) && !of(1, &first).is_as(&of(2, &later)));
        let mut untrusted = watching();
        untrusted.clock.timeline.is_trusted = false;
        assert!(!first.is_as(&untrusted) && !of(1, &first).is_as(&of(1, &untrusted)));
    }
}
