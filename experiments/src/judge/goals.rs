//! Whether our engines meet the goals of the plan.

use crate::judge::measure;
use crate::judge::study::{Group, Measure, Study};
use crate::plans::model::{Against, Goal, Goals, Quantity, Section, Target, TargetKind};
use crate::plans::targets::{ASYNC, THREAD};

/// The engines, in the order of the report.
pub(crate) const ENGINES: [&str; 2] = [ASYNC, THREAD];

/// The result of a goal.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) value: f64,
    pub(crate) bound: f64,
    pub(crate) met: bool,
}

/// Checks a goal of an engine. None when the engine, or a program that it is compared with, was not measured.
pub(crate) fn outcome(study: &Study, goals: &Goals, goal: &Goal, engine: &str) -> Option<Outcome> {
    let is_server = goals.load.section == Section::Servers;
    let id = if is_server { format!("serve-{engine}") } else { engine.to_owned() };
    let value = compare(study, &study.twin(&goals.load, &id)?, goal)?;
    let bound = if engine == THREAD { goal.thread } else { goal.asynchronous };
    let met = if goal.measure == Quantity::Rate { value >= bound } else { value <= bound };
    Some(Outcome { value, bound, met })
}

/// Returns the value of a goal. Among several programs, the program with the worst ratio for ours counts.
fn compare(study: &Study, ours: &Group<'_>, goal: &Goal) -> Option<f64> {
    if goal.against == Against::Itself {
        return value(ours, goal.measure);
    }
    let (id, what) = (ours.cell.target.as_str(), study.what(&ours.cell.target));
    let is_meant = |other: &&Target| match goal.against {
        Against::Itself => false,
        Against::BestPeer => other.kind == TargetKind::Peer,
        Against::Haproxy => other.id == "haproxy",
        Against::BytePump => other.id == "byte-pump",
        Against::BetterEngine => other.kind == TargetKind::Engine,
        Against::BestFixed => other.workers.is_some() && other.baseline.as_deref() == Some(id),
    };
    let others = study.plan.targets.iter().filter(|other| Some(other.what) == what).filter(is_meant);
    let ratios = others.filter_map(|other| {
        let theirs = study.twin(ours.cell, &other.id)?;
        Some(ours.against(&theirs, of_load(goal.measure)?)?.ratio)
    });
    ratios.reduce(if goal.measure == Quantity::Rate { f64::min } else { f64::max })
}

/// Returns the median over the runs, or the sum of the failures.
fn value(group: &Group<'_>, quantity: Quantity) -> Option<f64> {
    match of_load(quantity) {
        Some(measure) => group.median(measure),
        None if quantity == Quantity::Failed => {
            Some(group.runs.iter().map(|run| measure::failures(run) as f64).sum())
        }
        None => group.idle_kb(),
    }
}

/// Returns the measure of a load; None for a quantity that is no median over loads.
fn of_load(quantity: Quantity) -> Option<Measure> {
    match quantity {
        Quantity::Rate => Some(measure::rate),
        Quantity::Cpu => Some(measure::cpu_us),
        Quantity::P99 => Some(measure::latency_p99_ms),
        Quantity::FirstByteP99 => Some(measure::waiting_p99_ms),
        Quantity::Switches => Some(measure::switches),
        Quantity::Pss => Some(measure::pss_mb),
        Quantity::PerConnection | Quantity::Failed => None,
    }
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
                ("byte-pump", &[400, 120, 320]),
                ("thread-1", &[200, 60, 160]),
                ("thread-2", &[250, 75, 200]),
            ],
        );
        let goals = &study.plan.goals[0];
        let cases = [
            (THREAD, Quantity::Rate, Against::BestPeer, Some(2.0)),
            (THREAD, Quantity::Rate, Against::BytePump, Some(0.5)),
            (THREAD, Quantity::Rate, Against::BestFixed, Some(0.8)),
            (ASYNC, Quantity::Rate, Against::BestFixed, None),
            (THREAD, Quantity::Rate, Against::BetterEngine, Some(1.0)),
            (ASYNC, Quantity::Rate, Against::BetterEngine, Some(0.5)),
            (THREAD, Quantity::Rate, Against::Itself, Some(160.0)),
            (THREAD, Quantity::PerConnection, Against::BestPeer, None),
        ];
        for (engine, measure, against, expected) in cases {
            let goal = Goal { measure, against, thread: 0.7, asynchronous: 0.7 };
            let found = outcome(&study, goals, &goal, engine);
            let near = |value: f64| expected.is_some_and(|expected: f64| (value - expected).abs() < 1e-9);
            assert!(found.map_or(expected.is_none(), |o| near(o.value)), "{engine} {goal:?}: {found:?}");
            assert!(found.is_none_or(|o| o.met == (o.value >= 0.7)), "{engine} {goal:?}: {found:?}");
        }
    }

    #[test]
    fn what_is_not_a_rate_has_a_maximum_and_a_failed_measurement_is_a_failure() {
        let study = Run::with_rates("peers", &[("thread", &[100, 100, 100])]);
        let goals = &study.plan.goals[0];
        let goal = |measure, bound| {
            let goal = Goal { measure, against: Against::Itself, thread: bound, asynchronous: bound };
            outcome(&study, goals, &goal, THREAD).unwrap()
        };
        // Two of the five blocks were not measured.
        assert_eq!(goal(Quantity::Failed, 0.0), Outcome { value: 2.0, bound: 0.0, met: false });
        assert!(goal(Quantity::Pss, 9.0).met && !goal(Quantity::Pss, 8.0).met);
    }
}
