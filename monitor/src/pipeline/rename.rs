//! What becomes of a flow when its own stream says where it goes, which is after its first packet.
//! Knows no packets: only what was said.

use std::sync::Arc;

use super::{Details, Rules};
use crate::{
    event::{Egress, Origin, ServerName},
    judge::severity,
};

impl Details {
    /// Takes in what the stream says. `false`: nothing of it needs to be told before the flow is
    /// told again for another reason.
    pub(super) fn say(&mut self, said: ServerName, rules: &Arc<Rules>, egress: &Egress) -> bool {
        let known = self.place.server_name.clone();
        let is_unread = said == ServerName::Undetermined;
        // Who came to this host chose no name for where he is.
        if egress.origin == Origin::Accepted || known.as_ref() == Some(&said) {
            return false;
        }
        if is_unread && known.is_some() {
            return false;
        }
        let (judged, shown) = (self.judgement.clone(), self.shown());
        let before = severity(judged.verdict);
        self.place.server_name = Some(said);
        self.renew(rules, egress);
        // A second name is a second claim: it may make things worse, not better.
        let is_second = matches!(known, Some(ServerName::Said { .. }));
        if is_second && severity(self.judgement.verdict) < before {
            self.place.server_name = known;
            self.renew(rules, egress);
            return false;
        }
        self.judgement != judged || self.shown() != shown || !self.says_what_was_asked_for()
    }

    fn shown(&self) -> Option<Arc<str>> {
        self.place.shown().map(|(name, _)| Arc::clone(name))
    }

    fn says_what_was_asked_for(&self) -> bool {
        let said = self.place.server_name.as_ref().and_then(ServerName::name);
        let asked_for = self.place.domain.as_ref().map(|domain| &domain.name);
        said.is_some() && said == asked_for
    }
}
