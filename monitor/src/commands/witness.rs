//! `witness`: asks for a cosignature, gives one, and takes one in, by files. What is asked and given are the
//! bytes of C2SP's tlog-witness; nothing is sent.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, anyhow};

use super::{Failure, Outcome, load, out};
use crate::{
    api::{client::Client, status::Evidence},
    cli::{Exit, Global, WitnessAddArgs, WitnessArgs, WitnessCommand, WitnessSignArgs},
    event::Timestamp,
    evidence::{Memory, PublicKey, Request, WitnessKey, WitnessSigner},
    store::{self, prove},
    table::{counted, printable},
};

/// What the daemon is asked for.
const SEAL: &str = "/v1/checkpoint";

pub(super) fn run(global: &Global, args: &WitnessArgs) -> Outcome {
    match &args.command {
        WitnessCommand::Request { old, write } => request(global, *old, write.as_deref()),
        WitnessCommand::Sign(args) => sign(args),
        WitnessCommand::Add(args) => add(global, args),
    }
}

/// Has everything signed that there is, if a daemon runs.
fn request(global: &Global, old: Option<u64>, write: Option<&Path>) -> Outcome {
    let sealed: Result<Option<Evidence>, _> = Client::new(&load::socket(global)?)?.post(SEAL, &());
    match sealed {
        Ok(_) => {}
        Err(error) if error.is_absent() => {
            eprintln!("no daemon answers: taking the last checkpoint there is");
        }
        Err(error) => return Err(error.into()),
    }
    let root = load::config(global)?.store.path;
    let old = match old {
        Some(old) => old,
        None => prove::witnessed_size(&root)?,
    };
    let text = prove::request(&root, old)?.text();
    give(&text, write)
}

fn give(text: &str, write: Option<&Path>) -> Outcome {
    if let Some(path) = write {
        fs::write(path, text).with_context(|| format!("can't write {}", path.display()))?;
    } else {
        let mut out = out::stdout();
        out.write_all(text.as_bytes())?;
        out.flush()?;
    }
    Ok(Exit::Fine)
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

/// As a witness: what is seen is remembered before it is signed for.
fn sign(args: &WitnessSignArgs) -> Outcome {
    let signer = signer(args)?;
    let log = args.log.as_deref().map(read).transpose()?;
    let log = log.as_deref().and_then(|text| text.lines().next()).map(PublicKey::parse);
    let log = log.transpose().context("--log").map_err(Failure::usage)?;
    let mut memory = match fs::read_to_string(&args.state) {
        Ok(text) => Memory::parse(&text)
            .ok_or_else(|| anyhow!("{} is no memory of a witness", args.state.display()))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Memory::default(),
        Err(error) => return Err(anyhow!("can't read {}: {error}", args.state.display()).into()),
    };
    let request = Request::parse(&read(&args.request)?)
        .with_context(|| args.request.display().to_string())
        .map_err(Failure::usage)?;
    let refused = |error| Failure { exit: Exit::Integrity, error };
    let accepted = memory.accept(&request, log.as_ref());
    let text = accepted.context("not signed").map_err(refused)?;
    store::replace_file(&args.state, memory.text().as_bytes())?;
    let Timestamp(now) = load::now();
    let line = signer.line(&text, now / 1_000_000_000);
    eprintln!("signed as {}", printable(&signer.public().to_string()));
    give(&line, args.write.as_deref())
}

/// Made at the first use; its public half is beside it.
fn signer(args: &WitnessSignArgs) -> Result<WitnessSigner, Failure> {
    let name = match &args.name {
        Some(name) => name.clone(),
        None => store::host_name(),
    };
    let public: PathBuf = args.key.with_extension("pub");
    let seed = store::seed(&args.key)?;
    let signer = WitnessSigner::new(name, &seed);
    let line = format!("{}\n", signer.public());
    let known = fs::read_to_string(&public).unwrap_or_default();
    if known.is_empty() {
        store::replace_file(&public, line.as_bytes())?;
    } else if known != line {
        let known = printable(known.trim_end()).into_owned();
        let path = public.display();
        return Err(Failure::usage(anyhow!("this key is {known} ({path}); --name is another")));
    }
    Ok(signer)
}

fn add(global: &Global, args: &WitnessAddArgs) -> Outcome {
    let key = match WitnessKey::parse(&args.witness) {
        Ok(key) => key,
        Err(_) => WitnessKey::parse(read(Path::new(&args.witness))?.trim_end())
            .context("--witness")
            .map_err(Failure::usage)?,
    };
    let root = load::config(global)?.store.path;
    let line = read(&args.cosignature)?;
    let refused = |error: prove::ProveError| Failure { exit: Exit::Integrity, error: error.into() };
    let (checkpoint, seen) = prove::add(&root, &line, &key).map_err(refused)?;
    eprintln!(
        "{} saw `{}` with {}",
        seen.witness,
        printable(&checkpoint.origin),
        counted(checkpoint.size, "block", "blocks")
    );
    Ok(Exit::Fine)
}
