//! An app that answers by itself, as the file server does.
use std::fs::File;
use std::io::{Seek, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use neraca::app::{App, Client, Decision, Moment};
use neraca::exchange::CloseReason;
use neraca::http::answer::{Answer, Body, Bytes};
use neraca::http::head::RequestHead;

use super::chance::{Pace, Rng};
use super::coding::Coding;
use super::message::responses;
use super::peers::{Act, Job};
use super::wire::End;
use super::world::{Plot, run_app};

/// `/memory` and `/file` have the same body, `/none` has none, `/late` has none for a while, `/short` is a file that has
/// shrunk.
struct Answers {
    bytes: Arc<[u8]>,
    file: Arc<File>,
}

const SIZE: usize = 150_000;
const LATE: Duration = Duration::from_secs(3);

impl Answers {
    fn new() -> Self {
        let bytes: Vec<u8> = (0..SIZE).map(|n| (n % 251) as u8).collect();
        // Nameless, so nothing is left behind.
        let name = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::TMPFILE;
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let mut file = File::from(rustix::fs::open(std::env::temp_dir(), name, mode).expect("a file"));
        file.write_all(&bytes).expect("room on the disk");
        file.rewind().expect("a file that can be read again");
        Answers { bytes: bytes.into(), file: Arc::new(file) }
    }
}

impl App for Answers {
    type View = ();

    fn view(&self) {}

    fn refresh(&self, _view: &mut ()) {}

    fn decide(&self, _: &mut (), head: &RequestHead<'_>, _: &Client<'_>, _: &Moment) -> Decision {
        let (status, body) = match head.target {
            "/memory" => (200, Body::Bytes(Bytes::Shared(Arc::clone(&self.bytes)), 0..SIZE)),
            "/file" => (200, Body::File(Arc::clone(&self.file), 0..SIZE as u64)),
            "/short" => (200, Body::File(Arc::clone(&self.file), 0..SIZE as u64 + 1)),
            _ => (204, Body::None),
        };
        let answer = Answer { status, fields: Bytes::Static(b""), body, close: false };
        if head.target == "/late" { Decision::AnswerAfter(LATE, answer) } else { Decision::Answer(answer) }
    }
}

#[test]
fn answers_leave_whole_and_in_order() {
    let asked = [
        ("GET", "/memory"),
        ("HEAD", "/file"),
        ("POST", "/none"),
        ("GET", "/file"),
        ("HEAD", "/none"),
        ("GET", "/none"),
        ("GET", "/late"),
        ("GET", "/late"),
        ("GET", "/memory"),
    ];
    let requests: String = asked.map(|(m, t)| format!("{m} {t} HTTP/1.1\r\nHost: a\r\n\r\n")).concat();
    let program = vec![Act::Send(requests.into_bytes()), Act::AwaitFinals(asked.len()), Act::Leave(End::Eof)];
    let jobs = asked.map(|(method, _)| Job { method, ..Job::get(b"") }).to_vec();
    let paces = [Pace::Whole, Pace::Chance(Rng::new(1)), Pace::Chance(Rng::new(2))];
    let kinds = [None, Some(Coding::Masked)];
    for (pace, transforms) in paces.into_iter().flat_map(|pace| kinds.map(|kind| (pace.clone(), kind))) {
        let plot = Plot { delays: true, transforms, ..Plot::new(program.clone(), jobs.clone()) };
        let (run, app) = run_app(Answers::new(), Instant::now(), &plot, pace);
        let got = responses(run.received(), &asked.map(|(method, _)| method == "HEAD"));
        assert_eq!(
            (got.len(), run.counters.served, run.reason()),
            (asked.len(), asked.len() as u64, CloseReason::Done)
        );
        assert_eq!(run.elapsed, 2 * LATE);
        for (response, (method, target)) in got.iter().zip(asked) {
            let bodiless = ["/none", "/late"].contains(&target);
            let none = method == "HEAD" || bodiless;
            assert!(response.body == if none { &[] } else { &app.bytes[..] }, "{method} {target}");
            let length = response.field("content-length").map(<[u8]>::to_vec);
            assert_eq!(length, (!bodiless).then(|| SIZE.to_string().into_bytes()), "{method} {target}");
        }
    }
}

#[test]
fn a_file_that_has_shrunk_breaks_the_response_off() {
    let request = b"GET /short HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    for transforms in [None, Some(Coding::Masked)] {
        let request = request.clone();
        let plot = Plot { transforms, ..Plot::new(vec![Act::Send(request)], vec![Job::get(b"")]) };
        let (run, _app) = run_app(Answers::new(), Instant::now(), &plot, Pace::Whole);
        let got = responses(run.received(), &[]);
        assert_eq!((got[0].whole, run.reason()), (Some(false), CloseReason::Truncated));
        assert_ne!(run.clients[0].marked, Some(true), "an end marker behind half a response");
    }
}

#[test]
fn a_body_that_is_not_wanted_is_not_taken_for_a_request() {
    let smuggled = b"GET /memory HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = format!("POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", smuggled.len());
    for cut in 0..=smuggled.len() {
        let program = vec![
            Act::Send([head.as_bytes(), &smuggled[..cut]].concat()),
            Act::Send(smuggled[cut..].to_vec()),
            Act::AwaitFinals(1),
            Act::Leave(End::Eof),
        ];
        let (run, _app) =
            run_app(Answers::new(), Instant::now(), &Plot::new(program, vec![Job::get(b"")]), Pace::Whole);
        assert_eq!(responses(run.received(), &[]).len(), 1, "cut at {cut}");
    }
}
