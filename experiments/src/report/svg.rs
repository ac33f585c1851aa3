//! A small writer of SVG. Colours are CSS classes, so that a drawing follows the light or dark theme of the page.

use std::fmt::Write;

use itertools::Itertools;

/// The CSS rules of drawings. The page contains them once; a separate file contains its own copy.
pub(crate) const RULES: &str = include_str!("plot.css");
/// The colours of the light and the dark theme.
pub(crate) const COLOURS: &str = include_str!("colours.css");

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Svg {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) body: String,
}

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Returns the text that is shown on hovering.
fn hint(title: &str) -> String {
    if title.is_empty() { String::new() } else { format!("<title>{}</title>", escape(title)) }
}

/// Formats a number with one decimal, or without a decimal when the decimal is 0.
fn n(value: f64) -> String {
    let text = format!("{value:.1}");
    let text = text.strip_suffix(".0").unwrap_or(&text);
    if text == "-0" { "0".into() } else { text.into() }
}

/// Estimates the width of a text in a proportional sans serif font. The estimate is rather too wide than too narrow.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let width = |c: char| match c {
        'i' | 'j' | 'l' | 't' | 'f' | 'r' | ' ' | '.' | ',' | ':' | '|' | '\'' | '/' | '(' | ')' => 0.37,
        '\u{202f}' => 0.2,
        'm' | 'w' | 'M' | 'W' | '%' => 0.93,
        c if c.is_ascii_uppercase() => 0.7,
        _ => 0.61,
    };
    text.chars().map(width).sum::<f64>() * size
}

/// Places items beside each other, and begins a new row where the width ends. Returns x and the number of the row of
/// each item.
pub(crate) fn in_rows(widths: impl IntoIterator<Item = f64>, most: f64) -> Vec<(f64, usize)> {
    let (mut x, mut row) = (4.0, 0);
    let place = |width: f64| {
        if x + width > most && x > 4.0 {
            (x, row) = (4.0, row + 1);
        }
        x += width;
        (x - width, row)
    };
    widths.into_iter().map(place).collect()
}

impl Svg {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        Svg { width, height, body: String::new() }
    }

    /// Writes an element with these places. With something inside (even nothing) the element has a closing tag.
    fn shape(&mut self, name: &str, class: &str, places: &[(&str, f64)], inside: Option<&str>) {
        let places = places.iter().map(|(place, value)| format!(r#" {place}="{}""#, n(*value))).join("");
        let end = inside.map_or("/>".to_owned(), |inside| format!(">{inside}</{name}>"));
        let _ = writeln!(self.body, r#"<{name} class="{class}"{places}{end}"#);
    }

    pub(crate) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.shape("line", class, &[("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)], None);
    }

    /// Draws a rectangle. If `title` is not empty, the title is shown on hovering.
    pub(crate) fn rect(&mut self, class: &str, (x, y): (f64, f64), (width, height): (f64, f64), title: &str) {
        let places = [("x", x), ("y", y), ("width", width.max(0.0)), ("height", height.max(0.0))];
        self.shape("rect", class, &places, Some(&hint(title)));
    }

    pub(crate) fn circle(&mut self, class: &str, (x, y): (f64, f64), radius: f64, title: &str) {
        self.shape("circle", class, &[("cx", x), ("cy", y), ("r", radius)], Some(&hint(title)));
    }

    /// Writes a text that begins at a place; with the class `middle` or `end`, the text is there or ends there.
    pub(crate) fn text(&mut self, class: &str, (x, y): (f64, f64), text: &str) {
        self.shape("text", class, &[("x", x), ("y", y)], Some(&escape(text)));
    }

    /// Draws a `polyline` or a `polygon`.
    pub(crate) fn path(&mut self, name: &str, class: &str, points: &[(f64, f64)]) {
        let points = points.iter().map(|(x, y)| format!("{},{}", n(*x), n(*y))).join(" ");
        let _ = writeln!(self.body, r#"<{name} class="{class}" points="{points}"/>"#);
    }

    /// Puts drawings one below the other.
    pub(crate) fn stacked(parts: &[Svg]) -> Svg {
        let mut whole = Svg::new(parts.iter().map(|part| part.width).fold(0.0, f64::max), 0.0);
        for part in parts {
            let (y, body) = (n(whole.height), &part.body);
            let _ = writeln!(whole.body, "<g transform=\"translate(0 {y})\">\n{body}</g>");
            whole.height += part.height;
        }
        whole
    }

    /// Returns the attributes that a drawing on a page has. Screen readers read `label`.
    fn head(&self, label: &str) -> String {
        let (width, height, label) = (n(self.width), n(self.height), escape(label));
        format!(r#"class="plot" viewBox="0 0 {width} {height}" role="img" aria-label="{label}""#)
    }

    /// Returns the drawing for a page that contains [`RULES`] and [`COLOURS`]. The rules need
    /// the class in a copy too.
    pub(crate) fn inline(&self, id: &str, label: &str) -> String {
        format!("<svg {}><g class=\"plot\" id=\"{id}-drawing\">\n{}</g></svg>\n", self.head(label), self.body)
    }

    /// Returns a copy of the drawing with this id on the same page.
    pub(crate) fn reference(&self, id: &str, label: &str) -> String {
        format!("<svg {}><use href=\"#{id}-drawing\"/></svg>", self.head(label))
    }

    /// Returns the drawing as a separate file, which has the rules too.
    pub(crate) fn standalone(&self, label: &str) -> String {
        let (width, height, label) = (n(self.width), n(self.height), escape(label));
        let size = format!(r#"width="{width}" height="{height}" viewBox="0 0 {width} {height}""#);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" {size}>\n<title>{label}</title>\n\
             <style>\n{COLOURS}{RULES}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n{}</svg>\n",
            self.body
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_is_well_formed_and_escaped() {
        let mut svg = Svg::new(100.0, 50.25);
        svg.text("t end", (1.0, 2.04), "a < b & \"c\"");
        svg.rect("r", (-0.01, 0.0), (-5.0, 1.0), "what");
        svg.path("polyline", "x", &[(0.0, 0.04), (10.0, 0.25)]);
        let text = svg.inline("id", "label");
        for part in [
            r#"viewBox="0 0 100 50.2""#,
            r#"<text class="t end" x="1" y="2">a &lt; b &amp; &quot;c&quot;</text>"#,
            r#"x="0" y="0" width="0" height="1"><title>what</title></rect>"#,
            r#"points="0,0 10,0.2""#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(svg.standalone("label").contains("prefers-color-scheme"));
    }

    #[test]
    fn stacked_drawings_stand_below_each_other() {
        let whole = Svg::stacked(&[Svg::new(10.0, 20.0), Svg::new(30.0, 5.0)]);
        assert_eq!((whole.width, whole.height), (30.0, 25.0));
        assert!(whole.inline("id", "x").contains("translate(0 20)"));
    }
}
