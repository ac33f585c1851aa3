//! The capacities of capacity.json, and their page.

use itertools::Itertools;
use serde::{Deserialize, Serialize};

use crate::report::chart::{Axis, Chart, Point, Series, Stroke};
use crate::report::doc::{Doc, Figure, plain};
use crate::report::number::{grouped, maybe};
use crate::report::words::{self, Lang};
use crate::run::manifest::Setting;

/// The results of one run, as stored in capacity.json.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    #[serde(flatten)]
    pub(crate) setting: Setting,
    pub(crate) objective: String,
    pub(crate) limit_ms: f64,
    pub(crate) connections: u32,
    pub(crate) seconds: u32,
    pub(crate) balancers: Vec<Found>,
}

/// The capacity of one balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) name: String,
    pub(crate) title: String,
    /// Requests per second; None when no rate held the objective.
    pub(crate) capacity_hz: Option<f64>,
    /// Every run of the search, in order.
    pub(crate) search: Vec<Step>,
    pub(crate) ramp: Vec<Step>,
}

/// One run at one rate. Latencies in milliseconds count from the intended time of each request.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) offered_hz: f64,
    pub(crate) good_hz: f64,
    pub(crate) failed: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
    /// The latency of the objective's percentile.
    pub(crate) objective_ms: f64,
    /// The delay of the generator itself, 99th percentile.
    pub(crate) late_ms: f64,
    /// CPU time of the balancer per second.
    pub(crate) cpus: f64,
    pub(crate) holds: bool,
}

/// Makes the page. The balancer with the highest capacity stands first.
pub(super) fn page(results: &Results) -> Doc {
    let mut sorted: Vec<&Found> = results.balancers.iter().collect();
    sorted.sort_by(|a, b| b.capacity_hz.unwrap_or(0.0).total_cmp(&a.capacity_hz.unwrap_or(0.0)));
    let rate = |capacity_hz: Option<f64>| capacity_hz.map_or_else(|| "no rate".into(), grouped);
    let told = |found: &&Found| format!("{} **{}**", plain(&found.title), rate(found.capacity_hz));
    let (mut capacities, mut doc) = (Doc::default(), Doc::default());
    let row = |found: &&Found| {
        let at = found.ramp.iter().find(|step| Some(step.offered_hz) == found.capacity_hz);
        let of = |value: fn(&Step) -> f64| maybe(at.map(value));
        [
            plain(&found.title),
            rate(found.capacity_hz),
            of(|step| step.p50_ms),
            of(|step| step.p99_ms),
            of(|step| step.late_ms),
            of(|step| step.cpus),
            of(|step| step.cpus * 1e6 / step.offered_hz),
        ]
    };
    capacities.table(&words::table(Lang::En, "capacity").with(sorted.iter().map(row)));
    let latency =
        ["latency-by-rate", "Latency by offered rate", "latency of the objective's percentile (ms)"];
    let cpu = ["cpu-by-rate", "CPU time by offered rate", "CPUs of the balancer"];
    doc.figures(vec![
        figure(&sorted, latency, |step| step.objective_ms, Some(results.limit_ms)),
        figure(&sorted, cpu, |step| step.cpus, None),
    ]);
    let setting = &results.setting;
    doc.text = format!(
        include_str!("page.md"),
        objective = results.objective,
        rates = sorted.iter().map(told).join(", "),
        connections = results.connections,
        seconds = results.seconds,
        table = capacities.text.trim_end(),
        figures = doc.text.trim_end(),
        cpu = setting.host.cpu,
        cpus = setting.host.cpus,
        kernel = setting.host.kernel,
        started = setting.started,
        commit = setting.commit().unwrap_or("of an unknown commit"),
    );
    doc
}

/// Draws a value of each run over its rate. A limit is a line of its own, and its axis is logarithmic.
fn figure(
    sorted: &[&Found],
    [name, title, axis]: [&'static str; 3],
    value: fn(&Step) -> f64,
    limit: Option<f64>,
) -> Figure {
    let point = |step: &Step| Point { invalid: !step.holds, ..Point::new(step.offered_hz, value(step)) };
    let one = |(colour, found): (usize, &&Found)| {
        let points = found.ramp.iter().map(point).collect();
        Series { name: found.title.clone(), colour: colour % 6, stroke: Stroke::Solid, points }
    };
    let mut series = sorted.iter().enumerate().map(one).collect_vec();
    let offered = sorted.iter().flat_map(|found| &found.ramp).map(|step| step.offered_hz);
    let most = offered.fold(0.0, f64::max);
    series.extend(limit.map(|limit| {
        let points = [0.0, most].map(|x| Point::new(x, limit)).into();
        Series { name: "limit".into(), colour: 7, stroke: Stroke::Dashed, points }
    }));
    let y = (axis, if limit.is_some() { Axis::log } else { Axis::from_zero });
    let chart = Chart::new(("offered requests per second", Axis::from_zero), y, series);
    let reading = "Each point is one run. A hollow point is a run that did not hold the objective.".into();
    let drawing = chart.draw().filter(|_| most > 0.0).ok_or_else(|| "No rate held the objective.".into());
    Figure { name: name.into(), title: title.into(), reading, drawing }
}
