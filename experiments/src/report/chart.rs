//! Charts of curves with axes, of bars, and of ratios. A chart fits the width of a phone; wide pages show several charts
//! side by side. The labels of bars and ratios are above them, so they need no space at the side.

use itertools::Itertools;

use crate::judge::stats::Ratio;
use crate::report::number::{self, short};
use crate::report::svg::{Svg, in_rows, text_width};

const WIDTH: f64 = 420.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 14.0;
const BELOW: f64 = 40.0;
const LEGEND_ROW: f64 = 17.0;

/// The title of an axis, and the function that makes the axis around sorted values.
pub(crate) type Scale = (&'static str, fn(&[f64]) -> Axis);

/// An axis: range and ticks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    log: bool,
    min: f64,
    max: f64,
    ticks: Vec<(f64, String)>,
}

impl Axis {
    /// Makes an axis from 0 to a round number above every value.
    pub(crate) fn from_zero(sorted: &[f64]) -> Self {
        let most = sorted.last().copied().filter(|most| *most > 0.0).unwrap_or(1.0);
        let power = 10f64.powf((most / 5.0).log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power);
        let step = steps.into_iter().find(|step| most / step <= 5.0).unwrap_or(10.0 * power);
        let count = (most / step).ceil().max(1.0);
        let ticks = (0..=count as u32).map(|i| with_label(step * f64::from(i))).collect();
        Axis { log: false, min: 0.0, max: step * count, ticks }
    }

    /// Makes a logarithmic axis around all positive values. The ticks are at 1, 2 and 5 of each decade, or only at 1
    /// when there are many decades.
    pub(crate) fn log(sorted: &[f64]) -> Self {
        let least = sorted.iter().copied().find(|v| *v > 0.0);
        let (least, most) = least.zip(sorted.last().copied()).unwrap_or((1.0, 10.0));
        let decades = least.log10().floor() as i32..=most.log10().ceil() as i32;
        let all: Vec<f64> = decades.flat_map(|d| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(d))).collect();
        let min = all.iter().copied().filter(|t| *t <= least * 1.0001).fold(all[0], f64::max);
        let max = all.iter().copied().find(|t| *t >= most * 0.9999 && *t > min).unwrap_or(most * 2.0);
        let round = |t: f64| (t.log10() - t.log10().round()).abs() < 1e-6;
        let inside = all.into_iter().filter(|t| (min..=max * 1.0001).contains(t));
        let ticks = inside.filter(|t| max / min < 300.0 || round(*t)).map(with_label).collect();
        Axis { log: true, min, max, ticks }
    }

    /// Makes an axis from 0 with a tick at each value and nowhere else.
    pub(crate) fn from_zero_at(sorted: &[f64]) -> Self {
        Axis { ticks: sorted.iter().copied().map(with_label).collect(), ..Axis::from_zero(sorted) }
    }

    /// Makes a logarithmic axis with a tick at each value and nowhere else.
    pub(crate) fn log_at(sorted: &[f64]) -> Self {
        let (min, max) = (sorted.first().unwrap_or(&1.0) / 1.15, sorted.last().unwrap_or(&10.0) * 1.15);
        Axis { log: true, min, max, ..Axis::from_zero_at(sorted) }
    }

    /// Makes a logarithmic axis from 1 to the highest value, for shares of requests.
    pub(crate) fn percentiles(sorted: &[f64]) -> Self {
        const TICKS: [(f64, &str); 6] =
            [(1.0, "0"), (2.0, "50 %"), (10.0, "90 %"), (20.0, "95 %"), (100.0, "99 %"), (1000.0, "99.9 %")];
        let max = sorted.last().copied().unwrap_or(2.0).max(2.0);
        let inside = TICKS.into_iter().filter(|(value, _)| *value <= max * 1.01);
        let ticks = inside.map(|(value, text)| (value, text.to_owned())).collect();
        Axis { log: true, min: 1.0, max, ticks }
    }

    /// Returns the place of a value on the axis: 0 at the low end, 1 at the high end.
    fn place(&self, value: f64) -> f64 {
        let place = |value: f64| if self.log { value.max(1e-12).log10() } else { value };
        let (min, max) = (place(self.min), place(self.max));
        ((place(value) - min) / (max - min)).clamp(0.0, 1.0)
    }
}

