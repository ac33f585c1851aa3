//! The prober measures latency beside the load. It sends each request at its intended time, even when earlier responses
//! are late (open loop), and compares every body byte by byte. At each intended time it sends two requests: one on a new
//! connection, and one on a kept connection, as the load does. It opens as many kept connections as are in use at once.

use std::io;
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use crate::plans::model::Cell;
use crate::run::load::{self, Spec, Tally, Times};
use crate::run::reply::Errors;

/// Maximum number of requests on new connections, and on kept connections, in flight.
const UNDER_WAY: u32 = 2000;
const KEPT: u32 = 256;

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

/// The clients of a prober: on new connections, and on kept connections.
#[derive(Debug)]
pub(crate) struct Prober([JoinHandle<io::Result<Tally>>; 2]);

impl Prober {
    /// Starts two clients. The prober chooses the connections of the load.
    pub(crate) fn start(load: &Spec) -> Self {
        let clients = [(false, UNDER_WAY), (true, KEPT)];
        Prober(clients.map(|(keep_alive, connections)| {
            let cell = Cell { keep_alive, connections, ..load.cell.clone() };
            load::start(Spec { cell, ..load.clone() })
        }))
    }

    pub(crate) fn finish(self) -> io::Result<RawProbe> {
        let [fresh, kept] = self.0.map(load::finish);
        let (fresh, kept) = (fresh?, kept?);
        Ok(RawProbe { intended: fresh.intended, fresh: fresh.times, kept: kept.times })
    }
}
