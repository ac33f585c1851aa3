//! The summary: every number that the report ranks or draws, as JSON and as CSV.

use serde_json::{Map, Value, json};

use crate::judge::measure;
use crate::judge::record::{Measured, Record};
use crate::judge::stats::{Ratio, rounded};
use crate::judge::study::{Measure, Study};
use crate::plans::model::SCHEMA;
use crate::report::about::reasons;
use crate::report::verdict::headline;

/// The columns with numbers of a load.
const NUMBERS: [(&str, Measure); 26] = [
    ("requests_per_second", measure::rate),
    ("success", measure::success),
    ("failed", measure::failed),
    ("latency_ms", measure::latency_ms),
    ("waiting_ms", measure::waiting_ms),
    ("waiting_p99_ms", measure::waiting_p99_ms),
    ("total_p99_ms", measure::total_p99_ms),
    ("total_max_ms", measure::total_max_ms),
    ("transferred_kb", measure::transferred_kb),
    ("transfer_kb_per_second", measure::transfer_kb_s),
    ("target_user_us", measure::user_us),
    ("target_system_us", measure::system_us),
    ("client_cpu_us", measure::client_cpu_us),
    ("backends_cpu_us", measure::backends_cpu_us),
    ("client_share", measure::client_share),
    ("idle_share", measure::idle_share),
    ("voluntary_switches", measure::voluntary),
    ("involuntary_switches", measure::involuntary),
    ("run_delay_us", measure::run_delay_us),
    ("would_blocks", measure::would_blocks),
    ("wakeups", measure::wakeups),
    ("jobs", measure::jobs),
    ("queue_wait_us", measure::queue_wait_us),
    ("peak_mb", measure::peak_mb),
    ("fairness", measure::fairness),
    ("probes", |_, load| Some(load.probe.ok as f64)),
];

fn number(value: Option<f64>) -> Value {
    value.filter(|v| v.is_finite()).map_or(Value::Null, |v| json!(rounded(v)))
}

fn of_record(record: &Record) -> Value {
    let cell = &record.cell;
    let mut row = Map::new();
    row.insert("cell".into(), json!(cell.id));
    row.insert("section".into(), json!(cell.section));
    row.insert("target".into(), json!(cell.target));
    row.insert("block".into(), json!(cell.block));
    row.insert("connections".into(), json!(cell.connections));
    row.insert("opened".into(), json!(cell.opened()));
    row.insert("threads".into(), json!(cell.threads));
    row.insert("body_bytes".into(), json!(cell.body_bytes));
    row.insert("keep_alive".into(), json!(cell.keep_alive));
    row.insert("delay_ms".into(), json!(cell.delay_ms));
    row.insert("validity".into(), json!(record.validity));
    row.insert("reasons".into(), json!(reasons(record).join("; ").replace("**", "")));
    match &record.measured {
        Measured::Load(load) => {
            row.extend(NUMBERS.iter().map(|(name, of)| ((*name).into(), number(of(cell, load)))));
            row.insert("failures".into(), json!(load.failures));
        }
        Measured::Idle(_) => {
            row.insert("idle_kb_per_connection".into(), number(measure::idle_kb(record)));
        }
        Measured::Syscalls(calls) => {
            row.insert("syscalls_per_request".into(), number(Some(calls.per_request())));
        }
        Measured::Failed { .. } => {}
    }
    Value::Object(row)
}

fn of_ratio(ratio: &Ratio) -> Value {
    let interval = ratio.interval.map(|(low, high)| [rounded(low), rounded(high)]);
    let blocks: Vec<f64> = ratio.blocks.iter().copied().map(rounded).collect();
    json!({ "ratio": rounded(ratio.ratio), "interval_95": interval, "blocks": blocks })
}

/// Returns the summary as JSON, with one line per cell, so that differences are easy to see.
pub(crate) fn json_text(study: &Study) -> String {
    let cells: Vec<String> = study.records.iter().map(|record| of_record(record).to_string()).collect();
    let headline = headline(study).map(|h| {
        json!({
            "load": h.load,
            "async_over_thread": of_ratio(&h.ratio),
            "control": h.control.as_ref().map(of_ratio),
            "verdict": format!("{:?}", h.verdict),
        })
    });
    let manifest = serde_json::to_string(&study.manifest).unwrap_or_default();
    format!(
        "{{\"schema\":{SCHEMA},\n\"plan\":{},\n\"manifest_sha256\":\"{}\",\n\"raw_sha256\":\"{}\",\n\"missing\":{},\n\"headline\":{},\n\"cells\":[\n{}\n]}}\n",
        json!(study.plan.hash),
        sha256(&manifest),
        study.raw_sha256,
        study.missing.len(),
        json!(headline),
        cells.join(",\n")
    )
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    crate::plans::build::hex(&Sha256::digest(text))
}

/// Returns the loads as CSV, one per row.
pub(crate) fn csv_text(study: &Study) -> String {
    const FACTS: [&str; 11] = [
        "cell",
        "section",
        "target",
        "block",
        "connections",
        "opened",
        "threads",
        "body_bytes",
        "keep_alive",
        "delay_ms",
        "validity",
    ];
    const FAILURES: [&str; 6] = ["connect", "read", "write", "status", "timeout", "stalled"];
    let mut columns: Vec<String> = FACTS.iter().map(|name| (*name).to_owned()).collect();
    columns.extend(NUMBERS.iter().map(|(name, _)| (*name).to_owned()));
    columns.extend(FAILURES.iter().map(|class| format!("failed_{class}")));
    columns.push("reasons".into());
    let mut text = columns.join(",") + "\n";
    for record in study.records.iter().filter(|record| matches!(record.measured, Measured::Load(_))) {
        let row = of_record(record);
        let values = columns.iter().map(|column| match column.strip_prefix("failed_") {
            Some(class) => field(&row["failures"][class]),
            None => field(&row[column.as_str()]),
        });
        text += &(values.collect::<Vec<_>>().join(",") + "\n");
    }
    text
}

fn field(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) if text.contains([',', '"', '\n']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
