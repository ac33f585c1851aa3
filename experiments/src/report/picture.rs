//! Item 8 of the report: the picture of the experiment. A template has the fixed parts; the manifest and the plan have
//! the numbers and names of the real run.

use itertools::Itertools;

use crate::judge::study::Study;
use crate::plans::model::{Section, Target, TargetKind, What};
use crate::report::doc::Doc;
use crate::report::number::bytes;
use crate::report::svg::{Svg, escape, in_rows, text_width};
use crate::report::words;

const SIZE: (f64, f64) = (980.0, 797.0);

/// Breaks a small text into lines that fit a width.
fn wrap(text: &str, width: f64) -> Vec<String> {
    let (words, space) = (text.split(' '), text_width(" ", 11.0));
    let places = in_rows(words.clone().map(|word| text_width(word, 11.0) + space), 4.0 + width + space);
    let lines = words.zip(places).chunk_by(|(_, (_, row))| *row);
    lines.into_iter().map(|(_, line)| line.map(|(word, _)| word).join(" ")).collect()
}

/// Returns the texts in lines of small text from this place on.
fn lines((x, y): (f64, f64), width: f64, texts: &[String]) -> String {
    let mut svg = Svg::default();
    for (row, line) in texts.iter().flat_map(|text| wrap(text, width)).enumerate() {
        svg.text("small", (x, y + 14.0 * row as f64), &line);
    }
    svg.body
}

/// Returns a box for each CPU.
fn lanes(cpus: usize) -> String {
    let lanes = cpus.clamp(1, 16);
    let width = (SIZE.0 - 20.0) / lanes as f64 - 8.0;
    let mut svg = Svg::default();
    for lane in 0..lanes {
        let x = 14.0 + lane as f64 * (width + 8.0);
        svg.rect("inner", (x, 577.0), (width, 26.0), "");
        svg.text("small middle", (x + width / 2.0, 594.0), &format!("CPU {lane}"));
    }
    svg.body
}

/// Describes the loads in a few words.
fn loads(study: &Study) -> String {
    let cells = &study.plan.cells;
    let assignment = cells.iter().filter(|cell| cell.section == Section::Assignment);
    let threads = assignment.map(|cell| cell.threads).sorted().dedup().join(", ");
    let connections = cells.iter().map(|cell| cell.connections).sorted().dedup().join(", ");
    match threads.is_empty() {
        true => format!("connections: {connections}"),
        false => format!("-c 1000 with -t {threads}; elsewhere few threads with -c {connections}"),
    }
}

/// Returns the titles of the measured programs: the other balancers, or the servers that are asked directly.
fn others(study: &Study, what: What) -> Vec<String> {
    let is_shown = |target: &&Target| match target.kind {
        TargetKind::Peer | TargetKind::User => true,
        kind => kind == TargetKind::Engine && what == What::Server,
    };
    let is_measured = |target: &&Target| study.plan.cells.iter().any(|cell| cell.target == target.id);
    let all = study.plan.targets.iter().filter(|target| target.what == what);
    let titles = all.filter(is_shown).filter(is_measured).map(|target| target.title.clone()).collect_vec();
    if titles.is_empty() { vec!["none was measured".to_owned()] } else { titles }
}

fn draw(study: &Study) -> Svg {
    let (topology, host) = (&study.manifest.topology, &study.manifest.setting.host);
    let placement = match topology.placement.as_str() {
        "shared" => "client, prober, balancer and backends share all CPUs: no process is bound to one",
        other => other,
    };
    let files = topology.files.iter().map(|(name, size)| format!("{name} ({})", bytes(*size)));
    let files = format!("files: {}", files.format(", "));
    let peers = others(study, What::Balancer).join(", ");
    let peers = format!("in the same place, one at a time: {peers}");
    let body = format!(
        include_str!("picture.svg"),
        rate = topology.probe_rate_hz,
        batch = topology.batch,
        async_workers = topology.async_workers,
        backends = topology.backends,
        cells = study.plan.cells.len(),
        host = escape(&host.name),
        plan = escape(&study.plan.name),
        placement = escape(placement),
        loads = lines((23.0, 150.0), 188.0, &[loads(study)]),
        files = lines((785.0, 105.0), 172.0, &[files]),
        direct = lines((785.0, 240.0), 172.0, &others(study, What::Server)),
        peers = lines((288.0, 473.0), 420.0, &[peers]),
        lanes = lanes(host.cpus),
    );
    Svg { width: SIZE.0, height: SIZE.1, body }
}

pub(crate) fn figure(study: &Study, doc: &mut Doc) {
    doc.figure(words::figure(study, "experiment", &[], Some(draw(study))), " class=\"wide\"");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit() {
        let text = "leader: the worker that holds the poller, a token; keeps 32 ready connections";
        for width in [60.0, 120.0, 200.0] {
            let lines = wrap(text, width);
            assert_eq!(lines.join(" "), text);
            let fits = |line: &String| text_width(line, 11.0) <= width || !line.contains(' ');
            assert!(lines.iter().all(fits), "{lines:?}");
        }
    }
}
