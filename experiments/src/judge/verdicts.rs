//! What the run says: which engine is faster under each load, what the number of workers does, what each change costs.

use std::cmp::Ordering;

use itertools::Itertools;
use statrs::statistics::Statistics;

use crate::judge::measure;
use crate::judge::stats::{ENOUGH_BLOCKS, Ratio, Verdict};
use crate::judge::study::{Blocks, Group, Study, by_block, quotients};
use crate::plans::model::{Cell, Section, Target, TargetKind, Work};
use crate::plans::targets::{AGAIN, ASYNC, THREAD};

/// Two targets under the same load.
#[derive(Debug, Clone)]
pub(crate) struct Pair<'a> {
    pub(crate) a: Group<'a>,
    pub(crate) b: Group<'a>,
    /// `a / b` in requests per second.
    pub(crate) ratio: Ratio,
}

impl<'a> Pair<'a> {
    fn of(a: Group<'a>, b: Group<'a>) -> Option<Self> {
        Some(Pair { ratio: a.against(&b, measure::rate)?, a, b })
    }
}

/// Returns the thread engine under each load of the assignment.
fn thread_loads(study: &Study) -> Vec<Group<'_>> {
    let is_load = |cell: &Cell| cell.section == Section::Assignment && cell.work == Work::Load;
    study.groups(|cell| is_load(cell) && cell.target == THREAD)
}

/// Compares the async engine with the thread engine under each load of the assignment in which both ran.
pub(crate) fn by_load<'a>(study: &'a Study) -> Vec<Pair<'a>> {
    let pair = |thread: Group<'a>| Pair::of(study.twin(thread.cell, ASYNC)?, thread);
    thread_loads(study).into_iter().filter_map(pair).collect()
}

/// Returns thread again / thread under the load of a group: the same program against itself.
pub(crate) fn control(study: &Study, thread: &Group<'_>) -> Option<Ratio> {
    study.twin(thread.cell, AGAIN)?.against(thread, measure::rate)
}

/// Returns another target / thread over all loads of the assignment together: for each block the geometric mean over the
/// loads. A block counts once, because its measurements are close in time, and only when it has every load. None when
/// there are fewer than two loads.
pub(crate) fn over_all_loads(study: &Study, other: &str) -> Option<Ratio> {
    let ratios = |thread: &Group<'_>| Some(study.twin(thread.cell, other)?.ratios(thread, measure::rate));
    let loads = thread_loads(study).iter().map(ratios).collect::<Option<Vec<Blocks>>>()?;
    let blocks = loads.first().filter(|_| loads.len() > 1)?.keys();
    let mean = |block| {
        let ratios: Option<Vec<&f64>> = loads.iter().map(|ratios| ratios.get(block)).collect();
        Some(ratios?.geometric_mean())
    };
    Ratio::of_blocks(blocks.filter(|(section, _)| *section == Section::Assignment).filter_map(mean))
}

/// Compares the engines at equal numbers of workers, and each number with the default of its engine.
pub(crate) fn workers<'a>(study: &'a Study) -> Vec<Pair<'a>> {
    let is_of = |target: &Target, engine: &str| target.baseline.as_deref() == Some(engine);
    let is_equal = |a: &Target, b: &Target| a.workers == b.workers && is_of(a, ASYNC) && is_of(b, THREAD);
    let numbers = study.section(Section::Workers).into_iter().filter(|a| a.target.workers.is_some());
    let pair = |(a, b): (Group<'a>, &Target)| {
        let is_meant = is_of(a.target, &b.id) || is_equal(a.target, b);
        let b = study.twin(a.cell, &b.id).filter(|_| is_meant)?;
        Pair::of(a, b)
    };
    numbers.cartesian_product(&study.plan.targets).filter_map(pair).collect()
}

/// The web servers under one load.
#[derive(Debug)]
pub(crate) struct Servers<'a> {
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
    let load = |group: &Group<'_>| (group.cell.connections, group.cell.threads);
    let loads = study.section(Section::Servers).into_iter().into_group_map_by(load);
    loads.into_iter().sorted_by_key(|(load, _)| *load).map(|(_, groups)| of_servers(groups)).collect()
}

