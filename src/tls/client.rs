//! TLS with backends, ready to be used: the configuration of rustls, made from the settings and their files.
use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificates::{Pair, Place, Remark, authorities, pair, trusted};
use super::provider::provider;
use super::session::client_transforms;
use super::settings::BackendTlsSettings;
use crate::engine::TransformFactory;

/// The sessions that are kept for each backend, or for all addresses of a name. rustls keeps at most 8 tickets of TLS 1.3 for one
/// name, and each is used once.
const SESSIONS: usize = 8;

/// TLS with the backends of a cluster, with the content of its files.
#[derive(Debug, Clone)]
pub struct BackendTls {
    settings: BackendTlsSettings,
    /// The trusted authorities, and the certificate that we show.
    files: Vec<Vec<CertificateDer<'static>>>,
    config: ClientConfig,
}

impl PartialEq for BackendTls {
    /// True when settings and certificates are equal.
    fn eq(&self, other: &Self) -> bool {
        (&self.settings, &self.files) == (&other.settings, &other.files)
    }
}

impl BackendTls {
    /// Reads the files of the settings. Returns None when there is an error among the remarks.
    pub fn load(settings: &BackendTlsSettings, now: SystemTime) -> (Option<Self>, Vec<Remark>) {
        let provider = provider();
        let mut remarks = Vec::new();
        let own = settings.certificate.as_ref().map(|files| pair(0, files, &provider, now, &mut remarks));
        let roots = roots(settings).map_err(|remark| remarks.push(remark)).ok();
        if let Some(name) = &settings.server_name
            && ServerName::try_from(name.as_str()).is_err()
        {
            remarks.push(Remark {
                place: Place::ServerName,
                title: format!("invalid name `{name}` of a server"),
                text: "expected a host name or an IP address, such as web.example".to_owned(),
                is_warning: false,
            });
        }
        if settings.insecure {
            remarks.push(Remark {
                place: Place::Insecure,
                title: "certificates of backends are not verified".to_owned(),
                text: "anybody between here and a backend can read and change everything".to_owned(),
                is_warning: true,
            });
        }
        let is_good = remarks.iter().all(|remark| remark.is_warning);
        let tls = roots.filter(|_| is_good).and_then(|roots| {
            let made = BackendTls::new(settings.clone(), own.flatten(), roots, provider);
            made.map_err(|remark| remarks.push(remark)).ok()
        });
        (tls, remarks)
    }

    fn new(
        settings: BackendTlsSettings,
        own: Option<Pair>,
        authorities: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Remark> {
        let shown = own.as_ref().map(|own| own.certified.cert.clone()).unwrap_or_default();
        let files = vec![authorities.clone(), shown];
        let verifier = verifier(&settings, authorities, &provider)?;
        let unusable = |error: Error| Remark {
            place: Place::Ca,
            title: "cannot use TLS with backends".to_owned(),
            text: error.to_string(),
            is_warning: false,
        };
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let own = Arc::unwrap_or_clone(own.certified);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(BackendTls { settings, files, config })
    }

    /// Returns the settings.
    pub fn settings(&self) -> &BackendTlsSettings {
        &self.settings
    }

    /// Makes the factory of the sessions with the backends of a host: a name or an IP address. Without a name in the settings,
    /// the backends must prove that they are this host. All connections that the factory makes share their sessions, and nobody
    /// else does: a backend cannot resume a session of another one.
    ///
    /// # Errors
    /// A certificate cannot have the host as its name. The text says what was expected.
    pub fn transform(&self, host: &str) -> Result<TransformFactory, String> {
        let name = self.settings.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("expected the name of the server too, because `{host}` is no host name"))?;
        let mut config = self.config.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(client_transforms(Arc::new(config), name))
    }
}

/// Returns the certificates of the authorities: those of the file, or those that the system trusts. None without verification.
fn roots(settings: &BackendTlsSettings) -> Result<Vec<CertificateDer<'static>>, Remark> {
    match &settings.ca {
        _ if settings.insecure => Ok(Vec::new()),
        Some(path) => authorities(Place::Ca, "CA", path),
        None => {
            let found = rustls_native_certs::load_native_certs();
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            match found.certs.is_empty() {
                false => Ok(found.certs),
                true => Err(Remark {
                    place: Place::Ca,
                    title: "the system has no certificates of authorities".to_owned(),
                    text: ["expected a file with the certificates of the authorities", &reasons.join("; ")]
                        .join(": ")
                        .trim_end_matches(": ")
                        .to_owned(),
                    is_warning: false,
                }),
            }
        }
    }
}

fn verifier(
    settings: &BackendTlsSettings,
    authorities: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, Remark> {
    if settings.insecure {
        return Ok(Arc::new(Unverified(Arc::clone(provider))));
    }
    let unusable = |error: &dyn std::fmt::Display| match &settings.ca {
        Some(path) => Remark::error(Place::Ca, "CA", path, error.to_string()),
        None => Remark {
            place: Place::Ca,
            title: "cannot use the authorities of the system".to_owned(),
            text: error.to_string(),
            is_warning: false,
        },
    };
    let roots = match &settings.ca {
        Some(_) => trusted(authorities).map_err(|error| unusable(&error))?,
        None => {
            let mut roots = RootCertStore::empty();
            // A system may have old certificates that nobody can use.
            roots.add_parsable_certificates(authorities);
            roots
        }
    };
    let builder = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let verifier = builder.build().map_err(|error| unusable(&error))?;
    Ok(verifier)
}

/// Accepts any certificate. The peer must have its key, as in every handshake.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
