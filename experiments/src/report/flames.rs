//! Flame graphs: where the CPU time of each balancer goes, and where the engines differ.

use std::collections::BTreeMap;

use itertools::Itertools;

use crate::judge::record::Record;
use crate::judge::study::Study;
use crate::plans::model::{Section, Target};
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Figure, plain};
use crate::report::number::load_name;
use crate::report::svg::{Svg, text_width};
use crate::report::words::{self, Lang, english};
use crate::run::raw::Found;

/// Narrower functions are not drawn, in per cent.
const LEAST: f64 = 0.5;

const WIDTH: f64 = 1180.0;
const ROW: f64 = 16.0;

/// Returns the profile of each target: its id, the load and its folded stacks.
fn profiles<'a>(study: &'a Study) -> Vec<(&'a str, String, &'a str)> {
    let profile = |record: &'a Record| match &record.found {
        Found::Profile { folded, .. } => {
            Some((record.cell.target.as_str(), load_name(&record.cell), folded.as_str()))
        }
        _ => None,
    };
    let of = |target: &'a Target| {
        study.records.iter().filter(|record| record.cell.target == target.id).find_map(profile)
    };
    study.plan.targets.iter().filter_map(of).collect()
}

/// What is drawn: a profile, or the difference of two profiles.
struct Flames {
    svg: Svg,
    is_difference: bool,
}

impl Flames {
    /// Draws the functions from this depth on, upwards from y = 0. `left` is the place of the first stack, in per cent.
    fn functions(&mut self, stacks: &[(&Vec<&str>, &[f64; 2])], depth: usize, mut left: f64) {
        for alike in stacks.chunk_by(|(a, _), (b, _)| a.get(depth) == b.get(depth)) {
            let [width, before] =
                [0, 1].map(|profile| alike.iter().map(|(_, samples)| samples[profile]).sum::<f64>());
            if let Some(name) = alike[0].0.get(depth).filter(|_| width >= LEAST) {
                self.function(name, depth, left, width, width - before);
                self.functions(alike, depth + 1, left);
            }
            left += width;
        }
    }

    /// Draws a function. With two profiles its colour shows the difference, otherwise program or kernel.
    fn function(&mut self, name: &str, depth: usize, left: f64, width: f64, more: f64) {
        let in_kernel = name.ends_with("_[k]");
        let name = name.trim_end_matches("_[k]");
        let (class, said) = if self.is_difference {
            (class(more), format!("{name}: {width:.1} % ({more:+.1})"))
        } else {
            (format!("bar {} k3", if in_kernel { "s1" } else { "s2" }), format!("{name}: {width:.1} %"))
        };
        let top = (depth + 1) as f64 * ROW;
        let (x, room) = (left / 100.0 * WIDTH, width / 100.0 * WIDTH);
        self.svg.height = self.svg.height.max(top);
        self.svg.rect(&class, (x, -top), (room - 0.5, ROW - 1.0), &said);
        let shorter = (4..name.len()).rev().filter_map(|length| Some(format!("{}…", name.get(..length)?)));
        let fits = |text: &String| text_width(text, 11.0) <= room - 4.0;
        if let Some(text) = std::iter::once(name.to_owned()).chain(shorter).find(fits) {
            self.svg.text("small", (x + 2.0, 11.5 - top), &text);
        }
    }
}

/// Draws the stacks of a profile, the callers at the bottom; or its difference to the profile `before`.
fn draw(folded: &str, before: Option<&str>) -> Svg {
    // The samples of each stack, in per cent of all samples: of the drawn profile, and of the profile before it.
    let mut stacks: BTreeMap<Vec<&str>, [f64; 2]> = BTreeMap::new();
    for (profile, folded) in [folded].into_iter().chain(before).enumerate() {
        let lines = folded.lines().filter_map(|line| line.rsplit_once(' '));
        let lines = lines.map(|(stack, count)| (stack, count.parse().unwrap_or(0.0))).collect_vec();
        let all: f64 = lines.iter().map(|(_, count)| count).sum();
        for (stack, count) in lines {
            stacks.entry(stack.split(';').collect()).or_default()[profile] += count / all * 100.0;
        }
    }
    let mut flames = Flames { svg: Svg::new(WIDTH, 0.0), is_difference: before.is_some() };
    flames.functions(&stacks.iter().collect_vec(), 0, 0.0);
    let Svg { width, height, body } = flames.svg;
    Svg { width, height, body: format!("<g transform=\"translate(0 {height})\">\n{body}</g>\n") }
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
        let why = english(if has_perf { "no_profile" } else { "no_perf" }, &[]);
        doc.text(words::absent(study, Lang::En, &[Section::Profile], why));
        return;
    }
    doc.text(english("flames", &[&LEAST]));
    let wide = |doc: &mut Doc, name: String, title: String, reading: String, svg| {
        doc.figure(Figure { name, title, reading, drawing: Ok(svg) }, " class=\"wide\"");
    };
    let one = |doc: &mut Doc, (id, load, folded): &(&str, String, &str)| {
        let (title, reading) = (plain(&study.title(id)), format!("Under `{load}`."));
        wide(doc, format!("flame-{id}"), title, reading, draw(folded, None));
    };
    let (engines, others): (Vec<_>, Vec<_>) =
        profiles.iter().partition(|(id, ..)| [THREAD, ASYNC].contains(id));
    engines.iter().for_each(|profile| one(doc, profile));
    let of =
        |wanted: &str| profiles.iter().find(|(id, ..)| *id == wanted).map(|(.., folded)| aligned(folded));
    if let Some((thread, asynchronous)) = of(THREAD).zip(of(ASYNC)) {
        let (title, reading) = ("The difference between the engines", english("flame_difference", &[]));
        let svg = draw(&asynchronous, Some(&thread));
        wide(doc, "flame-difference".into(), title.into(), reading, svg);
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
    fn stacks_of_both_engines_begin_at_the_system_call() {
        let folded = "worker;run;write;entry_SYSCALL_64_[k];tcp_sendmsg_[k] 7\nworker;run;parse 3\nx;asm_sysvec_[k] 1\n";
        assert_eq!(aligned(folded), "kernel;tcp_sendmsg_[k] 7\nprogram;parse 3\nkernel 1\n");
        let after = aligned(&folded.replace(" 7", " 20"));
        let svg = draw(&after, Some(&aligned(folded))).inline("id", "x");
        for said in ["tcp_sendmsg: 83.3 % (+19.7)", "parse: 12.5 % (-14.8)", "class=\"bar s5 k4\""] {
            assert!(svg.contains(said), "{said} in {svg}");
        }
    }

    #[test]
    fn a_frame_is_as_wide_as_its_share_and_stands_on_its_caller() {
        let folded = "main;run;read_[k] 60\nmain;run 20\nmain 19.8\nmain;rare 0.2\n";
        let svg = draw(folded, None).inline("id", "x");
        for drawn in [
            "translate(0 48)",
            "x=\"0\" y=\"-16\" width=\"1179.5\" height=\"15\"><title>main: 100.0 %",
            "y=\"-32\" width=\"943.5\" height=\"15\"><title>run: 80.0 %",
            "<rect class=\"bar s1 k3\"",
            "read: 60.0 %",
        ] {
            assert!(svg.contains(drawn), "{drawn} in {svg}");
        }
        assert!(!svg.contains("rare"), "{svg}");
    }
}
