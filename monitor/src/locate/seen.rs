//! What a source says of a range of addresses, before anybody weighs it.

use crate::event::CountryCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpVersion {
    V4,
    V6,
}

/// What the country database says of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) country: Option<CountryCode>,
    /// Where the block is registered, if the database tells that too.
    pub(super) registered: Option<CountryCode>,
}

/// An operator as a database or an override names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) asn: Option<u32>,
    pub(super) name: Option<&'a str>,
    pub(super) country: Option<CountryCode>,
}
