//! Item 7 of the report: the curves. A plot whose cells are not in the run is replaced by a sentence.

use std::collections::BTreeSet;

use crate::judge::measure;
use crate::judge::study::{Group, Measure, Study};
use crate::plans::model::{Cell, Section, Work};
use crate::plans::targets::{AGAIN, ASYNC, DIRECT, SERVE_ASYNC, SERVE_THREAD, THREAD};
use crate::report::chart::{Axis, Chart, Point, Series, Stroke};
use crate::report::doc::Figure;
use crate::report::number::load_name;
use crate::report::svg::Svg;
use crate::run::histogram::Distribution;

/// Returns the colour of a target, which is the same in every plot.
pub(crate) fn colour(target: &str) -> usize {
    let known = [THREAD, ASYNC, SERVE_THREAD, SERVE_ASYNC, DIRECT, "haproxy", "nginx", "caddy", "apache"];
    match known.iter().position(|id| *id == target) {
        Some(place) => place,
        None if target == AGAIN => 0,
        None => 9,
    }
}

pub(crate) fn stroke(target: &str) -> Stroke {
    match target {
        DIRECT | SERVE_THREAD | SERVE_ASYNC => Stroke::Dashed,
        AGAIN => Stroke::Dotted,
        _ => Stroke::Solid,
    }
}

/// Returns the targets of the groups, in their order, without duplicates.
fn targets<'a>(groups: &[Group<'a>]) -> Vec<&'a str> {
    let mut seen = BTreeSet::new();
    groups.iter().map(|group| group.cell.target.as_str()).filter(|target| seen.insert(*target)).collect()
}

/// Makes a curve for each target over a property of its cells.
fn curves(study: &Study, groups: &[Group<'_>], x: fn(&Cell) -> f64, y: Measure) -> Vec<Series> {
    let of = |target: &str| {
        let points = groups.iter().filter(|group| group.cell.target == target).filter_map(|group| {
            let values = group.values(y);
            let low = values.iter().copied().fold(f64::INFINITY, f64::min);
            let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let spread = (values.len() > 1).then_some((low, high));
            Some(Point { spread, invalid: !group.is_ranked(), ..Point::new(x(group.cell), group.median(y)?) })
        });
        let mut points: Vec<Point> = points.collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Series { name: study.title(target), colour: colour(target), stroke: stroke(target), points }
    };
    targets(groups).into_iter().map(of).filter(|series| !series.points.is_empty()).collect()
}

fn ys(series: &[Series]) -> Vec<f64> {
    let tops = |p: &Point| [Some(p.y), p.spread.map(|s| s.1)].into_iter().flatten();
    series.iter().flat_map(|s| &s.points).flat_map(tops).collect()
}

fn xs(series: &[Series]) -> Vec<f64> {
    series.iter().flat_map(|s| &s.points).map(|p| p.x).collect()
}

/// Counts the different x values. A curve needs two.
fn places(series: &[Series]) -> usize {
    let mut places = xs(series);
    places.sort_by(f64::total_cmp);
    places.dedup();
    places.len()
}

const NO_CONCURRENCY: &str = "Not in this run: its plan does not vary the number of connections.";

fn concurrency(study: &Study, measure: Measure) -> Vec<Series> {
    curves(study, &study.section(Section::Concurrency), |cell| f64::from(cell.connections), measure)
}

fn connections_axis(series: &[Series]) -> Axis {
    Axis::log("connections (logarithmic)", xs(series)).at(xs(series))
}

pub(crate) fn rate_by_concurrency(study: &Study) -> Figure {
    let series = concurrency(study, measure::rate);
    let draw = || {
        let y = Axis::from_zero("requests/s", ys(&series));
        Chart::new(connections_axis(&series), y, series.clone()).draw()
    };
    Figure::new(
        "rate-by-concurrency",
        "Requests per second by concurrency",
        "Higher is better; the dashed curves are the servers asked directly, which no balancer over them can exceed. Points \
         are medians, hollow where a gate failed; a shaded band spans the repetitions.",
        (places(&series) > 1).then(draw),
        NO_CONCURRENCY,
    )
}

pub(crate) fn latency_by_concurrency(study: &Study) -> Figure {
    let engines = |mut series: Vec<Series>, what: &str, stroke: Stroke| {
        series.retain(|s| s.colour < 2);
        for s in &mut series {
            s.name = format!("{}, {what}", s.name.replace("Neraca, ", ""));
            s.stroke = stroke;
            s.points.iter_mut().for_each(|point| point.spread = None);
        }
        series
    };
    let mut series = engines(concurrency(study, measure::latency_ms), "mean", Stroke::Solid);
    series.extend(engines(concurrency(study, measure::waiting_p99_ms), "p99", Stroke::Dashed));
    let draw = || {
        let y = Axis::log("milliseconds (logarithmic)", ys(&series));
        Chart::new(connections_axis(&series), y, series.clone()).draw()
    };
    Figure::new(
        "latency-by-concurrency",
        "Latency by concurrency",
        "Lower is better; solid is the mean by Little's law, dashed the prober's 99th percentile of waiting; where the two \
         drift apart, some wait much longer than most.",
        (places(&series) > 1).then(draw),
        NO_CONCURRENCY,
    )
}

/// Returns the groups of the heaviest load of the assignment, or the best replacement if it was not measured.
fn best_groups(study: &Study) -> Vec<Group<'_>> {
    use Section::{Assignment, Concurrency, Peers};
    for section in [Assignment, Concurrency, Peers] {
        let mut groups = study.section(section);
        let most = groups.iter().map(|group| (group.cell.connections, group.cell.threads)).max();
        groups.retain(|group| Some((group.cell.connections, group.cell.threads)) == most);
        if groups.iter().any(|group| !group.loads().is_empty()) {
            return groups;
        }
    }
    Vec::new()
}

