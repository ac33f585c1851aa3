//! Faults on purpose: a server that is slow, fails, stays silent or closes connections, as a file says. The file may change
//! while the server runs, so an experiment can make a backend fail and heal.
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use neraca::app::Decision;
use neraca::http::answer::{Answer, Body};
use parking_lot::Mutex;
use rustix::fs::{MemfdFlags, memfd_create};

/// A delay that no client waits for.
const FOR_EVER: Duration = Duration::from_secs(86_400);
/// Maximum bytes of a cut body.
const CUT_BYTES_MAX: u64 = 1 << 20;
/// Maximum number of connections whose requests are counted. Then all counts begin again.
const CONNECTIONS_MAX: usize = 100_000;

/// The faults of a server. The default has none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Faults {
    /// Delay of each answer.
    delay: Duration,
    /// Mean of a further random delay, of an exponential distribution.
    random_delay: Duration,
    /// Further delay of the first answer on each connection.
    first_delay: Duration,
    /// Maximum requests that are worked on at a time; 0 means no limit. The other requests wait in order.
    slots: u32,
    /// Share of the requests that get an error at once, in percent.
    fail_percent: u8,
    /// The status of such an error; 0 means 500.
    fail_status: u16,
    /// Share of the requests that get no answer, in percent.
    silent_percent: u8,
    /// Share of the answers that are cut in the middle of their body, in percent.
    cut_percent: u8,
    /// Share of the answers after which the connection is closed, in percent.
    close_percent: u8,
    /// Number of requests on a connection after which the connection is closed; 0 means no limit.
    close_after: u32,
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

const NAMES: &str = "NAME=NUMBER with one of the names delay-ms, random-delay-ms, first-delay-ms, slots, fail-percent, \
                     fail-status, silent-percent, cut-percent, close-percent, close-after";

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
                "first-delay-ms" => faults.first_delay = ms,
                "slots" => faults.slots = value,
                "fail-percent" => faults.fail_percent = percent()?,
                "fail-status" if (400..600).contains(&value) => faults.fail_status = value as u16,
                "fail-status" => return Err(wrong("a status from 400 to 599")),
                "silent-percent" => faults.silent_percent = percent()?,
                "cut-percent" => faults.cut_percent = percent()?,
                "close-percent" => faults.close_percent = percent()?,
                "close-after" => faults.close_after = value,
                _ => return Err(wrong(NAMES)),
            }
        }
        Ok(faults)
    }
}

impl Faults {
    /// True when a fault depends on the number of a request on its connection.
    fn counts_requests(&self) -> bool {
        self.close_after > 0 || !self.first_delay.is_zero()
    }

    /// Changes a decision about a request at a time. `random` gives a number above 0 and at most 1.
    fn apply(
        &self,
        decision: Decision,
        past: &mut Past,
        (client, now): (SocketAddr, Instant),
        mut random: impl FnMut() -> f64,
    ) -> Decision {
        let (mut answer, mut delay) = match decision {
            Decision::Answer(answer) => (answer, Duration::ZERO),
            Decision::AnswerAfter(delay, answer) => (answer, delay),
            forward @ Decision::Forward(_) => return forward,
        };
        let mut hits = |percent: u8| percent > 0 && random() * 100.0 <= f64::from(percent);
        if hits(self.silent_percent) {
            return Decision::AnswerAfter(FOR_EVER, answer);
        }
        let (fails, cuts, closes) =
            (hits(self.fail_percent), hits(self.cut_percent), hits(self.close_percent));
        let nth = if self.counts_requests() { past.count(client, self.close_after) } else { 0 };
        if fails {
            let status = if self.fail_status == 0 { 500 } else { self.fail_status };
            answer = Answer::text(status, "a fault on purpose");
        } else {
            delay += self.delay;
            if !self.random_delay.is_zero() {
                delay += self.random_delay.mul_f64(-random().ln());
            }
            if self.slots > 0 {
                delay = past.wait(self.slots as usize, now, delay);
            }
            if nth == 1 {
                delay += self.first_delay;
            }
        }
        if cuts {
            answer.body = cut(answer.body);
        }
        if closes || (nth > 0 && nth == self.close_after) {
            answer = answer.closing();
        }
        if delay.is_zero() { Decision::Answer(answer) } else { Decision::AnswerAfter(delay, answer) }
    }
}

