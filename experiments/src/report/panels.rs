//! Item 7 of the report, without the curves: CPU by role, ratios with the A/A band.

use itertools::Itertools;

use crate::judge::measure;
use crate::judge::study::{Group, Measure, Study};
use crate::judge::verdicts::{self, LoadVerdict};
use crate::plans::model::Section;
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Figure};
use crate::report::number::{bytes, load_name, short};
use crate::report::shapes::{Bar, Line, bars, ratios};
use crate::report::{failures, plots, words};

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
        plots::rate_by_concurrency(study),
        plots::latency_by_concurrency(study),
        plots::percentile_curve(study),
        cpu_by_role(study),
        ratio_plot(study),
        plots::threads_sweep(study),
        plots::rate_over_time(study),
        plots::per_connection(study),
        plots::memory(study),
    ];
    figures.extend(failures::figure(study));
    doc.part("7. Plots");
    doc.figures(figures);
}
