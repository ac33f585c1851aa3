//! The changes of header fields that a route makes, and the error pages.
use super::problems::{Problem, Span};
use super::reading::Reading;
use super::tree::{Entry, Table, Value};
use crate::app::Page;
use crate::http::changes::FieldChanges;
use crate::http::cookie::is_token;
use crate::router::ErrorPage;

/// The fields that belong to a connection or to the framing of a message. Neraca sets them itself.
const OURS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
/// Maximum size of an error page.
const PAGE_BYTES: u64 = 1 << 20;

/// Reads the changes of the fields of a message: the keys `set_...` and `remove_...`.
pub(super) fn changes(reading: &mut Reading<'_>, route: &Table, message: &str) -> FieldChanges {
    let (set_key, remove_key) = (format!("set_{message}_headers"), format!("remove_{message}_headers"));
    let mut known: Vec<(String, Span)> = Vec::new();
    let mut set = Vec::new();
    let entries = route.table(&set_key).map_or(&[][..], |table| &table.entries);
    for Entry { key, key_span, value } in entries {
        let Some(text) = value.text() else { continue };
        let is_name = name(reading, key, key_span, &mut known);
        if !is_value(text) {
            let title = format!("invalid value for the field `{key}`");
            reading.wrong(&value.span, title, "expected visible ASCII characters and blanks between them");
        } else if is_name && is_possible(reading, &value.span, key, &[], &[(key, text)]) {
            set.push((key.clone(), text.to_owned()));
        }
    }
    let mut remove = Vec::new();
    for value in route.values(&remove_key) {
        let Some(text) = value.text() else { continue };
        if name(reading, text, &value.span, &mut known)
            && is_possible(reading, &value.span, text, &[text], &[])
        {
            remove.push(text.to_ascii_lowercase());
        }
    }
    FieldChanges::unchecked(remove, set)
}

/// Asks the code that makes the changes whether one change is possible.
fn is_possible(
    reading: &mut Reading<'_>,
    span: &Span,
    name: &str,
    remove: &[&str],
    set: &[(&str, &str)],
) -> bool {
    let set = set.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    match FieldChanges::new(remove.iter().map(|&name| name.to_owned()).collect(), set) {
        Ok(_) => true,
        Err(error) => {
            reading.wrong(span, format!("invalid change of the field `{name}`"), error.to_string());
            false
        }
    }
}

/// Checks the name of a field. Notes a name that is there twice.
fn name(reading: &mut Reading<'_>, name: &str, span: &Span, known: &mut Vec<(String, Span)>) -> bool {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        let title = format!("invalid name `{name}` of a field");
        reading.wrong(span, title, "expected letters, digits and `-`, such as \"X-Served-By\"");
        return false;
    }
    if OURS.contains(&lower.as_str()) {
        let title = format!("the field `{name}` cannot be changed");
        reading.wrong(span, title, "Neraca sets this field itself");
        return false;
    }
    if let Some((_, before)) = known.iter().find(|(known, _)| *known == lower) {
        let title = format!("the field `{name}` is named twice");
        reading.problems.push(Problem::new(span.clone(), title, "").also(before.clone(), "named here"));
        return false;
    }
    known.push((lower, span.clone()));
    true
}

/// True for a value of a field (RFC 9110 section 5.5), without octets above 127.
fn is_value(text: &str) -> bool {
    let is_trimmed = text.trim_matches([' ', '\t']) == text;
    is_trimmed && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b'\t')
}

/// Reads the error pages.
pub(super) fn error_pages(reading: &mut Reading<'_>, file: &Table) -> Vec<ErrorPage> {
    let entries = file.table("error_pages").map_or(&[][..], |pages| &pages.entries);
    entries.iter().filter_map(|entry| error_page(reading, entry)).collect()
}

fn error_page(reading: &mut Reading<'_>, entry: &Entry) -> Option<ErrorPage> {
    let Entry { key, key_span, value: Value { span, .. } } = entry;
    let statuses = match (key.as_str(), key.parse::<u16>()) {
        ("4xx", _) => 400..=499,
        ("5xx", _) => 500..=599,
        (_, Ok(status @ 400..=599)) => status..=status,
        _ => {
            let title = format!("invalid status `{key}` of an error page");
            reading.wrong(key_span, title, "expected a status from 400 to 599, \"4xx\" or \"5xx\"");
            return None;
        }
    };
    let text = entry.value.text()?;
    let path = reading.folder.join(text);
    let unusable = |expected: String| (format!("unusable error page `{text}`"), expected);
    let body = match std::fs::metadata(&path) {
        Ok(data) if data.len() > PAGE_BYTES => {
            Err(unusable(format!("expected a file of at most {PAGE_BYTES} bytes, found {}", data.len())))
        }
        Ok(_) => std::fs::read(&path).map_err(|error| unusable(format!("cannot read it: {error}"))),
        Err(error) => Err(unusable(format!("cannot read it: {error}"))),
    };
    match body {
        Ok(body) => {
            let is_text = path.extension().is_some_and(|extension| extension == "txt");
            let content_type = if is_text { "text/plain; charset=utf-8" } else { "text/html; charset=utf-8" };
            let page = Page { content_type: content_type.to_owned(), body: body.into() };
            Some(ErrorPage { statuses, page })
        }
        Err((title, label)) => {
            reading.wrong(span, title, label);
            None
        }
    }
}
