//! Flame graphs: where the CPU time of each balancer goes, and where the engines differ.

use std::collections::BTreeMap;

use itertools::Itertools;

use crate::judge::study::Study;
use crate::plans::model::{Cell, Section};
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Figure, plain};
use crate::report::number::load_name;
use crate::report::svg::{Svg, text_width};
use crate::report::words::{self, english};
use crate::run::raw::Found;

/// Narrower functions are not drawn, in per cent.
const LEAST: f64 = 0.5;

const WIDTH: f64 = 1180.0;
const ROW: f64 = 16.0;

/// The functions of a stack, and its samples in the drawn profile and in the profile before it, in per cent.
type Stack<'a> = (&'a Vec<&'a str>, &'a [f64; 2]);

/// Returns the profile of each target: its cell and its folded stacks.
fn profiles(study: &Study) -> Vec<(&Cell, &str)> {
    let runs = study.section(Section::Profile).into_iter().flat_map(|group| group.runs);
    let profiles = runs.filter_map(|run| {
        let Found::Profile { folded, .. } = &run.found else { return None };
        Some((&run.cell, folded.as_str()))
    });
    profiles.unique_by(|(cell, _)| &cell.target).collect()
}

/// Draws the functions from this depth on, upwards from y = 0. `left` is the place of the first stack, in per cent.
fn functions(svg: &mut Svg, is_difference: bool, stacks: &[Stack<'_>], depth: usize, mut left: f64) {
    let top = (depth + 1) as f64 * ROW;
    for alike in stacks.chunk_by(|(a, _), (b, _)| a.get(depth) == b.get(depth)) {
        let [width, before] =
            [0, 1].map(|profile| alike.iter().map(|(_, samples)| samples[profile]).sum::<f64>());
        if let Some(name) = alike[0].0.get(depth).filter(|_| width >= LEAST) {
            // The colour shows how much more the function has than before, or else program or kernel.
            let (in_kernel, more) = (name.ends_with("_[k]"), width - before);
            let name = name.trim_end_matches("_[k]");
            let said = format!("{name}: {width:.1} %");
            let (class, said) = match is_difference {
                true => (class(more), format!("{said} ({more:+.1})")),
                false => (format!("bar {} k3", if in_kernel { "s1" } else { "s2" }), said),
            };
            let (x, room) = (left / 100.0 * WIDTH, width / 100.0 * WIDTH);
            svg.height = svg.height.max(top);
            svg.rect(&class, (x, -top), (room - 0.5, ROW - 1.0), &said);
            let cut = |length| Some(format!("{}…", name.get(..length)?));
            let shorter = (4..name.len()).rev().filter_map(cut);
            let fits = |text: &String| text_width(text, 11.0) <= room - 4.0;
            if let Some(text) = std::iter::once(name.to_owned()).chain(shorter).find(fits) {
                svg.text("small", (x + 2.0, 11.5 - top), &text);
            }
            functions(svg, is_difference, alike, depth + 1, left);
        }
        left += width;
    }
}

/// Draws the stacks of a profile, the callers at the bottom; or its difference to the profile `before`.
fn draw(folded: &str, before: Option<&str>) -> Svg {
    let mut stacks: BTreeMap<Vec<&str>, [f64; 2]> = BTreeMap::new();
    for (profile, folded) in [folded].into_iter().chain(before).enumerate() {
        let lines = folded.lines().filter_map(|line| line.rsplit_once(' '));
        let lines = lines.map(|(stack, count)| (stack, count.parse().unwrap_or(0.0))).collect_vec();
        let all: f64 = lines.iter().map(|(_, count)| count).sum();
        for (stack, count) in lines {
            stacks.entry(stack.split(';').collect()).or_default()[profile] += count / all * 100.0;
        }
    }
    let mut svg = Svg::new(WIDTH, 0.0);
    functions(&mut svg, before.is_some(), &stacks.iter().collect_vec(), 0, 0.0);
    svg.body = format!("<g transform=\"translate(0 {})\">\n{}</g>\n", svg.height, svg.body);
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

/// Writes the flame graphs of the engines and their difference, then those of the other programs.
pub(crate) fn write(study: &Study, doc: &mut Doc) {
    doc.heading(3, "Flame graphs");
    let profiles = profiles(study);
    if profiles.is_empty() {
        let has_perf = study.manifest.setting.tools.contains_key("perf");
        let why = if has_perf { "no_profile" } else { "no_perf" };
        return doc.text(words::no_part(why, study, Section::Profile));
    }
    doc.text(english("flames", &[&LEAST]));
    let wide = |doc: &mut Doc, id: &str, title: &str, reading: String, svg| {
        let (name, title) = (format!("flame-{id}"), title.to_owned());
        doc.figure(Figure { name, title, reading, drawing: Ok(svg) }, " class=\"wide\"");
    };
    let one = |doc: &mut Doc, (cell, folded): &(&Cell, &str)| {
        let (id, reading) = (&cell.target, format!("Under `{}`.", load_name(cell)));
        wide(doc, id, &plain(&study.title(id)), reading, draw(folded, None));
    };
    let is_engine = |(cell, _): &&(&Cell, &str)| [THREAD, ASYNC].contains(&cell.target.as_str());
    let (engines, others): (Vec<_>, Vec<_>) = profiles.iter().partition(is_engine);
    engines.iter().for_each(|profile| one(doc, profile));
    let of = |id| engines.iter().find(|(cell, _)| cell.target == id).map(|(_, folded)| aligned(folded));
    if let Some((thread, asynchronous)) = of(THREAD).zip(of(ASYNC)) {
        let (title, reading) = ("The difference between the engines", english("flame_difference", &[]));
        wide(doc, "difference", title, reading, draw(&asynchronous, Some(&thread)));
    }
    if !others.is_empty() {
        doc.folded("Flame graphs of the other programs", |doc| {
            others.iter().for_each(|other| one(doc, other));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_begin_at_the_system_call_and_a_frame_is_as_wide_as_its_share_and_stands_on_its_caller() {
        let folded = "worker;run;write;entry_SYSCALL_64_[k];tcp_sendmsg_[k] 7\nworker;run;parse 3\nx;asm_sysvec_[k] 1\n";
        let before = aligned(folded);
        assert_eq!(before, "kernel;tcp_sendmsg_[k] 7\nprogram;parse 3\nkernel 1\n");
        let after = aligned(&folded.replace(" 7", " 20"));
        let alone = "main;run;read_[k] 60\nmain;run 20\nmain 19.8\nmain;rare 0.2\n";
        let [difference, alone] =
            [draw(&after, Some(&before)), draw(alone, None)].map(|svg| svg.inline("id", "x"));
        for (svg, drawn) in [
            (&difference, "tcp_sendmsg: 83.3 % (+19.7)"),
            (&difference, "parse: 12.5 % (-14.8)"),
            (&difference, "class=\"bar s5 k4\""),
            (&alone, "translate(0 48)"),
            (&alone, "x=\"0\" y=\"-16\" width=\"1179.5\" height=\"15\"><title>main: 100.0 %"),
            (&alone, "y=\"-32\" width=\"943.5\" height=\"15\"><title>run: 80.0 %"),
            (&alone, "<rect class=\"bar s1 k3\""),
            (&alone, "read: 60.0 %"),
        ] {
            assert!(svg.contains(drawn), "{drawn} in {svg}");
        }
        assert!(!alone.contains("rare"), "{alone}");
    }
}
