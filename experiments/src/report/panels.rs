//! Item 7 of the report, without the curves: CPU by role, ratios with the A/A band, the crossover map.

use std::collections::BTreeSet;

use crate::judge::measure;
use crate::judge::stats::{Ratio, median};
use crate::judge::study::{Group, Study, load};
use crate::judge::verdicts::LoadVerdict;
use crate::plans::model::Section;
use crate::plans::targets::THREAD;
use crate::report::number::{bytes, load_name, short};
use crate::report::page::{Block, Figure};
use crate::report::plots;
use crate::report::shapes::{Bar, Line, Map, Square, bars, map, ratios};
use crate::report::svg::Svg;
use crate::report::verdict::{assignment, conditions};
use crate::run::raw::Role;

/// The names and the CSS classes of the parts of a bar.
const PARTS: [(&str, &str); 4] = [
    ("balancer, user", "bar s0"),
    ("balancer, system", "bar light s0"),
    ("backends", "bar light s2"),
    ("client", "bar light s4"),
];

/// Returns the groups of the load with which most balancers were measured.
fn balancers(study: &Study) -> Vec<Group<'_>> {
    for section in [Section::Peers, Section::Assignment] {
        let mut groups = study.section(section);
        let most = groups.iter().map(|group| group.cell.connections).max();
        groups
            .retain(|group| Some(group.cell.connections) == most && group.median(measure::cpu_us).is_some());
        if groups.len() > 1 {
            return groups;
        }
    }
    Vec::new()
}

fn cpu_by_role(study: &Study) -> Figure {
    let groups = balancers(study);
    let of = |group: &Group<'_>, role| {
        let values: Vec<f64> =
            group.loads().into_iter().filter_map(|(_, load)| measure::role_cpu_us(load, role)).collect();
        median(&values).unwrap_or(0.0)
    };
    let bar = |group: &Group<'_>| {
        let values = [
            group.median(measure::user_us).unwrap_or(0.0),
            group.median(measure::system_us).unwrap_or(0.0),
            of(group, Role::Backends),
            of(group, Role::Client),
        ];
        let parts =
            PARTS.iter().zip(values).map(|((name, class), value)| ((*name).into(), (*class).into(), value));
        let mark = if group.is_ranked() { "" } else { " (not ranked)" };
        let said = format!("{} + {} µs", short(values[0] + values[1]), short(values[2] + values[3]));
        Bar { label: study.title(&group.cell.target) + mark, parts: parts.collect(), said }
    };
    let draw = || {
        let rows: Vec<Bar> = groups.iter().map(bar).collect();
        bars("CPU microseconds per request", &PARTS, &rows)
    };
    let load = groups.first().map_or(String::new(), |group| load_name(group.cell));
    plots::figure(
        "cpu-by-role",
        "CPU per request, by role",
        &format!(
            "Shorter is better; the strong and the pale blue part are the balancer's, the first number at the bar's end is \
             their sum, the second that of the others, whom the balancer does not control. Under `{load}`."
        ),
        (!groups.is_empty()).then(draw),
        "Not in this run: no load was put on two balancers.",
    )
}

fn line(label: String, colour: usize, ratio: &Ratio) -> Line {
    let Ratio { ratio, interval, blocks } = ratio.clone();
    Line { label, colour, ratio, interval, blocks }
}

fn ratio_plot(study: &Study) -> Figure {
    let verdicts = assignment(study);
    let mut lines: Vec<Line> =
        verdicts.iter().map(|verdict| line(load_name(verdict.cell), 1, &verdict.ratio)).collect();
    let noise = verdicts.iter().filter(|v| v.control.is_some()).map(LoadVerdict::noise).reduce(f64::max);
    let band = noise.map(|noise| (1.0 / noise, noise));
    let shown = [Section::Concurrency, Section::Bodies, Section::Reuse];
    for (group, ratio) in conditions(study).iter().filter(|(group, _)| shown.contains(&group.cell.section)) {
        let label = format!("{}, {}", load_name(group.cell), bytes(group.cell.body_bytes));
        lines.push(line(label, 9, ratio));
    }
    let title = "async / thread in requests/s (logarithmic; right: async is faster)";
    plots::figure(
        "ratios",
        "Async against thread, load by load",
        "Right of 1× the async engine is faster, left of it the thread engine; hollow points are single blocks, the bar is \
         the 95 % interval, and within the grey band (A/A) nothing can be told apart.",
        (!lines.is_empty()).then(|| ratios(title, &lines, band)),
        "Not in this run: no load has both engines ranked.",
    )
}

