//! Certificates of a test, and a client that speaks TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
    version,
};

use super::PATIENCE;

/// An authority that signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, both in PEM form.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

impl Pair {
    /// The key in DER form.
    pub(crate) fn key_der(&self) -> Vec<u8> {
        self.key_der.clone()
    }
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate in PEM form.
    pub(crate) fn certificate(&self) -> String {
        self.0.pem()
    }

    /// Its own certificate in DER form.
    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// Signs a certificate for these hosts.
    pub(crate) fn sign(&self, hosts: &[&str]) -> Pair {
        let hosts: Vec<_> = hosts.iter().map(|&host| host.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(hosts).unwrap().signed_by(&key, &self.0).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }

    /// A client that trusts the authority, and speaks both versions.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.client_with(&[&version::TLS12, &version::TLS13], None)
    }

    /// A client with these versions and this certificate.
    pub(crate) fn client_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        own: Option<&Pair>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let key = PrivateKeyDer::try_from(own.key_der.clone()).unwrap();
                builder.with_client_auth_cert(vec![own.der.clone()], key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

/// A connection that speaks TLS.
pub(crate) struct TlsClient(StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    /// Connects and shakes hands. With TLS 1.3 the server may refuse a client certificate later.
    pub(crate) fn connect(address: SocketAddr, host: &str, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut session =
            ClientConnection::new(Arc::clone(config), host.to_owned().try_into().unwrap()).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(TlsClient(StreamOwned::new(session, stream)))
    }

    /// Sends a GET request, and returns the head and the body of the response.
    pub(crate) fn get(&mut self, host: &str, target: &str) -> io::Result<(String, String)> {
        self.exchange(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
    }

    /// Sends a request, and returns the head and the body of the response.
    pub(crate) fn exchange(&mut self, request: &str) -> io::Result<(String, String)> {
        self.0.write_all(request.as_bytes())?;
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let has_body = !head.starts_with("HTTP/1.1 304 ");
        let mut body = vec![0; length.filter(|_| has_body).unwrap_or(0)];
        self.0.read_exact(&mut body)?;
        Ok((head, String::from_utf8(body).unwrap()))
    }

    /// The certificate of the server.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// True when the session of an earlier connection is used.
    pub(crate) fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    /// The name of the cipher in the registry of IANA.
    pub(crate) fn cipher(&self) -> String {
        let suite = self.0.conn.negotiated_cipher_suite().unwrap().suite();
        // rustls has its own prefix for those of TLS 1.3.
        suite.as_str().unwrap().replace("TLS13_", "TLS_")
    }

    /// The protocol that the server has chosen (ALPN).
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.0.conn.alpn_protocol()
    }
}
