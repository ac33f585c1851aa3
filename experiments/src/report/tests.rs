//! Tests of whole reports over synthetic results.

use std::collections::BTreeMap;
use std::fs;

use super::study::Study;
use super::synthetic::Run;
use super::{page, render};
use crate::check;
use crate::model::{Cell, Section, Work, file};
use crate::plan::{self, Scale};
use crate::report::page::Block;
use crate::report::verdict::headline;
use crate::stats::Verdict;
use crate::{raw, targets};

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
    let run = Run::new("whole", Scale::Bench);
    let study = Study::load(&run.0).unwrap();
    let files = render(&study);
    assert_eq!(files, render(&Study::load(&run.0).unwrap()));
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
fn the_headline_finds_the_difference_that_was_made() {
    let run = Run::new("headline", Scale::Bench);
    let headline = headline(&Study::load(&run.0).unwrap()).unwrap();
    assert_eq!((headline.verdict, headline.ratio.blocks.len()), (Verdict::Faster, 6));
    let made = (9.08 + 7.0 + 14.0) / (9.08 + 7.0 + 13.0);
    assert!((headline.ratio.ratio / made - 1.0).abs() < 0.02, "{headline:?}");
    assert!(headline.noise_floor() < 1.02, "{headline:?}");
}

#[test]
fn a_short_plan_says_what_it_lacks() {
    let run = Run::new("short", Scale::Smoke);
    let study = Study::load(&run.0).unwrap();
    let files = render(&study);
    let html = &files["report/index.html"];
    assert!(well_formed(html));
    assert!(html.contains("**No verdict") || html.contains("<strong>No verdict:</strong>"));
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
    let whole = plan::build(Scale::Bench, 1, targets::own());
    let mut sections: BTreeMap<Section, Vec<Cell>> = BTreeMap::new();
    for cell in &whole.cells {
        sections.entry(cell.section).or_default().push(cell.clone());
    }
    sections.insert(Section::Assignment, Vec::new());
    for (section, mut cells) in sections {
        for (seq, cell) in cells.iter_mut().enumerate() {
            cell.seq = seq;
        }
        let name = format!("section-{section:?}");
        let run = Run::of(&name, &plan::of_cells("part", 1, targets::own(), cells));
        let study = Study::load(&run.0).unwrap();
        let files = render(&study);
        assert!(well_formed(&files["report/index.html"]), "{section:?}");
        let empty = |block: &Block| matches!(block, Block::Table(table) if table.rows.is_empty());
        assert!(!super::page(&study).blocks.iter().any(empty), "{section:?} has an empty table");
    }
}

#[test]
fn a_cell_that_failed_is_shown_marked_and_not_ranked() {
    let run = Run::new("failed", Scale::Smoke);
    let study = Study::load(&run.0).unwrap();
    let cell = |target: &str| {
        let of = |cell: &&Cell| cell.section == Section::Peers && cell.target == target;
        study.plan.cells.iter().find(of).unwrap().clone()
    };
    let directory = raw::directory(&run.0, &cell("haproxy"));
    fs::write(directory.join(file::FAILED), "haproxy does not listen\n").unwrap();
    let directory = raw::directory(&run.0, &cell("nginx"));
    let path = directory.join(file::PROBE);
    let text = fs::read_to_string(&path).unwrap().replace("\"corrupt\":0", "\"corrupt\":3");
    fs::write(&path, text).unwrap();
    let markdown = &render(&Study::load(&run.0).unwrap())["report/README.md"];
    for expected in
        ["NO: not measured", "haproxy does not listen", "NO: G10", "3 of 200 probes got a wrong body"]
    {
        assert!(markdown.contains(expected), "{expected}");
    }
}

fn made(name: &str) -> Run {
    let run = Run::new(name, Scale::Smoke);
    super::run(Some(&run.0)).unwrap();
    run
}

#[test]
fn an_edited_number_fails_the_check() {
    let run = made("edited");
    check::run(Some(&run.0)).unwrap();
    let study = Study::load(&run.0).unwrap();
    let cell = study.plan.cells.iter().find(|cell| cell.work == Work::Load).unwrap();
    let directory = raw::directory(&run.0, cell);
    for (name, from, to) in [
        (file::WRK_JSON, "\"requests\":", "\"requests\":1"),
        (file::WRK_JSON, "\"timeout\":0", "\"timeout\":1"),
        (file::PROBE, "\"sum\":", "\"sum\":1"),
        (file::SYSTEM, "\"peak_kb\":12000", "\"peak_kb\":12001"),
        (file::COUNTERS, "\"rows\":[[0.3,[0,", "\"rows\":[[0.3,[1,"),
        (file::SOCKETS, "\"min\":0", "\"min\":1"),
        (file::STARTED, "wrk -c", "wrk -C"),
    ] {
        let path = directory.join(name);
        let before = fs::read_to_string(&path).unwrap();
        let after = before.replacen(from, to, 1);
        assert_ne!(before, after, "{name} has no {from}");
        fs::write(&path, after).unwrap();
        let said = check::run(Some(&run.0)).unwrap_err();
        assert!(said.contains(&cell.id), "{name}, {from}: {said}");
        fs::write(&path, before).unwrap();
    }
    check::run(Some(&run.0)).unwrap();
}

#[test]
fn what_is_derived_must_be_what_the_raw_files_give() {
    let run = made("derived");
    for (name, from, to, expected) in [
        ("summary.json", "\"requests_per_second\":", "\"requests_per_second\":1", "summary.json: cells"),
        ("summary.csv", ",thread,", ",threat,", "summary.csv"),
        ("cells.ndjson", "\"requests\":", "\"requests\":1", "cells.ndjson"),
        ("plan.json", "\"seed\":1", "\"seed\":2", "plan.json"),
        ("manifest.json", "\"memory_mb\":8000", "\"memory_mb\":9000", "manifest"),
        ("report/README.md", "requests/sec", "requests/second", "report/README.md"),
    ] {
        let path = run.0.join(name);
        let before = fs::read_to_string(&path).unwrap();
        let after = before.replacen(from, to, 1);
        assert_ne!(before, after, "{name} has no {from}");
        fs::write(&path, after).unwrap();
        let said = check::run(Some(&run.0)).unwrap_err();
        assert!(said.contains(expected), "{name}: {said}");
        fs::write(&path, before).unwrap();
    }
    check::run(Some(&run.0)).unwrap();
}

#[test]
fn a_run_that_was_cut_short_is_reported_as_far_as_it_went() {
    let run = Run::new("cut", Scale::Smoke);
    let study = Study::load(&run.0).unwrap();
    let cell = &study.plan.cells[3];
    fs::remove_file(raw::directory(&run.0, cell).join(file::DONE)).unwrap();
    let study = Study::load(&run.0).unwrap();
    assert_eq!(study.missing.len(), 1);
    assert!(render(&study)["report/README.md"].contains(&format!("- `{}`", cell.id)));
}
