//! Tests of the certificates of a listener: pairs of files, dates, the order of a chain, client certificates.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::provider::provider;
use super::{CertificateFiles, ClientCertificates, Place, Remark, Tls, TlsSettings};

/// A certificate with its key.
pub(super) struct Issued {
    params: CertificateParams,
    key: KeyPair,
    certificate: rcgen::Certificate,
}

impl Issued {
    /// A self-signed certificate with these names of hosts, from 2020 to 2030.
    pub(super) fn new(names: &[&str]) -> Self {
        Issued::with(names, &rcgen::PKCS_ECDSA_P256_SHA256, |_| ())
    }

    /// The same with another kind of key, and with changes.
    pub(super) fn with(
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Self {
        let (params, key) = parts(names, algorithm, change);
        let certificate = params.self_signed(&key).unwrap();
        Issued { params, key, certificate }
    }

    /// An authority with this name.
    fn authority(name: &str, by: Option<&Issued>) -> Self {
        let change = |params: &mut CertificateParams| {
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        };
        Issued::by(by, &[], change)
    }

    /// A certificate for these names of hosts that an authority has signed; None: that it has signed itself.
    fn by(authority: Option<&Issued>, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        let Some(authority) = authority else {
            return Issued::with(names, &rcgen::PKCS_ECDSA_P256_SHA256, change);
        };
        let (params, key) = parts(names, &rcgen::PKCS_ECDSA_P256_SHA256, change);
        let issuer = Issuer::from_params(&authority.params, &authority.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Issued { params, key, certificate }
    }

    /// The pair for a choice by name, with its names.
    pub(super) fn certified(&self) -> (Arc<CertifiedKey>, Vec<String>) {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let pair = CertifiedKey::from_der(vec![self.certificate.der().clone()], key, &provider()).unwrap();
        let name = |name: &rcgen::SanType| match name {
            rcgen::SanType::DnsName(name) => name.to_string(),
            other => panic!("{other:?}"),
        };
        (Arc::new(pair), self.params.subject_alt_names.iter().map(name).collect())
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }

    fn key(&self) -> String {
        self.key.serialize_pem()
    }
}

fn parts(
    names: &[&str],
    algorithm: &'static SignatureAlgorithm,
    change: impl FnOnce(&mut CertificateParams),
) -> (CertificateParams, KeyPair) {
    let mut params =
        CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2030, 1, 1));
    change(&mut params);
    (params, KeyPair::generate_for(algorithm).unwrap())
}

/// A folder of one test, removed on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("neraca-tls-{}-{}", std::process::id(), NEXT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// 2026-01-01.
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

fn settings(certificate: &Path, key: &Path) -> TlsSettings {
    let files = CertificateFiles { certificate: certificate.to_owned(), key: key.to_owned() };
    TlsSettings { certificates: vec![files], ..TlsSettings::default() }
}

/// Reads one pair with these texts. Returns whether it can be used, and the remarks.
fn read(certificate: &str, key: &str) -> (bool, Vec<Remark>) {
    let folder = Folder::new();
    let files = settings(&folder.write("cert.pem", certificate), &folder.write("key.pem", key));
    let (tls, remarks) = Tls::load(&files, now());
    (tls.is_some(), remarks)
}

