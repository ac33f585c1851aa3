//! A client that makes new full TLS 1.3 handshakes at a fixed rate, and the certificates of the targets.
//!
//! The times of the handshakes do not depend on the target (open loop). The client resumes no session and verifies no
//! certificate, so that it takes little of the CPU time that it shares with the target.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, HandshakeKind, SignatureScheme, version};
use serde::{Deserialize, Serialize};

use crate::plans::model::Key;
use crate::run::child::printed;

/// Maximum number of handshakes in flight.
const THREADS: u32 = 64;
/// Maximum time for a connect, and for each read and write of a handshake.
const PATIENCE: Duration = Duration::from_secs(2);

/// The handshakes of the measured seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shaken {
    pub(crate) wanted: u64,
    pub(crate) made: u64,
    /// A handshake that is neither made nor failed was not begun in time, because the target was slower than the rate.
    pub(crate) failed: u64,
    /// Why the first one failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
}

/// Makes a certificate that is valid for 30 days, and writes it with its key to a file.
pub(crate) fn certificate(key: Key, file: &Path) -> Result<(), String> {
    let algorithm: &[&str] = match key {
        Key::EcdsaP256 => &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
        Key::Rsa2048 => &["rsa:2048"],
    };
    let path = file.display().to_string();
    let words = ["openssl", "req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=localhost", "-newkey"];
    let words = [&words, algorithm, &["-keyout", &path, "-out", &path]].concat();
    printed(Path::new("."), &words).map(drop)
}

/// Makes handshakes at a fixed rate until the end of the measured seconds. Each thread makes one handshake at a time, and
/// takes the next one that nobody has taken. The seconds of the warm-up come first and are not counted.
pub(crate) fn make(address: SocketAddr, per_s: f64, (warm_s, seconds): (f64, f64)) -> Shaken {
    let (config, start, end_s) = (Arc::new(config()), Instant::now(), warm_s + seconds);
    let (next, all) = (AtomicU32::new(0), Mutex::new(Shaken::default()));
    let work = || loop {
        let at_s = f64::from(next.fetch_add(1, Relaxed)) / per_s;
        if at_s >= end_s {
            return;
        }
        thread::sleep(Duration::from_secs_f64(at_s).saturating_sub(start.elapsed()));
        let made = (start.elapsed().as_secs_f64() <= end_s).then(|| shake(address, &config));
        if at_s >= warm_s {
            all.lock().unwrap_or_else(PoisonError::into_inner).count(made);
        }
    };
    if per_s > 0.0 {
        thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    }
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl Shaken {
    /// Counts a handshake that was due. None when it was not begun in time.
    fn count(&mut self, made: Option<io::Result<()>>) {
        self.wanted += 1;
        match made {
            None => {}
            Some(Ok(())) => self.made += 1,
            Some(Err(error)) => {
                self.failed += 1;
                self.reason.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// Makes one handshake and closes the connection.
fn shake(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    while tls.is_handshaking() {
        tls.complete_io(&mut stream)?;
    }
    if tls.handshake_kind() == Some(HandshakeKind::Resumed) {
        return Err(io::Error::other("the session was resumed"));
    }
    tls.send_close_notify();
    tls.complete_io(&mut stream).map(drop)
}

fn config() -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(&[&version::TLS13]).expect("ring has TLS 1.3");
    let verifier = Arc::new(Anyone(provider));
    let mut config = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config
}

/// Accepts every certificate and every signature.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

type Checked = Result<HandshakeSignatureValid, Error>;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Checked {
        Err(Error::General("TLS 1.2 is not offered".into()))
    }

    fn verify_tls13_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Checked {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{ServerConfig, ServerConnection};

    use super::*;

    /// Makes handshakes with the clients, but closes each fifth connection before.
    fn serve(listener: &TcpListener, config: &Arc<ServerConfig>) {
        for (n, stream) in (1..).zip(listener.incoming()) {
            let (mut stream, mut tls) = (stream.unwrap(), ServerConnection::new(Arc::clone(config)).unwrap());
            while n % 5 > 0 && tls.is_handshaking() && tls.complete_io(&mut stream).is_ok() {}
        }
    }

    fn server(key: Key) -> ServerConfig {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.pem");
        certificate(key, &file).unwrap();
        let certificates = CertificateDer::pem_file_iter(&file).unwrap().map(Result::unwrap).collect();
        let private = PrivateKeyDer::from_pem_file(&file).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        builder.with_single_cert(certificates, private).unwrap()
    }

    #[test]
    fn each_handshake_is_full_and_a_failed_one_is_counted() {
        for key in Key::ALL {
            let (listener, served) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(server(key)));
            let address = listener.local_addr().unwrap();
            thread::spawn(move || serve(&listener, &served));
            let (config, mut direct) = (Arc::new(config()), Shaken::default());
            (0..20).for_each(|_| direct.count(Some(shake(address, &config))));
            assert!((direct.made, direct.failed) == (16, 4) && direct.reason.is_some(), "{direct:?}");
            let shaken = make(address, 1000.0, (0.01, 0.02));
            assert!(shaken.wanted == 20 && shaken.made + shaken.failed <= 20, "{shaken:?}");
        }
        // Nobody listens on this port, so every handshake fails at once.
        let nowhere = ([127, 0, 0, 1], 1).into();
        for (per_s, seconds, wanted) in [(0.0, 1.0, 0), (0.5, 0.1, 1), (100.0, 0.2, 20), (640.0, 0.2, 128)] {
            let shaken = make(nowhere, per_s, (0.0, seconds));
            assert_eq!(shaken.wanted, wanted, "{per_s} in {seconds} s");
        }
    }
}
