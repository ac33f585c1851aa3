//! Clients and backends that follow a program.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::chance::Pace;
use super::message::{self, Message};
use super::wire::{End, Wire};

/// One act of a client.
#[derive(Debug, Clone)]
pub enum Act {
    Send(Vec<u8>),
    /// Waits for this number of final responses.
    AwaitFinals(usize),
    /// Waits for this number of heads, interim ones included.
    AwaitHeads(usize),
    Pause(Duration),
    /// Reads nothing more.
    Stall,
    Leave(End),
}

/// A client: acts one after the other, on one connection.
#[derive(Debug)]
pub struct Client {
    pub wire: Wire,
    program: VecDeque<Act>,
    /// Which of its requests are HEAD.
    heads: Vec<bool>,
    /// The bytes that were there at the last look, and the final responses and the heads in them.
    looked: (usize, usize, usize),
    paused_until: Option<Instant>,
}

impl Client {
    pub fn new(wire: Wire, program: &[Act], heads: Vec<bool>) -> Self {
        Client { wire, program: program.to_vec().into(), heads, looked: (0, 0, 0), paused_until: None }
    }

    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Performs a part of the next act. True when something changed.
    pub fn act(&mut self, pace: &mut Pace, now: Instant) -> bool {
        let mut socket = self.wire.socket();
        if socket.closed.is_some() {
            (self.paused_until, _) = (None, self.program.clear());
            return false;
        }
        let drained = socket.drain(pace);
        let Some(act) = self.program.front_mut() else { return drained };
        match act {
            Act::Send(bytes) => socket.send(bytes.drain(..)),
            Act::AwaitFinals(_) | Act::AwaitHeads(_) => {
                if self.looked.0 != socket.written.len() {
                    let responses = message::responses(&socket.written, &self.heads);
                    let finals = responses.iter().filter(|r| r.status() >= 200 && r.whole != Some(false));
                    self.looked = (socket.written.len(), finals.count(), responses.len());
                }
                let (_, finals, heads) = self.looked;
                let fulfilled = match act {
                    Act::AwaitFinals(n) => finals >= *n,
                    Act::AwaitHeads(n) => heads >= *n,
                    _ => true,
                };
                if !fulfilled {
                    return drained;
                }
            }
            Act::Pause(time) => {
                let until = *self.paused_until.get_or_insert(now + *time);
                if now < until {
                    return drained;
                }
                self.paused_until = None;
            }
            Act::Stall => socket.stalled = true,
            Act::Leave(end) => socket.leave(*end, pace.happens(50)),
        }
        self.program.pop_front();
        true
    }
}

/// What goes wrong at a backend when a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The backend leaves without a byte, once it has the head.
    Leave(End),
    /// The backend leaves behind this number of bytes of its reply.
    Cut(usize, End),
    /// The backend never says anything.
    Silent,
    /// The backend sends this number of bytes of its reply, then no byte and no end.
    Stall(usize),
    /// The backend reads nothing behind the head, and says nothing.
    Deaf,
    /// The backend waits this long before it replies.
    Slow(Duration),
    /// The reply is not HTTP.
    Garbage,
    /// The backend ends its stream in one packet with the reply, without `Connection: close`.
    CloseBehind,
    /// The backend ends its stream this long after the reply, without `Connection: close`.
    CloseLater(Duration),
}

/// One request, with the backend's reply to it.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its place among all jobs of the run.
    pub id: usize,
    /// The client that sends it.
    pub client: usize,
    pub method: &'static str,
    pub request: Vec<u8>,
    pub body: Vec<u8>,
    pub reply: Vec<u8>,
    /// The backend ends its stream behind the reply.
    pub ends: bool,
    /// The backend replies as soon as it has the head.
    pub early: bool,
    /// The backend says 100 when it has the head.
    pub continues: bool,
    /// The backend echoes what comes behind its reply.
    pub tunnel: bool,
    /// The reply comes in two parts, cut here.
    pub cut: Option<usize>,
    /// What goes wrong at the first attempt, the second, and so on.
    pub faults: Vec<Fault>,
}

impl Job {
    /// A GET without a body, and this reply.
    pub fn get(reply: &[u8]) -> Self {
        Job {
            id: 0,
            client: 0,
            method: "GET",
            request: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            body: Vec::new(),
            reply: reply.to_vec(),
            ends: false,
            early: false,
            continues: false,
            tunnel: false,
            cut: None,
            faults: Vec::new(),
        }
    }
}

/// A request as a backend saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub job: usize,
    /// The connection had carried another request before.
    pub reused: bool,
    pub message: Message,
    pub fault: Fault,
}

/// What all backends know.
#[derive(Debug, Default)]
pub struct Jobs {
    pub jobs: Vec<Job>,
    pub seen: Vec<Seen>,
}

/// The request that a backend works on.
#[derive(Debug, Clone, Copy)]
struct Current {
    /// Its place in `seen`.
    place: usize,
    job: usize,
    fault: Fault,
    replied: bool,
}

/// A backend's end of one connection.
#[derive(Debug)]
pub struct Conn {
    pub wire: Wire,
    /// The connection dies as soon as it is used again, and nothing tells before.
    pub dies: Option<End>,
    uses: usize,
    /// Bytes of earlier requests.
    read: usize,
    /// All bytes that were there at the last look.
    looked: usize,
    current: Option<Current>,
    says: VecDeque<u8>,
    cut: Option<usize>,
    then: Option<(End, bool)>,
    /// The backend ends its stream at this time, if it is idle then.
    closes_at: Option<Instant>,
    silent: bool,
    tunnel: bool,
    paused_until: Option<Instant>,
}