/// Returns the median of each percentile over all runs of a group.
fn percentiles(group: &Group<'_>) -> Vec<(f64, f64)> {
    let runs: Vec<&Distribution> = group.loads().iter().map(|(_, load)| &load.probe.total_us).collect();
    let Some(first) = runs.first() else { return Vec::new() };
    let fractions = first.percentiles.iter().map(|(fraction, _)| *fraction);
    let of = |fraction: f64| {
        let values: Vec<f64> = runs
            .iter()
            .filter_map(|run| run.percentiles.iter().find(|(f, _)| (f - fraction).abs() < 1e-9))
            .map(|(_, us)| *us as f64 / 1e3)
            .collect();
        (values.len() * 2 > runs.len()).then(|| crate::judge::stats::median(&values)).flatten()
    };
    fractions.filter_map(|fraction| Some((fraction, of(fraction)?))).filter(|(_, ms)| *ms > 0.0).collect()
}

pub(crate) fn percentile_curve(study: &Study) -> Figure {
    let groups = best_groups(study);
    let series: Vec<Series> = groups
        .iter()
        .map(|group| Series {
            name: study.title(&group.cell.target),
            colour: colour(&group.cell.target),
            stroke: stroke(&group.cell.target),
            points: percentiles(group).into_iter().map(|(f, ms)| Point::new(1.0 / (1.0 - f), ms)).collect(),
        })
        .filter(|series| series.points.len() > 1)
        .collect();
    let draw = || {
        let most = xs(&series).into_iter().fold(0.0, f64::max);
        let ticks =
            [(1.0, "0"), (2.0, "50 %"), (10.0, "90 %"), (20.0, "95 %"), (100.0, "99 %"), (1000.0, "99.9 %")];
        let ticks: Vec<(f64, &str)> = ticks.into_iter().filter(|(at, _)| *at <= most * 1.01).collect();
        let x = Axis::log("share of requests answered within this time", xs(&series)).labelled(&ticks, most);
        let y = Axis::log("ms from intended time to last byte", ys(&series));
        Chart::new(x, y, series.clone()).draw()
    };
    let load = groups.first().map_or(String::new(), |group| load_name(group.cell));
    Figure::new(
        "percentiles",
        "Latency percentiles",
        &format!(
            "Each step to the right is a rarer request; a curve that rises late and little is better. Under `{load}`, from the prober."
        ),
        (!series.is_empty()).then(draw),
        "Not in this run: too few requests of the prober were answered.",
    )
}