fn of_servers(groups: Vec<Group<'_>>) -> Servers<'_> {
    type Server<'a> = (Group<'a>, Blocks);
    let servers = groups.into_iter().map(|group| (group.clone(), by_block(group.counted(), measure::rate)));
    let is_compared = |(group, rates): &Server<'_>| group.is_ranked() && rates.len() >= ENOUGH_BLOCKS;
    let (mut compared, rest): (Vec<_>, Vec<_>) = servers.partition(is_compared);
    let all: Vec<Blocks> = compared.iter().map(|(_, rates)| rates.clone()).collect();
    for (_, rates) in &mut compared {
        rates.retain(|block, _| all.iter().all(|other| other.contains_key(block)));
    }
    let rate = |(_, rates): &Server<'_>| Some(Ratio::of_blocks(rates.values().copied())?.ratio);
    compared.sort_by(|a, b| rate(b).partial_cmp(&rate(a)).unwrap_or(Ordering::Equal));
    // A pair has as many blocks as the server with fewer of them.
    let ranked = compared.iter().chain(&rest).filter(|(group, _)| group.is_ranked());
    let second = ranked.map(|(_, rates)| rates.len()).sorted().rev().nth(1).unwrap_or(0);
    let blocks = if compared.len() > 1 { compared[0].1.len() } else { second };
    let ratio =
        |(_, a): &Server<'_>, (_, b): &Server<'_>| Ratio::of_blocks(quotients(a.clone(), b).into_values());
    let lead = |a: &Server<'_>, b: &Server<'_>| match ratio(a, b)?.verdict() {
        Verdict::Faster(low, high) => Some((low, high)),
        _ => None,
    };
    let best = compared.first().filter(|_| blocks >= ENOUGH_BLOCKS).cloned();
    let is_leader = |server: &Server<'_>| best.as_ref().is_some_and(|best| lead(best, server).is_none());
    let (leaders, others): (Vec<_>, Vec<_>) = compared.into_iter().partition(is_leader);
    let reaches = leaders.iter().flat_map(|a| leaders.iter().filter_map(|b| ratio(a, b))).map(|r| r.reach());
    let is_ours = |(group, _): &Server<'_>| group.target.kind == TargetKind::Engine;
    let is_other = |server: &&Server<'_>| !(is_ours(server) && leaders.iter().all(is_ours));
    let beaten = others.iter().filter(is_other).find_map(|other| {
        let leads: Option<Vec<_>> = leaders.iter().map(|leader| lead(leader, other)).collect();
        let ends = |(low, high): (f64, f64), (a, b)| (low.min(a), high.max(b));
        let (low, high) = leads?.into_iter().reduce(ends)?;
        Some((other.0.clone(), low, high))
    });
    let within = reaches.fold(1.0, f64::max);
    let count = leaders.len();
    let rates = leaders.iter().chain(&others).chain(&rest).map(|server| (server.0.clone(), rate(server)));
    Servers { rates: rates.collect(), leaders: count, within, beaten, blocks }
}

