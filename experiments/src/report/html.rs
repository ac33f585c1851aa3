//! Writes the page as one HTML file without other files.

use std::fmt::Write;

use crate::report::page::{Block, Figure, Page, Piece, Table, Tone, pieces};
use crate::report::svg::{COLOURS, RULES, escape};

const STYLE: &str = include_str!("page.css");

pub(crate) fn render(page: &Page) -> String {
    let mut out = String::new();
    let title = escape(&page.title);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{COLOURS}{STYLE}{RULES}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    contents(&mut out, &page.blocks);
    blocks(&mut out, &page.blocks);
    out += "</main>\n</body>\n</html>\n";
    out
}

fn contents(out: &mut String, blocks: &[Block]) {
    *out += "<nav><ol>\n";
    for block in blocks {
        if let Block::Part { id, title } = block {
            let _ = writeln!(out, "<li><a href=\"#{id}\">{}</a></li>", inline(title));
        }
    }
    *out += "</ol></nav>\n";
}

fn blocks(out: &mut String, blocks: &[Block]) {
    for item in blocks {
        block(out, item);
    }
}

fn block(out: &mut String, block: &Block) {
    let _ = match block {
        Block::Part { id, title } => writeln!(out, "<h2 id=\"{id}\">{}</h2>", inline(title)),
        Block::Heading(text) => writeln!(out, "<h3>{}</h3>", inline(text)),
        Block::Text(text) => writeln!(out, "<p>{}</p>", inline(text)),
        Block::Verdict(text) => writeln!(out, "<p class=\"verdict\">{}</p>", inline(text)),
        Block::List(items) => {
            let items: String = items.iter().map(|item| format!("<li>{}</li>\n", inline(item))).collect();
            writeln!(out, "<ul>\n{items}</ul>")
        }
        Block::Table(given) => {
            table(out, given);
            Ok(())
        }
        Block::Figures(figures) => {
            let (drawn, missing): (Vec<&Figure>, Vec<&Figure>) = figures.iter().partition(|f| f.svg.is_ok());
            if !drawn.is_empty() {
                *out += "<div class=\"figures\">\n";
                drawn.into_iter().for_each(|figure| self::figure(out, figure, ""));
                *out += "</div>\n";
            }
            missing.into_iter().for_each(|figure| self::figure(out, figure, ""));
            Ok(())
        }
        Block::Wide(given) => {
            figure(out, given, " class=\"wide\"");
            Ok(())
        }
        Block::Code(_, text) => writeln!(out, "<pre tabindex=\"0\"><code>{}</code></pre>", escape(text)),
        Block::Folded { summary, blocks } => {
            let _ = writeln!(out, "<details><summary>{}</summary>", inline(summary));
            self::blocks(out, blocks);
            writeln!(out, "</details>")
        }
    };
}

fn figure(out: &mut String, figure: &Figure, class: &str) {
    let title = inline(&figure.title);
    let _ = match &figure.svg {
        Ok(svg) => {
            let label = format!("{}. {}", figure.title, figure.reading);
            let drawing = svg.inline(&label);
            let reading = inline(&figure.reading);
            writeln!(
                out,
                "<figure{class} id=\"{}\">\n<h3>{title}</h3>\n<div class=\"drawing\" tabindex=\"0\">{drawing}</div>\n\
                 <figcaption>{reading}</figcaption>\n</figure>",
                figure.name
            )
        }
        Err(missing) => {
            writeln!(out, "<p class=\"missing\"><strong>{title}.</strong> {}</p>", inline(missing))
        }
    };
}

fn table(out: &mut String, table: &Table) {
    let class = |i: usize| if i < table.words { "" } else { " class=\"n\"" };
    *out += "<div class=\"table\" tabindex=\"0\"><table>\n<thead><tr>";
    for (i, name) in table.head.iter().enumerate() {
        let _ = write!(out, "<th scope=\"col\"{}>{}</th>", class(i), inline(name));
    }
    *out += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        *out += match row.tone {
            Tone::Plain => "<tr>",
            Tone::Invalid => "<tr class=\"invalid\">",
            Tone::Loss => "<tr class=\"loss\">",
        };
        for (i, cell) in row.cells.iter().enumerate() {
            let _ = match i {
                0 => write!(out, "<th scope=\"row\">{}</th>", inline(cell)),
                _ => write!(out, "<td{}>{}</td>", class(i), inline(cell)),
            };
        }
        *out += "</tr>\n";
    }
    *out += "</tbody>\n</table></div>\n";
    if !table.caption.is_empty() {
        let _ = writeln!(out, "<p class=\"caption\">{}</p>", inline(&table.caption));
    }
}

fn inline(text: &str) -> String {
    let html = |piece| match piece {
        Piece::Plain(text) => escape(text),
        Piece::Code(text) => format!("<code>{}</code>", escape(text)),
        Piece::Strong(text) => format!("<strong>{}</strong>", escape(text)),
        Piece::Link { text, to } => format!("<a href=\"{}\">{}</a>", escape(to), escape(text)),
    };
    pieces(text).into_iter().map(html).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_marked() {
        let cases = [
            ("a < b", "a &lt; b"),
            ("`<x>` **y**", "<code>&lt;x&gt;</code> <strong>y</strong>"),
            ("[a](b?c&d)", "<a href=\"b?c&amp;d\">a</a>"),
        ];
        for (text, expected) in cases {
            assert_eq!(inline(text), expected);
        }
    }

    #[test]
    fn a_missing_plot_is_a_sentence() {
        let missing = Figure {
            name: "x",
            title: "Map".into(),
            reading: "r".into(),
            svg: Err("Not in this plan.".into()),
        };
        let page = Page { title: "T".into(), blocks: vec![Block::Figures(vec![missing])] };
        let html = render(&page);
        assert!(html.contains("<strong>Map.</strong> Not in this plan.") && !html.contains("<figure"));
        for outside in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
    }
}
