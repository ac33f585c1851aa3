//! A connection without a network: the engine's end is a [`Transport`], the other end is in the hand of a peer.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use neraca::engine::driver::{Follows, Layered, Readiness, Transport};
use neraca::exchange::Side;

use super::chance::Pace;
use super::coding::Coder;
use super::trace::Trace;

/// Bytes of a blocked write that are remembered: the next write must begin with them.
const OFFERED_BYTES: usize = 64;

/// How a peer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Eof,
    Reset,
    /// The stream ends without the end marker of its transform. Without a transform this is the same as `Eof`.
    Torn,
}

impl End {
    pub const ALL: [End; 3] = [End::Eof, End::Reset, End::Torn];
}

/// How far a connection is that the engine makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connect {
    /// Established.
    Done,
    /// Established at the next delivery.
    Soon,
    /// Refused at the next delivery.
    Refused,
    /// The peer never answers.
    Never,
}

/// One connection with both directions, as a kernel keeps it.
#[derive(Debug)]
pub struct Socket {
    pub fd: usize,
    side: Side,
    trace: Trace,
    connect: Connect,
    failed: bool,
    /// Bytes that the peer sent and that have not arrived.
    in_transit: VecDeque<u8>,
    /// The peer's transform, if the connection has one.
    transform: Option<Coder>,
    /// Bytes of the peer that wait for the handshake.
    unsent: Vec<u8>,
    /// The end of the peer's stream, once `unsent` is empty.
    leaves_later: Option<(End, bool)>,
    /// The peer takes no part in the handshake.
    mute: bool,
    /// The end of the peer's stream, behind `in_transit`.
    leaves: Option<End>,
    /// The end arrives in one packet with the last bytes.
    joined: bool,
    /// Bytes that arrived and that the engine has not read.
    arrived: VecDeque<u8>,
    /// The end arrived, behind `arrived`.
    end: Option<End>,
    /// The engine has read the end.
    end_told: bool,
    /// All bytes that the engine wrote, decoded; the peer has them at once.
    pub written: Vec<u8>,
    /// How many bytes the peer takes before it is asked again.
    window: usize,
    /// The window was too small for a write: the engine is told when it opens.
    wants_room: bool,
    /// The first bytes of a write that was blocked.
    offered: Option<Vec<u8>>,
    /// The peer takes no more bytes.
    pub stalled: bool,
    /// The engine has ended its direction.
    pub shut: bool,
    /// The engine wrote bytes behind which the end was promised.
    end_is_due: bool,
    abrupt: bool,
    /// The engine has closed the connection; true for a reset.
    pub closed: Option<bool>,
    /// What the poller has to report.
    events: Readiness,
}

impl Socket {
    /// Sends bytes towards the engine.
    pub fn send(&mut self, bytes: impl IntoIterator<Item = u8>) {
        assert!(!self.has_left(), "a peer sends behind its end");
        self.unsent.extend(bytes);
        self.pump();
    }

    /// Sends what the transform permits.
    fn pump(&mut self) {
        if self.leaves.is_some() || self.mute {
            return;
        }
        let mut out = Vec::new();
        let taken = match &mut self.transform {
            None => {
                out.append(&mut self.unsent);
                0
            }
            Some(transform) => transform.encode(&self.unsent, &mut out),
        };
        self.unsent.drain(..taken);
        self.in_transit.extend(out);
        if let Some((end, joined)) = self.leaves_later.take() {
            self.leave(end, joined);
        }
    }

    /// The peer gets bytes that the engine wrote.
    fn receive(&mut self, bytes: &[u8]) {
        let Some(transform) = &mut self.transform else { return self.written.extend_from_slice(bytes) };
        if self.mute {
            return;
        }
        let mut out = Vec::new();
        transform.decode(bytes, &mut self.written, &mut out);
        if self.leaves.is_none() {
            self.in_transit.extend(out);
        }
        self.pump();
    }

    fn is_handshaking(&self) -> bool {
        self.transform.as_ref().is_some_and(Coder::is_handshaking)
    }

    /// The engine's end marker has come. None: the connection has no transform.
    pub fn is_marked(&self) -> Option<bool> {
        self.transform.as_ref().map(Coder::peer_has_ended)
    }

    /// The peer leaves in the middle of the handshake.
    pub fn break_handshake(&mut self, end: Option<End>) {
        self.note("breaks handshake", end.map_or(9, |end| end as usize));
        (self.mute, self.leaves) = (true, end);
    }

    /// Ends the peer's stream. `joined`: the end arrives in one packet with the last bytes.
    pub fn leave(&mut self, end: End, joined: bool) {
        if end == End::Eof && (self.is_handshaking() || !self.unsent.is_empty()) {
            self.leaves_later = Some((end, joined));
            return;
        }
        self.note(if joined { "leaves joined" } else { "leaves" }, end as usize);
        (self.leaves, self.joined) = (Some(end), joined);
        if let Some(transform) = &mut self.transform {
            let mut marker = Vec::new();
            match end {
                End::Eof => transform.end(&mut marker),
                End::Reset | End::Torn => transform.forget_end(),
            }
            self.in_transit.extend(marker);
        }
    }

