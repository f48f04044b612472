//! Who sends, where that is known later than that something was sent, or turns out to be another.
//! Changes what is known of live flows; asks nobody who sent.

use std::sync::Arc;

use monitor_ebpf::sample::{EgressSample, FlowKey, SenderSample};

use super::{Pipeline, changed::Changed};
use crate::{
    event::{Attribution, Domain, DomainSource, Origin, Process, Sender},
    judge::{judge, severity},
};

impl Pipeline {
    /// A process sends on a connection, which another may have made. It is told in place of who only
    /// made the socket or listened. Of one who connected or sent it takes the place unless that makes the
    /// verdict milder: else what one sent would be excused by handing the connection on.
    pub(super) fn sent_by(&mut self, sample: &SenderSample) {
        let Some((sockets, process)) = self.processes.learn_sender(sample) else { return };
        for socket in sockets {
            for flow in self.flows.of_socket(socket) {
                self.hand_on(&flow, &process, sample.owner.touched_ns);
            }
        }
    }

    fn hand_on(&mut self, flow: &FlowKey, process: &Arc<Process>, now_ns: u64) {
        let Some((egress, is_reported, details)) = self.flows.look(flow) else { return };
        let has_sent = std::mem::replace(&mut details.is_sender_known, true)
            || details.sender.attribution() == Attribution::Socket;
        let Some(sender) = handed_on(&details.sender, process) else { return };
        let mut place = details.place.clone();
        if sender.creator().is_some() {
            place.domain = place.domain.map(of_another);
        }
        let judgement = judge(&self.rules.policy, &egress, &sender, &place);
        if has_sent && severity(judgement.verdict) < severity(details.judgement.verdict) {
            return;
        }
        details.sender = sender;
        details.place = place;
        details.judgement = judgement;
        if is_reported {
            self.report(flow, now_ns);
        }
    }

    /// New rules name other paths: which of them lead to what the senders of live flows executed.
    pub(super) fn rename_files(&mut self) {
        let processes = &self.processes;
        let mut renamed = Changed::default();
        self.flows.each(|details| {
            let Sender::Process { process, .. } = &details.sender else { return };
            let known_as = processes.known_as(process);
            if known_as != process.file.known_as
                && let Sender::Process { process, .. } = &mut details.sender
            {
                renamed.change(process, |it| it.file.known_as = known_as);
            }
        });
    }

    /// What was told of a process was another program's.
    pub(super) fn correct(&mut self, now_ns: u64) {
        for (was, is) in self.processes.corrections() {
            let is_concerned = |sender: &Sender| names(sender, &was);
            let concerned = self.flows.keys_where(|details| is_concerned(&details.sender));
            let mut right = Changed::default();
            for flow in concerned {
                let Some((egress, is_reported, details)) = self.flows.look(&flow) else { continue };
                correct(&mut details.sender, &was, &is, &mut right);
                details.renew(&self.rules, &egress);
                if is_reported {
                    self.report(&flow, now_ns);
                }
            }
        }
    }

    pub(super) fn attribute_again(&mut self, flow: &FlowKey, sample: &EgressSample) {
        let (_, sender) = self.processes.attribute(sample);
        if let Some((egress, _, details)) = self.flows.look(flow) {
            if is_same(&details.sender, &sender) {
                return;
            }
            // What another process asked for is not what this one did.
            let pid = |sender: &Sender| sender.process().map(|process| process.pid);
            let is_another = pid(&details.sender) != pid(&sender);
            let named = match egress.remote {
                Some(remote) if egress.origin != Origin::Accepted => {
                    self.names.name(sample, remote.ip())
                }
                _ => None,
            };
            let known = details.place.domain.take();
            let known = if is_another { known.map(of_another) } else { known };
            details.place.domain = asked_for(sample, named.or(known));
            details.sender = sender;
            details.renew(&self.rules, &egress);
            let (mut sender, judgement) = (details.sender.clone(), details.judgement.clone());
            self.ask_digest(&mut sender, &judgement);
        }
    }

