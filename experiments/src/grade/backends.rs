//! Three backends, of which one can get a fault.

use std::{fs, iter};

use crate::plans::given::BACKENDS;
use crate::run::faulty::Fault;
use crate::run::lab::{Lab, START, Server, Trouble, failed, free_port};

/// The processes of the backends, each on its own port.
pub(super) struct Backends<'l, 'g> {
    lab: &'l Lab<'g>,
    pub(super) ports: [u16; BACKENDS],
    servers: [Option<Server<'g>>; BACKENDS],
}

impl<'l, 'g> Backends<'l, 'g> {
    /// Starts all backends without a fault. A port of 0 means a free port.
    pub(super) fn start(lab: &'l Lab<'g>, mut ports: [u16; BACKENDS]) -> Result<Self, Trouble> {
        for port in ports.iter_mut().filter(|port| **port == 0) {
            *port = free_port().map_err(failed("no free port"))?;
        }
        let mut backends = Backends { lab, ports, servers: [const { None }; BACKENDS] };
        (0..BACKENDS).try_for_each(|backend| backends.bring(backend, Fault::None))?;
        Ok(backends)
    }

    /// True when a backend has answered a request since its process was started. The backend writes its counts every
    /// second.
    pub(super) fn has_served(&self, backend: usize) -> bool {
        let stats = self.servers[backend].as_ref().map(|server| fs::read_to_string(&server.stats));
        let text = stats.and_then(Result::ok).unwrap_or_default();
        text.lines().any(|line| !line.contains("\"served\":0,"))
    }

    /// Brings a backend into a state: kills its process, and starts a process with this fault. Waits until the backend
    /// listens. [`Fault::Down`] starts no process.
    pub(super) fn bring(&mut self, backend: usize, fault: Fault) -> Result<(), Trouble> {
        drop(self.servers[backend].take());
        if fault == Fault::Down {
            return Ok(());
        }
        let (role, port) = (format!("backend-{backend}"), self.ports[backend]);
        let this = std::env::current_exe().map_err(failed("this program"))?.display().to_string();
        let options = format!(
            "faulty --fault {} --listen 127.0.0.1:{port} --body {{root}}/128.html --stats {{dir}}/{role}.stats",
            fault.name()
        );
        let words: Vec<String> = iter::once(this).chain(options.split(' ').map(Into::into)).collect();
        self.servers[backend] = Some(self.lab.start(&role, &words, &self.lab.values(), (&[port], START))?);
        Ok(())
    }
}