/// Returns a body whose file ends in the middle. The head has the full length. The engine finds the end of the file too
/// early, so it resets the connection.
fn cut(body: Body) -> Body {
    let (length, kept) = (body.len(), (body.len() / 2).min(CUT_BYTES_MAX));
    let half = || -> io::Result<File> {
        let mut bytes = vec![0; kept as usize];
        match &body {
            Body::None => {}
            Body::Bytes(all, range) => bytes.copy_from_slice(&all[range.clone()][..kept as usize]),
            Body::File(file, range) => file.read_exact_at(&mut bytes, range.start)?,
        }
        let mut file = File::from(memfd_create("cut", MemfdFlags::CLOEXEC)?);
        file.write_all(&bytes)?;
        Ok(file)
    };
    match half() {
        Ok(file) => Body::File(Arc::new(file), 0..length),
        Err(error) => {
            log::warn!("cannot cut a body: {error}");
            body
        }
    }
}

/// The earlier requests, as far as faults depend on them.
#[derive(Debug, Default)]
struct Past {
    /// The number of requests of each connection. The end of a connection is not known here: when a client uses an
    /// address again, its count goes on.
    requests: HashMap<SocketAddr, u32>,
    /// The time at which each slot has done its work.
    slots: BinaryHeap<Reverse<Instant>>,
}

impl Past {
    /// Counts a request of a connection. Returns its number, from 1 on. The connection ends after `last` requests.
    fn count(&mut self, client: SocketAddr, last: u32) -> u32 {
        if self.requests.len() >= CONNECTIONS_MAX {
            self.requests.clear();
        }
        let count = self.requests.entry(client).or_default();
        *count += 1;
        let nth = *count;
        if last > 0 && nth >= last {
            self.requests.remove(&client);
        }
        nth
    }

    /// Gives a request that needs `work` to the slot that is free first. Returns the time until the work is done. This
    /// time is fixed here: it does not change when the faults change later, or when the client leaves.
    fn wait(&mut self, slots: usize, now: Instant, work: Duration) -> Duration {
        while self.slots.len() > slots {
            self.slots.pop();
        }
        let free = if self.slots.len() < slots { None } else { self.slots.pop() };
        let done = free.map_or(now, |Reverse(free)| free.max(now)) + work;
        self.slots.push(Reverse(done));
        done - now
    }
}

/// The faults of a file that may change.
#[derive(Debug)]
pub(crate) struct FaultFile {
    path: PathBuf,
    /// The text of the file, and its faults.
    current: Mutex<(String, Faults)>,
    past: Mutex<Past>,
    seed: RandomState,
    requests: AtomicU64,
}