/// Draws which engine is faster, by backend latency and concurrency. Each body size has a map.
fn crossover(study: &Study) -> Figure {
    let groups = study.section(Section::Crossover);
    let set = |of: fn(&Group<'_>) -> u64| -> Vec<u64> {
        groups.iter().map(of).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let (bodies, delays) = (set(|group| group.cell.body_bytes), set(|group| group.cell.delay_ms));
    let connections = set(|group| u64::from(group.cell.connections));
    let square = |body: u64, delay: u64, connections: u64| {
        let here = |group: &&Group<'_>| {
            let c = group.cell;
            (c.body_bytes, c.delay_ms, u64::from(c.connections)) == (body, delay, connections)
        };
        let of =
            |thread: bool| groups.iter().filter(here).find(|group| (group.cell.target == THREAD) == thread);
        let (Some(thread), Some(asynchronous)) = (of(true), of(false)) else {
            return Square { ratio: None, ranked: false };
        };
        let ranked =
            Ratio::of_blocks(&study.paired(asynchronous, thread, measure::rate)).map(|ratio| ratio.ratio);
        let any = || Some(asynchronous.median(measure::rate)? / thread.median(measure::rate)?);
        Square { ranked: ranked.is_some(), ratio: ranked.or_else(any) }
    };
    let draw = || {
        let maps = bodies.iter().map(|body| Map {
            heading: format!("{} bodies", bytes(*body)),
            columns: connections.iter().map(|c| format!("{c} conn.")).collect(),
            rows: delays.iter().map(|delay| format!("{delay} ms")).collect(),
            squares: delays
                .iter()
                .flat_map(|delay| connections.iter().map(|c| square(*body, *delay, *c)))
                .collect(),
        });
        Svg::stacked(&maps.map(|one| map(&one, "backend")).collect::<Vec<_>>())
    };
    plots::figure(
        "crossover",
        "Crossover map: concurrency, backend latency and body size",
        "Each square is async / thread in requests/s: orange where async is faster, blue where thread is, the stronger the \
         more; in brackets what failed a gate.",
        (!groups.is_empty()).then(draw),
        "Not in this run: its plan has no backend latencies.",
    )
}

/// Draws the failures; None without failures.
fn failures(study: &Study) -> Option<Figure> {
    const CLASSES: [(&str, &str); 6] = [
        ("connect", "bar s0"),
        ("read", "bar s1"),
        ("write", "bar s2"),
        ("status", "bar s3"),
        ("timeout", "bar s5"),
        ("stalled", "bar s7"),
    ];
    let mut rows = Vec::new();
    for group in study.groups(|_| true) {
        let counts = group.runs.iter().filter_map(|record| load(record)).map(|load| load.failures);
        let mut sums = [0u64; 6];
        for f in counts {
            for (sum, n) in sums.iter_mut().zip([f.connect, f.read, f.write, f.status, f.timeout, f.stalled])
            {
                *sum += n;
            }
        }
        let total: u64 = sums.iter().sum();
        let parts =
            CLASSES.iter().zip(sums).map(|((name, class), n)| ((*name).into(), (*class).into(), n as f64));
        let label = format!("{}, {}", study.title(&group.cell.target), load_name(group.cell));
        rows.push((total, Bar { label, parts: parts.collect(), said: short(total as f64) }));
    }
    rows.retain(|(total, _)| *total > 0);
    rows.sort_by_key(|row| std::cmp::Reverse(row.0));
    rows.truncate(12);
    let rows: Vec<Bar> = rows.into_iter().map(|(_, bar)| bar).collect();
    (!rows.is_empty()).then(|| {
        plots::figure(
            "failures",
            "Failures by class",
            "The loads with the most failures, at most twelve; what is not listed failed less, or not at all.",
            Some(bars("failed, over all repetitions", &CLASSES, &rows)),
            "",
        )
    })
}

/// Item 7.
pub(crate) fn part(study: &Study) -> Vec<Block> {
    let mut figures = vec![
        plots::rate_by_concurrency(study),
        plots::latency_by_concurrency(study),
        plots::percentile_curve(study),
        plots::p99_by_rate(study),
        cpu_by_role(study),
        ratio_plot(study),
        plots::threads_sweep(study),
        plots::rate_over_time(study),
        plots::per_connection(study),
        plots::memory(study),
        crossover(study),
    ];
    figures.extend(failures(study));
    vec![Block::part("plots", "7. Plots"), Block::Figures(figures)]
}
