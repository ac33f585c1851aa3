//! Charts without curves: bars, intervals, a map of small squares. Labels are above their shapes, so they need no space
//! at the side.

use crate::report::chart::WIDTH;
use crate::report::number;
use crate::report::svg::{Anchor, Svg, text_width};

/// One bar of parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) label: String,
    /// (name, class, value)
    pub(crate) parts: Vec<(String, String, f64)>,
    /// The text at the end of the bar.
    pub(crate) said: String,
}

/// Draws bars from a common 0. `legend` has the names of the CSS classes.
pub(crate) fn bars(title: &str, legend: &[(&str, &str)], bars: &[Bar]) -> Svg {
    const ROW: f64 = 38.0;
    let total = |bar: &Bar| bar.parts.iter().map(|(.., value)| value).sum::<f64>();
    let most = bars.iter().map(total).fold(0.0, f64::max).max(1e-9);
    let room = bars.iter().map(|bar| text_width(&bar.said, 12.0)).fold(0.0, f64::max) + 16.0;
    let legend_rows = rows_of(legend);
    let top = 22.0 + legend_rows.len() as f64 * 17.0;
    let mut svg = Svg::new(WIDTH, top + ROW * bars.len() as f64 + 8.0);
    svg.text("muted", (4.0, 14.0), Anchor::Start, title);
    for (i, row) in legend_rows.iter().enumerate() {
        let y = 22.0 + i as f64 * 17.0;
        for (x, name, class) in row {
            svg.rect(class, (*x, y), (14.0, 10.0), "");
            svg.text("small", (x + 19.0, y + 9.5), Anchor::Start, name);
        }
    }
    for (i, bar) in bars.iter().enumerate() {
        let y = top + i as f64 * ROW;
        svg.text("", (4.0, y + 14.0), Anchor::Start, &bar.label);
        let mut x = 4.0;
        for (name, class, value) in &bar.parts {
            let width = value / most * (WIDTH - 8.0 - room);
            svg.rect(class, (x, y + 19.0), (width, 13.0), &format!("{name}: {}", number::short(*value)));
            x += width;
        }
        svg.text("small", (x + 6.0, y + 30.0), Anchor::Start, &bar.said);
    }
    svg
}

fn rows_of<'a>(legend: &[(&'a str, &'a str)]) -> Vec<Vec<(f64, &'a str, &'a str)>> {
    let mut rows: Vec<Vec<(f64, &str, &str)>> = Vec::new();
    let mut x = f64::INFINITY;
    for (name, class) in legend {
        let width = 19.0 + text_width(name, 11.0) + 12.0;
        if x + width > WIDTH {
            rows.push(Vec::new());
            x = 4.0;
        }
        if let Some(row) = rows.last_mut() {
            row.push((x, name, class));
        }
        x += width;
    }
    rows
}

/// A ratio with its own line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    pub(crate) label: String,
    pub(crate) colour: usize,
    pub(crate) ratio: f64,
    pub(crate) interval: Option<(f64, f64)>,
    pub(crate) blocks: Vec<f64>,
}

/// Draws ratios around 1 on a logarithmic scale, with the band of the noise floor.
pub(crate) fn ratios(title: &str, lines: &[Line], band: Option<(f64, f64)>) -> Svg {
    const ROW: f64 = 36.0;
    const TOP: f64 = 24.0;
    let values = lines.iter().flat_map(|line| {
        let (low, high) = line.interval.unwrap_or((line.ratio, line.ratio));
        line.blocks.iter().copied().chain([line.ratio, low, high])
    });
    let reach =
        values.filter(|v| v.is_finite() && *v > 0.0).map(|v| v.ln().abs()).fold(0.05, f64::max) * 1.08;
    let bottom = TOP + ROW * lines.len() as f64 + 6.0;
    let mut svg = Svg::new(WIDTH, bottom + 26.0);
    let x = |ratio: f64| WIDTH / 2.0 + ratio.ln() / reach * (WIDTH / 2.0 - 22.0);
    svg.text("muted", (4.0, 14.0), Anchor::Start, title);
    if let Some((low, high)) = band {
        let said = format!("A/A: {} to {}", number::ratio(low), number::ratio(high));
        svg.rect("band", (x(low), TOP), (x(high) - x(low), bottom - TOP), &said);
    }
    for tick in ratio_ticks(reach) {
        let class = if (tick - 1.0).abs() < 1e-9 { "axis" } else { "grid" };
        svg.line(class, (x(tick), TOP), (x(tick), bottom));
        let text = format!("{tick}×");
        svg.text("muted", (x(tick), bottom + 16.0), Anchor::Middle, &text);
    }
    for (i, line) in lines.iter().enumerate() {
        let y = TOP + i as f64 * ROW;
        let colour = format!("s{}", line.colour);
        svg.text("small halo", (4.0, y + 13.0), Anchor::Start, &line.label);
        let y = y + 25.0;
        if let Some((low, high)) = line.interval {
            svg.line(&format!("curve {colour}"), (x(low), y), (x(high), y));
        }
        for block in &line.blocks {
            svg.circle(&format!("hollow {colour}"), (x(*block), y), 3.0, &number::ratio(*block));
        }
        svg.circle(&format!("dot {colour}"), (x(line.ratio), y), 5.0, &number::ratio(line.ratio));
    }
    svg
}

