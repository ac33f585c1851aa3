//! Everything that was measured in one cell. Everything else about a cell follows from it ([`crate::judge`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plans::model::{Cell, What};
use crate::run::counters::RawCounters;
use crate::run::handshakes::Shaken;
use crate::run::load::Times;
use crate::run::proc::{GroupCounters, HostCounters};
use crate::run::reply::Errors;
use crate::run::sockets::RawSockets;
use crate::run::wrk::Client;

/// One line of raw.ndjson.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Raw {
    pub(crate) cell: Cell,
    /// What the target does.
    pub(crate) what: What,
    /// UTC.
    pub(crate) started: String,
    /// The commands by role: `client`, `target`, `backends`. Scratch paths are shortened to `{dir}`.
    pub(crate) commands: BTreeMap<String, String>,
    pub(crate) found: Found,
}

/// The measurements of a cell, by its work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Found {
    Load(Box<RawLoad>),
    Idle(IdleMemory),
    Syscalls {
        client: Client,
        /// The table that strace printed.
        strace: String,
    },
    Profile {
        client: Client,
        /// A line for each stack: the functions, and the number of samples ([`crate::run::profile`]).
        folded: String,
    },
    Handshakes(Box<RawHandshakes>),
    /// The reason why the cell has no numbers.
    Failed(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawLoad {
    pub(crate) client: Client,
    /// The report of wrk about the warm-up.
    pub(crate) warm: Option<Client>,
    pub(crate) probe: RawProbe,
    pub(crate) system: RawSystem,
    pub(crate) programs: RawPrograms,
    pub(crate) sockets: Option<RawSockets>,
}

/// The measurements of requests beside TLS handshakes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawHandshakes {
    /// Requests that were due, and their times.
    pub(crate) intended: u64,
    pub(crate) requests: Times,
    pub(crate) handshakes: Shaken,
    pub(crate) system: RawSystem,
}

/// The results of the prober, which sends two requests at each intended time, and compares every body byte by byte.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawProbe {
    /// Requests on new connections, and as many on kept connections.
    pub(crate) intended: u64,
    pub(crate) fresh: Times,
    pub(crate) kept: Times,
}

impl RawProbe {
    pub(crate) fn errors(&self) -> Errors {
        self.fresh.errors + self.kept.errors
    }
}

/// Kernel counters before and after the measured seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawSystem {
    pub(crate) seconds: f64,
    pub(crate) cpus: u64,
    pub(crate) ticks_per_second: u64,
    pub(crate) roles: BTreeMap<Role, (GroupCounters, GroupCounters)>,
    pub(crate) host: (HostCounters, HostCounters),
}

impl RawSystem {
    /// Returns the CPU time of all CPUs in seconds.
    pub(crate) fn all_s(&self) -> f64 {
        self.seconds * self.cpus as f64
    }

    pub(crate) fn seconds_of(&self, ticks: u64) -> f64 {
        ticks as f64 / self.ticks_per_second.max(1) as f64
    }

    /// Returns what a role has added to a counter; None for a role without programs.
    pub(crate) fn used(&self, role: Role, of: fn(&GroupCounters) -> u64) -> Option<u64> {
        let (before, after) = self.roles.get(&role)?;
        Some(of(after).saturating_sub(of(before)))
    }

    /// Returns the CPU time of a role in seconds.
    pub(crate) fn cpu_s(&self, role: Role) -> Option<f64> {
        Some(self.seconds_of(self.used(role, |used| used.user_ticks + used.system_ticks)?))
    }

    /// Returns what the machine has added to a counter.
    pub(crate) fn host(&self, of: fn(&HostCounters) -> u64) -> u64 {
        of(&self.host.1).saturating_sub(of(&self.host.0))
    }

    /// Returns the seconds that the machine has added to a counter of ticks.
    pub(crate) fn host_s(&self, of: fn(&HostCounters) -> u64) -> f64 {
        self.seconds_of(self.host(of))
    }

    /// Returns the CPU time of foreign processes in seconds.
    pub(crate) fn foreign_s(&self) -> f64 {
        let ours: f64 = self.roles.keys().filter_map(|role| self.cpu_s(*role)).sum();
        (self.host_s(|host| host.process_ticks) - ours).max(0.0)
    }
}

/// Counters of our programs in this cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawPrograms {
    pub(crate) target: Option<RawCounters>,
    pub(crate) backends: Option<RawCounters>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Role {
    /// wrk.
    Client,
    /// The measured program: a balancer, or a server without a balancer.
    Target,
    /// The servers behind a balancer.
    Backends,
    /// The prober and the collectors.
    Lab,
    /// The busy loop of `--disturb`.
    Disturbance,
}

/// Memory of the target with idle keep-alive connections. Each connection had one request answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct IdleMemory {
    /// (open connections, PSS of the target in KB), in ascending order from 0 connections.
    pub(crate) points: Vec<(u64, u64)>,
    /// Tried connections that still answered at the end.
    pub(crate) alive: u64,
    pub(crate) tried: u64,
}

impl IdleMemory {
    /// Returns the KB per connection, from the first point to the last point.
    pub(crate) fn per_connection_kb(&self) -> Option<f64> {
        let (&(n0, kb0), &(n1, kb1)) = (self.points.first()?, self.points.last()?);
        (n1 > n0).then(|| (kb1 as f64 - kb0 as f64) / (n1 - n0) as f64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_no_role_used_is_foreign() {
        let system = json!({
            "seconds": 4.0, "cpus": 2, "ticks_per_second": 100,
            "roles": {
                "client": [{}, {"user_ticks": 100, "system_ticks": 50}],
                "target": [{"user_ticks": 10, "system_ticks": 10}, {"user_ticks": 20, "system_ticks": 40}],
            },
            "host": [{"process_ticks": 1000}, {"process_ticks": 1300, "idle_ticks": 500}],
        });
        let system: RawSystem = serde_json::from_value(system).unwrap();
        let idle_s = system.host_s(|host| host.idle_ticks);
        assert!((system.foreign_s() - 1.1).abs() < 1e-9 && (idle_s - 5.0).abs() < 1e-9, "{system:?}");
    }
}
