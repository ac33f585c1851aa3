//! A byte pump: copies bytes between clients and backends and parses nothing. No balancer can do less work.
//!
//! Each core runs one edge-triggered loop over its own listener. Each client gets its own backend connection, and the
//! backends take turns. A request and its response cost two reads and two writes. The byte pump shares no backend
//! connection, replaces no failed connection and has no deadline. The difference between the CPU times of an engine and
//! of the byte pump is the cost of the engine's protocol work.
//!
//!     cargo run --release --example byte_pump -- LISTEN BACKEND...

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

/// A client and its backend, in this order. Each has the bytes that it could not take yet.
struct Pair {
    streams: [TcpStream; 2],
    unsent: [Vec<u8>; 2],
}

/// The pairs of one core. The token of a stream is twice the index of its pair, plus 0 for the client and 1 for the
/// backend.
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
            eprintln!("usage: byte_pump LISTEN BACKEND..., each as address:port");
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

/// Binds a non-blocking listener. Accepted connections inherit TCP_NODELAY from it.
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
                // If connecting to the backend fails at once, the client is dropped.
                Ok((client, _)) => drop(self.open(client)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn open(&mut self, client: TcpStream) -> io::Result<()> {
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

    /// Copies the bytes of one stream to the other stream, and the waiting bytes to this stream. The end of one stream
    /// ends both.
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
    /// Copies from one side to the other until a read or a write would block. Returns an error at the end of the
    /// stream. After a short read the socket is empty, except at the end of the stream.
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

/// The number of bytes that a call moved; 0 when the call would block.
fn transferred(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
