//! The app of the admin listener: it tells how the balancer does, and drains backends.
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz` | 200 while the process runs |
//! | `GET /ready` | 200, or 503 during a drain |
//! | `GET /metrics` | metrics in a text format of Prometheus |
//! | `GET /status` | a page for people |
//! | `GET /status.json` | the same facts for programs |
//! | `POST /backends/HOST:PORT/drain`, `/enable` | 204; the address in all clusters; needs `Authorization: Bearer TOKEN` |
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::app::{App, Client, Decision, Moment};
use crate::http::answer::{Answer, Body, Bytes};
use crate::http::head::{Method, RequestHead};
use crate::router::Router;

mod facts;
mod format;
mod metrics;
mod past;
mod status;

pub use facts::{ConfigurationFacts, EngineFacts, Facts, TlsFacts};
pub use status::{BackendStatus, Status};

use format::Format;
use past::Past;

/// Time for which picks are recorded after somebody has looked at them.
const WATCH: Duration = Duration::from_secs(10);

/// Tells how a balancer does. It runs on an engine of its own, so its clients never wait for the balancer's workers.
pub struct Admin {
    router: Arc<Router>,
    facts: Facts,
    /// Without a token every change is refused.
    token: Option<String>,
    started: Instant,
    past: Mutex<Past>,
    /// The time until which picks are recorded.
    watched_until: Mutex<Option<Instant>>,
}

impl Admin {
    /// Makes the app. `facts` tells about the engine of the balancer. Requests that change something need `token`.
    pub fn new(router: Arc<Router>, facts: Facts, token: Option<String>, now: Instant) -> Self {
        let (past, watched_until) = (Mutex::default(), Mutex::default());
        Admin { router, facts, token, started: now, past, watched_until }
    }

    fn answer(&self, head: &RequestHead<'_>, now: Instant) -> Answer {
        let path = head.target.split('?').next().unwrap_or_default();
        let is_read = matches!(head.method, Method::Get | Method::Head);
        match path {
            "/" | "/healthz" | "/ready" | "/metrics" | "/status" | "/status.json" if !is_read => {
                not_allowed("GET, HEAD")
            }
            "/" => moved_to("/status"),
            "/healthz" => Answer::text(200, "the process runs"),
            "/ready" if (self.facts)().is_ready => Answer::text(200, "requests are welcome"),
            "/ready" => Answer::text(503, "the process drains"),
            "/metrics" => self.metrics(Format::accepted(head.fields.get("accept")), now),
            "/status" => page(include_bytes!("status.html")),
            "/status.json" => {
                self.watch_picks(now);
                match serde_json::to_vec(&self.status(now)) {
                    Ok(json) => whole(b"Content-Type: application/json\r\nCache-Control: no-store\r\n", json),
                    Err(error) => Answer::text(500, error),
                }
            }
            _ => match path.strip_prefix("/backends/").and_then(|rest| rest.rsplit_once('/')) {
                Some((backend, change @ ("drain" | "enable"))) => {
                    self.change(head, backend, change == "drain")
                }
                _ => Answer::text(404, "expected /status, /status.json, /metrics, /healthz or /ready"),
            },
        }
    }

    /// Returns the facts of `/status.json`.
    pub fn status(&self, now: Instant) -> Status {
        Status::of(&self.router, &(self.facts)(), &self.past.lock(), now.duration_since(self.started), now)
    }

    fn metrics(&self, format: Format, now: Instant) -> Answer {
        match metrics::open_metrics(&self.router, &(self.facts)(), now) {
            Ok(text) => whole(format.fields(), format.write(text).into_bytes()),
            Err(error) => Answer::text(500, error),
        }
    }

    /// Begins or ends the drain of the backends with this address, in all clusters.
    fn change(&self, head: &RequestHead<'_>, backend: &str, drain: bool) -> Answer {
        if head.method != Method::Post {
            return not_allowed("POST");
        }
        let Some(token) = &self.token else {
            return Answer::text(403, "changes are off: start with --admin-token-file FILE to allow them");
        };
        // The name of a scheme is not case-sensitive (RFC 9110 section 11.1).
        let given =
            head.fields.get("authorization").and_then(|value| value.split_at_checked(b"Bearer ".len()));
        let is_token = |(scheme, given): (&[u8], &[u8])| {
            scheme.eq_ignore_ascii_case(b"Bearer ") && are_equal(given, token.as_bytes())
        };
        if !given.is_some_and(is_token) {
            const FIELDS: &[u8] = b"WWW-Authenticate: Bearer\r\nContent-Type: text/plain; charset=utf-8\r\n";
            let unauthorized = Answer::text(401, "expected the token in 'Authorization: Bearer TOKEN'");
            return Answer { fields: Bytes::Static(FIELDS), ..unauthorized };
        }
        let members: Vec<_> = self.router.clusters().iter().map(|one| one.cluster.members()).collect();
        let backends = members.iter().flat_map(|members| members.backends());
        let mut found = backends.filter(|one| one.address().to_string() == backend).peekable();
        if found.peek().is_none() {
            return Answer::text(404, format_args!("there is no backend '{backend}'"));
        }
        log::warn!("backend {backend} {}", if drain { "drains" } else { "is enabled" });
        found.for_each(|one| one.drain(drain));
        Answer { status: 204, fields: Bytes::Static(b""), body: Body::None, close: false }
    }

    fn watch_picks(&self, now: Instant) {
        self.router.clusters().iter().for_each(|one| one.cluster.watch_picks(true));
        *self.watched_until.lock() = Some(now + WATCH);
    }
}

impl App for Admin {
    type View = ();

    fn view(&self) {}

    fn refresh(&self, (): &mut ()) {}

    fn sweep(&self, now: Instant) {
        if let Some(traffic) = self.router.traffic() {
            self.past.lock().note(&traffic.total(), now);
        }
        let mut watched_until = self.watched_until.lock();
        if watched_until.is_some_and(|until| now >= until) {
            *watched_until = None;
            self.router.clusters().iter().for_each(|one| one.cluster.watch_picks(false));
        }
    }

    fn decide(&self, (): &mut (), head: &RequestHead<'_>, _: &Client<'_>, now: &Moment) -> Decision {
        Decision::Answer(self.answer(head, now.instant))
    }
}

/// Compares in a time that depends on the lengths only, so that the time tells nothing about the token.
fn are_equal(given: &[u8], token: &[u8]) -> bool {
    given.len() == token.len() && given.iter().zip(token).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn whole(fields: &'static [u8], body: Vec<u8>) -> Answer {
    let all = 0..body.len();
    let body = Body::Bytes(Bytes::Owned(body), all);
    Answer { status: 200, fields: Bytes::Static(fields), body, close: false }
}

/// The page needs nothing from other places, and no other page may show it in a frame.
fn page(html: &'static [u8]) -> Answer {
    const FIELDS: &[u8] = b"Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n\
        X-Frame-Options: DENY\r\nX-Content-Type-Options: nosniff\r\n";
    let body = Body::Bytes(Bytes::Static(html), 0..html.len());
    Answer { status: 200, fields: Bytes::Static(FIELDS), body, close: false }
}

fn moved_to(place: &str) -> Answer {
    let fields = format!("Location: {place}\r\n").into_bytes();
    Answer { status: 302, fields: Bytes::Owned(fields), body: Body::None, close: false }
}

fn not_allowed(methods: &str) -> Answer {
    let fields = format!("Allow: {methods}\r\nContent-Type: text/plain; charset=utf-8\r\n").into_bytes();
    Answer { fields: Bytes::Owned(fields), ..Answer::text(405, format_args!("expected {methods}")) }
}

#[cfg(test)]
mod tests;
