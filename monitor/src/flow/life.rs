//! When a flow is told again, and when it is over. Counts nothing: what is counted is known by then.

use monitor_ebpf::sample::{FlowKey, NO_SOCKET};

use super::{BootNs, Due, Flows, Live, Report, SECOND, Settled, confirm};
use crate::event::{Phase, Traffic, Transport};

/// How long a closed TCP socket must be silent to be over: longer than a first retransmission of
/// its FIN (RFC 6298: at least 1 s).
pub(super) const TCP_LINGER: BootNs = 3 * SECOND;
pub(super) const LINGER: BootNs = SECOND / 5;
/// When a flow whose socket stays open is over all the same: TCP, and the rest.
const TCP_IDLE: BootNs = 7_200 * SECOND;
const IDLE: BootNs = 600 * SECOND;
/// Where there is no socket, whose end would be told. TCP: as long as the gateway's NAT may remember it
/// is too long for the table; a connection that speaks again is told as another flow.
const TCP_IDLE_PASSING: BootNs = 600 * SECOND;
const IDLE_PASSING: BootNs = 60 * SECOND;
/// The same, while the kernel's table is more than three quarters full.
pub(super) const IDLE_UNDER_PRESSURE: BootNs = 10 * SECOND;
/// Of TCP, whose end may have been lost; one that speaks again is told as another flow.
pub(super) const TCP_IDLE_UNDER_PRESSURE: BootNs = 60 * SECOND;
/// Flows that are over wait so long for an output that takes nothing; then they go all the same, and it
/// counts what it can't take.
pub(super) const OUTPUT_PATIENCE: BootNs = 10 * SECOND;
/// The longest for which growth is not told.
const REPORT_LONGEST: BootNs = 60 * SECOND;

impl<D> Flows<D> {
    /// After the counters of a sweep: tells what is due, at most `most` flows, and removes what is
    /// over. The rest is due again at the next sweep: nothing is lost by waiting, but not for long.
    pub fn settle(
        &mut self,
        now: BootNs,
        most: usize,
        mut each: impl FnMut(Due, &mut D),
    ) -> Settled {
        let is_pressed = self.live.len() > self.capacity / 4 * 3;
        let is_stuck = self.is_stuck(now, most);
        let (mut over, mut retired) = (Vec::new(), Vec::new());
        let mut told = 0;
        for (key, live) in &mut self.live {
            let is_passing = key.cookie & NO_SOCKET != 0;
            if (told < most || is_stuck) && live.is_over(now, is_pressed, is_passing) {
                live.state.is_ended = true;
                each(Due::Report(live.report(key, now)), &mut live.details);
                over.push(*key);
                told += 1;
            } else if told < most && live.is_due(now) {
                each(Due::Report(live.report(key, now)), &mut live.details);
                told += 1;
            } else if live.state.phase == Phase::Sent && live.state.traffic != live.metered {
                let growth = live.state.traffic.since(live.metered);
                live.metered = live.state.traffic;
                each(Due::Meter(live.state.egress(key), growth), &mut live.details);
            } else if live.reported && live.attempt_of.is_some_and(|it| self.attempts.are_many(it))
            {
                retired.push(*key);
            }
        }
        for key in over.iter().chain(&retired) {
            self.remove(key);
        }
        self.forget_controls(&mut over);
        self.shrink();
        Settled { over, is_all: told < most }
    }

    fn is_stuck(&mut self, now: BootNs, most: usize) -> bool {
        if most > 0 {
            self.stuck_since = None;
            return false;
        }
        now.saturating_sub(*self.stuck_since.get_or_insert(now)) > OUTPUT_PATIENCE
    }

    pub(super) fn remove(&mut self, key: &FlowKey) {
        let Some(live) = self.live.remove(key) else { return };
        self.attempts.end(live.attempt_of);
        if let Some(ends) = live.state.ends(key) {
            self.closing.remove(&ends);
        }
        self.leave_socket(key, live.slot);
    }

    fn forget_controls(&mut self, over: &mut Vec<FlowKey>) {
        let live = &self.live;
        self.controls.retain(|control, flow| {
            let keep = live.contains_key(flow);
            if !keep {
                over.push(*control);
            }
            keep
        });
    }

    /// Gives the memory of a burst back.
    fn shrink(&mut self) {
        if self.live.capacity() > 4096 && self.live.len() < self.live.capacity() / 8 {
            self.live.shrink_to_fit();
            self.by_socket.shrink_to_fit();
            self.closing.shrink_to_fit();
        }
    }

    /// Ends every flow, for the daemon is leaving.
    pub fn finish(&mut self, now: BootNs, mut report: impl FnMut(Report, &mut D)) {
        for (key, live) in &mut self.live {
            // Its interface might still have been given it.
            if let Some(waiting) = live.waiting.as_deref().copied()
                && !self.ways.is_watched(&waiting)
            {
                live.send(waiting.traffic, false);
            }
            if !live.reported || sum(live.state.traffic) != live.reported_sum {
                report(live.report(key, now), &mut live.details);
            }
        }
        self.live.clear();
        self.by_socket.clear();
        self.attempts.clear();
    }
}

impl<D> Live<D> {
    fn is_over(&self, now: BootNs, is_pressed: bool, is_passing: bool) -> bool {
        let silent = now.saturating_sub(self.last_ns);
        let is_tcp = self.state.transport == Transport::TCP;
        if self.closed && self.waiting.is_some() {
            return silent > confirm::LINGER;
        }
        if self.closed {
            // A flow that sent nothing has nothing to wait for.
            let lingers = is_tcp && self.state.phase == Phase::Sent;
            return silent > if lingers { TCP_LINGER } else { LINGER };
        }
        let idle = match (is_tcp, is_passing) {
            (true, false) => TCP_IDLE,
            (false, false) => IDLE,
            (true, true) => TCP_IDLE_PASSING,
            (false, true) => IDLE_PASSING,
        };
        let has_end = is_tcp && !is_passing;
        let pressed = if has_end { TCP_IDLE_UNDER_PRESSURE } else { IDLE_UNDER_PRESSURE };
        silent > idle || is_pressed && silent > pressed
    }

    fn is_due(&self, now: BootNs) -> bool {
        // An attempt that has sent is no attempt: the sample that says so is on its way.
        let is_superseded = self.state.phase == Phase::Attempt && self.sends_at == Some(now);
        let is_news = !self.reported || sum(self.state.traffic) != self.reported_sum;
        now >= self.report_at && is_news && !is_superseded
    }

    pub(super) fn report(&mut self, key: &FlowKey, now: BootNs) -> Report {
        let is_sent = self.state.phase == Phase::Sent;
        let growth = self.state.traffic.since(self.metered);
        let is_new = is_sent && self.reported_sum == 0;
        let is_first = !self.reported;
        let report = Report { egress: self.state.egress(key), growth, is_new, is_first };
        self.state.revision += 1;
        self.metered = self.state.traffic;
        self.reported_sum = sum(self.state.traffic);
        self.reported = true;
        self.report_at = now + self.report_after;
        self.report_after = (self.report_after * 2).min(REPORT_LONGEST);
        report
    }
}

/// Differs where the traffic does.
pub(super) fn sum(traffic: Traffic) -> u64 {
    let Traffic { sent_bytes, sent_packets, received_bytes, received_packets } = traffic;
    let parts = [sent_packets, received_bytes, received_packets];
    parts.into_iter().fold(sent_bytes, u64::wrapping_add)
}
