//! How a long flow beats: how often which time lay between two bursts of it. Few numbers, whatever it does.

const SECOND: u64 = 1_000_000_000;

/// How many lengths are told apart.
const LENGTHS: usize = 32;
/// What is shorter is one burst: the counters are read each second.
const SHORTEST_NS: u64 = 3 * SECOND / 2;
/// Of each length to the one before.
const RATIO: f64 = 1.3;
/// With fewer spans nothing can be said.
pub const SPANS_MIN: u32 = 12;

/// Spans between bursts by their length, of 1.5 seconds to two hours, each a third longer than the one before.
/// Where one would be counted more than 255 times, all are halved: shares stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    counts: [u8; LENGTHS],
}

impl Activity {
    /// Takes note of a span. `false`: it is too short to be one.
    pub fn add(&mut self, span_ns: u64) -> bool {
        let Some(at) = length(span_ns) else { return false };
        if self.counts[at] == u8::MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
        }
        self.counts[at] += 1;
        true
    }

    /// Whether the span is one that counts.
    pub fn is_span(span_ns: u64) -> bool {
        span_ns >= SHORTEST_NS
    }

    /// How often each length was seen, of those that were; by number of the length.
    pub fn counted(&self) -> impl Iterator<Item = (u8, u8)> + '_ {
        let numbered = self.counts.iter().enumerate();
        numbered.filter(|(_, count)| **count > 0).map(|(at, count)| (at as u8, *count))
    }

    /// The inverse of [`Self::counted`]; `None`: there is no such length.
    pub fn of(counted: impl IntoIterator<Item = (u8, u8)>) -> Option<Self> {
        let mut activity = Self::default();
        for (at, count) in counted {
            *activity.counts.get_mut(usize::from(at))? = count;
        }
        Some(activity)
    }

    /// Spans that are counted; after many only the latest weigh.
    pub fn spans(&self) -> u32 {
        self.counts.iter().map(|count| u32::from(*count)).sum()
    }

    /// Whether there are enough spans to say something.
    pub fn says_something(&self) -> bool {
        self.spans() >= SPANS_MIN
    }

    /// About the median of the spans in seconds, and the part of them that is about within 30 % of it.
    pub fn beat(&self) -> Option<(f64, f64)> {
        let spans = self.spans();
        let mut seen = 0;
        let median = self.counts.iter().position(|count| {
            seen += u32::from(*count);
            seen * 2 > spans
        })?;
        let near = &self.counts[median.saturating_sub(1)..(median + 2).min(LENGTHS)];
        let near: u32 = near.iter().map(|count| u32::from(*count)).sum();
        let middle = SHORTEST_NS as f64 / SECOND as f64 * RATIO.powf(median as f64 + 0.5);
        Some((middle, f64::from(near) / f64::from(spans)))
    }
}

fn length(span_ns: u64) -> Option<usize> {
    if !Activity::is_span(span_ns) {
        return None;
    }
    let mut from = SHORTEST_NS as f64;
    let beyond = |at: &usize| {
        from *= RATIO;
        *at == LENGTHS - 1 || (span_ns as f64) < from
    };
    (0..LENGTHS).find(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spans: impl IntoIterator<Item = u64>) -> Activity {
        let mut activity = Activity::default();
        spans.into_iter().for_each(|span| _ = activity.add(span));
        activity
    }

    #[test]
    fn a_beat_is_found_however_long_it_goes_on_and_what_is_no_beat_is_none() {
        for seconds in [2, 5, 15, 60, 900, 3600] {
            // A tenth late or early.
            let span = |number: u64| seconds * SECOND + number % 3 * seconds * SECOND / 10;
            let activity = of((0..2_000).map(span));
            let (median, share) = activity.beat().unwrap();
            assert!((median / seconds as f64 - 1.0).abs() < 0.3, "{seconds} {median}");
            assert!(share > 0.95, "{seconds} {share}");
        }
        let browsing = of((0..200).map(|number| (2 + number * number % 997) * SECOND));
        assert!(browsing.beat().unwrap().1 < 0.5, "{browsing:?}");
    }

    #[test]
    fn bursts_of_a_second_are_one_and_few_spans_say_nothing() {
        let activity = of([SECOND; 100]);
        assert_eq!((activity.spans(), activity.beat()), (0, None));
        assert!(!of([5 * SECOND; 11]).says_something());
        assert!(of([5 * SECOND; 12]).says_something());
    }

    #[test]
    fn what_is_counted_is_all_there_is_of_it() {
        let activity = of((0..500).map(|number| number * SECOND));
        assert_eq!(Activity::of(activity.counted()), Some(activity));
        assert_eq!(Activity::of([(LENGTHS as u8, 1)]), None);
        assert!(activity.counted().all(|(_, count)| count > 0));
    }
}
