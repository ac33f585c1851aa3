//! The texts of the report. words.toml has the texts of the first screen and of the glossary in each language;
//! parts.toml has the English texts, tables and figures of the parts.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::judge::study::Study;
use crate::plans::model::Section;
use crate::report::doc::{Figure, Table};
use crate::report::svg::Svg;

/// Headings that other parts of the page link to.
pub(crate) const PEERS_PART: &str = "4. The other load balancers";
pub(crate) const LOSSES_PART: &str = "Where we lose";
pub(crate) const GATES_PART: &str = "The gates: which numbers cannot be trusted";

/// The language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lang {
    En,
    Id,
}

impl Lang {
    pub(crate) const ALL: [Lang; 2] = [Lang::En, Lang::Id];

    pub(crate) fn code(self) -> &'static str {
        ["en", "id"][self as usize]
    }

    /// Returns the name of the page's file without its end.
    pub(crate) fn page(self) -> &'static str {
        ["index", "index.id"][self as usize]
    }

    pub(crate) fn readme(self) -> &'static str {
        ["README.md", "README.id.md"][self as usize]
    }

    /// Writes a number as the language does. Indonesian has a comma before the decimals.
    pub(crate) fn number(self, text: &str) -> String {
        if self == Lang::En { text.to_owned() } else { text.replace('.', ",") }
    }
}

/// A text in each language.
type Text = [String; 2];

/// A word of the glossary.
#[derive(Debug, Deserialize)]
struct Term {
    name: Text,
    meaning: Text,
}

/// A table of the first screen.
#[derive(Debug, Deserialize)]
struct Titled {
    caption: Text,
    words: usize,
    head: Vec<Text>,
}

#[derive(Debug, Deserialize)]
struct Words {
    texts: BTreeMap<String, Text>,
    tables: BTreeMap<String, Titled>,
    #[serde(rename = "term")]
    terms: Vec<Term>,
}

/// The words of a figure.
#[derive(Debug, Deserialize)]
struct Caption {
    title: String,
    reading: String,
    #[serde(default)]
    missing: String,
    /// The sections of the plan with the cells of the figure.
    #[serde(default)]
    sections: Vec<Section>,
}

#[derive(Debug, Deserialize)]
struct Parts {
    texts: BTreeMap<String, String>,
    tables: BTreeMap<String, Table>,
    figures: BTreeMap<String, Caption>,
}

static WORDS: LazyLock<Words> =
    LazyLock::new(|| toml::from_str(include_str!("words.toml")).expect("words.toml is checked by a test"));

static PARTS: LazyLock<Parts> =
    LazyLock::new(|| toml::from_str(include_str!("parts.toml")).expect("parts.toml is checked by a test"));

/// Returns the words of the glossary with their meanings.
pub(crate) fn terms(lang: Lang) -> impl Iterator<Item = [&'static str; 2]> {
    WORDS.terms.iter().map(move |term| [&term.name, &term.meaning].map(|text| text[lang as usize].as_str()))
}

/// Replaces each `{}` by a value, in order.
fn filled(text: &str, values: &[&dyn Display]) -> String {
    let mut parts = text.split("{}");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.zip(values).fold(first, |text, (part, value)| format!("{text}{value}{part}"))
}

/// Returns a text of words.toml.
pub(crate) fn say(lang: Lang, name: &str, values: &[&dyn Display]) -> String {
    filled(&WORDS.texts[name][lang as usize], values)
}

/// Returns a text of parts.toml.
pub(crate) fn english(name: &str, values: &[&dyn Display]) -> String {
    filled(&PARTS.texts[name], values)
}

/// Says why something is not in the run: its cells were planned and not reached, or else this reason.
pub(crate) fn absent(study: &Study, lang: Lang, sections: &[Section], otherwise: String) -> String {
    match study.missing.iter().filter(|cell| sections.contains(&cell.section)).count() {
        0 => otherwise,
        cells => say(lang, "not_reached", &[&cells]),
    }
}

/// Returns an empty table of words.toml.
pub(crate) fn titled(lang: Lang, name: &str) -> Table {
    let Titled { caption, words, head } = &WORDS.tables[name];
    let head: Vec<&str> = head.iter().map(|column| column[lang as usize].as_str()).collect();
    Table::new(&caption[lang as usize], *words, &head)
}

/// Returns an empty table of parts.toml.
pub(crate) fn table(name: &str) -> Table {
    PARTS.tables[name].clone()
}

/// Returns a figure of parts.toml, with the values in its reading. Without a drawing the figure says why it is missing.
pub(crate) fn figure(study: &Study, name: &str, values: &[&dyn Display], drawing: Option<Svg>) -> Figure {
    let Caption { title, reading, missing, sections } = &PARTS.figures[name];
    let missing = absent(study, Lang::En, sections, missing.clone());
    Figure::new(name, title, &filled(reading, values), drawing, &missing)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_text_takes_the_same_values_in_each_language() {
        let terms = WORDS.terms.iter().flat_map(|term| [("term", &term.name), ("term", &term.meaning)]);
        let heads = WORDS.tables.values().flat_map(|table| table.head.iter().chain([&table.caption]));
        let texts = WORDS.texts.iter().map(|(name, text)| (name.as_str(), text));
        for (name, [en, id]) in texts.chain(terms).chain(heads.map(|text| ("table", text))) {
            assert_eq!(en.matches("{}").count(), id.matches("{}").count(), "{name}");
            assert!(!id.trim().is_empty(), "{name}");
        }
        assert_eq!(say(Lang::Id, "by", &[&"async", &"1,0", &"2,0"]), "**async**, 1,0 sampai 2,0\u{a0}%");
        assert_eq!(Lang::Id.number("1.5"), "1,5");
    }

    #[test]
    fn every_used_text_is_there_and_every_text_is_used() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/report");
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let rust = files.filter(|path| path.extension().is_some_and(|end| end == "rs"));
        let source: String = rust.map(|path| fs::read_to_string(path).unwrap()).collect();
        let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        let used = |call: &str| {
            let calls = source.split(call).skip(1).filter_map(|rest| rest.split('"').next());
            calls.filter(is_name).collect::<Vec<_>>().into_iter()
        };
        let known: [(&str, Vec<&String>); 5] = [
            ("say(lang, \"", WORDS.texts.keys().collect()),
            ("words::titled(lang, \"", WORDS.tables.keys().collect()),
            ("english(\"", PARTS.texts.keys().collect()),
            ("words::table(\"", PARTS.tables.keys().collect()),
            ("words::figure(study, \"", PARTS.figures.keys().collect()),
        ];
        for (call, known) in known {
            let missing = used(call).find(|name| known.iter().all(|known| known != name));
            assert_eq!(missing, None, "a text is used and is not there");
            let unused = known.iter().find(|name| !source.contains(&format!("\"{name}\"")));
            assert_eq!(unused, None, "a text is there and is not used");
        }
    }

    /// The README has the same quick start in each language.
    #[test]
    fn the_readme_has_the_quick_start_in_each_language() {
        let readme = include_str!("../../../README.md");
        for line in Lang::ALL.iter().flat_map(|lang| WORDS.texts["quick_start"][*lang as usize].lines()) {
            assert!(readme.contains(&format!("    {line}\n")), "{line}");
        }
    }
}
