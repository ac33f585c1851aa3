//! TLS of a listener in a file.
use std::time::SystemTime;

use clap::ValueEnum;

use super::super::tls::{VersionName, settings};
use super::problems::{Problem, Span};
use super::reading::Reading;
use super::tree::{Table, Value};
use crate::tls::{CertificateFiles, Place, Tls};

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
    let settings = settings(pairs, client_ca, client_certificates, minimum_version);
    let (tls, remarks) = Tls::load(&settings, SystemTime::now());
    let of_key = |key: &str| table.text(key).map_or_else(|| table.span.clone(), |(_, span)| span.clone());
    let pair = |n: usize| spans.get(n).cloned().unwrap_or_default();
    for remark in remarks {
        let span: Span = match remark.place {
            Place::Certificate(n) => pair(n).0,
            Place::Key(n) => pair(n).1,
            Place::ClientCa => of_key("client_ca"),
            Place::ClientCertificates => of_key("client_certificates"),
        };
        let new = if remark.is_warning { Problem::warning } else { Problem::new };
        reading.problems.push(new(span, remark.title, remark.text));
    }
    tls
}

/// Returns the value of a key that is one of some names. The names are those of the command line.
fn choice<T: ValueEnum>(table: &Table, key: &str) -> Option<T> {
    T::from_str(table.text(key)?.0, false).ok()
}
