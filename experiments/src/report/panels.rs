//! Item 7 of the report, without the curves: CPU by role, ratios with the A/A band, the crossover map.

use std::collections::BTreeSet;

use crate::judge::measure;
use crate::judge::stats::median;
use crate::judge::study::{Group, Study};
use crate::judge::verdicts::{self, LoadVerdict};
use crate::plans::model::Section;
use crate::plans::targets::THREAD;
use crate::report::doc::{Doc, Figure};
use crate::report::number::{bytes, load_name, short};
use crate::report::shapes::{Bar, Line, Map, bars, map, ratios};
use crate::report::svg::Svg;
use crate::report::versus::conditions;
use crate::report::{failures, plots, words};
use crate::run::raw::Role;

/// The names and the CSS classes of the parts of a bar.
const PARTS: [(&str, &str); 4] = [
    ("balancer, user", "bar s0"),
    ("balancer, system", "bar light s0"),
    ("backends", "bar light s2"),
    ("client", "bar light s4"),
];

fn cpu_by_role(study: &Study) -> Figure {
    // The load with which most balancers were measured.
    let mut groups = study.heaviest(&[Section::Peers, Section::Assignment]);
    groups.retain(|group| group.median(measure::cpu_us).is_some());
    let of = |group: &Group<'_>, role| {
        let loads = group.loads();
        let values = loads.into_iter().filter_map(|(_, load)| measure::role_cpu_us(load, role));
        median(&values.collect::<Vec<_>>()).unwrap_or(0.0)
    };
    let bar = |group: &Group<'_>| {
        let [user, system] = [measure::user_us, measure::system_us].map(|of| group.median(of).unwrap_or(0.0));
        let [backends, client] = [Role::Backends, Role::Client].map(|role| of(group, role));
        let mark = if group.is_ranked() { "" } else { " (not ranked)" };
        Bar {
            label: study.title(&group.cell.target) + mark,
            values: vec![user, system, backends, client],
            said: format!("{} + {} µs", short(user + system), short(backends + client)),
        }
    };
    let draw = |first: &Group<'_>| {
        let rows: Vec<Bar> = groups.iter().map(bar).collect();
        (load_name(first.cell), bars("CPU microseconds per request", &PARTS, &rows))
    };
    let (load, drawing) = groups.first().map(draw).unzip();
    words::figure("cpu-by-role", &[&load.unwrap_or_default()], drawing)
}

fn ratio_plot(study: &Study) -> Figure {
    let verdicts = verdicts::by_load(study, Section::Assignment);
    let noise = verdicts.iter().map(LoadVerdict::noise).fold(1.0, f64::max);
    let band = (noise > 1.0).then_some((1.0 / noise, noise));
    let assignment =
        verdicts.into_iter().map(|v| Line { label: load_name(v.cell), colour: 1, ratio: v.ratio });
    let shown = [Section::Peers, Section::Concurrency, Section::Bodies, Section::Reuse];
    let others = conditions(study).into_iter().filter(|(group, ..)| shown.contains(&group.cell.section));
    let others = others.map(|(Group { cell, .. }, _, ratio)| {
        let label = format!("{}, {}", load_name(cell), bytes(cell.body_bytes));
        Line { label, colour: 9, ratio }
    });
    let lines: Vec<Line> = assignment.chain(others).collect();
    let title = "async / thread in requests/s (logarithmic; right: async is faster)";
    words::figure("ratios", &[], (!lines.is_empty()).then(|| ratios(title, &lines, band)))
}

/// Draws which engine is faster, by backend latency and concurrency. Each body size has a map.
fn crossover(study: &Study) -> Figure {
    let groups = study.section(Section::Crossover);
    let set = |of: fn(&Group<'_>) -> u64| -> BTreeSet<u64> { groups.iter().map(of).collect() };
    let (bodies, delays) = (set(|group| group.cell.body_bytes), set(|group| group.cell.delay_ms));
    let connections = set(|group| group.cell.connections.into());
    let ratio = |body: u64, delay: u64, connections: u64| {
        let of = |is_thread: bool| {
            groups.iter().find(|Group { cell, .. }| {
                (cell.body_bytes, cell.delay_ms, u64::from(cell.connections)) == (body, delay, connections)
                    && (cell.target == THREAD) == is_thread
            })
        };
        of(false)?.against(of(true)?, measure::rate)
    };
    let draw = |body: &u64| {
        let row = |delay: &u64| {
            let ratios = connections.iter().map(|connections| ratio(*body, *delay, *connections));
            (format!("{delay} ms"), ratios.collect())
        };
        let heading = format!("{} bodies", bytes(*body));
        let columns = connections.iter().map(|c| format!("{c} conn.")).collect();
        map(&Map { heading, columns, rows: delays.iter().map(row).collect() }, "backend")
    };
    let draw = || Svg::stacked(&bodies.iter().map(draw).collect::<Vec<_>>());
    words::figure("crossover", &[], (!groups.is_empty()).then(draw))
}

pub(crate) fn part(study: &Study, doc: &mut Doc) {
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
    figures.extend(failures::figure(study));
    doc.part("7. Plots");
    doc.figures(figures);
}
