//! What a program decides about requests: the balancer forwards them, the file server answers them.
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::cluster::{Lease, Tried};
use crate::http::answer::Answer;
use crate::http::head::RequestHead;

/// What an engine knows of the moment, read once per wake-up and passed down.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For deadlines.
    pub instant: Instant,
    /// For `Date`: IMF-fixdate, RFC 9110 section 5.6.7.
    pub date: [u8; 29],
    /// Client connections that are open.
    pub clients: usize,
}

/// Where a request goes.
#[derive(Debug)]
pub struct Plan {
    /// The backend, counted as busy for as long as this is held.
    pub lease: Lease,
    /// Backends that this request must not be given again.
    pub tried: Tried,
    /// The client's X-Forwarded fields are believed.
    pub trusted: bool,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Decision {
    /// It goes to a backend.
    Forward(Plan),
    /// We answer it ourselves.
    Answer(Answer),
    /// We answer it ourselves once this much time has passed.
    AnswerAfter(Duration, Answer),
}

/// How a try at a backend ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A whole response came.
    Served,
    /// No connection could be had.
    Unreachable,
    /// The connection broke, a deadline passed or the response was not HTTP.
    Failed,
}

/// A program over the exchange.
pub trait App: Send + Sync + 'static {
    /// Decides about one valid request head.
    fn decide(&self, head: &RequestHead<'_>, client: SocketAddr, now: &Moment) -> Decision;

    /// The plan's backend failed it: moves the plan to another one. One that could not be reached is not tried again for
    /// this request. False, and the backend stays, when there is no other.
    fn replan(&self, plan: &mut Plan, unreachable: bool, now: &Moment) -> bool;

    /// A try at the plan's backend ended.
    fn report(&self, plan: &Plan, outcome: Outcome, now: &Moment);
}
