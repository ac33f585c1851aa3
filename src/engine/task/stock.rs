//! smol's reactor, used as an ordinary application of smol uses it. All cores share one reactor, and an
//! `Async<TcpStream>` is registered again for every wait. The module exists to measure the cost of this design.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use smol::channel::Receiver;
use smol::future::FutureExt;
use smol::{Async, LocalExecutor, Timer};

use super::{Acceptor, Core, CoreHandle, Ends, Handoff, Listeners, Reactor, Shared};
use crate::app::App;
use crate::engine::SWEEP;
use crate::engine::driver::Connection;
use crate::engine::readiness::Readiness;
use crate::engine::transport::{Socket, Tcp};
use crate::exchange::{Interest, Side};

pub(super) struct Stock;

pub(super) fn start<A: App>(shared: &Arc<Shared<A>>, listeners: Listeners) -> io::Result<Ends> {
    let (mut handles, mut inboxes) = (Vec::new(), Vec::new());
    for _ in 0..shared.counters.len() {
        let (sender, receiver) = smol::channel::unbounded();
        // A core waits on its channel, so a message wakes the core.
        handles.push(CoreHandle {
            sender,
            woken: Default::default(),
            open: Default::default(),
            busy: Default::default(),
            wake: Box::new(|| {}),
        });
        inboxes.push(receiver);
    }
    let cores: Arc<[CoreHandle]> = handles.into();
    let mut listeners = Some(listeners.0);
    let mut bodies: Vec<Box<dyn FnOnce() + Send>> = Vec::new();
    for (index, inbox) in inboxes.into_iter().enumerate() {
        let listeners = listeners.take();
        let (shared, cores) = (Arc::clone(shared), Arc::clone(&cores));
        bodies.push(Box::new(move || {
            let executor = LocalExecutor::new();
            let core = Core::new(index, shared, Stock, cores);
            smol::block_on(executor.run(serve(&core, &executor, listeners.unwrap_or_default(), &inbox)));
        }));
    }
    super::launch(shared, &cores, bodies)
}

/// The main task of one core: new connections, and the sweep.
async fn serve<A: App>(
    core: &Rc<Core<A, Stock>>,
    executor: &LocalExecutor<'static>,
    listeners: Vec<TcpListener>,
    inbox: &Receiver<Handoff>,
) {
    let mut drained_from = None;
    let mut watched: Vec<_> = listeners.iter().filter_map(|l| Async::new(l.try_clone().ok()?).ok()).collect();
    let mut acceptor = Acceptor { accepting: true, listeners, paused: false };
    let mut sweep = Timer::interval(SWEEP);
    loop {
        if core.is_drained(&mut acceptor.listeners) {
            return;
        }
        if core.shared.is_draining() {
            watched.clear();
            core.shared.limit_drain(&mut drained_from, Instant::now());
        }
        if acceptor.accepting && !acceptor.listeners.is_empty() {
            core.accept(executor, &mut acceptor);
            smol::future::yield_now().await;
            continue;
        }
        let of_time = async {
            smol::stream::StreamExt::next(&mut sweep).await;
            None
        };
        let of_others = async { inbox.recv().await.ok() };
        let of_listeners = async {
            match acceptor.paused || acceptor.listeners.is_empty() {
                true => std::future::pending().await,
                false => readable(&watched).await,
            }
        };
        let connection = of_listeners.or(of_others).or(of_time).await;
        core.worker.borrow_mut().wake_up(&*core.shared.app);
        acceptor.accepting = true;
        acceptor.paused = false;
        if let Some(connection) = connection {
            core.admit(executor, connection);
        }
        core.expire_parked();
    }
}

/// Returns when any of the listeners has a client.
async fn readable(listeners: &[Async<TcpListener>]) -> Option<Handoff> {
    let mut waits: Vec<_> = listeners.iter().map(Async::readable).collect();
    std::future::poll_fn(|cx| {
        match waits.iter_mut().any(|wait| std::pin::Pin::new(wait).poll(cx).is_ready()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    None
}

/// Waits for the transfers of `interest` on one side; forever when there are none.
async fn ready(socket: Option<&Socket>, side: Side, interest: Interest) -> Readiness {
    let Some(stream) = socket.and_then(|socket| socket.transport.as_smol()) else {
        return std::future::pending().await;
    };
    let (reads, writes) = (interest.contains(Interest::read(side)), interest.contains(Interest::write(side)));
    let read = async {
        match reads {
            // An error of the reactor shows at the next read.
            true => drop(stream.readable().await),
            false => std::future::pending().await,
        }
        Readiness::READABLE
    };
    let write = async {
        match writes {
            true => drop(stream.writable().await),
            false => std::future::pending().await,
        }
        Readiness::WRITABLE
    };
    read.or(write).await
}

impl Reactor for Stock {
    const WAKES_SINGLY: bool = true;
    const HANDS_OVER: bool = false;

    fn wrap(&self, socket: Socket) -> io::Result<Socket> {
        Ok(Socket { transport: socket.transport.into_smol()?, ..socket })
    }

    async fn wait(&self, connection: &mut Connection<Tcp>, interest: Interest, deadline: Instant) {
        let (client, backend) = connection.ends();
        let none = Readiness::NONE;
        let of_client = async { (ready(Some(client), Side::Client, interest).await, none) };
        let of_backend = async { (none, ready(backend.as_deref(), Side::Backend, interest).await) };
        let of_time = async {
            // The wait is at most one sweep, so that a stop and a waker are noticed.
            Timer::at(deadline.min(Instant::now() + SWEEP)).await;
            (none, none)
        };
        let (of_client, of_backend) = of_backend.or(of_client).or(of_time).await;
        client.ready.insert(of_client);
        if let Ok(Some(_)) = client.transport.stream().take_error() {
            client.ready.insert(Readiness::BROKEN);
        }
        if let Some(socket) = backend {
            socket.ready.insert(of_backend);
        }
    }

    fn adopt(&self, _: &Socket, _: usize) {}

    fn park(&self, _: &mut Socket) -> bool {
        true
    }

    fn unpark(&self, socket: &mut Socket, _: usize) -> bool {
        socket.is_quiet()
    }

    fn forget(&self, _: &Socket) {}

    fn release(&self, _: Socket) -> Option<Socket> {
        None
    }
}
