//! The pool of threads that compute handshakes, while the event loops serve other connections.
//!
//! A [`Pooled`] transform stands around the transform of a client's connection. During the handshake it only keeps the bytes
//! that arrive. When the connection begins to wait, the inner transform and these bytes go to the pool as a job. The thread
//! that has done the job wakes the connection, which takes the inner transform back with the result. After the handshake
//! the inner transform works where the connection runs.

use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Poll, Waker};
use std::thread::{self, JoinHandle};

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use parking_lot::Mutex;

use super::transport::Transform;
use crate::http::transform::Encryption;

/// A message to the threads of the pool.
#[derive(Debug)]
enum Message {
    Job(Job),
    /// The engine has ended: the thread that takes the message ends, too.
    Stop,
}

/// The threads that compute handshakes. First come, first served.
#[derive(Debug)]
pub(super) struct HandshakePool {
    sender: Sender<Message>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl HandshakePool {
    /// Starts the pool with this number of threads.
    ///
    /// # Errors
    /// When the system cannot create a thread.
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        let (sender, receiver) = unbounded();
        let start = |index| {
            let receiver = receiver.clone();
            thread::Builder::new().name(format!("handshake-{index}")).spawn(move || serve(&receiver))
        };
        let threads = (0..threads).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(HandshakePool { sender, threads: Mutex::new(threads) })
    }

    /// Puts the handshake of a transform into the pool.
    pub(super) fn wrap(&self, inner: Box<dyn Transform>) -> Box<dyn Transform> {
        Box::new(Pooled { state: State::Here(inner), pool: self.sender.clone() })
    }

    /// Ends the threads, after the jobs that wait, and waits for their end.
    pub(super) fn stop(&self) {
        let threads = mem::take(&mut *self.threads.lock());
        // Sending fails only when every thread has ended.
        threads.iter().for_each(|_| drop(self.sender.send(Message::Stop)));
        for thread in threads {
            if thread.join().is_err() {
                log::error!("a thread of the handshakes panicked");
            }
        }
    }
}

/// The loop of a thread. A panic ends only the connection of the job: its end of the channel sees that the job is lost.
fn serve(messages: &Receiver<Message>) {
    while let Ok(Message::Job(job)) = messages.recv() {
        let waker = job.waker.clone();
        let _ = catch_unwind(AssertUnwindSafe(|| job.run()));
        waker.wake();
    }
}

/// Bytes that a transform must decode.
#[derive(Debug)]
struct Job {
    transform: Box<dyn Transform>,
    received: Vec<u8>,
    /// Takes the result. Nobody listens any more when the connection has been closed.
    done: Sender<Done>,
    /// Runs the connection.
    waker: Waker,
}

impl Job {
    fn run(mut self) {
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        let result = self.transform.decode(&self.received, &mut plain, &mut out);
        let _ = self.done.send(Done { transform: self.transform, plain, out, result });
    }
}

/// The result of a job.
#[derive(Debug)]
struct Done {
    transform: Box<dyn Transform>,
    plain: Vec<u8>,
    out: Vec<u8>,
    result: io::Result<()>,
}

/// A transform whose handshake is computed by a pool.
#[derive(Debug)]
struct Pooled {
    state: State,
    pool: Sender<Message>,
}

#[derive(Debug)]
enum State {
    Here(Box<dyn Transform>),
    /// Bytes of the handshake have arrived. The job needs a waker.
    Received(Box<dyn Transform>, Vec<u8>),
    /// The pool has the transform.
    Away(Receiver<Done>),
    /// The transform panicked in the pool.
    Lost,
}

