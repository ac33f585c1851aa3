//! What the run says: which engine is faster under each load, what the number of workers does, what each change costs.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use statrs::statistics::Statistics;

use crate::judge::measure;
use crate::judge::stats::{ENOUGH_BLOCKS, Ratio, Verdict};
use crate::judge::study::{Group, Study, by_block};
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
    /// Returns the factor up to which the same program differs from itself; 1 without a control.
    pub(crate) fn noise(&self) -> f64 {
        self.control.as_ref().map_or(1.0, Ratio::reach)
    }
}

/// Returns the thread engine under each load of a section.
fn thread_loads(study: &Study, section: Section) -> Vec<Group<'_>> {
    study.groups(|cell| cell.section == section && cell.target == THREAD && cell.work == Work::Load)
}

/// Returns the verdict for each load of a section in which both engines ran.
pub(crate) fn by_load<'a>(study: &'a Study, section: Section) -> Vec<LoadVerdict<'a>> {
    let verdict = |thread: Group<'a>| {
        let against = |target| study.twin(thread.cell, target)?.against(&thread, measure::rate);
        Some(LoadVerdict { cell: thread.cell, ratio: against(ASYNC)?, control: against(AGAIN) })
    };
    thread_loads(study, section).into_iter().filter_map(verdict).collect()
}

/// Returns another target / thread over all loads of a section together: for each block the geometric mean over the
/// loads. A block counts once, because its measurements are close in time, and only when it has every load. None when
/// there are fewer than two loads.
pub(crate) fn over_all_loads(study: &Study, section: Section, other: &str) -> Option<Ratio> {
    let loads = thread_loads(study, section);
    let mut of_blocks: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for thread in &loads {
        let ratios = study.twin(thread.cell, other)?.ratios(thread, measure::rate);
        for ((_, block), ratio) in ratios.into_iter().filter(|((of, _), _)| *of == section) {
            of_blocks.entry(block).or_default().push(ratio);
        }
    }
    of_blocks.retain(|_, ratios| ratios.len() == loads.len() && ratios.len() > 1);
    Ratio::of_blocks(of_blocks.values().map(Statistics::geometric_mean))
}

/// A comparison of the study of workers.
#[derive(Debug, Clone)]
pub(crate) struct Workers<'a> {
    pub(crate) cell: &'a Cell,
    /// The two targets of the ratio `a / b`.
    pub(crate) a: &'a str,
    pub(crate) b: &'a str,
    pub(crate) ratio: Ratio,
    /// True when both engines have the same number of workers: the difference is the architecture's.
    pub(crate) is_architecture: bool,
}

/// Compares the engines at equal numbers of workers, and each number with the default of its engine.
pub(crate) fn workers(study: &Study) -> Vec<Workers<'_>> {
    let mut found = Vec::new();
    for group in study.section(Section::Workers) {
        let (Some(engine), Some(_)) = (&group.target.baseline, group.target.workers) else { continue };
        let is_equal = |other: &&Target| {
            engine == ASYNC
                && other.baseline.as_deref() == Some(THREAD)
                && other.workers == group.target.workers
        };
        let equal = study.plan.targets.iter().filter(is_equal).map(|other| (&other.id, true));
        for (b, is_architecture) in equal.chain([(engine, false)]) {
            let other = study.twin(group.cell, b);
            let ratio = other.and_then(|other| group.against(&other, measure::rate));
            let [a, b] = [&group.target.id, b];
            found.extend(ratio.map(|ratio| Workers { cell: group.cell, a, b, ratio, is_architecture }));
        }
    }
    found
}

/// The web servers under one load.
#[derive(Debug)]
pub(crate) struct Servers<'a> {
    pub(crate) cell: &'a Cell,
    /// Each server with its requests per second: the geometric mean over the compared blocks. So two compared rates
    /// have the ratio of the verdict. A server that is not compared has the mean over its own blocks.
    pub(crate) rates: Vec<(Group<'a>, Option<f64>)>,
    /// Number of leaders at the begin of `rates`: the fastest server, then those that cannot be told apart from it. 0
    /// without a verdict.
    pub(crate) leaders: usize,
    /// The factor up to which the leaders differ.
    pub(crate) within: f64,
    /// The fastest other program that every leader beats, and the factors: the ends of all intervals.
    pub(crate) beaten: Option<(Group<'a>, f64, f64)>,
    /// Number of the compared blocks.
    pub(crate) blocks: usize,
}

/// Returns the verdict about the web servers under each load. Ranked servers with enough blocks are compared, in the
/// blocks that all of them have.
pub(crate) fn servers(study: &Study) -> Vec<Servers<'_>> {
    let mut loads: BTreeMap<_, Vec<Group<'_>>> = BTreeMap::new();
    for group in study.section(Section::Servers) {
        loads.entry((group.cell.connections, group.cell.threads)).or_default().push(group);
    }
    loads.into_values().map(of_servers).collect()
}

