//! The settings of TLS on a listener and with backends, as plain data.
use std::path::{Path, PathBuf};

/// The settings of TLS on a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// The certificates with their keys; at least one. A client that names no host, or a host of no certificate, gets the
    /// first.
    pub certificates: Vec<CertificateFiles>,
    /// The file with the certificates of the authorities (CA) that sign certificates of clients.
    pub client_ca: Option<PathBuf>,
    /// Whether a client must show a certificate.
    pub client_certificates: ClientCertificates,
    /// The oldest version of TLS that is accepted.
    pub minimum_version: TlsVersion,
    /// True to make every handshake a full one.
    pub no_resumption: bool,
}

impl TlsSettings {
    /// Returns the paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let pairs = self.certificates.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        pairs.chain(&self.client_ca).map(PathBuf::as_path)
    }
}

/// The settings of TLS with backends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackendTlsSettings {
    /// The file with the certificates of the authorities (CA) that sign certificates of backends; None: the authorities that the
    /// system trusts.
    pub ca: Option<PathBuf>,
    /// The name that each backend is asked for and must prove; None: the host of the backend.
    pub server_name: Option<String>,
    /// True to accept any certificate.
    pub insecure: bool,
    /// The certificate for backends that ask for one.
    pub certificate: Option<CertificateFiles>,
}

impl BackendTlsSettings {
    /// Returns the paths of all files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let own = self.certificate.iter().flat_map(|pair| [&pair.certificate, &pair.key]);
        own.chain(&self.ca).map(PathBuf::as_path)
    }
}

/// The files of a certificate and its key, in PEM form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, and behind it the certificates of the authorities between it and the root.
    pub certificate: PathBuf,
    /// The private key of the certificate.
    pub key: PathBuf,
}

/// Whether a client must show a certificate that one of the authorities has signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Clients are not asked for a certificate.
    #[default]
    None,
    /// Clients may have no certificate. A certificate that they show must be valid.
    Optional,
    /// A client without a valid certificate is refused.
    Required,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[default]
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}
