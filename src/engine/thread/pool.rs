//! The pool of workers, and the jobs that its channel carries.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Sender;
use parking_lot::Mutex;

use super::place::Place;
use crate::app::App;
use crate::engine::awake::Awake;
use crate::engine::event_loop::EventLoop;
use crate::engine::options::Pool;
use crate::engine::shared::Shared;
use crate::engine::sockets::Sockets;
use crate::engine::transport::Tcp;
use crate::engine::worker::WorkerState;

/// The state of one worker.
pub(super) type Worker<A> = WorkerState<<A as App>::View, Tcp>;

/// A job of the channel.
pub(super) enum Job {
    /// The leadership.
    Lead(Box<Leader>),
    /// Clients whose connections are ready, and the time when the job was sent.
    Batch(Vec<usize>, Instant),
    /// The engine has ended.
    Stop,
}

/// The leader's state. It moves to the next leader.
#[derive(Debug)]
pub(super) struct Leader {
    pub(super) event_loop: EventLoop,
    /// Clients whose connections are ready.
    pub(super) ready: Vec<usize>,
    /// Clients whose connections are ready, and whose worker will compute a handshake.
    pub(super) handshakes: Vec<usize>,
    /// Clients whose connections have yielded. First in, first out.
    pub(super) yielded: VecDeque<usize>,
    /// Decides how many workers should be awake.
    pub(super) awake: Awake,
    /// Gets a message when the engine has ended. Dropped without a message if the leader panics.
    pub(super) ended: Sender<()>,
}

/// The way jobs reach the workers.
pub(super) enum Feed {
    Channel(Sender<Job>),
    Rayon(rayon::ThreadPool),
}

/// The state that all workers share.
pub(super) struct ThreadEngine<A: App> {
    pub(super) shared: Arc<Shared<A>>,
    pub(super) pool: Pool,
    pub(super) sockets: Sockets<Place>,
    pub(super) workers: Box<[Mutex<Worker<A>>]>,
    pub(super) feed: Feed,
}