impl FaultFile {
    /// Reads the file. Without the file there are no faults.
    pub(crate) fn open(path: PathBuf) -> Self {
        let (seed, requests) = (RandomState::new(), AtomicU64::new(0));
        let file = FaultFile { path, current: Mutex::default(), past: Mutex::default(), seed, requests };
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

    /// Changes a decision about a request of a client at a time.
    pub(crate) fn apply(&self, decision: Decision, client: SocketAddr, now: Instant) -> Decision {
        let faults = self.current.lock().1;
        faults.apply(decision, &mut self.past.lock(), (client, now), || self.random())
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
        let text = "# slow\ndelay-ms = 20\n\nrandom-delay-ms=5\nfirst-delay-ms=6\nslots=3\nfail-percent=50\n\
                    fail-status=503\nsilent-percent=1\ncut-percent=2\nclose-percent=100\nclose-after=9\n";
        let faults = Faults {
            delay: Duration::from_millis(20),
            random_delay: Duration::from_millis(5),
            first_delay: Duration::from_millis(6),
            slots: 3,
            fail_percent: 50,
            fail_status: 503,
            silent_percent: 1,
            cut_percent: 2,
            close_percent: 100,
            close_after: 9,
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

    const CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 5);

    /// Returns status, close and milliseconds of the answer.
    fn outcome(decision: Decision) -> (u16, bool, u128) {
        match decision {
            Decision::Answer(answer) => (answer.status, answer.close, 0),
            Decision::AnswerAfter(delay, answer) => (answer.status, answer.close, delay.as_millis()),
            Decision::Forward(_) => unreachable!("an answer is not forwarded"),
        }
    }

    #[test]
    fn an_answer_gets_the_faults_of_its_share() {
        let decide = |text: &str, random: f64| {
            let faults: Faults = text.parse().unwrap();
            let (decision, mut past) = (Decision::Answer(Answer::text(200, "x")), Past::default());
            outcome(faults.apply(decision, &mut past, (CLIENT, Instant::now()), || random))
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
            ("delay-ms=3\nfirst-delay-ms=4", 0.5, (200, false, 7)),
            ("close-after=1", 0.5, (200, true, 0)),
        ];
        for (text, random, expected) in cases {
            assert_eq!(decide(text, random), expected, "{text:?}, {random}");
        }
    }

    #[test]
    fn faults_that_depend_on_earlier_requests() {
        const OTHER: SocketAddr = SocketAddr::new(CLIENT.ip(), 6);
        // client, milliseconds since the first request, closes, milliseconds until the answer
        type Requests = &'static [(SocketAddr, u64, bool, u128)];
        let cases: [(&str, Requests); 4] = [
            (
                "close-after=2",
                &[(CLIENT, 0, false, 0), (OTHER, 0, false, 0), (CLIENT, 0, true, 0), (CLIENT, 0, false, 0)],
            ),
            ("first-delay-ms=5", &[(CLIENT, 0, false, 5), (CLIENT, 0, false, 0), (OTHER, 0, false, 5)]),
            (
                "slots=2\ndelay-ms=10",
                &[
                    (CLIENT, 0, false, 10),
                    (CLIENT, 1, false, 10),
                    (CLIENT, 2, false, 18),
                    (OTHER, 3, false, 18),
                    (OTHER, 4, false, 26),
                    (OTHER, 100, false, 10),
                ],
            ),
            ("slots=1\ndelay-ms=10\nfail-percent=100", &[(CLIENT, 0, false, 0), (CLIENT, 0, false, 0)]),
        ];
        for (text, requests) in cases {
            let (faults, mut past, start): (Faults, _, _) =
                (text.parse().unwrap(), Past::default(), Instant::now());
            for (n, &(client, at, closes, ms)) in requests.iter().enumerate() {
                let at = (client, start + Duration::from_millis(at));
                let decision = faults.apply(Decision::Answer(Answer::text(200, "x")), &mut past, at, || 0.5);
                let (_, closed, after) = outcome(decision);
                assert_eq!((closed, after), (closes, ms), "{text:?}, request {n}");
            }
        }
    }

    #[test]
    fn a_cut_body_has_its_length_but_only_half_of_its_bytes() {
        let file = || Arc::new(File::open("Cargo.toml").unwrap());
        let bodies = [
            (Body::Bytes(neraca::http::answer::Bytes::Static(b"0123456789"), 1..10), 9, 4),
            (Body::File(file(), 3..23), 20, 10),
            (Body::None, 0, 0),
        ];
        for (body, length, kept) in bodies {
            let cut = cut(body);
            let Body::File(file, range) = &cut else { panic!("{cut:?}") };
            assert_eq!((cut.len(), range.start, file.metadata().unwrap().len()), (length, 0, kept));
        }
    }
}
