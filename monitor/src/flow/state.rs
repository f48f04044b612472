//! A live flow's own part of [`Egress`], in little memory: there can be as many as the kernel counts. What
//! its key says is not kept again, and few flows passed an interface that is told. Changes nothing by itself.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use monitor_ebpf::sample::FlowKey;

use super::remote;
use crate::event::{
    Activity, Egress, FlowId, Origin, Passage, Phase, Timestamp, Traffic, Transport, Way, canonical,
};

#[derive(Debug)]
pub(super) struct State {
    /// The lower half of [`FlowId`]; the upper is when it started.
    hash: u64,
    started_at: Timestamp,
    pub(super) last_at: Timestamp,
    pub(super) traffic: Traffic,
    /// But for [`Passage::way`]; `None`: as that of most.
    passage: Option<Box<Passage>>,
    /// Of a flow that was silent for a while and went on.
    activity: Option<Box<Activity>>,
    pub(super) revision: u32,
    local: Option<Local>,
    pub(super) transport: Transport,
    pub(super) phase: Phase,
    pub(super) origin: Origin,
    pub(super) way: Way,
    /// Somebody read the addresses of its packets.
    is_read: bool,
    /// Its last packet was its end.
    pub(super) is_ended: bool,
}

/// An IPv4 address is mapped.
#[derive(Clone, Copy, Debug)]
struct Local {
    address: [u8; 16],
    port: u16,
}

impl State {
    /// `key` says the same of the other end as `egress` does, if that was read.
    pub(super) fn of(egress: Egress) -> Self {
        let way = egress.passage.way;
        let mut state = Self {
            // The upper half is `started_at`.
            hash: egress.flow.0 as u64,
            started_at: egress.started_at,
            last_at: egress.last_at,
            traffic: egress.traffic,
            passage: None,
            activity: egress.activity,
            revision: egress.revision,
            local: None,
            transport: egress.transport,
            phase: egress.phase,
            origin: egress.origin,
            way,
            is_read: egress.remote.is_some(),
            is_ended: egress.ended_at.is_some(),
        };
        state.set_local(egress.local);
        state.set_passage(egress.passage);
        state
    }

    pub(super) fn egress(&self, key: &FlowKey) -> Egress {
        Egress {
            flow: FlowId(u128::from(self.started_at.0) << 64 | u128::from(self.hash)),
            revision: self.revision,
            started_at: self.started_at,
            last_at: self.last_at,
            ended_at: self.is_ended.then_some(self.last_at),
            phase: self.phase,
            origin: self.origin,
            transport: self.transport,
            local: self.local(),
            remote: self.is_read.then(|| remote(key)),
            traffic: self.traffic,
            passage: Passage {
                way: self.way,
                ..self.passage.as_deref().cloned().unwrap_or_default()
            },
            activity: self.activity.clone().filter(|it| it.says_something()),
        }
    }

    pub(super) fn local(&self) -> Option<SocketAddr> {
        let local = self.local?;
        Some(SocketAddr::new(canonical(Ipv6Addr::from(local.address)), local.port))
    }

    /// Both ends, where both are known.
    pub(super) fn ends(&self, key: &FlowKey) -> Option<(SocketAddr, SocketAddr)> {
        self.is_read.then(|| self.local().map(|local| (local, remote(key))))?
    }

    pub(super) fn set_local(&mut self, local: Option<SocketAddr>) {
        self.local = local.map(|local| {
            let address = match local.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            Local { address: address.octets(), port: local.port() }
        });
    }

    pub(super) fn set_passage(&mut self, passage: Passage) {
        self.way = passage.way;
        let usual = Passage { way: self.way, ..Passage::default() };
        self.passage = (passage != usual).then(|| Box::new(passage));
    }

    /// Its last packet came so long after that of the look before.
    pub(super) fn beat(&mut self, span_ns: u64) {
        if Activity::is_span(span_ns) {
            self.activity.get_or_insert_default().add(span_ns);
        }
    }

    /// The kernel counts it no more, or does again.
    pub(super) fn set_uncounted(&mut self, is_uncounted: bool) {
        let known = self.passage.as_deref().is_some_and(|it| it.is_uncounted);
        if known != is_uncounted {
            let passage = self.passage.as_deref().cloned().unwrap_or_default();
            self.set_passage(Passage { is_uncounted, way: self.way, ..passage });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ecs::tests::full_record, event::Mac};

    fn key(egress: &Egress) -> FlowKey {
        let remote = egress.remote.unwrap();
        let address = match remote.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let transport = egress.transport.0;
        let (remote, remote_port) = (address.octets(), remote.port());
        FlowKey { remote, remote_port, transport, ..FlowKey::default() }
    }

    #[test]
    fn what_is_kept_of_a_flow_is_all_that_was_known_of_it() {
        let full = full_record().egress;
        let ended_at = Some(full.last_at);
        let flow = FlowId(u128::from(full.started_at.0) << 64 | 7);
        let plain = Egress { flow, ended_at, passage: Passage::default(), ..full.clone() };
        let v4 = "198.51.100.7:443".parse().ok();
        let mac = Some(Mac([2, 0, 0, 0, 0, 1]));
        let passage =
            Passage { mac, by: Some("wan".into()), way: Way::Unconfirmed, ..full.passage };
        let passing = Egress { local: v4, remote: v4, passage, ended_at: None, ..plain.clone() };
        let unread = Egress { local: None, remote: None, ..plain.clone() };
        for egress in [plain.clone(), passing, unread] {
            let key = key(if egress.remote.is_some() { &egress } else { &plain });
            assert_eq!(State::of(egress.clone()).egress(&key), egress);
        }
    }

    #[test]
    fn a_live_flow_takes_half_of_what_a_record_of_it_takes() {
        assert!(size_of::<super::super::Live<[u64; 2]>>() <= 240);
        assert!(size_of::<Egress>() >= size_of::<State>() * 3 / 2);
    }

    #[test]
    fn that_nobody_counts_a_flow_is_all_that_changes_then() {
        let mut egress = full_record().egress;
        egress.flow = FlowId(u128::from(egress.started_at.0) << 64);
        egress.ended_at = None;
        egress.passage.is_uncounted = false;
        let key = key(&egress);
        let mut state = State::of(egress.clone());
        state.set_uncounted(true);
        egress.passage.is_uncounted = true;
        assert_eq!(state.egress(&key), egress);
    }
}
