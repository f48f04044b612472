//! With which configuration the daemon starts: the user's, or, where that is broken and the daemon was told to,
//! the one that was in force last. An unwatched host is worse than an old policy; but nobody may overlook it,
//! so the log, `status` and a metric say so until a reload succeeds.

use std::path::{Path, PathBuf};

use super::{Opened, open_both};
use crate::{
    cli::{Exit, Global, RunArgs},
    commands::{Failure, load},
    config::{Config, ConfigError, Loaded},
    logging,
    metrics::Metrics,
    rules::Rules,
};

/// What has begun, and with what.
pub(super) struct Began {
    pub(super) config: Config,
    pub(super) last_good: LastGood,
    pub(super) rules: Rules,
    pub(super) opened: Opened,
}

/// Where the user's configuration is, and where the last good one is kept.
#[derive(Debug)]
pub(super) struct LastGood {
    path: Option<PathBuf>,
    file: Option<PathBuf>,
    start: Start,
}

#[derive(Debug)]
enum Start {
    /// With the user's; to be kept when all of the start succeeded.
    Own(Option<Box<Loaded>>),
    /// With another, and why.
    FellBack(String),
}

/// Reads the configuration, and opens databases and probes.
pub(super) fn begin(global: &Global, args: &RunArgs) -> Result<Began, Failure> {
    let path = global.config.as_deref();
    let last_good = LastGood::of(global.config.clone(), args.last_good.clone());
    let Some(file) = &args.last_good else { return open(Loaded::read(path), args, last_good) };
    let broken = match open(Loaded::read(path), args, last_good) {
        Err(failure) if failure.exit == Exit::Usage => failure,
        begun => return begun,
    };
    // A database that can't be read breaks the last good one, too: then the embedded one must do.
    let others: [(&str, Result<Loaded, ConfigError>); 3] = [
        ("the last good one", Loaded::read_kept(file)),
        ("it without its databases", Loaded::read(path).map(without_databases)),
        ("the last good one without its databases", Loaded::read_kept(file).map(without_databases)),
    ];
    for (which, other) in others {
        let why = format!(
            "the configuration is broken ({:#}), so {which} is in force; mend it, then reload",
            broken.error
        );
        let fell_back = LastGood {
            path: global.config.clone(),
            file: Some(file.clone()),
            start: Start::FellBack(why.clone()),
        };
        match open(other, args, fell_back) {
            Ok(begun) => {
                tracing::error!("{why}");
                return Ok(begun);
            }
            Err(failure) => tracing::warn!("not started with {which}: {:#}", failure.error),
        }
    }
    Err(broken)
}

fn without_databases(mut loaded: Loaded) -> Loaded {
    loaded.config.geo.database = None;
    loaded.config.geo.operator_database = None;
    loaded
}

fn open(
    loaded: Result<Loaded, ConfigError>,
    args: &RunArgs,
    mut last_good: LastGood,
) -> Result<Began, Failure> {
    let loaded = loaded.map_err(Failure::usage)?;
    let config = load::fitted(loaded.config.clone());
    logging::set_format(config.log.format);
    let (rules, opened) = open_both(&config, args)?;
    if let Start::Own(own) = &mut last_good.start {
        *own = Some(Box::new(loaded));
    }
    Ok(Began { config, last_good, rules, opened })
}

impl LastGood {
    pub(super) fn of(path: Option<PathBuf>, file: Option<PathBuf>) -> Self {
        Self { path, file, start: Start::Own(None) }
    }

    /// The user's configuration as it is now.
    pub(super) fn load(&self) -> Result<Loaded, ConfigError> {
        Loaded::read(self.path.as_deref())
    }

    /// Everything that the configuration names could be opened.
    pub(super) fn started(&self, metrics: &Metrics) {
        metrics.config_fallback.set(i64::from(self.why().is_some()));
        if let Start::Own(Some(loaded)) = &self.start {
            self.keep(loaded);
        }
    }

    /// The user's configuration is in force.
    pub(super) fn reloaded(&self, loaded: &Loaded, metrics: &Metrics) {
        metrics.config_fallback.set(0);
        self.keep(loaded);
    }

    /// Why another than the user's was taken at the start.
    pub(super) fn why(&self) -> Option<&str> {
        match &self.start {
            Start::Own(_) => None,
            Start::FellBack(why) => Some(why),
        }
    }

    fn keep(&self, loaded: &Loaded) {
        let Some(file) = &self.file else { return };
        if let Err(error) = loaded.keep(file) {
            warn_not_kept(file, &error);
        }
    }
}

fn warn_not_kept(file: &Path, error: &std::io::Error) {
    tracing::warn!("the configuration in force is not kept at {}: {error}", file.display());
}
