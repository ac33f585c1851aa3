//! Three scripted backends in this process. They read requests strictly, remember them, and answer as told.

use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::run::message::{self, Message, Progress, answer};

/// Maximum time that a backend waits for the next bytes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The body of every good answer.
pub(crate) const BODY: &str = "ok";

/// The messages that have reached the backends.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Seen {
    /// Complete and valid requests, in order.
    pub(crate) requests: Vec<Message>,
    /// Number of connections on which something else than HTTP/1.1 arrived.
    pub(crate) invalid: usize,
}

#[derive(Debug, Default)]
struct State {
    seen: Seen,
    /// The raw answer to every request, after which the backend closes. None for a good answer.
    answer: Option<Arc<[u8]>>,
    ends: bool,
}

/// The backends. They end on drop.
#[derive(Debug)]
pub(crate) struct Origins {
    pub(crate) ports: Vec<u16>,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Origins {
    /// Listens on these ports; the kernel chooses where a port is 0.
    pub(crate) fn start(ports: &[u16]) -> io::Result<Self> {
        let mut origins = Origins { ports: Vec::new(), state: Arc::default() };
        for port in ports {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, *port))
                .map_err(|error| io::Error::new(error.kind(), format!("port {port}: {error}")))?;
            origins.ports.push(listener.local_addr()?.port());
            let state = Arc::clone(&origins.state);
            thread::spawn(move || {
                for stream in listener.incoming().flatten().take_while(|_| !lock(&state).ends) {
                    let state = Arc::clone(&state);
                    thread::spawn(move || drop(converse(stream, &state)));
                }
            });
        }
        Ok(origins)
    }

    /// Forgets everything, and sets the answer to the next requests.
    pub(crate) fn reset(&self, answer: Option<&[u8]>) {
        *lock(&self.state) = State { answer: answer.map(Arc::from), ..State::default() };
    }

    pub(crate) fn seen(&self) -> Seen {
        lock(&self.state).seen.clone()
    }
}

impl Drop for Origins {
    fn drop(&mut self) {
        lock(&self.state).ends = true;
        for port in &self.ports {
            // Wakes the thread that accepts.
            drop(TcpStream::connect((Ipv4Addr::LOCALHOST, *port)));
        }
    }
}

/// Answers the requests of a connection, and ends it so that the peer reads every byte before the end.
fn converse(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    message::serve(&stream, |progress| respond(progress, &mut lock(state)))?;
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

/// Remembers a request. Returns the bytes of the answer, and true when the connection stays open.
fn respond(progress: Progress, state: &mut State) -> (Vec<u8>, bool) {
    let Ok(request) = progress else {
        state.seen.invalid += 1;
        return (answer("400 Bad Request", 0, b"", false), false);
    };
    let (to_head, keep) = (request.line.starts_with("HEAD "), request.keep);
    state.seen.requests.push(request);
    match &state.answer {
        Some(answer) => (answer.to_vec(), false),
        None => (answer("200 OK", BODY.len(), if to_head { b"" } else { BODY.as_bytes() }, keep), keep),
    }
}
