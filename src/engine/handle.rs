//! Starting an engine, and the handle of a running engine.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::handshakes::HandshakePool;
use super::listener::{Bound, Listeners};
use super::options::{Engine, Handshakes, Options, ReactorKind};
use super::shared::{Command, Shared};
use super::stats::Snapshot;
use super::transport::TransformFactory;
use super::{task, thread};
use crate::app::{App, ListenerId, ListenerSettings};

/// Waits for the end of an engine's threads.
pub(super) type Wait = Box<dyn FnOnce() + Send>;

/// A running engine. Dropping the handle stops nothing: call `stop`, then `wait`.
///
/// The app's data is replaced through the app itself, for example with [`Cluster::replace`](crate::Cluster::replace). Each
/// worker sees the new data at its next wake-up ([`App::refresh`]).
pub struct EngineHandle {
    listeners: Mutex<Vec<Known>>,
    control: Box<dyn Control>,
    wait: Mutex<Option<Wait>>,
}

/// A listener as the handle knows it. The engine alone keeps the socket open.
struct Known {
    id: ListenerId,
    address: SocketAddr,
    has_transform: bool,
    socket: Weak<TcpListener>,
}

impl Known {
    fn new(bound: &Bound) -> Self {
        let (id, address, has_transform) = (bound.id(), bound.address(), bound.has_transform());
        Known { id, address, has_transform, socket: Arc::downgrade(bound.socket()) }
    }
}

/// The functions of [`Shared`] that do not depend on the app's type.
trait Control: Send + Sync {
    fn command(&self, command: Command) -> bool;
    fn set_draining(&self, on: bool);
    fn hand_over(&self);
    fn stop(&self);
    fn end(&self);
    fn turns(&self) -> Vec<u64>;
    fn snapshots(&self) -> Vec<Snapshot>;
}

impl<A: App> Control for Arc<Shared<A>> {
    fn command(&self, command: Command) -> bool {
        Shared::command(self, command)
    }

    fn set_draining(&self, on: bool) {
        Shared::set_draining(self, on);
    }

    fn hand_over(&self) {
        Shared::hand_over(self);
    }

    fn stop(&self) {
        Shared::stop(self);
    }

    fn end(&self) {
        if let Some(pool) = &self.handshakes {
            pool.stop();
        }
    }

    fn turns(&self) -> Vec<u64> {
        let of_workers: Vec<_> = self.snapshots().iter().map(|worker| worker.wakeups).collect();
        match self.options.engine {
            Engine::Thread(_) => vec![of_workers.iter().sum()],
            Engine::Async(_) => of_workers,
        }
    }

    fn snapshots(&self) -> Vec<Snapshot> {
        self.counters.iter().map(Snapshot::of).collect()
    }
}