impl Transform for Pooled {
    fn decode(&mut self, received: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
        match mem::replace(&mut self.state, State::Lost) {
            State::Here(inner) if inner.is_handshaking() => {
                self.state = State::Received(inner, received.to_vec());
                Err(io::ErrorKind::WouldBlock.into())
            }
            State::Here(mut inner) => {
                let result = inner.decode(received, plain, out);
                self.state = State::Here(inner);
                result
            }
            state => {
                self.state = state;
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn work(&mut self, waker: &Waker, plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Poll<io::Result<()>> {
        let lost = || Poll::Ready(Err(io::Error::other("a handshake panicked")));
        match mem::replace(&mut self.state, State::Lost) {
            State::Here(inner) => {
                self.state = State::Here(inner);
                Poll::Ready(Ok(()))
            }
            State::Received(transform, received) => {
                let (done, is_done) = bounded(1);
                // The threads of the pool end after the last connection.
                let _ = self.pool.send(Message::Job(Job { transform, received, done, waker: waker.clone() }));
                self.state = State::Away(is_done);
                Poll::Pending
            }
            State::Away(is_done) => match is_done.try_recv() {
                Ok(mut done) => {
                    self.state = State::Here(done.transform);
                    plain.append(&mut done.plain);
                    out.append(&mut done.out);
                    Poll::Ready(done.result)
                }
                Err(TryRecvError::Empty) => {
                    self.state = State::Away(is_done);
                    Poll::Pending
                }
                Err(TryRecvError::Disconnected) => lost(),
            },
            State::Lost => lost(),
        }
    }

    fn encode(&mut self, plain: [&[u8]; 2], out: &mut Vec<u8>) -> io::Result<usize> {
        match &mut self.state {
            State::Here(inner) => inner.encode(plain, out),
            State::Received(..) | State::Away(_) => Ok(0),
            State::Lost => Err(io::ErrorKind::Other.into()),
        }
    }

    /// A connection that closes while its handshake is computed ends without an end marker.
    fn end(&mut self, out: &mut Vec<u8>) {
        if let State::Here(inner) = &mut self.state {
            inner.end(out);
        }
    }

    fn is_handshaking(&self) -> bool {
        match &self.state {
            State::Here(inner) => inner.is_handshaking(),
            State::Received(..) | State::Away(_) | State::Lost => true,
        }
    }

    fn peer_has_ended(&self) -> bool {
        match &self.state {
            State::Here(inner) => inner.peer_has_ended(),
            State::Received(..) | State::Away(_) | State::Lost => false,
        }
    }

    fn encryption(&self) -> Option<Encryption<'_>> {
        match &self.state {
            State::Here(inner) => inner.encryption(),
            State::Received(..) | State::Away(_) | State::Lost => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Greets with the first byte, which ends the handshake; a later byte is plain. `x` is invalid, and `p` panics.
    #[derive(Debug, Default)]
    struct Greeter {
        greeted: bool,
    }

    impl Transform for Greeter {
        fn decode(&mut self, received: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
            for byte in received {
                match byte {
                    b'x' => {
                        out.extend(b"alert");
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                    b'p' => panic!("on purpose"),
                    byte if mem::replace(&mut self.greeted, true) => plain.push(*byte),
                    _ => out.extend(b"hello"),
                }
            }
            Ok(())
        }

        fn encode(&mut self, plain: [&[u8]; 2], out: &mut Vec<u8>) -> io::Result<usize> {
            out.extend(plain.concat());
            Ok(plain.concat().len())
        }

        fn end(&mut self, out: &mut Vec<u8>) {
            out.extend(b"end");
        }

        fn is_handshaking(&self) -> bool {
            !self.greeted
        }

        fn peer_has_ended(&self) -> bool {
            false
        }
    }

    /// A waker that tells on a channel.
    struct Bell(Sender<()>);

    impl std::task::Wake for Bell {
        fn wake(self: std::sync::Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    /// A transform whose handshake the pool computes, its waker, and the bell that the waker rings.
    fn pooled(pool: &HandshakePool) -> (Box<dyn Transform>, Waker, Receiver<()>) {
        let (sender, bell) = unbounded();
        let waker = Waker::from(std::sync::Arc::new(Bell(sender)));
        (pool.wrap(Box::<Greeter>::default()), waker, bell)
    }

    #[test]
    fn the_pool_computes_a_handshake_and_wakes_the_connection() {
        // the bytes that arrive, the result, the plain bytes, and the bytes for the peer
        type Case = (&'static [u8], Result<(), io::ErrorKind>, &'static [u8], &'static [u8]);
        let cases: [Case; 4] = [
            (b"c", Ok(()), b"", b"hello"),
            (b"cab", Ok(()), b"ab", b"hello"),
            (b"x", Err(io::ErrorKind::InvalidData), b"", b"alert"),
            (b"p", Err(io::ErrorKind::Other), b"", b""),
        ];
        let pool = HandshakePool::start(2).unwrap();
        for (received, expected, plain_bytes, out_bytes) in cases {
            let (mut transform, waker, bell) = pooled(&pool);
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            let kept = transform.decode(received, &mut plain, &mut out).map_err(|error| error.kind());
            assert_eq!(kept, Err(io::ErrorKind::WouldBlock), "{received:?}");
            assert!(transform.work(&waker, &mut plain, &mut out).is_pending());
            assert!(transform.is_handshaking() && plain.is_empty() && out.is_empty());
            // Only a waker tells that the work is done.
            bell.recv().unwrap();
            let Poll::Ready(result) = transform.work(&waker, &mut plain, &mut out) else {
                panic!("no result")
            };
            assert_eq!(result.map_err(|error| error.kind()), expected, "{received:?}");
            assert_eq!((&*plain, &*out), (plain_bytes, out_bytes), "{received:?}");
            assert_eq!(transform.is_handshaking(), expected.is_err());
        }
        pool.stop();
    }

    #[test]
    fn behind_the_handshake_nothing_waits() {
        let pool = HandshakePool::start(1).unwrap();
        let (mut transform, waker, bell) = pooled(&pool);
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        assert!(transform.decode(b"c", &mut plain, &mut out).is_err());
        assert_eq!(
            transform.encode([b"early", b""], &mut out).unwrap(),
            0,
            "nothing is encoded during the work"
        );
        transform.end(&mut out);
        assert_eq!(out, b"", "and there is no end marker");
        assert!(transform.work(&waker, &mut plain, &mut out).is_pending());
        bell.recv().unwrap();
        assert!(transform.work(&waker, &mut plain, &mut out).is_ready());
        transform.decode(b"ab", &mut plain, &mut out).unwrap();
        assert_eq!(transform.encode([b"c", b"d"], &mut out).unwrap(), 2);
        transform.end(&mut out);
        assert_eq!((&*plain, &*out), (&b"ab"[..], &b"hellocdend"[..]));
        pool.stop();
        assert!(bell.is_empty(), "one wake-up");
    }

    #[test]
    fn a_connection_that_closes_leaves_its_work_to_the_pool() {
        let pool = HandshakePool::start(1).unwrap();
        let (mut transform, waker, bell) = pooled(&pool);
        let (mut plain, mut out) = (Vec::new(), Vec::new());
        assert!(transform.decode(b"c", &mut plain, &mut out).is_err());
        assert!(transform.work(&waker, &mut plain, &mut out).is_pending());
        drop(transform);
        pool.stop();
        assert_eq!(bell.try_recv(), Ok(()), "the work is done before the threads end");
        let (mut late, waker, _bell) = pooled(&pool);
        assert!(late.decode(b"c", &mut plain, &mut out).is_err());
        assert!(late.work(&waker, &mut plain, &mut out).is_pending());
        let lost = late.work(&waker, &mut plain, &mut out);
        assert!(matches!(lost, Poll::Ready(Err(_))), "nobody works any more: {lost:?}");
    }
}
