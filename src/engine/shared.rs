//! The state that all workers of an engine share, for both engines.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use super::alarm::Alarm;
use super::handshakes::HandshakePool;
use super::listener::Bound;
use super::options::{Engine, Options, Pool, ReactorKind};
use super::stats::Counters;
use super::transport::TransformFactory;
use crate::app::{ListenerId, ListenerSettings};

/// The phases of an engine.
const SERVING: u8 = 0;
/// Clients are accepted, and every connection is closed after its response.
const DRAINING: u8 = 1;
/// Another process accepts the clients. Every connection is closed after its next response.
const HANDED_OVER: u8 = 2;
/// No client is accepted. Idle connections are closed, and every other connection is closed after its response.
const STOPPING: u8 = 3;

/// A command of the engine's handle for the event loop that accepts clients.
#[derive(Debug)]
pub(super) enum Command {
    /// Accept clients on this listener too, then tell on the channel whether that is possible.
    Add(Bound, Sender<io::Result<()>>),
    /// Give the listener with this identity new settings, then send a message on the channel.
    Configure(ListenerId, Box<ListenerSettings>, Option<TransformFactory>, Sender<()>),
    /// Remove the listener with this identity, then send a message on the channel.
    Remove(ListenerId, Sender<()>),
}

/// The state that all workers of an engine share.
#[derive(Debug)]
pub struct Shared<A> {
    pub(super) app: Arc<A>,
    pub(super) options: Options,
    /// Computes the handshakes of clients. None: the worker that runs a connection does.
    pub(super) handshakes: Option<HandshakePool>,
    pub(super) counters: Box<[Counters]>,
    /// The number of workers that should be awake.
    awake: AtomicUsize,
    /// Open client connections.
    pub(super) open: AtomicUsize,
    phase: AtomicU8,
    /// The drain limit has passed: the remaining connections end, and unfinished responses end with a reset.
    ending: AtomicBool,
    /// The listeners are closed, so no connection is accepted any more.
    accepted_last: AtomicBool,
    /// The acceptor waits until a connection closes.
    awaits_vacancy: AtomicBool,
    /// A connection has closed while the acceptor waited.
    vacancy: AtomicBool,
    /// The commands that the acceptor has not obeyed yet. None after the listeners are closed.
    commands: Mutex<Option<Vec<Command>>>,
    /// The alarms of all event loops. The event loop of the first alarm accepts clients.
    alarms: OnceLock<Box<[Arc<Alarm>]>>,
}

impl<A> Shared<A> {
    /// The state of an engine that has not started.
    pub fn new(app: Arc<A>, options: Options) -> Self {
        let workers = options.workers.max(1);
        Shared {
            app,
            counters: (0..workers).map(|_| Counters::default()).collect(),
            awake: AtomicUsize::new(if decides_awake(&options) { 1 } else { workers }),
            options,
            handshakes: None,
            open: AtomicUsize::new(0),
            phase: AtomicU8::new(SERVING),
            ending: AtomicBool::new(false),
            accepted_last: AtomicBool::new(false),
            awaits_vacancy: AtomicBool::new(false),
            vacancy: AtomicBool::new(false),
            commands: Mutex::new(Some(Vec::new())),
            alarms: OnceLock::new(),
        }
    }

    /// The counters of one worker.
    pub fn counters(&self, worker: usize) -> &Counters {
        &self.counters[worker]
    }

    /// The number of workers that should be awake; at least 1.
    pub(super) fn awake(&self) -> usize {
        self.awake.load(Ordering::Relaxed)
    }

    /// Changes the number of workers that should be awake, unless this number is fixed.
    pub(super) fn set_awake(&self, awake: usize) {
        if decides_awake(&self.options) {
            self.awake.store(awake, Ordering::Relaxed);
        }
    }

    /// Sets the alarms of the event loops, once. The event loop of the first alarm accepts clients.
    pub(super) fn set_alarms(&self, alarms: Box<[Arc<Alarm>]>) {
        let first = self.alarms.set(alarms);
        debug_assert!(first.is_ok(), "an engine starts once");
    }

    /// Wakes every event loop.
    fn ring_all(&self) {
        self.alarms.get().into_iter().flatten().for_each(|alarm| alarm.ring());
    }

