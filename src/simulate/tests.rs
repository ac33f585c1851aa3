//! Properties of the shipped decisions, over seeds.
use super::*;
use crate::cluster::{Cap, HashKey};

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

/// This build is not optimized, so there are few seeds here. `.ci/run` runs more seeds, and also `auto-cap`, which takes half
/// a minute.
#[test]
fn scenarios_keep_their_promises() {
    for (name, _) in scenarios() {
        let seeds = match name {
            "auto-cap" => continue,
            "metastable" => 1,
            _ => 2,
        };
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
fn a_cap_that_does_not_fit_is_told() {
    let caps = [Cap::Fixed(2), Cap::Fixed(8), Cap::Auto];
    let scenario = find("auto-cap").unwrap();
    let row = |policy: Policy, slots, cap: Cap, latency, errors| {
        let mut trace = Trace::new(scenario::BACKENDS, 1);
        (0..1000).for_each(|n| {
            let ending = if n < errors { trace::Ending::Failed } else { trace::Ending::Good };
            trace.end_request(0, latency, ending);
        });
        Row { policy, capped: Some((slots, cap)), trace, unlimited: None }
    };
    // milliseconds and errors of each cap; whether the promise is kept
    let cases = [
        ([(100, 0), (50, 0), (55, 0)], true),
        ([(100, 0), (50, 0), (65, 0)], false),
        ([(100, 0), (50, 500), (110, 0)], true),
        ([(100, 0), (50, 0), (40, 200)], false),
    ];
    for (results, kept) in cases {
        let rows = caps.iter().zip(results);
        let rows = rows.map(|(&cap, (ms, errors))| row(Policy::LeastRequests, 4, cap, ms * 1000, errors));
        let mut report = Report { scenario: scenario.clone(), rows: rows.collect() };
        // Another number of slots or another policy does not count.
        report.rows.push(row(Policy::LeastRequests, 8, Cap::Fixed(4), 1000, 0));
        report.rows.push(row(Policy::Random, 4, Cap::Fixed(4), 1000, 0));
        assert_eq!(report.broken_promises().is_empty(), kept, "{report}");
    }
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
