//! The [`App`] trait, which decides how each request is handled. The balancer forwards requests; the file server
//! answers requests.
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::cluster::{History, Permit, Session, Start};
use crate::http::answer::Answer;
use crate::http::head::RequestHead;
use crate::observe::access_log::Note;
pub use crate::observe::requests::RequestEnd;

mod finished;
mod limits;
mod sample;
mod terms;

pub use finished::Finished;
pub use limits::Limits;
pub use sample::Sample;
pub(crate) use terms::Bounds;
pub use terms::{Deadlines, Page, Terms};

/// The time and the load at one wake-up of a worker. The engine reads them once and passes them down.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The clock that deadlines use.
    pub instant: Instant,
    /// The value of a `Date` field: IMF-fixdate, RFC 9110 section 5.6.7.
    pub date: [u8; 29],
    /// The number of open client connections.
    pub clients: usize,
}

/// The identity of a listener. No two listeners of a process have the same identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(u64);

impl ListenerId {
    /// Returns an identity that no other listener has.
    pub fn unused() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        ListenerId(NEXT.fetch_add(1, Relaxed))
    }
}

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The settings of a listener that hold for every request on it.
#[derive(Debug, Clone, Default)]
pub struct ListenerSettings {
    /// The limits of each exchange.
    pub limits: Limits,
    /// The networks whose X-Forwarded fields are kept.
    pub trust: Vec<IpNet>,
    /// The networks whose connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Vec<IpNet>,
    /// True to write a Forwarded field (RFC 7239) beside the X-Forwarded fields.
    pub forwarded: bool,
    /// The name by which routes know the listener; None without one.
    pub name: Option<String>,
}

impl ListenerSettings {
    /// True when `address` is in a trusted network. An IPv4-mapped IPv6 address counts as its IPv4 address.
    pub fn trusts(&self, address: IpAddr) -> bool {
        contain(&self.trust, address)
    }

    /// True when a connection from `address` begins with a header of the PROXY protocol.
    pub fn expects_proxy_header(&self, address: IpAddr) -> bool {
        contain(&self.proxy_protocol, address)
    }
}

#[inline(never)]
fn contain(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The known facts about a client. The engine builds a `Client` when a connection runs. An idle connection owns no
/// `Client`.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// The address that the connection comes from.
    pub peer: SocketAddr,
    /// The client address that a proxy in front of us reported.
    pub reported: Option<SocketAddr>,
    /// Our own address of the connection, if known.
    pub local: Option<SocketAddr>,
    /// True when the connection to us is encrypted: its listener has a transform.
    pub encrypted: bool,
    /// The listener that accepted the connection.
    pub listener: ListenerId,
    /// The settings of this listener.
    pub settings: &'a ListenerSettings,
}

impl<'a> Client<'a> {
    /// Makes a client with an unencrypted connection and no address from a proxy.
    pub fn new(peer: SocketAddr, listener: ListenerId, settings: &'a ListenerSettings) -> Self {
        Client { peer, reported: None, local: None, encrypted: false, listener, settings }
    }

    /// Returns the client's address: `reported` if it is known, else `peer`.
    pub fn address(&self) -> SocketAddr {
        self.reported.unwrap_or(self.peer)
    }

    /// True when the X-Forwarded fields of this client are kept.
    pub fn is_trusted(&self) -> bool {
        !self.settings.trust.is_empty() && self.settings.trusts(self.address().ip())
    }
}

/// The destination of a forwarded request.
#[derive(Debug)]
pub struct Plan {
    /// The first attempt, or the queue in which the request waits.
    pub start: Start,
    /// The hash of the request's key, for the attempts that follow; None without a key.
    pub key: Option<u64>,
    /// What the response tells the client about its session.
    pub session: Session,
    /// True to repeat an idempotent request without a body whose answer is 502, 503 or 504.
    pub repeats_answers: bool,
    /// True to keep the client's X-Forwarded fields.
    pub trusted: bool,
    /// What holds for the request from now on; None: the settings of its listener.
    pub terms: Option<Arc<Terms>>,
}