    pub fn has_left(&self) -> bool {
        self.leaves.is_some() || self.leaves_later.is_some()
    }

    /// Some bytes, the end, or the result of the connect arrive. True when something changed.
    pub fn deliver(&mut self, pace: &mut Pace) -> bool {
        if self.closed.is_some() {
            return false;
        }
        match self.connect {
            Connect::Done => {}
            Connect::Soon => {
                self.connect = Connect::Done;
                self.report(Readiness::WRITABLE, "connected");
                return true;
            }
            Connect::Refused if !self.failed => {
                self.failed = true;
                self.report(broken(), "refused");
                return true;
            }
            Connect::Refused | Connect::Never => return false,
        }
        let mut changed = false;
        if !self.in_transit.is_empty() && self.end.is_none() {
            let n = pace.share(self.in_transit.len());
            self.arrived.extend(self.in_transit.drain(..n));
            if n > 0 {
                self.report(Readiness::READABLE, "arrived");
            }
            changed = true;
            if !(self.joined && self.in_transit.is_empty()) {
                return changed;
            }
        }
        if self.end.is_none() && self.in_transit.is_empty() && self.leaves.is_some() {
            self.end = self.leaves;
            match self.end {
                Some(End::Reset) => {
                    self.arrived.clear();
                    self.report(broken(), "reset");
                }
                _ => self.report(Readiness::READABLE | Readiness::ENDED, "ended"),
            }
            changed = true;
        }
        changed
    }

    /// The peer reads on. True when that makes a difference.
    pub fn drain(&mut self, pace: &mut Pace) -> bool {
        if self.stalled || self.window > 0 || self.closed.is_some() {
            return false;
        }
        self.window = match pace {
            Pace::Whole => usize::MAX,
            _ => pace.share(1 << 20),
        };
        if self.window > 0 && std::mem::take(&mut self.wants_room) {
            self.report(Readiness::WRITABLE, "room");
        }
        true
    }

    /// Takes what the poller has to report.
    pub fn take_events(&mut self) -> Readiness {
        std::mem::take(&mut self.events)
    }

    pub fn has_events(&self) -> bool {
        self.events != Readiness::NONE
    }

    /// The engine promised the end of the stream behind bytes it wrote, and has not ended it.
    pub fn end_is_due(&self) -> bool {
        self.end_is_due && self.closed.is_none()
    }

    /// Something arrived that the engine has not read.
    pub fn has_unread(&self) -> bool {
        !self.arrived.is_empty() || (self.end.is_some() && !self.end_told)
    }

    /// Bytes arrived that the engine has not read.
    pub fn has_bytes(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// The next opening of the window is reported as readiness to write, or the connection is not there yet.
    pub fn will_report_room(&self) -> bool {
        self.wants_room || self.connect != Connect::Done
    }

    fn note(&self, what: &'static str, n: usize) {
        let group = if self.side == Side::Client { "client" } else { "backend" };
        self.trace.note(group, what, self.fd, n);
    }

    fn report(&mut self, events: Readiness, what: &'static str) {
        self.note(what, self.arrived.len());
        self.events.insert(events);
    }

    fn take(&mut self, ready: &mut Readiness, bytes: [&[u8]; 2]) -> io::Result<usize> {
        let most = bytes[0].len() + bytes[1].len();
        assert!(most > 0, "a write was asked for and nothing is pending");
        assert!(!self.shut, "a write behind the end");
        assert!(!self.end_is_due, "a write behind bytes that were said to be the last");
        if let Some(offered) = self.offered.take() {
            let again = bytes.concat();
            assert!(again.starts_with(&offered), "other bytes are written than those that were blocked");
        }
        if self.end == Some(End::Reset) {
            ready.remove(Readiness::WRITABLE);
            return Err(ErrorKind::BrokenPipe.into());
        }
        let n = most.min(self.window);
        self.note(if n < most { "write part" } else { "write" }, n);
        ready.set(Readiness::WRITABLE, n == most);
        self.wants_room = n < most;
        if n == 0 {
            self.offered = Some(bytes.concat().into_iter().take(OFFERED_BYTES).collect());
            return Err(ErrorKind::WouldBlock.into());
        }
        self.window -= n;
        let first = n.min(bytes[0].len());
        self.receive(&bytes[0][..first]);
        self.receive(&bytes[1][..n - first]);
        Ok(n)
    }
}

/// All readiness that an error implies.
fn broken() -> Readiness {
    Readiness::READABLE | Readiness::WRITABLE | Readiness::ENDED | Readiness::FAILED
}

/// A socket that both ends hold.
#[derive(Debug, Clone)]
pub struct Wire(Rc<RefCell<Socket>>);

impl Wire {
    /// A connection, with a transform of the peer if it has one.
    pub fn new(fd: usize, side: Side, connect: Connect, trace: &Trace, transform: Option<Coder>) -> Self {
        let wire = Wire(Rc::new(RefCell::new(Socket {
            fd,
            side,
            trace: trace.clone(),
            connect,
            failed: false,
            in_transit: VecDeque::new(),
            transform,
            unsent: Vec::new(),
            leaves_later: None,
            mute: false,
            leaves: None,
            joined: false,
            arrived: VecDeque::new(),
            end: None,
            end_told: false,
            written: Vec::new(),
            window: 0,
            wants_room: false,
            offered: None,
            stalled: false,
            shut: false,
            end_is_due: false,
            abrupt: false,
            closed: None,
            events: Readiness::NONE,
        })));
        wire.socket().pump();
        wire
    }

