//! Draws what the queries of a dashboard were answered, where its panels stand: a picture of what is in it, not
//! of Grafana. Written where `FLEET_PICTURE` says (docs/dashboard.svg is one), else forgotten.

use std::{env, fmt::Write as _, fs};

use serde_json::Value;

/// A panel, and of each of its queries what came.
pub(crate) type Drawn = (Value, Vec<(Value, Vec<Value>)>);

/// The variable that says where it goes.
const WHERE: &str = "FLEET_PICTURE";
const COLUMN: f64 = 60.0;
const LINE: f64 = 26.0;
const COLOURS: [&str; 8] =
    ["#3274d9", "#e0752d", "#299c46", "#c4162a", "#8f3bb8", "#b7950b", "#0e8a8a", "#6d6d6d"];

pub(crate) fn draw(panels: &[Drawn]) {
    let edge = |panel: &Value| number(&panel["gridPos"]["y"]) + number(&panel["gridPos"]["h"]);
    let lines = panels.iter().map(|(panel, _)| edge(panel)).fold(0.0, f64::max);
    let (width, height) = (24.0 * COLUMN, lines * LINE);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#f4f5f5\"/>\n"
    );
    for (panel, answers) in panels {
        let at = |key: &str| number(&panel["gridPos"][key]);
        let (x, y) = (at("x") * COLUMN + 3.0, at("y") * LINE + 3.0);
        let (w, h) = (at("w") * COLUMN - 6.0, at("h") * LINE - 6.0);
        let title = escaped(panel["title"].as_str().unwrap_or_default());
        if panel["type"] == "row" {
            let (x, y) = (x + 2.0, y + 15.0);
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" font-size=\"14\">{title}</text>");
            continue;
        }
        let _ = writeln!(
            svg,
            "<g transform=\"translate({x} {y})\"><rect width=\"{w}\" height=\"{h}\" fill=\"white\" \
             stroke=\"#d8d9da\"/><text x=\"8\" y=\"18\" font-weight=\"bold\">{title}</text>"
        );
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or("short");
        match panel["type"].as_str() {
            Some("stat") => stat(&mut svg, panel, answers, (w, h)),
            Some("table") => rows(&mut svg, panel, answers, h),
            _ => curves(&mut svg, answers, unit, (w, h)),
        }
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    if let Some(path) = env::var_os(WHERE) {
        fs::write(path, svg).expect("write the picture");
    }
}

pub(crate) fn is_wanted() -> bool {
    env::var_os(WHERE).is_some()
}

/// Whether anything can be drawn of it.
pub(crate) fn has_data(series: &Value) -> bool {
    let values = series["values"].as_array().into_iter().flatten();
    values.chain([&series["value"]]).any(|it| parsed(&it[1]).is_finite())
}

fn stat(svg: &mut String, panel: &Value, answers: &[(Value, Vec<Value>)], (w, h): (f64, f64)) {
    let defaults = &panel["fieldConfig"]["defaults"];
    let unit = defaults["unit"].as_str().unwrap_or("short");
    let is_whole = defaults["decimals"] == 0;
    let shown = |value: f64| told(if is_whole { value.round() } else { value }, unit);
    let value = answers.iter().flat_map(|(_, series)| series).next();
    let value = value.map_or_else(|| "-".to_owned(), |it| shown(last(it)));
    let (x, y) = (w / 2.0, h / 2.0 + 22.0);
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{y}\" font-size=\"28\" text-anchor=\"middle\" fill=\"#299c46\">{value}</text>"
    );
}

fn rows(svg: &mut String, panel: &Value, answers: &[(Value, Vec<Value>)], h: f64) {
    let series = answers.iter().flat_map(|(_, series)| series);
    let unit = &panel["fieldConfig"]["overrides"][0]["properties"][0]["value"];
    let unit = unit.as_str().unwrap_or("short");
    let mut y = 40.0;
    for series in series {
        if y > h - 6.0 {
            return;
        }
        let labels = series["metric"].as_object().into_iter().flatten();
        let shown =
            labels.filter(|(name, _)| !["__name__", "job", "commit"].contains(&name.as_str()));
        let cells: Vec<String> = shown
            .map(|(_, value)| value.as_str().unwrap_or_default().chars().take(20).collect())
            .collect();
        let row = escaped(&format!("{}   {}", cells.join("  "), told(last(series), unit)));
        let _ = writeln!(svg, "<text x=\"8\" y=\"{y}\">{row}</text>");
        y += 18.0;
    }
}