    /// Wakes the event loop that accepts clients.
    fn ring_acceptor(&self) {
        if let Some(alarm) = self.alarms.get().and_then(|alarms| alarms.first()) {
            alarm.ring();
        }
    }

    /// Counts an accepted client connection.
    pub fn opened(&self, counters: &Counters) {
        counters.accepted.add(1);
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a closed client connection. Wakes the event loops that wait for it.
    pub fn closed(&self) {
        let left = self.open.fetch_sub(1, Ordering::SeqCst) - 1;
        if self.awaits_vacancy.load(Ordering::SeqCst) && self.awaits_vacancy.swap(false, Ordering::SeqCst) {
            self.vacancy.store(true, Ordering::SeqCst);
            self.ring_acceptor();
        }
        if left == 0 && self.is_stopping() {
            self.ring_all();
        }
    }

    /// Begins or ends a drain. During a drain, connections are closed after their response. Does nothing when the engine
    /// is stopping.
    pub fn set_draining(&self, on: bool) {
        let (from, to) = if on { (SERVING, DRAINING) } else { (DRAINING, SERVING) };
        if self.phase.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.ring_all();
        }
    }

    /// Begins to stop: a drain in which no client is accepted that connects later.
    pub fn stop(&self) {
        self.phase.store(STOPPING, Ordering::SeqCst);
        self.ring_all();
    }

    /// Stops accepting, because another process accepts from the same sockets. Does nothing when the engine is stopping.
    pub fn hand_over(&self) {
        self.phase.fetch_max(HANDED_OVER, Ordering::SeqCst);
        self.ring_all();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.phase.load(Ordering::Relaxed) >= DRAINING
    }

    /// True when this process accepts no client any more, and the drain limit applies.
    pub(super) fn is_stopping(&self) -> bool {
        self.phase.load(Ordering::Relaxed) >= HANDED_OVER
    }

    /// True when the engine stops and no other process accepts the clients that have connected by now.
    pub(super) fn takes_last_clients(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == STOPPING
    }

    /// True when an idle connection must close. `is_new` says that it has not had a request yet. After a hand-over an idle
    /// connection stays: its next request may be on its way, and a closed connection would lose this request.
    pub(super) fn closes_idle(&self, is_new: bool) -> bool {
        match self.phase.load(Ordering::Relaxed) {
            SERVING | HANDED_OVER => false,
            DRAINING => !is_new,
            _ => true,
        }
    }

    /// Makes every connection end at its next run.
    pub fn end_all(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Ends the remaining connections once the drain limit has passed. `since` keeps the start of the drain from call
    /// to call.
    pub(super) fn limit_drain(&self, since: &mut Option<Instant>, now: Instant) {
        let since = *since.get_or_insert(now);
        if now.saturating_duration_since(since) >= self.options.engine_limits.drain {
            self.end_all();
        }
    }

    /// Records that the listeners are closed.
    pub(super) fn stop_accepting(&self) {
        *self.commands.lock() = None;
        self.accepted_last.store(true, Ordering::SeqCst);
        self.ring_all();
    }

    /// True when no connection is open and no connection will be accepted. A connection on its way from one core to
    /// another counts as open, so no core ends before this connection has arrived.
    pub(super) fn is_over(&self) -> bool {
        self.accepted_last.load(Ordering::SeqCst) && self.open.load(Ordering::SeqCst) == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.open.load(Ordering::Relaxed) >= self.options.engine_limits.connections
    }

    /// Asks for a wake-up of the acceptor when a connection closes.
    pub(super) fn await_vacancy(&self) {
        self.awaits_vacancy.store(true, Ordering::SeqCst);
    }

    /// True when a connection has closed since `await_vacancy`.
    pub(super) fn take_vacancy(&self) -> bool {
        self.vacancy.load(Ordering::Relaxed) && self.vacancy.swap(false, Ordering::SeqCst)
    }

    /// Sends a command to the event loop that accepts clients. False when the engine has closed its listeners.
    pub(super) fn command(&self, command: Command) -> bool {
        let mut commands = self.commands.lock();
        let Some(waiting) = commands.as_mut() else { return false };
        waiting.push(command);
        drop(commands);
        self.ring_acceptor();
        true
    }

    /// True when the acceptor must obey commands.
    pub(super) fn has_commands(&self) -> bool {
        self.commands.lock().as_ref().is_some_and(|commands| !commands.is_empty())
    }

    /// Takes out the commands.
    pub(super) fn take_commands(&self) -> Vec<Command> {
        self.commands.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }
}

/// True when the engine decides how many of its workers are awake. A worker of the textbook pool blocks, so all others
/// must be ready. With smol's reactor, the cores do not report their load.
fn decides_awake(options: &Options) -> bool {
    let all_needed =
        matches!(options.engine, Engine::Thread(Pool::Textbook) | Engine::Async(ReactorKind::Smol));
    !options.all_awake && !all_needed
}

/// Aborts the process when the thread that holds this guard panics outside of a connection. A panic inside a connection
/// is caught and ends only this connection. A process without its event loop would be alive and serve nobody.
pub(super) struct AbortOnPanic;

impl AbortOnPanic {
    /// Aborts the process.
    pub(super) fn abort() -> ! {
        log::error!("a worker panicked outside of a connection: the process aborts");
        std::process::abort();
    }
}

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            AbortOnPanic::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_ends_and_a_stop_does_not() {
        let shared = Shared::new(Arc::new(()), Options::default());
        let phase = || (shared.is_draining(), shared.is_stopping());
        shared.set_draining(true);
        assert_eq!(phase(), (true, false));
        shared.set_draining(false);
        assert_eq!(phase(), (false, false));
        shared.stop();
        shared.set_draining(false);
        assert_eq!(phase(), (true, true));
    }