/// Returns a tick with its label. Rounding removes errors such as that of 3 × 0.1.
fn with_label(value: f64) -> (f64, String) {
    let round = |value: f64| (value * 1e9).round() / 1e9;
    let label = match value.abs() {
        v if v >= 1e6 => format!("{}M", round(value / 1e6)),
        v if v >= 1e4 => format!("{}k", round(value / 1e3)),
        _ => round(value).to_string(),
    };
    (value, label)
}

/// The style of a curve, without its colour. Its name in small letters is the CSS class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stroke {
    Solid,
    Dashed,
    Dotted,
    /// Thin and without points. A curve without a name is not in the legend.
    Thin,
}

/// A value, with its spread if known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) spread: Option<(f64, f64)>,
    /// True for a value that failed a gate. Its point is drawn hollow.
    pub(crate) invalid: bool,
}

impl Point {
    pub(crate) fn new(x: f64, y: f64) -> Self {
        Point { x, y, spread: None, invalid: false }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) colour: usize,
    pub(crate) stroke: Stroke,
    pub(crate) points: Vec<Point>,
}

/// Curves over two axes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Chart {
    /// The titles of x and y.
    pub(crate) titles: [&'static str; 2],
    pub(crate) axes: [Axis; 2],
    pub(crate) series: Vec<Series>,
    /// Height of the area between the axes.
    pub(crate) inside: f64,
    /// The heading above the chart, to tell several charts apart.
    pub(crate) heading: String,
}

impl Chart {
    /// Makes a chart with axes around all points, their spreads included.
    pub(crate) fn new((title, x): Scale, (side, y): Scale, series: Vec<Series>) -> Self {
        let points = || series.iter().flat_map(|series| &series.points);
        let top = |point: &Point| point.spread.map_or(point.y, |(_, high)| high.max(point.y));
        let xs = points().map(|point| point.x).filter(|x| x.is_finite()).sorted_by(f64::total_cmp).dedup();
        let ys = points().map(top).filter(|y| y.is_finite()).sorted_by(f64::total_cmp);
        let axes = [x(&xs.collect_vec()), y(&ys.collect_vec())];
        Chart { titles: [title, side], axes, series, inside: 200.0, heading: String::new() }
    }

    /// Draws the series below each heading in a chart of its own, all with the same axes.
    pub(crate) fn alike(x: Scale, y: Scale, inside: f64, parts: Vec<(String, Vec<Series>)>) -> Option<Svg> {
        let whole = Chart::new(x, y, parts.iter().flat_map(|(_, series)| series.clone()).collect());
        let chart = |(heading, series)| Chart { heading, series, inside, ..whole.clone() };
        Chart::stacked(parts.into_iter().map(chart))
    }

    /// Draws charts one below the other. The first chart has the legend.
    pub(crate) fn stacked(charts: impl IntoIterator<Item = Chart>) -> Option<Svg> {
        let mut drawn: Vec<Svg> = Vec::new();
        for mut chart in charts {
            let names = chart.series.iter_mut().map(|series| &mut series.name);
            names.filter(|_| !drawn.is_empty()).for_each(String::clear);
            drawn.extend(chart.draw());
        }
        (!drawn.is_empty()).then(|| Svg::stacked(&drawn))
    }