/// The decision about one request.
#[derive(Debug)]
pub enum Decision {
    /// Forward the request to a backend.
    Forward(Plan),
    /// Send an answer of our own.
    Answer(Answer),
    /// Send an answer of our own after a delay.
    AnswerAfter(Duration, Answer),
}

/// Decides how each request is handled. One app serves all connections of an engine.
///
/// ```
/// use neraca::app::{App, Client, Decision, Moment};
/// use neraca::http::answer::Answer;
/// use neraca::http::head::RequestHead;
///
/// /// Answers each request with its target.
/// struct Echo;
///
/// impl App for Echo {
///     type View = ();
///
///     fn view(&self) {}
///
///     fn refresh(&self, _: &mut ()) {}
///
///     fn decide(&self, _: &mut (), head: &RequestHead<'_>, _: &Client<'_>, _: &Moment) -> Decision {
///         Decision::Answer(Answer::text(200, head.target))
///     }
/// }
/// ```
pub trait App: Send + Sync + 'static {
    /// One worker's snapshot of the app's changing data. With the snapshot, a request takes no lock. Use `()` if no
    /// data changes.
    type View: fmt::Debug + Send + 'static;

    /// Makes the view of a new worker.
    fn view(&self) -> Self::View;

    /// Brings a view up to date. A worker calls `refresh` once per wake-up, so an unchanged view should cost one atomic
    /// load.
    fn refresh(&self, view: &mut Self::View);

    /// Does the app's periodic work. Each worker calls it about five times a second.
    fn sweep(&self, _now: Instant) {}

    /// Decides about one valid request head. Must not block, because the call runs on a worker.
    fn decide(
        &self,
        view: &mut Self::View,
        head: &RequestHead<'_>,
        client: &Client<'_>,
        now: &Moment,
    ) -> Decision;

    /// Begins an attempt for a request that has waited, or whose last attempt failed. The backend of the new attempt is
    /// not in the set `tried` of its history. `terms` are those of the [`Plan`], and `permit` is the permit of a request
    /// that has waited. Returns None when no such backend is left, or when the budget allows no retry. An app that
    /// forwards nothing is never asked.
    fn retry(
        &self,
        _view: &mut Self::View,
        _terms: Option<&Terms>,
        _history: &History<'_>,
        _permit: &mut Option<Permit>,
        _now: &Moment,
    ) -> Option<Start> {
        None
    }

    /// Returns the page for an error answer of ours with this status, from 400 to 599. None: the answer stays as it is.
    fn page(&self, _view: &Self::View, _status: u16) -> Option<Arc<Page>> {
        None
    }

    /// Notes what [`finished`](App::finished) needs of a request head, which is gone by then. Called once for each valid
    /// head, after [`decide`](App::decide). `note` may hold the note of an earlier request, whose memory is used again. An
    /// app that notes nothing returns false.
    fn note(
        &self,
        _view: &mut Self::View,
        _head: &RequestHead<'_>,
        _client: &Client<'_>,
        _note: &mut Option<Box<Note>>,
    ) -> bool {
        false
    }

    /// Takes note of a request that has ended. The exchange tells each request exactly once, whatever its end. It tells
    /// nothing when it panics, or when the client has left before its request head was whole. Must not block. Calling
    /// `request` collects the facts of the request; an app that does not call it does not pay for them.
    fn finished<'a>(
        &self,
        _view: &mut Self::View,
        _client: &Client<'_>,
        _request: impl FnOnce() -> Finished<'a>,
    ) {
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_within_a_trusted_network_are_trusted() {
        let trust = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"].map(|network| network.parse().unwrap());
        let settings = ListenerSettings { trust: trust.to_vec(), ..ListenerSettings::default() };
        let cases = [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("2001:db8::1", true),
            ("2001:db9::1", false),
        ];
        for (client, trusted) in cases {
            assert_eq!(settings.trusts(client.parse().unwrap()), trusted, "{client}");
        }
    }
}