    #[test]
    fn idle_connections_close_by_phase() {
        let shared = || Shared::new(Arc::new(()), Options::default());
        // name, steps, whether a new connection and another one close
        type Case = (&'static str, &'static [fn(&Shared<()>)], [bool; 2]);
        let steps: [Case; 6] = [
            ("serving", &[], [false, false]),
            ("draining", &[|s| s.set_draining(true)], [false, true]),
            ("handed over", &[Shared::hand_over], [false, false]),
            ("handed over in a drain", &[|s| s.set_draining(true), Shared::hand_over], [false, false]),
            ("stopped", &[Shared::hand_over, Shared::stop], [true, true]),
            ("handed over after a stop", &[Shared::stop, Shared::hand_over], [true, true]),
        ];
        for (name, steps, expected) in steps {
            let shared = shared();
            steps.iter().for_each(|step| step(&shared));
            assert_eq!([true, false].map(|is_new| shared.closes_idle(is_new)), expected, "{name}");
            assert_eq!(shared.is_stopping(), name.contains("handed") || name == "stopped", "{name}");
        }
    }

    #[test]
    fn one_worker_is_awake_at_first_unless_all_must_be() {
        let pool = Pool::default();
        let cases = [
            (Engine::Thread(pool), false, [1, 3]),
            (Engine::Thread(pool), true, [4, 4]),
            (Engine::Thread(Pool::Textbook), false, [4, 4]),
            (Engine::Async(ReactorKind::Edge), false, [1, 3]),
            (Engine::Async(ReactorKind::Edge), true, [4, 4]),
            (Engine::Async(ReactorKind::Smol), false, [4, 4]),
        ];
        for (engine, all_awake, expected) in cases {
            let shared =
                Shared::new(Arc::new(()), Options { engine, workers: 4, all_awake, ..Options::default() });
            let first = shared.awake();
            shared.set_awake(3);
            assert_eq!([first, shared.awake()], expected, "{engine:?} {all_awake}");
        }
    }

    #[test]
    fn the_acceptor_learns_of_a_vacancy_once() {
        let shared = Shared::new(Arc::new(()), Options::default());
        (0..3).for_each(|_| shared.opened(shared.counters(0)));
        shared.closed();
        assert!(!shared.take_vacancy(), "nobody asked");
        shared.await_vacancy();
        shared.closed();
        shared.closed();
        assert!(shared.take_vacancy() && !shared.take_vacancy());
    }

    #[test]
    fn it_is_over_when_the_last_accepted_connection_is_closed() {
        let shared = Shared::new(Arc::new(()), Options::default());
        assert!(!shared.is_over(), "clients may come");
        shared.stop();
        assert!(!shared.is_over(), "the acceptor does not know of the stop yet");
        shared.opened(shared.counters(0));
        shared.stop_accepting();
        assert!(!shared.is_over(), "the last client may be on its way to its core");
        shared.closed();
        assert!(shared.is_over());
    }
}
