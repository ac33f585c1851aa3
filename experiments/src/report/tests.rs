//! Tests of whole reports over synthetic results.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use itertools::Itertools;
use roxmltree::Document;

use super::render;
use super::words::Lang;
use crate::commands::check;
use crate::judge::synthetic::Run;
use crate::plans::build;
use crate::plans::model::{Cell, Section};
use crate::run::files::{self, MANIFEST, PLAN, RAW};
use crate::run::raw::Found;

/// True when every tag is closed in the right order, every attribute is quoted, and no character is left unescaped.
fn well_formed(text: &str) -> bool {
    Document::parse(text.trim_start_matches("<!doctype html>\n")).is_ok()
}

/// The report of the plan `bench`, which is made once.
static WHOLE: LazyLock<BTreeMap<String, String>> = LazyLock::new(|| render(Run::bench()));

#[test]
fn a_whole_plan_has_every_part_and_plot() {
    let files = &*WHOLE;
    assert_eq!(*files, render(Run::bench()));
    let (html, markdown) = (&files["report/index.html"], &files["report/README.md"]);
    for part in 1..=9 {
        assert!(html.contains(&format!("<h2 id=\"{part}-")), "{part}");
    }
    assert_eq!(html.matches("Not in this run").count(), 0, "a plot is missing");
    let drawings: Vec<&String> = files.keys().filter(|name| name.ends_with(".svg")).collect();
    assert_eq!(drawings.len(), 11 + 7, "{drawings:?}");
    for name in drawings {
        assert!(well_formed(&files[name]), "{name}");
        let name = name.strip_prefix("report/").unwrap();
        assert!(markdown.contains(&format!("]({name})")), "{name}");
    }
    let most: usize = files.values().map(String::len).sum();
    assert!(most < 2_000_000, "{most} bytes");
    assert!(markdown.contains("`-c 1000 -t 150` (900)"));
    let said = "**Beside 500/s, ECDSA P-256:** the thread engine hurts the requests less. ";
    assert!(markdown.contains("### Handshakes and architecture") && markdown.contains(said));
}

/// Nothing on a page may come from elsewhere. Every link to a heading or a drawing has its target.
#[test]
fn pages_stand_alone_and_links_have_targets() {
    let files = &*WHOLE;
    for page in ["report/index.html", "report/index.id.html"].map(|name| &files[name]) {
        assert!(well_formed(page));
        for outside in ["http://www", "https:", "src=", "@import", "url(", "NaN", "inf<"] {
            assert!(!page.contains(outside), "{outside}");
        }
        for link in page.split(" href=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let (file, id) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { Some(page) } else { files.get(&format!("report/{file}")) };
            let is_known = match target {
                Some(text) => id.is_empty() || text.contains(&format!(" id=\"{id}\"")),
                None => file.starts_with("../"),
            };
            assert!(is_known, "{link}");
        }
    }
}

/// The questions of the assignment are answered before the first part.
#[test]
fn the_first_screen_answers_the_questions() {
    let files = &*WHOLE;
    let cases: BTreeMap<String, Vec<String>> = toml::from_str(include_str!("first_screen.toml")).unwrap();
    for (name, expected) in cases {
        let screen = files[&name].split("\n## 1.").next().unwrap();
        for text in expected {
            assert!(screen.contains(&text), "{text} in {screen}");
        }
    }
}

#[test]
fn each_section_alone_is_a_page() {
    let whole = Run::new("bench").plan;
    let mut sections = whole.cells.into_iter().into_group_map_by(|cell| cell.section);
    sections.insert(Section::Assignment, Vec::new());
    for (section, mut cells) in sections {
        cells.iter_mut().enumerate().for_each(|(seq, cell)| cell.seq = seq);
        let run = Run::of(build::of_cells("part", whole.targets.clone(), cells));
        let files = render(&run.study());
        assert!(well_formed(&files["report/index.html"]), "{section:?}");
        assert!(!files["report/README.md"].contains("NaN"), "{section:?}");
    }
}

/// A short run says what it lacks. A cell that failed is shown, marked and not ranked.
#[test]
fn a_short_run_says_what_it_lacks() {
    let mut run = Run::new("smoke");
    let peer =
        |target: &'static str| move |cell: &Cell| cell.section == Section::Peers && cell.target == target;
    run.load_of(peer("haproxy")).found = Found::Failed("haproxy does not listen".into());
    let Found::Load(load) = &mut run.load_of(peer("nginx")).found else { panic!("it is no load") };
    load.probe.fresh.errors.corrupt = 3;
    let html = &render(&run.study())["report/index.html"];
    assert!(well_formed(html));
    for expected in [
        "too few blocks",
        "does not vary the number of connections",
        "no block that counts has both engines",
        "NO: not measured",
        "haproxy does not listen",
        "NO: G10",
        "3 of 400 probes got a wrong body",
    ] {
        assert!(html.contains(expected), "{expected}");
    }
}

#[test]
fn an_edited_number_fails_the_check() {
    let (made, directory) = (Run::new("smoke"), tempfile::tempdir().unwrap());
    let run = directory.path();
    files::write_compact(&run.join(PLAN), &made.plan).unwrap();
    files::write_json(&run.join(MANIFEST), &made.manifest).unwrap();
    made.raws.iter().for_each(|raw| files::append(run, raw).unwrap());
    super::run(Some(run), Lang::En).unwrap();
    check::run(Some(run)).unwrap();
    files::pack(run).unwrap();
    check::run(Some(run)).unwrap();
    fs::write(run.join(RAW), files::raw_text(run).unwrap()).unwrap();
    fs::remove_file(run.join(files::PACKED)).unwrap();
    for (name, from, to, expected) in [
        (RAW, "\"requests\":", "\"requests\":1", "requests_per_second"),
        (RAW, "\"timeout\":0", "\"timeout\":1", "failures: timeout"),
        (RAW, "\"peak_kb\":12000", "\"peak_kb\":12900", "raw_sha256"),
        (RAW, "wrk -c", "wrk -C", "raw_sha256"),
        ("summary.json", "\"requests_per_second\":", "\"requests_per_second\":1", "summary.json: cells"),
        ("summary.csv", ",thread,", ",threat,", "summary.csv"),
        (PLAN, "\"name\":\"smoke\"", "\"name\":\"bench\"", "plan.json"),
        (MANIFEST, "\"memory_mb\": 8000", "\"memory_mb\": 9000", "manifest"),
        ("report/README.md", "requests/s", "requests/second", "report/README.md"),
    ] {
        let path = run.join(name);
        let before = fs::read_to_string(&path).unwrap();
        let after = before.replacen(from, to, 1);
        assert_ne!(before, after, "{name} has no {from}");
        fs::write(&path, after).unwrap();
        let said = check::run(Some(run)).unwrap_err();
        assert!(said.contains(expected), "{name}, {from}: {said}");
        fs::write(&path, before).unwrap();
    }
    check::run(Some(run)).unwrap();
}

#[test]
fn a_run_that_was_cut_short_is_reported_as_far_as_it_went() {
    let mut run = Run::new("smoke");
    let raw = run.raws.remove(3);
    let study = run.study();
    assert_eq!(study.missing.len(), 1);
    assert!(render(&study)["report/README.md"].contains(&format!("- `{}`", raw.cell.id)));
    run.raws.retain(|raw| raw.cell.section != Section::Ablations);
    let said = "costs\n\nPlanned, not reached: the run ended, by its time limit or by hand, before these ";
    assert!(render(&run.study())["report/README.md"].contains(said));
}
