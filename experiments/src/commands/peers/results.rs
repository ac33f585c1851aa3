//! Medians over rounds, ratios within rounds, and the check of the goals.

use super::measure::Sample;
use super::rows::{Against, Goal, Metric, Row};
use super::subjects::{Kind, Subject};

/// All rounds of one row: a sample of each subject from every round.
pub(super) struct Results {
    pub(super) row: Row,
    pub(super) subjects: Vec<Subject>,
    /// The samples by round, then by subject.
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
    /// Returns the value in the report: the median over the rounds, or the sum of failures.
    pub(super) fn value(&self, subject: usize, metric: Metric) -> Option<f64> {
        let values = self.rounds.iter().filter_map(|round| round[subject].get(&metric).copied());
        if metric == Metric::Failed { Some(values.sum()) } else { median(values.collect()) }
    }

    /// Compares a subject with other subjects. Among several peers, the peer with the worst result for the subject
    /// counts. This peer is the same in all rounds: the best peer of each round would be an unfair combination of lucky
    /// rounds.
    pub(super) fn compare(&self, subject: usize, metric: Metric, against: Against) -> Option<f64> {
        let kind = self.subjects[subject].kind;
        let is_meant = |other: &Subject| match against {
            Against::Itself => false,
            Against::BestPeer => other.kind == Kind::Peer,
            Against::Haproxy => other.name == "haproxy",
            Against::BytePump => other.kind == Kind::BytePump,
            Against::BetterEngine => matches!(other.kind, Kind::Thread | Kind::Async),
            Against::BestFixed => {
                matches!(
                    (kind, other.kind),
                    (Kind::Thread, Kind::FixedThread) | (Kind::Async, Kind::FixedAsync)
                )
            }
        };
        if against == Against::Itself {
            return self.value(subject, metric);
        }
        let meant = (0..self.subjects.len()).filter(|n| is_meant(&self.subjects[*n]));
        meant.filter_map(|other| self.ratio(subject, other, metric)).reduce(|a, b| metric.worse(a, b))
    }

    /// Returns the median over the rounds of the ratio of two subjects. Noise within a round affects both subjects, so
    /// this median is steadier than the ratio of two medians.
    fn ratio(&self, subject: usize, other: usize, metric: Metric) -> Option<f64> {
        let ratios = self
            .rounds
            .iter()
            .filter_map(|round| Some(round[subject].get(&metric)? / round[other].get(&metric)?));
        median(ratios.filter(|ratio| ratio.is_finite()).collect())
    }

    /// Checks a goal of an engine. None when the engine or its peer was not measured.
    pub(super) fn outcome(&self, goal: &Goal, kind: Kind) -> Option<Outcome> {
        let subject = self.subjects.iter().position(|subject| subject.kind == kind)?;
        let (bound, value) = (goal.bound(kind)?, self.compare(subject, goal.metric, goal.against)?);
        Some(Outcome { value, bound, met: goal.is_met(value, bound) })
    }
}

/// Returns the median; None without values. An even number of values gives the mean of the two middle values.
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
    use super::*;
    use crate::plans::targets::simple as target;

    /// Makes results from the rates of thread, haproxy, nginx and the byte pump, one line per round.
    fn results(rounds: &[[f64; 4]]) -> Results {
        let subjects = [
            ("thread", Kind::Thread),
            ("haproxy", Kind::Peer),
            ("nginx", Kind::Peer),
            ("byte pump", Kind::BytePump),
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
    fn a_subject_is_compared_within_its_round_and_with_the_same_one_in_all() {
        // The second round is slow for all subjects, and only in this round nginx is the better peer. Over all rounds
        // nginx is the nearest to thread.
        let results =
            results(&[[200.0, 100.0, 80.0, 250.0], [60.0, 20.0, 40.0, 80.0], [160.0, 100.0, 90.0, 200.0]]);
        let cases = [
            (Metric::Rate, Against::BestPeer, 160.0 / 90.0),
            (Metric::Rate, Against::Haproxy, 2.0),
            (Metric::Rate, Against::BytePump, 0.8),
            (Metric::Rate, Against::Itself, 160.0),
            (Metric::Cpu, Against::BestPeer, 90.0 / 160.0),
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
        assert_eq!(met, [Some(false), Some(false), None, None, None, None, Some(false), Some(false)]);
        assert!(results.row.goals.iter().all(|goal| results.outcome(goal, Kind::Async).is_none()));
    }

    #[test]
    fn an_engine_is_compared_with_the_better_engine_and_with_its_own_fixed_workers() {
        let subjects = [
            ("thread", Kind::Thread),
            ("async", Kind::Async),
            ("thread 1", Kind::FixedThread),
            ("thread 2", Kind::FixedThread),
            ("async 1", Kind::FixedAsync),
        ];
        let subjects =
            subjects.map(|(name, kind)| Subject { name: name.into(), kind, target: target(name, "", None) });
        let sample = |cpu| Sample::from([(Metric::Cpu, cpu), (Metric::Rate, 1e3 / cpu)]);
        let rounds = vec![[20.0, 25.0, 16.0, 40.0, 50.0].map(sample).into()];
        let results = Results { row: ROWS[0], subjects: subjects.into(), rounds };
        let cases = [
            (0, Metric::Cpu, Against::BetterEngine, 1.0),
            (1, Metric::Cpu, Against::BetterEngine, 1.25),
            (0, Metric::Cpu, Against::BestFixed, 1.25),
            (0, Metric::Rate, Against::BestFixed, 0.8),
            (1, Metric::Cpu, Against::BestFixed, 0.5),
        ];
        for (subject, metric, against, expected) in cases {
            let value = results.compare(subject, metric, against).unwrap();
            assert!((value - expected).abs() < 1e-9, "{subject} {metric:?} {against:?}: {value}");
        }
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
