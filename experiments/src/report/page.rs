//! The report as a page, independent of HTML and Markdown.
//!
//! Texts may contain `code`, strong words and links in the notation of Markdown. No other notation is special.

use crate::report::svg::Svg;

/// A page, from its title down.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Page {
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Block {
    /// A part of the report, with an anchor for links.
    Part {
        id: &'static str,
        title: String,
    },
    /// A heading inside a part.
    Heading(String),
    Text(String),
    /// The verdict, which is displayed prominently.
    Verdict(String),
    List(Vec<String>),
    Table(Table),
    /// Plots, side by side if the page is wide enough.
    Figures(Vec<Figure>),
    /// A drawing of the full width.
    Wide(Figure),
    /// Preformatted lines in a named language.
    Code(&'static str, String),
    /// Blocks that are shown on demand.
    Folded {
        summary: String,
        blocks: Vec<Block>,
    },
}

impl Block {
    pub(crate) fn text(text: impl Into<String>) -> Block {
        Block::Text(text.into())
    }

    pub(crate) fn part(id: &'static str, title: &str) -> Block {
        Block::Part { id, title: title.into() }
    }
}

/// The emphasis of a table row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tone {
    #[default]
    Plain,
    /// The row failed a gate.
    Invalid,
    Loss,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
    pub(crate) tone: Tone,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    /// Number of columns with words, at the left. The other columns have numbers.
    pub(crate) words: usize,
    pub(crate) rows: Vec<Row>,
    /// The explanation below the table.
    pub(crate) caption: String,
}

impl Table {
    pub(crate) fn new(words: usize, head: &[&str]) -> Self {
        let head = head.iter().map(|name| (*name).to_owned()).collect();
        Table { head, words, ..Table::default() }
    }

    pub(crate) fn push(&mut self, tone: Tone, cells: Vec<String>) {
        self.rows.push(Row { cells, tone });
    }

    pub(crate) fn caption(mut self, caption: &str) -> Self {
        self.caption = caption.into();
        self
    }
}

/// A plot or picture, or the sentence that says why it is missing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// Name of the drawing's file.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    /// One sentence that explains how to read the figure.
    pub(crate) reading: String,
    pub(crate) svg: Result<Svg, String>,
}

/// Returns all figures with a drawing.
pub(crate) fn drawn(blocks: &[Block]) -> Vec<&Figure> {
    let mut found = Vec::new();
    for block in blocks {
        match block {
            Block::Figures(figures) => found.extend(figures.iter().filter(|figure| figure.svg.is_ok())),
            Block::Wide(figure) if figure.svg.is_ok() => found.push(figure),
            Block::Folded { blocks, .. } => found.extend(drawn(blocks)),
            _ => {}
        }
    }
    found
}

/// A piece of a text, plain or with a notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    Plain(&'a str),
    Code(&'a str),
    Strong(&'a str),
    Link { text: &'a str, to: &'a str },
}

/// Splits a text into pieces. A notation without its end is plain text.
pub(crate) fn pieces(mut text: &str) -> Vec<Piece<'_>> {
    let mut found = Vec::new();
    while !text.is_empty() {
        let start =
            ["`", "**", "["].into_iter().filter_map(|mark| text.find(mark)).min().unwrap_or(text.len());
        if start > 0 {
            found.push(Piece::Plain(&text[..start]));
            text = &text[start..];
            continue;
        }
        let (piece, rest) = special(text).unwrap_or_else(|| (Piece::Plain(&text[..1]), &text[1..]));
        found.push(piece);
        text = rest;
    }
    found
}

fn special(text: &str) -> Option<(Piece<'_>, &str)> {
    if let Some(rest) = text.strip_prefix('`') {
        let (code, rest) = rest.split_once('`')?;
        return Some((Piece::Code(code), rest));
    }
    if let Some(rest) = text.strip_prefix("**") {
        let (strong, rest) = rest.split_once("**")?;
        return Some((Piece::Strong(strong), rest));
    }
    let (name, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (to, rest) = rest.split_once(')')?;
    (!name.contains(']')).then_some((Piece::Link { text: name, to }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_taken_apart() {
        use Piece::{Code, Link, Plain, Strong};
        let cases: [(&str, &[Piece<'_>]); 6] = [
            ("", &[]),
            ("plain", &[Plain("plain")]),
            ("a `b` c", &[Plain("a "), Code("b"), Plain(" c")]),
            ("**x**[y](z)", &[Strong("x"), Link { text: "y", to: "z" }]),
            ("open `b", &[Plain("open "), Plain("`"), Plain("b")]),
            ("[1, 2] a", &[Plain("["), Plain("1, 2] a")]),
        ];
        for (text, expected) in cases {
            assert_eq!(pieces(text), expected, "{text}");
        }
    }
}
