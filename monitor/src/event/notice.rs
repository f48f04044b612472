//! What the ledger must tell besides flows.

use std::sync::Arc;

use super::{Host, Mark, Moment, Timestamp, Watching};

/// What the ledger must tell besides flows, so that silence can be told from blindness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Watching began. `probes`: those attached.
    Started { version: Arc<str>, probes: Vec<Arc<str>>, policy_sha256: [u8; 32] },
    /// Still watching: written at an interval, so that a power cut bounds the unknown.
    Alive,
    /// Watching ended in order.
    Stopped,
    /// Events were lost between `stage` and the store, all of them from `since` on; `None`: since the last
    /// notice, by a version that did not tell.
    Lost { stage: Arc<str>, reason: Arc<str>, count: u64, since: Option<Timestamp> },
    /// Policy, database or configuration changed.
    Reloaded { policy_sha256: [u8; 32] },
    /// A torn tail of `bytes` was cut from `segment` on open.
    Cut { segment: u64, bytes: u64 },
    /// A user (`None`: none) used up a share: so many flows and attempts have no record of their own.
    AddedUp { user: Option<u32>, flows: u64, attempts: u64 },
    /// Retention removed these segments, with so many entries, from `from` to `to`.
    Removed { segments: Vec<u64>, entries: u64, from: Timestamp, to: Timestamp },
    /// Somebody took a probe off its hook, or put another program before it: since the look before,
    /// a second earlier, nothing may have been seen there.
    Detached { probe: Arc<str>, interface: Option<Arc<str>>, is_displaced: bool },
    /// It is there again, and first.
    Attached { probe: Arc<str>, interface: Option<Arc<str>> },
    /// By which clock times are told from here on: at the start, and when its being trusted changed.
    ClockRead(Moment),
    /// What a policy's hash is of, in lines: at each start and reload, and once a day.
    Policy { sha256: [u8; 32], lines: Vec<Arc<str>> },
    /// Somebody set the wall clock: what was `from` became `to`.
    ClockStepped { from: Timestamp, to: Timestamp },
    /// The daemon before ended without a word, after its last one: so many flows that had sent were not
    /// over by then. What they sent after their last state, of a minute at most, is not known.
    LostSight { flows: u64 },
    /// A packet of the daemon's own was not seen, or could not be sent. The last that was seen was sent at
    /// `since`: from then on others may be unseen, too.
    SelfTestFailed { since: Timestamp },
    /// It is seen again.
    SelfTestPassed,
    /// Which host writes from here on: at each start, at a reload that changes it, and once a day.
    Host(Arc<Host>),
    /// Somebody named a stretch of time: here it begins or ends.
    Mark(Arc<Mark>),
    /// The key that signs from here on, as a verifier key of C2SP. Where another signed before: that one,
    /// and its signature line over both, if its holder could still sign.
    Key { line: Arc<str>, before: Option<Arc<str>>, signature: Option<Arc<str>> },
    /// The ledger, as it was found, is not what was signed: `was` is the text of that checkpoint. From here
    /// on is signed under this origin.
    RolledBack { origin: Arc<str>, was: Arc<str> },
    /// All segments that are gone and were told: from and to, as they stand after another was removed.
    Gone { ranges: Vec<(u64, u64)> },
    /// The daemon stood still since then: its counters were not read, and nothing was looked after.
    Stalled { since: Timestamp },
    /// Who watches from here on, and by what: at the start, when that changes, and once a day.
    Watching(Arc<Watching>),
}
