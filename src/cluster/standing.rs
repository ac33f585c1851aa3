//! What every pick asks of a backend: two words, so that a pick reads little of each backend.
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// The backend belongs to no cluster any more.
pub(super) const REMOVED: u32 = 1;
/// The backend gets no new requests.
pub(super) const DRAINING: u32 = 2;
/// Active checks say that the backend is down.
pub(super) const DOWN: u32 = 4;
/// The backend is ejected, or it has returned and its share still grows.
pub(super) const UNSTEADY: u32 = 8;
/// The backend has a cap.
pub(super) const CAPPED: u32 = 16;

/// The flags are below this bit, and the weight is above.
const WEIGHT_SHIFT: u32 = 8;

/// The weight of a backend, and the flags that say where else a pick has to look.
#[derive(Debug, Default)]
pub(super) struct Standing(AtomicU32);

/// A value of [`Standing`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Stands(u32);

impl Standing {
    pub(super) fn get(&self) -> Stands {
        Stands(self.0.load(Relaxed))
    }

    /// Sets or clears a flag. Each flag has its own bit, so changes of different flags do not disturb each other.
    pub(super) fn mark(&self, flag: u32, on: bool) {
        match on {
            true => self.0.fetch_or(flag, SeqCst),
            false => self.0.fetch_and(!flag, SeqCst),
        };
    }

    pub(super) fn set_weight(&self, weight: u32) {
        let flags = |stands: u32| stands & ((1 << WEIGHT_SHIFT) - 1);
        let set = |stands| Some(flags(stands) | weight << WEIGHT_SHIFT);
        // The closure never returns None.
        let _ = self.0.fetch_update(SeqCst, SeqCst, set);
    }
}

impl Stands {
    /// True when one of these flags is set.
    pub(super) fn has(self, flags: u32) -> bool {
        self.0 & flags != 0
    }

    /// Returns the configured weight.
    pub(super) fn weight(self) -> u32 {
        self.0 >> WEIGHT_SHIFT
    }
}

/// The attempts at a backend that have begun, and those of them that are in flight, in one word. So both change with one
/// atomic operation, and the number in flight is exact.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

/// Each attempt in flight needs a port of this host for the backend, so this is enough for 16 addresses of this host. The
/// other 44 bits are enough for 17 million million attempts.
const IN_FLIGHT_BITS: u32 = 20;

impl Tally {
    pub(super) fn begin(&self) {
        self.0.fetch_add(1 << IN_FLIGHT_BITS | 1, Relaxed);
    }

    pub(super) fn end(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.0.load(Relaxed) as u32 & ((1 << IN_FLIGHT_BITS) - 1)
    }

    pub(super) fn started(&self) -> u64 {
        self.0.load(Relaxed) >> IN_FLIGHT_BITS
    }

    pub(super) fn ended(&self) -> u64 {
        let tally = self.0.load(Relaxed);
        (tally >> IN_FLIGHT_BITS) - (tally & ((1 << IN_FLIGHT_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_and_flags_do_not_disturb_each_other() {
        let standing = Standing::default();
        let flags = [REMOVED, DRAINING, DOWN, UNSTEADY, CAPPED];
        for weight in [1, 1000, 7] {
            standing.set_weight(weight);
            for flag in flags {
                standing.mark(flag, true);
                let set = flags.map(|one| standing.get().has(one));
                assert_eq!(set, flags.map(|one| one == flag), "{flag}");
                assert_eq!(standing.get().weight(), weight);
                standing.mark(flag, false);
            }
        }
        standing.mark(DOWN, true);
        standing.set_weight(3);
        assert!(standing.get().has(DOWN | REMOVED) && !standing.get().has(REMOVED));
    }

    #[test]
    fn a_tally_counts_what_has_begun_and_ended_and_is_in_flight() {
        let tally = Tally::default();
        (0..70_000).for_each(|_| tally.begin());
        (0..69_997).for_each(|_| tally.end());
        assert_eq!((tally.started(), tally.ended(), tally.in_flight()), (70_000, 69_997, 3));
        (0..3).for_each(|_| tally.end());
        assert_eq!((tally.started(), tally.ended(), tally.in_flight()), (70_000, 70_000, 0));
    }
}
