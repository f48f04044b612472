//! A flow as it is seen at a glance, for answers that go through all that there is: what it rests on is passed by.

use std::sync::Arc;

use super::{
    FormError, StoredExtra, StoredFlow, country_from_stored, domain_source, learn_executed, origin,
    pass_by, phase, socket_from_stored, traffic_from_stored, verdict,
};
use crate::{
    event::{Activity, DomainSource, Glance, Timestamp, Transport},
    store::stored::tables::Tables,
};

/// To be asked of every flow of a block in order.
pub(in crate::store::stored) fn glance_at(
    flow: &StoredFlow,
    extras: &[StoredExtra],
    base: u64,
    tables: &mut Tables<'_>,
    each: impl FnOnce(&Glance<'_>),
) -> Result<(), FormError> {
    learn_executed(extras, tables)?;
    pass_by(extras, tables)?;
    let (mut activity, mut is_asked_for) = (None, true);
    for extra in extras {
        match extra {
            StoredExtra::Activity(counted) => {
                activity = Activity::of(counted.iter().copied());
                activity.as_ref().ok_or(FormError::Malformed)?;
            }
            // Once there was one name, which could be either.
            StoredExtra::Name { source } => {
                let source = domain_source(*source)?;
                is_asked_for = !matches!(source, DomainSource::Sni | DomainSource::Quic);
            }
            _ => {}
        }
    }
    let process = flow.process.map(|(at, _)| tables.process(at)).transpose()?;
    let operator = flow.operator.map(|at| tables.operators.operator(at)).transpose()?;
    let domain = flow.domain.filter(|_| is_asked_for);
    let domain = domain.map(|at| tables.texts.seen(at).ok_or(FormError::Dangling)).transpose()?;
    let (started, (id, revision)) = (flow.started(base), flow.identity(base));
    let last = started.wrapping_add(flow.last.cast_unsigned());
    each(&Glance {
        flow: id,
        revision,
        started_at: Timestamp(started),
        last_at: Timestamp(last),
        is_over: flow.ended.is_some(),
        phase: phase(flow.phase)?,
        origin: origin(flow.origin)?,
        transport: Transport(flow.transport),
        remote: socket_from_stored(&flow.remote),
        traffic: traffic_from_stored(flow.traffic),
        process: process.as_ref(),
        country: country_from_stored(flow.country)?,
        operator: operator.as_ref().map(Arc::as_ref),
        domain,
        verdict: verdict(flow.verdict)?,
        activity: activity.as_ref(),
    });
    Ok(())
}
