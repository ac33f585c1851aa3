//! One attempt to have a request answered by one backend.
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backend::{AttemptEnd, Backend, BackendId, Failure};

/// One attempt at one backend. The backend counts it as in flight until it ends. Every attempt ends exactly once: by
/// [`Attempt::finish`], or as abandoned when it is dropped.
#[derive(Debug)]
pub struct Attempt {
    backend: Arc<Backend>,
    started: Instant,
    ended: bool,
}

impl Attempt {
    /// Begins an attempt.
    pub fn new(backend: &Arc<Backend>, now: Instant) -> Self {
        backend.count_start();
        Attempt { backend: Arc::clone(backend), started: now, ended: false }
    }

    /// The backend. It stays known after the end.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// The time since the attempt began.
    pub fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Ends the attempt. A failed connect ejects the backend; a whole response ends an ejection.
    pub fn finish(&mut self, end: AttemptEnd, now: Instant) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        match end {
            AttemptEnd::Answered => self.backend.restore(),
            AttemptEnd::Failed(Failure::Refused | Failure::ConnectTimeout) => self.backend.eject(now),
            AttemptEnd::Abandoned | AttemptEnd::Failed(_) => {}
        }
        self.backend.count_end(end);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.ended {
            self.backend.count_end(AttemptEnd::Abandoned);
        }
    }
}

/// The backends that one request is not given to again. Allocates nothing while it is empty, as it nearly always is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried(Vec<BackendId>);

impl Tried {
    /// Adds a backend.
    pub fn insert(&mut self, id: BackendId) {
        if !self.contains(id) {
            self.0.push(id);
        }
    }

    /// True when the backend was added.
    pub fn contains(&self, id: BackendId) -> bool {
        self.0.contains(&id)
    }

    /// Adds backends.
    pub fn extend(&mut self, ids: impl IntoIterator<Item = BackendId>) {
        ids.into_iter().for_each(|id| self.insert(id));
    }

    /// Forgets every backend.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::cluster::EJECTED_FOR;

    fn backend(epoch: Instant) -> Arc<Backend> {
        Arc::new(Backend::new(SocketAddr::from(([127, 0, 0, 1], 80)), epoch))
    }

    #[test]
    fn attempts_count_up_and_down() {
        let now = Instant::now();
        let backend = backend(now);
        let first = Attempt::new(&backend, now);
        let mut second = Attempt::new(&backend, now);
        assert_eq!(backend.in_flight(), 2);
        drop(first);
        assert_eq!(backend.in_flight(), 1);
        second.finish(AttemptEnd::Answered, now);
        assert_eq!(backend.in_flight(), 0);
        drop(second);
        assert_eq!(backend.in_flight(), 0);
    }

    #[test]
    fn an_attempt_is_abandoned_by_a_panic_too() {
        let now = Instant::now();
        let backend = backend(now);
        let held = Arc::clone(&backend);
        let result = std::panic::catch_unwind(move || {
            let _attempt = Attempt::new(&held, now);
            std::panic::resume_unwind(Box::new("an exchange broke"));
        });
        assert!(result.is_err());
        assert_eq!((backend.in_flight(), backend.counts().abandoned), (0, 1));
    }

    #[test]
    fn every_end_is_counted_once_by_its_kind() {
        let now = Instant::now();
        let backend = backend(now);
        let failures = Failure::ALL.map(AttemptEnd::Failed);
        for end in [AttemptEnd::Answered, AttemptEnd::Abandoned].into_iter().chain(failures) {
            let mut attempt = Attempt::new(&backend, now);
            attempt.finish(end, now);
            attempt.finish(AttemptEnd::Abandoned, now);
        }
        let counts = backend.counts();
        assert_eq!((counts.started, counts.ended()), (10, 10));
        assert_eq!((counts.answered, counts.abandoned, counts.failed), (1, 1, [1; 8]));
        for (kind, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, kind);
            assert_eq!(counts.failed(failure), 1);
        }
    }

    #[test]
    fn only_a_failed_connect_ejects_and_a_response_ends_the_ejection() {
        use AttemptEnd::{Answered, Failed};
        let start = Instant::now();
        // ends one after the other, available afterwards, available when an ejection has ended
        let cases: [(&[AttemptEnd], bool, bool); 6] = [
            (&[Answered], true, true),
            (&[Failed(Failure::Reset)], true, true),
            (&[Failed(Failure::Local)], true, true),
            (&[Failed(Failure::Refused)], false, true),
            (&[Failed(Failure::Refused), Failed(Failure::Reset)], false, true),
            (&[Failed(Failure::ConnectTimeout), Answered], true, true),
        ];
        for (ends, at_once, later) in cases {
            let backend = backend(start);
            for &end in ends {
                Attempt::new(&backend, start).finish(end, start);
            }
            assert_eq!(backend.available(start), at_once, "{ends:?}");
            let after = start + EJECTED_FOR + Duration::from_millis(1);
            assert_eq!(backend.available(after), later, "{ends:?}");
        }
    }

    #[test]
    fn tried_is_a_set() {
        let mut tried = Tried::default();
        assert_eq!(tried.0.capacity(), 0);
        let ids = [0, 1, 2].map(|_| backend(Instant::now()).id());
        for id in [ids[2], ids[0], ids[2]] {
            tried.insert(id);
        }
        assert_eq!(tried.0, [ids[2], ids[0]]);
        assert!(tried.contains(ids[0]) && tried.contains(ids[2]) && !tried.contains(ids[1]));
    }
}
