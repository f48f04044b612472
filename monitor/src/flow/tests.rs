//! What samples and counters make of flows.

use monitor_ebpf::sample::FlowCounters;

use super::{
    count::TRANSLATED_MAX,
    life::{IDLE_UNDER_PRESSURE, OUTPUT_PATIENCE, TCP_IDLE_UNDER_PRESSURE, TCP_LINGER},
    *,
};
use crate::probe::{Mark, Progress};

const SERVER: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 7];
const START: BootNs = 100 * SECOND;

fn sample(cookie: u64, transport: u8, phase: u8) -> EgressSample {
    let flow =
        FlowKey { cookie, remote: SERVER, remote_port: 443, transport, ..FlowKey::default() };
    let sent_bytes = if phase == phase::SENT { 60 } else { 0 };
    EgressSample {
        phase,
        flow,
        at_ns: START,
        local_port: 40_000,
        sent_bytes,
        sent_packets: sent_bytes / 60,
        ..EgressSample::default()
    }
}

fn counters(sent_bytes: u64, last_ns: BootNs) -> FlowCounters {
    let first_ns = START;
    FlowCounters { sent_bytes, sent_packets: 1, first_ns, last_ns, ..FlowCounters::default() }
}

fn flows() -> Flows<()> {
    Flows::new(1024, 1_000)
}

fn begin(flows: &mut Flows<()>, sample: &EgressSample) {
    assert_eq!(flows.observe(sample), Observed::New);
    let egress = flows.state(sample, Origin::Process);
    flows.add(sample, egress, ());
}

fn over(flows: &mut Flows<()>, now: BootNs, told: &mut Vec<Report>) -> Vec<FlowKey> {
    let settled = flows.settle(now, usize::MAX, |due, ()| {
        if let Due::Report(report) = due {
            told.push(report);
        }
    });
    settled.over
}

fn settle(flows: &mut Flows<()>, now: BootNs) -> Vec<Report> {
    let mut told = Vec::new();
    over(flows, now, &mut told);
    told
}

#[test]
fn an_attempt_whose_packet_follows_is_told_once_and_as_sent() {
    let mut flows = flows();
    begin(&mut flows, &sample(1, 17, phase::ATTEMPT));
    let sent = sample(1, 17, phase::SENT);
    assert_eq!(flows.observe(&sent), Observed::NowSent(sent.flow));
    let (report, ()) = flows.report(&sent.flow, START).unwrap();
    assert!(report.is_new);
    assert_eq!(report.growth.sent_bytes, 60);
    assert_eq!(flows.observe(&sent), Observed::Known);
    assert!(settle(&mut flows, START + SECOND).is_empty());
}

#[test]
fn an_attempt_without_a_packet_is_told_as_attempt_after_a_second() {
    let mut flows = flows();
    begin(&mut flows, &sample(1, 17, phase::ATTEMPT));
    assert!(settle(&mut flows, START + SECOND / 2).is_empty());
    let told = settle(&mut flows, START + SECOND);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].egress.phase, Phase::Attempt);
    assert!(!told[0].is_new);
}

#[test]
fn a_closed_flow_ends_when_it_falls_silent_and_its_last_bytes_are_told() {
    let mut flows = flows();
    let first = sample(1, 6, phase::SENT);
    begin(&mut flows, &first);
    flows.report(&first.flow, START);
    flows.close(1);
    flows.count(&first.flow, &counters(500, START + SECOND), START + SECOND);
    assert!(settle(&mut flows, START + SECOND).is_empty());
    let told = settle(&mut flows, START + SECOND + TCP_LINGER + 1);
    assert_eq!(told[0].egress.traffic.sent_bytes, 500);
    assert_eq!(told[0].egress.ended_at, Some(Timestamp(START + SECOND + 1_000)));
    assert_eq!(told[0].growth.sent_bytes, 0, "the sweep before metered it");
    assert!(flows.live.is_empty());
    assert!(flows.by_socket.is_empty() && flows.closing.is_empty());
}

#[test]
fn an_accepted_socket_continues_the_flow_of_its_listeners_handshake() {
    let mut flows = flows();
    let handshake = sample(1, 6, phase::SENT);
    begin(&mut flows, &handshake);
    let id = flows.live[&handshake.flow].state.egress(&handshake.flow).flow;
    let mut accepted = sample(2, 6, phase::SENT);
    accepted.listener_cookie = 1;
    assert_eq!(flows.observe(&accepted), Observed::Accepted(accepted.flow));
    assert_eq!(flows.live[&accepted.flow].state.egress(&accepted.flow).flow, id);
    flows.close(2);
    assert_eq!(settle(&mut flows, START + 2 * TCP_LINGER).len(), 1);
    assert!(flows.live.is_empty());
}

