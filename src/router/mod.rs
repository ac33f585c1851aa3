//! The balancer: every valid request goes to a backend of one cluster.
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::app::{App, Decision, Moment, Outcome, Plan};
use crate::cluster::{Cluster, Tried};
use crate::http::answer::{Reason, answer};
use crate::http::head::RequestHead;

/// Forwards every request to a backend that the cluster picks.
#[derive(Debug)]
pub struct Router {
    cluster: Cluster,
    trust: Vec<IpNet>,
}

impl Router {
    /// A balancer over `cluster` that believes the X-Forwarded fields of clients within `trust`.
    pub fn new(cluster: Cluster, trust: Vec<IpNet>) -> Self {
        Router { cluster, trust }
    }

    /// The backends and what is known of them.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn plan(&self, tried: Tried, trusted: bool, now: &Moment) -> Option<Plan> {
        let lease = self.cluster.pick(&tried, now.instant)?;
        Some(Plan { lease, tried, trusted })
    }

    /// An IPv4 client of an IPv6 listener shows as a mapped address and is meant by the IPv4 networks.
    fn trusts(&self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        self.trust.iter().any(|network| network.contains(&client))
    }
}

impl App for Router {
    fn decide(&self, _head: &RequestHead<'_>, client: SocketAddr, now: &Moment) -> Decision {
        match self.plan(Tried::default(), self.trusts(client.ip()), now) {
            Some(plan) => Decision::Forward(plan),
            None => Decision::Answer(answer(Reason::NoBackend)),
        }
    }

    fn replan(&self, plan: &mut Plan, unreachable: bool, now: &Moment) -> bool {
        let mut others = plan.tried.clone();
        others.insert(plan.lease.id());
        let next = self.cluster.pick(&others, now.instant);
        if unreachable {
            plan.tried = others;
        }
        next.map(|lease| plan.lease = lease).is_some()
    }

    /// A connection that broke says nothing about the next one, so `Failed` ejects nobody.
    fn report(&self, plan: &Plan, outcome: Outcome, now: &Moment) {
        match outcome {
            Outcome::Served => plan.lease.succeeded(),
            Outcome::Unreachable => plan.lease.unreachable(now.instant),
            Outcome::Failed => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::cluster::{EJECTED_FOR, Policy};
    use crate::http::head::{FieldSlots, HeadLimits, HeadScan};

    fn now(instant: Instant) -> Moment {
        Moment { instant, date: *b"Sun, 06 Nov 1994 08:49:37 GMT", clients: 1 }
    }

    fn balance(backends: u16, trust: &[&str], epoch: Instant) -> Router {
        let addresses: Vec<_> = (0..backends).map(|i| SocketAddr::from(([127, 0, 0, 1], 9000 + i))).collect();
        let trust = trust.iter().map(|network| network.parse().unwrap()).collect();
        Router::new(Cluster::new(&addresses, Policy::LeastRequests, 1, epoch), trust)
    }

    #[test]
    fn a_valid_head_is_forwarded_or_answered_with_503() {
        let now = now(Instant::now());
        let mut slots = FieldSlots::new();
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let head = HeadScan::default().request(bytes, &HeadLimits::default(), &mut slots).unwrap().unwrap();
        for (client, trusted) in [("10.0.0.1:5", true), ("11.0.0.1:5", false)] {
            match balance(1, &["10.0.0.0/8"], now.instant).decide(&head, client.parse().unwrap(), &now) {
                Decision::Forward(plan) => assert_eq!((plan.trusted, plan.lease.in_flight()), (trusted, 1)),
                other => panic!("{other:?}"),
            }
        }
        match balance(0, &[], now.instant).decide(&head, "10.0.0.1:5".parse().unwrap(), &now) {
            Decision::Answer(answer) => assert_eq!(answer.status, 503),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_offered_to_each_backend_once() {
        let now = now(Instant::now());
        let balance = balance(3, &[], now.instant);
        let mut plan = balance.plan(Tried::default(), true, &now).expect("a backend");
        let mut ids = Vec::new();
        loop {
            assert!(plan.trusted);
            ids.push(plan.lease.id());
            balance.report(&plan, Outcome::Unreachable, &now);
            if !balance.replan(&mut plan, true, &now) {
                break;
            }
        }
        drop(plan);
        ids.sort_unstable();
        assert_eq!(ids, [0, 1, 2]);
        assert!(balance.cluster().backends().iter().all(|b| b.in_flight() == 0 && !b.available(now.instant)));
    }

    #[test]
    fn one_that_broke_off_may_be_asked_again_when_the_others_cannot_be_reached() {
        let now = now(Instant::now());
        let balance = balance(2, &[], now.instant);
        let mut plan = balance.plan(Tried::default(), false, &now).expect("a backend");
        let first = plan.lease.id();
        assert!(balance.replan(&mut plan, false, &now) && plan.lease.id() != first);
        assert!(balance.replan(&mut plan, true, &now) && plan.lease.id() == first);
        assert!(!balance.replan(&mut plan, false, &now) && plan.lease.id() == first);
    }

    #[test]
    fn only_an_unreachable_backend_is_ejected_and_a_response_brings_it_back() {
        let start = Instant::now();
        // outcomes one after the other, available afterwards, available when an ejection has ended
        let cases: [(&[Outcome], bool, bool); 5] = [
            (&[Outcome::Served], true, true),
            (&[Outcome::Failed], true, true),
            (&[Outcome::Unreachable], false, true),
            (&[Outcome::Unreachable, Outcome::Failed], false, true),
            (&[Outcome::Unreachable, Outcome::Served], true, true),
        ];
        for (outcomes, concurrency, later) in cases {
            let balance = balance(1, &[], start);
            let plan = balance.plan(Tried::default(), false, &now(start)).unwrap();
            for &outcome in outcomes {
                balance.report(&plan, outcome, &now(start));
            }
            assert_eq!(plan.lease.available(start), concurrency, "{outcomes:?}");
            let end = start + EJECTED_FOR + Duration::from_millis(1);
            assert_eq!(plan.lease.available(end), later, "{outcomes:?}");
        }
    }

    #[test]
    fn clients_within_a_trusted_network_are_trusted() {
        let balance = balance(1, &["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32"], Instant::now());
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
            assert_eq!(balance.trusts(client.parse().unwrap()), trusted, "{client}");
        }
    }
}
