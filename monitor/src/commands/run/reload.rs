//! Reads configuration, policy and database again and swaps them in whole; invalid, the old stay in
//! force, which the log and a metric say.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use axum::Router;

use super::{super::load, classes::Classes, last_good::LastGood, watch::Inbox, words};
use crate::{
    api::{Api, Located, located, page},
    clock,
    config::Config,
    ecs::hex,
    event::Timestamp,
    host,
    locate::{Cache, Locator},
    logging,
    metrics::Metrics,
    outputs::{self, log::Wanted},
    rules::Rules,
};

/// The rules in force, for whoever asks.
pub(super) type InForce = Arc<RwLock<Arc<Rules>>>;

#[derive(Clone, Debug)]
pub(super) struct Reloader {
    last_good: Arc<LastGood>,
    /// As it was at the start: what a reload can't change.
    started_with: Arc<Config>,
    metrics: Arc<Metrics>,
    inbox: Arc<Inbox>,
    classes: Classes,
    rules: InForce,
    wanted: Wanted,
    /// Held by the reload that is under way: two signals must not mix what they read.
    turn: Arc<Mutex<()>>,
}

impl Reloader {
    pub(super) fn new(
        config: Config,
        last_good: LastGood,
        metrics: &Arc<Metrics>,
        inbox: &Arc<Inbox>,
        classes: Classes,
        rules: Arc<Rules>,
    ) -> Self {
        Self {
            last_good: Arc::new(last_good),
            started_with: Arc::new(config),
            metrics: Arc::clone(metrics),
            inbox: Arc::clone(inbox),
            classes,
            rules: Arc::new(RwLock::new(rules)),
            wanted: Wanted::default(),
            turn: Arc::default(),
        }
    }

    /// What is wanted of the log is told to `wanted`, too.
    pub(super) fn logging(self, wanted: Wanted) -> Self {
        Self { wanted, ..self }
    }

    pub(super) fn rules(&self) -> InForce {
        Arc::clone(&self.rules)
    }

    pub(super) fn locate(&self) -> Arc<dyn Fn(IpAddr) -> Located + Send + Sync> {
        let rules = self.rules();
        Arc::new(move |address| {
            let rules = in_force(&rules);
            located(&rules.locator, &rules.policy, address)
        })
    }

    /// What is served beside the metrics.
    pub(super) fn page(&self, api: &Api) -> Router {
        let config = &self.started_with.metrics;
        let Some(listen) = config.listen.filter(|_| config.page) else { return Router::new() };
        let rules = self.rules();
        let host =
            move || in_force(&rules).provenance().host.as_ref().map(|it| it.name.to_string());
        let host = Arc::new(move || host().unwrap_or_else(|| "this host".into()));
        page::router(api.clone(), host, listen.ip().is_loopback())
    }

    /// Once a minute.
    pub(super) fn rest(&self) {
        in_force(&self.rules).locator.image().rest();
    }

    /// Once a day.
    pub(super) fn meter_age(&self) {
        meter_age(&self.metrics, &in_force(&self.rules), clock::wall());
    }

    /// Blocks while it reads files.
    pub(super) fn reload(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match self.try_reload() {
            Ok(()) => {
                self.metrics.config_last_reload_successful.set(1);
                "success"
            }
            Err(error) => {
                self.metrics.config_last_reload_successful.set(0);
                tracing::error!("not reloaded, the old configuration stays in force: {error:#}");
                "failure"
            }
        };
        self.metrics.config_reloads_total.with_label_values(&[result]).inc();
    }

    fn try_reload(&self) -> anyhow::Result<()> {
        let loaded = self.last_good.load()?;
        let config = load::fitted(loaded.config.clone());
        // The path of the store can't change while the daemon runs.
        let cache = Cache::Keep(&self.started_with.store.path);
        let locator = Locator::open_with(&config.geo, &config.policy.local_networks, cache)?;
        self.warn_of_what_needs_a_restart(&config);
        self.wanted.set(config.log);
        logging::set_format(config.log.format);
        let mut rules = Rules::new(config.policy, locator).on(host::host(&config.host));
        self.classes.put(&mut rules, Some(&in_force(&self.rules)));
        let rules = Arc::new(rules);
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&rules);
        meter_rules(&self.metrics, &rules);
        self.inbox.put(rules, config.store.record);
        self.last_good.reloaded(&loaded, &self.metrics);
        tracing::info!("configuration, policy and database reloaded");
        words::approved(&in_force(&self.rules).policy);
        Ok(())
    }

    fn warn_of_what_needs_a_restart(&self, now: &Config) {
        let before = &self.started_with;
        let changed = [
            ("capture", now.capture != before.capture),
            ("names", now.names != before.names),
            ("metrics", now.metrics != before.metrics),
            ("api", now.api != before.api),
            ("store.path", now.store.path != before.store.path),
            ("store.retention", now.store.retention != before.store.retention),
            ("store.max_size", now.store.max_bytes != before.store.max_bytes),
            ("store.sync", now.store.sync != before.store.sync),
            ("store.keep_unshipped", now.store.shipping != before.store.shipping),
        ];
        for (key, _) in changed.iter().filter(|(_, is_changed)| *is_changed) {
            tracing::warn!("`{key}` changed, which takes effect at the next start only");
        }
    }
}

