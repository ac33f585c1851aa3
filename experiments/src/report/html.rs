//! Renders the Markdown of the report as one HTML file without other files.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pulldown_cmark::{Alignment, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use crate::report::doc::{Doc, Drawing, anchor};
use crate::report::svg::{COLOURS, RULES, escape};

const STYLE: &str = include_str!("page.css");

/// Returns the page. The table of contents has the headings of the parts.
pub(crate) fn render(doc: &Doc, language: &str) -> String {
    let events: Vec<Event<'_>> =
        Parser::new_ext(&doc.text, Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH).collect();
    let mut page = Page {
        drawings: &doc.drawings,
        out: Vec::new(),
        contents: String::new(),
        title: String::new(),
        is_small: false,
    };
    page.all(&events);
    let Page { out, contents, title, .. } = page;
    let mut body = String::new();
    html::push_html(&mut body, out.into_iter());
    let end = body.find("</h1>").map_or(0, |at| at + "</h1>".len());
    let contents = if contents.is_empty() { contents } else { format!("\n<nav><ol>\n{contents}</ol></nav>") };
    body.insert_str(end, &contents);
    format!(
        "<!doctype html>\n<html lang=\"{language}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{COLOURS}{STYLE}{RULES}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(&title)
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
    const LINES: [&str; 6] = [
        "<figure>",
        "<figure class=\"wide\">",
        "</figure>",
        "<div class=\"figures\">",
        "</div>",
        "</details>",
    ];
    let summary = line.strip_prefix("<details><summary>").and_then(|rest| rest.strip_suffix("</summary>"));
    LINES.contains(&line) || summary.is_some_and(|summary| !summary.contains('<'))
}

struct Page<'a> {
    drawings: &'a BTreeMap<String, Drawing>,
    out: Vec<Event<'a>>,
    contents: String,
    title: String,
    /// True inside of a small copy of a drawing, which has no anchor of its own.
    is_small: bool,
}

impl<'a> Page<'a> {
    fn html(&mut self, html: String) {
        self.out.push(Event::Html(html.into()));
    }

