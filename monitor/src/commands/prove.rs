//! `prove`: the block of one record, and that it is in what was signed, as files for somebody who has nothing
//! else. It reads the store's files.

use std::{fs, io::Write, path::PathBuf};

use anyhow::Context;

use super::{Outcome, load, out, verify};
use crate::{
    cli::{Exit, Global, Output, ProveArgs},
    store::prove::prove,
    table::printable,
};

pub(super) fn run(global: &Global, args: &ProveArgs) -> Outcome {
    let root = load::config(global)?.store.path;
    let (block, proof) = prove(&root, args.id)?;
    let path = args.write.clone().unwrap_or_else(|| PathBuf::from(args.id.to_string()));
    let (proof_path, block_path) = verify::beside(&path);
    let failed = |path: &PathBuf| format!("can't write {}", path.display());
    fs::write(&proof_path, proof.text()).with_context(|| failed(&proof_path))?;
    fs::write(&block_path, block.bytes()).with_context(|| failed(&block_path))?;
    let mut out = out::stdout();
    let [proof_path, block_path] = [proof_path, block_path].map(|path| path.display().to_string());
    match global.output {
        Output::Json => out::json_line(
            &mut out,
            &serde_json::json!({ "proof": proof_path, "block": block_path, "number": block.number() }),
        )?,
        Output::Csv => {
            out::csv_head(&mut out, ["proof", "block", "number"])?;
            out::csv_line(&mut out, [proof_path, block_path, block.number().to_string()])?;
        }
        Output::Table => writeln!(
            out,
            "block {} and its proof: {} and {}",
            block.number(),
            printable(&block_path),
            printable(&proof_path)
        )?,
    }
    out.flush()?;
    Ok(Exit::Fine)
}
