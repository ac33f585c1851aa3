//! The transforms of a run: one that only tests have, and TLS. The sizes of all messages of TLS are fixed, so a seed repeats its run.
use std::sync::{Arc, LazyLock};

use neraca::engine::driver::{Transform, TransformFactory};
use neraca::tls;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SerialNumber};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::masked::{Masked, Role};

/// The host of the certificate.
const HOST: &str = "a.example";

/// A kind of transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Masked,
    Tls12,
    Tls13,
}

impl Coding {
    /// Makes one end of a connection: the shipped code for TLS. Both ends of a masked connection send notes.
    pub fn make(self, role: Role) -> Box<dyn Transform> {
        static TLS: LazyLock<[[TransformFactory; 2]; 2]> = LazyLock::new(factories);
        match self {
            Coding::Masked => Box::new(Masked::with_notes(role)),
            Coding::Tls12 => TLS[0][role as usize].make(),
            Coding::Tls13 => TLS[1][role as usize].make(),
        }
    }
}

/// The factories of TLS 1.2 and 1.3, by [`Role`].
fn factories() -> [[TransformFactory; 2]; 2] {
    // A signature of Ed25519 has always the same length.
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    params.serial_number = Some(SerialNumber::from(1));
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    [&TLS12, &TLS13].map(|version: &'static SupportedProtocolVersion| {
        let builder = ClientConfig::builder_with_provider(ring::default_provider().into());
        let builder = builder.with_protocol_versions(&[version]).unwrap();
        let mut client = builder.with_root_certificates(roots.clone()).with_no_client_auth();
        // Which session is resumed would depend on the other runs.
        client.resumption = Resumption::disabled();
        let builder = ServerConfig::builder_with_provider(ring::default_provider().into());
        let builder = builder.with_protocol_versions(&[version]).unwrap().with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let server = builder.with_single_cert(vec![certificate.clone()], key).unwrap();
        [
            tls::client_transforms(Arc::new(client), ServerName::try_from(HOST).unwrap()),
            tls::transforms(Arc::new(server), &tls::HANDSHAKES),
        ]
    })
}

/// A peer's end of a transform.
#[derive(Debug)]
pub struct Coder {
    transform: Box<dyn Transform>,
    /// The own end marker was made, or is never made.
    has_ended: bool,
}

impl Coder {
    pub fn new(coding: Coding, role: Role) -> Self {
        Coder { transform: coding.make(role), has_ended: false }
    }

    pub fn is_handshaking(&self) -> bool {
        self.transform.is_handshaking()
    }

    pub fn peer_has_ended(&self) -> bool {
        self.transform.peer_has_ended()
    }

    /// Appends the encoding of the bytes; only that of the handshake's next message before the handshake is complete. Returns the
    /// number of bytes taken.
    pub fn encode(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let mut taken = 0;
        loop {
            let more = self.transform.encode([&bytes[taken..], &[]], out).expect("a working transform");
            taken += more;
            if more == 0 || taken == bytes.len() {
                return taken;
            }
        }
    }

    pub fn decode(&mut self, received: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) {
        self.transform.decode(received, plain, out).expect("valid records from the engine");
    }

    /// Appends the end marker, once.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.has_ended, true) {
            self.transform.end(out);
        }
    }

    /// Makes no end marker any more.
    pub fn forget_end(&mut self) {
        self.has_ended = true;
    }
}
