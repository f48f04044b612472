//! Draws what was measured, with logarithmic axes. Measures nothing.

use plotters::prelude::*;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/scale.svg");
const SIZE: (u32, u32) = (900, 420);

pub(super) struct Series {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

impl Series {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, points: Vec::new() }
    }

    /// Bytes that each took beyond the last row: what the first ones take is of whatever they need first.
    pub(super) fn each(&self, count: u64, bytes: u64) -> String {
        let Some((fewer, megabytes)) = self.points.last() else { return "-".to_owned() };
        format!("{:.0}", (bytes as f64 - megabytes * 1e6) / (count as f64 - fewer))
    }

    /// A logarithm has no zero.
    pub(super) fn add(&mut self, count: u64, value: f64) {
        self.points.push((count as f64, value.max(0.01)));
    }
}

pub(super) fn draw(memory: &[Series], time: &[Series]) {
    let root = SVGBackend::new(FILE, SIZE).into_drawing_area();
    root.fill(&WHITE).expect("draw");
    let (left, right) = root.split_horizontally(SIZE.0 / 2);
    for (area, title, series) in [(left, "memory, MB", memory), (right, "time, ms", time)] {
        let most = series.iter().flat_map(|it| &it.points).map(|it| it.1).fold(10.0, f64::max);
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 16))
            .margin(10)
            .x_label_area_size(35)
            .y_label_area_size(50)
            .build_cartesian_2d((10f64..1e6).log_scale(), (0.01..2.0 * most).log_scale())
            .expect("axes");
        chart.configure_mesh().x_desc("how many").draw().expect("axes");
        for (nth, one) in series.iter().enumerate() {
            let colour = Palette99::pick(nth).to_rgba();
            let line = LineSeries::new(one.points.clone(), colour.stroke_width(2)).point_size(3);
            chart
                .draw_series(line)
                .expect("a line")
                .label(one.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
        }
        chart
            .configure_series_labels()
            .border_style(BLACK)
            .background_style(WHITE)
            .position(SeriesLabelPosition::LowerRight)
            .draw()
            .expect("names");
    }
    root.present().expect("write docs/scale.svg");
    println!("\ndrawn: {FILE}");
}
