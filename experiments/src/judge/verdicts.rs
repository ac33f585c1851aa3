//! What the run says: which engine is faster under each load, what the number of workers does, what each change costs.

use crate::judge::measure;
use crate::judge::stats::Ratio;
use crate::judge::study::{Group, Study};
use crate::plans::model::{Cell, Section, Target, TargetKind, Work};
use crate::plans::targets::{AGAIN, ASYNC, THREAD};

/// Thread against async under one load.
#[derive(Debug, Clone)]
pub(crate) struct LoadVerdict<'a> {
    /// A cell of the load.
    pub(crate) cell: &'a Cell,
    /// async / thread in requests per second.
    pub(crate) ratio: Ratio,
    /// thread again / thread: the same program against itself.
    pub(crate) control: Option<Ratio>,
}

impl LoadVerdict<'_> {
    pub(crate) fn sentence(&self) -> String {
        self.ratio.sentence(ASYNC, THREAD)
    }

    /// Returns the factor up to which the same program differs from itself; 1 without a control.
    pub(crate) fn noise(&self) -> f64 {
        self.control.as_ref().map_or(1.0, Ratio::reach)
    }
}

/// Returns the ratio `a / b` in requests per second.
fn rates(study: &Study, a: &Group<'_>, b: &Group<'_>) -> Option<Ratio> {
    Ratio::of_blocks(&study.paired(a, b, measure::rate))
}

/// Returns the verdict for each load of a section in which both engines ran.
pub(crate) fn by_load<'a>(study: &'a Study, section: Section) -> Vec<LoadVerdict<'a>> {
    let is_thread = |cell: &Cell| cell.section == section && cell.target == THREAD && cell.work == Work::Load;
    let verdict = |thread: Group<'a>| {
        let against = |target| rates(study, &study.twin(thread.cell, target)?, &thread);
        Some(LoadVerdict { cell: thread.cell, ratio: against(ASYNC)?, control: against(AGAIN) })
    };
    study.groups(is_thread).into_iter().filter_map(verdict).collect()
}

/// A comparison of the study of workers.
#[derive(Debug, Clone)]
pub(crate) struct Workers<'a> {
    pub(crate) cell: &'a Cell,
    /// The two targets of the ratio `a / b`.
    pub(crate) a: String,
    pub(crate) b: String,
    pub(crate) ratio: Ratio,
    /// True when both engines have the same number of workers: the difference is the architecture's.
    pub(crate) is_architecture: bool,
}

/// Compares the engines at equal numbers of workers, and each number with the default of its engine.
pub(crate) fn workers(study: &Study) -> Vec<Workers<'_>> {
    let mut found = Vec::new();
    for group in study.section(Section::Workers) {
        let Some(ours) = study.target(&group.cell.target).filter(|target| target.workers.is_some()) else {
            continue;
        };
        let engine = ours.baseline.as_deref();
        let is_equal = |other: &&Target| {
            engine == Some(ASYNC)
                && other.baseline.as_deref() == Some(THREAD)
                && other.workers == ours.workers
        };
        let equal = study.plan.targets.iter().filter(is_equal).map(|other| (other.id.as_str(), true));
        for (b, is_architecture) in equal.chain(engine.map(|engine| (engine, false))) {
            let other = study.twin(group.cell, b);
            let Some(ratio) = other.and_then(|other| rates(study, &group, &other)) else { continue };
            found.push(Workers { cell: group.cell, a: ours.id.clone(), b: b.into(), ratio, is_architecture });
        }
    }
    found
}

/// A change and its baseline.
#[derive(Debug, Clone)]
pub(crate) struct Cost<'a> {
    pub(crate) name: String,
    pub(crate) changed: Group<'a>,
    /// None when the plan has no such cell.
    pub(crate) baseline: Option<Group<'a>>,
    /// The ratio changed / baseline in requests per second. It has an interval only with repetitions.
    pub(crate) ratio: Option<Ratio>,
}

/// Returns all changes of the run: extra overheads, other design choices, and a connection per request.
pub(crate) fn costs(study: &Study) -> Vec<Cost<'_>> {
    let changed = study.groups(|cell| {
        let kind = study.kind(&cell.target);
        cell.section == Section::Ablations && matches!(kind, Some(TargetKind::Ablation | TargetKind::Variant))
    });
    let with_baseline = changed.into_iter().map(|group| {
        let baseline = study.target(&group.cell.target).and_then(|target| target.baseline.clone());
        let baseline = baseline.and_then(|id| study.twin(group.cell, &id));
        cost(study, study.title(&group.cell.target), group, baseline)
    });
    let reuse = study.section(Section::Reuse).into_iter().map(|group| {
        let kept = study.twin(&Cell { keep_alive: true, ..group.cell.clone() }, &group.cell.target);
        cost(study, format!("{}: a connection per request", study.title(&group.cell.target)), group, kept)
    });
    with_baseline.chain(reuse).collect()
}

fn cost<'a>(study: &Study, name: String, changed: Group<'a>, baseline: Option<Group<'a>>) -> Cost<'a> {
    let ratio = baseline.as_ref().and_then(|baseline| rates(study, &changed, baseline));
    Cost { name, changed, baseline, ratio }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::stats::Verdict;
    use crate::judge::synthetic::Run;

    #[test]
    fn the_verdict_finds_the_difference_that_was_made() {
        let study = Run::bench();
        let verdicts = by_load(study, Section::Assignment);
        assert_eq!(verdicts.iter().map(|v| v.cell.threads).collect::<Vec<_>>(), [10, 50, 100, 150, 200]);
        let made = (9.4 + 7.0 + 14.0) / (9.4 + 7.0 + 13.0);
        for verdict in &verdicts[..1] {
            assert!(matches!(verdict.ratio.verdict(), Verdict::Faster(..)), "{verdict:?}");
            assert!((verdict.ratio.ratio / made - 1.0).abs() < 0.02, "{verdict:?}");
            assert!(verdict.sentence().starts_with("async is faster by "), "{}", verdict.sentence());
            assert!(verdict.ratio.blocks.len() == 12 && verdict.noise() < 1.02, "{verdict:?}");
        }
    }

    #[test]
    fn workers_are_compared_at_equal_numbers_and_with_the_default() {
        let study = Run::bench();
        let found = workers(study);
        // Two loads, three numbers: the engines at equal numbers, and each engine against its default.
        assert_eq!(found.iter().filter(|workers| workers.is_architecture).count(), 2 * 3);
        assert_eq!(found.iter().filter(|workers| !workers.is_architecture).count(), 2 * 2 * 3);
        assert!(found.iter().all(|workers| workers.ratio.blocks.len() == 6), "{found:?}");
    }

    #[test]
    fn every_overhead_has_its_baseline_beside_it() {
        let study = Run::bench();
        let costs = costs(study);
        for target in study.plan.targets.iter().filter(|target| target.kind == TargetKind::Ablation) {
            let cost = costs.iter().find(|cost| cost.changed.cell.target == target.id).unwrap();
            let ratio = cost.ratio.as_ref().unwrap();
            assert!(matches!(ratio.verdict(), Verdict::Slower(..)) && ratio.blocks.len() == 8, "{cost:?}");
        }
    }
}
