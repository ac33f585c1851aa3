//! The files of certificates and keys: their content, and what is wrong with them.
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use rustls::{Error, InconsistentKeys, RootCertStore};
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::settings::CertificateFiles;

/// Something that an operator should know about a file. An error makes the settings unusable; a warning does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The setting that it is about.
    pub place: Place,
    /// What is wrong, with the path of the file.
    pub title: String,
    /// The reason, or what was expected.
    pub text: String,
    /// False for an error.
    pub is_warning: bool,
}

/// A setting of [`TlsSettings`](super::TlsSettings) or of [`BackendTlsSettings`](super::BackendTlsSettings).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The certificate of the pair with this index; with backends, index 0.
    Certificate(usize),
    /// The key of the pair with this index; with backends, index 0.
    Key(usize),
    /// The certificates of the authorities that sign certificates of clients.
    ClientCa,
    /// Whether a client must show a certificate.
    ClientCertificates,
    /// The certificates of the authorities that sign certificates of backends.
    Ca,
    /// The name that backends must prove.
    ServerName,
    /// Whether any certificate of a backend is accepted.
    Insecure,
}

impl Remark {
    pub(super) fn error(place: Place, what: &str, path: &Path, text: impl Into<String>) -> Self {
        let title = format!("unusable {what} `{}`", path.display());
        Remark { place, title, text: text.into(), is_warning: false }
    }

    fn warning(place: Place, title: String, text: String) -> Self {
        Remark { place, title, text, is_warning: true }
    }
}

/// A certificate with its key, ready to be used.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) certified: Arc<CertifiedKey>,
    /// The names of hosts in the certificate (subjectAltName, RFC 5280 section 4.2.1.6).
    pub(super) names: Vec<String>,
}

/// Reads the pair with this index. None after an error.
pub(super) fn pair(
    index: usize,
    files: &CertificateFiles,
    provider: &CryptoProvider,
    now: SystemTime,
    remarks: &mut Vec<Remark>,
) -> Option<Pair> {
    let (of_certificate, of_key) = (Place::Certificate(index), Place::Key(index));
    let chain = certificates(&files.certificate);
    let key = key(&files.key, provider);
    let unusable = |text: &String| Remark::error(of_certificate, "certificate", &files.certificate, text);
    remarks.extend(chain.as_ref().err().map(unusable));
    let unusable = |text: &String| Remark::error(of_key, "key", &files.key, text);
    remarks.extend(key.as_ref().err().map(unusable));
    let (chain, key) = (chain.ok()?, key.ok()?);
    let path = files.certificate.display();
    if let Err(error) = matches(&chain[0], &key) {
        let other = chain.iter().position(|certificate| matches(certificate, &key).is_ok());
        remarks.push(match (other, error) {
            (Some(other), _) => {
                let text = format!(
                    "the key belongs to certificate {} of the file: expected this certificate first",
                    other + 1
                );
                Remark::error(of_certificate, "certificate", &files.certificate, text)
            }
            (None, Error::InconsistentKeys(_)) => {
                let text = format!("expected the key of the certificate `{path}`, found another key");
                Remark::error(of_key, "key", &files.key, text)
            }
            (None, error) => {
                Remark::error(of_certificate, "certificate", &files.certificate, error.to_string())
            }
        });
        return None;
    }
    let warnings = dates(&chain, now).into_iter().chain(order(&chain));
    let numbered = |(n, what, text): Warning| {
        let title = match n {
            0 => format!("the certificate `{path}` {what}"),
            n => format!("certificate {} of `{path}` {what}", n + 1),
        };
        Remark::warning(of_certificate, title, text)
    };
    remarks.extend(warnings.map(numbered));
    let names = names(&chain[0].parsed);
    if names.is_empty() && index > 0 {
        let title = format!("the certificate `{path}` names no host");
        let text = "no client gets it: expected a DNS name as its subjectAltName";
        remarks.push(Remark::warning(of_certificate, title, text.to_owned()));
    }
    let chain = chain.into_iter().map(|certificate| certificate.der).collect();
    Some(Pair { certified: Arc::new(CertifiedKey::new(chain, key)), names })
}

/// A certificate of a file.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) der: CertificateDer<'static>,
    parsed: Certificate,
}

