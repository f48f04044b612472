//! What verdicts rest on, as one value that a reload swaps: the policy, the image of addresses, and their
//! hashes as records carry them. Judges nothing itself.

use std::{net::IpAddr, sync::Arc};

use monitor_ebpf::{places::UNASKED, sample::EgressSample};

use crate::{
    config::Policy,
    event::{Country, DatabaseId, Egress, Host, Place, Provenance, Verdict, Via, Way},
    flow::has_addresses,
    judge::judge_place,
    locate::{ClassRow, Locator},
};

/// What verdicts rest on; swapped as a whole.
#[derive(Debug)]
pub struct Rules {
    pub policy: Policy,
    pub locator: Locator,
    /// As records carry it.
    provenance: Arc<Provenance>,
    /// How samples name the tables that the probes have of these rules; 0: they have none.
    pub generation: u32,
}

impl Rules {
    pub fn new(policy: Policy, locator: Locator) -> Self {
        let databases = locator.databases().iter().map(|database| DatabaseId {
            label: database.label.into(),
            name: database.name.as_str().into(),
            dated: database.built_at,
            sha256: database.sha256,
        });
        let databases = databases.collect();
        let provenance = Arc::new(Provenance {
            policy_sha256: policy.sha256,
            is_learning: policy.is_learning(),
            databases,
            host: None,
        });
        Self { policy, locator, provenance, generation: 0 }
    }

    /// The same, in force on this host.
    pub fn on(mut self, host: Host) -> Self {
        Arc::make_mut(&mut self.provenance).host = Some(Arc::new(host));
        self
    }

    /// The verdict on each class of addresses, without the policy's rules: for the probes. They say
    /// nothing of the first class, which is all that the tables can't tell.
    pub fn verdicts(&self) -> Vec<Option<Verdict>> {
        let classes = self.locator.image().classes().iter().enumerate();
        let verdict = |class: &ClassRow| judge_place(&self.policy, &class.place()).verdict;
        let verdicts =
            classes.map(|(at, class)| (at != usize::from(UNASKED)).then(|| verdict(class)));
        verdicts.collect()
    }

    /// The class that the probes found for a new flow, if it is of these rules.
    pub fn class(&self, sample: &EgressSample) -> Option<u16> {
        let is_ours = sample.generation == self.generation && self.generation != 0;
        (is_ours && sample.class != UNASKED && has_addresses(sample.path)).then_some(sample.class)
    }

    pub fn locate(&self, class: Option<u16>, egress: &Egress) -> Place {
        if egress.passage.way == Way::Loopback {
            return Place { country: Country::Local, ..Place::unknown() };
        }
        match (egress.remote, class) {
            (Some(remote), Some(class)) => self.locator.locate_in(class, remote.ip()),
            (Some(remote), None) => self.locator.locate(remote.ip()),
            (None, _) => Place::unknown(),
        }
    }

    pub fn provenance(&self) -> &Arc<Provenance> {
        &self.provenance
    }

    /// The other address that packets go to, located as any.
    pub fn via(&self, address: IpAddr, way: Way) -> Box<Via> {
        let place = if way == Way::Loopback {
            Place { country: Country::Local, ..Place::unknown() }
        } else {
            self.locator.locate(address)
        };
        Box::new(Via { address, place })
    }
}
