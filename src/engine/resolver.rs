//! The questions to DNS: hickory-resolver over smol. `discovery.rs` decides who is asked and when.
use std::fmt;
use std::net::SocketAddr;

use crate::cluster::names::{Found, Name};

/// The reason why a question got no addresses, for an operator.
#[derive(Debug)]
pub(super) struct AskError(String);

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Asks for the backends of a name: the hosts file first, then `server` or the DNS servers of the system. Reads the
/// configuration of the system each time, so that changes of /etc/resolv.conf and /etc/hosts count.
///
/// # Errors
/// When nobody answers, or the answer has no address.
pub(super) async fn ask(name: &Name, server: Option<SocketAddr>) -> Result<Found, AskError> {
    #[cfg(feature = "discovery")]
    return with_hickory::ask(name, server).await;
    #[cfg(not(feature = "discovery"))]
    return Err(AskError(format!("{name} and {server:?} need the cargo feature 'discovery'")));
}

#[cfg(feature = "discovery")]
mod with_hickory {
    use std::io;
    use std::net::{IpAddr, SocketAddr, UdpSocket};
    use std::pin::Pin;
    use std::sync::{Arc, Weak};
    use std::task::{Context, Poll, ready};
    use std::time::Duration;

    use hickory_resolver::Resolver;
    use hickory_resolver::config::{
        ConnectionConfig, LookupIpStrategy, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig,
        ResolverOpts,
    };
    use hickory_resolver::lookup::Lookup;
    use hickory_resolver::net::NetError;
    use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
    use hickory_resolver::proto::op::Query;
    use hickory_resolver::proto::rr::{Name as DomainName, RData, RecordType};
    use hickory_resolver::{Hosts, system_conf};
    use smol::io::{AsyncRead, AsyncWrite};
    use smol::net::TcpStream;
    use smol::{Async, Executor, Timer, future};

    use super::AskError;
    use crate::cluster::names::{Found, Name, Place, ServiceRecord, preferred};

    /// The longest time that an answer of hickory may count.
    const TTL_MAX: Duration = Duration::from_secs(86_400);
    /// Time to connect to a DNS server over TCP.
    const CONNECT: Duration = Duration::from_secs(5);

    pub(super) async fn ask(name: &Name, server: Option<SocketAddr>) -> Result<Found, AskError> {
        let executor = Arc::new(Executor::new());
        let question = async {
            let resolver = resolver(server, Smol(Arc::downgrade(&executor)))?;
            match name {
                Name::Host(host, port) => of_host(&resolver, host, *port, 1).await,
                Name::Service(service) => of_service(&resolver, service).await,
            }
        };
        // The tasks of hickory run for as long as the question does.
        executor.run(question).await.map_err(|error| AskError(shown(&error)))
    }

    /// Returns the reason in a few words.
    fn shown(error: &NetError) -> String {
        match error {
            error if error.is_nx_domain() => "the name does not exist".to_owned(),
            error if error.is_no_records_found() => "the name has no address".to_owned(),
            error => error.to_string(),
        }
    }

    fn resolver(server: Option<SocketAddr>, runtime: Smol) -> Result<Resolver<Smol>, NetError> {
        let (mut config, mut options) = match (system_conf::read_system_conf(), server) {
            (Ok(of_system), _) => of_system,
            (Err(error), None) => return Err(error),
            (Err(_), Some(_)) => (ResolverConfig::default(), ResolverOpts::default()),
        };
        if let Some(server) = server {
            let (domain, search, _) = config.into_parts();
            let connection = |protocol| {
                let mut connection = ConnectionConfig::new(protocol);
                connection.port = server.port();
                connection
            };
            let connections = vec![connection(ProtocolConfig::Udp), connection(ProtocolConfig::Tcp)];
            let server = NameServerConfig::new(server.ip(), true, connections);
            config = ResolverConfig::from_parts(domain, search, vec![server]);
        }
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        let mut builder = Resolver::builder_with_config(config, runtime);
        *builder.options_mut() = options;
        builder.build()
    }

    /// Returns the addresses of a host. A host of the hosts file is not asked for.
    async fn of_host(
        resolver: &Resolver<Smol>,
        host: &str,
        port: u16,
        weight: u32,
    ) -> Result<Found, NetError> {
        let place = |address: IpAddr| Place { address: SocketAddr::new(address, port), weight };
        let of_file = in_hosts_file(host)?;
        if !of_file.is_empty() {
            return Ok(Found { places: of_file.into_iter().map(place).collect(), ttl: TTL_MAX });
        }
        let found = resolver.lookup_ip(host).await?;
        Ok(Found { places: found.iter().map(place).collect(), ttl: ttl(found.as_lookup()) })
    }

