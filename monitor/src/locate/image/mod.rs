//! One image of everything that is looked up, made from all sources at once: the probes' tables are
//! filled from it, and the daemon looks into the same ones, so the two can't differ. Mapped read-only
//! and checked before use; a broken one is built again, never trusted.

mod cache;
mod layout;

use std::{fs::File, io, net::IpAddr, sync::Arc};

use memmap2::{Mmap, UncheckedAdvice};
use serde::{Deserialize, Serialize};

pub(super) use self::cache::obtain;
pub use self::cache::{Cache, settle};
use self::layout::{Layout, Parts};
use super::{
    rows::{ClassRow, OperatorRow},
    tables::TablesRef,
};
use crate::event::Operator;

/// A source, as an image names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceNote {
    pub(super) label: String,
    pub(super) name: String,
    /// Date of the data, seconds since 1970.
    pub(super) dated: u64,
    pub(super) sha256: [u8; 32],
    pub(super) licence: Option<String>,
}

/// A checked image. What was not looked up lately takes no memory of the daemon's.
#[derive(Debug)]
pub struct Image {
    map: Mmap,
    layout: Layout,
    inputs: [u8; 32],
}

impl Image {
    /// `inputs`: what it must have been built from.
    fn open(file: &File, inputs: &[u8; 32]) -> Result<Self, io::Error> {
        // SAFETY: the file is this daemon's own, written whole before it got its name and never
        // written again: a newer one takes its name and leaves this one as it is. Whoever truncates
        // it nevertheless ends the daemon, as would whoever may kill it.
        let map = unsafe { Mmap::map(file) }?;
        let layout = layout::check(&map, inputs).map_err(io::Error::other)?;
        let image = Self { map, layout, inputs: *inputs };
        image.rest();
        Ok(image)
    }

    /// Gives back the memory of what was looked up; it is read again when it is needed.
    pub fn rest(&self) {
        // SAFETY: the pages are a file's, mapped read-only: the next access brings the same bytes.
        let advised = unsafe { self.map.unchecked_advise(UncheckedAdvice::DontNeed) };
        if let Err(error) = advised {
            tracing::debug!("the image's memory is not given back: {error}");
        }
    }

    /// Stands for all that it was built from: the same inputs make the same image.
    pub fn inputs(&self) -> &[u8; 32] {
        &self.inputs
    }

    /// The tables that give an address's class.
    pub fn tables(&self) -> TablesRef<'_> {
        // `check` read the same bytes with the same layout: this fails never.
        let columns = self.layout.columns(&self.map).unwrap_or_default();
        TablesRef::checked_before(columns)
    }

    /// What each class means; the first is what the tables can't tell.
    pub fn classes(&self) -> &[ClassRow] {
        self.parts().map_or(&[], |parts| parts.classes)
    }

    pub(super) fn class(&self, class: u16) -> ClassRow {
        self.classes().get(usize::from(class)).copied().unwrap_or_default()
    }

    /// What databases alone say of an IPv6 address of which the tables say nothing.
    pub(super) fn finer(&self, key: u64) -> Option<ClassRow> {
        let (keys, classes) = self.parts()?.finer;
        let at = keys.binary_search(&key).ok()?;
        classes.get(at).map(|class| self.class(*class))
    }

    /// Who runs an address, `is_anycast` being what its class says.
    pub(super) fn operator(&self, address: IpAddr, is_anycast: bool) -> Option<Arc<Operator>> {
        let parts = self.parts()?;
        let at = match address {
            IpAddr::V4(address) => run_of(parts.runs4, address.into()),
            IpAddr::V6(address) => run_of(parts.runs6, (u128::from(address) >> 64) as u64),
        };
        let row = parts.operators.get(at as usize).copied().unwrap_or_default();
        let operator = Operator {
            asn: (row.asn != 0).then_some(row.asn),
            name: name(&parts, &row).map(Into::into),
            country: row.country(),
            is_anycast,
        };
        let is_known = operator.asn.is_some() || operator.name.is_some() || row.country().is_some();
        (is_known || is_anycast).then(|| Arc::new(operator))
    }

    /// What is known of a system: its name, and where it is registered.
    pub(super) fn system(&self, asn: u32) -> Option<(OperatorRow, Option<&str>)> {
        let parts = self.parts()?;
        let systems = parts.operators.get(1..=parts.systems)?;
        let at = systems.binary_search_by_key(&asn, |row| row.asn).ok()?;
        Some((systems[at], name(&parts, &systems[at])))
    }

    pub(super) fn sources(&self) -> Vec<SourceNote> {
        let parts = self.parts();
        parts.and_then(|parts| serde_json::from_slice(parts.sources).ok()).unwrap_or_default()
    }

    pub fn bytes(&self) -> usize {
        self.map.len()
    }

    /// `None` never, as in `tables`.
    fn parts(&self) -> Option<Parts<'_>> {
        self.layout.parts(&self.map).ok()
    }
}

fn name<'a>(parts: &Parts<'a>, row: &OperatorRow) -> Option<&'a str> {
    let at = row.name_at as usize;
    let bytes = parts.names.get(at..at + usize::from(row.name_bytes))?;
    str::from_utf8(bytes).ok().filter(|name| !name.is_empty())
}

fn run_of<K: Copy + Ord>((starts, operators): (&[K], &[u32]), key: K) -> u32 {
    let after = starts.partition_point(|start| *start <= key);
    after.checked_sub(1).and_then(|at| operators.get(at)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests;
