//! Properties of the shipped decisions, over seeds.
use super::*;
use crate::cluster::HashKey;

fn simulate(scenario: &str, policies: &[Policy], seeds: u64) -> Report {
    let simulation = Simulation { scenario: scenario.into(), policies: policies.to_vec(), seeds };
    simulation.run(|| ()).unwrap()
}

#[test]
fn the_same_arguments_give_the_same_bytes() {
    for scenario in ["one-fails-fast", "rolling-restart"] {
        let text = || {
            let report = simulate(scenario, &Policy::ALL, 3);
            format!("{report}{}", report.svg())
        };
        assert_eq!(text(), text());
    }
    let simulation = Simulation { scenario: "one-slow".into(), policies: vec![Policy::TwoChoices], seeds: 1 };
    assert_eq!(simulation.replay(4), simulation.replay(4));
    assert_ne!(simulation.replay(4), simulation.replay(5));
}

#[test]
fn every_scenario_keeps_its_promise() {
    for (name, _) in scenarios() {
        let seeds = if name == "metastable" { 2 } else { 8 };
        let report = simulate(name, &Policy::ALL, seeds);
        assert_eq!(report.broken_promises(), [] as [String; 0], "{name}\n{report}");
    }
}

#[test]
fn without_a_budget_a_system_stays_down_after_a_short_trigger() {
    let report = simulate("metastable", &[Policy::LeastRequests, Policy::RoundRobin], 3);
    for row in &report.rows {
        let unlimited = row.unlimited.as_ref().unwrap();
        assert_eq!((unlimited.recovered, unlimited.runs), (0, 3), "{report}");
    }
}

#[test]
fn a_broken_promise_is_told() {
    let mut report = simulate("one-slow", &[Policy::RoundRobin, Policy::LeastRequests], 1);
    report.rows[1].trace = report.rows[0].trace.clone();
    assert_eq!(report.broken_promises().len(), 1);
    report.scenario.promise = scenario::Promise::Errors(-1.0);
    assert_eq!(report.broken_promises().len(), 2);
}

#[test]
fn a_failing_backend_gets_few_requests() {
    for policy in [Policy::LeastRequests, Policy::RoundRobin, Policy::Hash(HashKey::Path)] {
        let report = simulate("one-fails-fast", std::slice::from_ref(&policy), 5);
        // It works for 2 of 5 seconds, so an equal share would be a tenth of two fifths and more.
        assert!(report.rows[0].trace.shares()[0] < 0.06, "{report}");
    }
}

#[test]
fn an_unknown_scenario_is_refused_with_the_names_of_all() {
    let simulation = Simulation { scenario: "none".into(), policies: vec![Policy::Random], seeds: 1 };
    assert!(simulation.run(|| ()).is_err());
    assert!(UnknownScenario.to_string().contains("metastable"));
}
