//! `export`: the records of a period as files, with a manifest that says whose they are and which hash each has.
//! Reads the ledger itself, read-only; a daemon that runs is only asked to write what it holds.

use std::{
    env,
    fs::{self, File},
    io,
    ops::ControlFlow,
    path::Path,
};

use super::{Failure, Outcome, coverage, load};
use crate::{
    api::client::Client,
    attribute::users,
    cli::{COMMIT, Exit, ExportArgs, Global, VERSION},
    ecs::{HostFields, Time},
    export::{By, Custody, Export, Folder, Made, Program, Selection},
    filter::{Query, RawFilter},
    host,
    marks::Intervals,
    store::Reader,
    table::counted,
};

/// Of a store that is read by itself: the user must see its files.
pub(super) fn run(global: &Global, args: &ExportArgs) -> Outcome {
    if args.filter.reverse || args.filter.limit.is_some() {
        let problem =
            "--limit and --reverse say how an answer is shown; an export is whole, by time";
        return Err(Failure::usage(anyhow::anyhow!(problem)));
    }
    let now = load::now();
    let typed = load::filter(&args.filter, false)?;
    let query = load::query(global, &typed)?;
    let config = load::config(global)?;
    let reader = Reader::open(&config.store.path)?;
    have_written(global);
    let folder = Folder::new(&args.directory)?;
    let mut export = Export::new(folder, args.format);
    let rollups = query.filter.knows_rollups();
    write(&reader, &query, &mut export)?;
    let (flows, added_up) = (export.flows, export.rollups);
    let mut folder = export.finish()?;
    put_evidence_beside(&reader, &mut folder)?;
    let selection = Selection {
        store: config.store.path.display().to_string(),
        since: query.filter.since.map(Time),
        until: query.filter.until.map(Time),
        filters: typed,
        rollups,
    };
    let custody = Custody {
        made: Made {
            at: Time(now),
            by: by(),
            host: host_fields(&config.host),
            reason: args.reason.clone(),
            program: Program { name: "geofenced", version: VERSION, commit: COMMIT },
        },
        form: args.format,
        selection,
        flows,
        rollups: added_up,
        coverage: coverage::within(global, query.filter.since, query.filter.until)?,
    };
    let sentence = custody.coverage.sentence();
    let has_gaps = custody.coverage.has_gaps();
    let hash = custody.seal(folder)?;
    if global.quiet == 0 {
        let sums = counted(added_up, "sum", "sums");
        let more = if added_up > 0 { format!(" and {sums} by hour") } else { String::new() };
        let records = counted(flows, "record", "records");
        eprintln!("{records}{more} in {}; {sentence}", args.directory.display());
        eprintln!("sha256 of manifest.json: {hash}");
    }
    Ok(if args.fail_on_gap && has_gaps { Exit::Integrity } else { Exit::Fine })
}

/// A daemon writes what it holds when somebody asks; where none runs, all is written.
fn have_written(global: &Global) {
    let newest = RawFilter { limit: Some("1".to_owned()), ..RawFilter::default() };
    let Ok(client) = load::socket(global).and_then(|socket| Ok(Client::new(&socket)?)) else {
        return;
    };
    let asked = client.lines("/v1/events", &newest, |_| Ok::<_, Failure>(ControlFlow::Break(())));
    if let Err(Failure { error, .. }) = asked {
        tracing::debug!("no daemon was asked: {error}");
    }
}

fn write(reader: &Reader, query: &Query, export: &mut Export) -> Result<(), Failure> {
    let marks = reader.marks()?;
    let intervals = Intervals::of(marks.iter().map(AsRef::as_ref));
    let mut failed = None;
    let mut go_on = |result: Result<(), _>| match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    };
    reader.query(query, |record| go_on(export.flow(&record, &intervals)))?;
    reader.rollups(&query.filter, |rollup| go_on(export.rollup(&rollup)))?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// The ledger's signed checkpoints, what witnesses signed, its leaves (also those that a rollback set aside) and the
/// key that its host names: each as a file beside the records, listed in the manifest. What is not there is left
/// out. Leaves come last: what was signed meanwhile is then of leaves that are here.
fn put_evidence_beside(reader: &Reader, folder: &mut Folder) -> Result<(), Failure> {
    let mut names = vec!["evidence/checkpoints".to_owned(), "evidence/witnessed".to_owned()];
    let failed = |error: io::Error| anyhow::Error::from(error).context("evidence");
    let inside = match fs::read_dir(reader.path().join("evidence")) {
        Ok(inside) => inside.collect::<Result<Vec<_>, _>>().map_err(failed)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(failed(error).into()),
    };
    let inside = inside.iter().filter_map(|it| it.file_name().into_string().ok());
    let mut aside: Vec<String> = inside.filter(|it| it.starts_with("leaves.")).collect();
    aside.sort();
    names.extend(aside.iter().map(|name| format!("evidence/{name}")));
    names.extend(["evidence/leaves", "key.pub"].map(ToOwned::to_owned));
    for name in names {
        match File::open(reader.path().join(&name)) {
            Ok(file) => folder.copy(&name, file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(anyhow::Error::from(error).context(name).into()),
        }
    }
    Ok(())
}

fn by() -> By {
    let uid = rustix::process::getuid().as_raw();
    let user = users::named(Path::new("/etc/passwd"), uid);
    By {
        uid,
        name: user.name.map(|name| name.to_string()),
        sudo_user: env::var("SUDO_USER").ok().filter(|it| !it.is_empty()),
    }
}

fn host_fields(config: &crate::config::HostConfig) -> HostFields<'static> {
    let host = host::host(config);
    let HostFields { name, id } = HostFields::from(&host);
    HostFields { name: name.into_owned().into(), id: id.map(|id| id.into_owned().into()) }
}
