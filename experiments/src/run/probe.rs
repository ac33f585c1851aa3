//! The prober measures latency beside the load. It sends each request at its intended time, even when earlier responses
//! are late (open loop), and compares every body byte by byte. At each intended time it sends two requests: one on a new
//! connection, and one on a kept connection, as the load does. It opens as many kept connections as are in use at once.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use serde::{Deserialize, Serialize};

use crate::run::load::{self, Ports, Spec, Tally, Times};
use crate::run::reply::Errors;

/// Maximum number of requests on new connections, and on kept connections, in flight.
const UNDER_WAY: usize = 2000;
const KEPT: usize = 256;

/// The results of the prober.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawProbe {
    /// Requests on new connections, and as many on kept connections.
    pub(crate) intended: u64,
    pub(crate) fresh: Times,
    pub(crate) kept: Times,
}

impl RawProbe {
    pub(crate) fn errors(&self) -> Errors {
        self.fresh.errors + self.kept.errors
    }
}

/// A prober that runs on its own threads.
#[derive(Debug)]
pub(crate) struct Prober {
    threads: [JoinHandle<io::Result<Tally>>; 2],
    ports: Arc<Ports>,
}

impl Prober {
    /// Starts two clients. The prober chooses the connections of the load.
    pub(crate) fn start(load: &Spec) -> Self {
        let ports = Arc::new(Ports::default());
        let client = |keep, connections| {
            let (spec, ports) = (Spec { keep, connections, ..load.clone() }, Arc::clone(&ports));
            thread::spawn(move || load::run(&spec, &ports))
        };
        let threads = [client(false, UNDER_WAY), client(true, KEPT)];
        Prober { threads, ports }
    }

    /// Returns the local ports that the prober has used, to tell them from the client's connections.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        self.ports.lock().map(|ports| ports.clone()).unwrap_or_default()
    }

    pub(crate) fn finish(self) -> io::Result<RawProbe> {
        let panicked = |_| Err(io::Error::other("the prober panicked"));
        let [fresh, kept] = self.threads.map(|thread| thread.join().unwrap_or_else(panicked));
        let (fresh, kept) = (fresh?, kept?);
        Ok(RawProbe { intended: fresh.intended, fresh: fresh.times, kept: kept.times })
    }
}
