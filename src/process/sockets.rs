//! The listening sockets of the process: inherited from systemd or from the process that it replaces, else bound.
//!
//! Both pass sockets in the same way: descriptors from 3 on, and the variable LISTEN_FDS with their number. A process that is
//! replaced adds the socket on which the new process reports that it is ready, and names this socket in LISTEN_FDNAMES.
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;

use listenfd::ListenFd;
use neraca::engine::Listeners;
use rustix::net::{AddressFamily, SocketType, sockopt};

/// The name of the socket on which a new process reports that it is ready.
pub(super) const READY_NAME: &str = "neraca-ready";

/// The listening sockets of the process.
pub(crate) struct Sockets {
    /// The listeners of the engine.
    pub(crate) listeners: Listeners,
    /// The admin listener, if there is one.
    pub(crate) admin: Option<Listeners>,
    /// The socket on which the replaced process waits. None if this process replaces nobody.
    pub(crate) predecessor: Option<UnixStream>,
}

impl Sockets {
    /// Takes the inherited sockets for the configured addresses, and binds the other addresses. When nobody has given the
    /// addresses, every inherited socket becomes a listener. An inherited socket that nobody wants is closed, and a warning names it.
    ///
    /// # Errors
    /// When an address is in use or not local.
    pub(crate) fn open(
        listen: &[SocketAddr],
        is_given: bool,
        admin: Option<SocketAddr>,
    ) -> Result<Self, String> {
        let Inherited { sockets, predecessor } = Inherited::take();
        let takes_all = !is_given && !sockets.is_empty();
        let listen = if takes_all { &[][..] } else { listen };
        let wanted: Vec<SocketAddr> = listen.iter().copied().chain(admin).collect();
        let (mut places, rest) = assign(sockets, &wanted);
        let admin = admin.map(|_| places.split_off(listen.len()));
        let rest = match takes_all {
            true => {
                places.extend(rest.into_iter().map(|(address, socket)| (address, Some(socket))));
                Vec::new()
            }
            false => rest,
        };
        for (address, _) in rest {
            log::warn!(
                "no listener wants the inherited socket of {address}: it is closed; expected '--listen {address}'"
            );
        }
        let open = |places: Vec<Place<TcpListener>>| {
            let mut listeners = Listeners::default();
            for (address, socket) in places {
                match socket {
                    Some(socket) => listeners.adopt(socket),
                    None => listeners.bind(address),
                }?;
            }
            Ok(listeners)
        };
        let text = |error: std::io::Error| error.to_string();
        let listeners = open(places).map_err(text)?;
        let admin = admin.map(open).transpose().map_err(text)?;
        Ok(Sockets { listeners, admin, predecessor })
    }
}

/// An address, and its inherited socket. None when the address must be bound.
type Place<T> = (SocketAddr, Option<T>);

/// Gives each wanted address the inherited socket with this address, and then each port 0 the first remaining socket of its IP
/// address. Returns the sockets that nobody wants, too.
fn assign<T>(
    inherited: Vec<(SocketAddr, T)>,
    wanted: &[SocketAddr],
) -> (Vec<Place<T>>, Vec<(SocketAddr, T)>) {
    let mut rest = inherited;
    let mut places: Vec<Place<T>> = wanted.iter().map(|address| (*address, None)).collect();
    for any_port in [false, true] {
        for (wanted, socket) in places.iter_mut().filter(|(_, socket)| socket.is_none()) {
            let suits = |has: SocketAddr| {
                has == *wanted || (any_port && wanted.port() == 0 && has.ip() == wanted.ip())
            };
            if let Some(at) = rest.iter().position(|(has, _)| suits(*has)) {
                *socket = Some(rest.remove(at).1);
            }
        }
    }
    (places, rest)
}

/// What this process has inherited.
#[derive(Default)]
struct Inherited {
    /// The listening TCP sockets, with their addresses.
    sockets: Vec<(SocketAddr, TcpListener)>,
    predecessor: Option<UnixStream>,
}

impl Inherited {
    /// Takes all inherited sockets. Each socket is closed in a child from now on.
    fn take() -> Self {
        let mut passed = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut inherited = Inherited::default();
        for n in 0..passed.len() {
            if names.next() == Some(READY_NAME) {
                let (family, kind) = (AddressFamily::UNIX.as_raw(), SocketType::STREAM.as_raw());
                let taken = passed.take_custom(n, family.into(), kind as i32, "stream socket");
                inherited.predecessor = taken.ok().flatten();
                continue;
            }
            match passed.take_tcp_listener(n) {
                Ok(Some(socket)) if sockopt::socket_acceptconn(&socket).unwrap_or(false) => {
                    match socket.local_addr() {
                        Ok(address) => inherited.sockets.push((address, socket)),
                        Err(error) => log::warn!("inherited descriptor {n} has no address: {error}"),
                    }
                }
                _ => log::warn!("inherited descriptor {n} is ignored: expected a listening TCP socket"),
            }
        }
        inherited
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_goes_to_its_address_and_then_to_port_0() {
        // inherited, wanted, index of the inherited socket for each wanted address, what nobody wants
        type Case =
            (&'static [&'static str], &'static [&'static str], &'static [Option<usize>], &'static [usize]);
        let cases: [Case; 8] = [
            (&[], &["127.0.0.1:80"], &[None], &[]),
            (&["127.0.0.1:80"], &["127.0.0.1:80"], &[Some(0)], &[]),
            (&["127.0.0.1:80"], &["127.0.0.1:81"], &[None], &[0]),
            (&["0.0.0.0:80"], &["127.0.0.1:80"], &[None], &[0]),
            (&["[::1]:1", "127.0.0.1:2"], &["127.0.0.1:2", "[::1]:1"], &[Some(1), Some(0)], &[]),
            // A port 0 never takes a socket that another address wants.
            (&["127.0.0.1:1", "127.0.0.1:2"], &["127.0.0.1:0", "127.0.0.1:1"], &[Some(1), Some(0)], &[]),
            (&["127.0.0.1:1", "127.0.0.1:2"], &["127.0.0.1:0", "127.0.0.1:0"], &[Some(0), Some(1)], &[]),
            (&["127.0.0.1:1"], &["127.0.0.1:1", "127.0.0.1:1"], &[Some(0), None], &[]),
        ];
        for (inherited, wanted, expected, unwanted) in cases {
            let parse = |text: &&str| text.parse::<SocketAddr>().unwrap();
            let sockets = inherited.iter().enumerate().map(|(n, text)| (parse(text), n)).collect();
            let wanted: Vec<_> = wanted.iter().map(parse).collect();
            let (places, rest) = assign(sockets, &wanted);
            assert_eq!(places.iter().map(|(address, _)| *address).collect::<Vec<_>>(), wanted);
            let got: Vec<_> = places.into_iter().map(|(_, socket)| socket).collect();
            let rest: Vec<_> = rest.into_iter().map(|(_, socket)| socket).collect();
            assert_eq!((got.as_slice(), rest.as_slice()), (expected, unwanted), "{inherited:?} {wanted:?}");
        }
    }
}
