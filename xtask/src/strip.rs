//! Takes the debug information off an object of the probes. Types stay (BTF, of which the maps are made), and
//! so do the lines that the verifier names.

use anyhow::{Context as _, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf::SHT_STRTAB,
};

/// Without DWARF, and without the relocations of types, which are for whoever links once more.
pub fn debug_information(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("the probes are no object of ELF")?;
    for section in &mut builder.sections {
        section.delete = is_left_out(&section.name);
    }
    builder.delete_orphans();
    // LLVM keeps the names of sections and of symbols in one table; the writer wants two.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("the probes without their debug information")?;
    Ok(stripped)
}

fn is_left_out(section: &[u8]) -> bool {
    [".debug_", ".rel.debug_", ".rel.BTF"].iter().any(|it| section.starts_with(it.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_code_are_no_debug_information() {
        assert!(is_left_out(b".debug_info") && is_left_out(b".rel.debug_line"));
        assert!(
            !is_left_out(b".BTF") && !is_left_out(b".BTF.ext") && !is_left_out(b".reltracepoint")
        );
    }

    #[test]
    fn what_is_no_object_is_an_error() {
        assert!(debug_information(b"#!/bin/sh").is_err());
    }
}
