//! Item 7 of the report. A plot whose cells are not in the run is replaced by a sentence.

use std::cmp::Reverse;

use itertools::Itertools;

use crate::judge::measure::{self, Measure};
use crate::judge::record::load;
use crate::judge::stats::{jain, median, quantile};
use crate::judge::study::{Group, Study};
use crate::judge::verdicts::{self, LoadVerdict};
use crate::plans::model::{Section, Work};
use crate::plans::targets::{AGAIN, ASYNC, DIRECT, SERVE_ASYNC, SERVE_THREAD, THREAD};
use crate::report::chart::{Axis, Chart, Point, Series, Stroke, xs, ys};
use crate::report::doc::{Doc, Figure};
use crate::report::number::{bytes, load_name, short};
use crate::report::shapes::{Bar, Line, bars, ratios};
use crate::report::svg::Svg;
use crate::report::{failures, words};
use crate::run::raw::Found;

/// Makes the curve of a target. A target has the same colour in every plot.
pub(crate) fn curve(study: &Study, target: &str, points: Vec<Point>) -> Series {
    let known = [THREAD, ASYNC, SERVE_THREAD, SERVE_ASYNC, DIRECT, "haproxy", "nginx", "caddy", "apache"];
    let stroke = match target {
        DIRECT | SERVE_THREAD | SERVE_ASYNC => Stroke::Dashed,
        AGAIN => Stroke::Dotted,
        pool if pool.ends_with("-pool") => Stroke::Dashed,
        _ => Stroke::Solid,
    };
    let shown = if target == AGAIN { THREAD } else { target.split("-tls").next().unwrap_or(target) };
    let colour = known.iter().position(|id| *id == shown).unwrap_or(known.len());
    Series { name: study.title(target), colour, stroke, points }
}

/// Returns the targets of the groups, in their order, without duplicates.
pub(crate) fn targets<'a>(groups: &[Group<'a>]) -> Vec<&'a str> {
    groups.iter().map(|group| group.cell.target.as_str()).unique().collect()
}

/// Makes a curve for each target over a property of its groups.
pub(crate) fn curves(
    study: &Study,
    groups: &[Group<'_>],
    x: fn(&Group<'_>) -> Option<f64>,
    y: Measure,
) -> Vec<Series> {
    let point = |group: &Group<'_>| {
        let spread = group.values(y).into_iter().minmax().into_option().filter(|(low, high)| low < high);
        Some(Point { spread, invalid: !group.is_ranked(), ..Point::new(x(group)?, group.median(y)?) })
    };
    let of = |target: &str| {
        let groups = groups.iter().filter(|group| group.cell.target == target);
        let mut points: Vec<Point> = groups.filter_map(point).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        curve(study, target, points)
    };
    targets(groups).into_iter().map(of).filter(|series| !series.points.is_empty()).collect()
}

/// Makes the figure of one chart of curves.
fn figure(study: &Study, name: &str, x: Axis, y: Axis, series: Vec<Series>) -> Figure {
    words::figure(study, name, &[], chart(x, y, series).map(|chart| chart.draw()))
}

/// Makes a chart of curves. None when all points have the same x.
fn chart(x: Axis, y: Axis, series: Vec<Series>) -> Option<Chart> {
    let xs = xs(&series);
    xs.iter().any(|x| *x != xs[0]).then(|| Chart::new(x, y, series))
}

fn concurrency(study: &Study, measure: Measure) -> Vec<Series> {
    let connections = |group: &Group<'_>| Some(group.cell.connections.into());
    curves(study, &study.section(Section::Concurrency), connections, measure)
}

fn connections(series: &[Series]) -> Axis {
    Axis::log("connections (logarithmic)", xs(series)).at(xs(series))
}

fn rate_by_concurrency(study: &Study) -> Figure {
    let series = concurrency(study, measure::rate);
    let y = Axis::from_zero("requests/s", ys(&series));
    figure(study, "rate-by-concurrency", connections(&series), y, series)
}

fn latency_by_concurrency(study: &Study) -> Figure {
    let engines = |(measure, what, stroke): (Measure, &'static str, Stroke)| {
        let series = concurrency(study, measure).into_iter().filter(|series| series.colour < 2);
        series.map(move |mut series| {
            series.points.iter_mut().for_each(|point| point.spread = None);
            Series { name: format!("{}, {what}", series.name.replace("Neraca, ", "")), stroke, ..series }
        })
    };
    let measures: [(Measure, _, _); 2] =
        [(measure::latency_ms, "mean", Stroke::Solid), (measure::waiting_p99_ms, "p99", Stroke::Dashed)];
    let series = measures.into_iter().flat_map(engines).collect_vec();
    let y = Axis::log("milliseconds (logarithmic)", ys(&series));
    figure(study, "latency-by-concurrency", connections(&series), y, series)
}

/// Returns the groups of the heaviest load of the assignment, or the best replacement if it was not measured.
fn best_groups(study: &Study) -> Vec<Group<'_>> {
    study.heaviest(&[Section::Assignment, Section::Concurrency, Section::Peers])
}