impl Conn {
    pub fn new(wire: Wire) -> Self {
        Conn {
            wire,
            dies: None,
            uses: 0,
            read: 0,
            looked: 0,
            current: None,
            says: VecDeque::new(),
            cut: None,
            then: None,
            closes_at: None,
            silent: false,
            tunnel: false,
            paused_until: None,
        }
    }

    /// The backend will end its stream although it has told nobody.
    pub fn closes_later(&self) -> bool {
        self.closes_at.is_some()
    }

    /// When this end does something although nothing comes.
    pub fn acts_at(&self) -> Option<Instant> {
        self.paused_until.or(self.closes_at)
    }

    /// Reads what came and sends a part of what is to be said. True when something changed.
    pub fn act(&mut self, jobs: &mut Jobs, pace: &mut Pace, now: Instant) -> bool {
        let wire = self.wire.clone();
        if let Some(end) = self.dies.take() {
            wire.socket().leave(end, false);
        }
        if wire.socket().has_left() || wire.socket().closed.is_some() {
            (self.paused_until, self.closes_at) = (None, None);
            return false;
        }
        if self.says.is_empty() && self.closes_at.is_some_and(|at| at <= now) {
            self.closes_at = None;
            wire.socket().leave(End::Eof, false);
            return true;
        }
        let before = (self.read, self.says.len(), self.then, self.silent, self.paused_until);
        if !self.silent {
            while self.listen(jobs, now) {}
        }
        let mut changed = before != (self.read, self.says.len(), self.then, self.silent, self.paused_until);
        let mut socket = wire.socket();
        changed |= socket.drain(pace);
        if self.paused_until.is_some_and(|until| now < until) {
            return changed;
        }
        changed |= self.paused_until.take().is_some();
        if !self.says.is_empty() {
            let n = self.cut.take().unwrap_or_else(|| pace.share(self.says.len())).min(self.says.len());
            socket.send(self.says.drain(..n));
            changed = true;
        }
        if let (true, Some((end, joined))) = (self.says.is_empty(), self.then) {
            socket.leave(end, joined);
            changed = true;
        }
        changed
    }

    /// Handles the next message. False when no whole one is there.
    fn listen(&mut self, jobs: &mut Jobs, now: Instant) -> bool {
        let wire = self.wire.clone();
        let socket = wire.socket();
        let came = &socket.written[self.read..];
        if self.tunnel {
            self.says.extend(came);
            self.read += came.len();
            if socket.shut && self.then.is_none() {
                self.then = Some((End::Eof, false));
            }
            return false;
        }
        let looked = std::mem::replace(&mut self.looked, socket.written.len());
        if looked == socket.written.len() {
            return false;
        }
        // A long head may come byte by byte: only its end is looked for, and nothing is looked at twice.
        let new = &socket.written[looked.saturating_sub(3).max(self.read)..];
        if self.current.is_none() && !new.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            return false;
        }
        let Some(message) = message::request(came) else { return false };
        drop(socket);
        let (whole, len) = (message.whole == Some(true), message.len);
        let current = match self.current {
            Some(current) => current,
            None => self.begin(&message, jobs, now),
        };
        jobs.seen[current.place].message = message;
        if self.silent || self.then.is_some() {
            return false;
        }
        let job = &jobs.jobs[current.job];
        if !current.replied && (whole || job.early) {
            self.reply(job, current.fault, now);
            self.current = Some(Current { replied: true, ..current });
        }
        if whole {
            self.tunnel = job.tunnel;
            self.read += len;
            self.uses += 1;
            self.current = None;
            // What is behind this request is looked at again.
            self.looked = 0;
        }
        whole && self.then.is_none()
    }

    /// A head came.
    fn begin(&mut self, message: &Message, jobs: &mut Jobs, now: Instant) -> Current {
        let id = message.field("x-id").and_then(|id| String::from_utf8_lossy(id).parse().ok());
        let id = id.filter(|id| *id < jobs.jobs.len()).unwrap_or(0);
        let attempts = jobs.seen.iter().filter(|seen| seen.job == id).count();
        let job = &jobs.jobs[id];
        let fault = job.faults.get(attempts).copied().unwrap_or(Fault::None);
        match fault {
            Fault::Leave(end) => self.then = Some((end, false)),
            Fault::Silent => self.silent = true,
            Fault::Deaf => (self.silent, self.wire.socket().stalled) = (true, true),
            Fault::Slow(time) => self.paused_until = Some(now + time),
            Fault::None
            | Fault::Cut(..)
            | Fault::Stall(_)
            | Fault::Garbage
            | Fault::CloseBehind
            | Fault::CloseLater(_) => {}
        }
        if job.continues && !self.silent && self.then.is_none() {
            self.says.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        jobs.seen.push(Seen { job: id, reused: self.uses > 0, message: message.clone(), fault });
        let current = Current { place: jobs.seen.len() - 1, job: id, fault, replied: false };
        self.current = Some(current);
        current
    }

    fn reply(&mut self, job: &Job, fault: Fault, now: Instant) {
        self.cut = job.cut;
        if fault == Fault::Garbage {
            self.says.extend(b"SSH-2.0-mistake\r\n\r\n");
        } else {
            self.says.extend(&job.reply);
        }
        match fault {
            Fault::Cut(at, end) => {
                self.says.truncate(at);
                self.then = Some((end, false));
            }
            Fault::Stall(at) => {
                self.says.truncate(at);
                (self.silent, self.closes_at) = (true, None);
            }
            Fault::CloseLater(time) => self.closes_at = Some(now + time),
            Fault::CloseBehind => self.then = Some((End::Eof, true)),
            _ if job.ends => self.then = Some((End::Eof, false)),
            _ => {}
        }
    }
}
