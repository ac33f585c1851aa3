//! The rows of the table: the load of each row, and the goals of each engine.

use super::subjects::Kind;
use crate::plans::build::FILES;
use crate::plans::model::{Cell, Section, Work};

/// Threads of wrk.
const THREADS: u32 = 2;
/// Seconds of load before the measured seconds.
pub(crate) const WARM_S: f64 = 1.0;

/// Something measured in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// Requests per second.
    Rate,
    /// CPU microseconds of the subject per request: user, system, and their sum.
    User,
    System,
    Cpu,
    /// CPU microseconds of the origins, and of wrk, per request.
    OriginCpu,
    ClientCpu,
    /// Context switches of the subject per request.
    Switches,
    /// The 99th percentile of the latency, from wrk.
    P99Ms,
    /// The 99th percentile of the time from a request on a fresh connection to the first byte of its response.
    FirstByteP99Ms,
    /// Proportional set size of the subject's processes at the end.
    PssMb,
    /// Memory per idle connection.
    PerConnectionKb,
    /// Failed connections and requests of all classes.
    Failed,
    /// Idle share of the machine's CPU time.
    IdlePercent,
}

impl Metric {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Metric::Rate => "req/s",
            Metric::User => "user",
            Metric::System => "system",
            Metric::Cpu => "us/req",
            Metric::OriginCpu => "origin us",
            Metric::ClientCpu => "wrk us",
            Metric::Switches => "csw/req",
            Metric::P99Ms => "p99 ms",
            Metric::FirstByteP99Ms => "first byte p99 ms",
            Metric::PssMb => "PSS MB",
            Metric::PerConnectionKb => "KB/conn",
            Metric::Failed => "failed",
            Metric::IdlePercent => "idle %",
        }
    }

    pub(crate) fn decimals(self) -> usize {
        match self {
            Metric::Rate | Metric::Failed => 0,
            Metric::User | Metric::System | Metric::Cpu | Metric::OriginCpu | Metric::ClientCpu => 1,
            Metric::PssMb | Metric::IdlePercent => 1,
            Metric::Switches | Metric::P99Ms | Metric::FirstByteP99Ms | Metric::PerConnectionKb => 2,
        }
    }

    /// Returns the worse of two values.
    pub(crate) fn worse(self, a: f64, b: f64) -> f64 {
        if self == Metric::Rate { a.min(b) } else { a.max(b) }
    }
}

/// The divisor of a value, from the same round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    /// Nothing: the value itself counts.
    Itself,
    /// The best peer in this metric.
    BestPeer,
    Haproxy,
    BytePump,
    /// The engine with the lower value.
    BetterEngine,
    /// The same engine with its best fixed number of workers.
    BestFixed,
}

impl Against {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Against::Itself => "",
            Against::BestPeer => " / best peer's",
            Against::Haproxy => " / haproxy's",
            Against::BytePump => " / byte pump's",
            Against::BetterEngine => " / better engine's",
            Against::BestFixed => " / best fixed workers'",
        }
    }
}

/// A goal: a minimum for a rate, a maximum for any other metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Goal {
    pub(crate) metric: Metric,
    pub(crate) against: Against,
    thread: f64,
    asynchronous: f64,
}

impl Goal {
    const fn new(metric: Metric, against: Against, asynchronous: f64, thread: f64) -> Self {
        Goal { metric, against, thread, asynchronous }
    }

    /// Returns the bound for a kind of subject; None without a goal.
    pub(crate) fn bound(&self, kind: Kind) -> Option<f64> {
        match kind {
            Kind::Thread => Some(self.thread),
            Kind::Async => Some(self.asynchronous),
            Kind::FixedThread | Kind::FixedAsync | Kind::Peer | Kind::BytePump => None,
        }
    }

    pub(crate) fn is_met(&self, value: f64, bound: f64) -> bool {
        if self.metric == Metric::Rate { value >= bound } else { value <= bound }
    }