fn of_servers(groups: Vec<Group<'_>>) -> Servers<'_> {
    let by_block = |group: &Group<'_>| by_block(group.counted(), measure::rate);
    let is_compared = |group: &&Group<'_>| group.is_ranked() && by_block(group).len() >= ENOUGH_BLOCKS;
    let all: Vec<_> = groups.iter().filter(is_compared).map(by_block).collect();
    let in_common = |group: &Group<'_>| {
        let mut rates = by_block(group);
        rates.retain(|block, _| !is_compared(&group) || all.iter().all(|other| other.contains_key(block)));
        rates.into_values().collect::<Vec<f64>>()
    };
    let ratio = |a: &Group<'_>, b: &Group<'_>| {
        Ratio::of_blocks(in_common(a).into_iter().zip(in_common(b)).map(|(a, b)| a / b))
    };
    let lead = |a: &Group<'_>, b: &Group<'_>| match ratio(a, b)?.verdict() {
        Verdict::Faster(low, high) => Some((low, high)),
        _ => None,
    };
    let rate = |group: &Group<'_>| Some(Ratio::of_blocks(in_common(group))?.ratio);
    let mut order: Vec<_> = groups.iter().filter(is_compared).cloned().collect();
    order.sort_by(|a, b| rate(b).partial_cmp(&rate(a)).unwrap_or(Ordering::Equal));
    let mut counts: Vec<usize> = groups.iter().filter(|g| g.is_ranked()).map(|g| by_block(g).len()).collect();
    counts.sort_by_key(|count| Reverse(*count));
    // A pair has as many blocks as the server with fewer of them.
    let common = order.first().filter(|_| order.len() > 1).map(|best| in_common(best).len());
    let blocks = common.or(counts.get(1).copied()).unwrap_or(0);
    let is_verdict = common.is_some_and(|blocks| blocks >= ENOUGH_BLOCKS);
    let (leaders, others): (Vec<_>, Vec<_>) =
        order.iter().filter(|_| is_verdict).cloned().partition(|group| lead(&order[0], group).is_none());
    let reaches = leaders.iter().flat_map(|a| leaders.iter().filter_map(|b| ratio(a, b))).map(|r| r.reach());
    let is_ours = |group: &Group<'_>| group.target.kind == TargetKind::Engine;
    let is_other = |group: &&Group<'_>| !(is_ours(group) && leaders.iter().all(is_ours));
    let beaten = others.iter().filter(is_other).find_map(|other| {
        let leads: Option<Vec<_>> = leaders.iter().map(|leader| lead(leader, other)).collect();
        let ends = |(low, high): (f64, f64), (a, b)| (low.min(a), high.max(b));
        let (low, high) = leads?.into_iter().reduce(ends)?;
        Some((other.clone(), low, high))
    });
    let within = reaches.fold(1.0, f64::max);
    let (cell, count) = (groups[0].cell, leaders.len());
    let rest = groups.iter().filter(|group| !is_verdict || !is_compared(group)).cloned();
    let rates = leaders.into_iter().chain(others).chain(rest).map(|group| (group.clone(), rate(&group)));
    Servers { cell, rates: rates.collect(), leaders: count, within, beaten, blocks }
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

impl Cost<'_> {
    /// Returns the engine that is changed; None for another program.
    pub(crate) fn engine(&self) -> Option<&'static str> {
        let Target { id, baseline, .. } = self.changed.target;
        [THREAD, ASYNC].into_iter().find(|engine| baseline.as_ref().unwrap_or(id).ends_with(engine))
    }
}

/// Returns all changes of the run: extra overheads, other design choices, and a connection per request.
pub(crate) fn costs(study: &Study) -> Vec<Cost<'_>> {
    use TargetKind::{Ablation, Variant};
    let ablations = study.section(Section::Ablations).into_iter();
    let changed = ablations.filter(|group| matches!(group.target.kind, Ablation | Variant));
    changed.chain(study.section(Section::Reuse)).map(|changed| cost(study, changed)).collect()
}

