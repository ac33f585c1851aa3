//! A client that makes new full TLS 1.3 handshakes at a fixed rate, and the certificates of the targets.
//!
//! The times of the handshakes do not depend on the target (open loop). The client resumes no session and verifies no
//! certificate, so that it takes little of the CPU time that it shares with the target.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, ClientConnection, Resumption};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme, version};
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
    // Both go to one file, the key first.
    let words = [&words, algorithm, &["-keyout", &path, "-out", "-"]].concat();
    let certificate = printed(Path::new("."), &words)?;
    let key = std::fs::read_to_string(file).map_err(|error| format!("{path}: {error}"))?;
    std::fs::write(file, format!("{certificate}\n{key}")).map_err(|error| format!("{path}: {error}"))
}

/// The threads of a client. Each thread makes one handshake at a time.
#[derive(Debug)]
pub(crate) struct Shakers {
    threads: Vec<JoinHandle<Shaken>>,
    wanted: u64,
}

impl Shakers {
    /// Starts the client. It does not count the seconds of the warm-up, which come first.
    pub(crate) fn start(address: SocketAddr, per_s: f64, (warm_s, seconds): (f64, f64)) -> Self {
        let config = Arc::new(config());
        let start = Instant::now();
        let run = |first| {
            let config = Arc::clone(&config);
            thread::spawn(move || {
                let mut shaken = Shaken::default();
                for at_s in times(first, per_s, warm_s + seconds) {
                    let left = start + Duration::from_secs_f64(at_s);
                    thread::sleep(left.saturating_duration_since(Instant::now()));
                    if start.elapsed().as_secs_f64() > warm_s + seconds {
                        break;
                    }
                    let made = shake(address, &config);
                    if at_s >= warm_s {
                        shaken.count(made);
                    }
                }
                shaken
            })
        };
        let threads = if per_s > 0.0 { (0..THREADS).map(run).collect() } else { Vec::new() };
        let all = (0..THREADS).flat_map(|first| times(first, per_s, warm_s + seconds));
        Shakers { threads, wanted: all.filter(|at_s| *at_s >= warm_s).count() as u64 }
    }

    /// Waits for the end of the client. A thread that panicked counts as one failed handshake.
    pub(crate) fn finish(self) -> Shaken {
        let mut all = Shaken { wanted: self.wanted, ..Shaken::default() };
        for thread in self.threads {
            let failed =
                |_| Shaken { failed: 1, reason: Some("the client panicked".into()), ..Shaken::default() };
            let shaken = thread.join().unwrap_or_else(failed);
            (all.made, all.failed) = (all.made + shaken.made, all.failed + shaken.failed);
            all.reason = all.reason.or(shaken.reason);
        }
        all
    }
}

impl Shaken {
    fn count(&mut self, made: io::Result<()>) {
        match made {
            Ok(()) => self.made += 1,
            Err(error) => {
                self.failed += 1;
                self.reason.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// Returns the times of the handshakes of one thread, in seconds since the start. The threads take turns.
fn times(first: u32, per_s: f64, seconds: f64) -> impl Iterator<Item = f64> {
    let all = (first..).step_by(THREADS as usize).map(move |n| f64::from(n) / per_s);
    all.take_while(move |at_s| *at_s < seconds)
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
    tls.send_close_notify();
    while tls.wants_write() {
        tls.write_tls(&mut stream)?;
    }
    Ok(())
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

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not offered".into()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
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
    use rustls::{HandshakeKind, ServerConfig, ServerConnection};

    use super::*;

    #[test]
    fn all_threads_together_keep_the_rate() {
        for (per_s, seconds, expected) in
            [(0.5, 1.0, 1), (100.0, 1.0, 100), (1000.0, 0.25, 250), (64.0, 2.0, 128)]
        {
            let mut all: Vec<f64> = (0..THREADS).flat_map(|first| times(first, per_s, seconds)).collect();
            all.sort_by(f64::total_cmp);
            let even: Vec<f64> = (0..expected).map(|n| f64::from(n) / per_s).collect();
            assert_eq!(all, even, "{per_s} in {seconds} s");
        }
    }

    /// Makes handshakes with the clients, but closes each fifth connection before. Ends with a client that sends nothing.
    fn serve(listener: &TcpListener, config: &Arc<ServerConfig>) -> Vec<HandshakeKind> {
        let mut kinds = Vec::new();
        for n in 1.. {
            let (mut stream, _) = listener.accept().unwrap();
            let mut tls = ServerConnection::new(Arc::clone(config)).unwrap();
            if n % 5 == 0 {
                continue;
            }
            while tls.is_handshaking() {
                if tls.complete_io(&mut stream).is_err() {
                    return kinds;
                }
            }
            kinds.extend(tls.handshake_kind());
        }
        kinds
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
            let server = thread::spawn(move || serve(&listener, &served));
            let (config, mut direct) = (Arc::new(config()), Shaken::default());
            (0..20).for_each(|_| direct.count(shake(address, &config)));
            assert!((direct.made, direct.failed) == (16, 4) && direct.reason.is_some(), "{direct:?}");
            let shaken = Shakers::start(address, 1000.0, (0.01, 0.02)).finish();
            assert!(shaken.wanted == 20 && shaken.made + shaken.failed <= 20, "{shaken:?}");
            while !server.is_finished() {
                drop(TcpStream::connect(address));
            }
            let kinds = server.join().unwrap();
            assert!(kinds.len() as u64 >= direct.made + shaken.made, "{kinds:?} {shaken:?}");
            assert!(kinds.iter().all(|kind| *kind == HandshakeKind::Full), "{kinds:?}");
        }
        assert_eq!(Shakers::start(([127, 0, 0, 1], 1).into(), 0.0, (0.0, 1.0)).finish(), Shaken::default());
    }
}
