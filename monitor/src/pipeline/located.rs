//! Where the destinations of late are, by the rules in force: most flows go where one went before. Locates
//! nothing by itself, and is to be forgotten with the rules.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use crate::{
    event::{Egress, Place, Way},
    rules::Rules,
};

/// Of so many, all are looked up again.
const KNOWN_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Located(FxHashMap<(IpAddr, Option<u16>), Place>);

impl Located {
    pub(super) fn locate(&mut self, rules: &Rules, class: Option<u16>, egress: &Egress) -> Place {
        // That place is where its packets go, not where its address is.
        let (Some(remote), false) = (egress.remote, egress.passage.way == Way::Loopback) else {
            return rules.locate(class, egress);
        };
        if self.0.len() >= KNOWN_MAX {
            self.0.clear();
        }
        let key = (remote.ip(), class);
        self.0.entry(key).or_insert_with(|| rules.locate(class, egress)).clone()
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
