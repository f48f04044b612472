//! Records to show that are no violation.

use geofenced::inside::event::{Country, CountryCode, Record, Verdict};

use crate::records::violation;

/// As [`violation`], but approved, to US.
pub(crate) fn approved(number: u64) -> Record {
    let mut record = violation(number);
    record.place.country = Country::Known(CountryCode::new("US").unwrap());
    record.judgement.verdict = Verdict::Approved;
    record
}
