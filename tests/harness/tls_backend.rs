//! A backend that speaks TLS, and tells what it has seen.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{
    HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
    version,
};

use super::PATIENCE;
use super::certificates::{Authority, Pair};

/// A backend with a thread for each connection. It answers `ok`, and closes the connection behind the answer to `/close`. It
/// lives as long as the process.
#[derive(Debug, Clone)]
pub(crate) struct TlsBackend {
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What a backend has seen. Connections without a request do not count: the first look of the start makes one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Connections with a full handshake.
    pub(crate) full: u32,
    /// Connections that resumed a session.
    pub(crate) resumed: u32,
    /// The names that were asked for.
    pub(crate) names: BTreeSet<Option<String>>,
    /// The heads of the requests.
    pub(crate) heads: Vec<String>,
}

impl TlsBackend {
    /// Starts a backend with this certificate, for both versions.
    pub(crate) fn start(pair: &Pair) -> Self {
        TlsBackend::with(pair, &[&version::TLS12, &version::TLS13], None)
    }

    /// Starts a backend with these versions. With an authority, its clients must show a certificate.
    pub(crate) fn with(
        pair: &Pair,
        versions: &[&'static SupportedProtocolVersion],
        clients: Option<&Authority>,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(versions).unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::try_from(pair.key_der()).unwrap();
        let config = Arc::new(builder.with_single_cert(vec![pair.der.clone()], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let backend = TlsBackend { address: listener.local_addr().unwrap(), seen: Arc::default() };
        let own = backend.clone();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (own, config) = (own.clone(), Arc::clone(&config));
                // A client that leaves or refuses the certificate is an error here.
                thread::spawn(move || drop(own.serve(stream, config)));
            }
        });
        backend
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    fn serve(&self, mut stream: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut session = ServerConnection::new(config).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let name = session.server_name().map(str::to_owned);
        let mut stream = StreamOwned::new(session, stream);
        let mut is_first = true;
        loop {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let closes = head.contains(" /close ") || head.contains(" HTTP/1.0\r\n");
            {
                let mut seen = self.seen.lock();
                if std::mem::take(&mut is_first) {
                    *(if is_resumed { &mut seen.resumed } else { &mut seen.full }) += 1;
                    seen.names.insert(name.clone());
                }
                seen.heads.push(head);
            }
            let connection = if closes { "Connection: close\r\n" } else { "" };
            write!(stream, "HTTP/1.1 200 OK\r\n{connection}Content-Length: 2\r\n\r\nok")?;
            if closes {
                stream.conn.send_close_notify();
                return stream.flush();
            }
        }
    }
}