#[test]
fn what_the_kernel_says_for_a_closed_socket_is_counted_to_that_socket() {
    let mut flows = flows();
    let first = sample(1, 6, phase::SENT);
    begin(&mut flows, &first);
    flows.close(1);
    let mut control = sample(9, 6, phase::SENT);
    control.flow.local_port = control.local_port;
    assert_eq!(flows.observe(&control), Observed::Known);
    flows.count(&control.flow, &counters(52, START + 2 * SECOND), START + 2 * SECOND);
    flows.count(&first.flow, &counters(500, START + SECOND), START + 2 * SECOND);
    let mut told = Vec::new();
    let later = START + 2 * SECOND + TCP_LINGER + 1;
    let over = over(&mut flows, later, &mut told);
    assert_eq!(told[0].egress.traffic.sent_bytes, 552);
    assert_eq!(over, [first.flow, control.flow]);
}

/// How far samples are: all submitted up to the first, those up to the second taken in.
fn progress(submitted: usize, taken_in: usize) -> Progress {
    Progress { submitted: Mark(submitted), taken_in: Mark(taken_in) }
}

/// Whether a sweep at that second finds the flow's sample lost.
fn is_lost_at(flows: &mut Flows<()>, second: u64, key: &FlowKey, at: Progress) -> bool {
    let now = START + second * SECOND;
    flows.begin_sweep(at);
    flows.count(key, &counters(60, now), now)
}

#[test]
fn counters_without_a_sample_are_lost_only_when_all_that_was_submitted_is_taken_in() {
    let mut flows = flows();
    let unknown = sample(1, 17, phase::SENT).flow;
    // However old: the pipeline lags.
    for second in [5, 6, 7, 8, 30] {
        assert!(!is_lost_at(&mut flows, second, &unknown, progress(100, 90)), "{second}");
    }
    // What came meanwhile is none of its business.
    assert!(!is_lost_at(&mut flows, 31, &unknown, progress(500, 99)));
    assert!(is_lost_at(&mut flows, 32, &unknown, progress(900, 100)));
}

#[test]
fn counters_are_younger_than_their_sample_and_wait_for_it_from_when_they_were_first_seen() {
    let mut flows = flows();
    let unknown = sample(1, 17, phase::SENT).flow;
    // An accepted connection continues counters that are old when its own sample is submitted.
    for second in [50, 51] {
        assert!(!is_lost_at(&mut flows, second, &unknown, progress(100, 100)), "{second}");
    }
    assert!(is_lost_at(&mut flows, 52, &unknown, progress(100, 100)));
}

#[test]
fn a_flow_that_was_told_or_forgotten_meanwhile_is_no_suspect_any_more() {
    let mut flows = flows();
    let late = sample(1, 17, phase::SENT);
    assert!(!is_lost_at(&mut flows, 5, &late.flow, progress(100, 90)));
    begin(&mut flows, &late);
    assert!(!is_lost_at(&mut flows, 9, &late.flow, progress(100, 100)));
    let gone = sample(2, 17, phase::SENT).flow;
    assert!(!is_lost_at(&mut flows, 10, &gone, progress(100, 100)));
    flows.begin_sweep(progress(100, 100));
    flows.begin_sweep(progress(100, 100));
    assert!(flows.missing.is_empty());
    assert!(!is_lost_at(&mut flows, 19, &gone, progress(100, 100)), "seen anew");
}

#[test]
fn an_attempt_that_has_sent_waits_for_the_sample_that_says_so() {
    let mut flows = flows();
    let attempt = sample(1, 17, phase::ATTEMPT);
    begin(&mut flows, &attempt);
    for second in [5, 6, 7] {
        assert!(!is_lost_at(&mut flows, second, &attempt.flow, progress(100, 90)));
        assert!(settle(&mut flows, START + second * SECOND).is_empty(), "told as an attempt");
    }
    let sent = sample(1, 17, phase::SENT);
    assert_eq!(flows.observe(&sent), Observed::NowSent(sent.flow));
    let (report, ()) = flows.report(&sent.flow, START + 8 * SECOND).unwrap();
    assert!(report.is_new, "else it is counted nowhere");
}

#[test]
fn an_attempt_whose_packet_nobody_told_of_is_told_as_sent() {
    let mut flows = flows();
    let attempt = sample(1, 17, phase::ATTEMPT);
    begin(&mut flows, &attempt);
    assert!(!is_lost_at(&mut flows, 5, &attempt.flow, progress(100, 100)));
    assert!(is_lost_at(&mut flows, 7, &attempt.flow, progress(100, 100)));
    let lost = sample(1, 17, phase::SENT);
    assert_eq!(flows.lose(&lost), Observed::NowSent(lost.flow));
    let (report, ()) = flows.report(&lost.flow, START + 7 * SECOND).unwrap();
    assert_eq!((report.egress.phase, report.is_new), (Phase::Sent, true));
    assert_eq!(report.egress.local, None, "no source is made up");
}

