//! The report of a run: summary, tables, plots and pages. The report is made from the raw files only.
//!
//! Equal raw files give an equal report, because the report reads no clock.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::judge::study::Study;
use page::{Block, Page};

use crate::plans::model::SCHEMA;
use crate::run::files::{self, MANIFEST, PACKED, PLAN};
use crate::run::manifest::Manifest;

mod ablations;
mod about;
pub(crate) mod chart;
pub(crate) mod html;
pub(crate) mod markdown;
pub(crate) mod number;
pub(crate) mod page;
mod panels;
mod picture;
mod plots;
mod shapes;
pub(crate) mod summary;
pub(crate) mod svg;
mod tables;
#[cfg(test)]
mod tests;
pub(crate) mod text_table;
mod verdict;
mod why;

/// The default directory of the runs.
pub(crate) const RESULTS: &str = "experiments/results";

/// Returns the files of the report, by the path below the run's directory.
pub(crate) fn render(study: &Study) -> BTreeMap<String, String> {
    let page = page(study);
    let mut files = BTreeMap::from([
        ("summary.json".to_owned(), summary::json_text(study)),
        ("summary.csv".to_owned(), summary::csv_text(study)),
        ("report/index.html".to_owned(), html::render(&page)),
        ("report/README.md".to_owned(), markdown::render(&page)),
        ("report/experiment.mmd".to_owned(), picture::mermaid(study)),
    ]);
    for figure in page::drawn(&page.blocks) {
        if let Ok(svg) = &figure.svg {
            let label = format!("{}. {}", figure.title, figure.reading);
            files.insert(format!("report/{}.svg", figure.name), svg.standalone(&label));
        }
    }
    files
}

/// Makes the page with items 1 to 9.
fn page(study: &Study) -> Page {
    let manifest = &study.manifest;
    let mut blocks = vec![Block::text(format!(
        "Plan `{}` on {} ({} CPUs), {}: {}. Everything here is derived from the raw results beside it.",
        study.plan.name,
        manifest.host.name,
        manifest.host.cpus,
        manifest.started,
        about::size(study)
    ))];
    blocks.extend(verdict::assignment(study).iter().map(|of| Block::Verdict(verdict::sentence(of))));
    let parts = [
        tables::assignment,
        verdict::part,
        tables::servers,
        tables::peers,
        why::part,
        ablations::part,
        panels::part,
        picture::part,
        about::part,
    ];
    blocks.extend(parts.iter().flat_map(|part| part(study)));
    Page { title: "Neraca, measured".into(), blocks }
}

/// Reads a run.
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
    Study::new(manifest, files::read_json(&results.join(PLAN))?, &raws, &text)
}

/// Makes the report of the named run, or of the newest run.
pub(crate) fn run(directory: Option<&Path>) -> Result<PathBuf, String> {
    let results = choose(directory)?;
    let study = load(&results)?;
    let said = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    let report = results.join("report");
    if report.exists() {
        fs::remove_dir_all(&report).map_err(said(&report))?;
    }
    fs::create_dir_all(&report).map_err(said(&report))?;
    for (name, text) in render(&study) {
        let path = results.join(name);
        fs::write(&path, text).map_err(said(&path))?;
    }
    for verdict in verdict::assignment(&study) {
        println!("{}", verdict::sentence(&verdict).replace("**", "").replace('`', ""));
    }
    Ok(report.join("index.html"))
}

/// Returns the named directory, or the newest complete run of the whole plan, or else the newest run.
pub(crate) fn choose(directory: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(directory) = directory {
        return match directory.join(MANIFEST).exists() {
            true => Ok(directory.into()),
            false => Err(format!("{}: no run is here (there is no {MANIFEST})", directory.display())),
        };
    }
    let entries = fs::read_dir(RESULTS).map_err(|error| format!("{RESULTS}: {error}"))?;
    let runs = entries.filter_map(|entry| Some(entry.ok()?.path())).filter_map(|path| {
        let manifest: Manifest = files::read_json(&path.join(MANIFEST)).ok()?;
        let name = path.file_name()?.to_string_lossy().into_owned();
        let is_whole = path.join(PACKED).exists() && !name.contains("-smoke") && !name.contains("-part");
        (manifest.schema == SCHEMA).then_some((is_whole, manifest.started, path))
    });
    let newest = runs.max().map(|(.., path)| path);
    newest.ok_or_else(|| format!("{RESULTS}: no run is here; `make bench-smoke` makes one"))
}