/// The drawn percentiles, if most runs of a group have enough probes.
const FRACTIONS: [f64; 13] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999];

/// Returns the median of a percentile over the runs of a group, if most of them have it.
fn percentile(group: &Group<'_>, fraction: f64) -> Option<f64> {
    let values = group.values(|record| measure::percentile_ms(&load(record)?.probe.fresh.total_us, fraction));
    let is_usual = values.len() * 2 > group.loads().count();
    median(values).filter(|ms| is_usual && *ms > 0.0)
}

fn percentile_curve(study: &Study) -> Figure {
    let groups = best_groups(study);
    let of = |group: &Group<'_>| {
        let points = FRACTIONS.into_iter();
        let points = points.filter_map(|f| Some(Point::new(1.0 / (1.0 - f), percentile(group, f)?)));
        curve(study, &group.cell.target, points.collect())
    };
    let series: Vec<Series> = groups.iter().map(of).filter(|series| series.points.len() > 1).collect();
    let most = xs(&series).into_iter().fold(2.0, f64::max);
    let ticks =
        [(1.0, "0"), (2.0, "50 %"), (10.0, "90 %"), (20.0, "95 %"), (100.0, "99 %"), (1000.0, "99.9 %")];
    let title = "share of requests answered within this time";
    let x = Axis::log(title, xs(&series)).labelled(&ticks, (1.0, most));
    let y = Axis::log("ms from intended time to last byte", ys(&series));
    let load = groups.first().map_or(String::new(), |group| load_name(group.cell));
    words::figure(study, "percentiles", &[&load], chart(x, y, series).map(|chart| chart.draw()))
}

/// Draws the rate by the client's threads (`-t`), for the balancers and for the client itself.
fn threads_sweep(study: &Study) -> Figure {
    let of = |title, measure, inside| {
        let threads = |group: &Group<'_>| Some(group.cell.threads.into());
        let series = curves(study, &study.section(Section::Assignment), threads, measure);
        let x = Axis::from_zero("threads of wrk (-t)", xs(&series)).at(xs(&series));
        let chart = chart(x, Axis::from_zero(title, ys(&series)), series)?;
        Some(Chart { inside, ..chart })
    };
    let percent: Measure = |record| Some(measure::client_share(record)? * 100.0);
    let draw = |(rates, mut shares): (Chart, Chart)| {
        shares.series.iter_mut().for_each(|series| series.name.clear());
        Svg::stacked(&[rates.draw(), shares.draw()])
    };
    let rates = of("requests/s", measure::rate, 150.0);
    let charts = rates.zip(of("% of all CPUs that wrk used", percent, 110.0));
    words::figure(study, "threads-sweep", &[], charts.map(draw))
}

fn rate_over_time(study: &Study) -> Figure {
    let mut groups = study.groups(|cell| cell.work == Work::Load && cell.delay_ms == 0);
    groups.retain(|group| !series_of(group).is_empty());
    groups.sort_by_key(|group| Reverse(group.cell.opened()));
    let groups = groups.into_iter().unique_by(|group| &group.cell.target).take(4).collect_vec();
    let all = groups.iter().flat_map(series_of).flatten().collect_vec();
    let part = |group: &Group<'_>| {
        let series = series_of(group).into_iter().map(|points| Series {
            name: String::new(),
            stroke: Stroke::Thin,
            ..curve(study, &group.cell.target, points.into_iter().map(|(x, y)| Point::new(x, y)).collect())
        });
        let x = Axis::from_zero("seconds since the start", all.iter().map(|p| p.0));
        let y = Axis::from_zero("requests/s", all.iter().map(|p| p.1));
        let heading = study.title(&group.cell.target);
        Chart { heading, inside: 70.0, ..Chart::new(x, y, series.collect()) }.draw()
    };
    let draw = || Svg::stacked(&groups.iter().map(part).collect_vec());
    words::figure(study, "rate-over-time", &[], (!groups.is_empty()).then(draw))
}

/// Returns the rates per second of each shown run with at least two rates.
fn series_of(group: &Group<'_>) -> Vec<Vec<(f64, f64)>> {
    let rates = group.loads().filter_map(|load| Some(load.programs.target.as_ref()?.rates(load.seconds())));
    rates.filter(|rates| rates.len() > 1).collect()
}