    pub(crate) fn sign(&self) -> &'static str {
        if self.metric == Metric::Rate { ">=" } else { "<=" }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// The name of the row on the command line.
    pub(crate) id: &'static str,
    pub(crate) title: &'static str,
    /// True when the row measures file servers, not balancers.
    pub(crate) direct: bool,
    pub(crate) work: Work,
    pub(crate) connections: u32,
    /// The requested file. An idle connection requests it once.
    file: &'static str,
    keep_alive: bool,
    pub(crate) goals: &'static [Goal],
    /// Requests per second on fresh connections beside the load, which measure the time to the first byte. Zero: none.
    pub(crate) probe_hz: f64,
}

const NONE_FAILED: Goal = Goal::new(Metric::Failed, Against::Itself, 0.0, 0.0);

const fn rate(asynchronous: f64, thread: f64) -> Goal {
    Goal::new(Metric::Rate, Against::BestPeer, asynchronous, thread)
}

const FIXED_RATE: Goal = Goal::new(Metric::Rate, Against::BestFixed, 0.97, 0.97);
const FIXED_CPU: Goal = Goal::new(Metric::Cpu, Against::BestFixed, 1.03, 1.03);

const THOUSAND: &[Goal] = &[
    rate(1.35, 1.40),
    Goal::new(Metric::Cpu, Against::Haproxy, 0.60, 0.60),
    Goal::new(Metric::P99Ms, Against::Haproxy, 0.70, 0.70),
    FIXED_RATE,
    FIXED_CPU,
    Goal::new(Metric::PssMb, Against::Itself, 8.0, 8.0),
    Goal::new(Metric::Rate, Against::BytePump, 0.90, 0.85),
    NONE_FAILED,
];
const FEWER: &[Goal] = &[
    rate(1.10, 1.10),
    Goal::new(Metric::Cpu, Against::BestPeer, 0.80, 0.80),
    Goal::new(Metric::Cpu, Against::BetterEngine, 1.05, 1.05),
    Goal::new(Metric::Switches, Against::Itself, 0.20, 0.20),
    FIXED_RATE,
    FIXED_CPU,
    NONE_FAILED,
];
const LARGE: &[Goal] = &[rate(1.20, 1.10), NONE_FAILED];
const LARGEST: &[Goal] =
    &[rate(1.15, 1.10), Goal::new(Metric::FirstByteP99Ms, Against::Haproxy, 1.5, 1.5), NONE_FAILED];
const CLOSE: &[Goal] =
    &[rate(1.20, 1.15), Goal::new(Metric::Cpu, Against::BestPeer, 0.60, 0.60), NONE_FAILED];
const IDLE: &[Goal] = &[Goal::new(Metric::PerConnectionKb, Against::Itself, 0.30, 0.30), NONE_FAILED];
const STATIC: &[Goal] = &[rate(1.10, 1.05), NONE_FAILED];

pub(crate) const ROWS: [Row; 13] = [
    load("c1000", "128 B, 1000 connections", "128.html", 1000, THOUSAND),
    load("c200", "128 B, 200 connections", "128.html", 200, FEWER),
    load("c150", "128 B, 150 connections", "128.html", 150, FEWER),
    load("c100", "128 B, 100 connections", "128.html", 100, FEWER),
    load("c50", "128 B, 50 connections", "128.html", 50, FEWER),
    load("c10", "128 B, 10 connections", "128.html", 10, FEWER),
    load("10k", "10 KB, 100 connections", "10k.bin", 100, LARGE),
    load("75k", "75 KB, 100 connections", "75k.bin", 100, LARGE),
    Row { probe_hz: 100.0, ..load("1m", "1 MB, 100 connections", "1m.bin", 100, LARGEST) },
    Row {
        keep_alive: false,
        ..load("close", "128 B, a new connection per request, 200 at once", "128.html", 200, CLOSE)
    },
    Row { work: Work::Idle, ..load("idle", "8000 idle connections", "128.html", 8000, IDLE) },
    Row {
        direct: true,
        ..load("static-128", "file server, 128 B, 1000 connections", "128.html", 1000, STATIC)
    },
    Row {
        direct: true,
        ..load("static-75k", "file server, 75 KB, 1000 connections", "75k.bin", 1000, STATIC)
    },
];

