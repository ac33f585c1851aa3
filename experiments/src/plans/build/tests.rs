//! Tests of the plans of the laboratory.

use std::collections::BTreeSet;

use super::*;
use crate::plans::given::{Given, arguments};
use crate::plans::model::Quantity;
use crate::plans::targets;

/// Makes a plan of the laboratory over these targets.
pub(crate) fn plan(name: &str, targets: Vec<Target>, changes: &Changes) -> Plan {
    let (_, text) = PLANS.iter().find(|(known, _)| *known == name).unwrap();
    parse(name, text).unwrap().plan(targets, |_| true, changes).unwrap()
}

/// The targets of the laboratory and one of a user.
fn all() -> Vec<Target> {
    let given: Given = arguments(&["--target", "mine=x {port}"]).unwrap();
    targets::with(given.targets().unwrap()).unwrap()
}

#[test]
fn every_plan_keeps_its_promises() {
    let [bench, smoke, peers, handshakes] = PLANS.map(|(name, _)| plan(name, all(), &Changes::default()));
    for plan in [&smoke, &bench, &peers, &handshakes] {
        let ids: BTreeSet<&str> = plan.cells.iter().map(|cell| cell.id.as_str()).collect();
        assert_eq!(ids.len(), plan.cells.len(), "{}", plan.name);
        for (seq, cell) in plan.cells.iter().enumerate() {
            assert_eq!(cell.seq, seq);
            assert!(plan.targets.iter().any(|target| target.id == cell.target), "{cell:?}");
        }
    }
    // The plans keep to their time.
    assert!(seconds(&smoke.cells) <= 70.0 && seconds(&bench.cells) <= 43.0 * 60.0);
    assert!(seconds(&handshakes.cells) <= 24.0 * 60.0);
    assert!(handshakes.cells.iter().all(|cell| cell.section == Section::Handshakes));
    // Smoke has every target of bench but the control, and some plan has every target.
    let has = |plan: &Plan, id: &str| plan.cells.iter().any(|cell| cell.target == id);
    for target in smoke.targets.iter().filter(|target| target.kind != TargetKind::Control) {
        let id = target.id.as_str();
        assert!(has(&smoke, id) || (!has(&bench, id) && has(&peers, id)), "{id}");
    }
    // Every load with a goal wants no failure.
    assert_eq!(peers.goals.len(), 13);
    for (load, goals) in &peers.goals {
        let wants = |goal: &Goal| goal.measure == Quantity::Failed && goal.thread == 0.0;
        assert!(goals.iter().any(wants), "{load:?}");
        let mut others = goals.iter().flat_map(|goal| goal.against.split_whitespace());
        assert!(others.all(|id| peers.targets.iter().any(|target| target.id == id)), "{goals:?}");
    }
}

/// Each target of a part is at every place of the order equally often.
#[test]
fn the_order_rotates_from_block_to_block() {
    let plan = plan("bench", targets::all(), &Changes::default());
    let cells = plan.cells.iter().filter(|cell| cell.section == Section::Assignment && cell.threads == 10);
    let blocks = cells.into_group_map_by(|cell| cell.block).into_values();
    let places = blocks.flat_map(|cells| cells.into_iter().map(|cell| &cell.target).enumerate()).counts();
    assert!(places.len() == 3 * 3 && places.values().all(|n| *n == 12 / 3), "{places:?}");
}

/// After any share of the run, each repeated part has this share of its blocks, to within one of five blocks.
#[test]
fn an_interrupted_run_is_a_smaller_study() {
    let plan = plan("bench", all(), &Changes::default());
    let repeated = plan.cells.iter().rposition(|cell| cell.block > 0).unwrap();
    for share in [0.25, 0.5, 0.75] {
        let cut = &plan.cells[..(repeated as f64 * share) as usize];
        for section in
            [Section::Assignment, Section::Workers, Section::Ablations, Section::Servers, Section::Peers]
        {
            let blocks = |cells: &[Cell]| cells.iter().filter(|c| c.section == section).count() as f64;
            let measured = blocks(cut) / blocks(&plan.cells);
            assert!((measured - share).abs() < 0.2, "{section:?}: {measured} of {share}");
        }
    }
    assert!(plan.cells[repeated + 1..].iter().all(|cell| cell.block == 0));
}

