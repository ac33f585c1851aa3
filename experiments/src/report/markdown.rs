//! Writes the page as Markdown. The drawings are separate files.

use std::fmt::Write;

use crate::report::page::{Block, Figure, Page, Piece, Table, Tone, pieces};

pub(crate) fn render(page: &Page) -> String {
    let mut out = format!("# {}\n\n", inline(&page.title));
    blocks(&mut out, &page.blocks);
    let end = out.trim_end().len();
    out.truncate(end);
    out.push('\n');
    out
}

fn blocks(out: &mut String, blocks: &[Block]) {
    for item in blocks {
        block(out, item);
    }
}

fn block(out: &mut String, block: &Block) {
    let _ = match block {
        Block::Part { title, .. } => write!(out, "## {}\n\n", inline(title)),
        Block::Heading(text) => write!(out, "### {}\n\n", inline(text)),
        Block::Text(text) => write!(out, "{}\n\n", inline(text)),
        Block::Verdict(text) => write!(out, "> {}\n\n", inline(text)),
        Block::List(items) => {
            let items: String = items.iter().map(|item| format!("- {}\n", inline(item))).collect();
            writeln!(out, "{items}")
        }
        Block::Table(given) => {
            table(out, given);
            Ok(())
        }
        Block::Figures(figures) => {
            figures.iter().for_each(|figure| self::figure(out, figure));
            Ok(())
        }
        Block::Wide(given) => {
            figure(out, given);
            Ok(())
        }
        Block::Code(language, text) => write!(out, "```{language}\n{}\n```\n\n", text.trim_end()),
        Block::Folded { summary, blocks } => {
            let _ = write!(out, "<details><summary>{}</summary>\n\n", inline(summary));
            self::blocks(out, blocks);
            write!(out, "</details>\n\n")
        }
    };
}

fn figure(out: &mut String, figure: &Figure) {
    let title = inline(&figure.title);
    let _ = match &figure.svg {
        Ok(_) => {
            let reading = inline(&figure.reading);
            write!(out, "### {title}\n\n![{title}]({}.svg)\n\n{reading}\n\n", figure.name)
        }
        Err(missing) => write!(out, "**{title}.** {}\n\n", inline(missing)),
    };
}

fn table(out: &mut String, table: &Table) {
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let cell = |text: &String| inline(text).replace('|', "\\|");
    *out += &row(&table.head.iter().map(cell).collect::<Vec<_>>());
    let rule = |i: usize| if i < table.words { "---" } else { "---:" };
    *out += &row(&(0..table.head.len()).map(|i| rule(i).to_owned()).collect::<Vec<_>>());
    for given in &table.rows {
        let mut cells: Vec<String> = given.cells.iter().map(cell).collect();
        if let (Some(first), Tone::Invalid) = (cells.first_mut(), given.tone) {
            *first = format!("~~{first}~~");
        }
        *out += &row(&cells);
    }
    out.push('\n');
    if !table.caption.is_empty() {
        let _ = write!(out, "{}\n\n", inline(&table.caption));
    }
}

/// Escapes the characters with a meaning in Markdown.
fn inline(text: &str) -> String {
    let markdown = |piece| match piece {
        Piece::Plain(text) => {
            let special = |c: char| matches!(c, '<' | '>' | '*' | '_' | '`' | '[' | ']' | '\\');
            text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
        }
        Piece::Code(text) => format!("`{text}`"),
        Piece::Strong(text) => format!("**{text}**"),
        Piece::Link { text, to } => format!("[{text}]({to})"),
    };
    pieces(text).into_iter().map(markdown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_keep_their_columns() {
        let mut table = Table::new(1, &["a", "b"]).caption("what");
        table.push(Tone::Plain, vec!["x|y".into(), "1".into()]);
        table.push(Tone::Invalid, vec!["z".into(), "2".into()]);
        let page = Page { title: "T <x>".into(), blocks: vec![Block::Table(table)] };
        let expected = "# T \\<x\\>\n\n| a | b |\n| --- | ---: |\n| x\\|y | 1 |\n| ~~z~~ | 2 |\n\nwhat\n";
        assert_eq!(render(&page), expected);
    }
}
