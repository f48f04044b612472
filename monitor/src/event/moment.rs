//! When something was: by the boot clock, which nobody can set, and by the wall clock as it stood to
//! it. Values only; `clock` reads them.

use std::fmt;

/// Nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }
    pub const fn secs(self) -> u64 {
        self.0 / 1_000_000_000
    }
    /// Start of the UTC hour this lies in.
    pub const fn hour(self) -> Self {
        Self(self.0 - self.0 % 3_600_000_000_000)
    }
}

/// Which boot of the kernel: all times of the boot clock belong to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// As the kernel writes it: 32 hexadecimal digits in five groups.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.trim().chars().filter(|it| *it != '-').collect();
        let is_whole = digits.len() == 32 && digits.bytes().all(|it| it.is_ascii_hexdigit());
        let number = u128::from_str_radix(&digits, 16).ok().filter(|_| is_whole)?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", u128::from_be_bytes(self.0));
        let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| &digits[group]);
        f.write_str(&groups.join("-"))
    }
}

/// How wall clock and boot clock stand to each other: the same from one setting of the wall clock to
/// the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timeline {
    pub boot: BootId,
    /// Nanoseconds since the epoch that the wall clock would have shown when the boot clock was 0.
    pub wall_at_boot_ns: i64,
    /// The kernel says that the wall clock is synchronised.
    pub is_trusted: bool,
}

impl Timeline {
    pub fn wall(&self, boot_ns: u64) -> Timestamp {
        Timestamp(boot_ns.saturating_add_signed(self.wall_at_boot_ns))
    }

    /// The boot clock's time when the wall clock showed this.
    pub fn boot_ns(&self, wall: Timestamp) -> u64 {
        let ns = i128::from(wall.0) - i128::from(self.wall_at_boot_ns);
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Moment {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub boot_ns: u64,
    pub timeline: Timeline,
}

impl Moment {
    pub fn wall(&self) -> Timestamp {
        self.timeline.wall(self.boot_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_id_is_written_as_the_kernel_writes_it() {
        let text = "0c4f7b6e-9d0a-4a55-8a0e-f3c2b1a09d01";
        assert_eq!(BootId::parse(&format!("{text}\n")).unwrap().to_string(), text);
        for wrong in ["", "0c4f7b6e", "+c4f7b6e-9d0a-4a55-8a0e-f3c2b1a09d0é1"] {
            assert_eq!(BootId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn wall_and_boot_clock_lead_to_each_other() {
        let boot = BootId([1; 16]);
        for wall_at_boot_ns in [-7, 0, 1_800_000_000_000_000_000] {
            let timeline = Timeline { boot, wall_at_boot_ns, is_trusted: false };
            assert_eq!(timeline.boot_ns(timeline.wall(1_000)), 1_000);
        }
    }
}
