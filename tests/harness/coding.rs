//! The transforms of the socket suite: one that only tests have, and TLS.

use std::io;
use std::sync::{Arc, OnceLock};

use neraca::engine::{Transform, TransformFactory};
use neraca::tls;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ServerConfig};

use super::certificates::Authority;
use super::masked::{self, Role};

/// The host of the suite's certificate.
const HOST: &str = "suite.example";

/// A kind of transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Masked,
    Tls,
}

impl Coding {
    /// The factory for the engine's end of each connection to a backend: always the same one, because a backend with another
    /// is another backend.
    pub(crate) fn of_backends(self) -> TransformFactory {
        static FACTORIES: [OnceLock<TransformFactory>; 2] = [OnceLock::new(), OnceLock::new()];
        FACTORIES[self as usize].get_or_init(|| self.factory(Role::Client)).clone()
    }

    /// A new factory for the engine's end of each connection.
    pub(crate) fn factory(self, role: Role) -> TransformFactory {
        match self {
            Coding::Masked => masked::factory(role),
            Coding::Tls => {
                let (server, client) = configs();
                match role {
                    Role::Server => tls::transforms(Arc::clone(server), &tls::HANDSHAKES),
                    Role::Client => {
                        let name = ServerName::try_from(HOST).unwrap();
                        tls::client_transforms(Arc::clone(client), name)
                    }
                }
            }
        }
    }

    /// The test's end of a connection. It has no notes.
    pub(crate) fn coder(self, role: Role) -> Coder {
        let transform: Box<dyn Transform> = match self {
            Coding::Masked => Box::new(masked::Masked::new(role)),
            Coding::Tls => self.factory(role).make(),
        };
        Coder { transform, has_ended: false }
    }

    /// The kind of the transforms that a factory makes.
    pub(crate) fn of(factory: &TransformFactory) -> Self {
        match format!("{:?}", factory.make()).starts_with("Masked") {
            true => Coding::Masked,
            false => Coding::Tls,
        }
    }
}

/// The configurations of both sides of TLS.
fn configs() -> &'static (Arc<ServerConfig>, Arc<ClientConfig>) {
    static CONFIGS: OnceLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let authority = Authority::new();
        let pair = authority.sign(&[HOST]);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let key = PrivateKeyDer::try_from(pair.key_der()).unwrap();
        let server =
            builder.unwrap().with_no_client_auth().with_single_cert(vec![pair.der.clone()], key).unwrap();
        (Arc::new(server), authority.client())
    })
}

/// The test's end of a transform.
#[derive(Debug)]
pub(crate) struct Coder {
    transform: Box<dyn Transform>,
    /// The own end marker was made, or is never made.
    has_ended: bool,
}

impl Coder {
    pub(crate) fn is_handshaking(&self) -> bool {
        self.transform.is_handshaking()
    }

    pub(crate) fn peer_has_ended(&self) -> bool {
        self.transform.peer_has_ended()
    }

    /// The encoding of all bytes; of the handshake's next message before it is complete.
    pub(crate) fn encode(&mut self, mut bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        loop {
            let taken = self.transform.encode([bytes, &[]], &mut out)?;
            bytes = &bytes[taken..];
            if taken == 0 || bytes.is_empty() {
                return Ok(out);
            }
        }
    }

    pub(crate) fn decode(
        &mut self,
        received: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.transform.decode(received, plain, out)
    }

    /// The end marker, once.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.has_ended, true) {
            self.transform.end(&mut out);
        }
        out
    }

    /// Makes no end marker any more.
    pub(crate) fn forget_end(&mut self) {
        self.has_ended = true;
    }
}