/// Draws the fairness among the client's connections.
fn per_connection(study: &Study) -> Figure {
    let of = |group: &Group<'_>| {
        let known = group.loads().find_map(|load| load.per_connection);
        let counts = known.filter(|counts| counts.len() > 1)?;
        let fair = jain(counts).map_or(String::new(), |jain| format!(" (Jain {jain:.3})"));
        let values = counts.iter().map(|n| *n as f64);
        let at =
            |i: u32| Some(Point::new(quantile(values.clone(), f64::from(i) / 40.0)?, f64::from(i) * 2.5));
        let one = curve(study, &group.cell.target, (1..40).filter_map(at).collect());
        Some(Series { name: one.name + &fair, stroke: Stroke::Thin, ..one })
    };
    let mut groups = best_groups(study);
    groups.retain(|group| group.cell.target != AGAIN);
    let series = groups.iter().filter_map(of).collect_vec();
    let x = Axis::from_zero("requests answered on a connection", xs(&series));
    let y = Axis::from_zero("% of connections with at most so many", [100.0]);
    let drawing = (!series.is_empty()).then(|| Chart::new(x, y, series).draw());
    words::figure(study, "per-connection", &[], drawing)
}

fn memory(study: &Study) -> Figure {
    let of = |group: &Group<'_>| {
        let idle = group.runs.iter().find_map(|record| match &record.found {
            Found::Idle(idle) => Some(idle),
            _ => None,
        })?;
        let slope = idle.per_connection_kb().map_or(String::new(), |kb| format!(" ({kb:.2} KB each)"));
        let points = idle.points.iter().map(|(n, kb)| Point::new(*n as f64, *kb as f64 / 1024.0));
        let one = curve(study, &group.cell.target, points.collect());
        Some(Series { name: one.name + &slope, stroke: Stroke::Solid, ..one })
    };
    let series: Vec<Series> = study.section(Section::Memory).iter().filter_map(of).collect();
    let x = Axis::from_zero("idle connections, each after one answer", xs(&series));
    let y = Axis::from_zero("memory of the balancer (MB)", ys(&series));
    figure(study, "memory", x, y, series)
}

/// The names and the CSS classes of the parts of a bar.
const PARTS: [(&str, &str); 4] = [
    ("balancer, user", "bar s0"),
    ("balancer, system", "bar light s0"),
    ("backends", "bar light s2"),
    ("client", "bar light s4"),
];

/// The values of the parts.
const VALUES: [Measure; 4] =
    [measure::user_us, measure::system_us, measure::backends_cpu_us, measure::client_cpu_us];

fn cpu_by_role(study: &Study) -> Figure {
    // The load with which most balancers were measured.
    let mut groups = study.heaviest(&[Section::Peers, Section::Assignment]);
    groups.retain(|group| group.median(measure::cpu_us).is_some());
    let bar = |group: &Group<'_>| {
        let values = VALUES.map(|of| group.median(of).unwrap_or(0.0));
        let mark = if group.is_ranked() { "" } else { " (not ranked)" };
        let said = format!("{} + {} µs", short(values[0] + values[1]), short(values[2] + values[3]));
        Bar { label: study.title(&group.cell.target) + mark, values: values.into(), said }
    };
    let load = groups.first().map_or(String::new(), |group| load_name(group.cell));
    let draw = || bars("CPU microseconds per request", &PARTS, &groups.iter().map(bar).collect_vec());
    words::figure(study, "cpu-by-role", &[&load], (!groups.is_empty()).then(draw))
}

fn ratio_plot(study: &Study) -> Figure {
    let verdicts = verdicts::by_load(study, Section::Assignment);
    let noise = verdicts.iter().map(LoadVerdict::noise).fold(1.0, f64::max);
    let band = (noise > 1.0).then_some((1.0 / noise, noise));
    let assignment =
        verdicts.into_iter().map(|v| Line { label: load_name(v.cell), colour: 1, ratio: v.ratio });
    let shown = [Section::Peers, Section::Concurrency, Section::Bodies, Section::Reuse, Section::Crossover];
    let others = study.groups(|cell| cell.target == ASYNC && shown.contains(&cell.section));
    let others = others.into_iter().filter_map(|group| {
        let label = format!("{}, {}", load_name(group.cell), bytes(group.cell.body_bytes));
        let ratio = group.against(&study.twin(group.cell, THREAD)?, measure::rate)?;
        Some(Line { label, colour: 9, ratio })
    });
    let lines = assignment.chain(others).collect_vec();
    let title = "async / thread in requests/s (logarithmic; right: async is faster)";
    words::figure(study, "ratios", &[], (!lines.is_empty()).then(|| ratios(title, &lines, band)))
}

pub(crate) fn part(study: &Study, doc: &mut Doc) {
    let mut figures = vec![
        rate_by_concurrency(study),
        latency_by_concurrency(study),
        percentile_curve(study),
        cpu_by_role(study),
        ratio_plot(study),
        threads_sweep(study),
        rate_over_time(study),
        per_connection(study),
        memory(study),
    ];
    figures.extend(failures::figure(study));
    doc.heading(2, "7. Plots");
    doc.figures(figures);
}
