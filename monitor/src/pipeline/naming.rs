//! What packets say of names: to the table of names, to the flows that say themselves where they go, and,
//! where questions are records, to the ledger. Parses none.

use std::net::IpAddr;

use monitor_ebpf::sample::FlowKey;

use super::Pipeline;
use crate::{
    event::{Entry, Lookup, Sender, ServerName, Transport},
    flow::remote,
    names::{Learned, NameSample, dns::Question},
};

impl Pipeline {
    pub(super) fn name(&mut self, sample: &NameSample) {
        let (flow, at_ns) = (&sample.head.flow, sample.head.at_ns);
        for learned in self.names.learn(sample) {
            match learned {
                Learned::Said(said) => self.rename(flow, said, at_ns),
                Learned::Asked(question) => self.record_lookup(sample, question, None),
                Learned::Answered(answer) => {
                    self.record_lookup(sample, answer.question, Some(answer.addresses));
                }
            }
        }
        self.report_unread(at_ns);
    }

    /// Flows whose own names could not be read.
    pub(super) fn report_unread(&mut self, now_ns: u64) {
        for flow in self.names.take_unread() {
            self.rename(&flow, ServerName::Undetermined, now_ns);
        }
    }

    /// A flow says itself where it goes, and is judged by that too from now on.
    fn rename(&mut self, flow: &FlowKey, said: ServerName, now_ns: u64) {
        let Some((egress, is_reported, details)) = self.flows.look(flow) else { return };
        let is_news = details.say(said, &self.rules, &egress);
        if is_news && is_reported {
            self.report(flow, now_ns);
        }
    }

    fn record_lookup(
        &mut self,
        sample: &NameSample,
        question: Question,
        answer: Option<Vec<IpAddr>>,
    ) {
        if !self.records_lookups {
            return;
        }
        let at = self.flows.wall(sample.head.at_ns);
        let flow = &sample.head.flow;
        let known = self.flows.look(flow);
        let sender = known.map_or(Sender::Nobody, |(_, _, details)| details.sender.clone());
        self.outputs.note(Entry::Lookup(Lookup {
            at,
            sender,
            server: remote(flow),
            transport: Transport(flow.transport),
            name: question.name,
            kind: question.kind,
            answer,
            host: self.rules.provenance().host.clone(),
        }));
    }
}
