//! Whether a self-test can be made on this host, and its start. Knows nothing of what it does.

use crate::{attribute::Procfs, config::Capture, probe::find_cgroup, self_test::SelfTest};

/// Before rights are given up; or why there is none.
pub(super) fn start(capture: &Capture) -> Result<SelfTest, String> {
    let Some(period) = capture.self_test else {
        return Err("switched off by [capture] self_test".to_owned());
    };
    // What is sent from elsewhere is not to be seen.
    if let Some(wanted) = &capture.cgroup {
        let own = Procfs::host().own_cgroup();
        let (root, watched) = (find_cgroup(None), find_cgroup(Some(wanted)));
        let is_watched =
            own.zip(root.ok()).zip(watched.ok()).is_some_and(|((own, root), watched)| {
                root.join(own.trim_start_matches('/')).starts_with(watched)
            });
        if !is_watched {
            return Err("this daemon is outside of [capture] cgroup".to_owned());
        }
    }
    SelfTest::start(period).map_err(|error| {
        tracing::warn!("no self-test is made: {error}");
        error.to_string()
    })
}