#[test]
fn a_key_belongs_to_its_certificate() {
    let (one, other) = (Issued::new(&["a.example"]), Issued::new(&["b.example"]));
    let authority = Issued::authority("Authority", None);
    let signed = Issued::by(Some(&authority), &["a.example"], |_| ());
    let (pem, key) = (one.pem(), one.key());
    let chain = signed.pem() + &authority.pem();
    let turned = authority.pem() + &signed.pem();
    let broken = key.replace("-----END", "-----ENDE");
    let (in_certificate, in_key) = (Place::Certificate(0), Place::Key(0));
    // certificate, key, place and a part of each error
    type Case<'a> = (&'a str, &'a str, &'a [(Place, &'a str)]);
    let cases: [Case; 14] = [
        (&pem, &key, &[]),
        (&format!("{key}{pem}"), &format!("{pem}{key}"), &[]),
        (&format!("a text before it\n{pem}"), &key, &[]),
        (&chain, &signed.key(), &[]),
        (&pem, &other.key(), &[(in_key, "expected the key of the certificate")]),
        (&turned, &signed.key(), &[(in_certificate, "the key belongs to certificate 2 of the file")]),
        ("", &key, &[(in_certificate, "expected a certificate in PEM form")]),
        (&key, &key, &[(in_certificate, "expected a certificate in PEM form")]),
        (&pem, &pem, &[(in_key, "expected a private key in PEM form")]),
        ("", "", &[(in_certificate, "expected a certificate"), (in_key, "expected a private key")]),
        (
            &pem,
            &key.replace("PRIVATE", "ENCRYPTED PRIVATE"),
            &[(in_key, "expected a key without a password")],
        ),
        (&pem, &broken, &[(in_key, "invalid PEM: expected the line -----END PRIVATE KEY-----")]),
        (&pem.replace("MII", "!!!"), &key, &[(in_certificate, "invalid PEM: ")]),
        (&pem.replace("MII", "AAA"), &key, &[(in_certificate, "certificate 1 is invalid: ")]),
    ];
    for (certificate, key, expected) in cases {
        let (is_good, remarks) = read(certificate, key);
        assert_eq!(
            (is_good, remarks.len()),
            (expected.is_empty(), expected.len()),
            "{certificate}{key}{remarks:?}"
        );
        for (remark, (place, part)) in remarks.iter().zip(expected) {
            assert!(
                remark.place == *place && remark.text.contains(part) && !remark.is_warning,
                "{part}: {remark:?}"
            );
        }
    }
    let missing = Path::new("/no/such/file.pem");
    let (tls, remarks) = Tls::load(&settings(missing, missing), now());
    assert!(tls.is_none() && remarks.len() == 2, "{remarks:?}");
    assert!(
        remarks[0].title.contains("`/no/such/file.pem`") && remarks[0].text.starts_with("cannot read it: ")
    );
}

#[test]
fn dates_and_order_are_warnings() {
    let root = Issued::authority("Root", None);
    let middle = Issued::authority("Middle", Some(&root));
    let other = Issued::authority("Other", None);
    let signed = Issued::by(Some(&middle), &["a.example"], |_| ());
    let between = |from: i32, to: i32| {
        let change = move |params: &mut CertificateParams| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        };
        Issued::with(&["a.example"], &rcgen::PKCS_ECDSA_P256_SHA256, change)
    };
    let (old, new, long) = (between(2020, 2025), between(2027, 2028), between(2020, 2060));
    let change = |params: &mut CertificateParams| {
        params.not_after = date_time_ymd(2021, 1, 1);
        params.distinguished_name.push(DnType::CommonName, "Middle");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    };
    let old_middle = Issued::with(&[], &rcgen::PKCS_ECDSA_P256_SHA256, change);
    // certificates, key, parts of title and text of the only warning
    type Case<'a> = (Vec<&'a Issued>, &'a Issued, Option<(&'a str, &'a str)>);
    let cases: [Case; 8] = [
        (vec![&long], &long, None),
        (vec![&signed], &signed, None),
        (vec![&signed, &middle, &root], &signed, None),
        (vec![&old], &old, Some(("cert.pem` has expired", "valid until Wed, 01 Jan 2025 00:00:00 GMT"))),
        (vec![&new], &new, Some(("cert.pem` is not valid yet", "valid from Fri, 01 Jan 2027 00:00:00 GMT"))),
        (vec![&signed, &old_middle], &signed, Some(("certificate 2 of", "valid until Fri, 01 Jan 2021"))),
        (
            vec![&signed, &root],
            &signed,
            Some(("not followed by its issuer", "`CN=Middle`, as certificate 2; found `CN=Root`")),
        ),
        (vec![&signed, &middle, &other], &signed, Some(("certificate 2 of", "`CN=Root`, as certificate 3"))),
    ];
    for (chain, key, expected) in cases {
        let chain: String = chain.iter().map(|certificate| certificate.pem()).collect();
        let (is_good, remarks) = read(&chain, &key.key());
        assert!(is_good && remarks.len() == usize::from(expected.is_some()), "{expected:?}: {remarks:?}");
        for (remark, (title, text)) in remarks.iter().zip(expected) {
            let is_as_expected = remark.title.contains(title) && remark.text.contains(text);
            assert!(
                is_as_expected && remark.is_warning && remark.place == Place::Certificate(0),
                "{remark:?}"
            );
        }
    }
}

#[test]
fn a_further_certificate_without_a_host_is_never_used() {
    let folder = Folder::new();
    let (first, second) = (Issued::new(&[]), Issued::new(&[]));
    let files = |name: &str, issued: &Issued| CertificateFiles {
        certificate: folder.write(&format!("{name}.pem"), &issued.pem()),
        key: folder.write(&format!("{name}.key"), &issued.key()),
    };
    let certificates = vec![files("first", &first), files("second", &second)];
    let (tls, remarks) = Tls::load(&TlsSettings { certificates, ..TlsSettings::default() }, now());
    assert!(tls.is_some() && remarks.len() == 1, "{remarks:?}");
    assert!(remarks[0].is_warning && remarks[0].place == Place::Certificate(1), "{remarks:?}");
}

#[test]
fn client_certificates_need_an_authority() {
    use ClientCertificates::{None as Never, Optional, Required};
    let (folder, server) = (Folder::new(), Issued::new(&["a.example"]));
    let files = settings(&folder.write("cert.pem", &server.pem()), &folder.write("key.pem", &server.key()));
    let good = folder.write("ca.pem", &Issued::authority("Authority", None).pem());
    let bad = folder.write("bad.pem", "nothing");
    for (client_ca, client_certificates, expected) in [
        (None, Never, None),
        (Some(&good), Never, None),
        (Some(&good), Optional, None),
        (Some(&good), Required, None),
        (None, Optional, Some(Place::ClientCertificates)),
        (None, Required, Some(Place::ClientCertificates)),
        (Some(&bad), Required, Some(Place::ClientCa)),
        (Some(&bad), Never, Some(Place::ClientCa)),
    ] {
        let settings = TlsSettings { client_ca: client_ca.cloned(), client_certificates, ..files.clone() };
        let (tls, remarks) = Tls::load(&settings, now());
        let places: Vec<_> = remarks.iter().map(|remark| remark.place).collect();
        assert_eq!((tls.is_some(), places.first().copied()), (expected.is_none(), expected), "{remarks:?}");
    }
}

#[test]
fn equal_files_and_settings_are_equal() {
    let folder = Folder::new();
    let (one, other) = (Issued::new(&["a.example"]), Issued::new(&["a.example"]));
    let write = |issued: &Issued| {
        settings(&folder.write("cert.pem", &issued.pem()), &folder.write("key.pem", &issued.key()))
    };
    let load = |settings: &TlsSettings| Tls::load(settings, now()).0.unwrap();
    let files = write(&one);
    let first = load(&files);
    assert!(first == load(&files));
    let newer = TlsSettings { minimum_version: super::TlsVersion::Tls13, ..files.clone() };
    assert!(first != load(&newer));
    write(&other);
    assert!(first != load(&files));
}
