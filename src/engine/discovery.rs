//! Discovery: one thread, off the request path, asks DNS again and again for the backends behind names. What follows from
//! an answer is decided in `cluster/names.rs`, and the router gives the clusters their backends
//! ([`Router::note_answer`]).
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use smol::channel::{Receiver, Sender, bounded};
use smol::{LocalExecutor, Timer, future};

use super::resolver::ask;
use crate::cluster::names::{Name, Schedule};
use crate::router::{NamedCluster, Router};

/// Maximum time that [`Discovery::learn`] waits.
const LEARN: Duration = Duration::from_secs(3);
/// The interval at which the thread notices new names and names that are gone.
const NAMES: Duration = Duration::from_millis(200);

/// Keeps the backends of a router's names up to date. Dropping it ends its thread.
#[derive(Debug)]
pub struct Discovery {
    router: Arc<Router>,
    server: Option<SocketAddr>,
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Discovery {
    /// Makes the discovery without a thread. It asks the DNS server at this address; None: those of the system.
    pub fn new(router: Arc<Router>, server: Option<SocketAddr>) -> Self {
        Discovery { router, server, running: None }
    }

    /// Asks once for the names that had no answer so far, and waits for the answers, at most 3 s. A name without an answer is
    /// a warning. Then the thread asks again for all names of the router. The caller calls this before the router gets
    /// settings with these names, or before its first request.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn learn(&mut self, names: &[Name]) -> io::Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let unknown: BTreeSet<&Name> = names.iter().filter(|name| !self.router.has_answer(name)).collect();
        let executor = LocalExecutor::new();
        let questions: Vec<_> = unknown
            .iter()
            .map(|name| executor.spawn(question(&self.router, name, self.server, Schedule::default())))
            .collect();
        let all = async {
            for question in questions {
                question.await;
            }
        };
        let late = async {
            Timer::after(LEARN).await;
            let slow = unknown.iter().filter(|name| !self.router.has_answer(name));
            slow.for_each(|name| log::warn!("backend name {name} has no answer yet"));
        };
        future::block_on(executor.run(future::or(all, late)));
        drop(executor);
        if self.running.is_none() {
            let (stop, stopped) = bounded(1);
            let (router, server) = (Arc::clone(&self.router), self.server);
            let work = move || {
                let executor = LocalExecutor::new();
                future::block_on(executor.run(follow(&executor, &router, server, &stopped)));
            };
            let thread = thread::Builder::new().name("neraca-names".into()).spawn(work)?;
            self.running = Some((stop, thread));
        }
        Ok(())
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.close();
            // A panic of the thread was reported already.
            let _ = thread.join();
        }
    }
}

/// Keeps a task for each name of the router, until `stopped` is closed.
async fn follow<'a>(
    executor: &LocalExecutor<'a>,
    router: &'a Arc<Router>,
    server: Option<SocketAddr>,
    stopped: &Receiver<()>,
) {
    let mut running = BTreeMap::new();
    loop {
        let clusters = router.clusters();
        let wanted: BTreeSet<&Name> =
            clusters.iter().flat_map(NamedCluster::names).map(|one| &one.name).collect();
        running.retain(|name, _| wanted.contains(name));
        for name in wanted {
            running
                .entry(name.clone())
                .or_insert_with(|| executor.spawn(ask_for_ever(router, name.clone(), server)));
        }
        let ended = async {
            let _ = stopped.recv().await;
            true
        };
        let wait = async {
            Timer::after(NAMES).await;
            false
        };
        if future::or(ended, wait).await {
            return;
        }
    }
}

/// Asks for one name again and again. [`Discovery::learn`] has asked for it before.
async fn ask_for_ever(router: &Router, name: Name, server: Option<SocketAddr>) {
    let mut schedule = Schedule::after(router.has_answer(&name));
    let mut pause = Schedule::SHORTEST;
    loop {
        Timer::after(pause).await;
        (schedule, pause) = question(router, &name, server, schedule).await;
    }
}

/// Asks for one name, and notes the answer. Returns the pause until the next question.
async fn question(
    router: &Router,
    name: &Name,
    server: Option<SocketAddr>,
    mut schedule: Schedule,
) -> (Schedule, Duration) {
    let was_failing = schedule.is_failing();
    let pause = match ask(name, server).await {
        Ok(found) => {
            if router.note_answer(name, &found.places) {
                let places: Vec<_> = found.places.iter().map(|place| place.address.to_string()).collect();
                log::info!("backend name {name} is {}", places.join(", "));
            } else if was_failing {
                log::info!("backend name {name} is answered again, and nothing has changed");
            }
            schedule.answered(found.ttl)
        }
        Err(reason) => {
            match (was_failing, router.has_answer(name)) {
                (true, _) => {}
                (false, true) => log::warn!("backend name {name}: {reason}; its addresses stay"),
                (false, false) => log::warn!("backend name {name}: {reason}; it has no backends yet"),
            }
            schedule.failed()
        }
    };
    (schedule, pause)
}
