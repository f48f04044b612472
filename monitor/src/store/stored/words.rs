//! Numbers of domain words in the stored form: never reused, never changed.

use super::error::FormError;
use crate::event::{Attribution, Certainty, DomainSource, Origin, Phase, Verdict};

macro_rules! codes {
    ($type:ident, $encode:ident, $decode:ident { $($variant:ident = $code:literal),+ $(,)? }) => {
        pub(super) fn $encode(value: $type) -> u8 {
            match value { $($type::$variant => $code),+ }
        }
        pub(super) fn $decode(code: u8) -> Result<$type, FormError> {
            match code {
                $($code => Ok($type::$variant),)+
                _ => Err(FormError::Unknown(stringify!($type))),
            }
        }
    };
}

codes!(Phase, phase_code, phase { Attempt = 0, Sent = 1 });
codes!(Origin, origin_code, origin {
    Process = 0, Accepted = 1, Forwarded = 2, PacketSocket = 3, Tunnel = 4, Kernel = 5,
    PreExisting = 6,
});
codes!(Attribution, attribution_code, attribution {
    Socket = 0, Creator = 1, Procfs = 2, None = 3,
});
codes!(Verdict, verdict_code, verdict { Unapproved = 0, Unknown = 1, Approved = 2, Local = 3 });
codes!(DomainSource, domain_source_code, domain_source {
    Dns = 0, DnsHost = 1, Sni = 2, Quic = 3, Undetermined = 4,
});
codes!(Certainty, certainty_code, certainty { Full = 0, Partial = 1, Disputed = 2 });