/// A change and its baseline.
#[derive(Debug, Clone)]
pub(crate) struct Cost<'a> {
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
pub(crate) fn costs<'a>(study: &'a Study) -> Vec<Cost<'a>> {
    use TargetKind::{Ablation, Variant};
    let ablations = study.section(Section::Ablations).into_iter();
    let changed = ablations.filter(|group| matches!(group.target.kind, Ablation | Variant));
    let cost = |changed: Group<'a>| {
        let kept = Cell { keep_alive: true, ..changed.cell.clone() };
        let id = if changed.cell.keep_alive { changed.target.baseline.as_ref() } else { Some(&kept.target) };
        let baseline = id.and_then(|id| study.twin(&kept, id));
        let ratio = baseline.as_ref().and_then(|baseline| changed.against(baseline, measure::rate));
        Cost { changed, baseline, ratio }
    };
    changed.chain(study.section(Section::Reuse)).map(cost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::synthetic::Run;
    use crate::plans::targets::{DIRECT, SERVE_ASYNC, SERVE_THREAD};

    #[test]
    fn the_verdict_finds_the_difference_that_was_made() {
        let study = Run::bench();
        let pairs = by_load(study);
        assert_eq!(pairs.iter().map(|pair| pair.b.cell.threads).collect::<Vec<_>>(), [10, 50, 100, 150, 200]);
        let made = (9.4 + 7.0 + 14.0) / (9.4 + 7.0 + 13.0);
        let Pair { b: thread, ratio, .. } = &pairs[0];
        assert!(matches!(ratio.verdict(), Verdict::Faster(..)) && ratio.blocks.len() == 12, "{ratio:?}");
        assert!((ratio.ratio / made - 1.0).abs() < 0.02, "{ratio:?}");
        let control = control(study, thread).unwrap();
        assert!(control.reach() < 1.02, "{control:?}");
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
            let of = |study: &Study| over_all_loads(study, ASYNC);
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
                [&[90, 97, 92, 95, 91], &[92, 94, 95, 93, 94], &[50; 5]],
                &[asynchronous, thread],
                Some(nginx),
                5,
            ),
            // The slower engine is no other program.
            ([&[200, 201, 202, 203, 204], &[180; 5], &[51; 5]], &[thread], Some(nginx), 5),
            ([&[100; 5], &[101; 5], &[150; 5]], &[nginx], Some(asynchronous), 5),
            // A mean over a block that another server does not have would be compared with nothing.
            ([&[100, 101, 100, 102, 160], &[103, 104, 103, 105], &[50; 6]], &[asynchronous], Some(nginx), 4),
            ([&[100; 3], &[50; 3], &[20; 3]], &[], None, 3),
        ];
        for (rates, leaders, beaten, blocks) in cases {
            let rates = rates.map(|blocks| blocks.iter().map(|rate| rate * 1000).collect::<Vec<_>>());
            let named = [thread, asynchronous, nginx].into_iter().zip(rates.iter().map(Vec::as_slice));
            let study = Run::with_rates("bench", &named.collect::<Vec<_>>());
            let found = &servers(&study)[0];
            let shown = found.rates.iter().map(|(group, rate)| (group.target.id.as_str(), rate.unwrap()));
            let shown: Vec<(&str, f64)> = shown.collect();
            let names: Vec<&str> = shown[..found.leaders].iter().map(|(name, _)| *name).collect();
            let against = found.beaten.as_ref().map(|(group, ..)| group.target.id.as_str());
            assert_eq!((names.as_slice(), against, found.blocks), (leaders, beaten, blocks));
            if let Some((other, low, high)) = &found.beaten {
                let (_, rate) = shown.iter().find(|(name, _)| *name == other.target.id).unwrap();
                let ratio = shown[0].1 / rate;
                assert!(*low <= ratio + 1e-9 && ratio <= high + 1e-9, "{low} {ratio} {high}");
                assert!(shown.iter().all(|(_, rate)| *rate <= shown[0].1));
            }
        }
    }

    #[test]
    fn workers_and_overheads_are_held_against_their_baselines() {
        let study = Run::bench();
        let found = workers(study);
        // Two loads, three numbers: the engines at equal numbers, and each engine against its default.
        let equal = found.iter().filter(|Pair { a, b, .. }| a.target.workers == b.target.workers).count();
        assert_eq!((equal, found.len()), (2 * 3, 2 * 3 + 2 * 2 * 3));
        assert!(found.iter().all(|pair| pair.ratio.blocks.len() == 4), "{found:?}");
        let costs = costs(study);
        for target in study.plan.targets.iter().filter(|target| target.kind == TargetKind::Ablation) {
            let cost = costs.iter().find(|cost| cost.changed.cell.target == target.id).unwrap();
            let ratio = cost.ratio.as_ref().unwrap();
            assert!(matches!(ratio.verdict(), Verdict::Slower(..)) && ratio.blocks.len() == 8, "{cost:?}");
        }
    }
}