    /// Draws the chart; None when no curve has two points.
    pub(crate) fn draw(&self) -> Option<Svg> {
        self.series.iter().find(|series| series.points.len() > 1)?;
        let heading = if self.heading.is_empty() { 0.0 } else { 18.0 };
        let named = || self.series.iter().filter(|series| !series.name.is_empty());
        let places = legend_places(named());
        let rows = places.last().map_or(0, |(_, row)| row + 1);
        let top = heading + rows as f64 * LEGEND_ROW + 22.0;
        let mut svg = Svg::new(WIDTH, top + self.inside + BELOW);
        if heading > 0.0 {
            svg.text("strong", (4.0, 14.0), &self.heading);
        }
        for (Series { name, colour, stroke, .. }, (x, row)) in named().zip(places) {
            let y = heading + row as f64 * LEGEND_ROW + 13.0;
            let stroke = if *stroke == Stroke::Thin { Stroke::Solid } else { *stroke };
            svg.line(&class(stroke, *colour), (x, y - 4.0), (x + 20.0, y - 4.0));
            svg.text("", (x + 26.0, y), name);
        }
        svg.text("muted", (4.0, top - 9.0), self.titles[1]);
        self.axes(&mut svg, top);
        self.series.iter().for_each(|series| self.curve(&mut svg, top, series));
        Some(svg)
    }

    fn place(&self, top: f64, x: f64, y: f64) -> (f64, f64) {
        let [x, y] = [self.axes[0].place(x), self.axes[1].place(y)];
        (LEFT + x * (WIDTH - LEFT - RIGHT), top + (1.0 - y) * self.inside)
    }

    fn axes(&self, svg: &mut Svg, top: f64) {
        let bottom = top + self.inside;
        let mut last = f64::INFINITY;
        for (value, text) in &self.axes[1].ticks {
            let (_, y) = self.place(top, 0.0, *value);
            // A tick without room for its label is left out.
            if last - y >= 13.0 {
                svg.line("grid", (LEFT, y), (WIDTH - RIGHT, y));
                svg.text("muted end", (LEFT - 6.0, y + 4.0), text);
                last = y;
            }
        }
        let mut free = 0.0;
        for (value, text) in &self.axes[0].ticks {
            let (x, _) = self.place(top, *value, 0.0);
            let half = text_width(text, 11.0) / 2.0;
            let at = x.min(WIDTH - half - 1.0);
            if at - half >= free {
                svg.line("axis", (x, bottom), (x, bottom + 4.0));
                svg.text("muted middle", (at, bottom + 16.0), text);
                free = at + half + 4.0;
            }
        }
        svg.line("axis", (LEFT, bottom), (WIDTH - RIGHT, bottom));
        let middle = (LEFT + WIDTH - RIGHT) / 2.0;
        svg.text("muted middle", (middle, bottom + 33.0), self.titles[0]);
    }

    fn curve(&self, svg: &mut Svg, top: f64, series: &Series) {
        let colour = format!("s{}", series.colour);
        let places: Vec<(f64, f64)> = series.points.iter().map(|p| self.place(top, p.x, p.y)).collect();
        // A band joins only neighbours that both have a spread.
        for points in series.points.chunk_by(|a, b| a.spread.is_some() == b.spread.is_some()) {
            let spreads = points.iter().filter_map(|p| Some((p.x, p.spread?)));
            let low = spreads.clone().map(|(x, (low, _))| self.place(top, x, low));
            let high = spreads.rev().map(|(x, (_, high))| self.place(top, x, high));
            let around = low.chain(high).collect_vec();
            if around.len() > 2 {
                svg.path("polygon", &format!("area {colour}"), &around);
            }
        }
        if places.len() > 1 {
            svg.path("polyline", &class(series.stroke, series.colour), &places);
        }
        if series.stroke == Stroke::Thin && places.len() > 1 {
            return;
        }
        for (point, place) in series.points.iter().zip(places) {
            let said = format!("{}: {} at {}", series.name, short(point.y), short(point.x));
            let class = if point.invalid { "hollow" } else { "dot" };
            svg.circle(&format!("{class} {colour}"), place, 3.5, &said);
        }
    }
}

