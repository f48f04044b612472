//! The only reader of clocks: which boot this is, the boot clock, the wall clock, and whether the
//! kernel says that it is synchronised. It decides nothing, and never sets a clock. (`Instant`, which
//! measures spans and tells no time, is anybody's.)

#[cfg(test)]
pub mod fake;

use std::{
    env, fs,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    mem::MaybeUninit,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustix::time::{ClockId, clock_gettime};

use crate::event::{BootId, Moment, Notice, Timeline, Timestamp};

/// Set, it names a file whose content moves the wall clock as this program sees it: seconds, and
/// `trusted` or `untrusted` where the kernel's word is not to count. For tests of clocks that are set.
const SHIFT: &str = "GEOFENCED_CLOCK_SHIFT";
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// 2026-01-01: this program is no older, so a clock that shows less is wrong, whoever vouches for it.
pub const EARLIEST: Timestamp = Timestamp::from_secs(1_767_225_600);
/// The clocks are read one after the other. As long as nobody sets the wall clock the kernel keeps
/// what is between them the same to the nanosecond, so that less than this is an error of reading.
const TOLERANCE_NS: u64 = 1_000_000;
/// Of a few readings the one that was not interrupted counts.
const READINGS: usize = 5;
const QUICK_NS: u64 = 20_000;
/// A step of less is not worth a notice by itself; several add up to one.
const STEP_NS: u64 = 100_000_000;

/// A clock, cheap to clone. Clones agree on what is between wall clock and boot clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    source: Backing,
    /// What is between the clocks, since it changed last.
    held: Mutex<Option<i64>>,
}

#[derive(Debug)]
enum Backing {
    Host {
        boot: BootId,
        shift: Option<PathBuf>,
    },
    #[cfg(test)]
    Fake(fake::FakeClock),
}

/// One look at the clocks of the host.
#[derive(Clone, Copy, Debug)]
struct Reading {
    boot_ns: u64,
    /// What is between it and the wall clock, in nanoseconds.
    between: i64,
    /// How wrong it may be.
    error_ns: u64,
}

/// How long this host was suspended since it booted: by so much the monotonic clock is behind that of the
/// boot. Rather a few nanoseconds too little than too much.
pub fn suspended_ns() -> u64 {
    let boot = boot_ns();
    boot.saturating_sub(ns(ClockId::Monotonic))
}

impl Clock {
    /// That of this host.
    pub fn host() -> Self {
        static HOST: OnceLock<Clock> = OnceLock::new();
        let read = || {
            let boot = fs::read_to_string(BOOT_ID).ok().and_then(|text| BootId::parse(&text));
            let shift = env::var_os(SHIFT).map(PathBuf::from);
            Self::of(Backing::Host { boot: boot.unwrap_or_else(unknown_boot), shift })
        };
        HOST.get_or_init(read).clone()
    }

    fn of(source: Backing) -> Self {
        Self(Arc::new(Inner { source, held: Mutex::new(None) }))
    }

    pub fn now(&self) -> Moment {
        let (boot, shift) = match &self.0.source {
            Backing::Host { boot, shift } => (*boot, shift),
            #[cfg(test)]
            Backing::Fake(fake) => return fake.now(),
        };
        let mut reading = read_host();
        let mut is_trusted = is_synchronised() == Some(true);
        if let Some((seconds, word)) = shift.as_ref().and_then(shifted) {
            let ns = seconds.saturating_mul(1_000_000_000);
            reading.between = reading.between.saturating_add(ns);
            is_trusted = word.unwrap_or(is_trusted);
        }
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let wall_at_boot_ns = settle(*held, &reading);
        *held = Some(wall_at_boot_ns);
        drop(held);
        let mut timeline = Timeline { boot, wall_at_boot_ns, is_trusted };
        timeline.is_trusted &= timeline.wall(reading.boot_ns) >= EARLIEST;
        Moment { boot_ns: reading.boot_ns, timeline }
    }
}

/// The host's wall clock.
pub fn wall() -> Timestamp {
    Clock::host().now().wall()
}

/// The host's boot clock, in nanoseconds: that of the probes.
pub fn boot_ns() -> u64 {
    ns(ClockId::Boottime)
}

/// The clock that stands while the host sleeps, in nanoseconds.
pub fn awake_ns() -> u64 {
    ns(ClockId::Monotonic)
}

/// The clock by which file systems stamp, in nanoseconds since the epoch.
pub fn file_ns() -> u64 {
    ns(ClockId::Realtime)
}

/// Whether the kernel says that the wall clock is synchronised; `None` where it may not be asked.
pub fn is_synchronised() -> Option<bool> {
    adjustment().map(|(is_synchronised, _)| is_synchronised)
}

/// By how much the wall clock may be wrong at most, as the kernel says; `None` where it is not synchronised.
pub fn tolerance_ns() -> Option<u64> {
    let (is_synchronised, about) = adjustment()?;
    let error_us = u64::try_from(about.maxerror).ok().filter(|_| is_synchronised);
    error_us.map(|us| us.saturating_mul(1_000))
}

/// What adjtimex(2) says, and whether that means a clock that is synchronised.
fn adjustment() -> Option<(bool, libc::timex)> {
    let mut about = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: a `timex` of zeros asks for nothing to be changed; the kernel writes within it.
    let state = unsafe { libc::adjtimex(about.as_mut_ptr()) };
    // SAFETY: integers alone, of which zero is a value.
    let about = unsafe { about.assume_init() };
    let is_synchronised = state != libc::TIME_ERROR && about.status & libc::STA_UNSYNC == 0;
    (state != -1).then_some((is_synchronised, about))
}

