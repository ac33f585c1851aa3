//! A file server that follows its certificates.
use std::path::{Path, PathBuf};

use neraca::config::Serve;
use neraca::engine::EngineHandle;

use super::reload::{Follower, ReadAgain};

/// A running file server with certificates.
pub(crate) struct RunningFileServer {
    read: ReadAgain<Serve>,
    /// What the process does now.
    current: Serve,
}

impl RunningFileServer {
    /// Begins with what the process does now. `read` reads the command line with the certificates.
    pub(crate) fn new(read: ReadAgain<Serve>, current: Serve) -> Self {
        RunningFileServer { read, current }
    }
}

impl Follower for RunningFileServer {
    fn what(&self) -> String {
        "the certificates are".to_owned()
    }

    fn files(&self) -> Vec<PathBuf> {
        let tls = self.current.tls.iter();
        tls.flat_map(|tls| tls.settings().paths()).map(Path::to_owned).collect()
    }

    fn reload(&mut self, running: &EngineHandle) -> Result<(), String> {
        let next = (self.read)()?;
        // Listeners whose TLS stays keep the keys of their session tickets.
        if next.tls != self.current.tls {
            let options = next.options();
            for (id, _) in running.listeners() {
                running.configure_listener(id, options.listener.clone(), options.client_transform.clone());
            }
            self.current.tls = next.tls;
        }
        Ok(())
    }
}
