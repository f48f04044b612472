//! What benchmarks, fuzz targets and the tests of whole processes take from inside. No interface: it
//! changes with what is tested.

pub mod api {
    pub use crate::api::{
        Api, Asked, Each, EventSource, IsOver, Located, LocatedDestination, LocatedJudgement,
        MarkRefusal, Marks, SourceError, summarize,
    };
    pub mod server {
        pub use crate::api::server::{BOUNDS, bind};
    }
    pub mod page {
        pub use crate::api::page::router;
    }
    pub mod status {
        pub use crate::api::status::{Policy, Status, Store};
    }
}
pub mod attribute {
    pub use crate::attribute::{BootOffset, PROCESSES_MAX, Processes, Procfs};
}
pub mod config {
    pub use crate::config::{
        Capture, Config, ConfigError, Geo, NamesConfig, Policy, RecordMode, StoreConfig,
        UnknownCountry, explain,
    };
}
pub mod connections {
    pub use crate::connections::{descriptors, refused};
}
pub mod coverage {
    pub use crate::coverage::{Alive, Coverage, Extent, Gap, Integrity};
}
pub mod decode {
    pub use crate::decode::{DecodeError, Sample, decode, verdict};
}
pub mod ecs {
    pub use crate::ecs::{Time, hex};
}
pub mod event {
    pub use crate::event::{
        Activity, Ancestor, Attribution, BootId, Certainty, Country, CountryCode, DatabaseId,
        Domain, DomainSource, Egress, Entry, ExecutedFile, Findings, FlowId, FlowIds, Glance, Host,
        Judgement, Lookup, Mac, Mark, MarkKind, Moment, Notice, Operator, Origin, Passage, Phase,
        Place, Process, Provenance, Reason, Record, Rollup, Sender, Share, Timeline, Timestamp,
        Traffic, Transport, User, Verdict,
    };
}
pub mod evidence {
    pub use crate::evidence::{
        Checkpoint, KeyName, Memory, Note, Proof, PublicKey, Request, WitnessKey,
    };
}
pub mod filter {
    pub use crate::filter::{Filter, Query, RawFilter};
}
pub mod judge {
    pub use crate::judge::judge_address;
}
pub mod locate {
    pub use crate::locate::{Cache, Locator, NOTICES};
    pub mod codes {
        pub use crate::locate::codes::assigned;
    }
    pub mod tables {
        pub use crate::locate::tables::{Tables, TablesRef};
    }
}
pub mod marks {
    pub use crate::marks::Intervals;
}
pub mod metrics {
    pub use crate::metrics::{KnownLabels, Metrics};
    pub mod serve {
        pub use crate::metrics::serve::{BOUNDS, Readiness, bind, serve};
    }
}
pub mod names {
    pub mod dns {
        pub use crate::names::dns::{answer, query};
    }
    pub mod quic {
        pub use crate::names::quic::initials;
    }
    pub mod tls {
        pub use crate::names::tls::{Found, client_hello, find, handshake_hello};
    }
}

pub mod outputs {
    pub use crate::outputs::Outputs;
    pub mod live {
        pub use crate::outputs::live::{Sender, channel};
    }
    pub mod writer {
        pub use crate::outputs::writer::{StoreWriter, spawn};
    }
}
pub mod patterns {
    pub use crate::patterns::Patterns;
}
pub mod pipeline {
    pub use crate::{pipeline::Pipeline, rules::Rules};
}
pub mod probe {
    pub use crate::probe::{Classified, Kernel, Places, ProbeError, Source, Trial};
}
pub mod sandbox {
    pub use crate::sandbox::NEEDED;
}
pub mod shutdown {
    pub use crate::shutdown::{Shutdown, Trigger, channel};
}
pub mod summary {
    pub use crate::summary::{By, Keys, Row};
}
pub mod store {
    pub use crate::store::{IndexLimits, Options, Reader, Seen, Store, StoreError, prove::Block};
    pub mod verify {
        pub use crate::store::verify::{Trust, own_keys, verify};
    }
}
