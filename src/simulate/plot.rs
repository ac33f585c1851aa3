//! The latency over time as a plot in SVG.
use std::fmt::Write as _;

use super::row::Row;
use super::scenario::Scenario;
use super::trace::Trace;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 48.0;
const RIGHT: f64 = 210.0;
const BOTTOM: f64 = 46.0;
/// The axis of the latency: powers of ten, in milliseconds.
const LOWEST: f64 = 1.0;
const HIGHEST: f64 = 10_000.0;
/// Colours that people with colour blindness can tell apart (Okabe, Ito 2008), and grey.
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#b8a800"];

/// Draws the p99 of each second, one line for each policy. A dashed line is the same policy without a budget of retries.
pub(super) fn svg(scenario: &Scenario, rows: &[Row]) -> String {
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<style>svg{{background:#fff;color:#222}}@media(prefers-color-scheme:dark){{svg{{\
         background:#16181c;color:#ddd}}}}text{{fill:currentColor}}.axis{{stroke:currentColor;opacity:.25}}\
         path{{fill:none;stroke-width:2}}</style>\n<text x=\"{LEFT}\" y=\"24\" font-size=\"16\">{}: {}</text>\n",
        scenario.name, scenario.about
    );
    let seconds = scenario.seconds as f64;
    let x = |second: f64| LEFT + second / seconds * (WIDTH - LEFT - RIGHT);
    let y = |ms: f64| {
        let height = (ms.clamp(LOWEST, HIGHEST) / LOWEST).log10() / (HIGHEST / LOWEST).log10();
        HEIGHT - BOTTOM - height * (HEIGHT - TOP - BOTTOM)
    };
    for (ms, label) in
        [(1.0, "1 ms"), (10.0, "10 ms"), (100.0, "100 ms"), (1000.0, "1 s"), (10_000.0, "10 s")]
    {
        let (right, at) = (WIDTH - RIGHT, y(ms));
        let _ = writeln!(
            out,
            "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>"
        );
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    let step = (scenario.seconds / 5).max(1);
    for second in (0..=scenario.seconds).step_by(step as usize) {
        let (at, bottom) = (x(second as f64), HEIGHT - BOTTOM + 20.0);
        let _ = writeln!(out, "<text x=\"{at:.1}\" y=\"{bottom}\" text-anchor=\"middle\">{second} s</text>");
    }
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"{}\">p99 of the requests that arrive in each second, failed ones included</text>",
        HEIGHT - 6.0
    );
    for (n, row) in rows.iter().enumerate() {
        let colour = COLOURS[n % COLOURS.len()];
        for (trace, style) in [(Some(&row.trace), ""), (row.unlimited.as_ref(), " stroke-dasharray=\"5 4\"")]
        {
            let Some(trace) = trace else { continue };
            let _ = writeln!(out, "<path stroke=\"{colour}\"{style} d=\"{}\"/>", path(trace, x, y));
        }
        let (left, at) = (WIDTH - RIGHT + 16.0, TOP + 12.0 + 22.0 * n as f64);
        let _ = writeln!(out, "<path stroke=\"{colour}\" d=\"M{left} {at}h24\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"{}\">{}</text>", left + 32.0, at + 4.0, row);
    }
    if rows.iter().any(|row| row.unlimited.is_some()) {
        let (left, at) = (WIDTH - RIGHT + 16.0, TOP + 20.0 + 22.0 * rows.len() as f64);
        let _ =
            writeln!(out, "<path stroke=\"currentColor\" stroke-dasharray=\"5 4\" d=\"M{left} {at}h24\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"{}\">without a budget</text>", left + 32.0, at + 4.0);
    }
    out.push_str("</svg>\n");
    out
}

fn path(trace: &Trace, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    for (second, histogram) in trace.by_second.iter().enumerate() {
        if let Some(p99) = histogram.quantile(0.99) {
            let pen = if path.is_empty() { 'M' } else { 'L' };
            let _ = write!(path, "{pen}{:.1} {:.1}", x(second as f64 + 0.5), y(p99 as f64 / 1000.0));
        }
    }
    path
}
