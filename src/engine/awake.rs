//! The decision how many workers should be awake.
//!
//! A second worker helps when two things are true: ready work waits although the first worker computes all the time, and
//! a CPU is free. The first alone is not enough. The clients and the backends may use the same CPUs. A second worker then
//! takes CPU time from these programs, and it waits for their work. So the decision asks what is scarce:
//!
//! - Workers are scarce when they always run and never wait for a CPU. Then twice as many workers are woken.
//! - CPUs are scarce when workers wait for a CPU. If the workers also run for so little time that half of them would do
//!   nearly as much, half of them go to sleep.
//! - Half of the workers also go to sleep when the other half can do the work.
//!
//! Whether a free CPU exists is known only after the attempt. An attempt that ends in waits for a CPU is repeated after
//! a pause, and each pause is longer than the one before.

use super::clock::Load;
use super::pauses::Pauses;

/// Workers that run for at least this share of their time are scarce, in percent.
const SCARCE_RAN: u64 = 85;
/// Workers that wait for a CPU for less than this share of their time get a CPU at once, in percent.
const AT_ONCE_WAITED: u64 = 8;
/// Workers that wait for a CPU for at least this share of their time show that CPUs are scarce, in percent.
const SHORT_WAITED: u64 = 20;
/// When CPUs are scarce and all workers run for less than this share of their time, in percent, half of the workers would
/// do nearly as much: they would get the CPUs that the other half now takes from the clients and the backends.
const USELESS_RAN: u64 = 60;
/// Half of the workers can do the work of all when all run for less than this share of their time, in percent. Then each
/// of the remaining workers runs for less than twice this share, which is below `SCARCE_RAN`.
const LIGHT_RAN: u64 = 35;
/// Loads in a row that change the decision. A load is measured every 200 ms.
const LOADS_IN_A_ROW: u8 = 3;

/// The number of workers that should be awake, and what speaks against it.
#[derive(Debug)]
pub(super) struct Awake {
    most: usize,
    count: usize,
    /// The change that the last loads asked for, and the number of these loads.
    asked: (Change, u8),
    pauses: Pauses,
}

/// A change of the number of workers that are awake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    None,
    /// Workers are scarce.
    Double,
    /// CPUs are scarce.
    HalveForCpus,
    /// Half of the workers can do the work.
    HalveForWork,
}

impl Awake {
    /// One of `most` workers is awake.
    pub(super) fn new(most: usize) -> Self {
        Awake { most, count: 1, asked: (Change::None, 0), pauses: Pauses::default() }
    }

    /// Decides from the next load: the mean over the workers that are awake. Returns the number of workers that should
    /// be awake.
    pub(super) fn note(&mut self, load: Load) -> usize {
        let may_grow = self.count < self.most;
        let paused = may_grow && !self.pauses.is_over();
        let change = match load {
            load if self.count > 1 && load.waited >= SHORT_WAITED && load.ran() < USELESS_RAN => {
                Change::HalveForCpus
            }
            load if load.ran() < LIGHT_RAN && self.count > 1 => Change::HalveForWork,
            load if may_grow && !paused && load.ran() >= SCARCE_RAN && load.waited < AT_ONCE_WAITED => {
                Change::Double
            }
            _ => Change::None,
        };
        if change == Change::None && self.count > 1 {
            self.pauses.worked();
        }
        let (asked, loads) = self.asked;
        self.asked = (change, if change == asked { loads + 1 } else { 1 });
        if self.asked.1 == LOADS_IN_A_ROW {
            self.apply(change);
        }
        self.count
    }

    fn apply(&mut self, change: Change) {
        self.asked = (Change::None, 0);
        match change {
            Change::None => {}
            Change::Double => self.count = (self.count * 2).min(self.most),
            Change::HalveForWork => self.count = self.count.div_ceil(2),
            Change::HalveForCpus => {
                self.count = self.count.div_ceil(2);
                self.pauses.begin();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A load, for how many measurements, and the number of workers awake after the last of them.
    type Step = ((u64, u64), usize, usize);

    fn check(awake: &mut Awake, steps: &[Step]) {
        for (at, ((ran, waited), loads, expected)) in steps.iter().enumerate() {
            let load = Load { ready: ran + waited, waited: *waited };
            let decided = (0..*loads).map(|_| awake.note(load)).last();
            assert_eq!(decided, Some(*expected), "step {at}: {load:?}");
        }
    }

    #[test]
    fn workers_are_woken_when_workers_are_scarce_and_sleep_when_cpus_are() {
        let steps = [
            ((99, 0), 2, 1),
            ((50, 0), 1, 1),
            ((99, 0), 2, 1),
            ((99, 0), 1, 2),
            // Each of two workers has half of the work.
            ((50, 2), 9, 2),
            ((60, 15), 9, 2),
            // CPUs are scarce, but two workers do much more than one can.
            ((70, 30), 9, 2),
            // Two workers do no more than one can.
            ((55, 40), 2, 2),
            ((60, 10), 1, 2),
            ((55, 40), 3, 1),
            // One worker computes as much as it can get.
            ((70, 30), 9, 1),
            ((85, 8), 9, 1),
            ((92, 7), 3, 2),
            // Little work is left.
            ((20, 0), 3, 1),
            ((20, 0), 9, 1),
        ];
        check(&mut Awake::new(2), &steps);
    }

    #[test]
    fn workers_are_doubled_and_halved() {
        let steps = [
            ((99, 0), 3, 2),
            ((99, 0), 3, 4),
            ((99, 0), 3, 6),
            // No more workers exist.
            ((99, 0), 9, 6),
            ((34, 0), 3, 3),
            ((68, 0), 9, 3),
            ((34, 0), 3, 2),
            ((34, 0), 3, 1),
            ((0, 0), 9, 1),
        ];
        check(&mut Awake::new(6), &steps);
    }

    #[test]
    fn one_worker_is_always_awake_and_never_more_than_there_are() {
        check(&mut Awake::new(1), &[((99, 0), 9, 1), ((10, 60), 9, 1), ((0, 0), 9, 1)]);
    }

    #[test]
    fn an_attempt_that_finds_no_free_cpu_is_repeated_later_and_later() {
        let mut awake = Awake::new(2);
        let until = |awake: &mut Awake, load, count| (1..).find(|_| awake.note(load) == count);
        let (scarce, short) = (Load { ready: 99, waited: 0 }, Load { ready: 99, waited: 45 });
        // A pause ends with the first load that asks for more workers.
        for loads in [3, 4 + 3, 9 + 3, 19 + 3] {
            assert_eq!(until(&mut awake, scarce, 2), Some(loads));
            assert_eq!(until(&mut awake, short, 1), Some(3));
        }
        // A load that changes is no failure.
        assert_eq!(until(&mut awake, scarce, 2), Some(39 + 3));
        (0..400).for_each(|_| assert_eq!(awake.note(Load { ready: 60, waited: 0 }), 2));
        assert_eq!(until(&mut awake, Load { ready: 20, waited: 0 }, 1), Some(3));
        assert_eq!(until(&mut awake, scarce, 2), Some(3));
    }
}
