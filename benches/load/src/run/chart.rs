//! Results as a picture: panels of lines, one below the other, as SVG.

use std::fmt::Write as _;

use super::Report;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 36.0;
const COLOURS: [&str; 4] = ["#1f6f8b", "#c0562f", "#5b8c3a", "#7a5195"];

/// A named line.
struct Line {
    name: &'static str,
    points: Vec<(f64, f64)>,
}

struct Panel {
    title: &'static str,
    across: &'static str,
    lines: Vec<Line>,
}

impl Report {
    /// The result as a picture: a ramp by visits, churn by time, otherwise the delays.
    #[must_use]
    pub fn svg(&self) -> String {
        draw(&format!("anteroom load: {}", self.scenario), &self.panels())
    }

    fn panels(&self) -> Vec<Panel> {
        if !self.steps.is_empty() {
            let of = |value: fn(&super::Window) -> f64| {
                self.steps.iter().map(|step| (float(step.window.visits as u64), value(&step.window))).collect()
            };
            let cores = of(|window| window.server.map_or(0.0, |server| server.cores * 100.0));
            let generator = of(|window| window.generator_cpu * 100.0);
            let delay = |value: fn(&super::Window) -> f64| of(value);
            return vec![
                Panel {
                    title: "CPU, % of a core",
                    across: "visits",
                    lines: vec![Line { name: "server", points: cores }, Line { name: "generator", points: generator }],
                },
                Panel {
                    title: "added delay, ms",
                    across: "visits",
                    lines: vec![
                        Line { name: "p50", points: delay(|window| float(window.delay_us.p50) / 1e3) },
                        Line { name: "p99", points: delay(|window| float(window.delay_us.p99) / 1e3) },
                    ],
                },
                Panel {
                    title: "loss before repair, %",
                    across: "visits",
                    lines: vec![Line { name: "loss", points: of(|window| window.loss_before_repair * 100.0) }],
                },
            ];
        }
        if !self.churn.is_empty() {
            let of = |value: fn(&super::ChurnSample) -> f64| {
                self.churn.iter().map(|sample| (sample.seconds, value(sample))).collect()
            };
            return vec![
                Panel {
                    title: "memory, MB",
                    across: "seconds",
                    lines: vec![Line { name: "resident", points: of(|sample| float(sample.resident) / 1e6) }],
                },
                Panel {
                    title: "threads and descriptors",
                    across: "seconds",
                    lines: vec![
                        Line { name: "threads", points: of(|sample| float(sample.threads)) },
                        Line { name: "descriptors", points: of(|sample| float(sample.descriptors)) },
                    ],
                },
            ];
        }
        let delay = self.window.map(|window| window.delay_us).unwrap_or_default();
        let points = [(50.0, delay.p50), (95.0, delay.p95), (99.0, delay.p99), (99.9, delay.p999)];
        let points = points.into_iter().map(|(percent, micros)| (percent, float(micros) / 1e3)).collect();
        vec![Panel { title: "added delay, ms", across: "percentile", lines: vec![Line { name: "delay", points }] }]
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run fit a double")]
const fn float(count: u64) -> f64 {
    count as f64
}

fn draw(title: &str, panels: &[Panel]) -> String {
    let total = float(panels.len() as u64) * HEIGHT + 30.0;
    let mut svg = String::new();
    // Writing to a String cannot fail.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {total}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"15\">{title}</text>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate(0 {})\">", 30.0 + float(number as u64) * HEIGHT);
        draw_panel(&mut svg, panel);
        svg.push_str("</g>\n");
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_panel(svg: &mut String, panel: &Panel) {
    let points = || panel.lines.iter().flat_map(|line| &line.points);
    let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = points().map(|point| point.0).fold(f64::NEG_INFINITY, f64::max);
    let highest = ceiling(points().map(|point| point.1).fold(0.0, f64::max));
    let x = |at: f64| LEFT + (at - least) / (most - least).max(1e-9) * (WIDTH - LEFT - RIGHT);
    let y = |at: f64| HEIGHT - BOTTOM - at / highest * (HEIGHT - TOP - BOTTOM);
    // Writing to a String cannot fail.
    let _ = writeln!(svg, "<text x=\"{LEFT}\" y=\"22\" font-weight=\"bold\">{}</text>", panel.title);
    for quarter in 0..=4 {
        let value = highest * f64::from(quarter) / 4.0;
        let (at, right) = (y(value), WIDTH - RIGHT);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            short(value)
        );
    }
    let mut ticks: Vec<f64> = points().map(|point| point.0).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for tick in ticks.iter().step_by(ticks.len().div_ceil(12).max(1)) {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            x(*tick),
            HEIGHT - BOTTOM + 16.0,
            short(*tick)
        );
    }
    let (middle, bottom) = (f64::midpoint(LEFT, WIDTH - RIGHT), HEIGHT - 6.0);
    let _ = writeln!(
        svg,
        "<text x=\"{middle}\" y=\"{bottom}\" text-anchor=\"middle\" fill=\"#555\">{}</text>",
        panel.across
    );
    for ((number, line), colour) in panel.lines.iter().enumerate().zip(COLOURS.iter().cycle()) {
        let path: Vec<String> =
            line.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        );
        for point in &line.points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"{colour}\"/>",
                x(point.0),
                y(point.1)
            );
        }
        let at = WIDTH - RIGHT - 90.0 * float((panel.lines.len() - number) as u64);
        let _ = writeln!(svg, "<text x=\"{at}\" y=\"22\" fill=\"{colour}\">{}</text>", line.name);
    }
}

/// The next of 1, 2, 5, 10, 20, … at or above a value.
fn ceiling(value: f64) -> f64 {
    let mut step = 1e-3;
    loop {
        for factor in [1.0, 2.0, 5.0] {
            if step * factor >= value {
                return step * factor;
            }
        }
        step *= 10.0;
    }
}

fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_all_points_inside_its_frame() {
        let points = vec![(10.0, 3.0), (20.0, 7.5), (40.0, 0.0)];
        let panel = Panel { title: "t", across: "visits", lines: vec![Line { name: "a", points }] };
        let svg = draw("title", &[panel]);
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains("cx=\"70.0\"") && svg.contains("cx=\"700.0\""));
        // 7.5 of 10, and the ground line.
        assert!(svg.contains("cy=\"71.5\"") && svg.contains("cy=\"184.0\""));
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn scales_end_at_round_numbers() {
        assert_eq!([0.0, 3.0, 5.0, 51.0].map(ceiling), [0.001, 5.0, 5.0, 100.0]);
        assert_eq!([0.25, 100.0, 0.0].map(short), ["0.25", "100", "0"]);
    }
}
