//! When a request may be sent once more.

use crate::http::head::Method;

/// What is known when a backend fails before it answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    /// Some byte of a response arrived, an interim one included.
    pub(super) answered: bool,
    /// All that was sent is still in our buffers.
    pub(super) whole: bool,
    /// The connection was a kept one: the backend may have closed it before it saw the request.
    pub(super) reused: bool,
    /// The request was sent once more already.
    pub(super) retried: bool,
    pub(super) method: Method,
}

impl Failure {
    /// RFC 9110 section 9.2.2 and RFC 9112 section 9.3.1: an idempotent request may be repeated; any other only
    /// where the connection was a kept one that ended without a byte of a response. One retry, and never once
    /// something of the response has arrived.
    pub(super) fn may_retry(&self) -> bool {
        !self.answered && self.whole && !self.retried && (self.reused || self.method.is_idempotent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_retry_for_what_may_be_repeated() {
        let get =
            Failure { answered: false, whole: true, reused: false, retried: false, method: Method::Get };
        let post = Failure { method: Method::Post, ..get };
        for (failure, may) in [
            (get, true),
            (Failure { reused: true, ..get }, true),
            (Failure { answered: true, ..get }, false),
            (Failure { whole: false, ..get }, false),
            (Failure { retried: true, ..get }, false),
            (post, false),
            (Failure { reused: true, ..post }, true),
            (Failure { reused: true, retried: true, ..post }, false),
            (Failure { reused: true, whole: false, ..post }, false),
        ] {
            assert_eq!(failure.may_retry(), may, "{failure:?}");
        }
    }
}
