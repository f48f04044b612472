//! Raw configuration -> [`Config`]: each value checked once, with its key and place in the error.
//! What a value may be is `values`' to know.

use std::{collections::HashMap, ops::Range, sync::Arc};

use ipnet::IpNet;
use toml::Spanned;

use super::{
    ApiConfig, Basis, Capture, Config, ConfigError, Disputed, Geo, HostConfig, MetricsConfig, Mode,
    OperatorFact, Override, Policy, RecordMode, Rule, Shipping, Sizing, StoreConfig,
    UnknownCountry,
    check::Check,
    fingerprint,
    raw::{
        RawCapture, RawConfig, RawGeo, RawInterfaces, RawNumber, RawOperator, RawOverride,
        RawPolicy, RawRule, RawStore, Sources, Text,
    },
    values,
};
use crate::{
    event::{CountryCode, Transport},
    select::{
        ContainerSelector, DestinationSelector, OperatorSelector, UnitSelector, UserSelector,
        parse_sha256,
    },
};

/// Of units, and of operators: each is a series on each host of a fleet.
const TOP_MOST: u32 = 100;

/// `raw` is what `sources` say; `defaults` is for what they do not say.
pub(super) fn validate(
    raw: RawConfig,
    sources: &Sources,
    defaults: Config,
) -> Result<Config, ConfigError> {
    let check = Check { sources };
    let listen = raw.metrics.listen.as_ref();
    let top = check.number("metrics.top", raw.metrics.top.as_ref(), 0, TOP_MOST)?;
    let metrics = MetricsConfig {
        listen: check
            .optional("metrics.listen", listen, values::listen)?
            .unwrap_or(defaults.metrics.listen),
        page: raw.metrics.page.unwrap_or(defaults.metrics.page),
        top: top.unwrap_or(defaults.metrics.top),
    };
    let api = match &raw.api.socket {
        Some(text) => ApiConfig { socket: check.text("api.socket", text, values::socket)? },
        None => defaults.api,
    };
    let mut policy = check.policy(&raw.policy, defaults.policy)?;
    let (capture, sizing) = check.capture(raw.capture, defaults.capture)?;
    policy.undetermined = check.undetermined(&raw.names)?.unwrap_or(policy.undetermined);
    let geo = check.geo(&raw.geo)?;
    fingerprint::seal(&mut policy, &geo);
    let mut store = check.store(&raw.store, defaults.store)?;
    if policy.is_learning() {
        // What is only added up tells nobody which rules it takes.
        store.record = RecordMode::All;
    }
    Ok(Config {
        policy,
        geo,
        capture,
        sizing,
        names: check.names(&raw.names)?,
        store,
        metrics,
        log: check.log(&raw.log)?,
        api,
        host: HostConfig {
            name: check.optional("host.name", raw.host.name.as_ref(), values::host_name)?.flatten(),
        },
    })
}

