//! Plots made by chance: what a client asks, what backends reply, and what goes wrong.
use std::time::Duration;

use neraca::exchange::AttachError;

use super::chance::Rng;
use super::coding::Coding;
use super::peers::{Act, Fault, Job};
use super::wire::End;
use super::world::Plot;

/// Percentage of the plots in which a transform stands between each connection and its exchange.
pub const WITH_TRANSFORMS_PERCENT: usize = 10;

/// What a client is to get for a job, if nothing goes wrong.
#[derive(Debug, Clone)]
pub struct Due {
    pub status: u16,
    pub body: Vec<u8>,
    pub trailers: Vec<u8>,
    /// 103 and the like.
    pub interims: usize,
    /// Nothing comes behind it.
    pub last: bool,
    /// The backend sends neither length nor chunks.
    pub unframed: bool,
}

/// The requests of one client: what it asks, what it must get if nothing goes wrong, and how it goes about it.
#[derive(Debug, Default)]
pub struct Script {
    pub jobs: Vec<Job>,
    pub dues: Vec<Due>,
    pub program: Vec<Act>,
}

impl Script {
    /// Up to six requests of a client; `first` is the number of the first job.
    pub fn new(rng: &mut Rng, client: usize, first: usize) -> Self {
        let mut script = Script::default();
        let (mut heads, mut open) = (0, true);
        for n in 0..=rng.up_to(4) {
            let (job, due, acts) = exchange(rng, first + n, heads);
            heads += due.interims + 1;
            script.program.extend(acts);
            if rng.chance(40) {
                script.program.push(Act::AwaitFinals(n + 1));
            }
            open &= !due.last;
            script.dues.push(due);
            script.jobs.push(job);
        }
        if open && rng.chance(15) {
            let (job, due, acts) = tunnel(rng, first + script.jobs.len(), heads);
            script.program.extend(acts);
            script.jobs.push(job);
            script.dues.push(due);
        } else if rng.chance(70) {
            script.program.push(Act::AwaitFinals(served(&script.dues)));
            script.program.extend(rng.chance(80).then_some(Act::Leave(End::Eof)));
        } else {
            script.program.push(Act::Leave(End::Eof));
        }
        script.jobs.iter_mut().for_each(|job| job.client = client);
        script
    }
}

/// A plot of one client in which nothing goes wrong, and what is due for each job.
pub fn peaceful(rng: &mut Rng) -> (Plot, Vec<Due>) {
    let Script { jobs, dues, program } = Script::new(rng, 0, 0);
    let buffer_bytes = *rng.pick(&[700, 2048, 64 * 1024]);
    let transforms = rng.chance(WITH_TRANSFORMS_PERCENT).then_some(Coding::Masked);
    (Plot { buffer_bytes, transforms, ..Plot::new(program, jobs) }, dues)
}

/// How many of the jobs are served before the connection closes.
pub fn served(dues: &[Due]) -> usize {
    dues.iter().position(|due| due.last).map_or(dues.len(), |at| at + 1)
}

/// A plot of one client in which things go wrong, and what is due where they do not.
pub fn troubled(rng: &mut Rng) -> (Plot, Vec<Due>) {
    let (mut plot, dues) = peaceful(rng);
    plot.jobs.iter_mut().for_each(|job| spoil_job(rng, job));
    for _ in 0..6 {
        plot.connects.push(spoilt_connect(rng));
        plot.deaths.push(spoilt_kept(rng));
    }
    plot.backends = *rng.pick(&[1, 2, 3]);
    plot.draining = rng.chance(4);
    if rng.chance(35) {
        spoil_program(rng, &mut plot.programs[0]);
    }
    (plot, dues)
}

