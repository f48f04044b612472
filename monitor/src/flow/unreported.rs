//! What is known of live flows and was not told yet. Changes nothing: whatever is shown of it is told
//! in its time all the same.

use super::{
    BootNs, Flows, Live,
    life::{LINGER, sum},
};
use crate::event::{Egress, Phase};

impl<D> Flows<D> {
    /// States of flows that differ from what was told of them, `most` of those that are `wanted`; gives
    /// back how many more there are. A flow whose socket is closed and which is silent has ended, as
    /// far as is known; those of which just this is news come last.
    pub fn unreported(
        &self,
        now: BootNs,
        most: usize,
        wanted: impl Fn(&D) -> bool,
        mut each: impl FnMut(Egress, &D),
    ) -> u64 {
        let (mut shown, mut left_out) = (0, 0);
        for is_growth in [true, false] {
            let all = self.live.iter();
            let news = all.filter(|(_, it)| it.is_growth() == is_growth && it.is_news(now));
            for (key, live) in news.filter(|(_, it)| wanted(&it.details)) {
                if shown == most {
                    left_out += 1;
                    continue;
                }
                shown += 1;
                let ended_at = live.has_ended(now).then_some(live.state.last_at);
                each(Egress { ended_at, ..live.state.egress(key) }, &live.details);
            }
        }
        left_out
    }
}

impl<D> Live<D> {
    fn is_growth(&self) -> bool {
        !self.reported || sum(self.state.traffic) != self.reported_sum
    }

    fn is_news(&self, now: BootNs) -> bool {
        // An attempt that was not told may be none: its packet is waited for.
        let is_sure = self.reported || self.state.phase == Phase::Sent;
        is_sure && (self.is_growth() || self.has_ended(now))
    }

    fn has_ended(&self, now: BootNs) -> bool {
        let is_sent = self.state.phase == Phase::Sent;
        self.closed && is_sent && now.saturating_sub(self.last_ns) > LINGER
    }
}

#[cfg(test)]
mod tests {
    use monitor_ebpf::sample::{EgressSample, FlowCounters, FlowKey, phase};

    use super::{super::SECOND, *};
    use crate::{event::Origin, flow::Observed};

    const TCP: u8 = 6;

    fn begun(cookies: std::ops::Range<u64>) -> Flows<u64> {
        let mut flows = Flows::new(1024, 0);
        for cookie in cookies {
            let flow = FlowKey { cookie, transport: TCP, ..FlowKey::default() };
            let sample = EgressSample {
                phase: phase::SENT,
                flow,
                at_ns: SECOND,
                sent_bytes: 60,
                sent_packets: 1,
                ..EgressSample::default()
            };
            assert_eq!(flows.observe(&sample), Observed::New);
            let egress = flows.state(&sample, Origin::Process);
            flows.add(&sample, egress, cookie);
            flows.report(&flow, SECOND);
        }
        flows
    }

    fn grow(flows: &mut Flows<u64>, cookie: u64, sent_bytes: u64, last_ns: u64) {
        let flow = FlowKey { cookie, transport: TCP, ..FlowKey::default() };
        let counters =
            FlowCounters { sent_bytes, sent_packets: 2, last_ns, ..FlowCounters::default() };
        assert!(!flows.count(&flow, &counters, last_ns));
    }

    fn unreported(flows: &Flows<u64>, now: BootNs, most: usize) -> (Vec<(u64, Egress)>, u64) {
        let mut all = Vec::new();
        let left_out = flows.unreported(now, most, |_| true, |egress, of| all.push((*of, egress)));
        (all, left_out)
    }

    #[test]
    fn what_grew_is_untold_until_it_is_told_and_what_did_not_is_not() {
        let mut flows = begun(1..4);
        assert_eq!(unreported(&flows, SECOND, 9).0, []);
        grow(&mut flows, 2, 1060, 2 * SECOND);
        let (all, left_out) = unreported(&flows, 2 * SECOND, 9);
        let told: Vec<_> = all.iter().map(|(of, it)| (*of, it.traffic.sent_bytes)).collect();
        assert_eq!((told, left_out, all[0].1.ended_at), (vec![(2, 1060)], 0, None));
        flows.settle(4 * SECOND, 9, |_, _| ());
        assert_eq!(unreported(&flows, 4 * SECOND, 9).0, []);
    }

    #[test]
    fn a_closed_flow_has_ended_once_it_is_silent_and_not_while_it_sends() {
        let mut flows = begun(1..2);
        flows.close(1);
        grow(&mut flows, 1, 1060, 3 * SECOND);
        let end = |flows: &Flows<u64>, now| unreported(flows, now, 9).0[0].1.ended_at;
        assert_eq!(end(&flows, 3 * SECOND), None);
        assert_eq!(end(&flows, 4 * SECOND).map(|it| it.0), Some(3 * SECOND));
        grow(&mut flows, 1, 2060, 4 * SECOND);
        assert_eq!(end(&flows, 4 * SECOND), None);
    }

    #[test]
    fn what_has_no_room_is_counted_and_growth_goes_before_ends() {
        let mut flows = begun(1..8);
        (1..4).for_each(|cookie| flows.close(cookie));
        (4..8).for_each(|cookie| grow(&mut flows, cookie, 1060, 2 * SECOND));
        let (all, left_out) = unreported(&flows, 2 * SECOND, 4);
        assert!(all.iter().all(|(of, _)| *of >= 4), "{all:?}");
        assert_eq!((all.len(), left_out), (4, 3));
    }
}
