//! OpenMetrics 1.0 text of what a registry gathered. Writes text and nothing else.
//!
//! Source: the OpenMetrics specification, sections "Text format" and "Counter": a counter's family
//! is named without `_total`, its sample with it; the text ends in `# EOF`.

use std::fmt::{self, Write};

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Units that are the last word of a family's name, as the specification wants them.
const UNITS: [&str; 2] = ["bytes", "seconds"];

pub(super) fn encode(families: &[MetricFamily]) -> Result<String, fmt::Error> {
    let mut out = String::new();
    for family in families {
        write_family(&mut out, family)?;
    }
    out.push_str("# EOF\n");
    Ok(out)
}

fn write_family(out: &mut String, family: &MetricFamily) -> fmt::Result {
    let kind = family.get_field_type();
    let full = family.name();
    let name = if kind == MetricType::COUNTER {
        full.strip_suffix("_total").unwrap_or(full)
    } else {
        full
    };
    let word = match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "unknown",
    };
    writeln!(out, "# TYPE {name} {word}")?;
    if let Some(unit) = UNITS.iter().find(|unit| name.ends_with(&format!("_{unit}"))) {
        writeln!(out, "# UNIT {name} {unit}")?;
    }
    writeln!(out, "# HELP {name} {}", Escaped(family.help()))?;
    for metric in family.get_metric() {
        match kind {
            MetricType::COUNTER => {
                sample(out, name, "_total", metric, None, metric.get_counter().get_value())?;
            }
            MetricType::GAUGE => {
                sample(out, name, "", metric, None, metric.get_gauge().get_value())?;
            }
            MetricType::HISTOGRAM => write_histogram(out, name, metric)?,
            // Nothing here registers one of these.
            MetricType::SUMMARY | MetricType::UNTYPED => {}
        }
    }
    Ok(())
}

fn write_histogram(out: &mut String, name: &str, metric: &Metric) -> fmt::Result {
    let histogram = metric.get_histogram();
    let total = histogram.get_sample_count() as f64;
    for bucket in histogram.get_bucket() {
        let bound = bucket.upper_bound();
        if bound.is_finite() {
            sample(out, name, "_bucket", metric, Some(bound), bucket.cumulative_count() as f64)?;
        }
    }
    sample(out, name, "_bucket", metric, Some(f64::INFINITY), total)?;
    sample(out, name, "_count", metric, None, total)?;
    sample(out, name, "_sum", metric, None, histogram.get_sample_sum())
}

fn sample(
    out: &mut String,
    name: &str,
    suffix: &str,
    metric: &Metric,
    bound: Option<f64>,
    value: f64,
) -> fmt::Result {
    write!(out, "{name}{suffix}")?;
    let mut separator = '{';
    for label in metric.get_label() {
        write_label(out, separator, label)?;
        separator = ',';
    }
    if let Some(bound) = bound {
        write!(out, "{separator}le=\"{}\"", Number { value: bound, canonical: true })?;
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    writeln!(out, " {}", Number { value, canonical: false })
}

fn write_label(out: &mut String, separator: char, label: &LabelPair) -> fmt::Result {
    write!(out, "{separator}{}=\"{}\"", label.name(), Escaped(label.value()))
}

/// A value; `canonical` writes whole numbers as `1.0`, which bucket bounds must be.
struct Number {
    value: f64,
    canonical: bool,
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.value == f64::INFINITY {
            f.write_str("+Inf")
        } else if self.canonical && self.value.fract() == 0.0 {
            write!(f, "{:.1}", self.value)
        } else {
            write!(f, "{}", self.value)
        }
    }
}

struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{KnownLabels, Metrics};

    #[test]
    fn counters_histograms_and_units_are_written_as_openmetrics_wants_them() {
        let metrics = Metrics::new(&KnownLabels::default()).unwrap();
        metrics.egress_bytes_total.with_label_values(&["local", "a\"b\\c\n"]).inc_by(1500);
        metrics.event_latency_seconds.observe(0.007);
        let text = encode(&metrics.registry.gather()).unwrap();
        for line in [
            "# TYPE geofenced_egress_bytes counter",
            "# UNIT geofenced_egress_bytes bytes",
            r#"geofenced_egress_bytes_total{country="a\"b\\c\n",verdict="local"} 1500"#,
            "# TYPE geofenced_event_latency_seconds histogram",
            r#"geofenced_event_latency_seconds_bucket{le="0.01"} 1"#,
            r#"geofenced_event_latency_seconds_bucket{le="10.0"} 1"#,
            r#"geofenced_event_latency_seconds_bucket{le="+Inf"} 1"#,
            "geofenced_event_latency_seconds_sum 0.007",
            "geofenced_store_bytes 0",
        ] {
            assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with("\n# EOF\n"));
    }
}