fn class(stroke: Stroke, colour: usize) -> String {
    format!("curve s{colour} {stroke:?}").to_lowercase()
}

/// Returns the place of each series in the legend: x and row.
fn legend_places<'a>(named: impl Iterator<Item = &'a Series>) -> Vec<(f64, usize)> {
    in_rows(named.map(|series| 26.0 + text_width(&series.name, 12.0) + 14.0), WIDTH + 10.0)
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) label: String,
    pub(crate) values: Vec<f64>,
    /// The text at the end of the bar.
    pub(crate) said: String,
}

/// Draws bars from a common 0; None without bars. `parts` has the name and the CSS classes of each part.
pub(crate) fn bars(title: &str, parts: &[(&str, &str)], bars: &[Bar]) -> Option<Svg> {
    const ROW: f64 = 38.0;
    bars.first()?;
    let most = bars.iter().map(|bar| bar.values.iter().sum()).fold(0.0, f64::max).max(1e-9);
    let room = bars.iter().map(|bar| text_width(&bar.said, 12.0)).fold(0.0, f64::max) + 16.0;
    let places = in_rows(parts.iter().map(|(name, _)| 19.0 + text_width(name, 11.0) + 12.0), WIDTH);
    let top = 22.0 + places.last().map_or(0, |(_, row)| row + 1) as f64 * 17.0;
    let mut svg = Svg::new(WIDTH, top + ROW * bars.len() as f64 + 8.0);
    svg.text("muted", (4.0, 14.0), title);
    for ((name, class), (x, row)) in parts.iter().zip(places) {
        let y = 22.0 + row as f64 * 17.0;
        svg.rect(class, (x, y), (14.0, 10.0), "");
        svg.text("small", (x + 19.0, y + 9.5), name);
    }
    for (i, bar) in bars.iter().enumerate() {
        let y = top + i as f64 * ROW;
        svg.text("", (4.0, y + 14.0), &bar.label);
        let mut x = 4.0;
        for ((name, class), value) in parts.iter().zip(&bar.values) {
            let width = value / most * (WIDTH - 8.0 - room);
            svg.rect(class, (x, y + 19.0), (width, 13.0), &format!("{name}: {}", short(*value)));
            x += width;
        }
        svg.text("small", (x + 6.0, y + 30.0), &bar.said);
    }
    Some(svg)
}

/// Draws ratios around 1 on a logarithmic scale, with the band of the noise floor. A line has its label, its colour and
/// its ratio. None without lines.
pub(crate) fn ratios(title: &str, lines: &[(String, usize, Ratio)], band: Option<(f64, f64)>) -> Option<Svg> {
    const ROW: f64 = 36.0;
    const TOP: f64 = 24.0;
    lines.first()?;
    let values = lines.iter().flat_map(|(.., Ratio { ratio, interval, blocks })| {
        let (low, high) = interval.unwrap_or((*ratio, *ratio));
        blocks.iter().copied().chain([*ratio, low, high])
    });
    let reach =
        values.filter(|v| v.is_finite() && *v > 0.0).map(|v| v.ln().abs()).fold(0.05, f64::max) * 1.08;
    let bottom = TOP + ROW * lines.len() as f64 + 6.0;
    let mut svg = Svg::new(WIDTH, bottom + 26.0);
    let x = |ratio: f64| WIDTH / 2.0 + ratio.ln() / reach * (WIDTH / 2.0 - 22.0);
    svg.text("muted", (4.0, 14.0), title);
    if let Some((low, high)) = band {
        let said = format!("A/A: {} to {}", number::ratio(low), number::ratio(high));
        svg.rect("band", (x(low), TOP), (x(high) - x(low), bottom - TOP), &said);
    }
    for tick in ratio_ticks(reach) {
        let class = if (tick - 1.0).abs() < 1e-9 { "axis" } else { "grid" };
        svg.line(class, (x(tick), TOP), (x(tick), bottom));
        svg.text("muted middle", (x(tick), bottom + 16.0), &format!("{tick}×"));
    }
    for (i, (label, colour, Ratio { ratio, interval, blocks })) in lines.iter().enumerate() {
        let y = TOP + i as f64 * ROW;
        svg.text("small halo", (4.0, y + 13.0), label);
        let y = y + 25.0;
        if let Some((low, high)) = interval {
            svg.line(&format!("curve s{colour}"), (x(*low), y), (x(*high), y));
        }
        for block in blocks {
            svg.circle(&format!("hollow s{colour}"), (x(*block), y), 3.0, &number::ratio(*block));
        }
        svg.circle(&format!("dot s{colour}"), (x(*ratio), y), 5.0, &number::ratio(*ratio));
    }
    Some(svg)
}

