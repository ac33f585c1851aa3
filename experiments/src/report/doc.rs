//! The report as Markdown. The text is written once; [`crate::report::html`] renders the same text.

use std::collections::BTreeMap;

use itertools::Itertools;
use serde::Deserialize;

use crate::report::svg::Svg;

/// A page: its text, and the drawings that the text names as `NAME.svg`.
#[derive(Debug, Default)]
pub(crate) struct Doc {
    pub(crate) text: String,
    pub(crate) drawings: BTreeMap<String, Svg>,
}

/// A plot or picture, or the sentence that says why it is missing.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// Name of the drawing's file, without `.svg`.
    pub(crate) name: String,
    pub(crate) title: String,
    /// How to read the figure.
    pub(crate) reading: String,
    pub(crate) drawing: Result<Svg, String>,
}

/// A table of words, or of texts in each language.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(crate) struct Table<Text = String> {
    /// The title of the table, one line.
    pub(crate) caption: Text,
    pub(crate) head: Vec<Text>,
    /// Number of columns with words, at the left. The other columns have numbers.
    pub(crate) words: usize,
    #[serde(default = "Vec::new")]
    pub(crate) rows: Vec<Vec<Text>>,
}

impl Table {
    /// Returns the table with these rows.
    pub(crate) fn with<R: IntoIterator<Item: Into<String>>>(mut self, rows: impl Iterator<Item = R>) -> Self {
        rows.for_each(|row| self.push(row));
        self
    }

    pub(crate) fn push<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Formats the table for a terminal. Words are aligned to the left, numbers to the right.
    pub(crate) fn text(&self) -> String {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            lines().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |line: &Vec<String>| {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                if column < self.words { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            cells.collect_vec().join("  ").trim_end().to_owned() + "\n"
        };
        lines().map(line).collect()
    }
}

/// Escapes a text from outside, so that no character has a meaning in Markdown.
pub(crate) fn plain(text: &str) -> String {
    let special = |c: char| "\\`*_[]<>~#&".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// Makes code of a text from outside.
pub(crate) fn code(text: &str) -> String {
    format!("`{}`", text.replace('`', "'"))
}

/// Returns the anchor of a heading, by the rule of the usual hosts of Markdown.
pub(crate) fn anchor(heading: &str) -> String {
    let text = heading.to_lowercase().replace(' ', "-");
    text.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
}

impl Doc {
    /// Writes a paragraph, or any other block of Markdown.
    pub(crate) fn text(&mut self, text: impl AsRef<str>) {
        self.text += text.as_ref();
        self.text += "\n\n";
    }

    /// Writes a heading: 1 for the title, 2 for a part, 3 within a part.
    pub(crate) fn heading(&mut self, level: usize, text: &str) {
        self.text(format!("{} {text}", "#".repeat(level)));
    }

    pub(crate) fn list<T: AsRef<str>>(&mut self, items: &[T]) {
        if !items.is_empty() {
            self.text(items.iter().map(|item| format!("- {}", item.as_ref())).join("\n"));
        }
    }

    /// Writes a preformatted text, with a fence that is longer than every fence in it.
    pub(crate) fn block(&mut self, language: &str, text: &str) {
        let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        self.text(format!("{fence}{language}\n{}\n{fence}", text.trim_end()));
    }

    pub(crate) fn table(&mut self, table: &Table) {
        if table.rows.is_empty() {
            return;
        }
        let rule = |i| if i < table.words { "---".to_owned() } else { "---:".to_owned() };
        let rules = (0..table.head.len()).map(rule).collect();
        let row = |cells: &Vec<String>| {
            let cells = cells.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " "));
            format!("| {} |", cells.format(" | "))
        };
        let rows = [&table.head, &rules].into_iter().chain(&table.rows).map(row).join("\n");
        self.text(format!("*{}*\n\n{rows}", table.caption));
    }

    /// Writes a figure with its title, or the reason why it is missing.
    pub(crate) fn figure(&mut self, figure: Figure, class: &str) {
        let Figure { name, title, reading, drawing } = figure;
        match drawing {
            Ok(drawing) => {
                let figure = format!("### {title}\n\n![{title}]({name}.svg)\n\n{reading}");
                self.text(format!("<figure{class}>\n\n{figure}\n\n</figure>"));
                self.drawings.insert(format!("{name}.svg"), drawing);
            }
            Err(missing) => self.text(format!("**{title}.** {missing}")),
        }
    }

    /// Writes figures side by side, then the sentences about the missing ones.
    pub(crate) fn figures(&mut self, figures: Vec<Figure>) {
        let (drawn, missing): (Vec<_>, Vec<_>) = figures.into_iter().partition(|f| f.drawing.is_ok());
        if !drawn.is_empty() {
            self.text("<div class=\"figures\">");
            drawn.into_iter().for_each(|figure| self.figure(figure, ""));
            self.text("</div>");
        }
        missing.into_iter().for_each(|figure| self.figure(figure, ""));
    }

    /// Writes what is shown on demand.
    pub(crate) fn folded(&mut self, summary: &str, inside: impl FnOnce(&mut Doc)) {
        self.text(format!("<details><summary>{summary}</summary>"));
        inside(self);
        self.text("</details>");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_keep_their_columns_and_code_its_fence() {
        let head = ["a", "b"].map(String::from).into();
        let mut table = Table { caption: "what".into(), head, words: 1, rows: Vec::new() };
        table.push(["x|y", "1"]);
        table.push([format!("~~{}~~", plain("<z>")), "2".into()]);
        assert_eq!(table.text(), "a          b\nx|y        1\n~~\\<z\\>~~  2\n");
        let mut doc = Doc::default();
        doc.table(&table);
        doc.block("text", "```\nx");
        let expected = "*what*\n\n| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n| ~~\\<z\\>~~ | 2 |\n\n````text\n```\nx\n````\n\n";
        assert_eq!(doc.text, expected);
        assert_eq!(anchor("9. Where we lose (3 of 7)"), "9-where-we-lose-3-of-7");
    }
}
