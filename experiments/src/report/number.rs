//! Formats numbers, loads and names.

use crate::judge::stats::Ratio;
use crate::judge::study::{Group, Study};
use crate::plans::model::Cell;
use crate::report::doc::plain;

/// Formats a number with three significant digits. Large numbers have their thousands grouped by a thin space.
pub(crate) fn short(value: f64) -> String {
    if !value.is_finite() {
        return "–".into();
    }
    match value.abs() {
        a if a >= 99.95 => grouped(value.round()),
        a if a >= 9.995 => format!("{value:.1}"),
        a if a >= 0.9995 => format!("{value:.2}"),
        0.0 => "0".into(),
        a if a >= 0.0995 => format!("{value:.3}"),
        a if a >= 0.00005 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    }
}

/// Formats a whole number. From five digits on, the thousands are grouped.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let separator = if digits.len() > 4 { "\u{202f}" } else { "" };
    let thousands: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|group| std::str::from_utf8(group).ok()).collect();
    let sign = if value <= -0.5 { "−" } else { "" };
    sign.to_owned() + &thousands.join(separator)
}

/// Returns the text, or a dash where there is none.
pub(crate) fn dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".into())
}

/// Formats a value that may be unknown.
pub(crate) fn maybe(value: Option<f64>) -> String {
    dash(value.map(short))
}

pub(crate) fn maybe_grouped(value: Option<f64>) -> String {
    dash(value.map(grouped))
}

/// Formats a ratio, such as `1.234×`.
pub(crate) fn ratio(value: f64) -> String {
    match value {
        v if v >= 99.5 => format!("{v:.0}×"),
        v if v >= 9.95 => format!("{v:.1}×"),
        v if v < 0.1 => format!("{}×", short(v)),
        v => format!("{v:.3}×"),
    }
}

/// Formats a factor as a change in per cent, such as `+12.3`.
pub(crate) fn signed(factor: f64) -> String {
    let percent = (factor - 1.0) * 100.0;
    match percent {
        p if p.abs() < 0.05 => "0".into(),
        p if p >= 99.5 => format!("+{}", grouped(p)),
        p if p <= -99.5 => grouped(p),
        p => format!("{p:+.1}").replace('-', "−"),
    }
}

/// Formats the interval of a ratio as factors.
pub(crate) fn interval(of: &Ratio) -> String {
    of.interval.map_or("one pair".into(), |(low, high)| format!("{} to {}", ratio(low), ratio(high)))
}

pub(crate) fn bytes(n: u64) -> String {
    match n {
        n if n >= 1 << 20 && n % (1 << 20) == 0 => format!("{} MB", n >> 20),
        n if n >= 1 << 10 => {
            format!("{} KB", short(n as f64 / 1024.0).trim_end_matches(".0").trim_end_matches(".00"))
        }
        n => format!("{n} B"),
    }
}

/// Describes the load of a cell: `-c 1000 -t 150 (900)`, then the differences from the usual load. The number in
/// brackets is the number of opened connections, if fewer than asked for.
pub(crate) fn load_name(cell: &Cell) -> String {
    load_cell(cell).replace('`', "")
}

/// Describes the load of a cell for a table: the options are code, which has no line breaks there.
pub(crate) fn load_cell(cell: &Cell) -> String {
    let mut text = format!("`-c {} -t {}`", cell.connections, cell.threads);
    if cell.opened() != cell.connections {
        text += &format!(" ({})", cell.opened());
    }
    if !cell.keep_alive {
        text += ", a connection per request";
    }
    if cell.delay_ms > 0 {
        text += &format!(", backends wait {} ms", cell.delay_ms);
    }
    text
}

/// Strikes the text of a group that failed a gate.
pub(crate) fn struck(group: &Group<'_>, text: String) -> String {
    if group.is_ranked() { text } else { format!("~~{text}~~") }
}

/// Returns the title of the program of a group, escaped.
pub(crate) fn name(study: &Study, group: &Group<'_>) -> String {
    plain(&study.title(&group.cell.target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_factors_and_sizes() {
        let cases = [
            (0.0, "0"),
            (0.000_01, "1.0e-5"),
            (0.012_34, "0.0123"),
            (0.123_4, "0.123"),
            (1.0, "1.00"),
            (9.999, "10.0"),
            (99.97, "100"),
            (1234.4, "1234"),
            (12_345.6, "12\u{202f}346"),
            (-1_234_567.0, "−1\u{202f}234\u{202f}567"),
            (f64::NAN, "–"),
        ];
        for (value, expected) in cases {
            assert_eq!(short(value), expected, "{value}");
        }
        for (factor, expected) in [(1.0, "0"), (1.1234, "+12.3"), (0.5, "−50.0"), (21.0, "+2000")] {
            assert_eq!(signed(factor), expected);
        }
        assert_eq!(ratio(0.000_02), "2.0e-5×");
        assert_eq!([ratio(1.2345), ratio(12.0), ratio(0.05)], ["1.234×", "12.0×", "0.0500×"]);
        let sizes = [128, 10_240, 76_800, 1 << 20].map(bytes);
        assert_eq!(sizes, ["128 B", "10 KB", "75 KB", "1 MB"]);
    }
}
