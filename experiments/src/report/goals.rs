//! The goals of our engines beside what was measured.

use crate::judge::goals::{ENGINES, Outcome, outcome};
use crate::judge::study::Study;
use crate::plans::model::{Against, Goal, Quantity, Section, Work};
use crate::report::doc::{Doc, Table};
use crate::report::number::{bytes, load_cell};
use crate::report::words::{self, english};

fn title(goal: &Goal) -> String {
    let measure = match goal.measure {
        Quantity::Rate => "requests/s",
        Quantity::Cpu => "CPU µs/request",
        Quantity::P99 => "latency p99 (ms)",
        Quantity::FirstByteP99 => "first byte p99 (ms)",
        Quantity::Switches => "context switches/request",
        Quantity::Pss => "memory, PSS (MB)",
        Quantity::PerConnection => "KB/idle connection",
        Quantity::Failed => "failed",
    };
    let against = match goal.against {
        Against::Itself => "",
        Against::BestPeer => " / best peer's",
        Against::Haproxy => " / HAProxy's",
        Against::BytePump => " / byte pump's",
        Against::BetterEngine => " / better engine's",
        Against::BestFixed => " / best fixed workers'",
    };
    [measure, against].concat()
}

/// Makes the table of goals: goal and result of each engine under every load.
pub(crate) fn table(study: &Study) -> Table {
    let mut table = words::table("goals");
    for goals in &study.plan.goals {
        let load = &goals.load;
        let kind = if load.section == Section::Servers { "file server, " } else { "" };
        let idle = if load.work == Work::Idle { ", idle" } else { "" };
        let name = format!("{kind}{}, {}{idle}", bytes(load.body_bytes), load_cell(load));
        for goal in &goals.goals {
            let of = |engine| cells(goal, outcome(study, goals, goal, engine));
            table.push([name.clone(), title(goal)].into_iter().chain(ENGINES.into_iter().flat_map(of)));
        }
    }
    table
}

fn cells(goal: &Goal, outcome: Option<Outcome>) -> [String; 3] {
    let Some(Outcome { value, bound, met }) = outcome else {
        return ["–", "", "not measured"].map(String::from);
    };
    let decimals = if goal.measure == Quantity::Failed { 0 } else { 2 };
    let sign = if goal.measure == Quantity::Rate { '≥' } else { '≤' };
    let verdict = if met { "met" } else { "missed" };
    [format!("{value:.decimals$}"), format!("{sign} {bound:.decimals$}"), verdict.into()]
}

/// Writes the goals of the plan, if it has any.
pub(crate) fn write(study: &Study, doc: &mut Doc) {
    if study.plan.goals.is_empty() {
        return;
    }
    doc.heading("The goals of our engines");
    doc.text(english("goals", &[]));
    doc.table(&table(study));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic;

    #[test]
    fn every_goal_is_met_missed_or_not_measured() {
        let mut run = synthetic::Run::new("peers");
        run.raws.retain(|raw| raw.cell.target != "thread" && raw.cell.target != "serve-thread");
        let table = table(&run.study());
        assert_eq!(table.rows.len(), 8 + 5 * 7 + 2 * 2 + 3 + 3 + 2 + 2 * 2);
        for row in &table.rows {
            assert!(["met", "missed", "not measured"].contains(&row[4].as_str()), "{row:?}");
            assert_eq!(row[5..], ["–", "", "not measured"], "{row:?}");
        }
        let has = |verdict: &str| table.rows.iter().any(|row| row[4] == verdict);
        assert!(has("met") && has("missed"));
    }
}
