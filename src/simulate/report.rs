//! The table of a simulation, and its promises.
use std::fmt;

use super::plot;
use super::row::Row;
use super::scenario::{Promise, Scenario};
use super::trace::Trace;
use crate::cluster::{Cap, Policy};

/// Fixed caps whose shares of good responses differ by at most this much are equally good.
const GOOD_MARGIN: f64 = 0.001;
/// `cap=auto` may be worse than the best fixed cap by this factor.
const AUTO_MARGIN: f64 = 1.2;

/// The results of a simulation. Display is the table: one row for each policy.
#[derive(Debug)]
pub struct Report {
    pub(super) scenario: Scenario,
    pub(super) rows: Vec<Row>,
}

impl Report {
    /// Returns a sentence for each broken promise of the scenario.
    pub fn broken_promises(&self) -> Vec<String> {
        let mut broken: Vec<String> = self
            .rows
            .iter()
            .filter(|row| row.trace.leaks > 0)
            .map(|row| format!("{}: {} attempts never ended", row.policy, row.trace.leaks))
            .collect();
        match self.scenario.promise {
            Promise::Level => broken.extend(self.uneven()),
            Promise::AvoidsTheSlow => broken.extend(self.slow()),
            Promise::Errors(most) => {
                let over = self.rows.iter().filter(|row| row.trace.error_share() > most);
                broken.extend(over.map(|row| {
                    let share = row.trace.error_share() * 100.0;
                    format!("{}: {share:.3} % errors, promised at most {:.3} %", row.policy, most * 100.0)
                }));
            }
            Promise::Recovers => {
                // Without a cap, `first` sends everything to one backend, so it is always overloaded.
                let fit = self.rows.iter().filter(|row| row.policy != Policy::First);
                let down = fit.filter(|row| row.trace.recovered < row.trace.runs);
                broken.extend(down.map(|row| {
                    let Trace { recovered, runs, .. } = row.trace;
                    format!("{}: only {recovered} of {runs} runs with the budget recovered", row.policy)
                }));
            }
            Promise::AutoFits => broken.extend(self.unfit()),
        }
        broken
    }

    /// Returns the plot of the latency over time, as SVG.
    pub fn svg(&self) -> String {
        plot::svg(&self.scenario, &self.rows)
    }

    fn p99(&self, policy: &Policy) -> Option<f64> {
        self.rows.iter().find(|row| row.policy == *policy).map(|row| row.trace.latency_ms(0.99))
    }

    fn uneven(&self) -> Option<String> {
        let p99s = self.rows.iter().map(|row| row.trace.latency_ms(0.99));
        let (least, most) =
            p99s.fold((f64::MAX, 0.0_f64), |(least, most), p99| (least.min(p99), most.max(p99)));
        (most > least * 1.05)
            .then(|| format!("the p99 of the policies lies between {least:.2} and {most:.2} ms"))
    }

    fn slow(&self) -> Vec<String> {
        let Some(turns) = self.p99(&Policy::RoundRobin) else { return Vec::new() };
        let adaptive = [Policy::LeastRequests, Policy::PeakEwma];
        let p99s = adaptive.iter().filter_map(|policy| Some((policy, self.p99(policy)?)));
        let slow = p99s.filter(|(_, p99)| *p99 > turns / 3.0);
        slow.map(|(policy, p99)| format!("{policy}: p99 {p99:.1} ms, round-robin {turns:.1} ms")).collect()
    }

    /// Compares each row with `cap=auto` with the best of the fixed caps: of those with nearly the most good responses,
    /// the one with the lowest p99.
    fn unfit(&self) -> Vec<String> {
        let good = |row: &Row| 1.0 - row.trace.error_share();
        let autos = self.rows.iter().filter_map(|row| match row.capped {
            Some((slots, Cap::Auto)) => Some((slots, row)),
            _ => None,
        });
        let compare = |(slots, auto): (usize, &Row)| {
            let is_fixed = |row: &&Row| {
                row.policy == auto.policy && matches!(row.capped, Some((k, Cap::Fixed(_))) if k == slots)
            };
            let fixed = || self.rows.iter().filter(is_fixed);
            let most = fixed().map(good).fold(0.0, f64::max);
            let best = fixed().filter(|row| good(row) > most - GOOD_MARGIN);
            let p99 = best.map(|row| row.trace.latency_ms(0.99)).fold(f64::MAX, f64::min);
            let (mine, answered) = (auto.trace.latency_ms(0.99), good(auto));
            (mine > p99 * AUTO_MARGIN || answered * AUTO_MARGIN < most).then(|| {
                let (answered, most) = (answered * 100.0, most * 100.0);
                format!("{auto}: p99 {mine:.1} ms and {answered:.3} % good, best {p99:.1} ms and {most:.3} %")
            })
        };
        autos.filter_map(compare).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let recovers = self.rows.iter().any(|row| row.unlimited.is_some());
        let first = if self.scenario.promise == Promise::AutoFits { "system" } else { "policy" };
        write!(
            f,
            "{first:<15} {:>9} {:>9} {:>9} {:>9} {:>9} {:>6}",
            "p50", "p99", "p99.9", "errors", "retries", "peak"
        )?;
        if recovers {
            write!(f, " {:>10} {:>14}", "recovered", "without budget")?;
        }
        writeln!(f, "  share of each backend")?;
        for row in &self.rows {
            write_row(row, f)?;
        }
        Ok(())
    }
}

fn write_row(row: &Row, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let trace = &row.trace;
    let name = row.to_string();
    let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| trace.latency_ms(share));
    let errors = trace.error_share() * 100.0;
    let retries = trace.retries as f64 / trace.latencies.total().max(1) as f64 * 100.0;
    write!(
        f,
        "{name:<15} {p50:>7.1}ms {p99:>7.1}ms {p999:>7.1}ms {errors:>8.3}% {retries:>8.3}% {:>6}",
        trace.peak
    )?;
    if let Some(unlimited) = &row.unlimited {
        let share = |trace: &Trace| format!("{} of {}", trace.recovered, trace.runs);
        write!(f, " {:>10} {:>14}", share(trace), share(unlimited))?;
    }
    let shares: Vec<_> = trace.shares().iter().map(|share| format!("{:.1}", share * 100.0)).collect();
    writeln!(f, "  {}", shares.join(" "))
}
