//! A table as text for a terminal or as Markdown.

use std::fmt::Write;

/// A table. The first line is the heading.
pub(crate) struct TextTable {
    /// Number of columns with words, at the left. Words are aligned to the left, numbers to the right.
    pub(crate) words: usize,
    pub(crate) lines: Vec<Vec<String>>,
}

impl TextTable {
    /// Formats the table as text. Each column is as wide as its widest cell.
    pub(crate) fn text(&self) -> String {
        let columns = self.lines.iter().map(Vec::len).max().unwrap_or(0);
        let length = |cell: &String| cell.chars().count();
        let width = |column: usize| {
            self.lines.iter().filter_map(|line| line.get(column)).map(length).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut out = String::new();
        for line in &self.lines {
            let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
                match column < self.words {
                    true => format!("{cell:<width$}"),
                    false => format!("{cell:>width$}"),
                }
            });
            out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
            out.push('\n');
        }
        out
    }

    pub(crate) fn markdown(&self) -> String {
        let mut out = String::new();
        for (n, line) in self.lines.iter().enumerate() {
            let _ = writeln!(out, "| {} |", line.join(" | "));
            if n == 0 {
                let _ = writeln!(
                    out,
                    "|{}{}",
                    "---|".repeat(self.words),
                    "---:|".repeat(line.len() - self.words)
                );
            }
        }
        out
    }
}