pub(crate) fn p99_by_rate(study: &Study) -> Figure {
    let mut groups = study.groups(|c| {
        matches!(c.section, Section::Concurrency | Section::Peers) && c.keep_alive && c.body_bytes == 128
    });
    groups.retain(|group| study.what(&group.cell.target) == Some(crate::plans::model::What::Balancer));
    let mut series = curves(study, &groups, |cell| f64::from(cell.connections), measure::waiting_p99_ms);
    for one in &mut series {
        let target = groups.iter().find(|group| study.title(&group.cell.target) == one.name);
        let Some(target) = target.map(|group| group.cell.target.clone()) else { continue };
        let of = |group: &&Group<'_>| group.cell.target == target;
        let known = groups.iter().filter(of).filter_map(|group| {
            let (x, y) = (group.median(measure::rate)?, group.median(measure::waiting_p99_ms)?);
            Some(Point { invalid: !group.is_ranked(), ..Point::new(x, y) })
        });
        one.points = known.collect();
    }
    let draw = || {
        let x = Axis::from_zero("requests/s", xs(&series));
        let y = Axis::log("waiting, p99 (ms)", ys(&series));
        Chart { joined: false, ..Chart::new(x, y, series.clone()) }.draw()
    };
    Figure::new(
        "p99-by-rate",
        "99th percentile by requests per second",
        "A point for each number of connections; down and to the right is better: more requests, and less waiting for the \
         unlucky ones.",
        (places(&series) > 1).then(draw),
        "Not in this run: it has too few loads with a 99th percentile.",
    )
}

/// Draws the rate by the client's threads (`-t`), for the balancers and for the client itself.
pub(crate) fn threads_sweep(study: &Study) -> Figure {
    let groups = study.section(Section::Assignment);
    let x = |cell: &Cell| f64::from(cell.threads);
    let rates = curves(study, &groups, x, measure::rate);
    let shares: Vec<Series> =
        curves(study, &groups, x, |cell, load| Some(measure::client_share(cell, load)? * 100.0));
    let draw = || {
        let axis = |series: &[Series]| Axis::from_zero("threads of wrk (-t)", xs(series)).at(xs(series));
        let mut below = Chart::new(
            axis(&shares),
            Axis::from_zero("% of all CPUs that wrk used", ys(&shares)),
            shares.clone(),
        );
        below.inside = 110.0;
        below.series.iter_mut().for_each(|series| series.name.clear());
        let mut above = Chart::new(axis(&rates), Axis::from_zero("requests/s", ys(&rates)), rates.clone());
        above.inside = 150.0;
        Svg::stacked(&[above.draw(), below.draw()])
    };
    Figure::new(
        "threads-sweep",
        "Threads of the client, and what they cost",
        "Above the rate, below the share of the machine that wrk itself used: where the lower curve rises as the upper falls, \
         the client takes the CPU away, and the slope is not the balancer's.",
        (places(&rates) > 1).then(draw),
        "Not in this run: its plan does not vary the threads of the client.",
    )
}

pub(crate) fn rate_over_time(study: &Study) -> Figure {
    let mut groups = study.groups(|cell| cell.work == Work::Load && cell.delay_ms == 0);
    groups.retain(|group| !series_of(group).is_empty());
    groups.sort_by_key(|group| std::cmp::Reverse(group.cell.opened()));
    let mut seen = BTreeSet::new();
    groups.retain(|group| seen.insert(group.cell.target.as_str()));
    groups.truncate(4);
    let draw = || {
        let all: Vec<(f64, f64)> = groups.iter().flat_map(series_of).flatten().collect();
        let parts = groups.iter().map(|group| {
            let target = group.cell.target.as_str();
            let series = series_of(group).into_iter().map(|points| Series {
                name: String::new(),
                colour: colour(target),
                stroke: Stroke::Thin,
                points: points.into_iter().map(|(x, y)| Point::new(x, y)).collect(),
            });
            let x = Axis::from_zero("seconds since the start", all.iter().map(|p| p.0));
            let y = Axis::from_zero("requests/s", all.iter().map(|p| p.1));
            let mut chart = Chart::new(x, y, series.collect());
            chart.heading = study.title(target);
            chart.inside = 70.0;
            chart.draw()
        });
        Svg::stacked(&parts.collect::<Vec<_>>())
    };
    Figure::new(
        "rate-over-time",
        "Requests per second over time",
        "A line for each repetition of at least 3 s at the most connections, counted by the program itself each second; flat is steady, a dip is a pause that an \
         average hides.",
        (!groups.is_empty()).then(draw),
        "Not in this run: its cells are too short for a rate by the second.",
    )
}

