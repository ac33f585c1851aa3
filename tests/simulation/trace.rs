//! What happens in a run: one number over all events, and a count of each kind of event.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// How often each kind of event occurred, by group and name.
pub type Census = BTreeMap<(&'static str, &'static str), u64>;

/// A hash over all events of a run, in order, and a census of their kinds. Two runs of a seed must have equal hashes.
/// `NERACA_TRACE=1` prints the events.
#[derive(Debug, Clone, Default)]
pub struct Trace(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    hash: Cell<u64>,
    /// Time since the start of the run.
    time: Cell<Duration>,
    census: RefCell<Census>,
    prints: bool,
}

impl Trace {
    pub fn new() -> Self {
        let prints = std::env::var_os("NERACA_TRACE").is_some();
        Trace(Rc::new(Inner { prints, ..Inner::default() }))
    }

    /// An event of a group: its name, and two numbers that say more.
    pub fn note(&self, group: &'static str, name: &'static str, fd: usize, n: usize) {
        let inner = &self.0;
        let words = [inner.time.get().as_nanos() as u64, fd as u64, n as u64].into_iter();
        let letters = group.bytes().chain(name.bytes()).map(u64::from);
        let mix = |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        inner.hash.set(words.chain(letters).fold(inner.hash.get(), mix));
        *inner.census.borrow_mut().entry((group, name)).or_default() += 1;
        if inner.prints {
            eprintln!("{:>12?} {group:>8} {name:<12} fd {fd:<3} {n}", inner.time.get());
        }
    }

    pub fn set_time(&self, time: Duration) {
        self.0.time.set(time);
    }

    pub fn hash(&self) -> u64 {
        self.0.hash.get()
    }

    pub fn census(&self) -> Census {
        self.0.census.take()
    }
}
