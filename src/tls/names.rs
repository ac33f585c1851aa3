//! The choice of a certificate by the name of the host that the client asks for (SNI, RFC 6066 section 3).
use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureScheme, sign};

/// The certificates of a listener by their names.
#[derive(Debug)]
pub(super) struct Names {
    /// All certificates. The first is that of clients without a known name.
    certificates: Vec<Arc<CertifiedKey>>,
    /// Places in `certificates`, by name in lower case. A wildcard has its `*.`.
    by_name: HashMap<String, Vec<usize>>,
}

impl Names {
    /// Makes the choice among certificates, each with its names.
    pub(super) fn new(certificates: Vec<(Arc<CertifiedKey>, Vec<String>)>) -> Self {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, (_, names)) in certificates.iter().enumerate() {
            for name in names {
                by_name.entry(name.to_ascii_lowercase()).or_default().push(place);
            }
        }
        let certificates = certificates.into_iter().map(|(certificate, _)| certificate).collect();
        Names { certificates, by_name }
    }

    /// Returns the places of the certificates for a host: those with its exact name, else those with the wildcard of its
    /// domain, else the first certificate. A wildcard stands for one label (RFC 9525 section 6.3).
    fn of_host(&self, host: Option<&str>) -> &[usize] {
        let host = host.unwrap_or_default().to_ascii_lowercase();
        let exact = self.by_name.get(&host);
        let wildcard = || self.by_name.get(&format!("*.{}", host.split_once('.')?.1));
        exact.or_else(wildcard).map_or(&[0], Vec::as_slice)
    }

    /// Returns the first certificate for a host that the client can verify, else the first certificate for the host.
    fn choose(&self, host: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<CertifiedKey>> {
        let mut suitable = self.of_host(host).iter().filter_map(|&place| self.certificates.get(place));
        let first = suitable.clone().next();
        suitable.find(|certificate| can_sign(&*certificate.key, schemes)).or(first)
    }
}

fn can_sign(key: &dyn sign::SigningKey, schemes: &[SignatureScheme]) -> bool {
    key.choose_scheme(schemes).is_some()
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use rustls::SignatureScheme::{ECDSA_NISTP256_SHA256, ED25519};

    use super::super::tests::Issued;
    use super::*;

    #[test]
    fn the_exact_name_wins_over_the_wildcard_and_the_wildcard_over_the_first() {
        let names: [&[&str]; 4] =
            [&["first.example"], &["*.a.example", "a.example"], &["www.A.example"], &["*.a.example"]];
        let names = Names::new(names.iter().map(|names| Issued::new(names).certified()).collect());
        for (host, place) in [
            (None, 0),
            (Some("first.example"), 0),
            (Some("a.example"), 1),
            (Some("b.a.example"), 1),
            (Some("B.A.Example"), 1),
            (Some("www.a.example"), 2),
            (Some("c.b.a.example"), 0),
            (Some("example"), 0),
            (Some("*.a.example"), 1),
            (Some(""), 0),
            (Some("."), 0),
        ] {
            assert_eq!(names.of_host(host)[0], place, "{host:?}");
        }
    }

    #[test]
    fn a_client_gets_a_certificate_that_it_can_verify() {
        let both = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ED25519]
            .map(|algorithm| Issued::with(&["a.example"], algorithm, |_| ()).certified());
        let names = Names::new(both.to_vec());
        let place = |schemes: &[SignatureScheme]| {
            let chosen = names.choose(Some("a.example"), schemes).unwrap();
            names.certificates.iter().position(|known| Arc::ptr_eq(known, chosen)).unwrap()
        };
        for (schemes, expected) in [
            (&[ECDSA_NISTP256_SHA256, ED25519][..], 0),
            (&[ED25519, ECDSA_NISTP256_SHA256], 0),
            (&[ED25519], 1),
            (&[ECDSA_NISTP256_SHA256], 0),
            (&[], 0),
        ] {
            assert_eq!(place(schemes), expected, "{schemes:?}");
        }
    }
}
