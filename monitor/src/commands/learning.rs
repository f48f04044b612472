//! What answers say on standard error while the policy only learns: the daemon says whether it does, else the
//! configuration. Never fails: the answer itself says what is wrong.

use super::load;
use crate::{
    api::{Status, client::Client},
    cli::Global,
    config::Mode,
};

pub(super) const SENTENCE: &str = "the policy only learns (policy.mode = \"learn\"): what is unapproved is recorded, and nothing is raised as a violation";

/// Says so, if it does now.
pub(super) fn say(global: &Global) {
    if global.quiet == 0 && is_so(global) {
        eprintln!("{SENTENCE}");
    }
}

fn is_so(global: &Global) -> bool {
    let Ok(Ok(client)) = load::socket(global).map(|socket| Client::new(&socket)) else {
        return false;
    };
    match client.get::<Status>("/v1/status", &[(); 0]) {
        Ok(status) => status.policy.mode == Mode::Learn.word(),
        Err(error) if error.is_absent() => {
            load::config(global).is_ok_and(|config| config.policy.is_learning())
        }
        Err(_) => false,
    }
}

/// `flows`: of those that were shown, or added up.
pub(super) fn say_unraised(global: &Global, flows: u64) {
    if global.quiet == 0 && flows > 0 {
        eprintln!(
            "{flows} of these flows are unapproved and no violation: the policy of their time only learned"
        );
    }
}
