//! A line on stdout for every request. It exists to measure what that costs.
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use neraca::app::{App, Decision, Moment, Outcome, Plan};
use neraca::http::head::RequestHead;

/// An app whose requests are printed, one line and one write each.
#[derive(Debug)]
pub(crate) struct AccessLog<A>(pub(crate) Arc<A>);

fn line(head: &RequestHead<'_>, client: SocketAddr, now: &Moment) -> String {
    let date = String::from_utf8_lossy(&now.date);
    format!("{client} [{date}] {:?} {}\n", head.method, head.target)
}

impl<A: App> App for AccessLog<A> {
    fn decide(&self, head: &RequestHead<'_>, client: SocketAddr, now: &Moment) -> Decision {
        let _ = io::stdout().write_all(line(head, client, now).as_bytes());
        self.0.decide(head, client, now)
    }

    fn replan(&self, plan: &mut Plan, unreachable: bool, now: &Moment) -> bool {
        self.0.replan(plan, unreachable, now)
    }

    fn report(&self, plan: &Plan, outcome: Outcome, now: &Moment) {
        self.0.report(plan, outcome, now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use neraca::http::head::{FieldSlots, HeadLimits, HeadScan};

    use super::*;

    #[test]
    fn a_request_is_one_line() {
        let bytes = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut slots = FieldSlots::new();
        let head = HeadScan::default().request(bytes, &HeadLimits::default(), &mut slots).unwrap().unwrap();
        let now = Moment { instant: Instant::now(), date: *b"Sun, 06 Nov 1994 08:49:37 GMT", clients: 1 };
        let said = line(&head, "10.0.0.1:5".parse().unwrap(), &now);
        assert_eq!(said, "10.0.0.1:5 [Sun, 06 Nov 1994 08:49:37 GMT] Get /a?b\n");
    }
}