fn cost<'a>(study: &'a Study, changed: Group<'a>) -> Cost<'a> {
    let (cell, title) = (changed.cell, study.title(&changed.cell.target));
    let (name, baseline) = match (cell.section, &changed.target.baseline) {
        (Section::Reuse, _) => {
            let kept = Cell { keep_alive: true, ..cell.clone() };
            (title + ": a connection per request", study.twin(&kept, &cell.target))
        }
        (_, baseline) => (title, baseline.as_ref().and_then(|id| study.twin(cell, id))),
    };
    let ratio = baseline.as_ref().and_then(|baseline| changed.against(baseline, measure::rate));
    Cost { name, changed, baseline, ratio }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;
    use crate::plans::targets::{DIRECT, SERVE_ASYNC, SERVE_THREAD};

    #[test]
    fn the_verdict_finds_the_difference_that_was_made() {
        let study = Run::bench();
        let verdicts = by_load(study, Section::Assignment);
        assert_eq!(verdicts.iter().map(|v| v.cell.threads).collect::<Vec<_>>(), [10, 50, 100, 150, 200]);
        let made = (9.4 + 7.0 + 14.0) / (9.4 + 7.0 + 13.0);
        for verdict in &verdicts[..1] {
            assert!(matches!(verdict.ratio.verdict(), Verdict::Faster(..)), "{verdict:?}");
            assert!((verdict.ratio.ratio / made - 1.0).abs() < 0.02, "{verdict:?}");
            assert!(verdict.ratio.blocks.len() == 12 && verdict.noise() < 1.02, "{verdict:?}");
        }
    }

    #[test]
    fn a_block_counts_once_over_all_loads() {
        // Rates of thread and async in each block, the ratio, and the number of blocks.
        let cases: [(&[u64], &[u64], f64, usize); 4] = [
            (&[100, 200, 400, 100], &[110, 220, 440, 110], 1.1, 4),
            (&[100, 100], &[200, 50], 1.0, 2),
            (&[100, 100, 100], &[90, 90], 0.9, 2),
            (&[100], &[], f64::NAN, 0),
        ];
        for (thread, other, ratio, blocks) in cases {
            let mut study = Run::with_rates("bench", &[(THREAD, thread), (ASYNC, other)]);
            let of = |study: &Study| over_all_loads(study, Section::Assignment, ASYNC);
            let found = of(&study);
            assert_eq!(found.as_ref().map_or(0, |found| found.blocks.len()), blocks);
            assert!(found.is_none_or(|found| (found.ratio - ratio).abs() < 1e-9), "{ratio}");
            // A block that lacks a load does not count.
            study.records.retain(|r| r.cell.threads != 10 || r.cell.block > 0);
            assert_eq!(of(&study).map_or(0, |found| found.blocks.len()), blocks.saturating_sub(1));
            // One load has its own verdict.
            study.records.retain(|r| r.cell.threads == 10);
            assert_eq!(of(&study), None);
        }
    }

    /// Requests per second of the file servers in each block, the expected leaders, the beaten program, and the number
    /// of compared blocks.
    type ServerCase<'a> = ([&'a [u64]; 3], &'a [&'a str], Option<&'a str>, usize);

    #[test]
    fn the_fastest_web_servers_have_the_largest_rates_and_are_held_against_the_other_program() {
        let [thread, asynchronous, nginx] = [SERVE_THREAD, SERVE_ASYNC, DIRECT];
        let cases: [ServerCase<'_>; 5] = [
            // The engines are level: the verdict is about both against nginx.
            (
                [&[90, 97, 92, 95, 91, 95], &[92, 94, 95, 93, 94, 92], &[50, 54, 53, 51, 52, 50]],
                &[asynchronous, thread],
                Some(nginx),
                5,
            ),
            // The slower engine is no other program.
            (
                [&[200, 201, 202, 203, 204, 205], &[180, 181, 182, 183, 184, 185], &[51, 52, 53, 54, 55, 56]],
                &[thread],
                Some(nginx),
                5,
            ),
            ([&[100; 6], &[101; 6], &[150; 6]], &[nginx], Some(asynchronous), 5),
            // A mean over a block that another server does not have would be compared with nothing.
            ([&[100, 101, 100, 102, 160], &[103, 104, 103, 105], &[50; 6]], &[asynchronous], Some(nginx), 4),
            ([&[100; 3], &[50; 3], &[20; 3]], &[], None, 3),
        ];
        for (rates, leaders, beaten, blocks) in cases {
            let rates = rates.map(|blocks| blocks.iter().map(|rate| rate * 1000).collect::<Vec<_>>());
            let named = [thread, asynchronous, nginx].into_iter().zip(rates.iter().map(Vec::as_slice));
            let study = Run::with_rates("bench", &named.collect::<Vec<_>>());
            let found = &servers(&study)[0];
            let first = found.rates[..found.leaders].iter();
            let names: Vec<&str> = first.map(|(group, _)| group.cell.target.as_str()).collect();
            let against = found.beaten.as_ref().map(|(group, ..)| group.cell.target.as_str());
            assert_eq!((names.as_slice(), against, found.blocks), (leaders, beaten, blocks));
            if let Some((other, low, high)) = &found.beaten {
                let shown =
                    found.rates.iter().find(|(group, _)| group.cell == other.cell).unwrap().1.unwrap();
                let most = found.rates[0].1;
                let ratio = most.unwrap() / shown;
                assert!(*low <= ratio + 1e-9 && ratio <= high + 1e-9, "{low} {ratio} {high}");
                assert!(found.rates.iter().all(|(_, rate)| *rate <= most));
            }
        }
    }

    #[test]
    fn workers_are_compared_at_equal_numbers_and_with_the_default() {
        let study = Run::bench();
        let found = workers(study);
        // Two loads, three numbers: the engines at equal numbers, and each engine against its default.
        assert_eq!(found.iter().filter(|workers| workers.is_architecture).count(), 2 * 3);
        assert_eq!(found.iter().filter(|workers| !workers.is_architecture).count(), 2 * 2 * 3);
        assert!(found.iter().all(|workers| workers.ratio.blocks.len() == 4), "{found:?}");
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