/// Faults of the backends that a job meets.
pub fn spoil_job(rng: &mut Rng, job: &mut Job) {
    job.early |= !job.body.is_empty() && rng.chance(15);
    for _ in 0..3 {
        let end = *rng.pick(&End::ALL);
        job.faults.push(match rng.up_to(18) {
            0 | 1 => Fault::Leave(end),
            2 | 3 => Fault::Cut(rng.up_to(job.reply.len()), end),
            4 => Fault::Silent,
            5 => Fault::Deaf,
            6 => Fault::Garbage,
            7 => Fault::Slow(Duration::from_secs(*rng.pick(&[1, 20, 59, 61]))),
            8 if !job.tunnel => Fault::CloseBehind,
            9 if !job.tunnel => Fault::CloseLater(Duration::from_millis(*rng.pick(&[0, 1, 5, 100, 30_000]))),
            // A whole reply would leave a connection that is kept and silent.
            10 => Fault::Stall(rng.up_to(job.reply.len() - 1)),
            _ => Fault::None,
        });
    }
}

/// The result of an attempt to connect; None: it succeeds.
pub fn spoilt_connect(rng: &mut Rng) -> Option<AttachError> {
    match rng.up_to(12) {
        0 | 1 => Some(AttachError::Refused),
        2 => Some(AttachError::TimedOut),
        3 if rng.chance(30) => Some(AttachError::Exhausted),
        3 if rng.chance(30) => Some(AttachError::Local),
        _ => None,
    }
}

/// How a kept connection dies when it is used again; None: it lives.
pub fn spoilt_kept(rng: &mut Rng) -> Option<End> {
    let end = *rng.pick(&End::ALL);
    rng.chance(30).then_some(end)
}

/// A client that stalls, leaves, is reset, or pauses in the middle.
pub fn spoil_program(rng: &mut Rng, program: &mut Vec<Act>) {
    let at = rng.up_to(program.len() - 1);
    let seconds = [1, 5, 20, 45, 100];
    let act = match rng.up_to(4) {
        0 => Act::Stall,
        1 | 2 => Act::Leave(*rng.pick(&End::ALL)),
        _ => Act::Pause(Duration::from_secs(*rng.pick(&seconds))),
    };
    if let Act::Send(bytes) = &mut program[at] {
        let rest = bytes.split_off(rng.up_to(bytes.len()));
        program.insert(at + 1, Act::Send(rest));
    }
    let leaves = matches!(act, Act::Leave(_));
    program.insert(at + 1, act);
    if leaves {
        program.truncate(at + 2);
    }
}

fn octets(rng: &mut Rng) -> Vec<u8> {
    let most = if rng.chance(1) { 200_000 } else { *rng.pick(&[0, 1, 20, 20, 300, 3000, 20_000]) };
    let n = rng.up_to(most);
    (0..n).map(|_| *rng.pick(b"\r\n\0ab01: HTTP/\xff")).collect()
}

