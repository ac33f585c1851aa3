//! The texts, tables and figures of the report, from words.toml, and verdicts in words.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::judge::stats::{ENOUGH_BLOCKS, Ratio, Verdict};
use crate::judge::study::Study;
use crate::plans::model::Section;
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Figure, Table};
use crate::report::number::signed;
use crate::report::svg::Svg;

/// Headings that other parts of the page link to.
pub(crate) const PEERS_PART: &str = "4. The other load balancers";
pub(crate) const LOSSES_PART: &str = "Where we lose";
pub(crate) const GATES_PART: &str = "The gates: which numbers cannot be trusted";

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

    pub(crate) fn readme(self) -> String {
        self.page().replace("index", "README") + ".md"
    }

    /// Writes a number as the language does. Indonesian has a comma before the decimals.
    pub(crate) fn number(self, text: &str) -> String {
        if self == Lang::En { text.to_owned() } else { text.replace('.', ",") }
    }
}

/// A text: the same in each language, or one for each.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Text {
    English(String),
    Each([String; 2]),
}

impl Text {
    fn of(&self, lang: Lang) -> &str {
        match self {
            Text::English(text) => text,
            Text::Each(texts) => &texts[lang as usize],
        }
    }
}

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
struct Words {
    texts: BTreeMap<String, Text>,
    tables: BTreeMap<String, Table<Text>>,
    figures: BTreeMap<String, Caption>,
}

static WORDS: LazyLock<Words> =
    LazyLock::new(|| toml::from_str(include_str!("words.toml")).expect("words.toml is checked by a test"));

/// Replaces each `{}` by a value, in order.
fn filled(text: &str, values: &[&dyn Display]) -> String {
    let mut parts = text.split("{}");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.zip(values).fold(first, |text, (part, value)| format!("{text}{value}{part}"))
}

/// Returns a text with these values.
pub(crate) fn say(lang: Lang, name: &str, values: &[&dyn Display]) -> String {
    filled(WORDS.texts[name].of(lang), values)
}

/// Returns a text of the parts, which are in English.
pub(crate) fn english(name: &str, values: &[&dyn Display]) -> String {
    say(Lang::En, name, values)
}

/// The engines, as every ratio of both has them.
pub(crate) const ENGINES: [&str; 2] = [ASYNC, THREAD];

/// The texts of a verdict in a table, in full sentences, and in a clause: one is faster, none is, there are too few
/// blocks.
pub(crate) const SHORT: [&str; 3] = ["by", "within", "too_few"];
pub(crate) const SENTENCES: [&str; 3] = ["at_faster", "at_within", "at_too_few"];
const CLAUSES: [&str; 3] = ["sentence_faster", "sentence_within", "sentence_too_few"];

/// Writes a factor above 1 as per cent.
pub(crate) fn percent(lang: Lang, factor: f64) -> String {
    lang.number(&format!("{:.1}", (factor - 1.0) * 100.0))
}

/// Returns which program of the ratio `a / b` is faster, and by how much, with these texts.
pub(crate) fn winner(lang: Lang, ratio: &Ratio, [a, b]: [&str; 2], texts: [&str; 3]) -> String {
    let [faster, within, too_few] = texts;
    let blocks = ratio.blocks.len();
    let by = |name: &str, low, high, other: &str| {
        say(lang, faster, &[&name, &percent(lang, low), &percent(lang, high), &other, &blocks])
    };
    match ratio.verdict() {
        Verdict::Faster(low, high) => by(a, low, high, b),
        Verdict::Slower(low, high) => by(b, low, high, a),
        Verdict::Within(factor) => say(lang, within, &[&percent(lang, factor), &blocks]),
        Verdict::TooFew => say(lang, too_few, &[&blocks, &ENOUGH_BLOCKS]),
    }
}

/// Returns the verdict about the ratio `a / b` in English.
pub(crate) fn clause(ratio: &Ratio, programs: [&str; 2]) -> String {
    winner(Lang::En, ratio, programs, CLAUSES)
}

/// Returns the cost of a change: the change of the rate in bold with its interval, or the interval alone when it does
/// not exclude that there is no change.
pub(crate) fn cost(lang: Lang, ratio: &Ratio) -> String {
    let number = |factor| lang.number(&signed(factor));
    let (low, high) = ratio.interval.unwrap_or((ratio.ratio, ratio.ratio));
    match ratio.verdict() {
        Verdict::TooFew => say(lang, "too_few", &[&ratio.blocks.len(), &ENOUGH_BLOCKS]),
        Verdict::Within(_) => say(lang, "unclear", &[&number(low), &number(high)]),
        _ => say(lang, "change", &[&number(ratio.ratio), &number(low), &number(high)]),
    }
}

/// Returns the factor of a change that is certain: the end of the interval that is nearer to 1. It is 1 when the
/// interval does not exclude that there is no change.
pub(crate) fn certain(ratio: &Ratio) -> f64 {
    match ratio.verdict() {
        Verdict::Slower(low, _) => 1.0 / low,
        Verdict::Faster(low, _) => low,
        Verdict::Within(_) | Verdict::TooFew => 1.0,
    }
}

/// Says why something is not in the run: its cells were planned and not reached, or else this reason.
pub(crate) fn absent(study: &Study, lang: Lang, sections: &[Section], otherwise: String) -> String {
    match study.missing.iter().filter(|cell| sections.contains(&cell.section)).count() {
        0 => otherwise,
        cells => say(lang, "not_reached", &[&cells]),
    }
}

