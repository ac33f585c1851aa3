//! The floor under every balancer here: bytes are passed on and nothing is looked at.
//!
//! One edge-triggered loop per core, each with a listener of its own; every client has a backend connection for
//! itself, the backends in turn; a request and its response are two reads and two writes. It knows nothing of HTTP: no
//! backend connection is shared, no failed one is replaced, no deadline passes. An engine that does all that cannot be
//! faster; how close it comes is what its protocol work costs.
//!
//!     cargo run --release --example floor -- LISTEN BACKEND...

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::thread;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

const LISTENER: Token = Token(usize::MAX);
const BUFFER_BYTES: usize = 96 * 1024;
const BACKLOG: i32 = 4096;
const EVENTS_MAX: usize = 256;

/// A client, its backend (in this order, everywhere), and what could not be written yet to each.
struct Pair {
    streams: [TcpStream; 2],
    unsent: [Vec<u8>; 2],
}

/// One core's pairs; the token of a stream is twice the place of its pair, plus its side.
struct Core {
    registry: Registry,
    backends: Vec<SocketAddr>,
    next_backend: usize,
    pairs: Vec<Option<Pair>>,
    free: Vec<usize>,
    buffer: Box<[u8]>,
}

fn main() -> io::Result<()> {
    let addresses: Result<Vec<SocketAddr>, _> = std::env::args().skip(1).map(|word| word.parse()).collect();
    match addresses.as_deref() {
        Ok([listen, backends @ ..]) if !backends.is_empty() => run(*listen, backends),
        _ => {
            eprintln!("usage: floor LISTEN BACKEND..., each as address:port");
            std::process::exit(2);
        }
    }
}

fn run(listen: SocketAddr, backends: &[SocketAddr]) -> io::Result<()> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    let first = bind(listen)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..thread::available_parallelism()?.get() {
        listeners.push(bind(address)?);
    }
    println!("listening on http://{address}");
    let loops = listeners.into_iter().enumerate().map(|(n, listener)| {
        let backends = backends.to_vec();
        thread::spawn(move || serve(listener, backends, n))
    });
    let loops: Vec<_> = loops.collect();
    loops
        .into_iter()
        .try_for_each(|serving| serving.join().map_err(|_| io::Error::other("a loop panicked"))?)
}

/// TCP_NODELAY is handed down to accepted connections.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn serve(mut listener: TcpListener, backends: Vec<SocketAddr>, next_backend: usize) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let registry = poll.registry().try_clone()?;
    let buffer = vec![0; BUFFER_BYTES].into();
    let mut core = Core { registry, backends, next_backend, pairs: Vec::new(), free: Vec::new(), buffer };
    let mut events = Events::with_capacity(EVENTS_MAX);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => core.accept(&listener)?,
                Token(token) => core.handle(token / 2, token % 2, event),
            }
        }
    }
}

impl Core {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            match listener.accept() {
                // A client whose backend cannot be had is dropped.
                Ok((client, _)) => drop(self.admit(client)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn admit(&mut self, client: TcpStream) -> io::Result<()> {
        let backend = TcpStream::connect(self.backends[self.next_backend % self.backends.len()])?;
        self.next_backend += 1;
        backend.set_nodelay(true)?;
        let mut streams = [client, backend];
        let place = self.free.last().copied().unwrap_or(self.pairs.len());
        for (side, stream) in streams.iter_mut().enumerate() {
            self.registry.register(
                stream,
                Token(2 * place + side),
                Interest::READABLE | Interest::WRITABLE,
            )?;
        }
        if self.free.pop().is_none() {
            self.pairs.push(None);
        }
        self.pairs[place] = Some(Pair { streams, unsent: Default::default() });
        Ok(())
    }

    /// Passes on what one stream has, and what waited for it; the end of either ends both.
    fn handle(&mut self, place: usize, side: usize, event: &Event) {
        let Some(pair) = &mut self.pairs[place] else { return };
        let ended = event.is_read_closed() || event.is_error();
        let mut result = Ok(());
        if event.is_writable() && !pair.unsent[side].is_empty() {
            result = pair.pass_on(1 - side, &mut self.buffer, true);
        }
        if event.is_readable() || ended {
            result = result.and_then(|()| pair.pass_on(side, &mut self.buffer, ended));
        }
        if result.is_err() {
            self.pairs[place] = None;
            self.free.push(place);
        }
    }
}

impl Pair {
    /// From one side to the other until nothing more comes or nothing more goes; an error when it is over. A short
    /// read has taken all there was, unless what was there was the end.
    fn pass_on(&mut self, from: usize, buffer: &mut [u8], ended: bool) -> io::Result<()> {
        let to = 1 - from;
        loop {
            if !self.unsent[to].is_empty() {
                let n = transferred(self.streams[to].write(&self.unsent[to]))?;
                self.unsent[to].drain(..n);
                if !self.unsent[to].is_empty() {
                    return Ok(());
                }
            }
            let read = match self.streams[from].read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                result => transferred(result)?,
            };
            if read == 0 {
                return Ok(());
            }
            let written = transferred(self.streams[to].write(&buffer[..read]))?;
            self.unsent[to].extend_from_slice(&buffer[written..read]);
            if written < read || (read < buffer.len() && !ended) {
                return Ok(());
            }
        }
    }
}

/// Nothing is what a socket that would block transfers.
fn transferred(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
