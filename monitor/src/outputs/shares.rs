//! What each user may put into the store one by one: so much at once, and so much an hour that older
//! records live as long as the configuration promises. It only counts; what to do with a record that
//! is not paid for is the caller's.

use std::{collections::HashMap, hash::BuildHasherDefault};

use rustc_hash::{FxHashSet, FxHasher};

use crate::{
    config::StoreConfig,
    event::{Lookup, Mac, Phase, Process, Record, Timestamp, Verdict},
};

/// A holder may write this part of the store at once,
const AT_ONCE: u64 = 8;
/// and this part of it in the time that records are kept.
const IN_RETENTION: u64 = 5;
/// Least that a share is, however small the store.
const LEAST_BYTES: u64 = 64 << 10;
/// Accounts at once; who comes beyond has one with all others who do.
const ACCOUNTS_MAX: usize = 4_096;
/// Processes whose texts were paid for lately: a block of the ledger holds such a text once.
const NAMED_MAX: usize = 1_024;
/// What a state of a flow, a lookup or a row takes without its texts, in a full block.
const ENTRY_BYTES: u64 = 48;
/// What is not a text of a process: its table entry.
const PROCESS_BYTES: u64 = 64;
/// From here on user ids are handed out by ranges (subid(5)): whoever has a range is one user.
const RANGES_FROM: u32 = 100_000;
const RANGE: u32 = 65_536;

/// Whose share it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Holder {
    /// A user id, or the first of the range it lies in.
    User(u32),
    /// A device that this host forwards for.
    Device(Mac),
    /// All that have no user together, devices among them: they choose their hardware address.
    Strangers,
    /// Those without an account of their own.
    Others,
}

impl Holder {
    pub(super) fn of(record: &Record) -> Self {
        match (record.sender.process(), record.egress.passage.mac) {
            (Some(process), _) => Self::user(process.user.id),
            (None, Some(mac)) => Self::Device(mac),
            (None, None) => Self::Strangers,
        }
    }

    fn user(id: u32) -> Self {
        Self::User(if id < RANGES_FROM { id } else { id - (id - RANGES_FROM) % RANGE })
    }

    pub(super) fn user_id(self) -> Option<u32> {
        match self {
            Self::User(id) => Some(id),
            _ => None,
        }
    }
}

/// How much of a share must be left for it, in quarters: what is worth less leaves room for what is
/// worth more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// What is approved or local, and attempts, of which nothing left.
    Lesser,
    /// What is unapproved or unknown and sent, and lookups.
    Notable,
    /// The program of a row that adds flows up.
    Name,
}

impl Worth {
    pub(super) fn of(record: &Record) -> Self {
        match (record.judgement.verdict, record.egress.phase) {
            (Verdict::Unapproved | Verdict::Unknown, Phase::Sent) => Self::Notable,
            (Verdict::Approved | Verdict::Local, _) | (_, Phase::Attempt) => Self::Lesser,
        }
    }

