//! What `geofenced-fleet` takes from here: ledgers as they are read, verified and told. No interface for
//! anybody else: it changes with that program, which is of the same version.

pub use crate::{
    config::{RecordMode, StoreConfig},
    coverage::{Coverage, Extent, Fold, Gap, Integrity, LOOK_BACK_NS},
    ecs::{Time, day, hex},
    event::{
        BootId, Country, CountryCode, DomainSource, Entry, Host, Lookup, Notice, Operator, Origin,
        Phase, Process, Provenance, Reason, Record, Rollup, Timeline, Timestamp, Verdict, Way,
    },
    evidence::{
        Checkpoint, Cosignature, Fault, Frontier, Hash, KeyName, Memory, Note, PublicKey, Request,
        Signer, WitnessKey, WitnessSigner, tree,
    },
    printable::printable,
    store::{Options, Reader, Store, StoreError, ground, packed, replace_file, seed, shipped},
    table::{bytes as shown_bytes, span},
    when::parse as parse_time,
};
