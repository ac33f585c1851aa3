//! The program under test: `neraca balance` in a process of its own.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::Setup;

/// A running balancer. It is killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Balancer {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Balancer {
    /// Starts the program with these backends and further words of the command line. Returns when it listens.
    pub(crate) fn start(
        setup: &Setup,
        backends: impl IntoIterator<Item = String>,
        words: &str,
    ) -> io::Result<Balancer> {
        let mut command = Command::new(&setup.program);
        command.args(["balance", "--listen", "127.0.0.1:0", "--engine", &setup.engine]);
        if let Some(policy) = &setup.policy {
            command.args(["--policy", policy]);
        }
        for backend in backends {
            command.args(["--backend", &backend]);
        }
        // Ejections are expected, so warnings of the balancer tell nothing new.
        command.args(words.split_whitespace()).env("NERACA_LOG", "error");
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| {
            io::Error::new(error.kind(), format!("cannot start {}: {error}", setup.program.display()))
        })?;
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim_end().strip_prefix("listening on http://").and_then(|at| at.parse().ok());
        match address {
            Some(address) => Ok(Balancer { process, address }),
            None => {
                let _ = process.kill();
                let _ = process.wait();
                Err(io::Error::other(format!("expected 'listening on http://...', found {line:?}")))
            }
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
