//! The scorecards of grade.json, and their points. The points are a pure function of what was measured.

use serde::{Deserialize, Serialize};

use crate::grade::cases::CaseResult;
use crate::judge::stats::jain;
use crate::run::manifest::Setting;

/// The scorecards of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cards {
    #[serde(flatten)]
    pub(crate) setting: Setting,
    /// The title of the balancer whose throughput gives all points.
    pub(crate) reference: String,
    pub(crate) cards: Vec<Card>,
}

/// The scorecard of one balancer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Card {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) command: String,
    /// The configuration file with placeholders.
    pub(crate) config: Option<String>,
    pub(crate) total: f64,
    pub(crate) items: Vec<Item>,
    /// The cases of requests, then those of responses.
    pub(crate) cases: [Vec<CaseResult>; 2],
    pub(crate) behaviour: Behaviour,
}

/// An item of the scorecard with its points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) points: f64,
    pub(crate) most: f64,
    /// What was measured, in one sentence.
    pub(crate) seen: String,
}

/// The measured behaviour of a balancer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Behaviour {
    /// While a backend dies: GETs, and failed or unanswered GETs.
    pub(crate) dying: (u64, u64),
    /// Seconds until the restarted backend got a request; None if it got none.
    pub(crate) return_s: Option<f64>,
    /// Shares of the GETs that were answered in time.
    pub(crate) slow: f64,
    pub(crate) hanging: f64,
    /// With a lying backend: GETs, failed GETs, and complete responses with a wrong body.
    pub(crate) lying: (u64, u64, u64),
    /// Answers of each connection, sorted.
    #[serde(skip)]
    pub(crate) answers: Vec<u64>,
    /// The least, the deciles and the most answers of a connection.
    pub(crate) answer_deciles: Vec<u64>,
    /// Requests per second, and those of the reference.
    pub(crate) rate: f64,
    pub(crate) reference_rate: f64,
}

fn passed(results: &[CaseResult]) -> (f64, String) {
    let passed = results.iter().filter(|result| result.passed).count();
    (passed as f64 / results.len().max(1) as f64, format!("{passed} of {} cases passed", results.len()))
}

/// Gives the points for every item, by the rules in page.md.
pub(crate) fn items(cases: &[Vec<CaseResult>; 2], behaviour: &Behaviour) -> Vec<Item> {
    let b = behaviour;
    let failed = b.dying.1 as f64 / b.dying.0.max(1) as f64;
    let dying = if b.dying.0 > 0 && b.dying.1 == 0 { 1.0 } else { (0.8 - failed * 5.0).max(0.0) };
    let fairness = jain(&b.answers).unwrap_or(0.0);
    let never = b.answers.iter().filter(|answers| **answers == 0).count();
    let (gets, failed, wrong) = b.lying;
    let lying =
        format!("{wrong} of {gets} responses were wrong and looked complete; {failed} GETs failed visibly");
    let ratio = b.rate / b.reference_rate.max(1.0);
    let returned = match b.return_s {
        Some(seconds) => (1.0, format!("it got requests again after {seconds:.1} s")),
        None => (0.0, "it got no request within 15 s".into()),
    };
    let fair = format!("index {fairness:.3}; {never} of {} connections got no answer", b.answers.len());
    let slow = format!("{:.1} % of the GETs were answered within 250 ms", b.slow * 100.0);
    let hanging = format!("{:.1} % of the GETs were answered within 1 s", b.hanging * 100.0);
    let rate = format!("{:.0} requests per second, {ratio:.2} of the reference", b.rate);
    let measured = [
        ("requests", 30.0, passed(&cases[0])),
        ("responses", 15.0, passed(&cases[1])),
        ("dying backend", 10.0, (dying, format!("{} of {} GETs failed", b.dying.1, b.dying.0))),
        ("return of the backend", 5.0, returned),
        ("slow backend", 5.0, (b.slow / 0.6, slow)),
        ("lying backend", 5.0, (f64::from(wrong == 0), lying)),
        ("hanging backend", 5.0, (b.hanging / 0.6, hanging)),
        ("fairness", 12.0, (fairness / 0.95, fair)),
        ("throughput", 13.0, (ratio, rate)),
    ];
    let item = |(name, most, (part, seen)): (&str, f64, (f64, String))| {
        let points = (part.clamp(0.0, 1.0) * most * 10.0).round() / 10.0;
        Item { name: name.into(), points, most, seen }
    };
    measured.map(item).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_follow_from_what_was_measured() {
        let best = Behaviour {
            dying: (1000, 0),
            return_s: Some(1.0),
            slow: 0.67,
            hanging: 0.66,
            lying: (900, 300, 0),
            answers: vec![10; 1000],
            rate: 110.0,
            reference_rate: 100.0,
            ..Behaviour::default()
        };
        type Change = fn(&mut Behaviour);
        let cases: [(Change, &str, f64); 10] = [
            (|_| (), "dying backend", 10.0),
            (|b| b.dying.1 = 10, "dying backend", 7.5),
            (|b| b.dying.1 = 160, "dying backend", 0.0),
            (|b| b.return_s = None, "return of the backend", 0.0),
            (|b| b.slow = 0.3, "slow backend", 2.5),
            (|b| b.lying.2 = 1, "lying backend", 0.0),
            (|b| b.hanging = 0.0, "hanging backend", 0.0),
            (|b| b.answers[..500].fill(0), "fairness", 6.3),
            (|b| b.rate = 50.0, "throughput", 6.5),
            (|_| (), "throughput", 13.0),
        ];
        let result = |passed| CaseResult { passed, ..CaseResult::default() };
        let results = [vec![result(true), result(false)], vec![result(true)]];
        for (change, name, points) in cases {
            let mut behaviour = best.clone();
            change(&mut behaviour);
            let items = items(&results, &behaviour);
            let item = items.iter().find(|item| item.name == name).unwrap();
            assert_eq!(item.points, points, "{item:?}");
            assert_eq!((items[0].points, items[1].points), (15.0, 15.0));
            assert_eq!(items.iter().map(|item| item.most).sum::<f64>(), 100.0);
            let rule = |item: &Item| format!("\n- **{}** ({}): ", item.name, item.most);
            assert!(items.iter().all(|item| include_str!("page.md").contains(&rule(item))), "{items:?}");
        }
    }
}
