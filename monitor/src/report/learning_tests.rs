//! What may be said of a period in which the policy only learned.

use super::{
    tests::{AWS, POLICY, To, facts, flow},
    *,
};
use crate::event::{Record, Verdict};

#[test]
fn over_a_period_in_which_the_policy_learned_nothing_is_claimed_of_it() {
    let claims = ["nothing unapproved", "nothing to CN"];
    let standings = |facts: Facts| {
        let report = Report::new(facts);
        let page = html::page(&report);
        assert_eq!(report.learning, page.contains("only learned"));
        report.claims.iter().map(|it| it.standing).collect::<Vec<_>>()
    };
    let approved = [flow(1, &AWS)];
    let plain = standings(facts(&approved, &[], &claims));
    assert_eq!(plain, [Standing::Holds, Standing::Holds]);
    let learning = |records: &[Record]| {
        let mut facts = facts(records, &[], &claims);
        let told = &mut facts.policies.policies[0].text;
        *told = Some(POLICY.replace("approved CA", "mode learn\napproved CA"));
        standings(facts)
    };
    assert_eq!(learning(&approved), [Standing::NotShown, Standing::Holds]);
    let objected = flow(2, &To { verdict: Verdict::Unapproved, ..AWS });
    assert_eq!(learning(&[objected]), [Standing::Refuted, Standing::Holds]);
}