#[test]
fn a_sample_that_comes_after_its_flow_was_begun_by_counters_is_believed_once() {
    let mut flows = flows();
    let late = sample(1, 17, phase::SENT);
    assert_eq!(flows.lose(&late), Observed::New);
    let egress = Egress { local: None, ..flows.state(&late, Origin::PreExisting) };
    flows.add(&late, egress, ());
    flows.orphan(&late.flow);
    assert_eq!(flows.observe(&late), Observed::Found(late.flow));
    assert_eq!(flows.observe(&late), Observed::Known);
    flows.correct(&late.flow, Origin::Process, Passage::default());
    let (report, ()) = flows.report(&late.flow, START).unwrap();
    assert_eq!(report.egress.origin, Origin::Process);
    assert_eq!(report.egress.local, Some(local(&late)));
}

#[test]
fn growth_is_metered_at_once_and_told_ever_less_often() {
    let mut flows = flows();
    let first = sample(1, 17, phase::SENT);
    begin(&mut flows, &first);
    flows.report(&first.flow, START);
    let (mut told, mut metered) = (0, 60);
    for second in 1..=300 {
        let now = START + second * SECOND;
        flows.count(&first.flow, &counters(60 + second * 100, now), now);
        flows.settle(now, usize::MAX, |due, ()| match due {
            Due::Report(report) => {
                told += 1;
                metered += report.growth.sent_bytes;
            }
            Due::Meter(_, growth) => metered += growth.sent_bytes,
        });
        assert_eq!(metered, 60 + second * 100);
    }
    assert!((6..12).contains(&told), "{told}");
}

#[test]
fn under_pressure_silent_datagram_flows_make_room() {
    let mut flows = Flows::new(4, 0);
    for cookie in 1..=4 {
        begin(&mut flows, &sample(cookie, 17, phase::SENT));
    }
    settle(&mut flows, START + IDLE_UNDER_PRESSURE + 1);
    assert!(flows.live.is_empty());
}

#[test]
fn under_pressure_a_tcp_flow_whose_end_was_lost_does_not_stay_for_hours() {
    let mut flows = Flows::new(4, 0);
    for cookie in 1..=4 {
        begin(&mut flows, &sample(cookie, 6, phase::SENT));
    }
    settle(&mut flows, START + IDLE_UNDER_PRESSURE + 1);
    assert_eq!(flows.len(), 4, "a connection may pause");
    settle(&mut flows, START + TCP_IDLE_UNDER_PRESSURE + 1);
    assert!(flows.live.is_empty());
}

#[test]
fn a_flow_that_is_over_does_not_wait_for_ever_for_an_output_that_takes_nothing() {
    let mut flows = flows();
    begin(&mut flows, &sample(1, 17, phase::SENT));
    flows.close(1);
    let mut told = 0;
    let mut at = |flows: &mut Flows<()>, now| {
        flows.settle(now, 0, |due, ()| told += u32::from(matches!(due, Due::Report(_))));
        flows.len()
    };
    assert_eq!(at(&mut flows, START + SECOND), 1);
    assert_eq!(at(&mut flows, START + OUTPUT_PATIENCE), 1);
    assert_eq!(at(&mut flows, START + SECOND + OUTPUT_PATIENCE + 1), 0);
    assert_eq!(told, 1);
}

#[test]
fn what_has_to_wait_is_told_at_the_next_sweep() {
    let mut flows = flows();
    for cookie in 1..=5 {
        begin(&mut flows, &sample(cookie, 17, phase::SENT));
        flows.close(cookie);
    }
    let mut told = 0;
    for left in [3, 1] {
        let settled = flows.settle(START + SECOND, 2, |due, ()| {
            told += u32::from(matches!(due, Due::Report(_)));
        });
        assert_eq!((settled.over.len(), settled.is_all, flows.len()), (2, false, left));
    }
    assert!(
        flows
            .settle(START + SECOND, 2, |due, ()| {
                told += u32::from(matches!(due, Due::Report(_)));
            })
            .is_all
    );
    assert_eq!(told, 5);
}

#[test]
fn flows_leave_their_socket_in_any_order() {
    let mut flows = flows();
    let mut keys = Vec::new();
    for port in 1..=6 {
        let mut one = sample(1, 17, phase::SENT);
        one.flow.remote_port = port;
        begin(&mut flows, &one);
        keys.push(one.flow);
    }
    for at in [0, 4, 2, 0, 1, 0] {
        let key = keys.remove(at);
        flows.remove(&key);
        let mut left = flows.by_socket.get(&1).cloned().unwrap_or_default();
        left.sort_by_key(|key| key.remote_port);
        assert_eq!(left, keys);
    }
    assert!(flows.live.is_empty() && flows.by_socket.is_empty());
}

