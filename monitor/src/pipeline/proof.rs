//! What the self-test's packets prove: they are seen like any other, and told to nobody. A failure is in the
//! ledger, in metrics and in the log.

use monitor_ebpf::sample::{EgressSample, phase};

use super::Pipeline;
use crate::{
    event::Notice,
    metrics::SELF_TEST_RESULTS,
    self_test::{Change, SelfTest},
};

impl Pipeline {
    /// From now on packets of this test are looked for.
    pub fn prove(&mut self, test: SelfTest) {
        self.self_test = Some(test);
    }

    /// Whether it is a flow of the test's own.
    pub(super) fn is_own(&self, cookie: u64) -> bool {
        self.self_test.as_ref().is_some_and(|test| test.is_its(cookie))
    }

    pub(super) fn see_own(&self, sample: &EgressSample) {
        let EgressSample { flow, phase, .. } = sample;
        if *phase == phase::SENT
            && let Some(test) = &self.self_test
            && test.is_its(flow.cookie)
        {
            test.see(flow.cookie);
        }
    }

    /// About every second.
    pub(super) fn note_self_test(&mut self, now: u64) {
        let Some(test) = &self.self_test else { return };
        let (change, standing) = (test.wait_until(now), test.standing());
        let counts = SELF_TEST_RESULTS.into_iter().zip([standing.passed, standing.failed]);
        for (result, count) in counts {
            let counter = self.metrics.self_tests_total.with_label_values(&[result]);
            counter.inc_by(count.saturating_sub(counter.get()));
        }
        if let Some(passed_ns) = standing.last_passed_ns {
            let at = self.flows.wall(passed_ns).0 / 1_000_000_000;
            self.metrics.self_test_last_success_timestamp_seconds.set(at.cast_signed());
        }
        let notice = match change {
            None => return,
            Some(Change::Failed { since_ns }) => {
                tracing::error!(
                    "the self-test failed: a packet of the daemon's own was not seen; others may be unseen, too"
                );
                Notice::SelfTestFailed { since: self.flows.wall(since_ns) }
            }
            Some(Change::Passed) => {
                tracing::info!("the self-test passed: its packet was seen again");
                Notice::SelfTestPassed
            }
        };
        self.note(self.flows.wall(now), notice);
    }
}
