//! Medians over rounds, ratios within a round, and whether they reach their goals.

use super::measure::Sample;
use super::rows::{Against, Goal, Metric, Row};
use super::subjects::{Kind, Subject};

/// All rounds of one row: a sample of each subject from every round.
pub(super) struct Results {
    pub(super) row: Row,
    pub(super) subjects: Vec<Subject>,
    /// By round, then by subject.
    pub(super) rounds: Vec<Vec<Sample>>,
}

/// One cell of the table of goals.
#[derive(Debug, PartialEq)]
pub(super) struct Outcome {
    pub(super) value: f64,
    pub(super) bound: f64,
    pub(super) met: bool,
}

impl Results {
    /// What is told of a subject: the median, but every failure.
    pub(super) fn value(&self, subject: usize, metric: Metric) -> Option<f64> {
        let values = self.rounds.iter().filter_map(|round| round[subject].get(&metric).copied());
        if metric == Metric::Failed { Some(values.sum()) } else { median(values.collect()) }
    }

    /// The median over the rounds of what a subject has in relation to another in the same round. What the machine
    /// does meanwhile strikes both, so this is steadier than the ratio of two medians.
    pub(super) fn compare(&self, subject: usize, metric: Metric, against: Against) -> Option<f64> {
        if against == Against::Itself {
            return self.value(subject, metric);
        }
        let ratios = self.rounds.iter().filter_map(|round| {
            let reference = self.reference(round, metric, against)?;
            Some(round[subject].get(&metric)? / reference)
        });
        median(ratios.filter(|ratio| ratio.is_finite()).collect())
    }

    fn reference(&self, round: &[Sample], metric: Metric, against: Against) -> Option<f64> {
        let is_meant = |subject: &Subject| match against {
            Against::Itself => false,
            Against::BestPeer => subject.kind == Kind::Peer,
            Against::Haproxy => subject.name == "haproxy",
            Against::Floor => subject.kind == Kind::Floor,
        };
        let meant = self.subjects.iter().zip(round).filter(|(subject, _)| is_meant(subject));
        let values = meant.filter_map(|(_, sample)| sample.get(&metric).copied());
        values.reduce(|a, b| metric.better(a, b))
    }

    /// How an engine does by a goal; None when it, or what it is compared with, was not there.
    pub(super) fn outcome(&self, goal: &Goal, kind: Kind) -> Option<Outcome> {
        let subject = self.subjects.iter().position(|subject| subject.kind == kind)?;
        let (bound, value) = (goal.bound(kind)?, self.compare(subject, goal.metric, goal.against)?);
        Some(Outcome { value, bound, met: goal.is_met(value, bound) })
    }
}

/// None of nothing; the mean of the two in the middle when their number is even.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::ROWS;
    use super::super::subjects::target;
    use super::*;

    /// Rates and failures of thread, haproxy, nginx and the floor, a line a round.
    fn results(rounds: &[[f64; 4]]) -> Results {
        let subjects = [
            ("thread", Kind::Thread),
            ("haproxy", Kind::Peer),
            ("nginx", Kind::Peer),
            ("floor", Kind::Floor),
        ];
        let subjects =
            subjects.map(|(name, kind)| Subject { name: name.into(), kind, target: target(name, "", None) });
        let sample = |rate: &f64| {
            Sample::from([(Metric::Rate, *rate), (Metric::Cpu, 1e6 / rate), (Metric::Failed, 1.0)])
        };
        let rounds = rounds.iter().map(|round| round.iter().map(sample).collect()).collect();
        Results { row: ROWS[0], subjects: subjects.into(), rounds }
    }

    #[test]
    fn a_subject_is_compared_within_its_round() {
        // The second round is slow for all, and another peer is the best in it.
        let results =
            results(&[[200.0, 100.0, 80.0, 250.0], [60.0, 20.0, 40.0, 80.0], [160.0, 100.0, 90.0, 200.0]]);
        let cases = [
            (Metric::Rate, Against::BestPeer, 1.6),
            (Metric::Rate, Against::Haproxy, 2.0),
            (Metric::Rate, Against::Floor, 0.8),
            (Metric::Rate, Against::Itself, 160.0),
            (Metric::Cpu, Against::BestPeer, 1.0 / 1.6),
            (Metric::Failed, Against::Itself, 3.0),
        ];
        for (metric, against, expected) in cases {
            let value = results.compare(0, metric, against).unwrap();
            assert!((value - expected).abs() < 1e-9, "{metric:?} {against:?}: {value}");
        }
        assert_eq!(results.compare(0, Metric::P99Ms, Against::BestPeer), None);
    }

    #[test]
    fn goals_are_met_or_missed() {
        let results = results(&[[130.0, 100.0, 80.0, 200.0]]);
        let outcomes: Vec<_> =
            results.row.goals.iter().map(|goal| results.outcome(goal, Kind::Thread)).collect();
        let met: Vec<_> =
            outcomes.iter().map(|outcome| outcome.as_ref().map(|outcome| outcome.met)).collect();
        assert_eq!(met, [Some(true), Some(false), None, None, Some(false), Some(false)]);
        assert!(results.row.goals.iter().all(|goal| results.outcome(goal, Kind::Async).is_none()));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        let cases: [(&[f64], Option<f64>); 4] =
            [(&[], None), (&[3.0], Some(3.0)), (&[4.0, 1.0], Some(2.5)), (&[9.0, 1.0, 2.0], Some(2.0))];
        for (values, expected) in cases {
            assert_eq!(median(values.to_vec()), expected);
        }
    }
}
