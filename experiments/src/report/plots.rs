//! Item 7 of the report. A plot whose cells are not in the run is replaced by a sentence.

use std::cmp::Reverse;

use itertools::Itertools;

use crate::judge::measure::{self, Measure};
use crate::judge::record::{Record, load};
use crate::judge::stats::{jain, median, quantile};
use crate::judge::study::{Group, Study};
use crate::judge::verdicts;
use crate::plans::model::{Cell, Section, Work};
use crate::plans::targets::{AGAIN, ASYNC, DIRECT, SERVE_ASYNC, SERVE_THREAD, THREAD};
use crate::report::chart::{Axis, Bar, Chart, Point, Scale, Series, Stroke, bars, ratios};
use crate::report::doc::Doc;
use crate::report::number::{bytes, load_name, short};
use crate::report::svg::Svg;
use crate::report::{tables, words};
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

/// Makes a curve for each target over a property of its cells.
pub(crate) fn curves(study: &Study, groups: &[Group<'_>], x: fn(&Cell) -> u32, y: Measure) -> Vec<Series> {
    let point = |group: &Group<'_>| {
        let spread = group.values(y).into_iter().minmax().into_option().filter(|(low, high)| low < high);
        let (x, y) = (x(group.cell).into(), group.median(y)?);
        Some(Point { x, y, spread, invalid: !group.is_ranked() })
    };
    let of = |target: &str| {
        let groups = groups.iter().filter(|group| group.cell.target == target);
        let mut points: Vec<Point> = groups.filter_map(point).collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        curve(study, target, points)
    };
    targets(groups).into_iter().map(of).filter(|series| !series.points.is_empty()).collect()
}

const CONNECTIONS: Scale = ("connections (logarithmic)", Axis::log_at);
const RATE: Scale = ("requests/s", Axis::from_zero);

fn concurrency(study: &Study, measure: Measure) -> Vec<Series> {
    curves(study, &study.section(Section::Concurrency), |cell| cell.connections, measure)
}

fn latency_by_concurrency(study: &Study) -> Option<Svg> {
    let engines = |(measure, what, stroke): (Measure, &'static str, Stroke)| {
        let series = concurrency(study, measure).into_iter().filter(|series| series.colour < 2);
        series.map(move |mut series| {
            series.points.iter_mut().for_each(|point| point.spread = None);
            Series { name: format!("{}, {what}", series.name.replace("Neraca, ", "")), stroke, ..series }
        })
    };
    let measures: [(Measure, _, _); 2] =
        [(measure::latency_ms, "mean", Stroke::Solid), (measure::waiting_p99_ms, "p99", Stroke::Dashed)];
    let y: Scale = ("milliseconds (logarithmic)", Axis::log);
    Chart::new(CONNECTIONS, y, measures.into_iter().flat_map(engines).collect()).draw()
}

/// The drawn percentiles, if most runs of a group have enough probes.
const FRACTIONS: [f64; 13] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.995, 0.999];

fn percentile_curve(study: &Study, groups: &[Group<'_>]) -> Option<Svg> {
    let of = |group: &Group<'_>| {
        let point = |fraction: f64| {
            let of = |record: &Record| measure::percentile_ms(&load(record)?.probe.fresh.total_us, fraction);
            let values = group.values(of);
            let is_usual = values.len() * 2 > group.loads().count();
            let ms = median(values).filter(|ms| is_usual && *ms > 0.0)?;
            Some(Point::new(1.0 / (1.0 - fraction), ms))
        };
        curve(study, &group.cell.target, FRACTIONS.into_iter().filter_map(point).collect())
    };
    let series = groups.iter().map(of).filter(|series| series.points.len() > 1).collect();
    let x: Scale = ("share of requests answered within this time", Axis::percentiles);
    Chart::new(x, ("ms from intended time to last byte", Axis::log), series).draw()
}

/// Draws the rate by the client's threads (`-t`), for the balancers and for the client itself.
fn threads_sweep(study: &Study) -> Option<Svg> {
    let of = |y, measure, inside| {
        let series = curves(study, &study.section(Section::Assignment), |cell| cell.threads, measure);
        Chart { inside, ..Chart::new(("threads of wrk (-t)", Axis::from_zero_at), y, series) }
    };
    let percent: Measure = |record| Some(measure::client_share(record)? * 100.0);
    let shares = of(("% of all CPUs that wrk used", Axis::from_zero), percent, 110.0);
    Chart::stacked([of(RATE, measure::rate, 150.0), shares])
}

fn rate_over_time(study: &Study) -> Option<Svg> {
    let mut groups = study.groups(|cell| cell.work == Work::Load && cell.delay_ms == 0);
    groups.retain(|group| !by_second(study, group).is_empty());
    groups.sort_by_key(|group| Reverse(group.cell.opened()));
    let groups = groups.into_iter().unique_by(|group| &group.cell.target).take(4);
    let parts = groups.map(|group| (study.title(&group.cell.target), by_second(study, &group)));
    let x: Scale = ("seconds since the start", Axis::from_zero);
    Chart::alike(x, RATE, 70.0, parts.collect())
}

/// Returns the rates per second of each shown run with at least two rates.
fn by_second(study: &Study, group: &Group<'_>) -> Vec<Series> {
    let rates = group.loads().filter_map(|load| Some(load.programs.target.as_ref()?.rates(load.seconds())));
    let series = rates.filter(|rates| rates.len() > 1).map(|rates| {
        let points = rates.into_iter().map(|(x, y)| Point::new(x, y)).collect();
        Series { name: String::new(), stroke: Stroke::Thin, ..curve(study, &group.cell.target, points) }
    });
    series.collect()
}

