//! The languages of the first screen and of the glossary. The texts are in words.toml.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

/// The language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lang {
    En,
    Id,
}

impl Lang {
    pub(crate) const ALL: [Lang; 2] = [Lang::En, Lang::Id];

    /// Returns the name of the page's file without its end.
    pub(crate) fn page(self) -> &'static str {
        match self {
            Lang::En => "index",
            Lang::Id => "index.id",
        }
    }

    pub(crate) fn readme(self) -> &'static str {
        match self {
            Lang::En => "README.md",
            Lang::Id => "README.id.md",
        }
    }

    pub(crate) fn code(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Id => "id",
        }
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
pub(crate) struct Term {
    name: Text,
    meaning: Text,
}

impl Term {
    /// Returns the word and its meaning.
    pub(crate) fn say(&self, lang: Lang) -> [&str; 2] {
        [&self.name[lang as usize], &self.meaning[lang as usize]]
    }
}

#[derive(Debug, Deserialize)]
struct Words {
    texts: BTreeMap<String, Text>,
    #[serde(rename = "term")]
    terms: Vec<Term>,
}

static WORDS: LazyLock<Words> =
    LazyLock::new(|| toml::from_str(include_str!("words.toml")).expect("words.toml is checked by a test"));

pub(crate) fn terms() -> &'static [Term] {
    &WORDS.terms
}

/// Returns a text; its name when there is no such text. A test covers every name.
fn text(name: &'static str, lang: Lang) -> &'static str {
    WORDS.texts.get(name).map_or(name, |text| &text[lang as usize])
}

/// Returns the text of this name, with `{}` replaced by the values in order.
pub(crate) fn say(lang: Lang, name: &'static str, values: &[&str]) -> String {
    let mut parts = text(name, lang).split("{}");
    let mut said = parts.next().unwrap_or_default().to_owned();
    for (i, part) in parts.enumerate() {
        said += values.get(i).copied().unwrap_or_default();
        said += part;
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_takes_the_same_values_in_each_language() {
        let terms = terms().iter().flat_map(|term| [("term", &term.name), ("term", &term.meaning)]);
        let texts = WORDS.texts.iter().map(|(name, text)| (name.as_str(), text));
        for (name, [en, id]) in texts.chain(terms) {
            assert_eq!(en.matches("{}").count(), id.matches("{}").count(), "{name}");
            assert!(!id.trim().is_empty(), "{name}");
        }
        assert_eq!(say(Lang::Id, "no_matter", &["2,0"]), "tidak berpengaruh: dalam ±2,0 %");
        assert_eq!(Lang::Id.number("1.5"), "1,5");
    }

    #[test]
    fn every_used_text_is_there() {
        let source = include_str!("first.rs");
        let used = source.split("say(lang, \"").chain(source.split(" text(\"")).skip(1);
        let used: Vec<&str> = used.filter_map(|rest| rest.split('"').next()).collect();
        for name in WORDS.texts.keys() {
            assert!(source.contains(&format!("\"{name}\"")), "{name} is not used");
        }
        let known = |name: &&str| name.contains(|c: char| !c.is_ascii_lowercase() && c != '_');
        for name in used.into_iter().filter(|name| !known(name)) {
            assert!(WORDS.texts.contains_key(name), "{name} has no text");
        }
    }

    /// The README has the same quick start in each language.
    #[test]
    fn the_readme_has_the_quick_start_in_each_language() {
        let readme = include_str!("../../../README.md");
        for line in Lang::ALL.iter().flat_map(|lang| text("quick_start", *lang).lines()) {
            assert!(readme.contains(&format!("    {line}\n")), "{line}");
        }
    }
}
