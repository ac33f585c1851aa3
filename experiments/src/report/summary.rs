//! The summary: every number that the report ranks or draws, as JSON and as CSV.

use itertools::Itertools;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::judge::record::{Record, Validity, load};
use crate::judge::stats::{Ratio, rounded};
use crate::judge::study::{Group, Study};
use crate::judge::verdicts::{self, Cost, Pair, costs};
use crate::judge::{handshakes, measure};
use crate::plans::model::{SCHEMA, Section};
use crate::plans::targets::{AGAIN, ASYNC};
use crate::report::about::reasons;
use crate::report::tables::{CLASSES, failed};
use crate::report::words::{ENGINES, clause};
use crate::run::raw::{Found, Role};

/// Returns a number with six digits; null when it is unknown.
pub(crate) fn number(value: Option<f64>) -> Value {
    value.filter(|v| v.is_finite()).map_or(Value::Null, |v| json!(rounded(v)))
}

/// The columns that describe the cell of a load, in the order of the CSV.
const FACTS: &str =
    "cell section target block connections opened threads body_bytes keep_alive delay_ms validity";

fn of_record(record: &Record) -> Value {
    let cell = &record.cell;
    let mut row = json!(cell);
    (row["cell"], row["opened"]) = (json!(cell.id), json!(cell.opened()));
    row["validity"] = json!(record.validity());
    let mut row = Value::from_iter(FACTS.split(' ').map(|fact| (fact, row[fact].take())));
    row["reasons"] = json!(reasons(record, Validity::Note).join("; ").replace("**", ""));
    match &record.found {
        Found::Load(_) => {
            measure::COLUMNS.iter().for_each(|(name, of)| row[*name] = number(of(record)));
            row["failures"] = json!(record.failures());
        }
        Found::Handshakes(found) => {
            let counts = &found.handshakes;
            row["handshakes"] = json!(cell.handshakes);
            row["handshakes"]["made"] = json!(counts.made);
            row["handshakes"]["wanted"] = json!(counts.wanted);
            row["failed"] = json!(measure::failures(record));
            row["p50_ms"] = number(measure::percentile_ms(&found.requests.total_us, 0.5));
            row["p99_ms"] = number(handshakes::p99_ms(record));
            row["target_cpus"] = number(found.system.cpu_s(Role::Target).map(|s| s / found.system.seconds));
        }
        Found::Idle(_) => row["idle_kb_per_connection"] = number(measure::idle_kb(record)),
        Found::Syscalls { .. } => row["syscalls_per_request"] = number(measure::calls(record)),
        Found::Profile { .. } | Found::Failed(_) => {}
    }
    row
}

/// The rows of the assignment: one for each target and load.
fn assignment(study: &Study) -> Vec<Value> {
    let row = |group: &Group<'_>| {
        let (cell, of) = (group.cell, |measure| number(group.median(measure)));
        json!({
            "target": cell.target,
            "threads": cell.threads,
            "opened": cell.opened(),
            "requests_per_s": of(measure::rate),
            "failed": failed(group),
            "latency_ms": of(measure::latency_ms),
            "waiting_ms": of(measure::waiting_ms),
            "kept_waiting_ms": of(measure::kept_waiting_ms),
            "ranked": group.is_ranked(),
        })
    };
    study.section(Section::Assignment).iter().map(row).collect()
}

fn by_load(study: &Study) -> Vec<Value> {
    let row = |Pair { b: thread, ratio, .. }: &Pair<'_>| {
        let mut row = compared(ratio, verdicts::control(study, thread).as_ref());
        row["threads"] = json!(thread.cell.threads);
        row
    };
    verdicts::by_load(study).iter().map(row).collect()
}

/// The engines compared, beside the thread engine against itself.
fn compared(ratio: &Ratio, control: Option<&Ratio>) -> Value {
    let mut row = bounds(Some(ratio));
    row["blocks"] = json!(ratio.blocks.len());
    row["sentence"] = json!(clause(ratio, ENGINES));
    row["control"] = bounds(control);
    row
}

