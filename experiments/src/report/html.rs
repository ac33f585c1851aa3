//! Renders the Markdown of the report as one HTML file without other files.

use std::collections::BTreeMap;

use pulldown_cmark::{Alignment, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use crate::report::doc::{Doc, anchor};
use crate::report::svg::{COLOURS, RULES, Svg, escape};

const STYLE: &str = include_str!("page.css");

/// Returns the page. The table of contents has the headings of the parts.
pub(crate) fn render(doc: &Doc, language: &str) -> String {
    let events = Parser::new_ext(&doc.text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH);
    let mut page =
        Page { drawings: &doc.drawings, out: Vec::new(), contents: String::new(), is_small: false };
    page.all(events.collect());
    let title = doc.text.lines().find_map(|line| line.strip_prefix("# ")).unwrap_or_default();
    let mut body = String::new();
    html::push_html(&mut body, page.out.into_iter());
    if !page.contents.is_empty() {
        // The page begins with its answers; the contents stand before the second heading.
        let second = body.match_indices("<h").nth(1).map_or(0, |(at, _)| at);
        body.insert_str(second, &format!("<nav><ol>\n{}</ol></nav>\n", page.contents));
    }
    format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{}</title>\n\
         <style>\n{COLOURS}{STYLE}{RULES}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title)
    )
}

/// The text of inline events, without marks.
fn text_of(events: &[Event<'_>]) -> String {
    let texts = events.iter().filter_map(|event| match event {
        Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
        Event::SoftBreak => Some(" "),
        _ => None,
    });
    texts.collect()
}

/// True for the lines of HTML that the report itself writes. Other HTML is shown as text.
fn is_ours(line: &str) -> bool {
    let is_begin = matches!(line, "<figure>" | "<figure class=\"wide\">" | "<div class=\"figures\">");
    let is_end = matches!(line, "</figure>" | "</div>" | "</details>");
    let summary = line.strip_prefix("<details><summary>").and_then(|rest| rest.strip_suffix("</summary>"));
    is_begin || is_end || summary.is_some_and(|summary| !summary.contains('<'))
}

/// Takes the events up to this end, without the end.
fn until<'a>(events: &mut impl Iterator<Item = Event<'a>>, end: TagEnd) -> Vec<Event<'a>> {
    events.take_while(|event| *event != Event::End(end)).collect()
}

struct Page<'a> {
    drawings: &'a BTreeMap<String, Svg>,
    out: Vec<Event<'a>>,
    contents: String,
    /// True inside of a link to a drawing, where a drawing is a small copy.
    is_small: bool,
}

impl<'a> Page<'a> {
    fn html(&mut self, html: impl Into<String>) {
        self.out.push(Event::Html(html.into().into()));
    }

    fn all(&mut self, events: Vec<Event<'a>>) {
        let mut events = events.into_iter().peekable();
        while let Some(event) = events.next() {
            match event {
                Event::Start(Tag::Heading { level, .. }) => {
                    let inside = until(events.by_ref(), TagEnd::Heading(level));
                    self.heading(level, inside);
                }
                Event::Start(Tag::Paragraph) => {
                    let inside = until(events.by_ref(), TagEnd::Paragraph);
                    let table = events.next_if(|event| matches!(event, Event::Start(Tag::Table(_))));
                    if let Some(Event::Start(Tag::Table(alignments))) = table {
                        self.table(inside, &alignments, until(events.by_ref(), TagEnd::Table));
                    } else {
                        self.out.push(event);
                        self.all(inside);
                        self.out.push(Event::End(TagEnd::Paragraph));
                    }
                }
                Event::Start(Tag::Image { dest_url, .. }) => {
                    let inside = until(events.by_ref(), TagEnd::Image);
                    self.image(&dest_url, &text_of(&inside));
                }
                Event::Start(Tag::Link { dest_url, .. }) if self.drawings.contains_key(dest_url.as_ref()) => {
                    self.html(format!("<a href=\"#{}\">", figure_id(&dest_url)));
                    self.is_small = true;
                }
                Event::End(TagEnd::Link) => {
                    self.out.push(event);
                    self.is_small = false;
                }
                Event::Html(line) | Event::InlineHtml(line) if !is_ours(line.trim()) => {
                    self.out.push(Event::Text(line));
                }
                other => self.out.push(other),
            }
        }
    }

