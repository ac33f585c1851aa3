//! A handshake that computes for a long time holds up no other connection: in the thread engine, whose free workers go on,
//! and in each engine with a pool for the handshakes.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use crate::harness::scripted::{Reply, automatic};
use crate::harness::wire::Wire;
use crate::harness::{CROSSBEAM, EDGE, PATIENCE, RAYON, TEXTBOOK, balancer_over};
use neraca::engine::{Options, Transform, TransformFactory};
use parking_lot::{Condvar, Mutex};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// The handshake of this client computes until the gate is open.
const SLOW: &[u8] = b"s";
const QUICK: &[u8] = b"q";

/// The number of handshakes that compute, and whether the gate is open.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    /// Waits until the state is as wanted. False after [`PATIENCE`].
    fn wait(&self, wanted: impl Fn(&(usize, bool)) -> bool) -> bool {
        let mut state = self.state.lock();
        !self.changed.wait_while_for(&mut state, |state| !wanted(state), PATIENCE).timed_out()
    }

    fn change(&self, change: impl FnOnce(&mut (usize, bool))) {
        change(&mut self.state.lock());
        self.changed.notify_all();
    }
}

/// The first byte is the handshake; all others are plain.
#[derive(Debug)]
struct Computing {
    gate: Arc<Gate>,
    is_done: bool,
}

impl Transform for Computing {
    fn decode(&mut self, received: &[u8], plain: &mut Vec<u8>, _: &mut Vec<u8>) -> io::Result<()> {
        let (handshake, rest) = received.split_at(usize::from(!self.is_done));
        if handshake == SLOW {
            self.gate.change(|(computing, _)| *computing += 1);
            assert!(self.gate.wait(|(_, is_open)| *is_open), "nobody opens the gate");
        }
        self.is_done = true;
        plain.extend_from_slice(rest);
        Ok(())
    }

    fn encode(&mut self, plain: [&[u8]; 2], out: &mut Vec<u8>) -> io::Result<usize> {
        let plain = if self.is_done { plain.concat() } else { Vec::new() };
        out.extend_from_slice(&plain);
        Ok(plain.len())
    }

    fn end(&mut self, _: &mut Vec<u8>) {}

    fn is_handshaking(&self) -> bool {
        !self.is_done
    }

    fn peer_has_ended(&self) -> bool {
        false
    }
}

fn ok(_: &str) -> Option<Reply> {
    Some((Duration::ZERO, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
}

#[test]
fn requests_do_not_wait_behind_a_handshake() {
    let backend = automatic(CROSSBEAM, ok);
    for variant in [CROSSBEAM, RAYON, TEXTBOOK, CROSSBEAM.with_pool(), EDGE.with_pool()] {
        let gate = Arc::<Gate>::default();
        let of_clients = Arc::clone(&gate);
        let factory = TransformFactory::new(move || {
            Box::new(Computing { gate: Arc::clone(&of_clients), is_done: false })
        });
        let options = Options { client_transform: Some(factory), ..variant.options() };
        let server = balancer_over(options, &[backend.into()]);
        let connect = |handshake: &[u8]| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(handshake).unwrap();
            Wire::new(stream)
        };
        // A connection that was there before, one that comes while a handshake computes, and the slow one.
        let mut before = connect(QUICK);
        before.send(GET);
        assert_eq!(before.message().text(), "ok", "{variant:?}");
        let mut slow = connect(SLOW);
        assert!(gate.wait(|(computing, _)| *computing == 1), "{variant:?}: no handshake computes");
        let mut beside = connect(QUICK);
        for client in [&mut before, &mut beside] {
            client.send(GET);
            assert_eq!(client.message().text(), "ok", "{variant:?}");
        }
        gate.change(|(_, is_open)| *is_open = true);
        slow.send(GET);
        assert_eq!(slow.message().text(), "ok", "{variant:?}");
    }
}
