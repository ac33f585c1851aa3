//! A client and backends that follow a program.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use neraca::cluster::BackendId;

use super::message::{self, Message};
use super::wire::{End, Pace, Socket};

/// What a client does, one thing after the other.
#[derive(Debug, Clone)]
pub enum Act {
    Send(Vec<u8>),
    /// Until it has that many final responses.
    AwaitFinals(usize),
    /// Until it has that many heads of any kind.
    AwaitHeads(usize),
    Pause(Duration),
    /// It reads nothing more.
    Stall,
    Leave(End),
}

#[derive(Debug)]
pub struct Client {
    pub socket: Socket,
    program: VecDeque<Act>,
    heads: Vec<bool>,
    paused_until: Option<Instant>,
}

impl Client {
    pub fn new(program: Vec<Act>, heads: Vec<bool>) -> Self {
        Client { socket: Socket::default(), program: program.into(), heads, paused_until: None }
    }

    pub fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Does a little; true when something changed.
    pub fn act(&mut self, pace: &mut Pace, now: Instant) -> bool {
        let drained = self.socket.drain(pace);
        let Some(act) = self.program.front_mut() else { return drained };
        match act {
            Act::Send(bytes) => {
                let n = pace.share(bytes.len());
                self.socket.arriving.extend(bytes.drain(..n));
                if !bytes.is_empty() {
                    return true;
                }
            }
            Act::AwaitFinals(n) => {
                let responses = message::responses(&self.socket.written, &self.heads);
                let finals = responses.iter().filter(|r| r.status() >= 200 && r.whole != Some(false));
                if finals.count() < *n {
                    return drained;
                }
            }
            Act::AwaitHeads(n) => {
                if message::responses(&self.socket.written, &self.heads).len() < *n {
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
            Act::Stall => self.socket.stalled = true,
            Act::Leave(end) => self.socket.end = Some(*end),
        }
        self.program.pop_front();
        true
    }
}

/// What goes wrong when a request has come to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It leaves without a word, once it has the head.
    Leave(End),
    /// It leaves behind so many bytes of its reply.
    Cut(usize, End),
    /// It says nothing, ever.
    Silent,
    /// It reads nothing behind the head.
    Deaf,
}

/// One request with what a backend replies.
#[derive(Debug, Clone)]
pub struct Job {
    pub method: &'static str,
    pub request: Vec<u8>,
    pub body: Vec<u8>,
    pub reply: Vec<u8>,
    /// The backend ends its stream behind the reply.
    pub ends: bool,
    /// It replies as soon as it has the head.
    pub early: bool,
    /// It says 100 when it has the head.
    pub continues: bool,
    /// It echoes what comes behind its reply.
    pub tunnel: bool,
    /// The reply comes in two parts, cut here.
    pub cut: Option<usize>,
    /// What goes wrong at the first try, the second, ...
    pub faults: Vec<Fault>,
}

impl Job {
    /// A request without a body and a plain reply.
    pub fn get(reply: &[u8]) -> Self {
        Job {
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
    /// The connection had carried another one before.
    pub reused: bool,
    pub message: Message,
}

/// What all backends know.
#[derive(Debug)]
pub struct Backends {
    pub jobs: Vec<Job>,
    pub seen: Vec<Seen>,
}

/// The request that a backend is at.
#[derive(Debug, Clone, Copy)]
struct Current {
    /// In `seen`.
    place: usize,
    job: usize,
    fault: Fault,
    replied: bool,
}

/// A connection to a backend.
#[derive(Debug)]
pub struct Conn {
    pub backend: BackendId,
    pub socket: Socket,
    /// It dies as soon as it is used again, and nothing tells before.
    pub dies: Option<End>,
    uses: usize,
    /// Bytes of earlier requests.
    read: usize,
    current: Option<Current>,
    says: VecDeque<u8>,
    cut: Option<usize>,
    then: Option<End>,
    silent: bool,
    tunnel: bool,
}

impl Conn {
    pub fn new(backend: BackendId) -> Self {
        Conn {
            backend,
            socket: Socket::default(),
            dies: None,
            uses: 0,
            read: 0,
            current: None,
            says: VecDeque::new(),
            cut: None,
            then: None,
            silent: false,
            tunnel: false,
        }
    }

    /// Reads what came and says a little; true when something changed.
    pub fn act(&mut self, backends: &mut Backends, pace: &mut Pace) -> bool {
        if let Some(end) = self.dies {
            return self.socket.end.replace(end).is_none();
        }
        let before = (self.read, self.says.len(), self.then, self.silent);
        if !self.silent {
            while self.listen(backends) {}
        }
        let mut changed = before != (self.read, self.says.len(), self.then, self.silent);
        changed |= self.socket.drain(pace);
        if !self.says.is_empty() {
            let n = self.cut.take().unwrap_or_else(|| pace.share(self.says.len())).min(self.says.len());
            self.socket.arriving.extend(self.says.drain(..n));
            changed = true;
        }
        if self.says.is_empty() && self.then.is_some() && self.socket.end.is_none() {
            self.socket.end = self.then;
            changed = true;
        }
        changed
    }

    /// One thing that follows from what came; false when there is none.
    fn listen(&mut self, backends: &mut Backends) -> bool {
        let came = &self.socket.written[self.read..];
        if self.tunnel {
            self.says.extend(came);
            self.read += came.len();
            if self.socket.shut {
                self.then = Some(End::Eof);
            }
            return false;
        }
        let Some(message) = message::request(came) else { return false };
        let (whole, len) = (message.whole == Some(true), message.len);
        let current = match self.current {
            Some(current) => current,
            None => self.begin(&message, backends),
        };
        backends.seen[current.place].message = message;
        if self.silent || self.then.is_some() {
            return false;
        }
        let job = &backends.jobs[current.job];
        if !current.replied && (whole || job.early) {
            self.says.extend(&job.reply);
            self.cut = job.cut;
            self.current = Some(Current { replied: true, ..current });
            if let Fault::Cut(at, end) = current.fault {
                self.says.truncate(at);
                self.then = Some(end);
            } else if job.ends {
                self.then = Some(End::Eof);
            }
        }
        if whole {
            self.tunnel = job.tunnel;
            self.read += len;
            self.uses += 1;
            self.current = None;
        }
        whole && self.then.is_none()
    }

    /// A head came.
    fn begin(&mut self, message: &Message, backends: &mut Backends) -> Current {
        let id = message.field("x-id").and_then(|id| String::from_utf8_lossy(id).parse().ok());
        let id = id.filter(|id| *id < backends.jobs.len()).unwrap_or(0);
        let tries = backends.seen.iter().filter(|seen| seen.job == id).count();
        let job = &backends.jobs[id];
        let fault = job.faults.get(tries).copied().unwrap_or(Fault::None);
        match fault {
            Fault::None | Fault::Cut(..) if job.continues => {
                self.says.extend(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            Fault::None | Fault::Cut(..) => {}
            Fault::Leave(end) => self.then = Some(end),
            Fault::Silent => self.silent = true,
            Fault::Deaf => (self.silent, self.socket.stalled) = (true, true),
        }
        backends.seen.push(Seen { job: id, reused: self.uses > 0, message: message.clone() });
        let current = Current { place: backends.seen.len() - 1, job: id, fault, replied: false };
        self.current = Some(current);
        current
    }
}