fn chunked(rng: &mut Rng, mut body: &[u8], trailers: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while !body.is_empty() {
        let (chunk, rest) = body.split_at(1 + rng.up_to(body.len() - 1));
        let extension = *rng.pick(&["", "", ";a", ";b=\"c;\""]);
        bytes.extend(format!("{:x}{extension}\r\n", chunk.len()).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
        body = rest;
    }
    bytes.extend(b"0\r\n");
    bytes.extend(trailers);
    bytes
}

fn trailers(rng: &mut Rng) -> Vec<u8> {
    rng.pick(&[&b"\r\n"[..], b"X-T: 1\r\n\r\n", b"X-T: 1\r\nX-U: 2\r\n\r\n"]).to_vec()
}

/// One job, what is due for it, and what the client does for it; `heads` came before.
fn exchange(rng: &mut Rng, id: usize, heads: usize) -> (Job, Due, Vec<Act>) {
    let method = *rng.pick(&["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "BREW"]);
    let old = rng.chance(10);
    let old_kept = rng.chance(50);
    let closes = rng.chance(8);
    let body =
        if rng.chance(if method.starts_with('P') { 90 } else { 8 }) { octets(rng) } else { Vec::new() };
    let mut head = format!("{method} /{id} HTTP/1.{}\r\nHost: a\r\nX-Id: {id}\r\n", u8::from(!old));
    head += match (old && old_kept, closes && !old) {
        (true, _) => "Connection: keep-alive\r\n",
        (_, true) => "Connection: close\r\n",
        _ => "",
    };
    let expects = !old && !body.is_empty() && rng.chance(20);
    head += if expects { "Expect: 100-continue\r\n" } else { "" };
    let continues = expects && rng.chance(60);
    let behind = trailers(rng);
    let coded = if !old && rng.chance(50) {
        head += "Transfer-Encoding: chunked\r\n\r\n";
        chunked(rng, &body, &behind)
    } else {
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        body.clone()
    };
    let (mut reply, mut due) = reply(rng, id, method, old);
    due.last |= if old { !old_kept } else { closes };
    due.interims += usize::from(expects);
    let hints = if old { 0 } else { due.interims - usize::from(expects) };
    due.interims = hints + usize::from(expects);
    let acts = match expects {
        // Whoever says 100, the backend or we in its place, says it before the final response.
        true => {
            vec![Act::Send(head.clone().into_bytes()), Act::AwaitHeads(heads + 1), Act::Send(coded.clone())]
        }
        false => vec![Act::Send([head.as_bytes(), &coded].concat())],
    };
    reply.method = method;
    reply.continues = continues;
    reply.request = [head.as_bytes(), &coded].concat();
    reply.body = body;
    (reply, due, acts)
}

fn reply(rng: &mut Rng, id: usize, method: &str, old: bool) -> (Job, Due) {
    let body = octets(rng);
    let interims = if rng.chance(12) { 1 + rng.up_to(1) } else { 0 };
    let mut raw = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n".repeat(interims);
    let status = *rng.pick(&[200, 200, 200, 200, 404, 500, 204, 304]);
    let kind = rng.up_to(3);
    let version = if kind == 0 || !rng.chance(10) { 1 } else { 0 };
    raw.extend(format!("HTTP/1.{version} {status} OK\r\nX-Job: {id}\r\n").into_bytes());
    let bare = method == "HEAD" || status == 204 || status == 304;
    let closes = rng.chance(10);
    raw.extend(if closes { &b"Connection: close\r\n"[..] } else { b"" });
    let mut due = Due { status, body, trailers: Vec::new(), interims, last: false, unframed: false };
    if bare {
        due.body.clear();
        raw.extend(if status == 204 { &b"\r\n"[..] } else { b"Content-Length: 5\r\n\r\n" });
    } else if kind == 0 {
        due.trailers = trailers(rng);
        raw.extend(b"Transfer-Encoding: chunked\r\n\r\n");
        raw.extend(chunked(rng, &due.body, &due.trailers));
    } else if kind == 1 {
        due.unframed = true;
        raw.extend(b"\r\n");
        raw.extend(&due.body);
    } else {
        raw.extend(format!("Content-Length: {}\r\n\r\n", due.body.len()).into_bytes());
        raw.extend(&due.body);
    }
    if old {
        // An HTTP/1.0 client gets neither chunks nor trailers, but the end of the stream.
        due.last = due.unframed || (!bare && kind == 0);
        due.trailers.clear();
    } else if due.unframed {
        due.trailers = b"\r\n".to_vec();
    }
    (Job { id, ends: closes || due.unframed, ..Job::get(&raw) }, due)
}

fn tunnel(rng: &mut Rng, id: usize, heads: usize) -> (Job, Due, Vec<Act>) {
    let reply = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n";
    let request =
        format!("GET / HTTP/1.1\r\nHost: a\r\nX-Id: {id}\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n");
    let (first, then) = (octets(rng), octets(rng));
    let body = [first.as_slice(), &then].concat();
    let due = Due { status: 101, body, trailers: Vec::new(), interims: 0, last: true, unframed: true };
    let acts = vec![
        Act::Send([request.as_bytes(), &first].concat()),
        Act::AwaitHeads(heads + 1),
        Act::Send(then),
        Act::Leave(End::Eof),
    ];
    (Job { id, tunnel: true, request: request.into_bytes(), ..Job::get(reply) }, due, acts)
}
