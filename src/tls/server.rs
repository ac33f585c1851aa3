//! A listener's TLS, ready to be used: the configuration of rustls, made from the settings and their files.
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use super::certificates::{Pair, Place, Remark, authorities, pair, trusted};
use super::names::Names;
use super::provider::{provider, tickets};
use super::settings::{ClientCertificates, TlsSettings, TlsVersion};

/// TLS of a listener, with the content of its files. All workers share it, with its keys of session tickets.
#[derive(Debug, Clone)]
pub struct Tls {
    settings: TlsSettings,
    /// The certificates in the files of the settings, in their order. A certificate contains the public half of its key, so the
    /// keys are equal if the certificates are.
    files: Vec<Vec<CertificateDer<'static>>>,
    config: Arc<ServerConfig>,
}

impl PartialEq for Tls {
    /// True when settings and certificates are equal, whatever the keys of session tickets are.
    fn eq(&self, other: &Self) -> bool {
        (&self.settings, &self.files) == (&other.settings, &other.files)
    }
}

impl Tls {
    /// Reads the files of the settings. Returns None when there is an error among the remarks.
    pub fn load(settings: &TlsSettings, now: SystemTime) -> (Option<Self>, Vec<Remark>) {
        let provider = provider();
        let mut remarks = Vec::new();
        let pairs = settings.certificates.iter().enumerate();
        let pairs: Vec<Option<Pair>> =
            pairs.map(|(n, files)| pair(n, files, &provider, now, &mut remarks)).collect();
        let authorities = of_clients(settings, &mut remarks);
        let pairs: Option<Vec<Pair>> = pairs.into_iter().collect();
        let tls = pairs.zip(authorities).and_then(|(pairs, authorities)| {
            match Tls::new(settings.clone(), pairs, authorities, provider) {
                Ok(tls) => Some(tls),
                Err(remark) => {
                    remarks.push(remark);
                    None
                }
            }
        });
        (tls, remarks)
    }

    fn new(
        settings: TlsSettings,
        pairs: Vec<Pair>,
        authorities: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Remark> {
        let mut files: Vec<_> = pairs.iter().map(|pair| pair.certified.cert.clone()).collect();
        files.push(authorities.clone());
        let verifier = verifier(&settings, authorities, &provider)?;
        let names = Names::new(pairs.into_iter().map(|pair| (pair.certified, pair.names)).collect());
        let unusable = |error: rustls::Error| Remark {
            place: Place::Certificate(0),
            title: "cannot use TLS".to_owned(),
            text: error.to_string(),
            is_warning: false,
        };
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions(settings.minimum_version))
            .map_err(unusable)?;
        let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(Arc::new(names));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if settings.no_resumption {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        } else {
            config.ticketer = tickets().map_err(unusable)?;
            // A client needs one ticket for its next connection. Each more costs bytes and time in every handshake.
            config.send_tls13_tickets = 1;
        }
        // A request in early data could be sent again by anybody who has seen it (RFC 8446 section 8).
        config.max_early_data_size = 0;
        Ok(Tls { settings, files, config: Arc::new(config) })
    }

    /// Returns the configuration of rustls.
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }

    /// Returns the settings.
    pub fn settings(&self) -> &TlsSettings {
        &self.settings
    }
}

/// Returns the versions of TLS from the oldest that is accepted. rustls knows no version before 1.2, and no renegotiation.
fn versions(minimum: TlsVersion) -> &'static [&'static SupportedProtocolVersion] {
    static FROM_12: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];
    static FROM_13: [&SupportedProtocolVersion; 1] = [&version::TLS13];
    match minimum {
        TlsVersion::Tls12 => &FROM_12,
        TlsVersion::Tls13 => &FROM_13,
    }
}

/// Reads the certificates of the authorities for clients. None after an error.
fn of_clients(settings: &TlsSettings, remarks: &mut Vec<Remark>) -> Option<Vec<CertificateDer<'static>>> {
    let asks = settings.client_certificates != ClientCertificates::None;
    let Some(path) = &settings.client_ca else {
        if asks {
            let title = "client certificates need the certificate of an authority".to_owned();
            let text = "expected the file with the certificates of the authorities too".to_owned();
            remarks.push(Remark { place: Place::ClientCertificates, title, text, is_warning: false });
            return None;
        }
        return Some(Vec::new());
    };
    authorities(Place::ClientCa, "client CA", path).map_err(|remark| remarks.push(remark)).ok()
}

fn verifier(
    settings: &TlsSettings,
    authorities: Vec<CertificateDer<'static>>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Remark> {
    if settings.client_certificates == ClientCertificates::None {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let path = settings.client_ca.as_deref().unwrap_or_else(|| "".as_ref());
    let unusable =
        |error: &dyn std::fmt::Display| Remark::error(Place::ClientCa, "client CA", path, error.to_string());
    let roots = trusted(authorities).map_err(|error| unusable(&error))?;
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = match settings.client_certificates {
        ClientCertificates::Optional => builder.allow_unauthenticated(),
        ClientCertificates::None | ClientCertificates::Required => builder,
    };
    builder.build().map_err(|error| unusable(&error))
}