    fn heading(&mut self, level: HeadingLevel, inside: Vec<Event<'a>>) {
        let text = text_of(&inside);
        let id = anchor(&text);
        if level == HeadingLevel::H2 {
            self.contents += &format!("<li><a href=\"#{id}\">{}</a></li>\n", escape(&text));
        }
        self.html(format!("<{level} id=\"{id}\">"));
        self.all(inside);
        self.html(format!("</{level}>\n"));
    }

    /// Writes a drawing into the page. A small copy only refers to the drawing itself.
    fn image(&mut self, to: &str, alternative: &str) {
        let id = figure_id(to);
        self.html(match self.drawings.get(to) {
            Some(svg) if self.is_small => svg.reference(id, alternative),
            Some(svg) => {
                format!("<span class=\"drawing\" id=\"{id}\">{}</span>\n", svg.inline(id, alternative))
            }
            None => escape(alternative),
        });
    }

    /// Writes a table with its caption. Each cell names its column, for narrow screens.
    fn table(&mut self, caption: Vec<Event<'a>>, alignments: &[Alignment], mut events: Vec<Event<'a>>) {
        use Tag::{TableCell, TableHead, TableRow};
        let label = escape(&text_of(&caption));
        self.html(format!(
            "<div class=\"table\" role=\"region\" aria-label=\"{label}\" tabindex=\"0\"><table>\n<caption>"
        ));
        self.all(caption);
        self.html("</caption>\n");
        let is_row_end =
            |event: &Event<'_>| matches!(event, Event::End(TagEnd::TableHead | TagEnd::TableRow));
        // The ends alone tell the rows and cells apart.
        events.retain(|event| !matches!(event, Event::Start(TableHead | TableRow | TableCell)));
        let mut names: Vec<String> = Vec::new();
        for row in events.split(is_row_end).filter(|row| !row.is_empty()) {
            let in_head = names.is_empty();
            self.html(if in_head { "<thead><tr>" } else { "<tr>" });
            let cells = row.split(|event| *event == Event::End(TagEnd::TableCell));
            for ((column, cell), alignment) in cells.enumerate().zip(alignments) {
                let class = if *alignment == Alignment::Right { " class=\"n\"" } else { "" };
                if in_head {
                    names.push(escape(&text_of(cell)));
                }
                let name = &names[column];
                let (open, close) = match (in_head, column) {
                    (true, _) => (format!("<th scope=\"col\"{class}>"), "</th>"),
                    (false, 0) => (format!("<th scope=\"row\" data-label=\"{name}\">"), "</th>"),
                    _ => (format!("<td{class} data-label=\"{name}\"><span>"), "</span></td>"),
                };
                self.html(open);
                self.all(cell.to_vec());
                self.html(close);
            }
            self.html(if in_head { "</tr></thead>\n<tbody>\n" } else { "</tr>\n" });
        }
        self.html("</tbody>\n</table></div>\n");
    }
}

fn figure_id(file: &str) -> &str {
    file.strip_suffix(".svg").unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_html() {
        let table = "*of **b***\n\n| a | b |\n| --- | ---: |\n| ~~\\<z\\>~~ | 2 |";
        let cases = [
            ("a < b **c**", "<p>a &lt; b <strong>c</strong></p>"),
            ("<script>x</script>", "&lt;script&gt;x"),
            ("a <b>c</b>", "a &lt;b&gt;c"),
            ("## 1. A `b`", "<h2 id=\"1-a-b\">1. A <code>b</code></h2>"),
            ("![alt & x](x.svg)", "<span class=\"drawing\" id=\"x\"><svg class=\"plot\""),
            ("[see](x.svg)", "<a href=\"#x\">see</a>"),
            (
                "<details><summary>s</summary>\n\nt\n\n</details>",
                "<details><summary>s</summary>\n<p>t</p>\n</details>",
            ),
            ("![alt](gone.svg)", "alt"),
            // A table has a caption and names its cells.
            (table, "aria-label=\"of b\""),
            (table, "<caption><em>of <strong>b</strong></em></caption>"),
            (table, "<th scope=\"col\" class=\"n\">b</th>"),
            (table, "<tr><th scope=\"row\" data-label=\"a\"><del>&lt;z&gt;</del></th>"),
            (table, "</th><td class=\"n\" data-label=\"b\"><span>2</span></td></tr>"),
        ];
        for (text, expected) in cases {
            let drawings = BTreeMap::from([("x.svg".to_owned(), Svg::new(1.0, 1.0))]);
            let html = render(&Doc { text: text.into(), drawings }, "en");
            assert!(html.contains(expected), "{text}: {html}");
            assert!(!html.contains("<script") && !html.contains("<b>"), "{text}");
        }
    }
}