fn curves(svg: &mut String, answers: &[(Value, Vec<Value>)], unit: &str, (w, h): (f64, f64)) {
    let all: Vec<(&Value, &Value)> = answers
        .iter()
        .flat_map(|(target, series)| series.iter().map(move |it| (target, it)))
        .collect();
    let points = |series: &Value| -> Vec<(f64, f64)> {
        let values = series["values"].as_array().into_iter().flatten();
        values.map(|it| (number(&it[0]), parsed(&it[1]))).filter(|it| it.1.is_finite()).collect()
    };
    let every: Vec<(f64, f64)> = all.iter().flat_map(|(_, series)| points(series)).collect();
    let most = every.iter().map(|it| it.1).fold(0.0, f64::max);
    let from = every.iter().map(|it| it.0).fold(f64::INFINITY, f64::min);
    let to = every.iter().map(|it| it.0).fold(0.0, f64::max);
    let (left, top, right, bottom) = (60.0, 30.0, w - 10.0, h - 40.0);
    let _ = writeln!(
        svg,
        "<path d=\"M{left} {top}V{bottom}H{right}\" fill=\"none\" stroke=\"#999\"/>\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
         <text x=\"{}\" y=\"{bottom}\" text-anchor=\"end\">0</text>",
        left - 4.0,
        top + 8.0,
        told(most, unit),
        left - 4.0
    );
    let mut legend = left;
    for (index, (target, series)) in all.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let line: Vec<String> = points(series)
            .into_iter()
            .map(|(at, value)| {
                let x = left + (right - left) * (at - from) / (to - from).max(1.0);
                let y = bottom - (bottom - top) * value / most.max(f64::MIN_POSITIVE);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            line.join(" ")
        );
        let name = called(target, series);
        if legend + 6.5 * name.len() as f64 <= right {
            let y = h - 14.0;
            let name = escaped(&name);
            let _ = writeln!(svg, "<text x=\"{legend}\" y=\"{y}\" fill=\"{colour}\">{name}</text>");
            legend += 6.5 * name.len() as f64 + 14.0;
        }
    }
}

/// As the legend has it.
fn called(target: &Value, series: &Value) -> String {
    let format = target["legendFormat"].as_str().unwrap_or_default().to_owned();
    let labels = series["metric"].as_object().into_iter().flatten();
    let named = labels.fold(format, |text, (name, value)| {
        text.replace(&format!("{{{{{name}}}}}"), value.as_str().unwrap_or_default())
    });
    named.replace(" 127.0.0.1:9871", "")
}

fn told(value: f64, unit: &str) -> String {
    match unit {
        "percentunit" => format!("{:.1} %", value * 100.0),
        "dateTimeFromNow" => "just now".to_owned(),
        _ => {
            let (scaled, prefix) = match value.abs() {
                it if it >= 1e9 => (value / 1e9, "G"),
                it if it >= 1e6 => (value / 1e6, "M"),
                it if it >= 1e4 => (value / 1e3, "k"),
                _ => (value, ""),
            };
            let decimals = match scaled.abs() {
                it if it >= 100.0 => 0,
                it if it >= 10.0 => 1,
                _ => 2,
            };
            let number = format!("{scaled:.decimals$}");
            let number = match number.split_once('.') {
                Some(_) => number.trim_end_matches('0').trim_end_matches('.'),
                None => &number,
            };
            let unit = match unit {
                "bytes" => "B",
                "Bps" => "B/s",
                "s" => "s",
                _ => "",
            };
            format!("{number} {prefix}{unit}").trim_end().to_owned()
        }
    }
}

fn last(series: &Value) -> f64 {
    parsed(&series["value"][1])
}

fn parsed(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
