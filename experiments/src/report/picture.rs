//! Item 8 of the report: the picture of the experiment. The picture is drawn from the manifest and the plan, so it
//! shows the real run.

use std::collections::BTreeSet;

use crate::judge::study::Study;
use crate::plans::model::{Section, TargetKind, What};
use crate::report::doc::{Doc, Figure};
use crate::report::number::bytes;
use crate::report::svg::{Anchor, Svg, text_width};
use crate::run::manifest::Topology;

const WIDTH: f64 = 980.0;
const LEFT: (f64, f64) = (14.0, 206.0);
const MIDDLE: (f64, f64) = (276.0, 444.0);
const RIGHT: (f64, f64) = (776.0, 190.0);

/// The sources of the numbers in the tables.
const SOURCES: [(&str, &str); 9] = [
    (
        "success, failed, requests/sec, transfer",
        "wrk, through the Lua function done; its threads are not touched",
    ),
    ("average latency", "connections / rate; wrk's own mean is altered before anybody sees it"),
    ("waiting and its percentiles", "the prober: t2 - t1; total: t3 - t0, from the intended time"),
    (
        "stalled, requests per connection",
        "ss, shortly before the end: bytes and silence of each client connection",
    ),
    ("right bodies", "the prober: length and every byte"),
    ("CPU, switches, run-queue delay, memory", "/proc of each role's processes, before and after"),
    (
        "queue wait, jobs, wake-ups, would-block",
        "the balancer's own counters, a row each second; queue wait: q2 - q1",
    ),
    (
        "conservation of requests",
        "client = balancer = sum of the backends, over the whole life of the balancer",
    ),
    ("steal, foreign CPU, listen overflows", "/proc/stat and the kernel's network counters"),
];

