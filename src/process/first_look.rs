//! The first minutes of a balancer: what it says at the start, and a look whether each new backend can be reached.
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use neraca::engine::{self, TransformFactory};
use neraca::router::{NamedCluster, Router};
use parking_lot::Mutex;

/// Maximum time of a connect, with the handshake of TLS.
const PATIENCE: Duration = Duration::from_secs(1);
/// Maximum connects at a time.
const AT_A_TIME: usize = 8;
/// Maximum backends that the first lines name.
const NAMED: usize = 8;

/// Says where the requests go, and how an operator sees the status. `file` is the configuration file, `admin` the address of
/// the admin listener.
pub(crate) fn greeting(clusters: &[NamedCluster], file: Option<&Path>, admin: Option<SocketAddr>) -> String {
    let mut backends: Vec<String> = addresses(clusters).iter().map(ToString::to_string).collect();
    let more = backends.len().saturating_sub(NAMED);
    backends.truncate(NAMED);
    if more > 0 {
        backends.push(format!("{more} more"));
    }
    let backends = backends.join(", ");
    let first = match (file, clusters) {
        (Some(file), _) => format!("balancing by {} to {backends}", file.display()),
        (None, [only]) => format!("balancing by {} to {backends}", only.cluster.members().policy()),
        (None, _) => format!("balancing to {backends}"),
    };
    let status = match admin {
        Some(address) => format!("see the status: open the page above, or run: neraca status {address}"),
        None => "to see the status, add: --admin 127.0.0.1:9000".to_owned(),
    };
    format!("{first}\n{status}")
}

/// Returns the addresses of all backends, in the order of the clusters, each once.
fn addresses(clusters: &[NamedCluster]) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for one in clusters {
        for backend in one.cluster.members().backends() {
            if !addresses.contains(&backend.address()) {
                addresses.push(backend.address());
            }
        }
    }
    addresses
}

/// A backend to look at: its address, and what makes the transforms of its connections.
type Seen = (SocketAddr, Option<TransformFactory>);

/// Returns the backend at an address. The first bytes of a connection to a backend that expects the PROXY protocol name a client,
/// and there is none: it is only connected to.
fn seen(clusters: &[NamedCluster], address: SocketAddr) -> Seen {
    let members = clusters.iter().map(|one| one.cluster.members());
    let transform = members.into_iter().find_map(|members| {
        let found = members.backends().iter().find(|backend| backend.address() == address)?;
        found.transform().filter(|_| found.proxy_protocol().is_none()).cloned()
    });
    (address, transform)
}

/// Looks once whether each backend can be reached, and warns if not. Knows the backends of the last look.
#[derive(Debug, Default)]
pub(crate) struct FirstLook {
    known: BTreeSet<SocketAddr>,
}

impl FirstLook {
    /// Connects to each backend that is new since the last look. Returns at once, other threads do it. Clusters with active
    /// checks are left out, because their checks warn.
    pub(crate) fn begin(&mut self, router: &Arc<Router>) {
        let unchecked: Vec<NamedCluster> =
            router.clusters().into_iter().filter(|one| one.checks().is_none()).collect();
        let now = addresses(&unchecked);
        let new: Vec<Seen> = now
            .iter()
            .filter(|address| !self.known.contains(address))
            .map(|address| seen(&unchecked, *address))
            .collect();
        self.known = now.into_iter().collect();
        if new.is_empty() {
            return;
        }
        let started = thread::Builder::new().name("neraca-look".into()).spawn(move || {
            let report = |address, error: &io::Error| log::warn!("{}", warning(address, error));
            look(new, &report);
        });
        if let Err(error) = started {
            log::warn!("cannot look whether the backends can be reached: {error}");
        }
    }
}

/// Connects to each backend and closes the connection. Calls `report` for each that cannot be reached.
fn look(backends: Vec<Seen>, report: &(impl Fn(SocketAddr, &io::Error) + Sync)) {
    let threads = backends.len().min(AT_A_TIME);
    let rest = Mutex::new(backends.into_iter());
    let work = || {
        loop {
            let next = rest.lock().next();
            let Some((address, transform)) = next else { return };
            if let Err(error) = engine::reach(address, transform.as_ref(), PATIENCE) {
                report(address, &error);
            }
        }
    };
    thread::scope(|scope| {
        // This thread works too.
        (1..threads).for_each(|_| drop(scope.spawn(work)));
        work();
    });
}

/// Returns the warning about a backend that cannot be reached.
fn warning(address: SocketAddr, error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there: start the server, or correct the address",
        io::ErrorKind::InvalidData => "correct its certificate, or what is said about TLS with it",
        io::ErrorKind::TimedOut => "nobody answers: correct the address, or look for a firewall",
        _ => "correct the address, or look at the network",
    };
    format!("backend {address} cannot be reached: {error}; {advice}")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use neraca::cluster::{Cluster, Policy};
    use socket2::{Domain, Socket, Type};

    use super::*;

    fn router(backends: &[SocketAddr]) -> Arc<Router> {
        Arc::new(Router::new(Cluster::new(backends, Policy::TwoChoices, 1, Instant::now())))
    }

    #[test]
    fn the_first_lines_say_where_the_requests_go_and_how_to_see_the_status() {
        let address = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
        let few = [address(2), address(1)];
        let many: Vec<SocketAddr> = (1..=10).map(address).collect();
        let admin = Some(address(9000));
        for (backends, file, admin, expected) in [
            (
                &few[..],
                None,
                None,
                "balancing by two-choices to 10.0.0.1:2, 10.0.0.1:1\nto see the status, add: --admin 127.0.0.1:9000",
            ),
            (
                &few[..],
                Some(Path::new("a.toml")),
                admin,
                "balancing by a.toml to 10.0.0.1:2, 10.0.0.1:1\nsee the status: open the page above, or run: neraca \
                 status 10.0.0.1:9000",
            ),
            (
                &many[..],
                None,
                admin,
                "balancing by two-choices to 10.0.0.1:1, 10.0.0.1:2, 10.0.0.1:3, 10.0.0.1:4, 10.0.0.1:5, 10.0.0.1:6, \
                 10.0.0.1:7, 10.0.0.1:8, 2 more\nsee the status: open the page above, or run: neraca status 10.0.0.1:9000",
            ),
        ] {
            assert_eq!(greeting(&router(backends).clusters(), file, admin), expected);
        }
    }

    #[test]
    fn each_backend_that_cannot_be_reached_is_reported_once() {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        // A socket that is bound and does not listen: its port refuses, and no other program can take it.
        let refusing = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
            socket
        };
        let refusing: Vec<_> = (0..2 * AT_A_TIME).map(|_| refusing()).collect();
        let mut expected: Vec<_> =
            refusing.iter().map(|one| one.local_addr().unwrap().as_socket().unwrap()).collect();
        let reports = Mutex::new(Vec::new());
        let all = expected.iter().copied().chain([listening.local_addr().unwrap()]);
        look(all.map(|address| (address, None)).collect(), &|address, error: &io::Error| {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
            reports.lock().push(address);
        });
        let mut reports = reports.into_inner();
        reports.sort();
        expected.sort();
        assert_eq!(reports, expected);
        let text = warning(expected[0], &io::ErrorKind::ConnectionRefused.into());
        assert!(text.contains("start the server"), "{text}");
    }
}
