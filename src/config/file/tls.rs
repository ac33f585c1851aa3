//! TLS of a listener and of the backends of a cluster in a file.
use std::time::SystemTime;

use clap::ValueEnum;

use super::super::tls::{VersionName, settings};
use super::problems::{Problem, Span};
use super::reading::Reading;
use super::tree::{Data, Table, Value};
use crate::tls::{BackendTls, BackendTlsSettings, CertificateFiles, Place, Remark, Tls};

/// Reads TLS of a listener, and the files that it names. None without TLS, or after an error.
pub(super) fn read(reading: &mut Reading<'_>, listener: &Table) -> Option<Tls> {
    let table = listener.table("tls")?;
    let (mut pairs, mut spans) = (Vec::new(), Vec::new());
    for pair in table.values("certificates").iter().filter_map(Value::table) {
        // A key that is missing is a problem already.
        let Some(((certificate, first), (key, second))) = pair.text("certificate").zip(pair.text("key"))
        else {
            continue;
        };
        let (certificate, key) = (reading.folder.join(certificate), reading.folder.join(key));
        pairs.push(CertificateFiles { certificate, key });
        spans.push((first.clone(), second.clone()));
    }
    if pairs.is_empty() {
        return None;
    }
    let client_ca = table.text("client_ca").map(|(path, _)| reading.folder.join(path));
    let client_certificates = choice(table, "client_certificates");
    let minimum_version = choice(table, "minimum_version").unwrap_or(VersionName::Tls12);
    let no_resumption = flag(table, "no_resumption");
    let settings = settings(pairs, client_ca, client_certificates, minimum_version, no_resumption);
    let (tls, remarks) = Tls::load(&settings, SystemTime::now());
    let pair = |n: usize| spans.get(n).cloned().unwrap_or_default();
    for remark in remarks {
        let span = match remark.place {
            Place::Certificate(n) => pair(n).0,
            Place::Key(n) => pair(n).1,
            Place::ClientCa => place_of(table, "client_ca"),
            Place::ClientCertificates => place_of(table, "client_certificates"),
            // These are settings of backends.
            Place::Ca | Place::ServerName | Place::Insecure => table.span.clone(),
        };
        note(reading, span, remark);
    }
    tls
}

/// Reads TLS of the backends of a cluster, and the files that it names. None after an error.
pub(super) fn of_backends(reading: &mut Reading<'_>, table: &Table) -> Option<BackendTls> {
    let path = |key: &str| table.text(key).map(|(path, _)| reading.folder.join(path));
    let (ca, certificate, key) = (path("ca"), path("certificate"), path("key"));
    let insecure = flag(table, "insecure");
    let server_name = table.text("server_name").map(|(name, _)| name.to_owned());
    let mut is_good = true;
    let pairs = [("certificate", "key"), ("key", "certificate")];
    for (given, needed) in
        pairs.into_iter().filter(|(given, needed)| table.get(given).is_some() && !table.mentions(needed))
    {
        let title = format!("`{given}` needs `{needed}`");
        reading.wrong(&place_of(table, given), title, format!("expected the key `{needed}` too"));
        is_good = false;
    }
    if insecure && ca.is_some() {
        let text = "expected no `ca` beside `insecure`, because no certificate is verified";
        reading.wrong(&place_of(table, "ca"), "`ca` has no use", text);
        is_good = false;
    }
    if !is_good {
        return None;
    }
    let certificate = certificate.zip(key).map(|(certificate, key)| CertificateFiles { certificate, key });
    let settings = BackendTlsSettings { ca, server_name, insecure, certificate };
    let (tls, remarks) = BackendTls::load(&settings, SystemTime::now());
    for remark in remarks {
        let key = match remark.place {
            Place::Certificate(_) => "certificate",
            Place::Key(_) => "key",
            Place::ServerName => "server_name",
            Place::Insecure => "insecure",
            Place::Ca | Place::ClientCa | Place::ClientCertificates => "ca",
        };
        note(reading, place_of(table, key), remark);
    }
    tls
}

/// Makes TLS with the defaults, for backends with https://. The first of them is at `span`.
pub(super) fn with_defaults(reading: &mut Reading<'_>, span: &Span) -> Option<BackendTls> {
    let (tls, remarks) = BackendTls::load(&BackendTlsSettings::default(), SystemTime::now());
    for remark in remarks {
        note(reading, span.clone(), remark);
    }
    tls
}

/// Returns the place of the value of a key. Without the key, the place is that of the table.
fn place_of(table: &Table, key: &str) -> Span {
    table.get(key).map_or_else(|| table.span.clone(), |entry| entry.value.span.clone())
}

fn note(reading: &mut Reading<'_>, span: Span, remark: Remark) {
    let new = if remark.is_warning { Problem::warning } else { Problem::new };
    reading.problems.push(new(span, remark.title, remark.text));
}

fn flag(table: &Table, key: &str) -> bool {
    table.get(key).is_some_and(|entry| matches!(entry.value.data, Data::Flag(true)))
}

/// Returns the value of a key that is one of some names. The names are those of the command line.
fn choice<T: ValueEnum>(table: &Table, key: &str) -> Option<T> {
    T::from_str(table.text(key)?.0, false).ok()
}
