//! The goals of our engines beside what was measured.

use crate::judge::measure::{self, Measure};
use crate::judge::study::{Group, Study};
use crate::plans::model::{Cell, Goal, Quantity, Section, Work};
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Table};
use crate::report::number::{bytes, load_cell};
use crate::report::words::{self, Lang, english};

/// Returns the name of a quantity, and its measure; None for a quantity that is no median over loads.
fn meaning(quantity: Quantity) -> (&'static str, Option<Measure>) {
    match quantity {
        Quantity::Rate => ("requests/s", Some(measure::rate)),
        Quantity::Cpu => ("CPU µs/request", Some(measure::cpu_us)),
        Quantity::P99 => ("latency p99 (ms)", Some(measure::latency_p99_ms)),
        Quantity::FirstByteP99 => ("first byte p99 (ms)", Some(measure::waiting_p99_ms)),
        Quantity::Switches => ("context switches/request", Some(measure::switches)),
        Quantity::Pss => ("memory, PSS (MB)", Some(measure::pss_mb)),
        Quantity::PerConnection => ("KB/idle connection", Some(measure::idle_kb)),
        Quantity::Failed => ("failed", None),
    }
}

/// Returns the value of an engine. Among several other programs, the program with the worst ratio for ours counts.
fn value(study: &Study, ours: &Group<'_>, goal: &Goal) -> Option<f64> {
    let (_, measure) = meaning(goal.measure);
    if goal.against.is_empty() {
        return match goal.measure {
            Quantity::Failed => Some(ours.runs.iter().map(|run| measure::failures(run) as f64).sum()),
            _ => ours.median(measure?),
        };
    }
    let ratios = goal.against.split_whitespace().filter_map(|id| {
        // A variant is compared with its own engine only.
        let baseline = study.target(id)?.baseline.as_ref();
        let theirs = study.twin(ours.cell, id).filter(|_| baseline.is_none_or(|of| *of == ours.cell.target));
        Some(ours.against(&theirs?, measure?)?.ratio)
    });
    ratios.reduce(if goal.measure == Quantity::Rate { f64::min } else { f64::max })
}

/// Returns the value, the goal and the verdict of an engine.
fn cells(study: &Study, load: &Cell, goal: &Goal, engine: &str) -> [String; 3] {
    let id = if load.section == Section::Servers { format!("serve-{engine}") } else { engine.to_owned() };
    let Some(value) = study.twin(load, &id).and_then(|ours| value(study, &ours, goal)) else {
        return ["–", "", "not measured"].map(String::from);
    };
    let bound = if engine == THREAD { goal.thread } else { goal.asynchronous };
    let (sign, met) =
        if goal.measure == Quantity::Rate { ('≥', value >= bound) } else { ('≤', value <= bound) };
    let decimals = if goal.measure == Quantity::Failed { 0 } else { 2 };
    let verdict = if met { "met" } else { "missed" };
    [format!("{value:.decimals$}"), format!("{sign} {bound:.decimals$}"), verdict.into()]
}

/// Makes the table of goals: goal and result of each engine under every load.
pub(crate) fn table(study: &Study) -> Table {
    let mut table = words::table(Lang::En, "goals");
    for (load, goals) in &study.plan.goals {
        let kind = if load.section == Section::Servers { "file server, " } else { "" };
        let idle = if load.work == Work::Idle { ", idle" } else { "" };
        let name = format!("{kind}{}, {}{idle}", bytes(load.body_bytes), load_cell(load));
        for goal in goals {
            let against =
                if goal.against.is_empty() { String::new() } else { format!(" / {}", goal.against) };
            let both = [ASYNC, THREAD].into_iter().flat_map(|engine| cells(study, load, goal, engine));
            table.push([name.clone(), meaning(goal.measure).0.to_owned() + &against].into_iter().chain(both));
        }
    }
    table
}

/// Writes the goals of the plan, if it has any.
pub(crate) fn write(study: &Study, doc: &mut Doc) {
    if study.plan.goals.is_empty() {
        return;
    }
    doc.heading(3, "The goals of our engines");
    doc.text(english("goals", &[]));
    doc.table(&table(study));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;

    #[test]
    fn an_engine_is_compared_within_its_block_with_one_program_in_all_blocks() {
        // The second block is slow for all programs, and only there HAProxy is the better peer.
        let study = Run::with_rates(
            "peers",
            &[
                ("thread", &[200, 60, 160]),
                ("async", &[100, 30, 80]),
                ("haproxy", &[50, 40, 40]),
                ("nginx", &[100, 30, 80]),
                ("thread-1", &[200, 60, 160]),
                ("thread-2", &[250, 75, 200]),
            ],
        );
        let (load, _) = &study.plan.goals[0];
        let fixed = "thread-1 thread-2 async-1";
        let cases = [
            (THREAD, Quantity::Rate, "haproxy nginx caddy", 2.0, ["2.00", "≥ 2.00", "met"]),
            (THREAD, Quantity::Rate, fixed, 0.9, ["0.80", "≥ 0.90", "missed"]),
            (ASYNC, Quantity::Rate, fixed, 0.9, ["–", "", "not measured"]),
            (THREAD, Quantity::Rate, "thread async", 0.9, ["1.00", "≥ 0.90", "met"]),
            (ASYNC, Quantity::Rate, "thread async", 0.9, ["0.50", "≥ 0.90", "missed"]),
            (THREAD, Quantity::Rate, "", 160.0, ["160.00", "≥ 160.00", "met"]),
            (THREAD, Quantity::PerConnection, "nginx", 1.0, ["–", "", "not measured"]),
            (THREAD, Quantity::Pss, "", 8.0, ["8.79", "≤ 8.00", "missed"]),
            // Two of the five blocks were not measured.
            (THREAD, Quantity::Failed, "", 0.0, ["2", "≤ 0", "missed"]),
        ];
        for (engine, measure, against, bound, expected) in cases {
            let goal = Goal { measure, against: against.into(), thread: bound, asynchronous: bound };
            assert_eq!(cells(&study, load, &goal, engine), expected, "{engine} {goal:?}");
        }
        assert_eq!(table(&study).rows.len(), 8 + 5 * 7 + 2 * 2 + 3 + 3 + 2 + 2 * 2);
    }
}