fn ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

fn read_host() -> Reading {
    let mut best: Option<Reading> = None;
    for _ in 0..READINGS {
        let before = ns(ClockId::Boottime);
        let wall = ns(ClockId::Realtime);
        let error_ns = ns(ClockId::Boottime).saturating_sub(before);
        let boot_ns = before + error_ns / 2;
        let between = wall.wrapping_sub(boot_ns).cast_signed();
        if best.is_none_or(|it| error_ns < it.error_ns) {
            best = Some(Reading { boot_ns, between, error_ns });
        }
        if error_ns < QUICK_NS {
            break;
        }
    }
    best.unwrap_or(Reading { boot_ns: 0, between: 0, error_ns: 0 })
}

/// What is between the clocks: as before, if the reading can't tell it from that.
fn settle(held: Option<i64>, reading: &Reading) -> i64 {
    let read = reading.between;
    held.filter(|held| held.abs_diff(read) <= reading.error_ns.max(TOLERANCE_NS)).unwrap_or(read)
}

/// Seconds, and whether it is to be trusted.
fn shifted(path: &PathBuf) -> Option<(i64, Option<bool>)> {
    let text = fs::read_to_string(path).ok()?;
    let mut words = text.split_whitespace();
    let seconds = words.next()?.parse().ok()?;
    Some((seconds, words.next().map(|word| word == "trusted")))
}

/// Where the kernel does not say which boot it is, each start counts as one: spans between two are
/// then not known, and nothing is taken for older than it is.
fn unknown_boot() -> BootId {
    let half = || RandomState::new().build_hasher().finish();
    BootId((u128::from(half()) << 64 | u128::from(half())).to_be_bytes())
}

/// Notices when the wall clock was set, and when its being trusted changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps {
    told: Option<Timeline>,
    last: Option<(Timestamp, Timestamp)>,
}

impl Steps {
    /// What the ledger must be told of.
    pub fn look(&mut self, now: &Moment) -> Vec<Notice> {
        let mut notices = Vec::new();
        let told = self.told.get_or_insert(now.timeline);
        if told.wall_at_boot_ns.abs_diff(now.timeline.wall_at_boot_ns) >= STEP_NS {
            let (from, to) = (told.wall(now.boot_ns), now.wall());
            notices.push(Notice::ClockStepped { from, to });
            self.last = Some((from, to));
            told.wall_at_boot_ns = now.timeline.wall_at_boot_ns;
        }
        if told.is_trusted != now.timeline.is_trusted {
            told.is_trusted = now.timeline.is_trusted;
            notices.push(Notice::ClockRead(*now));
        }
        notices
    }

    /// The last step: from and to.
    pub fn last(&self) -> Option<(Timestamp, Timestamp)> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{fake::FakeClock, *};

    const HOUR: i64 = 3_600;

    #[test]
    fn the_hosts_clocks_are_those_that_everybody_reads() {
        let (before, now) = (boot_ns(), Clock::host().now());
        assert!((before..=boot_ns()).contains(&now.boot_ns));
        assert_ne!(now.timeline.boot, BootId([0; 16]));
        let text = fs::read_to_string(BOOT_ID).unwrap();
        assert_eq!(now.timeline.boot.to_string(), text.trim());
    }

    #[test]
    fn what_is_between_the_clocks_stays_the_same_while_nobody_sets_them() {
        let clock = Clock::host();
        let first = clock.now().timeline.wall_at_boot_ns;
        for _ in 0..1_000 {
            assert_eq!(clock.now().timeline.wall_at_boot_ns, first);
        }
        let reading = |between, error_ns| Reading { boot_ns: 0, between, error_ns };
        assert_eq!(settle(Some(5_000_000), &reading(4_500_000, 0)), 5_000_000);
        assert_eq!(settle(Some(5_000_000), &reading(3_500_000, 0)), 3_500_000);
        assert_eq!(settle(Some(50_000_000), &reading(0, 60_000_000)), 50_000_000, "interrupted");
        assert_eq!(settle(None, &reading(7, 0)), 7);
    }

    #[test]
    fn a_step_is_told_once_with_what_it_changed_and_a_suspended_host_is_no_step() {
        let fake = FakeClock::at(Timestamp::from_secs(1_800_000_000));
        let mut steps = Steps::default();
        assert_eq!(steps.look(&fake.now()), []);
        fake.pass(Duration::from_hours(8));
        assert_eq!(steps.look(&fake.now()), [], "asleep for a night");
        let from = fake.now().wall();
        fake.step(-HOUR);
        let to = fake.now().wall();
        assert_eq!(from.secs() - to.secs(), 3_600);
        assert_eq!(steps.look(&fake.now()), [Notice::ClockStepped { from, to }]);
        assert_eq!(steps.look(&fake.now()), []);
        fake.trust(true);
        assert_eq!(steps.look(&fake.now()), [Notice::ClockRead(fake.now())]);
        assert_eq!(steps.look(&fake.now()), []);
    }

    #[test]
    fn small_steps_add_up_to_one_that_is_told() {
        let fake = FakeClock::at(Timestamp::from_secs(1_800_000_000));
        let mut steps = Steps::default();
        steps.look(&fake.now());
        let mut told = 0;
        for _ in 0..10 {
            fake.step_ns(30_000_000);
            told += steps.look(&fake.now()).len();
        }
        assert_eq!(told, 2);
    }
}
