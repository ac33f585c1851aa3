//! Active checks: what a series of results says about a backend. The engine makes the checks (`engine/checker.rs`).
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::cluster::settings::CheckSettings;

/// What the checks of a backend say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckState {
    /// No check has been made.
    Unchecked,
    /// The backend may get requests.
    Up,
    /// The backend gets no request.
    Down,
}

/// The series of results of one backend.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// 0: unchecked, 1: up, 2: down.
    state: AtomicU32,
    /// The results in a row that contradict the state.
    against: AtomicU32,
}

impl Checked {
    pub(crate) fn state(&self) -> CheckState {
        match self.state.load(Relaxed) {
            0 => CheckState::Unchecked,
            1 => CheckState::Up,
            _ => CheckState::Down,
        }
    }

    /// Sets the state before the first check.
    pub(crate) fn begin(&self, initially_up: bool) {
        self.set(if initially_up { CheckState::Up } else { CheckState::Down });
    }

    /// Forgets all results.
    pub(crate) fn end(&self) {
        self.set(CheckState::Unchecked);
    }

    /// Notes the result of a check. One good check brings up a backend that was never up. Returns the state when it has
    /// changed. Only the thread that checks calls this.
    pub(crate) fn note(&self, good: bool, settings: &CheckSettings) -> Option<CheckState> {
        let (agrees, needed, other) = match self.state() {
            CheckState::Up => (good, settings.fall, CheckState::Down),
            CheckState::Down => (!good, settings.rise, CheckState::Up),
            CheckState::Unchecked => (false, 1, if good { CheckState::Up } else { CheckState::Down }),
        };
        let against = if agrees { 0 } else { self.against.load(Relaxed) + 1 };
        let changes = against >= needed.max(1) && !agrees;
        self.against.store(if changes { 0 } else { against }, Relaxed);
        changes.then(|| {
            self.set(other);
            other
        })
    }

    fn set(&self, state: CheckState) {
        self.state.store(state as u32, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rise_and_fall_count_results_in_a_row() {
        let settings = CheckSettings { rise: 2, fall: 3, ..CheckSettings::default() };
        // initially up, results (1 good, 0 failed), the state after each (1 up, 0 down)
        let cases = [
            (true, "000", "110"),
            (true, "00100100011", "11111111001"),
            (false, "1011", "0001"),
            (false, "11011", "01111"),
            (true, "0000", "1100"),
        ];
        for (initially_up, results, expected) in cases {
            let checked = Checked::default();
            checked.begin(initially_up);
            let states: String = results
                .chars()
                .map(|result| {
                    checked.note(result == '1', &settings);
                    if checked.state() == CheckState::Up { '1' } else { '0' }
                })
                .collect();
            assert_eq!(states, expected, "{results}");
        }
        for (good, state) in [(true, CheckState::Up), (false, CheckState::Down)] {
            let checked = Checked::default();
            assert_eq!(checked.state(), CheckState::Unchecked);
            assert_eq!(checked.note(good, &settings), Some(state));
            assert_eq!(checked.note(good, &settings), None);
        }
    }
}