#[test]
fn blocks_seconds_and_cells_can_be_changed() {
    let more = plan("bench", all(), &Changes { blocks: Some(24), ..Changes::default() });
    for (section, blocks) in [(Section::Assignment, 24), (Section::Ablations, 16), (Section::Memory, 1)] {
        let cells = more.cells.iter().filter(|cell| cell.section == section);
        assert_eq!(cells.map(|cell| cell.block + 1).max(), Some(blocks), "{section:?}");
    }
    let some = Changes { seconds: Some(5), only: vec!["servers".into()], ..Changes::default() };
    let servers = plan("bench", all(), &some);
    assert!(servers.cells.iter().all(|cell| cell.section == Section::Servers && cell.seconds == 5.0));
    let only = vec!["c10".into(), "thread-c50".into()];
    let few = plan("peers", all(), &Changes { only, ..Changes::default() });
    assert!(few.cells.iter().any(|cell| cell.connections == 50 && cell.target == "thread"));
    assert!(few.cells.iter().all(|cell| cell.connections == 10 || cell.connections == 50));
    assert!(few.goals.iter().all(|(load, _)| [10, 50].contains(&load.connections)), "{:?}", few.goals);
}

/// The text of a plan with one part.
fn part(section: &str, target: &str, more: &str) -> String {
    format!(
        "name = 'x'\nwarm_s = 1\nseconds = 1\n[[part]]\nsection = '{section}'\ntargets = ['{target}']\n{more}"
    )
}

/// Makes a plan over the target `a` from a text.
fn planned(text: &str) -> Result<Plan, String> {
    let plan = |file: PlanFile| file.plan(vec![targets::simple("a", "x")], |_| true, &Changes::default());
    parse("p.toml", text).and_then(plan)
}

#[test]
fn a_wrong_plan_is_named_with_its_place() {
    let peers = |more| part("peers", "a", more);
    let no_rate = "connections = [2]\nwork = 'handshakes'\nkeys = ['rsa-2048']";
    let no_work = "connections = [2]\nkeys = ['rsa-2048']\nhandshakes_per_s = [1]";
    let cases = [
        ("name = 'x'\nsecond = 1", "line 2, column 1", "unknown field `second`"),
        ("name = 5", "line 1, column 8", "invalid type"),
        (&part("peer", "a", "connections = [1]"), "line 5, column 11", "unknown variant `peer`"),
        (&peers("connections = [1]"), "section Peers", "a connection for each thread"),
        (&peers("connections = [2]\nfiles = ['y']"), "has the file \"y\"", "the files are 128.html"),
        (&part("handshakes", "a", no_rate), "section Handshakes", "expects handshakes_per_s and keys"),
        (&peers(no_work), "section Peers", "and only with it"),
        (&part("peers", "z", "connections = [2]"), "there is no target \"z\"", "the targets are a"),
    ];
    for (text, place, reason) in cases {
        let said = planned(text).unwrap_err();
        assert!(said.contains(place) && said.contains(reason), "{text}: {said}");
    }
}

/// Without handshakes the key of the certificate does not matter.
#[test]
fn each_rate_of_handshakes_is_measured_with_each_key() {
    let lists = "handshakes_per_s = [0, 9]\nkeys = ['rsa-2048', 'ecdsa-p256']";
    let more = format!("connections = [2]\nwork = 'handshakes'\n{lists}");
    let cells = planned(&part("handshakes", "a", &more)).unwrap().cells;
    let expected = ["h0-ecdsa", "h9-rsa", "h9-ecdsa"].map(|end| format!("handshakes-a-c2-t2-{end}"));
    assert_eq!(cells.iter().map(|cell| cell.id.as_str()).collect_vec(), expected);
    assert!(cells.iter().all(|cell| cell.warm_s == 1.0), "{cells:?}");
}

#[test]
fn wrk_opens_a_multiple_of_its_threads() {
    let cases = [(1000, 10, 1000), (1000, 150, 900), (10, 8, 8), (10, 10, 10)];
    for (connections, threads, opened) in cases {
        assert_eq!(Cell { connections, threads, ..ordinary("x") }.opened(), opened);
    }
}
