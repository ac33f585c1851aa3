//! A connection with or without a transform.
use std::fs::File;
use std::io;
use std::ops::Range;
use std::task::Waker;

use super::coded::Coded;
use super::{Follows, Transport};
use crate::engine::readiness::Readiness;
use crate::exchange::{Interest, Side};
use crate::http::transform::Transform;

/// A transport with or without a transform. A connection without a transform pays one branch per call and no memory.
#[derive(Debug)]
pub enum Layered<T> {
    /// The exchange's bytes are the transport's bytes.
    Plain(T),
    /// A transform stands between the transport and the exchange.
    Coded(Box<Coded<T>>),
}

impl<T> Layered<T> {
    /// Puts a transform in front of a transport.
    pub fn new(inner: T, transform: Option<Box<dyn Transform>>) -> Self {
        match transform {
            None => Layered::Plain(inner),
            Some(transform) => Layered::Coded(Box::new(Coded::new(inner, transform))),
        }
    }

    /// Sends these bytes before the handshake of the transform. Does nothing without a transform.
    pub(super) fn behind(mut self, first: &[u8]) -> Self {
        if let Layered::Coded(coded) = &mut self {
            coded.out.bytes.extend_from_slice(first);
        }
        self
    }

    /// The transport without its transform.
    pub fn inner(&self) -> &T {
        match self {
            Layered::Plain(inner) => inner,
            Layered::Coded(coded) => &coded.inner,
        }
    }

    fn inner_mut(&mut self) -> &mut T {
        match self {
            Layered::Plain(inner) => inner,
            Layered::Coded(coded) => &mut coded.inner,
        }
    }

    /// Replaces the inner transport. The transform and its bytes stay.
    pub(super) fn try_map(self, map: impl FnOnce(T) -> io::Result<T>) -> io::Result<Self> {
        Ok(match self {
            Layered::Plain(inner) => Layered::Plain(map(inner)?),
            Layered::Coded(coded) => Layered::Coded(Box::new((*coded).try_map(map)?)),
        })
    }
}

impl<T: Transport> Transport for Layered<T> {
    fn read(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Layered::Plain(inner) => inner.read(ready, room),
            Layered::Coded(coded) => coded.read(ready, room),
        }
    }

    fn peek(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
        self.inner_mut().peek(ready, room)
    }

    fn read_encoded(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
        self.inner_mut().read(ready, room)
    }

    fn write(&mut self, ready: &mut Readiness, slices: [&[u8]; 2], follows: Follows) -> io::Result<usize> {
        match self {
            Layered::Plain(inner) => inner.write(ready, slices, follows),
            Layered::Coded(coded) => coded.write(ready, slices, follows),
        }
    }

    fn send_file(&mut self, ready: &mut Readiness, file: &File, range: Range<u64>) -> io::Result<usize> {
        match self {
            Layered::Plain(inner) => inner.send_file(ready, file, range),
            Layered::Coded(coded) => coded.send_file(ready, file, range),
        }
    }

    fn established(&mut self, ready: &mut Readiness) -> io::Result<bool> {
        match self {
            Layered::Plain(inner) => inner.established(ready),
            Layered::Coded(coded) => coded.established(ready),
        }
    }

    fn shutdown(&mut self, ready: &mut Readiness) {
        match self {
            Layered::Plain(inner) => inner.shutdown(ready),
            Layered::Coded(coded) => coded.shutdown(ready),
        }
    }

    fn set_abrupt(&mut self) {
        match self {
            Layered::Plain(inner) => inner.set_abrupt(),
            Layered::Coded(coded) => coded.inner.set_abrupt(),
        }
    }

    fn progress(&mut self, ready: &mut Readiness) {
        if let Layered::Coded(coded) = self {
            coded.progress(ready);
        }
    }

    fn is_handshaking(&self) -> bool {
        match self {
            Layered::Plain(_) => false,
            Layered::Coded(coded) => coded.transform.is_handshaking(),
        }
    }

    fn transform(&self) -> Option<&dyn Transform> {
        match self {
            Layered::Plain(_) => None,
            Layered::Coded(coded) => Some(&*coded.transform),
        }
    }

    fn has_work(&self) -> bool {
        matches!(self, Layered::Coded(coded) if coded.has_work)
    }

    fn work(&mut self, ready: &mut Readiness, waker: &Waker) -> bool {
        match self {
            Layered::Plain(_) => false,
            Layered::Coded(coded) => coded.work(ready, waker),
        }
    }

    fn waits_for(&self, side: Side, interest: Interest) -> Interest {
        match self {
            Layered::Plain(_) => interest,
            Layered::Coded(coded) => coded.waits_for(side, interest),
        }
    }

    fn finish(&mut self, ready: &mut Readiness) -> bool {
        match self {
            Layered::Plain(_) => true,
            Layered::Coded(coded) => {
                coded.discard_arrived(ready);
                coded.finish(ready)
            }
        }
    }
}