/// Draws the fairness among the client's connections.
fn per_connection(study: &Study, groups: &[Group<'_>]) -> Option<Svg> {
    let of = |group: &Group<'_>| {
        let known = group.loads().find_map(|load| load.per_connection());
        let counts = known.filter(|counts| counts.len() > 1)?;
        let fair = jain(&counts).map_or(String::new(), |jain| format!(" (Jain {jain:.3})"));
        let values = counts.iter().map(|n| *n as f64);
        let at = |percent: f64| Some(Point::new(quantile(values.clone(), percent / 100.0)?, percent));
        let points = (1..40).map(|i| f64::from(i) * 2.5).filter_map(at).collect();
        let one = curve(study, &group.cell.target, points);
        Some(Series { name: one.name + &fair, stroke: Stroke::Thin, ..one })
    };
    let series = groups.iter().filter(|group| group.cell.target != AGAIN).filter_map(of).collect();
    let x: Scale = ("requests answered on a connection", Axis::from_zero);
    let y: Scale = ("% of connections with at most so many", Axis::from_zero);
    Chart::new(x, y, series).draw()
}

fn memory(study: &Study) -> Option<Svg> {
    let of = |record: &&Record| {
        let Found::Idle(idle) = &record.found else { return None };
        let slope = idle.per_connection_kb().map_or(String::new(), |kb| format!(" ({kb:.2} KB each)"));
        let points = idle.points.iter().map(|(n, kb)| Point::new(*n as f64, *kb as f64 / 1024.0));
        let one = curve(study, &record.cell.target, points.collect());
        Some(Series { name: one.name + &slope, stroke: Stroke::Solid, ..one })
    };
    let groups = study.section(Section::Memory);
    let series = groups.iter().filter_map(|group| group.runs.iter().find_map(of)).collect();
    let y: Scale = ("memory of the balancer (MB)", Axis::from_zero);
    let x: Scale = ("idle connections, each after one answer", Axis::from_zero);
    Chart::new(x, y, series).draw()
}

/// The parts of a bar, with their CSS classes and measures.
const PARTS: [(&str, &str, Measure); 4] = [
    ("balancer, user", "bar s0", measure::user_us),
    ("balancer, system", "bar light s0", measure::system_us),
    ("backends", "bar light s2", measure::backends_cpu_us),
    ("client", "bar light s4", measure::client_cpu_us),
];

fn cpu_by_role(study: &Study, groups: &[Group<'_>]) -> Option<Svg> {
    let bar = |group: &Group<'_>| {
        let values = PARTS.map(|(.., measure)| group.median(measure).unwrap_or(0.0));
        let mark = if group.is_ranked() { "" } else { " (not ranked)" };
        let said = format!("{} + {} µs", short(values[0] + values[1]), short(values[2] + values[3]));
        Bar { label: study.title(&group.cell.target) + mark, values: values.into(), said }
    };
    let parts = PARTS.map(|(name, class, _)| (name, class));
    bars("CPU microseconds per request", &parts, &groups.iter().map(bar).collect_vec())
}

fn ratio_plot(study: &Study) -> Option<Svg> {
    let verdicts = verdicts::by_load(study);
    let controls = verdicts.iter().filter_map(|pair| verdicts::control(study, &pair.b));
    let noise = controls.map(|control| control.reach()).fold(1.0, f64::max);
    let band = (noise > 1.0).then_some((1.0 / noise, noise));
    let assignment = verdicts.into_iter().map(|pair| (load_name(pair.b.cell), 1, pair.ratio));
    let shown = [Section::Peers, Section::Concurrency, Section::Bodies, Section::Reuse, Section::Crossover];
    let others = study.groups(|cell| cell.target == ASYNC && shown.contains(&cell.section));
    let others = others.into_iter().filter_map(|group| {
        let label = format!("{}, {}", load_name(group.cell), bytes(group.cell.body_bytes));
        Some((label, 9, group.against(&study.twin(group.cell, THREAD)?, measure::rate)?))
    });
    let title = "async / thread in requests/s (logarithmic; right: async is faster)";
    ratios(title, &assignment.chain(others).collect_vec(), band)
}

pub(crate) fn part(study: &Study, doc: &mut Doc) {
    // The heaviest load of the assignment, or the best replacement if it was not measured.
    let heaviest = study.heaviest(&[Section::Assignment, Section::Concurrency, Section::Peers]);
    // The load with which most balancers were measured.
    let mut balancers = study.heaviest(&[Section::Peers, Section::Assignment]);
    balancers.retain(|group| group.median(measure::cpu_us).is_some());
    let load_of = |groups: &[Group<'_>]| groups.first().map_or(String::new(), |group| load_name(group.cell));
    let rate_by_concurrency = Chart::new(CONNECTIONS, RATE, concurrency(study, measure::rate));
    let mut figures = vec![
        words::figure(study, "rate-by-concurrency", &[], rate_by_concurrency.draw()),
        words::figure(study, "latency-by-concurrency", &[], latency_by_concurrency(study)),
        words::figure(study, "percentiles", &[&load_of(&heaviest)], percentile_curve(study, &heaviest)),
        words::figure(study, "cpu-by-role", &[&load_of(&balancers)], cpu_by_role(study, &balancers)),
        words::figure(study, "ratios", &[], ratio_plot(study)),
        words::figure(study, "threads-sweep", &[], threads_sweep(study)),
        words::figure(study, "rate-over-time", &[], rate_over_time(study)),
        words::figure(study, "per-connection", &[], per_connection(study, &heaviest)),
        words::figure(study, "memory", &[], memory(study)),
    ];
    if let Some(drawing) = tables::failures(study) {
        figures.push(words::figure(study, "failures", &[], Some(drawing)));
    }
    doc.heading(2, "7. Plots");
    doc.figures(figures);
}
