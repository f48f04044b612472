//! The daemon's own numbers, read from the Prometheus text format.

use std::collections::BTreeMap;

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self { samples: lines.map(sample).collect() }
    }

    /// Sum of all series of `name` whose labels have these values.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = |series: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| series.get(*label).is_some_and(|it| it == value))
        };
        let series = self.samples.iter().filter(|(it, series, _)| it == name && wanted(series));
        series.map(|(_, _, value)| value).sum()
    }

    /// Whether any series of `name` is there.
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|(it, ..)| it == name)
    }

    /// The series of `name` that are not 0, for messages of tests.
    pub fn nonzero(&self, name: &str) -> Vec<String> {
        let series = self.samples.iter().filter(|(it, _, value)| it == name && *value != 0.0);
        series.map(|(_, labels, value)| format!("{labels:?} {value}")).collect()
    }
}

/// `name{label="value",...} number`
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels = labels.trim_end_matches('}').split("\",").filter(|label| !label.is_empty());
    let label = |text: &str| {
        let (name, value) = text.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        (name.to_owned(), value.trim_end_matches('"').to_owned())
    };
    (name.to_owned(), labels.map(label).collect(), value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_the_labels_asked_for() {
        let text = "# HELP a b\na{x=\"1\",y=\"p\"} 2\na{x=\"2\",y=\"p\"} 3\nab 7\n";
        let metrics = Metrics::parse(text);
        assert!((metrics.sum("a", &[]) - 5.0).abs() < f64::EPSILON);
        assert!((metrics.sum("a", &[("x", "2"), ("y", "p")]) - 3.0).abs() < f64::EPSILON);
        assert!((metrics.sum("ab", &[]) - 7.0).abs() < f64::EPSILON);
        assert_eq!(metrics.nonzero("ab"), ["{} 7"]);
    }
}