impl Check<'_> {
    fn countries(&self, key: &str, texts: &[Text]) -> Result<Vec<CountryCode>, ConfigError> {
        self.set(key, texts, values::country)
    }

    /// Its fingerprint is still to be made.
    fn policy(&self, raw: &RawPolicy, defaults: Policy) -> Result<Policy, ConfigError> {
        let approved = raw.approved_countries.as_deref();
        let mode = self.optional("policy.mode", raw.mode.as_ref(), |text| {
            values::choice(text, &Mode::WORDS)
        })?;
        let basis = self.optional("policy.basis", raw.basis.as_ref(), |text| {
            values::choice(text, &Basis::WORDS)
        })?;
        let disputed = self.optional("policy.disputed", raw.disputed.as_ref(), |text| {
            values::choice(text, &Disputed::WORDS)
        })?;
        let key = "policy.unknown_country";
        let unknown = self.optional(key, raw.unknown_country.as_ref(), |text| {
            values::choice(text, &UnknownCountry::WORDS)
        })?;
        let local: Option<Vec<IpNet>> = raw
            .local_networks
            .as_deref()
            .map(|texts| self.set("policy.local_networks", texts, values::network))
            .transpose()?;
        let approved = approved.map(|texts| self.countries("policy.approved_countries", texts));
        Ok(Policy {
            mode: mode.unwrap_or(defaults.mode),
            approved_countries: approved.transpose()?.unwrap_or(defaults.approved_countries),
            basis: basis.unwrap_or(defaults.basis),
            disputed: disputed.unwrap_or(defaults.disputed),
            unknown_country: unknown.unwrap_or(defaults.unknown_country),
            undetermined: defaults.undetermined,
            trust_claims: raw.trust_claims.unwrap_or(defaults.trust_claims),
            local_networks: local.unwrap_or(defaults.local_networks),
            rules: self.rules(&raw.rule)?,
            text: Arc::from(""),
            sha256: [0; 32],
        })
    }

    fn rules(&self, raw: &[Spanned<RawRule>]) -> Result<Vec<Rule>, ConfigError> {
        let mut first: HashMap<&str, Range<usize>> = HashMap::new();
        let mut rules = Vec::with_capacity(raw.len());
        for rule in raw {
            let name = &rule.get_ref().name;
            if let Some(before) = first.insert(name.get_ref(), name.span()) {
                let place = self.sources.place(&before);
                let problem = format!("\"{}\" is a rule already at {place}", name.get_ref());
                return Err(self.wrong("policy.rule.name", &name.span(), &problem));
            }
            rules.push(self.rule(rule.get_ref())?);
        }
        Ok(rules)
    }

    fn rule(&self, raw: &RawRule) -> Result<Rule, ConfigError> {
        let key = |name: &str| format!("policy.rule.{name}");
        let name: Arc<str> =
            self.text(&key("name"), &raw.name, |text| values::rule_name(text).map(Into::into))?;
        let port = self.number(&key("port"), raw.port.as_ref(), 1, u32::from(u16::MAX))?;
        let destination = raw.destination.as_ref();
        let destination =
            self.optional(&key("destination"), destination, DestinationSelector::parse)?;
        Ok(Rule {
            name,
            allow: raw.allow,
            process: self.optional(&key("process"), raw.process.as_ref(), |text| {
                values::program(text, raw.allow)
            })?,
            unit: self.optional(&key("unit"), raw.unit.as_ref(), UnitSelector::parse)?,
            user: self.optional(&key("user"), raw.user.as_ref(), UserSelector::parse)?,
            container: self.optional(
                &key("container"),
                raw.container.as_ref(),
                ContainerSelector::parse,
            )?,
            sha256: self.optional(&key("sha256"), raw.sha256.as_ref(), parse_sha256)?,
            trust: self.trust(raw, destination.as_ref())?,
            destination,
            port: port.map(|port| port as u16),
            transport: self.optional(&key("transport"), raw.transport.as_ref(), |text| {
                Transport::parse(text).ok_or_else(|| {
                    format!(
                        "\"{text}\" is no transport; write tcp, udp, icmp, ... or a protocol number"
                    )
                })
            })?,
            country: match raw.country.as_deref() {
                Some([]) => {
                    let problem = "an empty list would match every country; leave the key out";
                    return Err(self.wrong(&key("country"), &raw.name.span(), problem));
                }
                texts => self.countries(&key("country"), texts.unwrap_or_default())?,
            },
            operator: self.optional(
                &key("operator"),
                raw.operator.as_ref(),
                OperatorSelector::parse,
            )?,
        })
    }

    fn geo(&self, raw: &RawGeo) -> Result<Geo, ConfigError> {
        let database = self.optional("geo.database", raw.database.as_ref(), values::database)?;
        let key = "geo.operator_database";
        let operators = self.optional(key, raw.operator_database.as_ref(), values::database)?;
        let defaults = Config::builtin().geo;
        let paths = |key, texts: Option<&[Text]>, default| {
            let each = |text| self.text(key, text, values::absolute);
            texts.map_or(Ok(default), |texts| texts.iter().map(each).collect())
        };
        let mut first: HashMap<IpNet, Range<usize>> = HashMap::new();
        let mut overrides = Vec::with_capacity(raw.overrides.len());
        for it in &raw.overrides {
            let it = self.an_override(it)?;
            let span = it.1;
            if let Some(before) = first.insert(it.0.network, span.clone()) {
                let place = self.sources.place(&before);
                let problem = format!("{} has an override already at {place}", it.0.network);
                return Err(self.wrong("geo.override.network", &span, &problem));
            }
            overrides.push(it.0);
        }
        Ok(Geo {
            database: database.flatten(),
            operator_database: operators.flatten(),
            folders: paths("geo.folders", raw.folders.as_deref(), defaults.folders)?,
            update_from: paths(
                "geo.update_from",
                raw.update_from.as_deref(),
                defaults.update_from,
            )?,
            overrides,
            operators: self.operators(&raw.operator)?,
        })
    }

    fn operators(&self, raw: &[RawOperator]) -> Result<Vec<OperatorFact>, ConfigError> {
        let key = |name: &str| format!("geo.operator.{name}");
        let mut first: HashMap<u32, Range<usize>> = HashMap::new();
        let mut facts = Vec::with_capacity(raw.len());
        for it in raw {
            let span = it.asn.span();
            let asn = values::within(*it.asn.get_ref(), 1, u32::MAX)
                .map_err(|problem| self.wrong(&key("asn"), &span, &problem))?;
            if let Some(before) = first.insert(asn, span.clone()) {
                let place = self.sources.place(&before);
                let problem = format!("AS{asn} is described already at {place}");
                return Err(self.wrong(&key("asn"), &span, &problem));
            }
            let country = self.optional(&key("country"), it.country.as_ref(), values::country)?;
            let name = self.optional(&key("name"), it.name.as_ref(), values::free_text)?;
            if country.is_none() && name.is_none() && it.anycast.is_none() {
                let problem = "says nothing; give country, name or anycast";
                return Err(self.wrong("geo.operator", &span, problem));
            }
            facts.push(OperatorFact { asn, country, name, is_anycast: it.anycast });
        }
        Ok(facts)
    }

    fn an_override(
        &self,
        raw: &Spanned<RawOverride>,
    ) -> Result<(Override, Range<usize>), ConfigError> {
        let it = raw.get_ref();
        let key = "geo.override.operator";
        let operator = self.optional(key, it.operator.as_ref(), values::free_text)?;
        let found = Override {
            network: self.text("geo.override.network", &it.network, values::network)?,
            country: self.optional("geo.override.country", it.country.as_ref(), values::country)?,
            operator,
            asn: self.number("geo.override.asn", it.asn.as_ref(), 1, u32::MAX)?,
        };
        if found.country.is_none() && found.operator.is_none() && found.asn.is_none() {
            let problem = "says nothing; give country, operator or asn";
            return Err(self.wrong("geo.override", &it.network.span(), problem));
        }
        Ok((found, it.network.span()))
    }

    fn capture(
        &self,
        raw: RawCapture,
        defaults: Capture,
    ) -> Result<(Capture, Sizing), ConfigError> {
        let key = "capture.interfaces";
        let interfaces = match raw.interfaces.map(|it| (it.span(), it.into_inner())) {
            None => defaults.interfaces,
            Some((_, RawInterfaces::Word(word))) if word == "auto" => None,
            Some((span, RawInterfaces::Word(word))) => {
                let problem = format!("\"{word}\" is not \"auto\"; write a list: [\"{word}\"]");
                return Err(self.wrong(key, &span, &problem));
            }
            Some((span, RawInterfaces::List(names))) => {
                let names = names.iter().map(|name| values::interface(name)).collect();
                Some(Result::map_err(names, |problem: String| self.wrong(key, &span, &problem))?)
            }
        };
        let cgroup = self.optional("capture.cgroup", raw.cgroup.as_ref(), values::optional_path)?;
        let key = "capture.ring_buffer";
        let ring = self.optional(key, raw.ring_buffer.as_ref(), values::ring)?.flatten();
        let flows = self.flows(raw.max_flows.as_ref())?;
        let each = raw.self_test.as_ref();
        let each = self.optional("capture.self_test", each, values::optional_duration)?;
        let sizing = Sizing {
            is_ring_automatic: ring.is_none(),
            are_flows_automatic: flows.is_none(),
            memory: None,
        };
        let capture = Capture {
            interfaces,
            cgroup: cgroup.unwrap_or(defaults.cgroup),
            ring_bytes: ring.unwrap_or(defaults.ring_bytes),
            max_flows: flows.unwrap_or(defaults.max_flows),
            self_test: each.unwrap_or(defaults.self_test),
        };
        Ok((capture, sizing))
    }

    /// `None`: as many as fit.
    fn flows(&self, raw: Option<&Spanned<RawNumber>>) -> Result<Option<u32>, ConfigError> {
        const KEY: &str = "capture.max_flows";
        let Some(raw) = raw else { return Ok(None) };
        match raw.get_ref() {
            RawNumber::Word(word) if word == "auto" => Ok(None),
            RawNumber::Word(word) => {
                let problem = format!("\"{word}\" is not \"auto\"; write a number without quotes");
                Err(self.wrong(KEY, &raw.span(), &problem))
            }
            RawNumber::Number(number) => {
                let number = Spanned::new(raw.span(), *number);
                self.number(KEY, Some(&number), FLOWS_LEAST, FLOWS_MOST)
            }
        }
    }

    fn store(&self, raw: &RawStore, defaults: StoreConfig) -> Result<StoreConfig, ConfigError> {
        let record = self.optional("store.record", raw.record.as_ref(), |text| {
            values::choice(text, &RecordMode::WORDS)
        })?;
        let retention = raw.retention.as_ref();
        let retention = self.optional("store.retention", retention, values::duration)?;
        let bytes = raw.max_size.as_ref();
        let bytes = self.optional("store.max_size", bytes, values::store_bytes)?;
        let sync = self.optional("store.sync", raw.sync.as_ref(), values::duration)?;
        let path = self.optional("store.path", raw.path.as_ref(), values::absolute)?;
        Ok(StoreConfig {
            path: path.unwrap_or(defaults.path),
            record: record.unwrap_or(defaults.record),
            retention: retention.unwrap_or(defaults.retention),
            max_bytes: bytes.unwrap_or(defaults.max_bytes),
            sync: sync.unwrap_or(defaults.sync),
            shipping: self.shipping(raw)?,
        })
    }

    fn shipping(&self, raw: &RawStore) -> Result<Option<Shipping>, ConfigError> {
        let keep = raw.keep_unshipped.as_ref();
        let keep = self.optional("store.keep_unshipped", keep, values::kept_bytes)?;
        let told = self.optional("store.shipper", raw.shipper.as_ref(), values::absolute)?;
        let told = told.unwrap_or_else(|| SHIPPER.into());
        let keep = keep.filter(|bytes| *bytes > 0);
        Ok(keep.map(|keep_bytes| Shipping { keep_bytes, told }))
    }
}

/// Where the unit of `geofenced-fleet ship` keeps what it sent.
const SHIPPER: &str = "/var/lib/geofenced-fleet";
const FLOWS_LEAST: u32 = 1 << 10;
const FLOWS_MOST: u32 = 1 << 24;
