//! TLS on the command line, with clients and with backends: the arguments, and the check of their files.
use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, ValueEnum};

use super::error::ConfigError;
use super::value::{Scheme, WrittenBackend};
use crate::tls::{
    BackendTls, BackendTlsSettings, CertificateFiles, ClientCertificates, Place, Remark, Tls, TlsSettings,
    TlsVersion,
};

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
    /// Make every TLS handshake a full one: no client resumes an earlier session.
    #[arg(long, requires = "tls_cert")]
    pub(super) tls_no_resumption: bool,
    /// Where the handshakes of TLS with clients are computed: by the worker that runs the connection, or by a pool with a
    /// thread for each worker, while the connection waits.
    #[arg(long, value_enum, default_value_t = HandshakesName::Inline)]
    pub(super) handshakes: HandshakesName,
}

/// TLS with backends.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct BackendTlsArguments {
    /// File with the certificates of the authorities (CA) that sign certificates of https:// backends (PEM) [default: the
    /// authorities that the system trusts].
    #[arg(long, value_name = "FILE", conflicts_with = "backend_tls_insecure")]
    pub(super) backend_ca: Option<PathBuf>,
    /// Name that each https:// backend is asked for and must prove [default: the host of the backend].
    #[arg(long, value_name = "NAME")]
    pub(super) backend_server_name: Option<String>,
    /// Accept any certificate of https:// backends. Then anybody on the way can read and change everything.
    #[arg(long)]
    pub(super) backend_tls_insecure: bool,
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
pub(super) enum HandshakesName {
    Inline,
    Pool,
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
    no_resumption: bool,
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
    TlsSettings { certificates, client_ca, client_certificates, minimum_version, no_resumption }
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
        written.tls_no_resumption,
    );
    let (tls, remarks) = Tls::load(&settings, SystemTime::now());
    let Some(error) = first_error(remarks) else { return Ok(tls) };
    let (argument, value) = match error.place {
        Place::Certificate(n) => ("--tls-cert <FILE>", file(certificates.get(n))),
        Place::Key(n) => ("--tls-key <FILE>", file(keys.get(n))),
        // The parser requires an authority for client certificates too, and backends are elsewhere.
        _ => ("--tls-client-ca <FILE>", file(written.tls_client_ca.as_ref())),
    };
    Err(ConfigError::Unknown { argument, value, expected: error.text })
}

/// Reads the files for TLS with backends. None when no backend has TLS. Warnings are logged.
pub(super) fn of_backends(
    written: &BackendTlsArguments,
    backends: &[WrittenBackend],
) -> Result<Option<BackendTls>, ConfigError> {
    let BackendTlsArguments { backend_ca: ca, backend_server_name: name, backend_tls_insecure: insecure } =
        written;
    let (of_ca, of_name) = ("--backend-ca <FILE>", "--backend-server-name <NAME>");
    if backends.iter().all(|backend| backend.scheme != Some(Scheme::Https)) {
        let given = [(ca.is_some(), of_ca), (name.is_some(), of_name), (*insecure, "--backend-tls-insecure")];
        return match given.into_iter().find(|(is_given, _)| *is_given) {
            None => Ok(None),
            Some((_, argument)) => Err(ConfigError::Conflict {
                argument,
                with: "backends without TLS",
                tip: "a backend with TLS is --backend https://HOST[:PORT]",
            }),
        };
    }
    let settings = BackendTlsSettings {
        ca: ca.clone(),
        server_name: name.clone(),
        insecure: *insecure,
        certificate: None,
    };
    let (tls, remarks) = BackendTls::load(&settings, SystemTime::now());
    let Some(error) = first_error(remarks) else { return Ok(tls) };
    let (argument, value) = match error.place {
        Place::ServerName => (of_name, name.clone().unwrap_or_default()),
        _ => (of_ca, file(ca.as_ref())),
    };
    Err(ConfigError::Unknown { argument, value, expected: error.text })
}

/// Logs the warnings, and returns the first error.
fn first_error(remarks: Vec<Remark>) -> Option<Remark> {
    let (warnings, errors): (Vec<_>, Vec<_>) = remarks.into_iter().partition(|remark| remark.is_warning);
    for warning in warnings {
        log::warn!("{}: {}", warning.title, warning.text);
    }
    errors.into_iter().next()
}

fn file(path: Option<&PathBuf>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}