/// Returns at most five ticks; 1 is always one of them.
fn ratio_ticks(reach: f64) -> Vec<f64> {
    let sets: [[f64; 5]; 5] = [
        [0.95, 0.975, 1.0, 1.025, 1.05],
        [0.8, 0.9, 1.0, 1.1, 1.25],
        [0.5, 0.7, 1.0, 1.4, 2.0],
        [0.2, 0.5, 1.0, 2.0, 5.0],
        [0.01, 0.1, 1.0, 10.0, 100.0],
    ];
    let set = sets.into_iter().find(|set| set[4].ln() >= reach * 0.45).unwrap_or(sets[4]);
    set.into_iter().filter(|tick| tick.ln().abs() <= reach).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_few_ticks_with_short_labels_around_their_values() {
        for most in [0.003, 0.9, 1.0, 7.0, 42.0, 99.0, 101.0, 12_345.0, 8e6] {
            let axis = Axis::from_zero(&[most]);
            let is_close = axis.max >= most && axis.max <= most * 2.01;
            assert!(is_close && (2..=6).contains(&axis.ticks.len()), "{axis:?}");
            let axis = Axis::log(&[most, most * 30.0]);
            assert!(axis.min <= most && axis.max >= most * 30.0 && axis.ticks.len() >= 2, "{axis:?}");
        }
        for axis in [Axis::from_zero(&[]), Axis::log(&[]), Axis::log(&[5.0])] {
            assert!(axis.place(5.0).is_finite() && axis.ticks.len() >= 2, "{axis:?}");
        }
        let cases =
            [(0.0, "0"), (0.1 * 3.0, "0.3"), (20.0, "20"), (2500.0, "2500"), (25e3, "25k"), (2.5e6, "2.5M")];
        for (value, expected) in cases {
            assert_eq!(with_label(value).1, expected);
        }
        for reach in [0.05, 0.1, 0.3, 0.8, 2.0, 6.0] {
            let ticks = ratio_ticks(reach);
            assert!(ticks.contains(&1.0) && (3..=5).contains(&ticks.len()), "{reach}: {ticks:?}");
        }
    }

    #[test]
    fn a_long_legend_wraps() {
        let series =
            Series { name: "Neraca, thread engine".into(), colour: 0, stroke: Stroke::Solid, points: vec![] };
        let places = legend_places([&series; 5].into_iter());
        assert!(places[4].1 > 0);
        for (x, _) in places {
            assert!(x + 26.0 + text_width(&series.name, 12.0) <= WIDTH, "{x}");
        }
    }

    #[test]
    fn a_bar_is_as_long_as_its_parts() {
        let bar = |value| Bar { label: "a".into(), values: vec![value], said: "5".into() };
        let text = bars("t", &[("user", "bar s0")], &[bar(10.0), bar(5.0)]).unwrap().inline("id", "x");
        for width in ["388.7", "194.3"] {
            assert!(text.contains(&format!("width=\"{width}\" height=\"13\"")), "{width} in {text}");
        }
    }
}
