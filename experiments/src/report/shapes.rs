//! Charts without curves: bars, intervals. Labels are above their shapes, so they need no space
//! at the side.

use crate::judge::stats::Ratio;
use crate::report::chart::WIDTH;
use crate::report::number;
use crate::report::svg::{Svg, in_rows, text_width};

/// One bar of parts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bar {
    pub(crate) label: String,
    /// The value of each part.
    pub(crate) values: Vec<f64>,
    /// The text at the end of the bar.
    pub(crate) said: String,
}

/// Draws bars from a common 0. `parts` has the name and the CSS classes of each part.
pub(crate) fn bars(title: &str, parts: &[(&str, &str)], bars: &[Bar]) -> Svg {
    const ROW: f64 = 38.0;
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
            svg.rect(class, (x, y + 19.0), (width, 13.0), &format!("{name}: {}", number::short(*value)));
            x += width;
        }
        svg.text("small", (x + 6.0, y + 30.0), &bar.said);
    }
    svg
}

/// Draws ratios around 1 on a logarithmic scale, with the band of the noise floor. A line has its label, its colour and
/// its ratio.
pub(crate) fn ratios(title: &str, lines: &[(String, usize, Ratio)], band: Option<(f64, f64)>) -> Svg {
    const ROW: f64 = 36.0;
    const TOP: f64 = 24.0;
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
    fn a_bar_is_as_long_as_its_parts() {
        let bar = |value| Bar { label: "a".into(), values: vec![value], said: "5".into() };
        let text = bars("t", &[("user", "bar s0")], &[bar(10.0), bar(5.0)]).inline("id", "x");
        let width = |nth: usize| -> f64 {
            let rect = text.split("height=\"13\"").nth(nth).unwrap().rsplit("width=\"").next().unwrap();
            rect.split('"').next().unwrap().parse().unwrap()
        };
        assert!((width(0) / width(1) - 2.0).abs() < 0.01, "{text}");
    }
}
