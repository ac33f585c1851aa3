//! Pauses between attempts, each twice as long as the one before while the attempts fail.

/// The first and the longest pause. The unit is one load measurement, about 200 ms: so they are 1 s and 1 minute.
pub(super) const PAUSE_MIN: u32 = 5;
pub(super) const PAUSE_MAX: u32 = 300;

/// The pauses of something that is tried again, in loads noted.
#[derive(Debug)]
pub(super) struct Pauses {
    /// Loads until the next attempt.
    remaining: u32,
    /// The length of the next pause.
    next: u32,
    /// Loads in which the current attempt has worked.
    worked: u32,
}

impl Default for Pauses {
    /// The first attempt may begin at once.
    fn default() -> Self {
        Pauses { remaining: 0, next: PAUSE_MIN, worked: 0 }
    }
}

impl Pauses {
    /// Counts a load without an attempt. True when an attempt may begin.
    pub(super) fn is_over(&mut self) -> bool {
        self.remaining = self.remaining.saturating_sub(1);
        self.remaining == 0
    }

    /// Counts a load in which the attempt worked. After an attempt that has worked for longer than the next pause, the
    /// next pause is short again.
    pub(super) fn worked(&mut self) {
        self.worked += 1;
        if self.worked > self.next {
            self.next = PAUSE_MIN;
        }
    }

    /// Begins a pause, because the attempt failed.
    pub(super) fn begin(&mut self) {
        *self = Pauses { remaining: self.next, next: (self.next * 2).min(PAUSE_MAX), worked: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of loads until the next attempt.
    fn pause(pauses: &mut Pauses) -> u32 {
        (1..=PAUSE_MAX).find(|_| pauses.is_over()).expect("no pause is longer")
    }

    #[test]
    fn a_pause_is_twice_as_long_as_the_one_before_until_an_attempt_works() {
        let mut pauses = Pauses::default();
        assert_eq!(pause(&mut pauses), 1);
        for expected in [5, 10, 20, 40, 80, 160, 300, 300] {
            pauses.begin();
            assert_eq!(pause(&mut pauses), expected);
        }
        (0..=PAUSE_MAX).for_each(|_| pauses.worked());
        pauses.begin();
        assert_eq!(pause(&mut pauses), PAUSE_MIN);
    }
}