/// Breaks a text into lines that fit a width.
fn wrap(text: &str, width: f64, size: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if text_width(line, size) + text_width(&format!(" {word}"), size) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A drawing of boxes with text.
struct Sketch(Svg);

impl Sketch {
    fn lines(&mut self, class: &str, (x, y): (f64, f64), width: f64, text: &str) -> f64 {
        let mut y = y;
        for line in wrap(text, width, 11.0) {
            self.0.text(class, (x, y), Anchor::Start, &line);
            y += 14.0;
        }
        y
    }

    /// Draws a box with a heading and paragraphs. Returns the y coordinate of its end.
    fn boxed(&mut self, class: &str, (x, width): (f64, f64), y: f64, title: &str, texts: &[String]) -> f64 {
        let rows: usize = texts.iter().map(|text| wrap(text, width - 18.0, 11.0).len()).sum();
        let height = 26.0 + rows as f64 * 14.0 + texts.len() as f64 * 3.0 + 5.0;
        self.0.panel(class, (x, y), (width, height));
        self.0.text("strong", (x + 9.0, y + 18.0), Anchor::Start, title);
        let mut at = y + 36.0;
        for text in texts {
            at = self.lines("small", (x + 9.0, at), width - 18.0, text) + 3.0;
        }
        y + height
    }

    /// Draws a small box with centred text, for a step inside an engine. Returns the y coordinate of its end.
    fn step(&mut self, (x, width): (f64, f64), y: f64, text: &str) -> f64 {
        let lines = wrap(text, width - 12.0, 11.0);
        let height = lines.len() as f64 * 14.0 + 11.0;
        self.0.panel("inner", (x, y), (width, height));
        for (i, line) in lines.iter().enumerate() {
            self.0.text("small", (x + width / 2.0, y + 16.0 + i as f64 * 14.0), Anchor::Middle, line);
        }
        y + height
    }

    fn stamp(&mut self, (x, y): (f64, f64), name: &str) {
        self.0.circle("stamp", (x, y), 9.0, "");
        self.0.text("on-stamp", (x, y + 3.4), Anchor::Middle, name);
    }
}

/// Returns the steps inside each engine, from accept to the backend.
fn insides(topology: &Topology) -> [(String, [String; 5]); 2] {
    let Topology { thread_workers, async_workers, batch, .. } = topology;
    let thread = [
        "listener and every socket in one edge-triggered poller".to_owned(),
        format!("leader: the worker that holds the poller, a token; keeps {batch} ready connections"),
        "crossbeam channel: what is beyond is one job, and so is the leadership".to_owned(),
        format!("{thread_workers} workers, each with up to {batch} exchanges; a connection belongs to none"),
        "idle backend connections, shared by all workers".to_owned(),
    ];
    let asynchronous = [
        "listener: the first core accepts and deals the connections out".to_owned(),
        format!("{async_workers} reactors, one a core, edge-triggered"),
        format!("{async_workers} smol LocalExecutors, one a core; a connection stays on its core"),
        "a task per connection: the same exchange, with await".to_owned(),
        "idle backend connections, one pool a core".to_owned(),
    ];
    [("thread engine".into(), thread), ("async engine".into(), asynchronous)]
}

fn engines(sketch: &mut Sketch, topology: &Topology, top: f64) -> f64 {
    let width = (MIDDLE.1 - 36.0) / 2.0;
    let mut ends: Vec<f64> = Vec::new();
    let mut panels = Vec::new();
    for (i, (name, steps)) in insides(topology).into_iter().enumerate() {
        let x = MIDDLE.0 + 12.0 + i as f64 * (width + 12.0);
        let heights = steps.iter().map(|text| wrap(text, width - 32.0, 11.0).len() as f64 * 14.0 + 11.0);
        ends.push(top + 30.0 + heights.sum::<f64>() + 4.0 * 16.0 + 12.0);
        panels.push((x, name, steps));
    }
    let bottom = ends.into_iter().fold(0.0, f64::max);
    for (i, (x, name, steps)) in panels.into_iter().enumerate() {
        let colour = format!("s{i}");
        sketch.0.panel(&format!("edge {colour}"), (x, top), (width, bottom - top));
        sketch.0.text("strong", (x + 10.0, top + 19.0), Anchor::Start, &name);
        let mut y = top + 30.0;
        for (n, text) in steps.iter().enumerate() {
            let end = sketch.step((x + 10.0, width - 20.0), y, text);
            if n + 1 < steps.len() {
                sketch.0.arrow(&colour, &[(x + width / 2.0, end), (x + width / 2.0, end + 16.0)]);
            }
            if i == 0 && n == 2 {
                sketch.stamp((x + width / 2.0 - 22.0, y - 7.5), "q1");
                sketch.stamp((x + width / 2.0 - 22.0, end + 8.5), "q2");
            }
            y = end + 16.0;
        }
    }
    bottom
}

/// Describes the loads in a few words.
fn loads(study: &Study) -> String {
    let of = |section: Section| study.plan.cells.iter().filter(move |cell| cell.section == section);
    let joined = |numbers: BTreeSet<u32>| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let threads = joined(of(Section::Assignment).map(|cell| cell.threads).collect());
    let connections = joined(study.plan.cells.iter().map(|cell| cell.connections).collect());
    if threads.is_empty() {
        return format!("connections: {connections}");
    }
    format!("-c 1000 with -t {threads}; elsewhere few threads with -c {connections}")
}

fn titles(study: &Study, what: What, kinds: &[TargetKind]) -> Vec<String> {
    let measured: BTreeSet<&str> = study.plan.cells.iter().map(|cell| cell.target.as_str()).collect();
    let fits = study
        .plan
        .targets
        .iter()
        .filter(|t| t.what == what && kinds.contains(&t.kind) && measured.contains(t.id.as_str()));
    fits.map(|target| target.title.clone()).collect()
}

fn left(sketch: &mut Sketch, study: &Study, top: f64) -> (f64, f64, f64) {
    let client = [
        "closed loop: a connection asks again when it is answered".to_owned(),
        "threads share the connections evenly; the remainder is not opened".to_owned(),
        loads(study),
    ];
    let end = sketch.boxed("box", LEFT, top, "client: wrk", &client);
    let topology = &study.manifest.topology;
    let prober = [
        format!("open loop: {} requests/s at intended times, beside the load", topology.probe_rate_hz),
        "a connection for each request".to_owned(),
        "t0 intended, t1 sent, t2 first byte, t3 last byte".to_owned(),
    ];
    let probe = end + 28.0;
    (end, probe, sketch.boxed("box", LEFT, probe, "prober", &prober))
}

fn right(sketch: &mut Sketch, study: &Study, top: f64) -> (f64, f64, f64) {
    let topology = &study.manifest.topology;
    let files: Vec<String> =
        topology.files.iter().map(|(name, size)| format!("{name} ({})", bytes(*size))).collect();
    let mut backends = vec![
        format!("{} addresses of one neraca serve, async engine", topology.backends),
        format!("files: {}", files.join(", ")),
    ];
    if study.plan.cells.iter().any(|cell| cell.delay_ms > 0) {
        backends.push("a delay before each answer, where the plan says so".to_owned());
    }
    let end = sketch.boxed("box", RIGHT, top, "backends", &backends);
    let direct = titles(study, What::Server, &[TargetKind::Engine, TargetKind::Peer, TargetKind::User]);
    if direct.is_empty() {
        return (end, end, end);
    }
    let y = end + 28.0;
    (end, y, sketch.boxed("box", RIGHT, y, "servers asked directly", &direct))
}

/// Draws the CPUs and the processes on them.
fn cpus(sketch: &mut Sketch, study: &Study, y: f64) -> f64 {
    let (host, placement) = (&study.manifest.host, &study.manifest.topology.placement);
    let said = match placement.as_str() {
        "shared" => {
            "client, prober, balancer and backends share all CPUs: no process is bound to one".to_owned()
        }
        other => other.to_owned(),
    };
    sketch.0.text("strong", (LEFT.0, y + 14.0), Anchor::Start, &format!("CPU placement: {said}"));
    let lanes = host.cpus.clamp(1, 16);
    let width = (WIDTH - 2.0 * LEFT.0 - (lanes - 1) as f64 * 8.0) / lanes as f64;
    for lane in 0..lanes {
        let x = LEFT.0 + lane as f64 * (width + 8.0);
        sketch.0.panel("inner", (x, y + 24.0), (width, 26.0));
        let text = format!("CPU {lane}");
        sketch.0.text("small", (x + width / 2.0, y + 41.0), Anchor::Middle, &text);
    }
    y + 50.0
}

fn sources(sketch: &mut Sketch, y: f64) -> f64 {
    sketch.0.text("strong", (LEFT.0, y + 14.0), Anchor::Start, "Where each column comes from");
    let mut at = y + 34.0;
    for (column, source) in SOURCES {
        sketch.0.text("small strong", (LEFT.0, at), Anchor::Start, column);
        sketch.0.text("small", (LEFT.0 + 262.0, at), Anchor::Start, source);
        at += 17.0;
    }
    at
}

fn arrows(sketch: &mut Sketch, client: f64, prober: f64, backends: f64) {
    let (from, to) = (LEFT.0 + LEFT.1, MIDDLE.0);
    sketch.0.arrow("", &[(from, client), (to, client)]);
    sketch.0.text("muted", ((from + to) / 2.0, client - 7.0), Anchor::Middle, "load");
    sketch.0.arrow("", &[(from, prober), (to, prober)]);
    sketch.0.arrow("", &[(to, prober + 26.0), (from, prober + 26.0)]);
    sketch.stamp((from + 17.0, prober - 12.0), "t0");
    sketch.stamp((from + 39.0, prober - 12.0), "t1");
    sketch.stamp((from + 17.0, prober + 38.0), "t3");
    sketch.stamp((from + 39.0, prober + 38.0), "t2");
    let (from, to) = (MIDDLE.0 + MIDDLE.1, RIGHT.0);
    sketch.0.arrow("", &[(from, backends), (to, backends)]);
    sketch.0.arrow("", &[(to, backends + 20.0), (from, backends + 20.0)]);
    sketch.0.text("muted", ((from + to) / 2.0, backends - 8.0), Anchor::Middle, "forwards");
}

/// Draws the picture.
pub(crate) fn draw(study: &Study) -> Svg {
    let mut sketch = Sketch(Svg::new(WIDTH, 0.0));
    let host = &study.manifest.host;
    let head = format!("{}: plan {}, {} cells", host.name, study.plan.name, study.plan.cells.len());
    sketch.0.text("strong", (LEFT.0, 20.0), Anchor::Start, &head);
    let top = 38.0;
    let (client_end, prober, left_end) = left(&mut sketch, study, top);
    let (backends_end, direct, right_end) = right(&mut sketch, study, top);

    let peers = titles(study, What::Balancer, &[TargetKind::Peer, TargetKind::User]);
    let others = match peers.is_empty() {
        true => "no other balancer was measured".to_owned(),
        false => format!("in the same place, one at a time: {}", peers.join(", ")),
    };
    let other_lines = wrap(&others, MIDDLE.1 - 24.0, 11.0).len() as f64;
    let mut probe = Sketch(Svg::new(WIDTH, 0.0));
    let engines_end = engines(&mut probe, &study.manifest.topology, top + 32.0);
    let middle_end = engines_end + 14.0 + other_lines * 14.0 + 8.0;
    sketch.0.panel("box", (MIDDLE.0, top), (MIDDLE.1, middle_end - top));
    let title = "balancer under test, started anew for each cell";
    sketch.0.text("strong", (MIDDLE.0 + 12.0, top + 20.0), Anchor::Start, title);
    engines(&mut sketch, &study.manifest.topology, top + 32.0);
    sketch.lines("small", (MIDDLE.0 + 12.0, engines_end + 18.0), MIDDLE.1 - 24.0, &others);

    arrows(&mut sketch, (top + client_end) / 2.0, prober + 40.0, (top + backends_end) / 2.0);
    let mut bottom = left_end.max(middle_end).max(right_end);
    if direct < right_end {
        let y = bottom + 16.0;
        let (a, b) = (LEFT.0 + LEFT.1 / 2.0, RIGHT.0 + RIGHT.1 / 2.0);
        sketch.0.arrow("dashed", &[(a, left_end), (a, y), (b, y), (b, right_end)]);
        let text = "without a balancer: how fast it could be at most";
        sketch.0.text("muted", ((a + b) / 2.0, y + 15.0), Anchor::Middle, text);
        bottom = y + 18.0;
    }
    let y = cpus(&mut sketch, study, bottom + 14.0);
    sketch.0.height = sources(&mut sketch, y + 18.0) + 4.0;
    sketch.0
}

/// Returns the picture in the notation of Mermaid.
pub(crate) fn mermaid(study: &Study) -> String {
    let topology = &study.manifest.topology;
    let mut text = String::from("flowchart LR\n");
    text += &format!("  wrk[\"client: wrk<br/>{}\"]\n", loads(study));
    text += &format!("  prober[\"prober<br/>open loop, {} requests/s\"]\n", topology.probe_rate_hz);
    text += "  subgraph balancer[\"balancer under test\"]\n";
    for (i, (name, steps)) in insides(topology).iter().enumerate() {
        text += &format!("    subgraph e{i}[\"{name}\"]\n      direction TB\n");
        for (n, step) in steps.iter().enumerate() {
            text += &format!("      e{i}s{n}[\"{step}\"]\n");
        }
        let chain: Vec<String> = (0..steps.len()).map(|n| format!("e{i}s{n}")).collect();
        text += &format!("      {}\n    end\n", chain.join(" --> "));
    }
    let peers = titles(study, What::Balancer, &[TargetKind::Peer, TargetKind::User]);
    if !peers.is_empty() {
        text += &format!("    peers[\"in the same place: {}\"]\n", peers.join(", "));
    }
    text += "  end\n";
    text += &format!("  backends[\"backends<br/>{} addresses of one neraca serve\"]\n", topology.backends);
    text += "  wrk -->|load| balancer\n  prober -->|t0 intended, t1 sent, t2 first byte, t3 last byte| balancer\n";
    text += "  balancer -->|forwards| backends\n";
    let direct = titles(study, What::Server, &[TargetKind::Engine, TargetKind::Peer, TargetKind::User]);
    if !direct.is_empty() {
        text +=
            &format!("  direct[\"asked directly: {}\"]\n  wrk -.->|the ceiling| direct\n", direct.join(", "));
    }
    text
}

/// Returns the picture with its title.
pub(crate) fn figure(study: &Study) -> Figure {
    let reading = "Drawn from the manifest of this run. Everything is on one machine and speaks over the loopback interface; \
                   black circles are the instants that are measured.";
    Figure::new("experiment", "Client, balancer, backends", reading, Some(draw(study)), "")
}

/// Item 8.
pub(crate) fn part(study: &Study, doc: &mut Doc) {
    doc.part("8. The experiment");
    doc.figure(figure(study), " class=\"wide\"");
    doc.folded("The same as a Mermaid diagram", |doc| doc.block("mermaid", &mermaid(study)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit() {
        let text = "leader: the worker that holds the poller, a token; keeps 32 ready connections";
        for width in [60.0, 120.0, 200.0] {
            let lines = wrap(text, width, 11.0);
            assert_eq!(lines.join(" "), text);
            assert!(
                lines.iter().all(|line| text_width(line, 11.0) <= width || !line.contains(' ')),
                "{lines:?}"
            );
        }
    }
}