    fn in_hosts_file(host: &str) -> Result<Vec<IpAddr>, NetError> {
        let name = DomainName::from_ascii(host)?;
        // Without a file there are no hosts.
        let hosts = Hosts::from_system().unwrap_or_default();
        let of_type = |kind| hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let found = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of_type);
        Ok(found
            .flat_map(|lookup| {
                lookup.answers().iter().filter_map(|one| one.data.ip_addr()).collect::<Vec<_>>()
            })
            .collect())
    }

    /// Returns the addresses of all hosts of a service. A host that does not exist is left out.
    async fn of_service(resolver: &Resolver<Smol>, service: &str) -> Result<Found, NetError> {
        let lookup = resolver.srv_lookup(service).await?;
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(srv) => Some(ServiceRecord {
                target: srv.target.to_ascii(),
                port: srv.port,
                priority: srv.priority,
                weight: srv.weight,
            }),
            _ => None,
        });
        let mut all = Found { places: Vec::new(), ttl: ttl(&lookup) };
        for record in preferred(records.collect()) {
            match of_host(resolver, &record.target, record.port, record.weight.into()).await {
                Ok(found) => {
                    all.places.extend(found.places);
                    all.ttl = all.ttl.min(found.ttl);
                }
                Err(error) if error.is_no_records_found() => {}
                Err(error) => return Err(error),
            }
        }
        match all.places.is_empty() {
            true => Err(NetError::Message("the service has no address")),
            false => Ok(all),
        }
    }

    fn ttl(lookup: &Lookup) -> Duration {
        let seconds = lookup.answers().iter().map(|record| record.ttl).min();
        seconds.map_or(TTL_MAX, |seconds| Duration::from_secs(seconds.into()).min(TTL_MAX))
    }

    /// The runtime of hickory: the tasks of one question. They hold it too, so they must not keep it alive.
    #[derive(Clone)]
    struct Smol(Weak<Executor<'static>>);

    impl Spawn for Smol {
        fn spawn_bg(&mut self, task: impl Future<Output = ()> + Send + 'static) {
            if let Some(executor) = self.0.upgrade() {
                executor.spawn(task).detach();
            }
        }
    }

    impl RuntimeProvider for Smol {
        type Handle = Smol;
        type Timer = Clock;
        type Udp = Udp;
        type Tcp = Tcp;

        fn create_handle(&self) -> Smol {
            self.clone()
        }

        fn connect_tcp(
            &self,
            server: SocketAddr,
            _local: Option<SocketAddr>,
            timeout: Option<Duration>,
        ) -> Boxed<io::Result<Tcp>> {
            let connect = async move { TcpStream::connect(server).await.map(Tcp) };
            Box::pin(within(timeout.unwrap_or(CONNECT), connect))
        }

        fn bind_udp(&self, local: SocketAddr, _server: SocketAddr) -> Boxed<io::Result<Udp>> {
            Box::pin(async move { Async::<UdpSocket>::bind(local).map(Udp) })
        }
    }

    type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

    /// Waits for a result, for this time at most.
    async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        let late = async {
            Timer::after(limit).await;
            Err(io::ErrorKind::TimedOut.into())
        };
        future::or(work, late).await
    }

    struct Clock;

    // The signatures are those that `async_trait` makes of async functions.
    impl Time for Clock {
        fn delay_for<'a>(pause: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
            Box::pin(async move {
                Timer::after(pause).await;
            })
        }

        fn timeout<'a, F>(
            limit: Duration,
            work: F,
        ) -> Pin<Box<dyn Future<Output = io::Result<F::Output>> + Send + 'a>>
        where
            F: Future + Send + 'static,
        {
            Box::pin(within(limit, async move { Ok(work.await) }))
        }
    }

    struct Udp(Async<UdpSocket>);

    impl DnsUdpSocket for Udp {
        type Time = Clock;

        fn poll_recv_from(
            &self,
            cx: &mut Context<'_>,
            bytes: &mut [u8],
        ) -> Poll<io::Result<(usize, SocketAddr)>> {
            loop {
                match self.0.get_ref().recv_from(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready!(self.0.poll_readable(cx))?;
                    }
                    received => return Poll::Ready(received),
                }
            }
        }

        fn poll_send_to(
            &self,
            cx: &mut Context<'_>,
            bytes: &[u8],
            target: SocketAddr,
        ) -> Poll<io::Result<usize>> {
            loop {
                match self.0.get_ref().send_to(bytes, target) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        ready!(self.0.poll_writable(cx))?;
                    }
                    sent => return Poll::Ready(sent),
                }
            }
        }
    }

    struct Tcp(TcpStream);

    impl DnsTcpStream for Tcp {
        type Time = Clock;
    }

    impl AsyncRead for Tcp {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_read(cx, bytes)
        }
    }

    impl AsyncWrite for Tcp {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.0).poll_close(cx)
        }
    }
}
