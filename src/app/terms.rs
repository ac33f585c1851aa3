//! What holds for one request of a route, from the decision on.
use std::sync::Arc;
use std::time::Duration;

use super::limits::Limits;
use crate::cluster::Cluster;
use crate::http::answer::{Answer, Body, Bytes};
use crate::http::changes::FieldChanges;

/// What holds for one request from the decision on, in place of the settings of its listener. A request keeps its terms
/// to its end, also when the routes are replaced meanwhile.
#[derive(Debug)]
pub struct Terms {
    /// The cluster that gets the request.
    pub cluster: Arc<Cluster>,
    /// The deadlines that differ from those of the listener.
    pub deadlines: Deadlines,
    /// The changes of the request that is sent on.
    pub request: FieldChanges,
    /// The changes of the final response. An answer of ours in place of a backend's response is changed too.
    pub response: FieldChanges,
}

/// The limits of an exchange, and the deadlines in their place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds<'a> {
    /// The limits of the listener.
    pub(crate) limits: &'a Limits,
    /// The deadlines of the route; None without a route.
    pub(crate) deadlines: Option<&'a Deadlines>,
}

/// Deadlines that replace those of the listener; None: the deadline of the listener. See [`Limits`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deadlines {
    /// Time to connect to a backend.
    pub connect: Option<Duration>,
    /// Time that a request waits in the queue of a cluster.
    pub queue: Option<Duration>,
    /// Maximum time without a byte while the exchange waits for the backend.
    pub response: Option<Duration>,
    /// Maximum time without a byte while the client sends a body or reads a response.
    pub body: Option<Duration>,
    /// Maximum time without a byte in a tunnel.
    pub tunnel: Option<Duration>,
    /// Time for a backend to answer `Expect: 100-continue`.
    pub r#continue: Option<Duration>,
}

impl Deadlines {
    /// Returns these deadlines. A deadline that is None is taken from `other`.
    #[must_use]
    pub fn or(self, other: Deadlines) -> Self {
        Deadlines {
            connect: self.connect.or(other.connect),
            queue: self.queue.or(other.queue),
            response: self.response.or(other.response),
            body: self.body.or(other.body),
            tunnel: self.tunnel.or(other.tunnel),
            r#continue: self.r#continue.or(other.r#continue),
        }
    }
}

/// The content of an error answer of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The value of Content-Type.
    pub content_type: String,
    /// The bytes of the body.
    pub body: Arc<[u8]>,
}

impl Page {
    /// Returns the answer with this page as its body. The other fields and the status stay.
    pub(crate) fn replace_body_of(&self, answer: Answer) -> Answer {
        let mut fields = answer.fields.to_vec();
        let of_body = ["Content-Type", "Content-Range"].map(str::to_owned).to_vec();
        let type_set = vec![("Content-Type".to_owned(), self.content_type.clone())];
        FieldChanges::unchecked(of_body, type_set).apply_to_fields(&mut fields, 0);
        let body = Body::Bytes(Bytes::Shared(Arc::clone(&self.body)), 0..self.body.len());
        Answer { fields: Bytes::Owned(fields), body, ..answer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_replaces_the_body_and_its_type() {
        let page = Page { content_type: "text/html".to_owned(), body: Arc::from(&b"<p>"[..]) };
        // fields before, fields after
        let cases = [
            ("", "Content-Type: text/html\r\n"),
            (
                "Content-Type: text/plain\r\nRetry-After: 1\r\n",
                "Retry-After: 1\r\nContent-Type: text/html\r\n",
            ),
            ("Allow: GET\r\n", "Allow: GET\r\nContent-Type: text/html\r\n"),
        ];
        for (before, after) in cases {
            let fields = Bytes::Owned(before.as_bytes().to_vec());
            let answer = page.replace_body_of(Answer { fields, ..Answer::text(503, "no").closing() });
            assert_eq!(std::str::from_utf8(&answer.fields).unwrap(), after);
            assert_eq!((answer.status, answer.close, answer.body.len()), (503, true, 3));
        }
    }

    #[test]
    fn the_deadlines_of_a_route_come_before_those_of_its_cluster() {
        let seconds = |n| Some(Duration::from_secs(n));
        let route = Deadlines { response: seconds(1), ..Deadlines::default() };
        let cluster = Deadlines { response: seconds(2), connect: seconds(3), ..Deadlines::default() };
        let expected = Deadlines { response: seconds(1), connect: seconds(3), ..Deadlines::default() };
        assert_eq!(route.or(cluster), expected);
    }
}
