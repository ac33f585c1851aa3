//! TLS on the command line: the arguments, and the check of their files.
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueEnum};

use super::error::ConfigError;
use crate::tls::{CertificateFiles, ClientCertificates, Place, Tls, TlsSettings, TlsVersion};

/// TLS for clients.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct TlsArguments {
    /// File with a certificate for the listeners, and behind it the certificates of its authorities (PEM); repeat it for each
    /// certificate. The name of the host that a client asks for selects the certificate. A client without a known name gets
    /// the first. Changed files are loaded while requests run.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(super) tls_cert: Vec<PathBuf>,
    /// File with the private key of a certificate (PEM); one for each --tls-cert, in the same order.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_key: Vec<PathBuf>,
    /// File with the certificates of the authorities (CA) that sign certificates of clients (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_client_ca: Option<PathBuf>,
    /// Whether a client must show a certificate that one of the authorities has signed [default: required with a client CA,
    /// else none].
    #[arg(long, value_enum, value_name = "WHEN", requires = "tls_client_ca")]
    pub(super) tls_client_certificates: Option<ClientCertificatesName>,
    /// Oldest version of TLS that is accepted.
    #[arg(long, value_enum, value_name = "VERSION", default_value_t = VersionName::Tls12, requires = "tls_cert")]
    pub(super) tls_minimum_version: VersionName,
}

/// The name on the command line and in the file.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum ClientCertificatesName {
    None,
    Optional,
    Required,
}

/// The name on the command line and in the file.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum VersionName {
    #[value(name = "1.2")]
    Tls12,
    #[value(name = "1.3")]
    Tls13,
}

/// Makes the settings. Without a choice, a client must show a certificate if there is an authority for it.
pub(super) fn settings(
    certificates: Vec<CertificateFiles>,
    client_ca: Option<PathBuf>,
    client_certificates: Option<ClientCertificatesName>,
    minimum_version: VersionName,
) -> TlsSettings {
    let client_certificates = match client_certificates {
        Some(ClientCertificatesName::None) => ClientCertificates::None,
        Some(ClientCertificatesName::Optional) => ClientCertificates::Optional,
        Some(ClientCertificatesName::Required) => ClientCertificates::Required,
        None if client_ca.is_some() => ClientCertificates::Required,
        None => ClientCertificates::None,
    };
    let minimum_version = match minimum_version {
        VersionName::Tls12 => TlsVersion::Tls12,
        VersionName::Tls13 => TlsVersion::Tls13,
    };
    TlsSettings { certificates, client_ca, client_certificates, minimum_version }
}

/// Reads the files that the command line names. None without TLS. Warnings are logged.
pub(super) fn tls(written: &TlsArguments) -> Result<Option<Tls>, ConfigError> {
    let TlsArguments { tls_cert: certificates, tls_key: keys, .. } = written;
    let unpaired = |argument, path: &PathBuf| {
        let expected = "expected as many --tls-cert as --tls-key, in the same order".to_owned();
        Err(ConfigError::Unknown { argument, value: path.display().to_string(), expected })
    };
    match (certificates.get(keys.len()), keys.get(certificates.len())) {
        (Some(certificate), _) => return unpaired("--tls-cert <FILE>", certificate),
        (_, Some(key)) => return unpaired("--tls-key <FILE>", key),
        (None, None) if certificates.is_empty() => return Ok(None),
        (None, None) => {}
    }
    let pairs = certificates.iter().zip(keys);
    let pairs = pairs
        .map(|(certificate, key)| CertificateFiles { certificate: certificate.clone(), key: key.clone() });
    let settings = settings(
        pairs.collect(),
        written.tls_client_ca.clone(),
        written.tls_client_certificates,
        written.tls_minimum_version,
    );
    let (tls, remarks) = Tls::load(&settings, SystemTime::now());
    for remark in &remarks {
        if remark.is_warning {
            log::warn!("{}: {}", remark.title, remark.text);
        }
    }
    match remarks.into_iter().find(|remark| !remark.is_warning) {
        None => Ok(tls),
        Some(error) => {
            let file =
                |path: Option<&PathBuf>| path.map(|path| path.display().to_string()).unwrap_or_default();
            let (argument, value) = match error.place {
                Place::Certificate(n) => ("--tls-cert <FILE>", file(certificates.get(n))),
                Place::Key(n) => ("--tls-key <FILE>", file(keys.get(n))),
                Place::ClientCa => ("--tls-client-ca <FILE>", file(written.tls_client_ca.as_ref())),
                // The parser requires an authority too, so this place is one of files.
                Place::ClientCertificates => ("--tls-client-certificates <WHEN>", String::new()),
            };
            Err(ConfigError::Unknown { argument, value, expected: error.text })
        }
    }
}