/// Returns the rates per second of each shown run with at least two rates.
fn series_of(group: &Group<'_>) -> Vec<Vec<(f64, f64)>> {
    let of = |load: &crate::judge::record::Load| load.target.as_ref().map(|counted| counted.series.clone());
    group.loads().into_iter().filter_map(|(_, load)| of(load)).filter(|series| series.len() > 1).collect()
}

/// Draws the fairness among the client's connections.
pub(crate) fn per_connection(study: &Study) -> Figure {
    let groups = best_groups(study);
    let mut series = Vec::new();
    for group in groups.iter().filter(|group| group.cell.target != AGAIN) {
        let known = group.loads().into_iter().find_map(|(_, load)| load.per_connection.as_ref());
        let Some(counts) = known.filter(|counts| counts.len() > 1) else { continue };
        let fair =
            crate::judge::stats::jain(counts).map_or(String::new(), |jain| format!(" (Jain {jain:.3})"));
        let values: Vec<f64> = counts.iter().map(|n| *n as f64).collect();
        let at = |i: u32| {
            Some(Point::new(crate::judge::stats::quantile(&values, f64::from(i) / 40.0)?, f64::from(i) * 2.5))
        };
        series.push(Series {
            name: study.title(&group.cell.target) + &fair,
            colour: colour(&group.cell.target),
            stroke: Stroke::Thin,
            points: (1..40).filter_map(at).collect(),
        });
    }
    let draw = || {
        let x = Axis::from_zero("requests answered on a connection", xs(&series));
        let y = Axis::from_zero("% of connections with at most so many", [100.0]);
        Chart::new(x, y, series.clone()).draw()
    };
    Figure::new(
        "per-connection",
        "Requests per connection: is anybody starved?",
        "A steep curve treats all connections alike. The height at which a curve leaves 0 requests is the share of connections \
         that got nothing; wrk's own numbers do not show it. The slowest and the fastest 2.5 % are left out, because a \
         connection opens late or closes early. Jain's index is 1 when all got the same.",
        (!series.is_empty()).then(draw),
        "Not in this run: the client's connections were not looked at.",
    )
}

pub(crate) fn memory(study: &Study) -> Figure {
    let groups = study.section(Section::Memory);
    let mut series: Vec<Series> = Vec::new();
    for group in &groups {
        let idle = group.runs.iter().find_map(|record| match &record.measured {
            crate::judge::record::Measured::Idle(idle) => Some(idle),
            _ => None,
        });
        let Some(idle) = idle else { continue };
        let slope = idle.per_connection_kb().map_or(String::new(), |kb| format!(" ({kb:.2} KB each)"));
        series.push(Series {
            name: study.title(&group.cell.target) + &slope,
            colour: colour(&group.cell.target),
            stroke: Stroke::Solid,
            points: idle.points.iter().map(|(n, kb)| Point::new(*n as f64, *kb as f64 / 1024.0)).collect(),
        });
    }
    let draw = || {
        let x = Axis::from_zero("idle connections, each after one answer", xs(&series));
        Chart::new(x, Axis::from_zero("memory of the balancer (MB)", ys(&series)), series.clone()).draw()
    };
    Figure::new(
        "memory",
        "Memory by idle connections",
        "The slope is what one idle connection costs; where the curve starts is what the program costs without any.",
        (places(&series) > 1).then(draw),
        "Not in this run: idle connections were not measured.",
    )
}
