//! What is known of a request before its next attempt.
use super::backend_id::BackendId;

/// What has happened to a request before an attempt.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// The backends that must not get the request.
    pub tried: &'a Tried,
    /// The hash of the request's key, for the policies that pick by a key. None: the request has no such key.
    pub key: Option<u64>,
    /// True when an earlier attempt has reached a backend. Then the attempt is a retry that the budget must allow.
    pub reached: bool,
}

impl History<'_> {
    /// The history of a request without an attempt.
    pub const NONE: History<'static> = History { tried: &Tried(Vec::new()), key: None, reached: false };

    /// Returns the history of a request with this key and without an attempt.
    pub fn with_key(key: Option<u64>) -> History<'static> {
        History { key, ..History::NONE }
    }
}

/// A set of backends. An empty set allocates nothing, and nearly every set is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried(pub(super) Vec<BackendId>);

impl Tried {
    /// Adds a backend.
    pub fn insert(&mut self, id: BackendId) {
        if !self.contains(id) {
            self.0.push(id);
        }
    }

    /// True when no backend was tried.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True when the set contains the backend.
    pub fn contains(&self, id: BackendId) -> bool {
        self.0.contains(&id)
    }

    pub(super) fn extend(&mut self, ids: impl IntoIterator<Item = BackendId>) {
        ids.into_iter().for_each(|id| self.insert(id));
    }
}