/// The overheads: one row for each change that a program of ours was measured with.
fn overheads(study: &Study) -> Vec<Value> {
    let row = |cost: &Cost<'_>| {
        let target = cost.changed.target;
        let engine = cost.engine()?;
        let change = target.id.trim_start_matches(engine).trim_start_matches('-');
        let mut row = bounds(cost.ratio.as_ref());
        row["change"] = json!(if cost.changed.cell.keep_alive { change } else { "close" });
        row["engine"] = json!(engine);
        row["what"] = json!(target.what);
        row["ranked"] = json!(cost.changed.is_ranked() && cost.ratio.is_some());
        Some(row)
    };
    costs(study).iter().filter_map(row).collect()
}

/// Returns the ratio and its 95 % interval; null where there is none.
fn bounds(ratio: Option<&Ratio>) -> Value {
    let (low, high) = ratio.and_then(|ratio| ratio.interval).unzip();
    json!({ "ratio": number(ratio.map(|ratio| ratio.ratio)), "low": number(low), "high": number(high) })
}

/// Returns the summary as JSON, with one line per row, so that differences are easy to see. experiments/README.md
/// documents its fields.
pub(crate) fn json_text(study: &Study) -> String {
    let lines = |rows: Vec<Value>| format!("[\n{}\n]", rows.iter().format(",\n"));
    let over_all = |target| verdicts::over_all_loads(study, target);
    let together = over_all(ASYNC).map(|ratio| compared(&ratio, over_all(AGAIN).as_ref()));
    let manifest = serde_json::to_string(&study.manifest).unwrap_or_default();
    let fields = [
        ("schema", json!(SCHEMA).to_string()),
        ("commit", json!(study.manifest.setting.commit()).to_string()),
        ("plan", json!(study.plan.hash).to_string()),
        ("manifest_sha256", json!(hex::encode(Sha256::digest(&manifest))).to_string()),
        ("raw_sha256", json!(study.raw_sha256).to_string()),
        ("missing", json!(study.missing.len()).to_string()),
        ("assignment", lines(assignment(study))),
        ("verdicts", lines(by_load(study))),
        ("over_all_loads", json!(together).to_string()),
        ("overheads", lines(overheads(study))),
        ("cells", lines(study.records.iter().map(of_record).collect())),
    ];
    format!("{{{}}}\n", fields.map(|(name, value)| format!("\"{name}\":{value}")).join(",\n"))
}

/// Returns the loads as CSV, one per row.
pub(crate) fn csv_text(study: &Study) -> String {
    let failed = CLASSES.map(|(class, _)| format!("failed_{class}"));
    let numbers = measure::COLUMNS.iter().map(|(name, _)| *name);
    let columns = FACTS.split(' ').chain(numbers).chain(failed.iter().map(String::as_str)).chain(["reasons"]);
    let row = |record: &Record| {
        let mut row = of_record(record);
        for (column, (class, _)) in failed.iter().zip(CLASSES) {
            row[column] = row["failures"][class].take();
        }
        row
    };
    let loads = study.records.iter().filter(|record| load(record).is_some());
    csv(&columns.collect_vec(), loads.map(row))
}

/// Returns these columns of rows as CSV. A value that is unknown is empty.
pub(crate) fn csv(columns: &[&str], rows: impl IntoIterator<Item = Value>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // A writer into memory does not fail.
    let _ = writer.write_record(columns);
    for row in rows {
        let _ = writer.serialize(columns.iter().map(|column| &row[*column]).collect_vec());
    }
    String::from_utf8(writer.into_inner().unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;

    /// Other programs read these fields.
    #[test]
    fn the_summary_is_an_interface() {
        let study = Run::bench();
        let summary: Value = serde_json::from_str(&json_text(study)).unwrap();
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(summary["commit"], "abc+");
        let load = "failed kept_waiting_ms latency_ms opened ranked requests_per_s target threads waiting_ms";
        let cases = [
            ("assignment", 15, load),
            ("verdicts", 5, "blocks control high low ratio sentence threads"),
            ("overheads", 14, "change engine high low ranked ratio what"),
        ];
        assert_eq!(keys(&summary["over_all_loads"]), "blocks control high low ratio sentence");
        for (name, rows, fields) in cases {
            let found = summary[name].as_array().unwrap();
            assert_eq!((found.len(), keys(&found[0]).as_str()), (rows, fields), "{name}: {found:?}");
        }
        let printing = |row: &&Value| row["change"] == "access-log" && row["engine"] == "async";
        let row = summary["overheads"].as_array().unwrap().iter().find(printing).unwrap();
        assert!(row["high"].as_f64().unwrap() < 1.0 && row["ranked"] == true, "{row}");
    }
}
