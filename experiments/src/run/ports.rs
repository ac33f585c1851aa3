//! Fixed ports of programs. The kernel must not give such a port to a connection, or else the program cannot listen for a
//! minute after the end of that connection.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};

use itertools::Itertools;

use crate::run::child::Guard;

/// The kernel's list of ports that it gives to no connection.
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Reserves ports: no connection gets them until the guard restores the list. Needs root; without it the ports stay as
/// they are.
pub(crate) fn reserve(ports: &BTreeSet<u16>) -> Option<Guard> {
    let before = fs::read_to_string(RESERVED).ok().filter(|_| !ports.is_empty())?;
    let restore = ["sh", "-c", "printf %s \"$0\" > \"$1\"", &before, RESERVED];
    let guard = Guard::start(&restore).ok()?;
    fs::write(RESERVED, list(&before, ports)).ok().map(|()| guard)
}

/// Adds ports to the list.
fn list(before: &str, ports: &BTreeSet<u16>) -> String {
    let known = before.trim().split(',').filter(|known| !known.is_empty()).map(Into::into);
    known.chain(ports.iter().map(u16::to_string)).join(",") + "\n"
}

/// True when a program can listen on the address.
pub(crate) fn is_free(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn ports_are_added_to_the_list_of_the_kernel() {
        let ports = BTreeSet::from([8000, 44444]);
        assert_eq!(list("\n", &ports), "8000,44444\n");
        assert_eq!(list("1-9,70\n", &ports), "1-9,70,8000,44444\n");
    }

    #[test]
    fn a_port_is_free_when_no_program_and_no_connection_uses_it() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let port_of_client = client.local_addr().unwrap();
        assert!(!is_free(address) && !is_free(port_of_client));
        assert!(TcpStream::connect(port_of_client).is_err(), "nobody listens there");
        drop(client);
        drop(listener);
        assert!(is_free(address));
    }
}