    /// Who sends is known later than that something was sent.
    pub(super) fn learn_sender(&mut self, flow: &FlowKey, sender: Sender, now_ns: u64) {
        let Some((egress, is_reported, details)) = self.flows.look(flow) else { return };
        details.sender = sender;
        details.renew(&self.rules, &egress);
        if is_reported {
            self.report(flow, now_ns);
        }
    }
}

/// The sender, now that this process is known to send; `None`: it was taken for it already.
fn handed_on(sender: &Sender, process: &Arc<Process>) -> Option<Sender> {
    let is_it =
        |known: &Process| known.pid == process.pid && known.started_at == process.started_at;
    let creator = match sender {
        Sender::Process { process: known, attribution: Attribution::Socket, .. }
            if is_it(known)
                && known.executable == process.executable
                && known.user == process.user =>
        {
            return None;
        }
        Sender::Process { process: known, creator: None, .. } if is_it(known) => None,
        Sender::Process { process: known, creator, .. } => {
            Some(Arc::clone(creator.as_ref().unwrap_or(known)))
        }
        Sender::Nobody => None,
    };
    let creator = creator.filter(|creator| !is_it(creator));
    let process = Arc::clone(process);
    Some(Sender::Process { process, attribution: Attribution::Socket, creator })
}

fn names(sender: &Sender, whom: &Process) -> bool {
    let is_it = |known: &Process| is_program(known, whom);
    sender.process().is_some_and(is_it) || sender.creator().is_some_and(is_it)
}

fn is_same(one: &Sender, other: &Sender) -> bool {
    match (one, other) {
        (
            Sender::Process { process, attribution, creator },
            Sender::Process { process: its, attribution: by, creator: maker },
        ) => Arc::ptr_eq(process, its) && attribution == by && creator == maker,
        (Sender::Nobody, Sender::Nobody) => true,
        _ => false,
    }
}

/// Whether this is the process as the same program, whatever else was learnt of it since.
fn is_program(one: &Process, other: &Process) -> bool {
    one.pid == other.pid
        && one.started_at == other.started_at
        && one.executable == other.executable
        && one.file.executed_ns == other.file.executed_ns
        && one.file.id == other.file.id
        && one.command_line == other.command_line
}

/// Who it was, and where, it was as another program too.
fn correct(sender: &mut Sender, was: &Process, is: &Process, right: &mut Changed) {
    let Sender::Process { process, creator, .. } = sender else { return };
    for it in std::iter::once(process).chain(creator).filter(|it| is_program(it, was)) {
        right.change(it, |it| {
            let Process { executable, executable_claimed, file, command_line, .. } = is.clone();
            *it = Process { executable, executable_claimed, file, command_line, ..it.clone() };
        });
    }
}

/// The name that the owner of the socket asked for, as it is known of who sends on it.
pub(super) fn asked_for(sample: &EgressSample, domain: Option<Domain>) -> Option<Domain> {
    if sample.runner.tgid == 0 { domain } else { domain.map(of_another) }
}

/// The same name, now that it was not asked for by who sends.
fn of_another(domain: Domain) -> Domain {
    match domain.source {
        DomainSource::Dns => Domain { source: DomainSource::DnsHost, is_trusted: false, ..domain },
        _ => domain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_owner_of_a_socket_asked_for_is_not_said_of_another_who_sends_on_it() {
        let domain =
            |source, is_trusted| Some(Domain { name: "example.org".into(), source, is_trusted });
        let mut sample = EgressSample::default();
        let own = asked_for(&sample, domain(DomainSource::Dns, true));
        assert_eq!(own, domain(DomainSource::Dns, true));
        sample.runner.tgid = 7;
        let other = asked_for(&sample, domain(DomainSource::Dns, true));
        assert_eq!(other, domain(DomainSource::DnsHost, false));
    }
}