/// Reads the certificates of authorities from a file. An error says `what` the file is.
pub(super) fn authorities(
    place: Place,
    what: &str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, Remark> {
    match certificates(path) {
        Ok(all) => Ok(all.into_iter().map(|certificate| certificate.der).collect()),
        Err(text) => Err(Remark::error(place, what, path, text)),
    }
}

/// Makes the store of these authorities. Each of them must be usable.
pub(super) fn trusted(authorities: Vec<CertificateDer<'static>>) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    authorities.into_iter().try_for_each(|authority| roots.add(authority))?;
    Ok(roots)
}

/// Reads the certificates of a file; at least one.
fn certificates(path: &Path) -> Result<Vec<Written>, String> {
    let text = std::fs::read(path).map_err(|error| format!("cannot read it: {error}"))?;
    let mut all = Vec::new();
    for der in CertificateDer::pem_slice_iter(&text) {
        let der = der.map_err(|error| in_words(&error))?;
        let place = all.len() + 1;
        let parsed = Certificate::from_der(&der)
            .map_err(|error| format!("certificate {place} is invalid: {error}"))?;
        all.push(Written { der, parsed });
    }
    match all.is_empty() {
        true => Err("expected a certificate in PEM form (BEGIN CERTIFICATE)".to_owned()),
        false => Ok(all),
    }
}

/// Reads the first key of a file.
fn key(path: &Path, provider: &CryptoProvider) -> Result<Arc<dyn SigningKey>, String> {
    let text = std::fs::read(path).map_err(|error| format!("cannot read it: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound if text.windows(9).any(|part| part == b"ENCRYPTED") => {
            "expected a key without a password".to_owned()
        }
        pem::Error::NoItemsFound => "expected a private key in PEM form (BEGIN PRIVATE KEY)".to_owned(),
        error => in_words(&error),
    })?;
    let unusable = |_| {
        "expected an RSA key of 2048 to 8192 bits, an ECDSA key (P-256, P-384) or an Ed25519 key".to_owned()
    };
    provider.key_provider.load_private_key(key).map_err(unusable)
}

/// Says what is wrong with the form of a PEM file.
fn in_words(error: &pem::Error) -> String {
    let line = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            format!("invalid PEM: expected the line -----END {}-----", line(end_marker))
        }
        pem::Error::IllegalSectionStart { line: found } => {
            format!("invalid PEM: expected a line such as -----BEGIN CERTIFICATE-----, found {}", line(found))
        }
        error => format!("invalid PEM: {error}"),
    }
}

/// Checks that a key belongs to a certificate. A key that does not know its public half is believed.
fn matches(certificate: &Written, key: &Arc<dyn SigningKey>) -> Result<(), Error> {
    let pair = CertifiedKey::new(vec![certificate.der.clone()], Arc::clone(key));
    match pair.keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        result => result,
    }
}

/// The index of a certificate, what is wrong with it, and why.
type Warning = (usize, &'static str, String);

/// Finds certificates that are not valid at this time.
fn dates(chain: &[Written], now: SystemTime) -> Vec<Warning> {
    let of_one = |(n, certificate): (usize, &Written)| {
        let validity = certificate.parsed.tbs_certificate().validity();
        let (from, to) = (validity.not_before.to_system_time(), validity.not_after.to_system_time());
        if now > to {
            Some((n, "has expired", format!("it was valid until {}", httpdate::fmt_http_date(to))))
        } else if now < from {
            Some((n, "is not valid yet", format!("it is valid from {}", httpdate::fmt_http_date(from))))
        } else {
            None
        }
    };
    chain.iter().enumerate().filter_map(of_one).collect()
}

/// Finds certificates whose issuer is not the certificate behind them (RFC 8446 section 4.4.2).
fn order(chain: &[Written]) -> Vec<Warning> {
    let of_two = |(n, two): (usize, &[Written])| {
        let [one, next] = [&two[0], &two[1]].map(|written| written.parsed.tbs_certificate());
        let is_next = one.issuer().to_der().ok() == next.subject().to_der().ok();
        (!is_next).then(|| {
            let text = format!(
                "expected its issuer, `{}`, as certificate {}; found `{}`",
                one.issuer(),
                n + 2,
                next.subject()
            );
            (n, "is not followed by its issuer", text)
        })
    };
    chain.windows(2).enumerate().filter_map(of_two).collect()
}

/// Returns the names of hosts in a certificate.
fn names(certificate: &Certificate) -> Vec<String> {
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok().flatten();
    let names = names.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
    let of_host = |name| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        _ => None,
    };
    names.into_iter().filter_map(of_host).collect()
}
