//! Tests of whole reports over synthetic results.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use super::{page, render};
use crate::commands::check;
use crate::judge::synthetic::Run;
use crate::plans::build::{self, Changes};
use crate::plans::model::{Cell, Section};
use crate::report::page::Block;
use crate::run::files::{self, MANIFEST, PLAN, RAW};
use crate::run::raw::Found;

/// True when every tag is closed in the right order.
fn well_formed(xml: &str) -> bool {
    const VOID: [&str; 2] = ["meta", "!doctype"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        let Some(end) = rest[start..].find('>') else { return false };
        let tag = &rest[start + 1..start + end];
        rest = &rest[start + end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap_or_default();
        if VOID.contains(&name) || tag.ends_with('/') {
            continue;
        }
        if tag.starts_with('/') {
            if open.pop() != Some(name) {
                return false;
            }
        } else {
            open.push(name);
        }
    }
    open.is_empty()
}

#[test]
fn a_whole_plan_has_every_part_and_plot() {
    let run = Run::new("bench");
    let study = run.study();
    let files = render(&study);
    assert_eq!(files, render(&run.study()));
    let (html, markdown) = (&files["report/index.html"], &files["report/README.md"]);
    assert!(well_formed(html));
    for part in
        ["assignment", "verdict", "servers", "peers", "why", "ablations", "plots", "experiment", "about"]
    {
        assert!(html.contains(&format!("<h2 id=\"{part}\">")), "{part}");
    }
    assert!(!html.contains("Not in this run"), "a plot is missing");
    for outside in ["http://www", "https:", "src=", "@import", "url(", "NaN", "inf<"] {
        assert!(!html.contains(outside), "{outside}");
    }
    let drawings: Vec<&String> = files.keys().filter(|name| name.ends_with(".svg")).collect();
    assert_eq!(drawings.len(), 12, "{drawings:?}");
    for name in drawings {
        assert!(well_formed(&files[name]), "{name}");
        let name = name.strip_prefix("report/").unwrap();
        assert!(markdown.contains(&format!("]({name})")), "{name}");
    }
    let most: usize = files.values().map(String::len).sum();
    assert!(most < 2_000_000, "{most} bytes");
    assert!(markdown.contains("-c 1000 -t 150 (900)"));
}

#[test]
fn a_short_plan_says_what_it_lacks() {
    let run = Run::new("smoke");
    let study = run.study();
    let files = render(&study);
    let html = &files["report/index.html"];
    assert!(well_formed(html));
    assert!(html.contains("no verdict: 1 of at least 4 blocks"));
    for missing in ["does not vary the number of connections", "has no backend latencies"] {
        assert!(html.contains(missing), "{missing}");
    }
    for figure in page::drawn(&super::page(&study).blocks) {
        let svg = figure.svg.as_ref().unwrap().inline("");
        assert!(
            svg.contains("<polyline") || svg.contains("<rect") || svg.contains("<circle"),
            "{} is empty",
            figure.name
        );
    }
}

/// A run with only one section must give a page.
#[test]
fn each_section_alone_is_a_page() {
    let whole = build::tests::plan("bench", &Changes::default());
    let mut sections: BTreeMap<Section, Vec<Cell>> = BTreeMap::new();
    for cell in &whole.cells {
        sections.entry(cell.section).or_default().push(cell.clone());
    }
    sections.insert(Section::Assignment, Vec::new());
    for (section, mut cells) in sections {
        for (seq, cell) in cells.iter_mut().enumerate() {
            cell.seq = seq;
        }
        let run = Run::of(build::of_cells("part", whole.targets.clone(), cells));
        let study = run.study();
        let files = render(&study);
        assert!(well_formed(&files["report/index.html"]), "{section:?}");
        let empty = |block: &Block| matches!(block, Block::Table(table) if table.rows.is_empty());
        assert!(!super::page(&study).blocks.iter().any(empty), "{section:?} has an empty table");
    }
}

#[test]
fn a_cell_that_failed_is_shown_marked_and_not_ranked() {
    let mut run = Run::new("smoke");
    let peer =
        |target: &'static str| move |cell: &Cell| cell.section == Section::Peers && cell.target == target;
    run.load_of(peer("haproxy")).found = Found::Failed("haproxy does not listen".into());
    let Found::Load(load) = &mut run.load_of(peer("nginx")).found else { panic!("it is no load") };
    load.probe.errors.corrupt = 3;
    let markdown = &render(&run.study())["report/README.md"];
    for expected in
        ["NO: not measured", "haproxy does not listen", "NO: G10", "3 of 200 probes got a wrong body"]
    {
        assert!(markdown.contains(expected), "{expected}");
    }
}

/// A stored run, removed on drop.
struct Stored(PathBuf);

impl Drop for Stored {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stored(name: &str) -> Stored {
    let run = Run::new("smoke");
    let path = std::env::temp_dir().join(format!("neraca-lab-{name}-{}", std::process::id()));
    fs::create_dir_all(&path).unwrap();
    files::write_json(&path.join(PLAN), &run.plan).unwrap();
    files::write_json(&path.join(MANIFEST), &run.manifest).unwrap();
    fs::write(path.join(RAW), run.text()).unwrap();
    super::run(Some(&path)).unwrap();
    Stored(path)
}

#[test]
fn an_edited_number_fails_the_check() {
    let run = stored("edited");
    check::run(Some(&run.0)).unwrap();
    files::pack(&run.0).unwrap();
    check::run(Some(&run.0)).unwrap();
    fs::write(run.0.join(RAW), files::raw_text(&run.0).unwrap()).unwrap();
    fs::remove_file(run.0.join(files::PACKED)).unwrap();
    for (name, from, to, expected) in [
        (RAW, "\"requests\":", "\"requests\":1", "requests_per_second"),
        (RAW, "\"timeout\":0", "\"timeout\":1", "failures: timeout"),
        (RAW, "\"peak_kb\":12000", "\"peak_kb\":12900", "raw_sha256"),
        (RAW, "wrk -c", "wrk -C", "raw_sha256"),
        ("summary.json", "\"requests_per_second\":", "\"requests_per_second\":1", "summary.json: cells"),
        ("summary.csv", ",thread,", ",threat,", "summary.csv"),
        (PLAN, "\"name\": \"smoke\"", "\"name\": \"bench\"", "plan.json"),
        (MANIFEST, "\"memory_mb\": 8000", "\"memory_mb\": 9000", "manifest"),
        ("report/README.md", "requests/sec", "requests/second", "report/README.md"),
    ] {
        let path = run.0.join(name);
        let before = fs::read_to_string(&path).unwrap();
        let after = before.replacen(from, to, 1);
        assert_ne!(before, after, "{name} has no {from}");
        fs::write(&path, after).unwrap();
        let said = check::run(Some(&run.0)).unwrap_err();
        assert!(said.contains(expected), "{name}, {from}: {said}");
        fs::write(&path, before).unwrap();
    }
    check::run(Some(&run.0)).unwrap();
}

#[test]
fn a_run_that_was_cut_short_is_reported_as_far_as_it_went() {
    let mut run = Run::new("smoke");
    let raw = run.raws.remove(3);
    let study = run.study();
    assert_eq!(study.missing.len(), 1);
    assert!(render(&study)["report/README.md"].contains(&format!("- `{}`", raw.cell.id)));
}
