//! What the files say, before anybody asks whether it makes sense: every key optional, every value
//! with its place. Reads and merges files; judges nothing but their form.

use std::{
    fmt::Display,
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue, Deserializer},
};

use super::{ConfigError, DEFAULT_PATH, values};

/// A string of a file, and where it stands.
pub(super) type Text = Spanned<String>;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) policy: RawPolicy,
    pub(super) geo: RawGeo,
    pub(super) capture: RawCapture,
    pub(super) names: RawNames,
    pub(super) store: RawStore,
    pub(super) metrics: RawMetrics,
    pub(super) log: RawLog,
    pub(super) api: RawApi,
    pub(super) host: RawHost,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPolicy {
    pub(super) mode: Option<Text>,
    pub(super) approved_countries: Option<Vec<Text>>,
    pub(super) basis: Option<Text>,
    pub(super) disputed: Option<Text>,
    pub(super) unknown_country: Option<Text>,
    pub(super) trust_claims: Option<bool>,
    pub(super) local_networks: Option<Vec<Text>>,
    pub(super) rule: Vec<Spanned<RawRule>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRule {
    pub(super) name: Text,
    pub(super) allow: bool,
    pub(super) process: Option<Text>,
    pub(super) unit: Option<Text>,
    pub(super) user: Option<Text>,
    pub(super) container: Option<Text>,
    pub(super) sha256: Option<Text>,
    pub(super) destination: Option<Text>,
    pub(super) trust: Option<Text>,
    pub(super) port: Option<Spanned<i64>>,
    pub(super) transport: Option<Text>,
    pub(super) country: Option<Vec<Text>>,
    pub(super) operator: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawGeo {
    pub(super) database: Option<Text>,
    pub(super) operator_database: Option<Text>,
    pub(super) folders: Option<Vec<Text>>,
    pub(super) update_from: Option<Vec<Text>>,
    #[serde(rename = "override")]
    pub(super) overrides: Vec<Spanned<RawOverride>>,
    pub(super) operator: Vec<RawOperator>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOverride {
    pub(super) network: Text,
    pub(super) country: Option<Text>,
    pub(super) operator: Option<Text>,
    pub(super) asn: Option<Spanned<i64>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOperator {
    pub(super) asn: Spanned<i64>,
    pub(super) country: Option<Text>,
    pub(super) name: Option<Text>,
    pub(super) anycast: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawCapture {
    pub(super) interfaces: Option<Spanned<RawInterfaces>>,
    pub(super) cgroup: Option<Text>,
    pub(super) ring_buffer: Option<Text>,
    pub(super) max_flows: Option<Spanned<RawNumber>>,
    pub(super) self_test: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "write \"auto\", or a list of interface names")]
pub(super) enum RawInterfaces {
    Word(String),
    List(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "write \"auto\", or a number")]
pub(super) enum RawNumber {
    Word(String),
    Number(i64),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawNames {
    pub(super) enabled: Option<bool>,
    pub(super) queries: Option<bool>,
    pub(super) resolvers: Option<Vec<Text>>,
    pub(super) undetermined: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawStore {
    pub(super) path: Option<Text>,
    pub(super) record: Option<Text>,
    pub(super) retention: Option<Text>,
    pub(super) max_size: Option<Text>,
    pub(super) sync: Option<Text>,
    pub(super) keep_unshipped: Option<Text>,
    pub(super) shipper: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMetrics {
    pub(super) listen: Option<Text>,
    pub(super) page: Option<bool>,
    pub(super) top: Option<Spanned<i64>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) violations: Option<Text>,
    pub(super) format: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawApi {
    pub(super) socket: Option<Text>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawHost {
    pub(super) name: Option<Text>,
}

/// The files in the order in which they count, as if they were one text: a span of any value leads
/// to its file and line.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<File>);

#[derive(Debug)]
struct File {
    path: PathBuf,
    text: String,
    /// Where it begins in the one text.
    base: usize,
}

impl Sources {
    /// `None` is the default path, where nothing need be.
    pub(super) fn find(path: Option<&Path>) -> Result<Self, ConfigError> {
        match path {
            Some(path) => Self::read(path, false),
            None => Self::read(Path::new(DEFAULT_PATH), true),
        }
    }

    /// `main` (where it may be missing, if it is), then `config.d/*.toml` beside it in name order.
    pub(super) fn read(main: &Path, may_be_missing: bool) -> Result<Self, ConfigError> {
        let mut sources = Self::default();
        match fs::read_to_string(main) {
            Ok(text) => sources.push(main, text),
            Err(error) if may_be_missing && error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ConfigError::Unreadable { path: main.to_owned(), error }),
        }
        for path in drop_ins(main)? {
            match fs::read_to_string(&path) {
                Ok(text) => sources.push(&path, text),
                Err(error) => return Err(ConfigError::Unreadable { path, error }),
            }
        }
        Ok(sources)
    }

    pub(super) fn push(&mut self, path: &Path, text: String) {
        let base = self.0.last().map_or(0, |last| last.base + last.text.len() + 1);
        self.0.push(File { path: path.to_owned(), text, base });
    }

    /// Each file's path and text, in their order.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.0.iter().map(|file| (&*file.path, &*file.text))
    }

    pub(super) fn wrong(&self, span: &Range<usize>, problem: impl Display) -> ConfigError {
        let (file, line) = self.file_and_line(span);
        ConfigError::Wrong { file, line, problem: problem.to_string().replace('\n', " ") }
    }

    /// `file:line`.
    pub(super) fn place(&self, span: &Range<usize>) -> String {
        let (file, line) = self.file_and_line(span);
        format!("{}:{line}", file.display())
    }

    pub(super) fn file_and_line(&self, span: &Range<usize>) -> (PathBuf, usize) {
        let index = self.0.partition_point(|source| source.base <= span.start).saturating_sub(1);
        self.0.get(index).map_or((PathBuf::new(), 1), |source| {
            let before = source.text.as_bytes().iter().take(span.start - source.base);
            (source.path.clone(), 1 + before.filter(|byte| **byte == b'\n').count())
        })
    }

    /// Each file by itself, then all as one: of a value the last file's counts, of rules and
    /// overrides all.
    pub(super) fn parse(&self) -> Result<RawConfig, ConfigError> {
        let mut merged = DeTable::new();
        for source in &self.0 {
            let (table, errors) = DeTable::parse_recoverable(&source.text);
            let start = |error: &toml::de::Error| error.span().unwrap_or_default();
            if let Some(first) = errors.iter().min_by_key(|error| start(error).start) {
                return Err(self.wrong(&shifted(&start(first), source.base), first.message()));
            }
            let table = shift_table(table.into_inner(), source.base);
            self.deserialize(&table)?;
            merge(&mut merged, table);
        }
        self.deserialize(&merged)
    }

    fn deserialize(&self, table: &DeTable<'_>) -> Result<RawConfig, ConfigError> {
        let whole = Spanned::new(0..0, table.clone());
        RawConfig::deserialize(Deserializer::from(whole)).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let key = key_at(table, &span);
            self.wrong(&span, values::form_problem(&key, error.message()))
        })
    }
}

fn drop_ins(main: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let folder = main.parent().unwrap_or(Path::new("")).join("config.d");
    let unreadable = |error| ConfigError::Unreadable { path: folder.clone(), error };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        // Editors leave hidden files while they work.
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|ending| ending == "toml") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn merge<'i>(into: &mut DeTable<'i>, from: DeTable<'i>) {
    for (key, value) in from {
        let span = value.span();
        let merged = match (
            into.remove(key.get_ref().as_ref()).map(Spanned::into_inner),
            value.into_inner(),
        ) {
            (Some(DeValue::Table(mut old)), DeValue::Table(new)) => {
                merge(&mut old, new);
                DeValue::Table(old)
            }
            (Some(DeValue::Array(old)), DeValue::Array(new))
                if is_of_tables(&old) || is_of_tables(&new) =>
            {
                DeValue::Array(old.into_iter().chain(new).collect())
            }
            (_, new) => new,
        };
        into.insert(key, Spanned::new(span, merged));
    }
}

fn is_of_tables(array: &DeArray<'_>) -> bool {
    !array.is_empty() && array.iter().all(|value| matches!(value.get_ref(), DeValue::Table(_)))
}

fn shifted(span: &Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}

fn shift_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let entries = table.into_iter().map(|(key, value)| {
        let span = shifted(&key.span(), by);
        (Spanned::new(span, key.into_inner()), shift(value, by))
    });
    entries.collect()
}

fn shift(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = shifted(&value.span(), by);
    let value = match value.into_inner() {
        DeValue::Array(array) => {
            DeValue::Array(array.into_iter().map(|value| shift(value, by)).collect())
        }
        DeValue::Table(table) => DeValue::Table(shift_table(table, by)),
        other => other,
    };
    Spanned::new(span, value)
}

/// The dotted name of the innermost key at `span`.
fn key_at(table: &DeTable<'_>, span: &Range<usize>) -> String {
    let holds = |at: &Range<usize>| at.start <= span.start && span.end <= at.end;
    for (key, value) in table {
        let inside = match value.get_ref() {
            DeValue::Table(inner) => key_at(inner, span),
            DeValue::Array(array) => {
                let tables = array.iter().filter_map(|value| match value.get_ref() {
                    DeValue::Table(inner) => Some(inner),
                    _ => None,
                });
                tables
                    .map(|inner| key_at(inner, span))
                    .find(|it| !it.is_empty())
                    .unwrap_or_default()
            }
            _ => String::new(),
        };
        if !inside.is_empty() {
            return format!("{}.{inside}", key.get_ref());
        }
        if holds(&key.span()) || holds(&value.span()) {
            return key.get_ref().to_string();
        }
    }
    String::new()
}