impl EngineHandle {
    /// The addresses of the listeners. The listeners of the start come first, in their order.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.lock().iter().map(|known| known.address).collect()
    }

    /// The identities and addresses of the listeners.
    pub fn listeners(&self) -> Vec<(ListenerId, SocketAddr)> {
        self.listeners.lock().iter().map(|known| (known.id, known.address)).collect()
    }

    /// True when the connections of a listener have a transform, such as TLS.
    pub fn has_transform(&self, id: ListenerId) -> bool {
        self.listeners.lock().iter().any(|known| known.id == id && known.has_transform)
    }

    /// Other descriptors of the sockets of the listeners, in the order of [`EngineHandle::listeners`], for a process that
    /// takes over. A listener that the engine has closed is left out.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn sockets(&self) -> io::Result<Vec<TcpListener>> {
        let listeners = self.listeners.lock();
        listeners.iter().filter_map(|known| known.socket.upgrade()).map(|socket| socket.try_clone()).collect()
    }

    /// Adds a listener while the engine runs, and waits until it accepts clients. `transform` makes the transforms of its
    /// connections. The kernel chooses the port for port 0; see [`EngineHandle::listeners`].
    ///
    /// # Errors
    /// When the address is in use or not local, when the poller cannot watch the listener, or when the engine is
    /// stopping. The message contains the address.
    pub fn add_listener(
        &self,
        address: SocketAddr,
        settings: ListenerSettings,
        transform: Option<TransformFactory>,
    ) -> io::Result<ListenerId> {
        let bound = Bound::bind(address, settings, transform)?;
        let known = Known::new(&bound);
        let id = known.id;
        let mut listeners = self.listeners.lock();
        let (done, is_done) = crossbeam_channel::bounded(1);
        // An engine that stops refuses or drops the command.
        let added = self.control.command(Command::Add(bound, done)).then(|| is_done.recv().ok()).flatten();
        let stopping = || io::Error::new(io::ErrorKind::NotConnected, "the engine is stopping");
        added
            .unwrap_or_else(|| Err(stopping()))
            .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))?;
        listeners.push(known);
        Ok(id)
    }

    /// Gives a listener new settings. Connections that the listener accepts from now on get them; open connections keep
    /// the old settings. False when there is no such listener.
    pub fn configure_listener(
        &self,
        id: ListenerId,
        settings: ListenerSettings,
        transform: Option<TransformFactory>,
    ) -> bool {
        match self.listeners.lock().iter_mut().find(|known| known.id == id) {
            Some(known) => known.has_transform = transform.is_some(),
            None => return false,
        }
        let (done, is_done) = crossbeam_channel::bounded(1);
        // An engine that stops accepts nobody, so it needs no settings.
        if self.control.command(Command::Configure(id, Box::new(settings), transform, done)) {
            let _ = is_done.recv();
        }
        true
    }

    /// Removes a listener, and waits until its socket is closed. Its open connections go on. False when there is no such
    /// listener.
    pub fn remove_listener(&self, id: ListenerId) -> bool {
        let mut listeners = self.listeners.lock();
        let Some(at) = listeners.iter().position(|known| known.id == id) else { return false };
        listeners.remove(at);
        drop(listeners);
        let (done, is_done) = crossbeam_channel::bounded(1);
        // An engine that stops closes all its listeners, and drops the command.
        if self.control.command(Command::Remove(id, done)) {
            let _ = is_done.recv();
        }
        true
    }

    /// Starts a drain: each running request is answered with `Connection: close`, and idle connections are closed. Clients are
    /// still accepted, and their first request is answered in the same way. So a balancer in front can move its traffic
    /// away without a failed request.
    pub fn start_drain(&self) {
        self.control.set_draining(true);
    }

    /// Ends a drain: connections are kept again. Does nothing after `stop`.
    pub fn end_drain(&self) {
        self.control.set_draining(false);
    }

    /// Stops accepting, because another process accepts from the same sockets. Each connection is closed after its next
    /// response, which says `Connection: close`. So an idle connection may still have one request. What is open at the drain
    /// limit is closed.
    pub fn hand_over(&self) {
        self.control.hand_over();
    }

    /// Stops accepting. Idle connections are closed. Running requests are answered with `Connection: close`, within the drain limit.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Waits until all connections and threads have ended after `stop`.
    pub fn wait(&self) {
        if let Some(wait) = self.wait.lock().take() {
            wait();
            self.control.end();
        }
    }

    /// The number of turns of each event loop since the start. While the thread of an event loop works, the loop turns at
    /// least every 200 ms, also without clients. The thread engine has one event loop, the async engine one per worker.
    pub fn turns(&self) -> Vec<u64> {
        self.control.turns()
    }

    /// The counters of each worker since the start.
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.control.snapshots()
    }

    /// The sum of the counters of all workers since the start.
    pub fn stats(&self) -> Snapshot {
        self.snapshots().into_iter().sum()
    }
}

/// Starts an engine over `app`.
///
/// # Errors
/// When the system cannot create a poller or a thread.
pub fn start<A: App>(app: Arc<A>, listeners: Listeners, options: Options) -> io::Result<EngineHandle> {
    let bound = listeners.with_options(&options)?;
    let known = bound.iter().map(Known::new).collect();
    let mut shared = Shared::new(app, options);
    if let Options { engine, handshakes: Handshakes::Pool, .. } = shared.options
        && engine != Engine::Async(ReactorKind::Smol)
    {
        shared.handshakes = Some(HandshakePool::start(shared.options.workers.max(1))?);
    }
    let shared = Arc::new(shared);
    let wait = match shared.options.engine {
        Engine::Thread(pool) => thread::start(&shared, pool, bound)?,
        Engine::Async(reactor) => task::start(&shared, reactor, bound)?,
    };
    Ok(EngineHandle { listeners: Mutex::new(known), control: Box::new(shared), wait: Mutex::new(Some(wait)) })
}
