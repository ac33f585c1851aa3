//! The app decides about requests: the balancer forwards them, the file server answers them.
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ipnet::IpNet;

use crate::cluster::{Permit, Start, Tried};
use crate::http::answer::Answer;
use crate::http::head::RequestHead;

mod limits;

pub use limits::Limits;

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

/// The identity of a listener. No two listeners of a process have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(u64);

impl ListenerId {
    /// An identity that no listener has had.
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
}

impl ListenerSettings {
    /// True when `address` is in a trusted network. An IPv4 client of an IPv6 listener has an IPv4-mapped address; the
    /// IPv4 networks apply to it.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trust.iter().any(|network| network.contains(&address))
    }
}

/// What is known of a client. The engine makes it when a connection runs; an idle connection owns none.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    /// The address that the connection comes from.
    pub seen: SocketAddr,
    /// The address of the client that a proxy in front of us told.
    pub told: Option<SocketAddr>,
    /// Our own address of the connection, where it is known.
    pub local: Option<SocketAddr>,
    /// The connection to us is encrypted.
    pub encrypted: bool,
    /// The listener that accepted the connection.
    pub listener: ListenerId,
    /// The settings of this listener.
    pub settings: &'a ListenerSettings,
}

impl<'a> Client<'a> {
    /// A client whose connection is plain, and of which nothing is known but the address.
    pub fn new(seen: SocketAddr, listener: ListenerId, settings: &'a ListenerSettings) -> Self {
        Client { seen, told: None, local: None, encrypted: false, listener, settings }
    }

    /// The address of the client: as told, or else as seen.
    pub fn address(&self) -> SocketAddr {
        self.told.unwrap_or(self.seen)
    }

    /// True when the X-Forwarded fields of this client are kept.
    pub fn is_trusted(&self) -> bool {
        !self.settings.trust.is_empty() && self.settings.trusts(self.address().ip())
    }
}

/// Where a request goes.
#[derive(Debug)]
pub struct Plan {
    /// The first attempt, or the queue that it waits in.
    pub start: Start,
    /// The client's X-Forwarded fields are kept.
    pub trusted: bool,
}

/// The decision about one request.
#[derive(Debug)]
pub enum Decision {
    /// Forward it to a backend.
    Forward(Plan),
    /// Send an answer of our own.
    Answer(Answer),
    /// Send an answer of our own after a delay.
    AnswerAfter(Duration, Answer),
}

/// A program over the exchange.
pub trait App: Send + Sync + 'static {
    /// What one worker knows of the app's changing data, so that a request takes no lock. `()` where nothing changes.
    type View: fmt::Debug + Send + 'static;

    /// The view of a new worker.
    fn view(&self) -> Self::View;

    /// Brings a view up to date. Called once per wake-up of a worker: it reads one number when nothing has changed.
    fn refresh(&self, view: &mut Self::View);

    /// Decides about one valid request head.
    fn decide(
        &self,
        view: &mut Self::View,
        head: &RequestHead<'_>,
        client: &Client<'_>,
        now: &Moment,
    ) -> Decision;

    /// Begins an attempt for a request that has waited or whose last attempt failed, at a backend that is not in `tried`.
    /// `permit` is the permit of a request that has waited. None when there is no such backend.
    fn retry(
        &self,
        view: &mut Self::View,
        tried: &Tried,
        permit: &mut Option<Permit>,
        now: &Moment,
    ) -> Option<Start>;
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
