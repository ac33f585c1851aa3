//! TLS in a configuration file: the place of what is wrong with certificates that exist.
use std::fs;
use std::path::{Path, PathBuf};

use neraca::config::check_text;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use super::DESCRIPTORS;

/// A folder with certificates, removed on drop.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a certificate and a key for each host into a folder below: `HOST.pem` and `HOST.key`. The authority that signs them is
    /// `clients.pem`.
    pub fn sign(&self, below: &str, hosts: &[&str]) {
        let folder = self.path(below);
        fs::create_dir_all(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join("clients.pem"), authority.pem()).unwrap();
        for host in hosts {
            let mut params = CertificateParams::new(vec![(*host).to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, *host);
            if host.starts_with("old.") {
                (params.not_before, params.not_after) =
                    (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
            }
            let key = KeyPair::generate().unwrap();
            let certificate = params.signed_by(&key, &authority).unwrap().pem();
            fs::write(folder.join(format!("{host}.pem")), certificate).unwrap();
            fs::write(folder.join(format!("{host}.key")), key.serialize_pem()).unwrap();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_wrong_with_a_certificate_has_its_place() {
    let folder = Folder::new("places");
    folder.sign(".", &["a.example", "b.example", "old.example"]);
    let join = |name: &str, parts: &[&str]| {
        let parts = parts.iter().map(|part| fs::read_to_string(folder.path(part)).unwrap());
        fs::write(folder.path(name), parts.collect::<String>()).unwrap();
    };
    join("chain.pem", &["a.example.pem", "clients.pem"]);
    join("turned.pem", &["clients.pem", "a.example.pem"]);
    join("foreign.pem", &["a.example.pem", "b.example.pem"]);
    let (good, none) = ("certificate = \"a.example.pem\", key = \"a.example.key\"", "");
    // the first pair, more lines, place and words of each problem
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);
    let cases: [Case; 9] = [
        (good, none, &[]),
        ("certificate = \"chain.pem\", key = \"a.example.key\"", none, &[]),
        (
            "certificate = \"a.example.pem\", key = \"b.example.key\"",
            none,
            &[("4:56", "error: unusable key"), ("4:56", "expected the key of the certificate")],
        ),
        (
            "certificate = \"turned.pem\", key = \"a.example.key\"",
            none,
            &[("4:33", "the key belongs to certificate 2 of the file: expected this certificate first")],
        ),
        (
            "certificate = \"foreign.pem\", key = \"a.example.key\"",
            none,
            &[("4:33", "warning: the certificate"), ("4:33", "is not followed by its issuer")],
        ),
        (
            "certificate = \"old.example.pem\", key = \"old.example.key\"",
            none,
            &[
                ("4:33", "warning: the certificate"),
                ("4:33", "it was valid until Fri, 01 Jan 2021 00:00:00 GMT"),
            ],
        ),
        (
            good,
            "client_certificates = \"optional\"\n",
            &[("5:23", "expected the file with the certificates")],
        ),
        (
            good,
            "client_ca = \"a.example.key\"\nclient_certificates = \"required\"\n",
            &[("5:13", "unusable client CA"), ("5:13", "expected a certificate in PEM form")],
        ),
        (good, "client_ca = \"clients.pem\"\nclient_certificates = \"required\"\n", &[]),
    ];
    for (pair, lines, expected) in cases {
        let text = format!(
            "[[listeners]]\nlisten = \"127.0.0.1:0\"\n[listeners.tls]\ncertificates = [{{ {pair} }}]\n{lines}\
             [[routes]]\nredirect = \"/x\"\n"
        );
        let report = check_text(&folder.path("neraca.toml"), &text, DESCRIPTORS);
        let shown = report.to_string();
        assert_eq!(report.is_empty(), expected.is_empty(), "{text}{shown}");
        for (place, words) in expected {
            assert!(
                shown.contains(&format!("neraca.toml:{place}\n")) && shown.contains(words),
                "{words}\n{shown}"
            );
        }
    }
}
