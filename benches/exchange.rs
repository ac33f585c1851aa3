//! Benchmarks of whole exchanges in memory: a request arrives and is forwarded, and its response is sent to the client.
//! The benchmark does the work of an engine without sockets. It copies the bytes that the system would copy.

use std::net::SocketAddr;
use std::path::Path;
use std::task::Waker;
use std::time::Instant;

use divan::Bencher;
use divan::counter::BytesCount;
use neraca::app::{App, Client, ListenerId, ListenerSettings, Moment};
use neraca::cluster::{Cluster, Policy};
use neraca::exchange::{Context, Exchange, Interest, Link, Side, Step};
use neraca::files::{Files, FilesLimits};
use neraca::http::buffer::{BUFFER_BYTES, BufferPool};
use neraca::router::Router;

use common::{BROWSER_REQUEST, BROWSER_RESPONSE, Message, SMALL_REQUEST, SMALL_RESPONSE};

mod common;

fn main() {
    common::run();
}

/// A connection that nothing wakes.
struct Alone;

impl Link for Alone {
    fn waker(&self) -> Waker {
        Waker::noop().clone()
    }
}

/// A worker without sockets.
struct Worker<A: App> {
    app: A,
    view: A::View,
    settings: ListenerSettings,
    listener: ListenerId,
    buffers: BufferPool,
    now: Moment,
    client: SocketAddr,
    exchange: Exchange,
}

impl<A: App> Worker<A> {
    fn new(app: A, now: Instant) -> Self {
        let (settings, client) = (ListenerSettings::default(), SocketAddr::from(([192, 0, 2, 7], 40_000)));
        let exchange = Exchange::new(&settings.limits, now);
        let (view, listener) = (app.view(), ListenerId::unused());
        let now = Moment { instant: now, date: *b"Sun, 06 Nov 1994 08:49:37 GMT", clients: 1 };
        let buffers = BufferPool::new(4, BUFFER_BYTES);
        Worker { app, view, settings, listener, buffers, now, client, exchange }
    }

    /// Runs one exchange from idle to idle. Returns the number of bytes sent to the backend and to the client.
    fn carry(&mut self, mut request: &[u8], mut response: &[u8]) -> [usize; 2] {
        let mut sent = [0, 0];
        self.exchange.renew(&self.settings.limits, self.now.instant);
        loop {
            let Worker { app, view, settings, listener, buffers, now, client, exchange } = self;
            let mut context = Context {
                app: &*app,
                view,
                client: &Client::new(*client, *listener, settings),
                buffers,
                now: *now,
                draining: false,
                link: &Alone,
            };
            match exchange.step(&mut context) {
                Step::Transfer(interest) => {
                    sent[0] += self.write(Side::Backend, interest);
                    sent[1] += self.write(Side::Client, interest);
                    self.read(Side::Client, interest, &mut request);
                    if sent[0] > 0 {
                        self.read(Side::Backend, interest, &mut response);
                    }
                }
                Step::Attach => self.exchange.attached(Ok(())),
                Step::Detach(_) => {}
                Step::Idle => break,
                step => panic!("{step:?} in an ordinary exchange"),
            }
        }
        self.exchange.retire(&mut self.buffers);
        sent
    }

    fn write(&mut self, side: Side, interest: Interest) -> usize {
        if !interest.contains(Interest::write(side)) {
            return 0;
        }
        let n = self.exchange.pending(side).iter().map(|slice| divan::black_box(slice).len()).sum();
        self.exchange.sent(side, Ok(n));
        n
    }

    fn read(&mut self, side: Side, interest: Interest, from: &mut &[u8]) {
        if from.is_empty() || !interest.contains(Interest::read(side)) {
            return;
        }
        let room = self.exchange.room(side, &mut self.buffers);
        let n = room.len().min(from.len());
        room[..n].copy_from_slice(&from[..n]);
        *from = &from[n..];
        self.exchange.received(side, Ok(n));
    }
}

fn balance(now: Instant) -> Router {
    let addresses: Vec<_> = (0..3).map(|i| SocketAddr::from(([127, 0, 0, 1], 9000 + i))).collect();
    Router::new(Cluster::new(&addresses, Policy::default(), 1, now))
}

fn measure(bencher: Bencher, app: impl App, now: Instant, request: &[u8], response: &[u8]) {
    let mut worker = Worker::new(app, now);
    assert!(worker.carry(request, response)[1] >= 128, "the client gets its answer");
    let bytes = request.len() + response.len();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| worker.carry(request, response));
}

/// A request on a kept client connection and a kept backend connection, with a response body of 128 bytes.
#[divan::bench(args = [SMALL_REQUEST, BROWSER_REQUEST], sample_size = 10)]
fn balance_get_128_bytes(bencher: Bencher, request: Message) {
    let now = Instant::now();
    let head = if request.name == SMALL_REQUEST.name { SMALL_RESPONSE } else { BROWSER_RESPONSE };
    let response = [head.bytes.as_bytes(), &[b'x'; 128]].concat();
    measure(bencher, balance(now), now, request.bytes.as_bytes(), &response);
}

/// A response of 64 KiB in chunks of `size` bytes.
#[divan::bench(args = [64, 4096, 65536], sample_size = 10)]
fn balance_chunked_64_kib(bencher: Bencher, chunk: usize) {
    let now = Instant::now();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    let response = [head.as_bytes(), &common::chunked(64 * 1024, chunk)].concat();
    measure(bencher, balance(now), now, SMALL_REQUEST.bytes.as_bytes(), &response);
}

/// A request for a file of 128 bytes, served from memory.
#[divan::bench(args = [SMALL_REQUEST], sample_size = 10)]
fn files_get_128_bytes(bencher: Bencher, request: Message) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/site");
    let files = Files::open(&root, FilesLimits::default()).unwrap();
    measure(bencher, files, Instant::now(), request.bytes.as_bytes(), b"");
}
