//! The domain: what the pipeline's stages hand on. Values only: no I/O, no clock, no serialization
//! (each border converts: `store::stored` to bytes, `ecs` to JSON, `metrics` to labels).

mod activity;
mod flow;
mod host;
mod judgement;
mod lookup;
mod mac;
mod mark;
mod moment;
mod naming;
mod notice;
mod place;
mod process;
mod record;
mod script;
mod traffic;
mod transport;
mod watching;
mod words;

pub use self::{
    activity::{Activity, SPANS_MIN},
    flow::{Egress, FlowId, FlowIds, Origin, Passage, Phase, canonical},
    host::Host,
    judgement::{Certainty, DatabaseId, Judgement, Provenance, Reason, Verdict},
    lookup::Lookup,
    mac::Mac,
    mark::{Mark, MarkKind, SHARES_MAX, Share},
    moment::{BootId, Moment, Timeline, Timestamp},
    naming::{Domain, DomainSource, ServerName},
    notice::Notice,
    place::{Country, CountryCode, Operator, Place, Via},
    process::{
        Ancestor, Attribution, CLAIMED, ExecutedFile, FileId, PARENTS_MAX, Process, Sender, User,
    },
    record::{Entry, Findings, Glance, Record, Rollup},
    script::of as script_of,
    traffic::Traffic,
    transport::{Transport, Way},
    watching::{Watcher, Watching},
};
