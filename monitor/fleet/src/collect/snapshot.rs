//! Tables of how the fleet is, made anew each time: stations with what is proven of them, and the times for which
//! silence proves nothing.

use std::path::Path;

use super::known::Known;
use crate::lake::{LakeError, Table};

/// `stations/stations.parquet` and `gaps/gaps.parquet`: never half of one. One without a row has one whose
/// columns are empty, so that it can be read.
pub fn write(lake: &Path, known: &[Known]) -> Result<(), LakeError> {
    let mut stations = Table::new(lake.join("stations/stations.parquet"), Vec::new());
    let mut gaps = Table::new(lake.join("gaps/gaps.parquet"), Vec::new());
    for it in known {
        stations.row(|to| {
            to.own("host_name", Some(&it.station));
            to.own("ledger_origin", Some(&it.origin));
            to.own("state", Some(it.state));
            to.own("why", it.why.as_deref());
            to.count("blocks_signed", it.signed);
            to.count("blocks_held", it.held);
            to.count("blocks_missing", it.missing_blocks());
            to.number("segments_missing", Some(it.missing_segments.len() as u64));
            to.number("refused", Some(it.refused.len() as u64));
            let coverage = it.coverage.as_ref();
            to.time("first_word", coverage.map(|it| it.from.0.0));
            to.time("last_word", coverage.map(|it| it.to.0.0));
            to.number("watched_seconds", coverage.map(|it| it.watched_seconds));
            to.number("seconds", coverage.map(|it| it.seconds));
        })?;
        for gap in it.coverage.iter().flat_map(|it| &it.gaps) {
            let extent = format!("{:?}", gap.extent).to_lowercase();
            gaps.row(|to| {
                to.own("host_name", Some(&it.station));
                to.own("ledger_origin", Some(&it.origin));
                to.time("gap_from", Some(gap.from.0.0));
                to.time("gap_to", Some(gap.to.0.0));
                to.own("extent", Some(&extent));
                to.own("stage", Some(&gap.stage));
                to.own("reason", Some(&gap.reason));
                to.number("count", gap.count);
            })?;
        }
    }
    if known.iter().all(|it| it.coverage.as_ref().is_none_or(|it| it.gaps.is_empty())) {
        gaps.row(|to| {
            for name in ["host_name", "ledger_origin"] {
                to.own(name, None);
            }
            to.time("gap_from", None);
            to.time("gap_to", None);
            for name in ["extent", "stage", "reason"] {
                to.own(name, None);
            }
            to.number("count", None::<u64>);
        })?;
    }
    if !known.is_empty() {
        stations.finish(Vec::new())?.name()?;
    }
    gaps.finish(Vec::new())?.name()?;
    Ok(())
}