/// Says with this text why a part has no cells, or that they were not reached.
pub(crate) fn no_part(name: &str, study: &Study, section: Section) -> String {
    absent(study, Lang::En, &[section], english(name, &[]))
}

/// Returns a table with the rows that words.toml has.
pub(crate) fn table(lang: Lang, name: &str) -> Table {
    let Table { caption, words, head, rows } = &WORDS.tables[name];
    let all = |texts: &[Text]| texts.iter().map(|text| text.of(lang).to_owned()).collect();
    let rows = rows.iter().map(|row| all(row)).collect();
    Table { caption: caption.of(lang).into(), head: all(head), words: *words, rows }
}

/// Returns a figure with the values in its reading. Without a drawing the figure says why it is missing.
pub(crate) fn figure(study: &Study, name: &str, values: &[&dyn Display], drawing: Option<Svg>) -> Figure {
    let Caption { title, reading, missing, sections } = &WORDS.figures[name];
    let drawing = drawing.ok_or_else(|| absent(study, Lang::En, sections, missing.clone()));
    Figure { name: name.into(), title: title.clone(), reading: filled(reading, values), drawing }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_text_takes_the_same_values_in_each_language() {
        let cells = |table: &'static Table<Text>| table.head.iter().chain(table.rows.iter().flatten());
        let tables = WORDS.tables.values().flat_map(|table| cells(table).chain([&table.caption]));
        for text in WORDS.texts.values().chain(tables) {
            let [en, id] = Lang::ALL.map(|lang| text.of(lang));
            assert_eq!(en.matches("{}").count(), id.matches("{}").count(), "{en}");
            assert_eq!(en.trim().is_empty(), id.trim().is_empty(), "{en}");
        }
        assert_eq!(say(Lang::Id, "by", &[&"async", &"1,0", &"2,0"]), "**async**, 1,0 sampai 2,0\u{a0}%");
        assert_eq!(Lang::Id.number("1.5"), "1,5");
    }

    #[test]
    fn every_used_text_is_there_and_every_text_is_used() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let folders = ["report", "capacity", "grade", "commands/compare"].map(|name| source.join(name));
        let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        let files = files.map(|entry| entry.unwrap().path());
        let rust = files.filter(|path| path.extension().is_some_and(|end| end == "rs"));
        let source: String = rust.map(|path| fs::read_to_string(path).unwrap()).collect();
        let is_name = |name: &&str| name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c));
        let known: [(&[&str], Vec<&String>); 3] = [
            (&["say(lang, \"", "english(\"", "no_part(\""], WORDS.texts.keys().collect()),
            (&["table(lang, \"", "table(Lang::En, \""], WORDS.tables.keys().collect()),
            (&["words::figure(study, \""], WORDS.figures.keys().collect()),
        ];
        for (calls, known) in known {
            let used = calls.iter().flat_map(|call| source.split(call).skip(1));
            let used = used.filter_map(|rest| rest.split('"').next()).filter(is_name);
            let missing = used.into_iter().find(|name| known.iter().all(|known| known != name));
            assert_eq!(missing, None, "a text is used and is not there");
            let unused = known.iter().find(|name| !source.contains(&format!("\"{name}\"")));
            assert_eq!(unused, None, "a text is there and is not used");
        }
    }

    #[test]
    fn the_readme_has_the_quick_start_in_each_language() {
        let readme = include_str!("../../../README.md");
        for line in Lang::ALL.into_iter().flat_map(|lang| WORDS.texts["quick_start"].of(lang).lines()) {
            assert!(readme.contains(&format!("    {line}\n")), "{line}");
        }
    }

    /// A change is bold only when the interval confirms it.
    #[test]
    fn verdicts_and_costs_in_words() {
        let few = |n| {
            format!("no verdict: {n} of at least 4 blocks were measured; not known: {n} of at least 4 pairs")
        };
        let level = |within, low, high| {
            let change = format!("not measurable here: the change is between {low} and {high} %");
            format!("any difference is within ±{within} %; {change}")
        };
        let cases: [(&[f64], String, f64); 8] = [
            (&[1.18], few(1), 1.0),
            (&[0.5; 2], few(2), 1.0),
            (&[1.5; 3], few(3), 1.0),
            (&[1.1; 4], "async is faster by 10.0 to 10.0 %; **+10.0 %** (+10.0 … +10.0 %)".into(), 1.1),
            (&[0.8; 4], "thread is faster by 25.0 to 25.0 %; **−20.0 %** (−20.0 … −20.0 %)".into(), 0.8),
            (&[0.98, 1.02, 0.99, 1.01, 1.0, 1.0], level("1.5", "−1.5", "+1.5"), 1.0),
            (&[0.9, 1.3, 0.8, 1.4], level("65.4", "−30.8", "+65.4"), 1.0),
            (&[0.5, 2.0, 0.5, 2.0], level("257.4", "−72.0", "+257"), 1.0),
        ];
        for (blocks, expected, surely) in cases {
            let ratio = Ratio::of_blocks(blocks.iter().copied()).unwrap();
            let said = format!("{}; {}", clause(&ratio, ENGINES), cost(Lang::En, &ratio));
            assert_eq!(said.replace('\u{a0}', " "), expected);
            assert!((certain(&ratio) - surely).abs() < 1e-9, "{expected}");
        }
    }
}
