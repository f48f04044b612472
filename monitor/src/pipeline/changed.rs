//! What is learnt later of processes that many flows share: of each process one changed copy, not one a
//! flow. Knows no flows.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::event::Process;

/// One kind of change, of whatever process. Keeps what it changed alive, so it is to be short-lived.
#[derive(Debug, Default)]
pub(super) struct Changed {
    /// As it was, by its address, and as it is.
    copies: FxHashMap<usize, (Arc<Process>, Arc<Process>)>,
}

impl Changed {
    /// `change` depends on nothing but the process.
    pub(super) fn change(&mut self, process: &mut Arc<Process>, change: impl FnOnce(&mut Process)) {
        let address = Arc::as_ptr(process).addr();
        let (_, changed) = self.copies.entry(address).or_insert_with(|| {
            let mut changed = Process::clone(process);
            change(&mut changed);
            (Arc::clone(process), Arc::new(changed))
        });
        *process = Arc::clone(changed);
    }

    pub(super) fn forget(&mut self) {
        self.copies.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ecs::tests::process;

    #[test]
    fn a_process_that_many_flows_share_stays_one_when_it_changes() {
        let mut changed = Changed::default();
        let curl = Arc::new(Process { pid: 7, ..process() });
        let (mut one, mut two) = (Arc::clone(&curl), Arc::clone(&curl));
        for it in [&mut one, &mut two] {
            changed.change(it, |it| it.name = "wget".into());
        }
        assert!(Arc::ptr_eq(&one, &two));
        assert_eq!((one.pid, &*one.name, &*curl.name), (7, "wget", &*process().name));
    }
}
