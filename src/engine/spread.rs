//! The decision whether more than one worker should be awake.
//!
//! A second worker helps when ready work waits although the first worker computes all the time, and a CPU is free. The
//! first sign alone is not enough: where the clients and the backends use the same CPUs, a second worker takes CPU time
//! from the programs that it waits for. So the decision looks at what is scarce. A worker that always runs and never
//! waits for a CPU is itself scarce: the load is spread. A worker that waits for a CPU shows that CPUs are scarce: the
//! load is kept on one worker.

use super::clock::Load;

/// A worker that runs for at least this share of its time is scarce, in percent.
const SCARCE_RAN: u64 = 85;
/// A worker that waits for a CPU for less than this share of its time gets a CPU at once, in percent.
const AT_ONCE_WAITED: u64 = 8;
/// A worker that waits for a CPU for at least this share of its time shows that CPUs are scarce, in percent.
const SHORT_WAITED: u64 = 20;
/// A worker that runs for less than this share of its time could do the work of another worker too, in percent.
const LIGHT_RAN: u64 = 35;
/// Loads in a row that change the decision. A load is measured every 200 ms.
const LOADS_IN_A_ROW: u8 = 3;

/// The decision, and the loads that speak against it.
#[derive(Debug, Default)]
pub(super) struct Spread {
    spread: bool,
    against: u8,
}

impl Spread {
    /// The decision of a worker that has just begun to take work from another worker.
    pub(super) fn begun() -> Self {
        Spread { spread: true, against: 0 }
    }

    /// Decides from the next load of a worker. True when more than one worker should be awake.
    pub(super) fn note(&mut self, load: Load) -> bool {
        let ran = load.ready.saturating_sub(load.waited);
        let against = match self.spread {
            false => ran >= SCARCE_RAN && load.waited < AT_ONCE_WAITED,
            true => load.waited >= SHORT_WAITED || ran < LIGHT_RAN,
        };
        self.against = if against { self.against + 1 } else { 0 };
        if self.against == LOADS_IN_A_ROW {
            *self = Spread { spread: !self.spread, against: 0 };
        }
        self.spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_is_spread_when_the_worker_is_scarce_and_kept_together_when_cpus_are() {
        // ran, waited, for how many loads, and the decision after the last of them
        let cases = [
            (99, 0, 2, false),
            (50, 0, 1, false),
            (99, 0, 2, false),
            (99, 0, 1, true),
            // Each of two workers has half of the work.
            (50, 2, 9, true),
            (60, 15, 9, true),
            // Other programs need the CPUs.
            (60, 30, 2, true),
            (60, 10, 1, true),
            (60, 30, 3, false),
            // One worker computes as much as it can get.
            (70, 30, 9, false),
            (85, 8, 9, false),
            (92, 7, 3, true),
            // Little work is left.
            (20, 0, 3, false),
        ];
        let mut spread = Spread::default();
        for (at, (ran, waited, times, expected)) in cases.into_iter().enumerate() {
            let load = Load { ready: ran + waited, waited };
            let decided = (0..times).map(|_| spread.note(load)).last();
            assert_eq!(decided, Some(expected), "case {at}: {load:?}");
        }
    }
}