#[test]
fn what_comes_back_from_a_translated_address_belongs_to_the_flow_that_was_sent() {
    let mut flows = flows();
    let asked = sample(1, 17, phase::ATTEMPT);
    begin(&mut flows, &asked);
    let mut sent = sample(1, 17, phase::SENT);
    sent.flow.remote[15] = 8;
    begin(&mut flows, &sent);
    let answers = FlowCounters {
        sent_packets: 0,
        received_bytes: 500,
        received_packets: 2,
        ..counters(0, START)
    };
    for _ in 0..2 {
        flows.count(&asked.flow, &answers, START + SECOND);
        flows.count(&sent.flow, &counters(60, START), START + SECOND);
    }
    let traffic = |flows: &mut Flows<()>, key| flows.report(key, START).unwrap().0.egress.traffic;
    assert_eq!(traffic(&mut flows, &asked.flow).received_bytes, 0);
    let told = traffic(&mut flows, &sent.flow);
    assert_eq!((told.sent_bytes, told.received_bytes, told.received_packets), (60, 500, 2));
}

#[test]
fn what_comes_back_from_two_translated_addresses_adds_up_and_is_not_looked_for_among_many() {
    let mut flows = flows();
    let mut asked = [sample(1, 17, phase::ATTEMPT), sample(1, 17, phase::ATTEMPT)];
    asked[1].flow.remote[15] = 9;
    let mut sent = sample(1, 17, phase::SENT);
    sent.flow.remote[15] = 8;
    for flow in asked.iter().chain([&sent]) {
        begin(&mut flows, flow);
    }
    let answers =
        |bytes| FlowCounters { received_bytes: bytes, received_packets: 1, ..counters(0, START) };
    for bytes in [300, 500] {
        for flow in &asked {
            flows.count(&flow.flow, &FlowCounters { sent_packets: 0, ..answers(bytes) }, START);
        }
    }
    let received = |flows: &mut Flows<()>| {
        flows.report(&sent.flow, START).unwrap().0.egress.traffic.received_bytes
    };
    assert_eq!(received(&mut flows), 1000);
    for port in 0..TRANSLATED_MAX as u16 {
        let mut other = sample(1, 17, phase::ATTEMPT);
        other.flow.remote_port = 20_000 + port;
        begin(&mut flows, &other);
    }
    flows.count(&asked[0].flow, &FlowCounters { sent_packets: 0, ..answers(900) }, START);
    assert_eq!(received(&mut flows), 1000);
}

#[test]
fn attempts_of_one_user_beyond_a_bound_are_not_kept_and_take_nothing_of_another() {
    let mut flows = flows();
    let attempt = |uid, port| {
        let mut attempt = sample(u64::from(uid), 6, phase::ATTEMPT);
        attempt.owner.uid = uid;
        attempt.flow.remote_port = port;
        attempt
    };
    let most = attempts::OF_USER_LEAST as u16;
    for port in 0..most {
        begin(&mut flows, &attempt(1001, port));
    }
    assert!(flows.is_crowded(&attempt(1001, most)));
    assert!(!flows.is_crowded(&attempt(1002, most)));
    begin(&mut flows, &attempt(1002, most));
    // Told, and then as many kept as are not many.
    assert_eq!(settle(&mut flows, START + 2 * SECOND).len(), usize::from(most) + 1);
    assert!(settle(&mut flows, START + 3 * SECOND).is_empty());
    assert!(flows.len() <= usize::from(most), "{} are kept", flows.len());
    assert!(flows.look(&attempt(1002, most).flow).is_some());
    // One that sends is no attempt any more.
    let mut sent = attempt(1002, most);
    sent.phase = phase::SENT;
    assert_eq!(flows.observe(&sent), Observed::NowSent(sent.flow));
}

#[test]
fn an_attempt_gives_way_to_the_flow_by_a_hop_unless_it_has_a_packet_of_its_own() {
    let mut flows = flows();
    let attempt = sample(1, 17, phase::ATTEMPT);
    begin(&mut flows, &attempt);
    flows.supersede(&attempt.flow);
    assert!(flows.live.is_empty());
    begin(&mut flows, &attempt);
    let packet = EgressSample { path: path::SOCKET, way_out: 2, ..sample(1, 17, phase::SENT) };
    assert_eq!(flows.observe(&packet), Observed::Sends(attempt.flow));
    flows.supersede(&attempt.flow);
    assert_eq!(flows.len(), 1);
}
