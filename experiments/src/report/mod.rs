//! The report of a run: summary, tables, plots and pages. The report is made from the raw files only.
//!
//! Equal raw files give an equal report, because the report reads no clock.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::judge::study::Study;
use crate::plans::model::SCHEMA;
use crate::run::files::{self, MANIFEST, PACKED, PLAN};
use crate::run::manifest::Manifest;
use doc::Doc;
use words::Lang;

mod about;
pub(crate) mod chart;
pub(crate) mod doc;
mod first;
mod flames;
mod handshakes;
pub(crate) mod html;
pub(crate) mod losses;
pub(crate) mod number;
mod picture;
mod plots;
pub(crate) mod summary;
pub(crate) mod svg;
mod tables;
#[cfg(test)]
mod tests;
mod why;
pub(crate) mod words;

/// The default directory of the runs.
pub(crate) const RESULTS: &str = "experiments/results";

/// Returns the files of the report, by the path below the run's directory.
pub(crate) fn render(study: &Study) -> BTreeMap<String, String> {
    let mut files = BTreeMap::from([
        ("summary.json".to_owned(), summary::json_text(study)),
        ("summary.csv".to_owned(), summary::csv_text(study)),
    ]);
    for lang in Lang::ALL {
        let of_page = page_files(page(study, lang), lang).into_iter();
        files.extend(of_page.map(|(name, text)| (format!("report/{name}"), text)));
    }
    files
}

/// Returns the files of a page: the Markdown, the HTML and the drawings.
fn page_files(doc: Doc, lang: Lang) -> BTreeMap<String, String> {
    let drawings = doc.drawings.iter().map(|(name, svg)| (name.clone(), svg.standalone(name)));
    let mut files: BTreeMap<String, String> = drawings.collect();
    files.insert(format!("{}.html", lang.page()), html::render(&doc, lang.code()));
    // The Markdown is read beside its translation, so a link to a page is a link to its Markdown.
    let text = Lang::ALL.iter().fold(doc.text.trim_end().to_owned() + "\n", |text, lang| {
        text.replace(&format!("({}.html", lang.page()), &format!("({}", lang.readme()))
    });
    files.insert(lang.readme(), text);
    files
}

/// Makes the page. The page in Indonesian has the first screen and the glossary; the parts are in English.
fn page(study: &Study, lang: Lang) -> Doc {
    let mut doc = Doc::default();
    first::write(study, lang, &mut doc);
    if lang == Lang::En {
        tables::assignment(study, &mut doc);
        tables::versus(study, &mut doc);
        handshakes::part(study, &mut doc);
        tables::servers(study, &mut doc);
        losses::part(study, &mut doc);
        why::part(study, &mut doc);
        tables::ablations(study, &mut doc);
        plots::part(study, &mut doc);
        doc.heading(2, "8. The experiment");
        picture::figure(study, &mut doc);
        about::part(study, &mut doc);
    } else {
        picture::figure(study, &mut doc);
    }
    first::glossary(lang, &mut doc);
    doc
}

pub(crate) fn load(results: &Path) -> Result<Study, String> {
    let text = files::raw_text(results)?;
    let raws = files::parse_raw(&text).map_err(|error| format!("{}: {error}", results.display()))?;
    let manifest: Manifest = files::read_json(&results.join(MANIFEST))?;
    if manifest.schema != SCHEMA {
        return Err(format!(
            "{}: the layout of this run has version {}, and this program reads version {SCHEMA}; \
             the commit that the run's {MANIFEST} names can read it",
            results.display(),
            manifest.schema
        ));
    }
    Study::new(manifest, files::read_json(&results.join(PLAN))?, raws, &text)
}

fn write(directory: &Path, files: BTreeMap<String, String>) -> Result<(), String> {
    files.into_iter().try_for_each(|(name, text)| {
        let path = directory.join(name);
        fs::write(&path, text).map_err(files::said(&path))
    })
}

/// Writes a page of its own: README.md, index.html and the drawings. Returns the path of index.html.
pub(crate) fn write_page(directory: &Path, doc: Doc) -> Result<PathBuf, String> {
    write(directory, page_files(doc, Lang::En))?;
    Ok(directory.join("index.html"))
}

/// Makes the report of the named run, or of the newest run. Returns the page in this language.
pub(crate) fn run(directory: Option<&Path>, lang: Lang) -> Result<PathBuf, String> {
    let results = choose(directory)?;
    let study = load(&results)?;
    let report = results.join("report");
    if report.exists() {
        fs::remove_dir_all(&report).map_err(files::said(&report))?;
    }
    fs::create_dir_all(&report).map_err(files::said(&report))?;
    write(&results, render(&study))?;
    for sentence in first::verdicts(&study, lang).into_iter().chain(first::together(&study, lang)) {
        println!("{}", sentence.replace("**", "").replace('`', ""));
    }
    Ok(report.join(format!("{}.html", lang.page())))
}

/// Returns the named directory, or the newest complete run of the whole plan, or else the newest run.
pub(crate) fn choose(directory: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(directory) = directory {
        let found = directory.join(MANIFEST).exists().then(|| directory.into());
        return found
            .ok_or_else(|| format!("{}: no run is here (there is no {MANIFEST})", directory.display()));
    }
    let entries = fs::read_dir(RESULTS).map_err(|error| format!("{RESULTS}: {error}"))?;
    let runs = entries.filter_map(|entry| Some(entry.ok()?.path())).filter_map(|path| {
        let manifest: Manifest = files::read_json(&path.join(MANIFEST)).ok()?;
        let name = path.file_name()?.to_string_lossy().into_owned();
        let is_whole = path.join(PACKED).exists() && !name.contains("-smoke") && !name.contains("-part");
        (manifest.schema == SCHEMA).then_some((is_whole, manifest.setting.started, path))
    });
    let newest = runs.max().map(|(.., path)| path);
    newest.ok_or_else(|| format!("{RESULTS}: no run is here; `make bench-smoke` makes one"))
}