const fn load(
    id: &'static str,
    title: &'static str,
    file: &'static str,
    connections: u32,
    goals: &'static [Goal],
) -> Row {
    Row {
        id,
        title,
        direct: false,
        work: Work::Load,
        connections,
        file,
        keep_alive: true,
        goals,
        probe_hz: 0.0,
    }
}

impl Row {
    /// Returns the columns of the row's table.
    pub(crate) fn metrics(&self) -> &'static [Metric] {
        use Metric::{
            ClientCpu, Cpu, Failed, FirstByteP99Ms, IdlePercent, OriginCpu, P99Ms, PerConnectionKb, PssMb,
            Rate, Switches, System, User,
        };
        match (self.work, self.direct) {
            (Work::Idle, _) => &[PerConnectionKb, PssMb, Failed],
            (_, true) => &[Rate, Cpu, User, System, ClientCpu, Switches, P99Ms, PssMb, Failed, IdlePercent],
            (_, false) if self.probe_hz > 0.0 => &[
                Rate,
                Cpu,
                User,
                System,
                OriginCpu,
                ClientCpu,
                Switches,
                P99Ms,
                FirstByteP99Ms,
                PssMb,
                Failed,
                IdlePercent,
            ],
            (_, false) => {
                &[Rate, Cpu, User, System, OriginCpu, ClientCpu, Switches, P99Ms, PssMb, Failed, IdlePercent]
            }
        }
    }

    /// Returns the cell of one measurement of this row.
    pub(crate) fn cell(&self, block: usize, seconds: f64) -> Cell {
        Cell {
            seq: 0,
            id: self.id.into(),
            section: Section::Peers,
            block,
            target: String::new(),
            work: self.work,
            connections: self.connections,
            threads: THREADS,
            path: self.file.into(),
            body_bytes: FILES.iter().find(|(name, _)| *name == self.file).map_or(0, |(_, bytes)| *bytes),
            keep_alive: self.keep_alive,
            delay_ms: 0,
            warm_s: WARM_S,
            seconds,
        }
    }
}

/// Returns the rows with these names, in the order of the table. Without names, returns all rows.
///
/// # Errors
/// When a name is unknown. The error has the known names.
pub(crate) fn chosen(ids: &[String]) -> Result<Vec<Row>, String> {
    if let Some(wrong) = ids.iter().find(|id| ROWS.iter().all(|row| row.id != **id)) {
        let all = ROWS.map(|row| row.id).join(" ");
        return Err(format!("there is no row {wrong:?}; the rows are {all}"));
    }
    Ok(ROWS.into_iter().filter(|row| ids.is_empty() || ids.iter().any(|id| id == row.id)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_name() {
        let names = |ids: &[&str]| {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            chosen(&ids).map(|rows| rows.iter().map(|row| row.id).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).unwrap().len(), ROWS.len());
        assert_eq!(names(&["idle", "c10"]).unwrap(), ["c10", "idle"]);
        assert!(names(&["c10", "c11"]).unwrap_err().contains("\"c11\""));
    }

    #[test]
    fn a_rate_is_to_be_high_and_all_else_low() {
        let cases = [
            (rate(1.1, 1.2), 1.2, true),
            (rate(1.1, 1.2), 1.19, false),
            (NONE_FAILED, 0.0, true),
            (NONE_FAILED, 1.0, false),
        ];
        for (goal, value, met) in cases {
            assert_eq!(goal.is_met(value, goal.bound(Kind::Thread).unwrap()), met, "{goal:?} {value}");
        }
        assert_eq!(Metric::Rate.worse(1.0, 2.0), 1.0);
        assert_eq!(Metric::P99Ms.worse(1.0, 2.0), 2.0);
        assert_eq!(rate(1.1, 1.2).bound(Kind::Peer), None);
    }

    #[test]
    fn every_row_asks_for_a_file_that_there_is_and_wants_no_failure() {
        for row in ROWS {
            assert!(row.cell(0, 1.0).body_bytes > 0 && row.connections > 0, "{}", row.id);
            assert!(row.goals.contains(&NONE_FAILED), "{}", row.id);
            assert!(row.goals.iter().all(|goal| row.metrics().contains(&goal.metric)), "{}", row.id);
        }
    }
}
