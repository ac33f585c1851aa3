//! Checks the stored results of a run against its raw files.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::judge::study::Study;
use crate::plans::build::of_cells;
use crate::plans::model::Plan;
use crate::report;
use crate::report::summary::{csv_text, json_text};
use crate::run::files::{self, MANIFEST, PLAN};

/// Maximum number of reported differences.
const TOLD: usize = 20;

/// Recomputes the summary of the named run, or of the newest run. Each difference is a line of the error.
pub(crate) fn run(directory: Option<&Path>) -> Result<PathBuf, String> {
    let results = report::choose(directory)?;
    let study = report::load(&results)?;
    let mut wrong = plan(&study);
    wrong.extend(summary(&results, &study)?);
    wrong.extend(pages(&results, &study));
    if wrong.is_empty() {
        return Ok(results);
    }
    let more = wrong.len().saturating_sub(TOLD);
    wrong.truncate(TOLD);
    if more > 0 {
        wrong.push(format!("and {more} more"));
    }
    Err(wrong.join("\n"))
}

/// Compares the plan with its own hash and with the hash in the manifest.
fn plan(study: &Study) -> Vec<String> {
    let Plan { name, targets, cells, hash, .. } = study.plan.clone();
    let fresh = of_cells(&name, targets, cells).hash;
    let differs = fresh != hash || fresh != study.manifest.plan_hash;
    let told = || format!("{PLAN}: its hash is {fresh}, but the hash in {MANIFEST} or in {PLAN} differs");
    differs.then(told).into_iter().collect()
}

/// Compares the stored summary with the recomputed summary, field by field.
fn summary(results: &Path, study: &Study) -> Result<Vec<String>, String> {
    let read = |name| {
        let path = results.join(name);
        fs::read_to_string(&path).map_err(files::said(&path))
    };
    let (stored, fresh) = (read("summary.json")?, json_text(study));
    let mut wrong = Vec::new();
    if stored != fresh {
        let [stored, fresh] =
            [stored, fresh].map(|text| serde_json::from_str::<Value>(&text).unwrap_or_default());
        compare("summary.json", &stored, &fresh, &mut wrong);
        if wrong.is_empty() {
            wrong.push("summary.json: not formatted as `neraca-lab report` formats it".into());
        }
    }
    wrong.extend(rows(&read("summary.csv")?, &csv_text(study)));
    Ok(wrong)
}

/// Returns the differences between two CSV texts. A row is named by its cell, and a field by its column. Only the last
/// column may have quoted commas.
fn rows(stored: &str, fresh: &str) -> Vec<String> {
    let head: Vec<&str> = fresh.lines().next().unwrap_or_default().split(',').collect();
    let mut wrong = Vec::new();
    for (a, b) in stored.lines().zip(fresh.lines()).filter(|(a, b)| a != b) {
        let [a, b] = [a, b].map(|line| line.splitn(head.len(), ',').collect::<Vec<_>>());
        for ((column, x), y) in head.iter().zip(&a).zip(&b).filter(|((_, x), y)| x != y) {
            wrong.push(format!("summary.csv: {} {column} is {x}, but the raw files give {y}", b[0]));
        }
    }
    if wrong.is_empty() && stored != fresh {
        wrong.push("summary.csv: its rows are not those of the raw files".into());
    }
    wrong
}

/// Collects the differences between two values. The place of a difference is its path; a cell is named by its id.
fn compare(place: &str, stored: &Value, fresh: &Value, wrong: &mut Vec<String>) {
    match (stored, fresh) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
                let [x, y] = [a, b].map(|object| object.get(key).unwrap_or(&Value::Null));
                compare(&format!("{place}: {key}"), x, y, wrong);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (x, y)) in a.iter().zip(b).enumerate() {
                let name = y.get("cell").and_then(Value::as_str).map_or_else(|| i.to_string(), Into::into);
                compare(&format!("{place} {name}"), x, y, wrong);
            }
        }
        (a, b) if a == b => {}
        (a, b) => wrong.push(format!("{place} is {a}, but the raw files give {b}")),
    }
}

/// Compares the pages and plots.
fn pages(results: &Path, study: &Study) -> Vec<String> {
    let files = report::render(study).into_iter().filter(|(name, _)| name.starts_with("report/"));
    let changed =
        files.filter(|(name, text)| fs::read_to_string(results.join(name)).ok().as_ref() != Some(text));
    let told = |(name, _)| format!("{name}: differs from the raw files; `make report` makes it again");
    changed.map(told).collect()
}