pub(super) fn in_force(rules: &InForce) -> Arc<Rules> {
    Arc::clone(&rules.read().unwrap_or_else(PoisonError::into_inner))
}

/// What the metrics say of the rules in force.
pub(super) fn meter_rules(metrics: &Metrics, rules: &Rules) {
    metrics.set_policy(&hex(&rules.policy.sha256));
    metrics.policy_learning.set(rules.policy.is_learning().into());
    if rules.policy.is_learning() {
        tracing::warn!(
            "the policy only learns (policy.mode = \"learn\"): nothing is raised as a violation"
        );
    }
    for (country, reason) in outputs::violations_of(&rules.policy.rules) {
        metrics.violations_total.with_label_values(&[&country, &reason]);
    }
    if let Some(host) = &rules.provenance().host {
        metrics.set_host(&host.name, &host.id.map(|id| hex(&id)).unwrap_or_default());
    }
    let built = &metrics.geo_database_build_timestamp_seconds;
    built.reset();
    metrics.geo_database_stale.reset();
    for database in rules.locator.databases() {
        built.with_label_values(&[database.label]).set(database.built_at.secs().cast_signed());
    }
    let now = clock::wall();
    meter_age(metrics, rules, now);
    metrics.config_last_reload_success_timestamp_seconds.set(now.secs().cast_signed());
}

/// Warns of databases that are stale at `now`, in the log and as a metric; of those that only get old `status`
/// tells.
pub(super) fn meter_age(metrics: &Metrics, rules: &Rules, now: Timestamp) {
    for database in rules.locator.databases() {
        let is_stale = database.freshness(now).is_stale();
        metrics.geo_database_stale.with_label_values(&[database.label]).set(is_stale.into());
        if let Some(warning) = database.warning(now).filter(|_| is_stale) {
            tracing::warn!("{warning}");
        }
    }
    for problem in rules.locator.passed_over() {
        tracing::warn!("{problem}");
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{
        config::Violations,
        locate::fixture::{Value, mmdb, text},
        metrics::KnownLabels,
    };

    fn reloader(folder: &Path) -> Reloader {
        let at = folder.display();
        let path = folder.join("config.toml");
        let text = format!("[geo]\ndatabase = '{at}/country.mmdb'\n[store]\npath = '{at}/store'\n");
        fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap();
        let cache = Cache::Keep(&config.store.path);
        let locator = Locator::open_with(&config.geo, &[], cache).unwrap();
        let rules = Arc::new(Rules::new(config.policy.clone(), locator));
        let metrics = Arc::new(Metrics::new(&KnownLabels::default()).unwrap());
        let inbox = Arc::new(Inbox::default());
        let last_good = LastGood::of(Some(path), None);
        Reloader::new(config, last_good, &metrics, &inbox, Classes::default(), rules)
    }

    fn database(code: &str) -> Vec<u8> {
        let record = Value::Map(vec![("country_code".to_owned(), text(code))]);
        mmdb("Test-Country", &[("203.0.113.0/24", record)])
    }

    #[test]
    fn a_damaged_database_is_not_put_in_force_and_the_last_good_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("country.mmdb");
        fs::write(&file, database("CN")).unwrap();
        let reloader = reloader(folder.path());
        let country = || {
            let place = in_force(&reloader.rules).locator.locate("203.0.113.7".parse().unwrap());
            place.country.code().map(|code| code.to_string())
        };
        let failures =
            || reloader.metrics.config_reloads_total.with_label_values(&["failure"]).get();
        let whole = database("DE");
        let broken: [&[u8]; 4] = [b"", b"no database", &whole[..whole.len() / 2], &whole[1..]];
        for (count, bytes) in (1..).zip(broken) {
            fs::write(&file, bytes).unwrap();
            reloader.reload();
            assert_eq!(country().as_deref(), Some("CN"));
            assert_eq!(failures(), count);
        }
        fs::write(&file, whole).unwrap();
        reloader.reload();
        assert_eq!(country().as_deref(), Some("DE"));
        assert_eq!(failures(), 4);
    }

    #[test]
    fn what_is_wanted_of_the_log_is_reloaded_unless_the_configuration_is_broken() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("country.mmdb"), database("CN")).unwrap();
        let wanted = Wanted::default();
        let reloader = reloader(folder.path()).logging(wanted.clone());
        let path = folder.path().join("config.toml");
        let before = fs::read_to_string(&path).unwrap();
        for (violations, expected) in
            [("all", Violations::All), ("of", Violations::All), ("off", Violations::Off)]
        {
            let log = format!("{before}[log]\nviolations = \"{violations}\"\n");
            fs::write(&path, log).unwrap();
            reloader.reload();
            assert_eq!(wanted.get().violations, expected, "{violations}");
        }
    }

    #[test]
    fn a_stale_database_is_told_by_a_metric_from_its_180th_day_on() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("country.mmdb"), database("CN")).unwrap();
        let reloader = reloader(folder.path());
        let rules = in_force(&reloader.rules);
        let built = rules.locator.databases()[0].built_at.secs();
        let stale = || reloader.metrics.geo_database_stale.with_label_values(&["country"]).get();
        for (days, expected) in [(0, 0), (179, 0), (180, 1), (1, 0)] {
            let now = Timestamp::from_secs(built + days * 86_400);
            meter_age(&reloader.metrics, &rules, now);
            assert_eq!(stale(), expected, "day {days}");
        }
    }
}
