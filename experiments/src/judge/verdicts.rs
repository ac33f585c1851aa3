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

/// Returns the verdict for each load of a section in which both engines ran.
pub(crate) fn by_load(study: &Study, section: Section) -> Vec<LoadVerdict<'_>> {
    let thread =
        study.groups(|cell| cell.section == section && cell.target == THREAD && cell.work == Work::Load);
    let mut found = Vec::new();
    for thread in thread {
        let against = |target| {
            let other = study.twin(thread.cell, target)?;
            Ratio::of_blocks(&study.paired(&other, &thread, measure::rate))
        };
        let Some(ratio) = against(ASYNC) else { continue };
        found.push(LoadVerdict { cell: thread.cell, ratio, control: against(AGAIN) });
    }
    found
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
    let of = |baseline: &str| -> Vec<&Target> {
        let is_sized = |t: &&Target| t.workers.is_some() && t.baseline.as_deref() == Some(baseline);
        study.plan.targets.iter().filter(is_sized).collect()
    };
    let mut pairs = Vec::new();
    for asynchronous in of(ASYNC) {
        let equal = of(THREAD).into_iter().filter(|thread| thread.workers == asynchronous.workers);
        pairs.extend(equal.map(|thread| (asynchronous.id.clone(), thread.id.clone(), true)));
    }
    for engine in [THREAD, ASYNC] {
        pairs.extend(of(engine).into_iter().map(|target| (target.id.clone(), engine.to_owned(), false)));
    }
    let mut found = Vec::new();
    for group in study.groups(|cell| cell.section == Section::Workers) {
        for (a, b, is_architecture) in pairs.iter().filter(|(a, ..)| *a == group.cell.target) {
            let Some(other) = study.twin(group.cell, b) else { continue };
            let Some(ratio) = Ratio::of_blocks(&study.paired(&group, &other, measure::rate)) else {
                continue;
            };
            let (a, b, is_architecture) = (a.clone(), b.clone(), *is_architecture);
            found.push(Workers { cell: group.cell, a, b, ratio, is_architecture });
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
    let ratios = baseline.as_ref().map(|baseline| study.paired(&changed, baseline, measure::rate));
    let ratio = ratios.and_then(|ratios| Ratio::of_blocks(&ratios));
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
