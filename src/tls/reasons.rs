//! Why a handshake with a backend failed, in the words of an operator.
use rustls::pki_types::ServerName;
use rustls::{CertificateError, Error};

/// Says why a handshake with a backend failed.
pub(super) fn in_words(error: &Error) -> String {
    let Error::InvalidCertificate(what) = error else {
        return match error {
            Error::InvalidMessage(_) => {
                "the backend does not speak TLS, or something else than TLS 1.2 and 1.3".to_owned()
            }
            Error::AlertReceived(alert) => format!("the backend refuses it: {alert:?}"),
            error => error.to_string(),
        };
    };
    let name = |expected: &ServerName<'_>| expected.to_str().into_owned();
    match what {
        CertificateError::UnknownIssuer => "the certificate is not signed by a known authority".to_owned(),
        CertificateError::BadSignature => {
            "the certificate is not signed by a known authority: one has the name of its issuer, but another key; or the backend \
             has not the key of the certificate"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => {
            format!("the certificate is not valid for the name {}: it has no name", name(expected))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<_> = presented.iter().map(|name| bare(name)).collect();
            let presented = presented.join(", ");
            format!("the certificate is not valid for the name {}, but for {presented}", name(expected))
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet".to_owned()
        }
        // rustls wraps this error of its certificate library, which is no dependency of ours.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "the certificate is that of an authority (CA), and not one of a server".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Returns a name of a certificate without its kind: rustls writes `DnsName("a.example")`.
fn bare(name: &str) -> &str {
    name.split_once('(').map_or(name, |(_, name)| name.trim_end_matches(')').trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{AlertDescription, InvalidMessage, OtherError};

    use super::*;

    #[test]
    fn the_reason_of_a_failed_handshake_is_said_in_words() {
        let invalid = Error::InvalidCertificate;
        let not_for = |presented: &[&str]| CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("a.example").unwrap(),
            presented: presented.iter().map(|&name| name.to_owned()).collect(),
        };
        let of_an_authority = OtherError(Arc::new(std::io::Error::other("CaUsedAsEndEntity")));
        let cases = [
            (invalid(CertificateError::UnknownIssuer), "not signed by a known authority"),
            (invalid(not_for(&[])), "not valid for the name a.example: it has no name"),
            (
                invalid(not_for(&["DnsName(\"x\")", "IpAddress(10.0.0.1)", "y"])),
                "not valid for the name a.example, but for x, 10.0.0.1, y",
            ),
            (invalid(CertificateError::BadSignature), "not signed by a known authority"),
            (invalid(CertificateError::Expired), "has expired"),
            (invalid(CertificateError::NotValidYet), "is not valid yet"),
            (invalid(CertificateError::Revoked), "Revoked"),
            (invalid(CertificateError::Other(of_an_authority)), "that of an authority (CA)"),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "does not speak TLS"),
            (Error::AlertReceived(AlertDescription::CertificateRequired), "refuses it: CertificateRequired"),
            (Error::NoApplicationProtocol, "protocol"),
        ];
        for (error, words) in cases {
            let said = in_words(&error);
            assert!(said.contains(words), "{said}");
        }
    }
}