/// Returns at most five ticks; 1 is always one of them.
fn ratio_ticks(reach: f64) -> Vec<f64> {
    let sets: [&[f64]; 5] = [
        &[0.95, 0.975, 1.0, 1.025, 1.05],
        &[0.8, 0.9, 1.0, 1.1, 1.25],
        &[0.5, 0.7, 1.0, 1.4, 2.0],
        &[0.2, 0.5, 1.0, 2.0, 5.0],
        &[0.01, 0.1, 1.0, 10.0, 100.0],
    ];
    let [.., widest] = sets;
    let fits = |set: &&[f64]| set.last().is_some_and(|most| most.ln() >= reach * 0.45);
    let set = sets.iter().copied().find(fits).unwrap_or(widest);
    set.iter().copied().filter(|t| t.ln().abs() <= reach).collect()
}

/// A square of the map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Square {
    pub(crate) ratio: Option<f64>,
    /// True with enough pairs for a verdict. Only such a square has a colour.
    pub(crate) is_sure: bool,
}

/// A map. Rows and columns have names; the squares are stored by row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Map {
    pub(crate) heading: String,
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<String>,
    pub(crate) squares: Vec<Square>,
}

/// Draws a map. A ratio above 1 has the second colour, a ratio below 1 the first colour. The colour is stronger when
/// the ratio is farther from 1.
pub(crate) fn map(map: &Map, column_title: &str) -> Svg {
    const ROW: f64 = 34.0;
    const TOP: f64 = 44.0;
    let left = map.rows.iter().map(|row| text_width(row, 12.0)).fold(0.0, f64::max) + 14.0;
    let width = (WIDTH - left - 4.0) / map.columns.len().max(1) as f64;
    let mut svg = Svg::new(WIDTH, TOP + ROW * map.rows.len() as f64 + 12.0);
    svg.text("strong", (4.0, 14.0), Anchor::Start, &map.heading);
    svg.text("muted", (4.0, 34.0), Anchor::Start, column_title);
    for (i, column) in map.columns.iter().enumerate() {
        let x = left + (i as f64 + 0.5) * width;
        svg.text("muted", (x, 34.0), Anchor::Middle, column);
    }
    for (i, row) in map.rows.iter().enumerate() {
        let y = TOP + i as f64 * ROW;
        svg.text("", (4.0, y + ROW / 2.0 + 2.0), Anchor::Start, row);
        for j in 0..map.columns.len() {
            let Some(square) = map.squares.get(i * map.columns.len() + j) else { continue };
            let x = left + j as f64 * width;
            let (inside, size) = ((x + 1.5, y + 1.5), (width - 3.0, ROW - 3.0));
            svg.rect("inner", inside, size, "");
            if let Some(ratio) = square.ratio.filter(|_| square.is_sure) {
                svg.rect(&shade(ratio), inside, size, "");
            }
            let text = square.ratio.map_or("–".into(), number::ratio);
            svg.text("small", (x + width / 2.0, y + ROW / 2.0 + 4.0), Anchor::Middle, &text);
        }
    }
    svg
}

/// Returns the CSS classes for the colour and for its strength, from 1 to 4.
fn shade(ratio: f64) -> String {
    let far = ratio.ln().abs();
    let strength = [0.02, 0.05, 0.12, 0.3].into_iter().filter(|limit| far > *limit).count();
    format!("bar s{} k{strength}", usize::from(ratio > 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_of_ratios_hold_one() {
        for reach in [0.05, 0.1, 0.3, 0.8, 2.0, 6.0] {
            let ticks = ratio_ticks(reach);
            assert!(ticks.contains(&1.0) && (3..=5).contains(&ticks.len()), "{reach}: {ticks:?}");
        }
    }

    #[test]
    fn shades() {
        let cases = [(1.0, "bar s0 k0"), (1.06, "bar s1 k2"), (0.5, "bar s0 k4")];
        for (ratio, expected) in cases {
            assert_eq!(shade(ratio), expected);
        }
    }

    #[test]
    fn a_bar_is_as_long_as_its_parts() {
        let bar = |value| Bar {
            label: "a".into(),
            parts: vec![("x".into(), "bar".into(), value)],
            said: "5".into(),
        };
        let text = bars("t", &[("user", "bar s0")], &[bar(10.0), bar(5.0)]).inline("x");
        let width = |nth: usize| -> f64 {
            let rect = text.split("height=\"13\"").nth(nth).unwrap().rsplit("width=\"").next().unwrap();
            rect.split('"').next().unwrap().parse().unwrap()
        };
        assert!((width(0) / width(1) - 2.0).abs() < 0.01, "{text}");
    }
}
