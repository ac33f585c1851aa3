//! Faults on purpose: a server that is slow, fails, stays silent or closes connections, as a file says. The file may change
//! while the server runs, so an experiment can make a backend fail and heal.
use std::fmt;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use neraca::app::Decision;
use neraca::http::answer::Answer;
use parking_lot::Mutex;

/// A delay that no client waits for.
const FOR_EVER: Duration = Duration::from_secs(86_400);

/// The faults of a server. The default has none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Faults {
    /// Delay of each answer.
    delay: Duration,
    /// Mean of a further random delay, of an exponential distribution.
    random_delay: Duration,
    /// Share of the requests that get an error at once, in percent.
    fail_percent: u8,
    /// The status of such an error; 0 means 500.
    fail_status: u16,
    /// Share of the requests that get no answer, in percent.
    silent_percent: u8,
    /// Share of the answers after which the connection is closed, in percent.
    close_percent: u8,
}

/// The reason to refuse a file of faults: the line and what was expected.
#[derive(Debug, PartialEq)]
pub(crate) struct Wrong {
    line: usize,
    expected: &'static str,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected {}", self.line, self.expected)
    }
}

const NAMES: &str = "NAME=NUMBER with one of the names delay-ms, random-delay-ms, fail-percent, fail-status, \
                     silent-percent, close-percent";

impl FromStr for Faults {
    type Err = Wrong;

    /// Reads lines of the form `name=number`. Empty lines and lines that begin with `#` are left out.
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let mut faults = Faults::default();
        for (n, line) in text.lines().enumerate() {
            let line_number = n + 1;
            let wrong = |expected| Wrong { line: line_number, expected };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, value) = line.split_once('=').ok_or_else(|| wrong(NAMES))?;
            let value: u32 = value.trim().parse().map_err(|_| wrong(NAMES))?;
            let ms = Duration::from_millis(value.into());
            let percent = || u8::try_from(value).ok().filter(|value| *value <= 100);
            let percent = || percent().ok_or_else(|| wrong("a share from 0 to 100"));
            match name.trim() {
                "delay-ms" => faults.delay = ms,
                "random-delay-ms" => faults.random_delay = ms,
                "fail-percent" => faults.fail_percent = percent()?,
                "fail-status" if (400..600).contains(&value) => faults.fail_status = value as u16,
                "fail-status" => return Err(wrong("a status from 400 to 599")),
                "silent-percent" => faults.silent_percent = percent()?,
                "close-percent" => faults.close_percent = percent()?,
                _ => return Err(wrong(NAMES)),
            }
        }
        Ok(faults)
    }
}

impl Faults {
    /// Changes a decision. `random` gives a number above 0 and at most 1.
    fn apply(&self, decision: Decision, mut random: impl FnMut() -> f64) -> Decision {
        let (mut answer, mut delay) = match decision {
            Decision::Answer(answer) => (answer, Duration::ZERO),
            Decision::AnswerAfter(delay, answer) => (answer, delay),
            forward @ Decision::Forward(_) => return forward,
        };
        let mut hits = |percent: u8| percent > 0 && random() * 100.0 <= f64::from(percent);
        if hits(self.silent_percent) {
            return Decision::AnswerAfter(FOR_EVER, answer);
        }
        let fails = hits(self.fail_percent);
        let closes = hits(self.close_percent);
        if fails {
            answer = Answer::text(
                if self.fail_status == 0 { 500 } else { self.fail_status },
                "a fault on purpose",
            );
        }
        if closes {
            answer = answer.closing();
        }
        if !fails {
            delay += self.delay;
            if !self.random_delay.is_zero() {
                delay += self.random_delay.mul_f64(-random().ln());
            }
        }
        if delay.is_zero() { Decision::Answer(answer) } else { Decision::AnswerAfter(delay, answer) }
    }
}

/// The faults of a file that may change.
#[derive(Debug)]
pub(crate) struct FaultFile {
    path: PathBuf,
    /// The text of the file, and its faults.
    current: Mutex<(String, Faults)>,
    seed: RandomState,
    requests: AtomicU64,
}

impl FaultFile {
    /// Reads the file. Without the file there are no faults.
    pub(crate) fn open(path: PathBuf) -> Self {
        let (seed, requests) = (RandomState::new(), AtomicU64::new(0));
        let file = FaultFile { path, current: Mutex::default(), seed, requests };
        file.read();
        file
    }

    /// Reads the file again. A text that has not changed, or that is wrong, changes nothing.
    pub(crate) fn read(&self) {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let mut current = self.current.lock();
        if current.0 == text {
            return;
        }
        match text.parse() {
            Ok(faults) => {
                log::warn!("{}: {faults:?}", self.path.display());
                current.1 = faults;
            }
            Err(wrong) => log::warn!("{}: {wrong}", self.path.display()),
        }
        current.0 = text;
    }

    /// Changes a decision.
    pub(crate) fn apply(&self, decision: Decision) -> Decision {
        let faults = self.current.lock().1;
        faults.apply(decision, || self.random())
    }

    /// Returns a number above 0 and at most 1.
    fn random(&self) -> f64 {
        let bits = self.seed.hash_one(self.requests.fetch_add(1, Relaxed));
        ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_line_by_line() {
        let text = "# slow\ndelay-ms = 20\n\nrandom-delay-ms=5\nfail-percent=50\nfail-status=503\nsilent-percent=1\n\
                    close-percent=100\n";
        let faults = Faults {
            delay: Duration::from_millis(20),
            random_delay: Duration::from_millis(5),
            fail_percent: 50,
            fail_status: 503,
            silent_percent: 1,
            close_percent: 100,
        };
        assert_eq!(text.parse(), Ok(faults));
        assert_eq!("".parse(), Ok(Faults::default()));
        for (text, line, expected) in [
            ("delay-ms", 1, NAMES),
            ("\nslow=1", 2, NAMES),
            ("delay-ms=-1", 1, NAMES),
            ("#\nfail-percent=101", 2, "a share from 0 to 100"),
            ("fail-status=200", 1, "a status from 400 to 599"),
        ] {
            assert_eq!(text.parse::<Faults>(), Err(Wrong { line, expected }), "{text}");
        }
    }

    #[test]
    fn an_answer_gets_the_faults_of_its_share() {
        let decide = |text: &str, random: f64| {
            let faults: Faults = text.parse().unwrap();
            match faults.apply(Decision::Answer(Answer::text(200, "x")), || random) {
                Decision::Answer(answer) => (answer.status, answer.close, 0),
                Decision::AnswerAfter(delay, answer) => (answer.status, answer.close, delay.as_millis()),
                Decision::Forward(_) => unreachable!("an answer is not forwarded"),
            }
        };
        // faults, random number, status, closes, milliseconds
        let cases = [
            ("", 0.001, (200, false, 0)),
            ("delay-ms=7", 0.5, (200, false, 7)),
            ("random-delay-ms=10", 1.0, (200, false, 0)),
            ("random-delay-ms=10", 0.3679, (200, false, 9)),
            ("fail-percent=30", 0.30, (500, false, 0)),
            ("fail-percent=30", 0.31, (200, false, 0)),
            ("fail-percent=100\nfail-status=503\ndelay-ms=9", 0.5, (503, false, 0)),
            ("close-percent=50", 0.5, (200, true, 0)),
            ("silent-percent=100", 1.0, (200, false, 86_400_000)),
        ];
        for (text, random, expected) in cases {
            assert_eq!(decide(text, random), expected, "{text:?}, {random}");
        }
    }
}
