//! The PROXY protocol, versions 1 and 2. A proxy in front of us sends one header at the start of each connection. The header
//! names the client for which the proxy has opened the connection. Specification:
//! <https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>.

use std::fmt;
use std::net::SocketAddr;

use proxy_header::{Error, ParseConfig, ProxiedAddress, ProxyHeader};

/// Maximum bytes of a header. A header with addresses has at most 107 bytes (version 1) or 52 bytes (version 2). The rest
/// is for the extensions of version 2, which we read over.
pub const HEADER_MAX_BYTES: usize = 2048;

/// The version of a header that we send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// The reason to refuse the start of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocolError {
    /// The bytes are no header.
    Invalid,
    /// The header is longer than [`HEADER_MAX_BYTES`].
    TooLong,
}

impl fmt::Display for ProxyProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyProtocolError::Invalid => f.write_str("expected a header of the PROXY protocol"),
            ProxyProtocolError::TooLong => {
                write!(f, "expected a header of the PROXY protocol with at most {HEADER_MAX_BYTES} bytes")
            }
        }
    }
}

impl std::error::Error for ProxyProtocolError {}

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The client of the proxy. None when the proxy speaks for itself, for example for a health check.
    pub client: Option<SocketAddr>,
    /// The length of the header in bytes.
    pub len: usize,
}

/// Reads a header at the start of `bytes`. None when more bytes are needed.
///
/// # Errors
/// The bytes cannot become a header.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, ProxyProtocolError> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(bytes, config) {
        Ok((header, len)) => {
            let client = header.proxied_address().map(|addresses| addresses.source);
            Ok(Some(Header { client, len }))
        }
        Err(Error::BufferTooShort) if bytes.len() >= HEADER_MAX_BYTES => Err(ProxyProtocolError::TooLong),
        Err(Error::BufferTooShort) => Ok(None),
        Err(_) => Err(ProxyProtocolError::Invalid),
    }
}

/// Returns the header for a connection of `client` to `local`, our own address. When one address is of IPv4 and the other
/// one of IPv6, both are written as IPv6 addresses.
pub fn header(version: Version, client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let (client, local) = match (canonical(client), canonical(local)) {
        (client @ SocketAddr::V4(_), local @ SocketAddr::V4(_)) => (client, local),
        (client, local) => (mapped(client), mapped(local)),
    };
    let header = ProxyHeader::with_address(ProxiedAddress::stream(client, local));
    let mut bytes = Vec::new();
    let written = match version {
        Version::V1 => header.encode_v1(&mut bytes),
        Version::V2 => header.encode_v2(&mut bytes),
    };
    debug_assert!(written.is_ok(), "two addresses of one family always have a header");
    bytes
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) => SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()),
        SocketAddr::V6(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signature of version 2.
    const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

    fn v2(rest: &[u8]) -> Vec<u8> {
        [V2, rest].concat()
    }

    #[test]
    fn headers_and_what_they_say() {
        let four = v2(b"\x21\x11\x00\x0c\x0a\x00\x00\x01\x0a\x00\x00\x02\xcf\x00\x00\x50");
        let extended =
            v2(b"\x21\x11\x00\x10\x0a\x00\x00\x01\x0a\x00\x00\x02\xcf\x00\x00\x50\x04\x00\x01\x00");
        let local = v2(b"\x20\x00\x00\x00");
        let unix = v2(&[&b"\x21\x31\x00\xd8"[..], &[0; 216]].concat());
        let client = |text: &str| Some(text.parse().unwrap());
        let cases: [(&[u8], Option<SocketAddr>); 8] = [
            (b"PROXY TCP4 10.0.0.1 10.0.0.2 52992 80\r\n", client("10.0.0.1:52992")),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 52992 80\r\n", client("[2001:db8::1]:52992")),
            (b"PROXY UNKNOWN\r\n", None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
            (&four, client("10.0.0.1:52992")),
            (&extended, client("10.0.0.1:52992")),
            (&local, None),
            (&unix, None),
        ];
        for (bytes, client) in cases {
            let whole = [bytes, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(parse(&whole), Ok(Some(Header { client, len: bytes.len() })), "{bytes:?}");
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Ok(None), "{:?}", &bytes[..end]);
            }
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        let long = v2(b"\x21\x11\xff\xff");
        let too_long = [&long[..], &[0; HEADER_MAX_BYTES]].concat();
        let (port, kind, command) = (
            &b"PROXY TCP4 10.0.0.1 10.0.0.2 70000 80\r\n"[..],
            v2(b"\x21\x77\x00\x00"),
            v2(b"\x2f\x11\x00\x00"),
        );
        let cases: [(&[u8], ProxyProtocolError); 8] = [
            (b"GET / HTTP/1.1\r\n", ProxyProtocolError::Invalid),
            (b"POST / HTTP/1.1\r\nHost: a\r\n", ProxyProtocolError::Invalid),
            (b"PROXY TCP4 10.0.0.1 ::1 52992 80\r\n", ProxyProtocolError::Invalid),
            (
                &[&b"PROXY TCP4 10.0.0.1 10.0.0.2 52992 80\n"[..], &[b'x'; 69]].concat(),
                ProxyProtocolError::Invalid,
            ),
            (port, ProxyProtocolError::Invalid),
            (&kind, ProxyProtocolError::Invalid),
            (&command, ProxyProtocolError::Invalid),
            (&too_long, ProxyProtocolError::TooLong),
        ];
        for (bytes, error) in cases {
            assert_eq!(parse(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn our_headers_are_read_again() {
        let cases = [
            ("10.0.0.1:5", "10.0.0.2:80", "PROXY TCP4 10.0.0.1 10.0.0.2 5 80\r\n", "10.0.0.1:5"),
            ("[::ffff:10.0.0.1]:5", "10.0.0.2:80", "PROXY TCP4 10.0.0.1 10.0.0.2 5 80\r\n", "10.0.0.1:5"),
            ("[2001:db8::1]:5", "[::1]:80", "PROXY TCP6 2001:db8::1 ::1 5 80\r\n", "[2001:db8::1]:5"),
            ("10.0.0.1:5", "[::1]:80", "PROXY TCP6 ::ffff:10.0.0.1 ::1 5 80\r\n", "[::ffff:10.0.0.1]:5"),
        ];
        for (client, local, line, said) in cases {
            let (client, local) = (client.parse().unwrap(), local.parse().unwrap());
            let text = header(Version::V1, client, local);
            assert_eq!(String::from_utf8(text.clone()).unwrap(), line);
            for bytes in [text, header(Version::V2, client, local)] {
                let client = Some(said.parse().unwrap());
                assert_eq!(parse(&bytes), Ok(Some(Header { client, len: bytes.len() })));
            }
        }
    }
}
