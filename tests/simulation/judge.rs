//! What holds of every run, whatever goes wrong in it.
use neraca::exchange::CloseReason;

use super::message::{Message, responses};
use super::peers::{Fault, Job, Seen};
use super::plots::Due;
use super::wire::End;
use super::world::{Got, Run};

/// Most attempts for one request.
const ATTEMPTS_MAX: usize = 3;

/// Judges one client: its final responses, against its jobs and what is due for them.
pub fn client(got: &Got, jobs: &[Job], dues: &[Due]) {
    let mut finals = responses(&got.received, &got.heads);
    finals.retain(|r| r.status() >= 200 || r.status() == 101);
    let statuses: Vec<_> = finals.iter().map(Message::status).collect();
    if jobs.last().is_some_and(|job| job.tunnel) {
        // Without consent to a tunnel, the bytes that were sent into it are a request, and a bad one.
        finals.truncate(jobs.len());
    }
    assert!(finals.len() <= jobs.len(), "{statuses:?} for {} requests", jobs.len());
    for (n, response) in finals.iter().enumerate() {
        one_response(response, &jobs[n], &dues[n], got, n + 1 == finals.len());
    }
}

fn one_response(response: &Message, job: &Job, due: &Due, got: &Got, last: bool) {
    assert!(last || response.whole == Some(true), "a response behind one that is not whole");
    let reason = got.reason.expect("a client with a response was connected");
    let ended = !reason.is_abrupt() && reason != CloseReason::ClientLost;
    let whole = response.whole == Some(true) || (response.whole.is_none() && ended);
    let Some(from) = response.field("x-job").or((response.status() == 101).then_some(b"101")) else {
        assert!(response.status() >= 400, "an answer of ours: {response:?}");
        return;
    };
    assert!(from == b"101" || from == job.id.to_string().as_bytes(), "the response to another request");
    assert_eq!(response.status(), due.status);
    assert!(due.body.starts_with(&response.body), "a body that nobody sent");
    let looks_whole = |fault: &Fault| match fault {
        Fault::Cut(_, End::Eof) => true,
        // With a transform, the end marker is missing.
        Fault::Cut(_, End::Torn) => got.marked.is_none(),
        _ => false,
    };
    let cut_by_end = job.faults.iter().any(looks_whole) && due.unframed;
    let sizes = (response.body.len(), due.body.len(), response.whole, reason);
    let fine = !whole || cut_by_end || job.tunnel || response.body == due.body;
    assert!(fine, "truncated, and it looks whole: {sizes:?} {:?}", response.start);
}

/// Judges the attempts for one job, in order.
pub fn attempts(run: &Run, job: &Job) {
    let attempts: Vec<&Seen> = run.seen.iter().filter(|seen| seen.job == job.id).collect();
    assert!(attempts.len() <= ATTEMPTS_MAX, "sent {} times", attempts.len());
    let idempotent = !matches!(job.method, "POST" | "BREW");
    for (n, pair) in attempts.windows(2).enumerate() {
        assert!(idempotent, "{} sent once more", job.method);
        assert!(!pair[1].reused, "sent once more on a kept connection");
        let head = job.reply.windows(4).position(|end| end == b"\r\n\r\n").map_or(usize::MAX, |at| at + 4);
        let answered = matches!(job.faults.get(n), Some(Fault::Cut(at, End::Eof | End::Torn)) if *at >= head);
        assert!(
            !answered || pair[0].message.whole != Some(true),
            "sent once more behind the head of an answer"
        );
    }
    for seen in attempts {
        let (message, body) = (&seen.message, if job.tunnel { &[] } else { job.body.as_slice() });
        assert!(body.starts_with(&message.body), "a body that nobody sent");
        assert!(message.whole != Some(true) || message.body == body, "a request cut short looks whole");
    }
}

/// Judges a client that nothing went wrong for: it has got exactly what is due. Returns the number of final responses,
/// and how many of them are tunnels.
pub fn undisturbed(got: &Got, dues: &[Due]) -> [u64; 2] {
    let all = responses(&got.received, &got.heads);
    let dues = &dues[..super::plots::served(dues)];
    let reason = got.reason.expect("a client that connected");
    assert!(!reason.is_abrupt(), "{reason:?}");
    assert_ne!(got.marked, Some(false), "an end without its marker");
    let finals: Vec<_> = all.iter().filter(|r| r.status() >= 200 || r.status() == 101).collect();
    let statuses: Vec<_> = finals.iter().map(|r| r.status()).collect();
    assert_eq!(statuses, dues.iter().map(|due| due.status).collect::<Vec<_>>(), "{reason:?}");
    for (response, due) in finals.iter().zip(dues) {
        assert!(response.body == due.body, "another body");
        assert_eq!(response.trailers, due.trailers);
        assert_ne!(response.whole, Some(false));
    }
    assert_eq!(all.len(), dues.iter().map(|due| due.interims + 1).sum::<usize>(), "interim responses");
    [finals.len() as u64, statuses.iter().filter(|status| **status == 101).count() as u64]
}