    fn all(&mut self, events: &[Event<'a>]) {
        let mut at = 0;
        while let Some(event) = events.get(at) {
            let end = |tag: TagEnd| {
                let found = events[at..].iter().position(|event| *event == Event::End(tag));
                found.map_or(events.len() - 1, |found| at + found)
            };
            match event {
                Event::Start(Tag::Heading { level, .. }) => {
                    let last = end(TagEnd::Heading(*level));
                    self.heading(*level, &events[at + 1..last]);
                    at = last;
                }
                Event::Start(Tag::Paragraph) => {
                    let last = end(TagEnd::Paragraph);
                    let is_caption = matches!(events.get(last + 1), Some(Event::Start(Tag::Table(_))));
                    if is_caption {
                        at = self.table(&events[at + 1..last], events, last + 1);
                    } else {
                        at = self.paragraph(&events[at..=last], last);
                    }
                }
                Event::Start(Tag::Image { dest_url, .. }) => {
                    let last = end(TagEnd::Image);
                    self.image(dest_url, &text_of(&events[at..last]));
                    at = last;
                }
                Event::Start(Tag::Link { dest_url, .. }) if self.drawings.contains_key(dest_url.as_ref()) => {
                    self.html(format!("<a href=\"#{}\">", figure_id(dest_url)));
                }
                Event::Html(line) | Event::InlineHtml(line) if !is_ours(line.trim()) => {
                    self.out.push(Event::Text(line.clone()));
                }
                other => self.out.push(other.clone()),
            }
            at += 1;
        }
    }

    fn heading(&mut self, level: HeadingLevel, inside: &[Event<'a>]) {
        let text = text_of(inside);
        let id = anchor(&text);
        match level {
            HeadingLevel::H1 => self.title.clone_from(&text),
            HeadingLevel::H2 => {
                let _ = writeln!(self.contents, "<li><a href=\"#{id}\">{}</a></li>", escape(&text));
            }
            _ => {}
        }
        self.html(format!("<{level} id=\"{id}\">"));
        self.all(inside);
        self.html(format!("</{level}>\n"));
    }

    /// Writes a paragraph. A paragraph that is only an image is written without the tags of a paragraph.
    fn paragraph(&mut self, events: &[Event<'a>], last: usize) -> usize {
        let inside = &events[1..events.len() - 1];
        let is_image = |event: &Event<'_>| matches!(event, Event::Start(Tag::Image { .. }));
        if !inside.iter().take(2).any(is_image) {
            self.html("<p>".into());
            self.all(inside);
            self.html("</p>\n".into());
        } else if is_image(&inside[0]) {
            self.all(inside);
        } else {
            self.html("<p class=\"thumbnail\">".into());
            self.is_small = true;
            self.all(inside);
            self.is_small = false;
            self.html("</p>\n".into());
        }
        last
    }

    /// Writes a drawing into the page. A complete file is isolated as an image of its own.
    fn image(&mut self, to: &str, alternative: &str) {
        match self.drawings.get(to) {
            Some(Drawing::Ours(svg)) => {
                let drawing = svg.inline(alternative);
                let id = if self.is_small { String::new() } else { format!(" id=\"{}\"", figure_id(to)) };
                self.html(format!("<span class=\"drawing\"{id}>{drawing}</span>\n"));
            }
            Some(Drawing::File(text)) => {
                let data = STANDARD.encode(text);
                self.html(format!(
                    "<a href=\"{to}\"><img id=\"{}\" alt=\"{}\" src=\"data:image/svg+xml;base64,{data}\"></a>\n",
                    figure_id(to),
                    escape(alternative)
                ));
            }
            None => self.html(escape(alternative)),
        }
    }

    /// Writes a table with its caption. Each cell names its column, for narrow screens. Returns the place of its end.
    fn table(&mut self, caption: &[Event<'a>], events: &[Event<'a>], start: usize) -> usize {
        let Some(Event::Start(Tag::Table(alignments))) = events.get(start) else { return start };
        let length = events[start..].iter().position(|event| *event == Event::End(TagEnd::Table));
        let end = length.map_or(events.len() - 1, |length| start + length);
        let mut names: Vec<String> = Vec::new();
        let label = escape(&text_of(caption));
        self.html(format!(
            "<div class=\"table\" role=\"region\" aria-label=\"{label}\" tabindex=\"0\"><table>\n<caption>"
        ));
        self.all(caption);
        self.html("</caption>\n".into());
        let (mut at, mut column, mut in_head) = (start + 1, 0, true);
        while at < end {
            match &events[at] {
                Event::Start(Tag::TableHead) => self.html("<thead><tr>".into()),
                Event::End(TagEnd::TableHead) => {
                    self.html("</tr></thead>\n<tbody>\n".into());
                    in_head = false;
                }
                Event::Start(Tag::TableRow) => {
                    column = 0;
                    let is_marked = matches!(events.get(at + 2), Some(Event::Start(Tag::Strikethrough)));
                    self.html(if is_marked { "<tr class=\"invalid\">".into() } else { "<tr>".into() });
                }
                Event::End(TagEnd::TableRow) => self.html("</tr>\n".into()),
                Event::Start(Tag::TableCell) => {
                    let length =
                        events[at..end].iter().position(|event| *event == Event::End(TagEnd::TableCell));
                    let last = length.map_or(end, |length| at + length);
                    let inside = &events[at + 1..last];
                    let class =
                        if alignments.get(column) == Some(&Alignment::Right) { " class=\"n\"" } else { "" };
                    if in_head {
                        names.push(escape(&text_of(inside)));
                    }
                    let name = names.get(column).map_or("", String::as_str);
                    let (open, close) = match (in_head, column) {
                        (true, _) => (format!("<th scope=\"col\"{class}>"), "</th>"),
                        (false, 0) => (format!("<th scope=\"row\" data-label=\"{name}\">"), "</th>"),
                        _ => (format!("<td{class} data-label=\"{name}\"><span>"), "</span></td>"),
                    };
                    self.html(open);
                    let marks = |event: &&Event<'a>| {
                        !matches!(event, Event::Start(Tag::Strikethrough) | Event::End(TagEnd::Strikethrough))
                    };
                    self.all(&inside.iter().filter(marks).cloned().collect::<Vec<_>>());
                    self.html(close.into());
                    column += 1;
                    at = last;
                }
                _ => {}
            }
            at += 1;
        }
        self.html("</tbody>\n</table></div>\n".into());
        end
    }
}

fn figure_id(file: &str) -> &str {
    file.strip_suffix(".svg").unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::doc::{Table, plain};
    use crate::report::svg::Svg;

    fn doc(text: &str) -> Doc {
        let drawings = BTreeMap::from([("x.svg".to_owned(), Drawing::Ours(Svg::new(1.0, 1.0)))]);
        Doc { text: text.into(), drawings }
    }

    #[test]
    fn markdown_becomes_html() {
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
        ];
        for (text, expected) in cases {
            let html = render(&doc(text), "en");
            assert!(html.contains(expected), "{text}: {html}");
            assert!(!html.contains("<script") && !html.contains("<b>"), "{text}");
        }
    }

    #[test]
    fn a_table_has_a_caption_and_names_its_cells() {
        let mut table = Table::new("of **b**", 1, &["a", "b"]);
        table.push_marked(true, vec![plain("<z>"), "2".into()]);
        let mut written = Doc::default();
        written.table(&table);
        let html = render(&written, "en");
        for expected in [
            "aria-label=\"of b\"",
            "<caption><em>of <strong>b</strong></em></caption>",
            "<th scope=\"col\" class=\"n\">b</th>",
            "<tr class=\"invalid\"><th scope=\"row\" data-label=\"a\">&lt;z&gt;</th><td class=\"n\" data-label=\"b\"><span>2</span></td></tr>",
        ] {
            assert!(html.contains(expected), "{expected} in {html}");
        }
    }
}
