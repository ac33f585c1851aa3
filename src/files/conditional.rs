//! Conditional requests (RFC 9110 section 13).
use std::time::{SystemTime, UNIX_EPOCH};

use crate::http::head::{Method, RequestHead};

/// The validators of a file (RFC 9110 section 8.8).
#[derive(Debug, Clone, Copy)]
pub(super) struct Validators<'a> {
    /// The strong entity tag with its quotes.
    pub etag: &'a [u8],
    /// Modification time in seconds since 1970; None when an HTTP date cannot express this time.
    pub modified: Option<u64>,
}

/// The result of a request's conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict<'b> {
    /// The response has the whole file.
    Whole,
    /// The response has the part that this Range value selects.
    Range(&'b [u8]),
    /// 304.
    NotModified,
    /// 412.
    Failed,
}

/// Evaluates the conditions of a GET or HEAD in the order of RFC 9110 section 13.2.2. A list may be spread over several
/// field lines. An invalid date is ignored.
pub(super) fn evaluate<'b>(head: &RequestHead<'b>, file: Validators<'_>) -> Verdict<'b> {
    let (mut matched, mut unmodified) = (None, None);
    let (mut none_matched, mut not_modified) = (None, None);
    let (mut ranges, mut range, mut if_range) = (0, None, None);
    for field in head.fields.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("If-None-Match") {
            none_matched =
                Some(none_matched == Some(true) || lists(field.value, file.etag, Comparison::Weak));
        } else if is("If-Modified-Since") {
            not_modified = not_modified.or_else(|| Some(file.modified? <= seconds(field.value)?));
        } else if is("Range") {
            ranges += 1;
            range = Some(field.value);
        } else if is("If-Range") {
            if_range = Some(field.value);
        } else if is("If-Match") {
            matched = Some(matched == Some(true) || lists(field.value, file.etag, Comparison::Strong));
        } else if is("If-Unmodified-Since") {
            unmodified = unmodified.or_else(|| Some(file.modified? <= seconds(field.value)?));
        }
    }
    if matched.or(unmodified) == Some(false) {
        return Verdict::Failed;
    }
    if none_matched.or(not_modified) == Some(true) {
        return Verdict::NotModified;
    }
    match range {
        Some(range)
            if ranges == 1 && head.method == Method::Get && if_range.is_none_or(|v| is_current(v, file)) =>
        {
            Verdict::Range(range)
        }
        _ => Verdict::Whole,
    }
}

/// How entity tags are compared (RFC 9110 section 8.8.3.2).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// True when the list of entity tags contains `etag` or is `*`. Parsing stops at the first invalid tag.
fn lists(mut list: &[u8], etag: &[u8], comparison: Comparison) -> bool {
    if list == b"*" {
        return true;
    }
    loop {
        list = list.trim_ascii_start();
        if let Some(rest) = list.strip_prefix(b",") {
            list = rest;
            continue;
        }
        let (weak, tag) = match list.strip_prefix(b"W/") {
            Some(tag) => (true, tag),
            None => (false, list),
        };
        let Some(end) = tag.strip_prefix(b"\"").and_then(|tag| tag.iter().position(|&byte| byte == b'"'))
        else {
            return false;
        };
        let (tag, rest) = tag.split_at(end + 2);
        if tag == etag && !(weak && comparison == Comparison::Strong) {
            return true;
        }
        list = rest;
    }
}

/// True when an If-Range value is the strong entity tag or the exact date of the file (RFC 9110 section 13.1.5).
fn is_current(value: &[u8], file: Validators<'_>) -> bool {
    value == file.etag || (file.modified.is_some() && seconds(value) == file.modified)
}

