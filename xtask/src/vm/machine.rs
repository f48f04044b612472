//! A machine to boot: which kernel of Debian's, of which architecture and page size, and what is taken away from
//! it or set up otherwise. Words in, and what the guest and the emulator are told; starts nothing.

use std::{fmt, str::FromStr};

/// Long-term kernels from the oldest that can be watched to the newest that Debian builds, each with every way
/// out; and what is otherwise on other machines, by loopback alone.
pub(super) const MATRIX: [&str; 13] = [
    "5.10",
    "6.1",
    "6.12",
    "newest",
    "5.10+hybrid",
    "6.1+cgroup-v1",
    "6.1+hybrid",
    "6.12+no-btf",
    "6.12+cgroup-v1",
    "arm64:5.10",
    "arm64:6.1",
    "arm64:6.12",
    "arm64-16k:6.12",
];

/// Debian's package of a kind of kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavour {
    Amd64,
    Arm64,
    /// Pages of 16 KiB.
    Arm64Large,
}

impl Flavour {
    const ALL: [(&'static str, Self); 3] =
        [("amd64", Self::Amd64), ("arm64", Self::Arm64), ("arm64-16k", Self::Arm64Large)];

    pub(super) fn word(self) -> &'static str {
        Self::ALL.iter().find(|it| it.1 == self).map_or("", |it| it.0)
    }

    /// Cloud kernels are small, with everything that a virtual machine needs built in. Each release has this
    /// package; it depends on the image of the day.
    pub(super) fn package(self) -> &'static str {
        match self {
            Self::Amd64 => "linux-image-cloud-amd64",
            Self::Arm64 => "linux-image-cloud-arm64",
            Self::Arm64Large => "linux-image-arm64-16k",
        }
    }

    pub(super) fn is_arm64(self) -> bool {
        self != Self::Amd64
    }

    /// What `/proc/self/smaps` says.
    pub(super) fn page_size(self) -> &'static str {
        if self == Self::Arm64Large { "16 kB" } else { "4 kB" }
    }
}

/// What is otherwise than on a host of today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trait {
    /// The kernel does not show its types.
    NoBtf,
    /// No cgroup2 hierarchy at all.
    CgroupV1,
    /// The controllers are of version 1, and cgroup2 is mounted beside.
    Hybrid,
    /// Nobody reads the kernel's memory.
    Lockdown,
}

impl Trait {
    const ALL: [(&'static str, Self); 4] = [
        ("no-btf", Self::NoBtf),
        ("cgroup-v1", Self::CgroupV1),
        ("hybrid", Self::Hybrid),
        ("lockdown", Self::Lockdown),
    ];

    /// On the kernel's command line, where the guest's init reads it too.
    fn option(self) -> &'static str {
        match self {
            Self::NoBtf => "geofenced.btf=hidden",
            Self::CgroupV1 => "geofenced.cgroup=v1",
            Self::Hybrid => "geofenced.cgroup=hybrid",
            Self::Lockdown => "lockdown=confidentiality",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) flavour: Flavour,
    /// A version, or its beginning, or `newest`.
    pub(super) kernel: String,
    pub(super) traits: Vec<Trait>,
}

impl Machine {
    pub(super) fn has(&self, it: Trait) -> bool {
        self.traits.contains(&it)
    }

    /// Every way out is tried on a plain machine, whose tools are this one's.
    pub(super) fn is_plain(&self) -> bool {
        self.flavour == Flavour::Amd64 && self.traits.is_empty()
    }

    /// What the kernel is told besides where its console is.
    pub(super) fn options(&self) -> String {
        let course = (!self.is_plain()).then_some("geofenced.course=short");
        let words = self.traits.iter().map(|it| it.option()).chain(course);
        words.collect::<Vec<_>>().join(" ")
    }
}

impl FromStr for Machine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('+');
        let first = parts.next().unwrap_or_default();
        let (flavour, kernel) = first.split_once(':').unwrap_or(("amd64", first));
        let known = Flavour::ALL.iter().find(|it| it.0 == flavour);
        let flavour = known.ok_or_else(|| format!("no architecture is called {flavour}"))?.1;
        if kernel.is_empty() {
            return Err(format!("{text} names no kernel"));
        }
        let known = |word: &str| {
            let it = Trait::ALL.iter().find(|it| it.0 == word);
            it.map(|it| it.1).ok_or_else(|| format!("nothing is called +{word}"))
        };
        let traits = parts.map(known).collect::<Result<_, _>>()?;
        Ok(Self { flavour, kernel: kernel.to_owned(), traits })
    }
}

/// As it is asked for.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.flavour != Flavour::Amd64 {
            write!(f, "{}:", self.flavour.word())?;
        }
        f.write_str(&self.kernel)?;
        for it in &self.traits {
            let word = Trait::ALL.iter().find(|known| known.1 == *it).map_or("", |known| known.0);
            write!(f, "+{word}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_told_as_it_is_asked_for() {
        for text in MATRIX {
            assert_eq!(text.parse::<Machine>().unwrap().to_string(), text);
        }
        let machine: Machine = "arm64-16k:6.12+no-btf+hybrid".parse().unwrap();
        assert_eq!(
            machine.options(),
            "geofenced.btf=hidden geofenced.cgroup=hybrid geofenced.course=short"
        );
        assert_eq!(machine.flavour.page_size(), "16 kB");
        assert_eq!("6.12".parse::<Machine>().unwrap().options(), "");
        for wrong in ["", "mips:6.1", "6.1+nothing", "arm64:"] {
            assert!(wrong.parse::<Machine>().is_err(), "{wrong}");
        }
    }
}
