//! Flame graphs: where the CPU time of each balancer goes, and where the engines differ.

use std::collections::BTreeMap;

use crate::judge::record::Measured;
use crate::judge::study::Study;
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Figure, plain};
use crate::report::number::load_name;
use crate::report::svg::{Svg, text_width};
use crate::report::words::english;

/// Narrower functions are not drawn, in per cent.
const LEAST: f64 = 0.5;

const WIDTH: f64 = 1180.0;
const ROW: f64 = 16.0;

/// Returns the profile of each target: its id, the load and its folded stacks.
fn profiles(study: &Study) -> Vec<(&str, String, &str)> {
    let mut found: Vec<(&str, String, &str)> = Vec::new();
    for record in &study.records {
        let Measured::Profile(folded) = &record.measured else { continue };
        if !found.iter().any(|(id, ..)| *id == record.cell.target) {
            found.push((&record.cell.target, load_name(&record.cell), folded));
        }
    }
    found.sort_by_key(|(id, ..)| study.plan.targets.iter().position(|target| target.id == *id));
    found
}

/// The samples of each stack, in per cent of all samples: of the drawn profile, and of the profile before it.
type Stacks<'a> = BTreeMap<Vec<&'a str>, [f64; 2]>;

/// Adds the stacks of one profile.
fn add<'a>(stacks: &mut Stacks<'a>, folded: &'a str, profile: usize) {
    let lines = || folded.lines().filter_map(|line| line.rsplit_once(' '));
    let samples = |count: &str| count.parse::<f64>().unwrap_or(0.0);
    let all: f64 = lines().map(|(_, count)| samples(count)).sum();
    for (stack, count) in lines() {
        stacks.entry(stack.split(';').collect()).or_default()[profile] += samples(count) / all * 100.0;
    }
}

/// A function in a stack. Numbers are in per cent.
struct Frame<'a> {
    name: &'a str,
    depth: usize,
    left: f64,
    width: f64,
    before: f64,
}

/// Collects the frames from this depth on. `left` is the place of the first stack.
fn frames<'a>(stacks: &[(&Vec<&'a str>, [f64; 2])], depth: usize, mut left: f64, found: &mut Vec<Frame<'a>>) {
    for alike in stacks.chunk_by(|(a, _), (b, _)| a.get(depth) == b.get(depth)) {
        let sum = |profile: usize| alike.iter().map(|(_, samples)| samples[profile]).sum::<f64>();
        let (width, before) = (sum(0), sum(1));
        if let Some(name) = alike[0].0.get(depth).filter(|_| width >= LEAST) {
            found.push(Frame { name, depth, left, width, before });
            frames(alike, depth + 1, left, found);
        }
        left += width;
    }
}

/// Draws the stacks. With two profiles the colours show their difference, otherwise program and kernel.
fn draw(stacks: &Stacks<'_>, is_difference: bool) -> Svg {
    let mut found = Vec::new();
    let stacks: Vec<_> = stacks.iter().map(|(stack, samples)| (stack, *samples)).collect();
    frames(&stacks, 0, 0.0, &mut found);
    let rows = found.iter().map(|frame| frame.depth + 1).max().unwrap_or(0) as f64;
    let mut svg = Svg::new(WIDTH, rows * ROW);
    for Frame { name, depth, left, width, before } in found {
        let in_kernel = name.ends_with("_[k]");
        let name = name.trim_end_matches("_[k]");
        let more = width - before;
        let (class, said) = if is_difference {
            (class(more), format!("{name}: {width:.1} % ({more:+.1})"))
        } else {
            (format!("bar {} k3", if in_kernel { "s1" } else { "s2" }), format!("{name}: {width:.1} %"))
        };
        let (x, y) = (left / 100.0 * WIDTH, svg.height - (depth + 1) as f64 * ROW);
        let room = width / 100.0 * WIDTH;
        svg.rect(&class, (x, y), (room - 0.5, ROW - 1.0), &said);
        let fits = |text: &String| text_width(text, 11.0) <= room - 4.0;
        let lengths = (4..=name.len()).rev().filter(|length| name.is_char_boundary(*length));
        let mut texts =
            lengths.map(|n| if n == name.len() { name.into() } else { format!("{}…", &name[..n]) });
        if let Some(text) = texts.find(fits) {
            svg.text("small", (x + 2.0, y + 11.5), &text);
        }
    }
    svg
}