    const fn quarters(self) -> u64 {
        match self {
            Self::Lesser => 2,
            Self::Notable => 1,
            Self::Name => 0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Account {
    bytes: u64,
    /// By the boot clock, in nanoseconds.
    at: u64,
}

#[derive(Debug)]
pub(super) struct Shares {
    /// Most that an account holds, and each has at the beginning.
    full: u64,
    /// In nanoseconds: in this time an account fills by `refill` bytes.
    span: u64,
    refill: u64,
    accounts: HashMap<Holder, Account, BuildHasherDefault<FxHasher>>,
    named: FxHashSet<(u32, Option<Timestamp>)>,
    /// By the boot clock, in nanoseconds.
    now: u64,
}

impl Shares {
    pub(super) fn of(config: &StoreConfig) -> Self {
        Self {
            full: (config.max_bytes / AT_ONCE).max(LEAST_BYTES),
            span: u64::try_from(config.retention.as_nanos()).unwrap_or(u64::MAX).max(1),
            refill: (config.max_bytes / IN_RETENTION).max(LEAST_BYTES),
            accounts: HashMap::default(),
            named: FxHashSet::default(),
            now: 0,
        }
    }

    /// Time passes; it never runs backwards here. Accounts that are full again are forgotten.
    pub(super) fn tick(&mut self, boot_ns: u64) {
        self.now = self.now.max(boot_ns);
        if self.accounts.len() >= ACCOUNTS_MAX / 2 {
            let (full, now) = (self.full, self.now);
            let (span, refill) = (self.span, self.refill);
            self.accounts.retain(|_, it| it.bytes + grown(it.at, now, span, refill) < full);
        }
    }

    /// Takes what the record costs, if enough is left. A record that must be written is paid
    /// for by [`Self::charge`].
    pub(super) fn pay(&mut self, record: &Record, worth: Worth) -> bool {
        let cost = self.cost(record);
        self.pay_bytes(Holder::of(record), cost, worth)
    }

    pub(super) fn pay_lookup(&mut self, lookup: &Lookup) -> bool {
        let process = lookup.sender.process();
        let answers = lookup.answer.as_ref().map_or(0, |it| 16 * it.len() as u64);
        let named = process.map_or(0, |it| self.named(it));
        let cost = ENTRY_BYTES + answers + lookup.name.len() as u64 + named;
        let holder = process.map_or(Holder::Strangers, |it| Holder::user(it.user.id));
        self.pay_bytes(holder, cost, Worth::Notable)
    }

    /// A row of its own, by the length of its program.
    pub(super) fn pay_row(&mut self, holder: Holder, program: &str) -> bool {
        self.pay_bytes(holder, ENTRY_BYTES + program.len() as u64, Worth::Name)
    }

    /// Takes what the record costs, as far as it is there.
    pub(super) fn charge(&mut self, record: &Record) {
        let cost = self.cost(record);
        for payer in payers(Holder::of(record)).into_iter().flatten() {
            let account = self.account(payer);
            account.bytes = account.bytes.saturating_sub(cost);
        }
    }

    fn pay_bytes(&mut self, holder: Holder, cost: u64, worth: Worth) -> bool {
        let least = self.full / 4 * worth.quarters();
        let payers = payers(holder);
        let mut all = payers.into_iter().flatten();
        if !all.all(|payer| self.account(payer).bytes >= least + cost) {
            return false;
        }
        for payer in payers.into_iter().flatten() {
            self.account(payer).bytes -= cost;
        }
        true
    }

    fn cost(&mut self, record: &Record) -> u64 {
        let domain = record.place.domain.as_ref().map_or(0, |it| it.name.len() as u64);
        let process = record.sender.process().map_or(0, |it| self.named(it));
        ENTRY_BYTES + domain + process
    }

    /// What the texts of a process cost: nothing, if they were paid for lately.
    fn named(&mut self, process: &Process) -> u64 {
        if self.named.len() >= NAMED_MAX {
            self.named.clear();
        }
        if !self.named.insert((process.pid, process.started_at)) {
            return 0;
        }
        let text = |text: &Option<std::sync::Arc<str>>| text.as_ref().map_or(0, |it| it.len());
        let parents: usize = process
            .parents
            .iter()
            .map(|it| it.name.len() + text(&it.executable) + text(&it.command_line))
            .sum();
        let own = process.name.len() + text(&process.executable) + text(&process.command_line);
        let place = text(&process.unit) + text(&process.container) + text(&process.cgroup);
        PROCESS_BYTES + (own + parents + place) as u64
    }

    /// With what came in since it was looked at last.
    fn account(&mut self, holder: Holder) -> &mut Account {
        let is_full = self.accounts.len() >= ACCOUNTS_MAX;
        let holder =
            if is_full && !self.accounts.contains_key(&holder) { Holder::Others } else { holder };
        let (full, now) = (self.full, self.now);
        let account = self.accounts.entry(holder).or_insert(Account { bytes: full, at: now });
        let grown = grown(account.at, now, self.span, self.refill);
        if grown > 0 {
            *account = Account { bytes: (account.bytes + grown).min(full), at: now };
        }
        account
    }
}

fn payers(holder: Holder) -> [Option<Holder>; 2] {
    let strangers = matches!(holder, Holder::Device(_)).then_some(Holder::Strangers);
    [Some(holder), strangers]
}

fn grown(since: u64, now: u64, span: u64, refill: u64) -> u64 {
    let passed = now.saturating_sub(since);
    let grown = u128::from(passed) * u128::from(refill) / u128::from(span);
    u64::try_from(grown).unwrap_or(u64::MAX / 2).min(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        config::RecordMode,
        ecs::tests::{bare_record, full_record},
        event::Sender,
    };

    const DAY: Duration = Duration::from_hours(24);

    fn shares() -> Shares {
        Shares::of(&StoreConfig {
            path: "/nowhere".into(),
            record: RecordMode::Unapproved,
            retention: DAY,
            max_bytes: 64 << 20,
            sync: Duration::from_secs(10),
            shipping: None,
        })
    }

    fn by(user: u32) -> Record {
        let mut record = full_record();
        let mut process = Process::clone(record.sender.process().unwrap());
        process.user.id = user;
        if let Sender::Process { process: it, .. } = &mut record.sender {
            *it = Arc::new(process);
        }
        record
    }

    /// Until nothing more is paid for.
    fn exhaust(shares: &mut Shares, record: &Record, worth: Worth) -> u64 {
        (0..1_000_000).take_while(|_| shares.pay(record, worth)).count() as u64
    }

    #[test]
    fn a_user_who_used_up_a_share_leaves_that_of_another_whole() {
        let mut shares = shares();
        let first = exhaust(&mut shares, &by(1000), Worth::Notable);
        assert!(first * ENTRY_BYTES <= 8 << 20, "{first}");
        assert!(first > 10_000, "{first}");
        let second = exhaust(&mut shares, &by(1001), Worth::Notable);
        assert!(second.abs_diff(first) < 100, "{first} {second}");
    }

    #[test]
    fn in_the_time_that_records_are_kept_a_user_writes_a_third_of_the_store_at_most() {
        let mut shares = shares();
        let mut records = 0;
        for hour in 0..24 {
            shares.tick(Timestamp::from_secs(hour * 3600).0);
            records += exhaust(&mut shares, &by(1000), Worth::Notable);
        }
        let bytes = records * ENTRY_BYTES;
        assert!(bytes < (64 << 20) / 3 && bytes > (64 << 20) / 5, "{bytes}");
    }

    #[test]
    fn what_is_approved_leaves_room_for_what_is_not_and_both_for_names() {
        let mut shares = shares();
        let approved = exhaust(&mut shares, &by(1000), Worth::Lesser);
        let notable = exhaust(&mut shares, &by(1000), Worth::Notable);
        assert!(approved > 0 && notable > 0 && approved.abs_diff(2 * notable) < 100);
        assert!(shares.pay_row(Holder::of(&by(1000)), "/usr/bin/curl"));
    }

    #[test]
    fn a_range_of_subordinate_ids_is_one_user() {
        assert_eq!(Holder::of(&by(100_000)), Holder::of(&by(165_535)));
        assert_ne!(Holder::of(&by(100_000)), Holder::of(&by(165_536)));
        assert_ne!(Holder::of(&by(1000)), Holder::of(&by(1001)));
    }

    #[test]
    fn a_device_that_changes_its_hardware_address_has_no_more_than_all_strangers() {
        let mut shares = shares();
        let mut record = bare_record();
        let mut records = 0_u64;
        for number in 0..100_u8 {
            record.egress.passage.mac = Some(Mac([2, 0, 0, 0, 0, number]));
            records += exhaust(&mut shares, &record, Worth::Notable);
        }
        assert!(records * ENTRY_BYTES <= 8 << 20, "{records}");
    }

    #[test]
    fn accounts_are_bounded_and_a_full_one_is_forgotten() {
        let mut shares = shares();
        for user in 0..10_000 {
            shares.pay(&by(user), Worth::Notable);
        }
        assert!(shares.accounts.len() <= ACCOUNTS_MAX + 1);
        shares.tick(Timestamp::from_secs(86_400).0);
        assert_eq!(shares.accounts.len(), 0);
    }

    #[test]
    fn a_long_command_line_is_paid_for_once_a_block() {
        let mut shares = shares();
        let mut record = by(1000);
        let long: Arc<str> = "x".repeat(32 << 10).into();
        let with = |record: &mut Record, pid| {
            let mut process = Process::clone(record.sender.process().unwrap());
            (process.pid, process.command_line) = (pid, Some(Arc::clone(&long)));
            if let Sender::Process { process: it, .. } = &mut record.sender {
                *it = Arc::new(process);
            }
        };
        with(&mut record, 1);
        let same = exhaust(&mut shares, &record, Worth::Notable);
        let mut other = by(2000);
        let mut ever_new = 0;
        for pid in 0.. {
            with(&mut other, pid);
            if !shares.pay(&other, Worth::Notable) {
                break;
            }
            ever_new += 1;
        }
        assert!(same > 10_000 && ever_new < 300, "{same} {ever_new}");
    }
}
