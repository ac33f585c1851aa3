//! Flame graphs: where the CPU time of each balancer goes, and where the engines differ.

use inferno::differential;
use inferno::flamegraph::color::{BackgroundColor, BasicPalette, Palette};
use inferno::flamegraph::{self, Options};

use crate::judge::record::Measured;
use crate::judge::study::Study;
use crate::plans::targets::{ASYNC, THREAD};
use crate::report::doc::{Doc, Drawing, Figure, plain};
use crate::report::number::load_name;
use crate::report::words::english;

/// Narrower functions are not drawn, in per cent.
const LEAST: f64 = 0.5;

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

fn draw<'a>(title: &str, lines: impl Iterator<Item = &'a str>) -> Result<Drawing, String> {
    let mut options = Options::default();
    options.title = title.into();
    options.image_width = Some(1180);
    options.min_width = LEAST;
    options.deterministic = true;
    options.colors = Palette::Basic(BasicPalette::Aqua);
    options.bgcolors = Some(BackgroundColor::Flat((255, 255, 255).into()));
    options.font_type = "system-ui, sans-serif".into();
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines, &mut svg).map_err(|error| error.to_string())?;
    String::from_utf8(svg).map(Drawing::File).map_err(|error| error.to_string())
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

fn difference(thread: &str, asynchronous: &str) -> Result<Drawing, String> {
    let (before, after) = (aligned(thread), aligned(asynchronous));
    let options = differential::Options { normalize: true, strip_hex: false };
    let mut lines = Vec::new();
    differential::from_readers(options, before.as_bytes(), after.as_bytes(), &mut lines)
        .map_err(|error| error.to_string())?;
    let lines = String::from_utf8(lines).map_err(|error| error.to_string())?;
    draw("async compared with thread: red is more in async, blue is less", lines.lines())
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
    let figure = |(id, load, folded): &(&str, String, &str)| Figure {
        name: format!("flame-{id}"),
        title: plain(&study.title(id)),
        reading: format!("Under `{load}`."),
        drawing: draw(&study.title(id), folded.lines()),
    };
    let (engines, others): (Vec<_>, Vec<_>) =
        profiles.iter().partition(|(id, ..)| [THREAD, ASYNC].contains(id));
    let wide = " class=\"wide\"";
    engines.iter().for_each(|profile| doc.figure(figure(profile), wide));
    let of = |wanted: &str| profiles.iter().find(|(id, ..)| *id == wanted).map(|(.., folded)| *folded);
    if let Some((thread, asynchronous)) = of(THREAD).zip(of(ASYNC)) {
        let title = "The difference between the engines".to_owned();
        let (reading, drawing) = (english("flame_difference", &[]), difference(thread, asynchronous));
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
        let Ok(Drawing::File(svg)) = difference(folded, folded) else { panic!() };
        assert!(svg.contains("tcp_sendmsg"));
        assert_eq!(Ok(Drawing::File(svg)), difference(folded, folded));
    }
}