/// Returns the CSS classes of a difference in per cent: the colour, and its strength from 0 to 4.
fn class(more: f64) -> String {
    let strength = [0.1, 0.3, 1.0, 3.0].into_iter().filter(|limit| more.abs() > *limit).count();
    format!("bar s{} k{}", if more > 0.0 { 5 } else { 0 }, strength.max(1))
}

/// Makes the stacks of two engines comparable: below a system call everything is the kernel's, above it the engines have
/// nothing in common but the function that runs.
fn aligned(folded: &str) -> String {
    let line = |line: &str| {
        let (stack, count) = line.rsplit_once(' ')?;
        let names: Vec<&str> = stack.split(';').collect();
        let entry =
            names.iter().position(|name| name.starts_with("entry_SYSCALL") || name.starts_with("asm_"));
        let kept = match entry {
            Some(at) => format!("kernel;{}", names.get(at + 1..).unwrap_or_default().join(";")),
            None => format!("program;{}", names.last()?),
        };
        Some(format!("{} {count}\n", kept.trim_end_matches(';')))
    };
    folded.lines().filter_map(line).collect()
}

fn difference(thread: &str, asynchronous: &str) -> Svg {
    let [after, before] = [asynchronous, thread].map(aligned);
    let mut stacks = Stacks::new();
    add(&mut stacks, &after, 0);
    add(&mut stacks, &before, 1);
    draw(&stacks, true)
}

/// Writes the flame graphs of the engines and their difference, then those of the other programs.
pub(crate) fn write(study: &Study, doc: &mut Doc) {
    doc.heading("Flame graphs");
    let profiles = profiles(study);
    if profiles.is_empty() {
        let has_perf = study.manifest.tools.contains_key("perf");
        doc.text(english(if has_perf { "no_profile" } else { "no_perf" }, &[]));
        return;
    }
    doc.text(english("flames", &[&LEAST]));
    let figure = |(id, load, folded): &(&str, String, &str)| {
        let mut stacks = Stacks::new();
        add(&mut stacks, folded, 0);
        let (name, title) = (format!("flame-{id}"), plain(&study.title(id)));
        Figure { name, title, reading: format!("Under `{load}`."), drawing: Ok(draw(&stacks, false)) }
    };
    let (engines, others): (Vec<_>, Vec<_>) =
        profiles.iter().partition(|(id, ..)| [THREAD, ASYNC].contains(id));
    let wide = " class=\"wide\"";
    engines.iter().for_each(|profile| doc.figure(figure(profile), wide));
    let of = |wanted: &str| profiles.iter().find(|(id, ..)| *id == wanted).map(|(.., folded)| *folded);
    if let Some((thread, asynchronous)) = of(THREAD).zip(of(ASYNC)) {
        let title = "The difference between the engines".to_owned();
        let (reading, drawing) = (english("flame_difference", &[]), Ok(difference(thread, asynchronous)));
        doc.figure(Figure { name: "flame-difference".into(), title, reading, drawing }, wide);
    }
    if !others.is_empty() {
        doc.folded("Flame graphs of the other programs", |doc| {
            others.iter().for_each(|profile| doc.figure(figure(profile), wide));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_of_both_engines_begin_at_the_system_call() {
        let folded = "worker;run;write;entry_SYSCALL_64_[k];tcp_sendmsg_[k] 7\nworker;run;parse 3\nx;asm_sysvec_[k] 1\n";
        assert_eq!(aligned(folded), "kernel;tcp_sendmsg_[k] 7\nprogram;parse 3\nkernel 1\n");
        let svg = difference(folded, &folded.replace(" 7", " 20")).inline("id", "x");
        for said in ["tcp_sendmsg: 83.3 % (+19.7)", "parse: 12.5 % (-14.8)", "class=\"bar s5 k4\""] {
            assert!(svg.contains(said), "{said} in {svg}");
        }
    }

    #[test]
    fn a_frame_is_as_wide_as_its_share_and_stands_on_its_caller() {
        let mut stacks = Stacks::new();
        add(&mut stacks, "main;run;read_[k] 60\nmain;run 20\nmain 19.8\nmain;rare 0.2\n", 0);
        let svg = draw(&stacks, false).inline("id", "x");
        for drawn in [
            "x=\"0\" y=\"32\" width=\"1179.5\" height=\"15\"><title>main: 100.0 %",
            "y=\"16\" width=\"943.5\" height=\"15\"><title>run: 80.0 %",
            "<rect class=\"bar s1 k3\"",
            "read: 60.0 %",
        ] {
            assert!(svg.contains(drawn), "{drawn} in {svg}");
        }
        assert!(!svg.contains("rare"), "{svg}");
    }
}
