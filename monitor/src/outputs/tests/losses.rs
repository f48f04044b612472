//! What the store loses, apart from each other: states, first states, notices.

use std::sync::mpsc;

use super::*;

#[test]
fn each_flow_is_stored_or_counted_once_and_notices_that_are_lost_are_counted_apart() {
    let (open, gate) = mpsc::channel();
    let memory = Memory { gate: Some(Arc::new(Mutex::new(gate))), ..Memory::default() };
    let mut rig = rig(RecordMode::All, memory, 2);
    for revision in [0, 1].repeat(5) {
        let mut state = full_record();
        state.egress.revision = revision;
        rig.deliver(state, sent(1, 1), revision == 0, Kept::Added);
    }
    for _ in 0..5 {
        rig.outputs.note(Entry::Notice { at: Timestamp(1), notice: Notice::Alive });
    }
    let lost =
        |stage| rig.metrics.events_lost_total.with_label_values(&[stage, store::QUEUE_FULL]).get();
    let (flows, notices) = (lost(store::STAGE), lost(lost::NOTICES));
    assert!((7..=8).contains(&flows) && notices == 5, "{flows} {notices}");
    let first = rig.metrics.store_flows_lost_total.with_label_values(&[store::QUEUE_FULL]).get();
    open.send(()).unwrap();
    let (entries, _) = rig.finish();
    let is_first = |entry: &&Entry| matches!(entry, Entry::Flow(it) if it.egress.revision == 0);
    assert_eq!(entries.iter().filter(is_first).count() as u64 + first, 5);
    let told: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Notice { notice: Notice::Lost { stage, count, .. }, .. } => {
                Some((stage.as_ref(), *count))
            }
            _ => None,
        })
        .collect();
    assert_eq!(told, [(store::STAGE, flows), (lost::NOTICES, notices)]);
}
