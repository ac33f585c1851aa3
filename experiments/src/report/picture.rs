//! Item 8 of the report: the picture of the experiment. The picture is drawn from the manifest and the plan, so it
//! shows the real run.

use std::collections::BTreeSet;

use crate::judge::study::Study;
use crate::plans::model::{Section, TargetKind, What};
use crate::report::doc::{Doc, Figure};
use crate::report::number::bytes;
use crate::report::svg::{Anchor, Svg, text_width};
use crate::report::words::{self, english};

const WIDTH: f64 = 980.0;
/// The columns: x and width.
const LEFT: (f64, f64) = (14.0, 206.0);
const MIDDLE: (f64, f64) = (276.0, 444.0);
const RIGHT: (f64, f64) = (776.0, 190.0);

/// Height of a line of small text, and the size of its font.
const LINE: f64 = 14.0;
const FONT: f64 = 11.0;
/// Space between two steps of an engine, with an arrow in it.
const ARROW: f64 = 16.0;
/// Space between two boxes of a column.
const GAP: f64 = 28.0;

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

/// The steps inside an engine, from accept to the backend, with the title of the engine.
type Engine = (&'static str, Vec<String>);

fn engines(study: &Study) -> [Engine; 2] {
    let topology = &study.manifest.topology;
    let filled = |text: &String| {
        text.replace("{batch}", &topology.batch.to_string())
            .replace("{async_workers}", &topology.async_workers.to_string())
    };
    [("thread engine", "thread"), ("async engine", "async")]
        .map(|(title, name)| (title, words::picture(name).iter().map(filled).collect()))
}

/// Width of an engine in the middle column.
const ENGINE_WIDTH: f64 = (MIDDLE.1 - 36.0) / 2.0;

/// Returns the lines of a step, and its height.
fn step(text: &str) -> (Vec<String>, f64) {
    let lines = wrap(text, ENGINE_WIDTH - 32.0, FONT);
    let height = lines.len() as f64 * LINE + 11.0;
    (lines, height)
}

fn engine_height((_, steps): &Engine) -> f64 {
    let heights: f64 = steps.iter().map(|text| step(text).1).sum();
    30.0 + heights + (steps.len() - 1) as f64 * ARROW + 12.0
}

/// A drawing of boxes with text.
struct Sketch(Svg);

impl Sketch {
    fn heading(&mut self, at: (f64, f64), text: &str) {
        self.0.text("strong", at, Anchor::Start, text);
    }

    /// Writes a text in lines. Returns the y coordinate below the last line.
    fn lines(&mut self, (x, y): (f64, f64), width: f64, text: &str) -> f64 {
        wrap(text, width, FONT).iter().fold(y, |y, line| {
            self.0.text("small", (x, y), Anchor::Start, line);
            y + LINE
        })
    }

    /// Draws a box with a heading and paragraphs. Returns the y coordinate of its end.
    fn boxed(&mut self, (x, width): (f64, f64), y: f64, title: &str, texts: &[String]) -> f64 {
        let rows: usize = texts.iter().map(|text| wrap(text, width - 18.0, FONT).len()).sum();
        let height = 26.0 + rows as f64 * LINE + texts.len() as f64 * 3.0 + 5.0;
        self.0.panel("box", (x, y), (width, height));
        self.heading((x + 9.0, y + 18.0), title);
        texts.iter().fold(y + 36.0, |y, text| self.lines((x + 9.0, y), width - 18.0, text) + 3.0);
        y + height
    }

    /// Draws boxes below each other. Returns the top and the end of each.
    fn column(&mut self, place: (f64, f64), top: f64, boxes: &[(&str, Vec<String>)]) -> Vec<(f64, f64)> {
        let mut end = top - GAP;
        let boxes = boxes.iter().map(|(title, texts)| {
            let top = end + GAP;
            end = self.boxed(place, top, title, texts);
            (top, end)
        });
        boxes.collect()
    }

    fn stamp(&mut self, (x, y): (f64, f64), name: &str) {
        self.0.circle("stamp", (x, y), 9.0, "");
        self.0.text("on-stamp", (x, y + 3.4), Anchor::Middle, name);
    }

    fn engine(&mut self, i: usize, (title, steps): &Engine, top: f64, height: f64) {
        let x = MIDDLE.0 + 12.0 + i as f64 * (ENGINE_WIDTH + 12.0);
        let (middle, colour) = (x + ENGINE_WIDTH / 2.0, format!("s{i}"));
        self.0.panel(&format!("edge {colour}"), (x, top), (ENGINE_WIDTH, height));
        self.heading((x + 10.0, top + 19.0), title);
        let mut y = top + 30.0;
        for (n, text) in steps.iter().enumerate() {
            let (lines, height) = step(text);
            self.0.panel("inner", (x + 10.0, y), (ENGINE_WIDTH - 20.0, height));
            for (row, line) in lines.iter().enumerate() {
                let at = (middle, y + 16.0 + row as f64 * LINE);
                self.0.text("small", at, Anchor::Middle, line);
            }
            let end = y + height;
            if n + 1 < steps.len() {
                self.0.arrow(&colour, &[(middle, end), (middle, end + ARROW)]);
            }
            if i == 0 && n == 2 {
                self.stamp((middle - 22.0, y - 7.5), "q1");
                self.stamp((middle - 22.0, end + 8.5), "q2");
            }
            y = end + ARROW;
        }
    }

    /// Draws the balancer under test. Returns the y coordinate of its end.
    fn balancer(&mut self, study: &Study, top: f64) -> f64 {
        let [peers, _] = others(study);
        let others = match peers.is_empty() {
            true => "no other balancer was measured".to_owned(),
            false => format!("in the same place, one at a time: {}", peers.join(", ")),
        };
        let engines = engines(study);
        let height = engines.iter().map(engine_height).fold(0.0, f64::max);
        let other_lines = wrap(&others, MIDDLE.1 - 24.0, FONT).len() as f64;
        let engines_end = top + 32.0 + height;
        let end = engines_end + 14.0 + other_lines * LINE + 8.0;
        self.0.panel("box", (MIDDLE.0, top), (MIDDLE.1, end - top));
        self.heading((MIDDLE.0 + 12.0, top + 20.0), "balancer under test, started anew for each cell");
        for (i, engine) in engines.iter().enumerate() {
            self.engine(i, engine, top + 32.0, height);
        }
        self.lines((MIDDLE.0 + 12.0, engines_end + 18.0), MIDDLE.1 - 24.0, &others);
        end
    }

    /// Draws the arrows at these heights, with the instants that are measured.
    fn arrows(&mut self, client: f64, prober: f64, backends: f64) {
        let (from, to) = (LEFT.0 + LEFT.1, MIDDLE.0);
        self.0.arrow("", &[(from, client), (to, client)]);
        self.0.text("muted", ((from + to) / 2.0, client - 7.0), Anchor::Middle, "load");
        self.0.arrow("", &[(from, prober), (to, prober)]);
        self.0.arrow("", &[(to, prober + 26.0), (from, prober + 26.0)]);
        for (x, y, name) in [(17.0, -12.0, "t0"), (39.0, -12.0, "t1"), (17.0, 38.0, "t3"), (39.0, 38.0, "t2")]
        {
            self.stamp((from + x, prober + y), name);
        }
        let (from, to) = (MIDDLE.0 + MIDDLE.1, RIGHT.0);
        self.0.arrow("", &[(from, backends), (to, backends)]);
        self.0.arrow("", &[(to, backends + 20.0), (from, backends + 20.0)]);
        self.0.text("muted", ((from + to) / 2.0, backends - 8.0), Anchor::Middle, "forwards");
    }

    /// Draws the CPUs and says which processes use them. Returns the y coordinate of the end.
    fn cpus(&mut self, study: &Study, y: f64) -> f64 {
        let said = match study.manifest.topology.placement.as_str() {
            "shared" => "client, prober, balancer and backends share all CPUs: no process is bound to one",
            other => other,
        };
        self.heading((LEFT.0, y + 14.0), &format!("CPU placement: {said}"));
        let lanes = study.manifest.host.cpus.clamp(1, 16);
        let width = (WIDTH - 2.0 * LEFT.0 - (lanes - 1) as f64 * 8.0) / lanes as f64;
        for lane in 0..lanes {
            let x = LEFT.0 + lane as f64 * (width + 8.0);
            self.0.panel("inner", (x, y + 24.0), (width, 26.0));
            self.0.text("small", (x + width / 2.0, y + 41.0), Anchor::Middle, &format!("CPU {lane}"));
        }
        y + 50.0
    }

    /// Writes where the numbers in the tables come from. Returns the y coordinate of the end.
    fn sources(&mut self, y: f64) -> f64 {
        self.heading((LEFT.0, y + 14.0), "Where each column comes from");
        words::picture("sources").iter().fold(y + 34.0, |y, line| {
            let (column, source) = line.split_once(" | ").unwrap_or((line, ""));
            self.0.text("small strong", (LEFT.0, y), Anchor::Start, column);
            self.0.text("small", (LEFT.0 + 262.0, y), Anchor::Start, source);
            y + 17.0
        })
    }
}

/// Describes the loads in a few words.
fn loads(study: &Study) -> String {
    let joined = |numbers: BTreeSet<u32>| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let cells = || study.plan.cells.iter();
    let assignment = cells().filter(|cell| cell.section == Section::Assignment);
    let threads = joined(assignment.map(|cell| cell.threads).collect());
    let connections = joined(cells().map(|cell| cell.connections).collect());
    match threads.is_empty() {
        true => format!("connections: {connections}"),
        false => format!("-c 1000 with -t {threads}; elsewhere few threads with -c {connections}"),
    }
}

/// Returns the titles of the measured programs: the other balancers, and the servers that are asked directly.
fn others(study: &Study) -> [Vec<String>; 2] {
    use TargetKind::{Engine, Peer, User};
    let measured: BTreeSet<&str> = study.plan.cells.iter().map(|cell| cell.target.as_str()).collect();
    let kinds: [(What, &[TargetKind]); 2] =
        [(What::Balancer, &[Peer, User]), (What::Server, &[Engine, Peer, User])];
    kinds.map(|(what, kinds)| {
        let targets = study.plan.targets.iter().filter(|target| measured.contains(target.id.as_str()));
        let fits = targets.filter(|target| target.what == what && kinds.contains(&target.kind));
        fits.map(|target| target.title.clone()).collect()
    })
}

/// Returns the boxes at the left: title and paragraphs of each.
fn clients(study: &Study) -> [(&'static str, Vec<String>); 2] {
    let client = vec![
        "closed loop: a connection asks again when it is answered".to_owned(),
        "threads share the connections evenly; the remainder is not opened".to_owned(),
        loads(study),
    ];
    let rate = study.manifest.topology.probe_rate_hz;
    let prober = vec![
        format!("open loop: {rate} requests/s at intended times, beside the load"),
        "a connection for each request".to_owned(),
        "t0 intended, t1 sent, t2 first byte, t3 last byte".to_owned(),
    ];
    [("client: wrk", client), ("prober", prober)]
}

/// Returns the boxes at the right: title and paragraphs of each.
fn servers(study: &Study) -> Vec<(&'static str, Vec<String>)> {
    let topology = &study.manifest.topology;
    let files = topology.files.iter().map(|(name, size)| format!("{name} ({})", bytes(*size)));
    let mut backends = vec![
        format!("{} addresses of one neraca serve, async engine", topology.backends),
        format!("files: {}", files.collect::<Vec<_>>().join(", ")),
    ];
    if study.plan.cells.iter().any(|cell| cell.delay_ms > 0) {
        backends.push("a delay before each answer, where the plan says so".to_owned());
    }
    let [_, direct] = others(study);
    let direct = (!direct.is_empty()).then_some(("servers asked directly", direct));
    [("backends", backends)].into_iter().chain(direct).collect()
}

/// Draws the picture.
pub(crate) fn draw(study: &Study) -> Svg {
    let mut sketch = Sketch(Svg::new(WIDTH, 0.0));
    let (name, plan) = (&study.manifest.host.name, &study.plan);
    let head = format!("{name}: plan {}, {} cells", plan.name, plan.cells.len());
    sketch.heading((LEFT.0, 20.0), &head);
    let top = 38.0;
    let clients = sketch.column(LEFT, top, &clients(study));
    let servers = sketch.column(RIGHT, top, &servers(study));
    let middle_end = sketch.balancer(study, top);
    let ((_, client_end), (prober, left_end)) = (clients[0], clients[1]);
    let ((_, backends_end), (_, right_end)) = (servers[0], servers[servers.len() - 1]);
    sketch.arrows((top + client_end) / 2.0, prober + 40.0, (top + backends_end) / 2.0);
    let mut bottom = left_end.max(middle_end).max(right_end);
    if servers.len() > 1 {
        let y = bottom + 16.0;
        let (a, b) = (LEFT.0 + LEFT.1 / 2.0, RIGHT.0 + RIGHT.1 / 2.0);
        sketch.0.arrow("dashed", &[(a, left_end), (a, y), (b, y), (b, right_end)]);
        let text = "without a balancer: how fast it could be at most";
        sketch.0.text("muted", ((a + b) / 2.0, y + 15.0), Anchor::Middle, text);
        bottom = y + 18.0;
    }
    let y = sketch.cpus(study, bottom + 14.0);
    sketch.0.height = sketch.sources(y + 18.0) + 4.0;
    sketch.0
}

/// Returns the picture in the notation of Mermaid.
pub(crate) fn mermaid(study: &Study) -> String {
    let engine = |(i, (title, steps)): (usize, &Engine)| {
        let boxes: String =
            steps.iter().enumerate().map(|(n, step)| format!("      e{i}s{n}[\"{step}\"]\n")).collect();
        let chain: Vec<String> = (0..steps.len()).map(|n| format!("e{i}s{n}")).collect();
        let chain = chain.join(" --> ");
        format!("    subgraph e{i}[\"{title}\"]\n      direction TB\n{boxes}      {chain}\n    end\n")
    };
    let inside: String = engines(study).iter().enumerate().map(engine).collect();
    let line = |name, titles: Vec<String>| match titles.is_empty() {
        true => String::new(),
        false => english(name, &[&titles.join(", ")]),
    };
    let [peers, direct] = others(study);
    let (peers, direct) = (line("mermaid_peers", peers), line("mermaid_direct", direct));
    let topology = &study.manifest.topology;
    english(
        "mermaid",
        &[&loads(study), &topology.probe_rate_hz, &inside, &peers, &topology.backends, &direct],
    )
}

/// Returns the picture with its title.
pub(crate) fn figure(study: &Study) -> Figure {
    words::figure("experiment", &[], Some(draw(study)))
}

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
