//! The deadlines that a cluster or a route has of its own.
use std::time::Duration;

use super::tree::Table;
use crate::app::{Deadlines, Limits};

/// Takes the deadlines whose keys a table has from `limits`.
pub(super) fn of(table: &Table, limits: &Limits) -> Deadlines {
    let own = |key: &str, time: Duration| table.get(key).map(|_| time);
    Deadlines {
        connect: own("connect_timeout_ms", limits.connect_timeout),
        queue: own("queue_timeout_ms", limits.queue_timeout),
        response: own("response_timeout_ms", limits.response_timeout),
        body: own("body_timeout_ms", limits.body_timeout),
        tunnel: own("tunnel_timeout_ms", limits.tunnel_timeout),
        r#continue: own("continue_timeout_ms", limits.continue_timeout),
    }
}
