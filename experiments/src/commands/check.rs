//! Checks the stored results of a run against its raw files.

use std::fs;
use std::path::{Path, PathBuf};

use itertools::Itertools;
use serde_json::Value;

use crate::plans::build::of_cells;
use crate::plans::model::Plan;
use crate::report;
use crate::run::files::{MANIFEST, PLAN};

/// Maximum number of reported differences.
const TOLD: usize = 20;

/// Recomputes the summary and the pages of the named run, or of the newest run. Each difference is a line of the error.
pub(crate) fn run(directory: Option<&Path>) -> Result<PathBuf, String> {
    let results = report::choose(directory)?;
    let study = report::load(&results)?;
    let mut wrong = Vec::new();
    let Plan { name, targets, cells, hash, .. } = study.plan.clone();
    let fresh = of_cells(&name, targets, cells).hash;
    if fresh != hash || fresh != study.manifest.plan_hash {
        wrong.push(format!("{PLAN}: its hash is {fresh}, but the hash in {MANIFEST} or in {PLAN} differs"));
    }
    for (name, fresh) in report::render(&study) {
        let stored = fs::read_to_string(results.join(&name)).unwrap_or_default();
        let (before, differs) = (wrong.len(), stored != fresh);
        if differs && name == "summary.json" {
            let [stored, fresh] = [stored, fresh].map(|text| serde_json::from_str(&text).unwrap_or_default());
            compare(&name, &stored, &fresh, &mut wrong);
        }
        if differs && wrong.len() == before {
            wrong.push(format!("{name}: differs from the raw files; `make report` makes it again"));
        }
    }
    if wrong.is_empty() {
        return Ok(results);
    }
    let more = wrong.len().saturating_sub(TOLD);
    let more = (more > 0).then(|| format!("and {more} more"));
    Err(wrong.into_iter().take(TOLD).chain(more).join("\n"))
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
