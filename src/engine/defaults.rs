//! The defaults of an engine, with their reasons.
use super::options::{Engine, EngineLimits, Handshakes, Options, Pool, ReactorKind, cores};
use super::pressure::ConcurrencyLimit;
use crate::app::ListenerSettings;

impl Default for Engine {
    /// The async engine with our own reactor.
    fn default() -> Self {
        Engine::Async(ReactorKind::default())
    }
}

impl Engine {
    /// The default number of worker threads. One worker per core is enough, because workers do not block. Only the workers
    /// of the textbook pool block, so there are two per core, and at least four.
    pub fn default_workers(self) -> usize {
        match self {
            Engine::Thread(Pool::Textbook) => (2 * cores()).max(4),
            Engine::Thread(_) | Engine::Async(_) => cores(),
        }
    }
}

impl Default for Pool {
    /// Our own workers with the default batch.
    fn default() -> Self {
        Pool::Crossbeam { batch: Pool::default_batch() }
    }
}

impl Pool {
    /// The default number of ready connections per job on this machine.
    pub fn default_batch() -> usize {
        default_batch(cores())
    }
}

/// The largest share of a worker. On two cores, 256 was measured when waking another worker was decided by this number
/// alone; today the number of workers that are awake decides first. For other numbers of cores this is an estimate.
fn default_batch(cores: usize) -> usize {
    (512 / cores).max(16)
}

impl Default for Options {
    /// The async engine with one worker per core and the default limits.
    fn default() -> Self {
        let engine = Engine::default();
        Options {
            engine,
            workers: engine.default_workers(),
            concurrency: ConcurrencyLimit::default(),
            listener: ListenerSettings::default(),
            engine_limits: EngineLimits::default(),
            receive_bytes: usize::MAX,
            all_awake: false,
            client_transform: None,
            handshakes: Handshakes::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_smaller_on_more_cores() {
        for (cores, batch) in [(1, 512), (2, 256), (4, 128), (32, 16), (64, 16)] {
            assert_eq!(default_batch(cores), batch, "{cores}");
        }
    }
}
