//! Plots written by hand, each for one promise.
use std::time::Duration;

use neraca::exchange::{CloseReason, Limits};

use super::chance::Pace;
use super::message::{Message, responses};
use super::peers::{Act, Fault, Job};
use super::wire::End;
use super::world::{Plot, run};
use super::{HELLO, only, send};

#[test]
fn a_request_is_carried_to_a_backend_and_its_response_back() {
    let plot = Plot::new(
        vec![send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), Act::AwaitFinals(1), Act::Leave(End::Eof)],
        vec![Job::get(HELLO)],
    );
    for pace in [Pace::Whole, Pace::Bytes] {
        let run = run(&plot, pace);
        assert_eq!(
            (only(&run).body, run.reason(), run.counters.connected),
            (b"hello".to_vec(), CloseReason::Done, 1)
        );
        let expected = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 5\r\n\
            Via: 1.1 neraca\r\n\r\nhello";
        assert_eq!(String::from_utf8_lossy(run.received()), expected);
    }
}

#[test]
fn a_request_that_failed_on_a_kept_connection_is_sent_once_more() {
    // RFC 9110 section 9.2.2: what is not idempotent is not, for the backend may have done it.
    for (method, status, connects) in [("GET", 200, 2), ("PUT", 200, 2), ("POST", 502, 1)] {
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
                let statuses: Vec<_> = responses(run.received(), &[]).iter().map(Message::status).collect();
                assert_eq!(
                    (statuses, run.counters.connected),
                    (vec![200, status], connects),
                    "{method} {end:?}"
                );
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
    assert_eq!((only(&run).status(), run.reason()), (408, CloseReason::Done));
}

#[test]
fn an_upload_broken_off_breaks_off_the_early_response_too() {
    // The end of the stream is the end of this body, so an ordinary one would pass it off as whole.
    let program = vec![
        send(b"POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\nhell"),
        Act::AwaitHeads(1),
        Act::Leave(End::Eof),
    ];
    let job = Job { early: true, ..Job::get(b"HTTP/1.1 200 OK\r\n\r\nhel") };
    let run = run(&Plot::new(program, vec![job]), Pace::Whole);
    assert_eq!((only(&run).whole, run.reason()), (None, CloseReason::Truncated));
}

#[test]
fn a_hundred_is_said_once_whoever_says_it() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let late = [b"HTTP/1.1 100 Continue\r\n\r\n", HELLO].concat();
    for (continues, reply, seconds) in [(true, HELLO, 0), (false, HELLO, 1), (false, &late, 1)] {
        let program =
            vec![send(head), Act::AwaitHeads(1), send(b"hello"), Act::AwaitFinals(1), Act::Leave(End::Eof)];
        let job = Job { continues, ..Job::get(reply) };
        let run = run(&Plot::new(program, vec![job]), Pace::Bytes);
        let statuses: Vec<_> = responses(run.received(), &[]).iter().map(Message::status).collect();
        assert_eq!((statuses, run.elapsed.as_secs()), (vec![100, 200], seconds), "{continues}");
    }
}

#[test]
fn a_gap_is_as_long_as_the_longest_and_not_as_all_together() {
    let almost = Limits::default().body_timeout - Duration::from_millis(1);
    let mut program = vec![send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n")];
    program.extend(b"hello".iter().flat_map(|byte| [Act::Pause(almost), send(&[*byte])]));
    program.extend([Act::AwaitFinals(1), Act::Leave(End::Eof)]);
    let run = run(&Plot::new(program, vec![Job::get(HELLO)]), Pace::Whole);
    assert_eq!((only(&run).status(), run.counters.served, run.elapsed), (200, 1, almost * 5));
}

#[test]
fn an_empty_line_behind_a_body_is_no_request() {
    let request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n";
    for leave in [vec![], vec![Act::Leave(End::Eof)]] {
        let program = [vec![send(request), Act::AwaitFinals(1)], leave.clone()].concat();
        let run = run(&Plot::new(program, vec![Job::get(HELLO)]), Pace::Whole);
        let reason = if leave.is_empty() { CloseReason::TimedOut } else { CloseReason::Done };
        assert_eq!((only(&run).status(), run.reason()), (200, reason));
    }
}

#[test]
fn small_chunks_are_taken_off_for_an_old_client() {
    let chunks = b"1\r\nx\r\n".repeat(30_000);
    let reply =
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunks.as_slice(), b"0\r\nA: b\r\n\r\n"]
            .concat();
    let program = vec![send(b"GET / HTTP/1.0\r\n\r\n")];
    let run = run(&Plot::new(program, vec![Job::get(&reply)]), Pace::Whole);
    assert!(only(&run).body == b"x".repeat(30_000), "chunks are lost or left");
}

#[test]
fn a_slow_head_is_answered_with_408_whatever_was_asked_before() {
    let program =
        vec![send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n"), Act::AwaitFinals(1), send(b"GET / HTTP/1.1\r\nHo")];
    let job = Job { method: "HEAD", ..Job::get(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n") };
    let run = run(&Plot::new(program, vec![job]), Pace::Whole);
    let late = &responses(run.received(), &[true])[1];
    assert_eq!((late.status(), late.whole, late.body.is_empty()), (408, Some(true), false));
}
