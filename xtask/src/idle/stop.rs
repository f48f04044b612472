//! Whether someone wants us to end; then every step returns, and what we made is dropped.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, ensure};
use signal_hook::consts::{SIGINT, SIGTERM};

pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn on_signals() -> Result<Stop> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag))?;
        }
        Ok(Stop(flag))
    }

    pub fn check(&self) -> Result<()> {
        ensure!(!self.0.load(Ordering::Relaxed), "interrupted; cleaned up");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_after_a_signal_is_not_begun() {
        let stop = Stop(Arc::new(AtomicBool::new(false)));
        assert!(stop.check().is_ok());
        stop.0.store(true, Ordering::Relaxed);
        assert!(stop.check().is_err());
    }
}
