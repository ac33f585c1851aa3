//! The exchange, driven by a seeded world in place of sockets and clocks.
//!
//! `NERACA_SEED=n` replays one seed, `NERACA_SEEDS=n` runs that many.

mod corpus;
#[path = "simulation/message.rs"]
mod message;
#[path = "simulation/peers.rs"]
mod peers;
#[path = "simulation/wire.rs"]
mod wire;
#[path = "simulation/world.rs"]
mod world;

use std::time::Duration;

use neraca::exchange::{AttachError, CloseReason};

use message::{Message, responses};
use peers::{Act, Fault, Job};
use wire::{End, Pace};
use world::{Plot, Run, run};

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn send(bytes: &[u8]) -> Act {
    Act::Send(bytes.to_vec())
}

/// The only response in it that is not interim, whole.
fn only(run: &Run) -> Message {
    let mut all = responses(&run.received, &[]);
    all.retain(|r| r.status() >= 200);
    assert_eq!(all.len(), 1, "{}", String::from_utf8_lossy(&run.received));
    assert_ne!(all[0].whole, Some(false));
    all.remove(0)
}

#[test]
fn a_request_is_carried_to_a_backend_and_its_response_back() {
    let plot = Plot::new(
        vec![send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Act::AwaitFinals(1), Act::Leave(End::Eof)],
        vec![Job::get(HELLO)],
    );
    for pace in [Pace::Whole, Pace::Bytes] {
        let run = run(&plot, pace);
        assert_eq!((only(&run).body, run.reason, run.connects), (b"hello".to_vec(), CloseReason::Done, 1));
        assert_eq!(run.received, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nVia: 1.1 neraca\r\n\r\nhello");
    }
}

#[test]
fn a_request_that_failed_on_a_kept_connection_is_sent_once_more() {
    for method in ["GET", "POST"] {
        for end in [End::Eof, End::Reset] {
            let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
            let program = vec![
                send(&request),
                Act::AwaitFinals(1),
                send(&request),
                Act::AwaitFinals(2),
                Act::Leave(End::Eof),
            ];
            let plot = Plot {
                deaths: vec![Some(end)],
                backends: 1,
                ..Plot::new(program, vec![Job { request, ..Job::get(HELLO) }])
            };
            for pace in [Pace::Whole, Pace::Bytes] {
                let run = run(&plot, pace);
                let statuses: Vec<_> = responses(&run.received, &[]).iter().map(Message::status).collect();
                assert_eq!((statuses, run.connects), (vec![200, 200], 2), "{method} {end:?}");
            }
        }
    }
}

#[test]
fn on_a_fresh_connection_only_what_is_idempotent_is_sent_once_more() {
    for (method, tries, status) in [("GET", 2, 200), ("DELETE", 2, 200), ("POST", 1, 502), ("BREW", 1, 502)] {
        for fault in [Fault::Leave(End::Eof), Fault::Leave(End::Reset)] {
            let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
            let job = Job { request: request.clone(), faults: vec![fault], ..Job::get(HELLO) };
            let program = vec![send(&request), Act::AwaitFinals(1), Act::Leave(End::Eof)];
            let run = run(&Plot::new(program, vec![job]), Pace::Whole);
            assert_eq!((only(&run).status(), run.seen.len()), (status, tries), "{method} {fault:?}");
        }
    }
}

#[test]
fn a_stalled_upload_is_answered_with_408() {
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhell";
    let run = run(&Plot::new(vec![send(request)], vec![Job::get(HELLO)]), Pace::Whole);
    assert_eq!((only(&run).status(), run.reason), (408, CloseReason::Done));
}

#[test]
fn a_slow_head_is_answered_with_408_whatever_was_asked_before() {
    let program =
        vec![send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), Act::AwaitFinals(1), send(b"GET / HTTP/1.1\r\nHo")];
    let job = Job { method: "HEAD", ..Job::get(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") };
    let run = run(&Plot::new(program, vec![job]), Pace::Whole);
    let late = &responses(&run.received, &[true])[1];
    assert_eq!((late.status(), late.whole, late.body.is_empty()), (408, Some(true), false));
}