    pub fn socket(&self) -> RefMut<'_, Socket> {
        self.0.borrow_mut()
    }

    /// True when both hold the same socket.
    pub fn is(&self, other: &Wire) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

/// The engine's end of a connection, with the shipped code for a transform if it has one.
pub type SimLine = Layered<SimTransport>;

/// The engine's end of a connection without its transform. Dropping it closes the connection.
#[derive(Debug)]
pub struct SimTransport(Wire);

impl SimTransport {
    pub fn new(wire: &Wire) -> Self {
        SimTransport(wire.clone())
    }

    pub fn fd(&self) -> usize {
        self.0.socket().fd
    }

    /// True when nothing has arrived since the last read.
    pub fn is_quiet(&self) -> bool {
        !self.0.socket().has_unread()
    }

    pub fn wire(&self) -> &Wire {
        &self.0
    }
}

impl Transport for SimTransport {
    fn read(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
        assert!(!room.is_empty(), "a read was asked for without room");
        let mut socket = self.0.socket();
        assert!(!socket.end_told, "a read behind the end");
        socket.note("read", socket.arrived.len());
        if socket.end == Some(End::Reset) {
            socket.end_told = true;
            ready.remove(Readiness::READABLE);
            return Err(ErrorKind::ConnectionReset.into());
        }
        let n = room.len().min(socket.arrived.len());
        for (byte, place) in socket.arrived.drain(..n).zip(room.iter_mut()) {
            *place = byte;
        }
        ready.set(Readiness::READABLE, n == room.len() || (n > 0 && ready.contains(Readiness::ENDED)));
        match (n, socket.end) {
            (0, None) => Err(ErrorKind::WouldBlock.into()),
            (0, Some(_)) => {
                socket.end_told = true;
                Ok(0)
            }
            _ => Ok(n),
        }
    }

    fn peek(&mut self, ready: &mut Readiness, room: &mut [u8]) -> io::Result<usize> {
        let socket = self.0.socket();
        let n = room.len().min(socket.arrived.len());
        socket.arrived.iter().zip(room).for_each(|(byte, place)| *place = *byte);
        match (n, socket.end) {
            (_, Some(End::Reset)) => Err(ErrorKind::ConnectionReset.into()),
            (0, None) => {
                ready.remove(Readiness::READABLE);
                Err(ErrorKind::WouldBlock.into())
            }
            _ => Ok(n),
        }
    }

    fn write(&mut self, ready: &mut Readiness, slices: [&[u8]; 2], follows: Follows) -> io::Result<usize> {
        let mut socket = self.0.socket();
        let result = socket.take(ready, slices);
        let most = slices[0].len() + slices[1].len();
        socket.end_is_due = follows == Follows::End && result.as_ref().is_ok_and(|n| *n == most);
        result
    }

    fn send_file(&mut self, ready: &mut Readiness, file: &File, range: Range<u64>) -> io::Result<usize> {
        let mut part = vec![0; (range.end - range.start) as usize];
        let n = file.read_at(&mut part, range.start)?;
        if n == 0 {
            return Ok(0);
        }
        self.0.socket().take(ready, [&part[..n], &[]])
    }

    fn established(&mut self, ready: &mut Readiness) -> io::Result<bool> {
        let socket = self.0.socket();
        if socket.failed {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        let established = socket.connect == Connect::Done;
        ready.set(Readiness::WRITABLE, established);
        Ok(established)
    }

    fn shutdown(&mut self, _ready: &mut Readiness) {
        let mut socket = self.0.socket();
        socket.note("shutdown", 0);
        assert!(!socket.shut, "the stream is ended twice");
        assert_ne!(socket.is_marked(), Some(false), "an end without its marker");
        (socket.shut, socket.end_is_due) = (true, false);
    }

    fn set_abrupt(&mut self) {
        self.0.socket().abrupt = true;
    }
}

impl Drop for SimTransport {
    fn drop(&mut self) {
        let mut socket = self.0.socket();
        socket.closed = Some(socket.abrupt);
        assert!(
            !socket.abrupt || socket.shut || socket.is_marked() != Some(true),
            "a reset behind an end marker"
        );
        match socket.is_marked() {
            Some(true) => socket.note("closed marked", 0),
            Some(false) => socket.note("closed unmarked", 0),
            None => {}
        }
        socket.note(if socket.abrupt { "reset by us" } else { "close" }, socket.arrived.len());
    }
}