/// Parses an HTTP date into seconds since 1970.
fn seconds(value: &[u8]) -> Option<u64> {
    let date: SystemTime = httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::with_head;

    const FILE: Validators<'_> = Validators { etag: b"\"a\"", modified: Some(784_111_777) };
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const SAME_850: &str = "Sunday, 06-Nov-94 08:49:37 GMT";
    const SAME_ASCTIME: &str = "Sun Nov  6 08:49:37 1994";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    #[test]
    fn conditions_in_their_order() {
        const PART: Verdict<'_> = Verdict::Range(b"bytes=0-1");
        const RANGE: (&str, &str) = ("Range", "bytes=0-1");
        let cases: &[(&[(&str, &str)], Verdict<'_>)] = &[
            (&[], Verdict::Whole),
            (&[("If-None-Match", "\"a\"")], Verdict::NotModified),
            (&[("IF-NONE-MATCH", "\"a\"")], Verdict::NotModified),
            (&[("If-None-Match", "W/\"a\"")], Verdict::NotModified),
            (&[("If-None-Match", "*")], Verdict::NotModified),
            (&[("If-None-Match", "\"b\", \"a\"")], Verdict::NotModified),
            (&[("If-None-Match", "\"b\" ,,W/\"a\",\"c\"")], Verdict::NotModified),
            (&[("If-None-Match", "\"x,\", \"a\"")], Verdict::NotModified),
            (&[("If-None-Match", "\"b\""), ("If-None-Match", "\"a\"")], Verdict::NotModified),
            (&[("If-None-Match", "\"a\""), ("If-None-Match", "\"b\"")], Verdict::NotModified),
            (&[("If-None-Match", "\"b\"")], Verdict::Whole),
            (&[("If-None-Match", "\"aa\"")], Verdict::Whole),
            (&[("If-None-Match", "a")], Verdict::Whole),
            (&[("If-None-Match", "\"a")], Verdict::Whole),
            (&[("If-None-Match", "w/\"a\"")], Verdict::Whole),
            (&[("If-None-Match", "")], Verdict::Whole),
            (&[("If-Modified-Since", SAME)], Verdict::NotModified),
            (&[("If-Modified-Since", SAME_850)], Verdict::NotModified),
            (&[("If-Modified-Since", SAME_ASCTIME)], Verdict::NotModified),
            (&[("If-Modified-Since", AFTER)], Verdict::NotModified),
            (&[("If-Modified-Since", BEFORE)], Verdict::Whole),
            (&[("If-Modified-Since", "yesterday")], Verdict::Whole),
            (&[("If-None-Match", "\"b\""), ("If-Modified-Since", SAME)], Verdict::Whole),
            (&[("If-None-Match", "\"a\""), ("If-Modified-Since", BEFORE)], Verdict::NotModified),
            (&[("If-Match", "\"a\"")], Verdict::Whole),
            (&[("If-Match", "*")], Verdict::Whole),
            (&[("If-Match", "\"b\", \"a\"")], Verdict::Whole),
            (&[("If-Match", "W/\"a\"")], Verdict::Failed),
            (&[("If-Match", "\"b\"")], Verdict::Failed),
            (&[("If-Match", "\"b\""), ("If-None-Match", "\"a\"")], Verdict::Failed),
            (&[("If-Match", "\"a\""), ("If-None-Match", "\"a\"")], Verdict::NotModified),
            (&[("If-Match", "\"a\""), ("If-Unmodified-Since", BEFORE)], Verdict::Whole),
            (&[("If-Unmodified-Since", SAME)], Verdict::Whole),
            (&[("If-Unmodified-Since", BEFORE)], Verdict::Failed),
            (&[("If-Unmodified-Since", "never")], Verdict::Whole),
            (&[RANGE], PART),
            (&[RANGE, RANGE], Verdict::Whole),
            (&[RANGE, ("If-Range", "\"a\"")], PART),
            (&[RANGE, ("If-Range", "W/\"a\"")], Verdict::Whole),
            (&[RANGE, ("If-Range", "\"b\"")], Verdict::Whole),
            (&[RANGE, ("If-Range", SAME)], PART),
            (&[RANGE, ("If-Range", BEFORE)], Verdict::Whole),
            (&[RANGE, ("If-Range", AFTER)], Verdict::Whole),
            (&[RANGE, ("If-Range", "what")], Verdict::Whole),
            (&[("If-Range", "\"b\"")], Verdict::Whole),
            (&[RANGE, ("If-None-Match", "\"a\"")], Verdict::NotModified),
            (&[RANGE, ("If-Match", "\"b\"")], Verdict::Failed),
        ];
        for (fields, expected) in cases {
            with_head("GET", "/", fields, |head| assert_eq!(evaluate(head, FILE), *expected, "{fields:?}"));
        }
    }

    #[test]
    fn a_range_is_for_get_alone() {
        let range = [("Range", "bytes=0-1")];
        with_head("HEAD", "/", &range, |head| assert_eq!(evaluate(head, FILE), Verdict::Whole));
    }

    #[test]
    fn a_time_that_no_date_can_say_meets_no_date() {
        let file = Validators { modified: None, ..FILE };
        let cases: [&[(&str, &str)]; 3] = [
            &[("If-Modified-Since", AFTER)],
            &[("If-Unmodified-Since", BEFORE)],
            &[("Range", "bytes=0-1"), ("If-Range", "what")],
        ];
        for fields in cases {
            with_head("GET", "/", fields, |head| {
                assert_eq!(evaluate(head, file), Verdict::Whole, "{fields:?}");
            });
        }
    }
}
