//! What the search for senders took, and what it had to give up. Counts; a metric tells it.

/// What could not be kept or found, since the start. Each only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Processes forgotten before their time because the table was full; `/proc` is asked again.
    pub evicted: u64,
    /// Former programs or views of a process forgotten because it had too many.
    pub forgotten: u64,
    /// Samples whose process only the sample itself could tell of.
    pub unenriched: u64,
    /// Searches through all of `/proc` for the holder of a socket.
    pub socket_searches: u64,
    /// Samples that stayed without a process because the next search was not due.
    pub socket_searches_postponed: u64,
    /// Searches that hit a bound before they had seen everything.
    pub socket_searches_cut: u64,
}

/// What [`Counters`] count, in the words of the metric.
pub const EVENTS: [&str; 6] = [
    "process-evicted",
    "program-forgotten",
    "unenriched",
    "socket-search",
    "socket-search-postponed",
    "socket-search-cut",
];

impl Counters {
    /// In the order of [`EVENTS`].
    pub fn counts(&self) -> [u64; EVENTS.len()] {
        // With every name, so that none is forgotten.
        let Self {
            evicted,
            forgotten,
            unenriched,
            socket_searches,
            socket_searches_postponed,
            socket_searches_cut,
        } = *self;
        [
            evicted,
            forgotten,
            unenriched,
            socket_searches,
            socket_searches_postponed,
            socket_searches_cut,
        ]
    }
}
