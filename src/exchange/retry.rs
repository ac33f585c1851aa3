//! When a request may be sent once more.

use crate::http::head::Method;

/// What is known when a backend fails before it answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Failure {
    /// Some byte of a response arrived, an interim one included.
    pub(super) answered: bool,
    /// All that was sent is still in our buffers.
    pub(super) whole: bool,
    /// Some byte of the request left on the connection that failed.
    pub(super) left: bool,
    /// The request was sent once more already.
    pub(super) retried: bool,
    pub(super) method: Method,
}

impl Failure {
    /// RFC 9110 section 9.2.2: a proxy does not repeat a request that is not idempotent, for the backend may have done
    /// what it asks; that the connection was a kept one does not tell. So such a request is sent once more only when no
    /// byte of it left. One retry, and never once something of the response has arrived.
    pub(super) fn may_retry(&self) -> bool {
        !self.answered && self.whole && !self.retried && (!self.left || self.method.is_idempotent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_retry_for_what_may_be_repeated() {
        let get = Failure { answered: false, whole: true, left: true, retried: false, method: Method::Get };
        let post = Failure { method: Method::Post, ..get };
        for (failure, may) in [
            (get, true),
            (Failure { left: false, ..get }, true),
            (Failure { answered: true, ..get }, false),
            (Failure { whole: false, ..get }, false),
            (Failure { retried: true, ..get }, false),
            (post, false),
            (Failure { left: false, ..post }, true),
            (Failure { left: false, retried: true, ..post }, false),
            (Failure { left: false, whole: false, ..post }, false),
        ] {
            assert_eq!(failure.may_retry(), may, "{failure:?}");
        }
    }
}
