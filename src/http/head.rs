//! Parses request heads and response heads, which may arrive in fragments.

use httparse::Status;

pub use super::error::HeadError;
pub use super::fields::{ConnectionOptions, FIELDS_MAX, Field, FieldSlots, Fields, Name};
pub use super::method::{Method, Version};
pub use super::request::RequestHead;
pub use super::response::ResponseHead;

/// Maximum number of empty lines before a request line. RFC 9112 section 2.2 requires at least one.
const EMPTY_LINES_MAX: usize = 4;

/// The size limits of a head.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Maximum bytes of a head, including its empty line; a larger request head gets 431. Default: 32 KiB.
    pub head_bytes: usize,
    /// Maximum bytes of the request line, without its line end; a longer line gets 414. Default: 8 KiB.
    pub request_line_bytes: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { head_bytes: 32 * 1024, request_line_bytes: 8 * 1024 }
    }
}

/// Parses one head that may arrive in fragments. Remembers how much of the unfinished head is already scanned. So the
/// total work is linear in the length of the head, for any number of fragments.
#[derive(Debug, Default, Clone, Copy)]
pub struct HeadScan {
    /// No empty line ends before this offset.
    scanned: usize,
    /// The length at the last parse; 0 before the first parse.
    checked: usize,
    /// True when the request line has ended within its limit.
    line_ended: bool,
}

impl HeadScan {
    /// Returns the request head at the front of `bytes`, or None while the head is unfinished. The caller passes all
    /// received bytes of the head each time.
    ///
    /// # Errors
    ///
    /// The reason to refuse the head. An invalid byte in an unfinished head is found when the head ends, or earlier
    /// when its length has doubled.
    pub fn request<'b>(
        &mut self,
        bytes: &'b [u8],
        limits: &HeadLimits,
        slots: &'b mut FieldSlots<'b>,
    ) -> Result<Option<RequestHead<'b>>, HeadError> {
        let start = skip_empty_lines(bytes)?;
        let full = bytes.len() >= limits.head_bytes;
        let head = &bytes[start..bytes.len().min(limits.head_bytes).max(start)];
        if self.is_due(head, full) {
            let mut parsed = httparse::Request::new(&mut []);
            match parsed.parse_with_uninit_headers(head, &mut slots.slots) {
                Ok(Status::Complete(len)) => {
                    *self = HeadScan::default();
                    if request_line_bytes(&parsed) > limits.request_line_bytes {
                        return Err(HeadError::LineTooLong);
                    }
                    return Ok(Some(RequestHead::from_parsed(start + len, parsed, &mut slots.names)?));
                }
                Ok(Status::Partial) => {}
                Err(_) if self.line_too_long(head, limits) => return Err(HeadError::LineTooLong),
                Err(httparse::Error::Version) => refuse_version(&parsed, head)?,
                Err(error) => return Err(error.into()),
            }
        }
        if self.line_too_long(head, limits) {
            return Err(HeadError::LineTooLong);
        }
        if full { Err(HeadError::TooLarge) } else { Ok(None) }
    }

    /// Returns the response head at the front of `bytes`, or None while the head is unfinished.
    ///
    /// # Errors
    ///
    /// The reason to refuse the head. An invalid byte in an unfinished head is found when the head ends, or earlier
    /// when its length has doubled.
    #[doc(hidden)]
    pub fn response<'b>(
        &mut self,
        bytes: &'b [u8],
        request_method: Method,
        limits: &HeadLimits,
        slots: &'b mut FieldSlots<'b>,
    ) -> Result<Option<ResponseHead<'b>>, HeadError> {
        if matches!(bytes.first(), Some(b'\r' | b'\n')) {
            return Err(HeadError::EmptyLines);
        }
        let full = bytes.len() >= limits.head_bytes;
        let head = &bytes[..bytes.len().min(limits.head_bytes)];
        if self.is_due(head, full) {
            let mut parsed = httparse::Response::new(&mut []);
            let parser = httparse::ParserConfig::default();
            let status = parser.parse_response_with_uninit_headers(&mut parsed, head, &mut slots.slots)?;
            if let Status::Complete(len) = status {
                *self = HeadScan::default();
                return Ok(Some(ResponseHead::from_parsed(len, parsed, request_method, &mut slots.names)?));
            }
        }
        if full { Err(HeadError::TooLarge) } else { Ok(None) }
    }

    /// True when `head` must be parsed now: at the first call, when the end of the head has arrived, and when the
    /// length has doubled. Parsing an unfinished head refuses bytes early that are not HTTP.
    fn is_due(&mut self, head: &[u8], full: bool) -> bool {
        let first = self.checked == 0;
        let due = first || full || self.finds_end(head) || head.len() / 2 >= self.checked;
        if due {
            self.checked = head.len();
        }
        due
    }

    /// Looks for the empty line in the bytes that are not yet scanned.
    fn finds_end(&mut self, head: &[u8]) -> bool {
        let mut at = self.scanned;
        while let Some(n) = head[at..].iter().position(|&b| b == b'\n') {
            at += n + 1;
            if head[at..].starts_with(b"\n") || head[at..].starts_with(b"\r\n") {
                return true;
            }
        }
        self.scanned = head.len().saturating_sub(2);
        false
    }

    /// True when no line end arrived within the limit of the request line.
    fn line_too_long(&mut self, head: &[u8], limits: &HeadLimits) -> bool {
        let with_line_end = limits.request_line_bytes + 2;
        if self.line_ended || head.len() < with_line_end {
            return false;
        }
        self.line_ended = head[..with_line_end].contains(&b'\n');
        !self.line_ended
    }
}

/// Returns the length of a parsed request line in bytes, without its line end.
fn request_line_bytes(parsed: &httparse::Request<'_, '_>) -> usize {
    parsed.method.map_or(0, str::len) + parsed.path.map_or(0, str::len) + "  HTTP/1.1".len()
}

/// Returns the offset of the start line.
fn skip_empty_lines(bytes: &[u8]) -> Result<usize, HeadError> {
    let mut at = 0;
    for _ in 0..=EMPTY_LINES_MAX {
        match &bytes[at..] {
            [b'\r', b'\n', ..] => at += 2,
            [b'\n', ..] => at += 1,
            _ => return Ok(at),
        }
    }
    Err(HeadError::EmptyLines)
}

/// Returns the error for a version that httparse refuses. Returns Ok while the version is unfinished, so that the error
/// does not depend on the fragments.
fn refuse_version(parsed: &httparse::Request<'_, '_>, head: &[u8]) -> Result<(), HeadError> {
    let at = parsed.method.map_or(0, str::len) + parsed.path.map_or(0, str::len) + 2;
    let token = &head[at..head.len().min(at + 8)];
    let fits = token.iter().zip(b"HTTP/0.0").all(
        |(b, like)| {
            if *like == b'0' { b.is_ascii_digit() } else { b == like }
        },
    );
    match (fits, token.len()) {
        (true, 8) => Err(HeadError::Version),
        (true, _) => Ok(()),
        (false, _) => Err(HeadError::BadStartLine),
    }
}

#[cfg(test)]
mod tests {
    use super::super::corpus::{REQUESTS, RESPONSES, Reply};
    use super::super::framing::Framing;
    use super::*;
    use proptest::prelude::*;
    use std::fmt;

    /// Scans `bytes`, with `step` more bytes at each call, until there is a result.
    fn ask<T>(bytes: &[u8], step: usize, f: impl Fn(&RequestHead<'_>) -> T) -> Result<Option<T>, HeadError> {
        let mut scan = HeadScan::default();
        let ends = (step..bytes.len()).step_by(step).chain([bytes.len()]);
        for end in ends {
            if let Some(head) = scan.request(&bytes[..end], &HeadLimits::default(), &mut FieldSlots::new())? {
                assert_eq!((scan.scanned, scan.checked, scan.line_ended), (0, 0, false));
                return Ok(Some(f(&head)));
            }
        }
        Ok(None)
    }

    fn tell<T>(
        bytes: &[u8],
        request_method: Method,
        step: usize,
        f: impl Fn(&ResponseHead<'_>) -> T,
    ) -> Result<Option<T>, HeadError> {
        let mut scan = HeadScan::default();
        for end in (step..bytes.len()).step_by(step).chain([bytes.len()]) {
            let mut slots = FieldSlots::new();
            if let Some(head) =
                scan.response(&bytes[..end], request_method, &HeadLimits::default(), &mut slots)?
            {
                return Ok(Some(f(&head)));
            }
        }
        Ok(None)
    }

    /// Scans `bytes` at once and one byte at a time, and checks that the results are equal.
    fn request<T: PartialEq + fmt::Debug>(
        bytes: &[u8],
        f: impl Fn(&RequestHead<'_>) -> T,
    ) -> Result<Option<T>, HeadError> {
        let whole = ask(bytes, usize::MAX, &f);
        assert_eq!(whole, ask(bytes, 1, &f), "{:?}", String::from_utf8_lossy(bytes));
        whole
    }

    fn response<T: PartialEq + fmt::Debug>(
        bytes: &[u8],
        request_method: Method,
        f: impl Fn(&ResponseHead<'_>) -> T,
    ) -> Result<Option<T>, HeadError> {
        let whole = tell(bytes, request_method, usize::MAX, &f);
        assert_eq!(whole, tell(bytes, request_method, 1, &f), "{:?}", String::from_utf8_lossy(bytes));
        whole
    }

    #[test]
    fn a_request_is_understood() {
        let text = b"\r\n\nPOST http://a.b:80/c?d HTTP/1.1\r\nhost: other\r\nContent-Length: 3\r\n\
            Connection: Upgrade, x-y\r\nupgrade: echo\r\nExpect: 100-Continue\r\nTE: gzip, trailers\r\nX:  y \t\r\n\r\nabc";
        let seen = request(text, |head| {
            assert_eq!((head.method, head.method_token), (Method::Post, "POST"));
            assert_eq!((head.target, head.host, head.version), ("/c?d", "a.b:80", Version::Http11));
            assert_eq!(head.framing, Framing::Length(3));
            assert!(head.keep_alive && head.expects_continue && head.upgrade && head.takes_trailers);
            let options = ConnectionOptions { upgrade: true, names_others: true, ..Default::default() };
            assert_eq!(head.connection, options);
            assert_eq!(
                (head.fields.get("x"), head.fields.get("HOST"), head.fields.get("y")),
                (Some(&b"y"[..]), Some(&b"other"[..]), None)
            );
            let ids: Vec<_> = head.fields.iter().map(|field| field.id).collect();
            use Name::*;
            assert_eq!(ids, [Host, ContentLength, Connection, Upgrade, Expect, Te, Other]);
            head.len
        });
        assert_eq!(seen, Ok(Some(text.len() - 3)));
    }

    #[test]
    fn connections_are_kept_by_version_and_option() {
        let cases = [
            ("1.1", "", true),
            ("1.1", "Connection: close\r\n", false),
            ("1.1", "Connection: CLOSE, keep-alive\r\n", false),
            ("1.1", "Connection: keep-alive\r\nConnection: a,, close\r\n", false),
            ("1.1", "Connection: closed\r\n", true),
            ("1.1", "Connection: \u{ff},;=\r\n", true),
            ("1.0", "", false),
            ("1.0", "Connection: Keep-Alive\r\n", true),
            ("1.0", "Connection: keep-alive, close\r\n", false),
        ];
        for (version, fields, kept) in cases {
            let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
            assert_eq!(request(text.as_bytes(), |head| head.keep_alive), Ok(Some(kept)), "{text}");
        }
    }

    #[test]
    fn continue_and_upgrade_are_for_those_who_can_use_them() {
        let cases = [
            ("1.1", "Expect: 100-continue\r\nContent-Length: 1\r\n", (true, false)),
            ("1.1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", (true, false)),
            ("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n", (false, false)),
            ("1.1", "Expect: 100-continue\r\n", (false, false)),
            ("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", (false, false)),
            ("1.1", "Connection: upgrade\r\nUpgrade: a\r\n", (false, true)),
            ("1.1", "Upgrade: a\r\n", (false, false)),
            ("1.1", "Connection: upgrade\r\n", (false, false)),
            ("1.0", "Connection: upgrade\r\nUpgrade: a\r\n", (false, false)),
        ];
        for (version, fields, expected) in cases {
            let text = format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
            let seen = request(text.as_bytes(), |head| (head.expects_continue, head.upgrade));
            assert_eq!(seen, Ok(Some(expected)), "{text}");
        }
    }

    #[test]
    fn a_request_names_its_host_and_its_target() {
        let cases: &[(&str, &str, &str)] = &[
            ("GET / HTTP/1.1\r\nHost: a\r\n", "a", "/"),
            ("GET / HTTP/1.0\r\n", "", "/"),
            ("GET / HTTP/1.0\r\nHost:\r\n", "", "/"),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n", "a", "*"),
            ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n", "[::1]:80", "/"),
        ];
        for (text, host, target) in cases {
            let text = format!("{text}\r\n");
            let whole = |head: &RequestHead<'_>| (head.len, head.host.to_owned(), head.target.to_owned());
            let expected = (text.len(), (*host).to_owned(), (*target).to_owned());
            assert_eq!(request(text.as_bytes(), whole), Ok(Some(expected)), "{text}");
        }
    }

    /// The name of the error, as the raw messages tell it. None: the head is not refused.
    fn error_of<T>(result: &Result<Option<T>, HeadError>) -> Option<String> {
        result.as_ref().err().map(|error| format!("{error:?}"))
    }

    #[test]
    fn each_raw_request_is_taken_or_refused_for_its_reason() {
        for case in REQUESTS {
            let seen = request(case.bytes, |_| ());
            assert_eq!(error_of(&seen).as_deref(), case.error, "{}", case.name);
            assert!(seen != Ok(None), "{}: no end of the head", case.name);
        }
    }

    #[test]
    fn each_raw_response_is_believed_or_not_for_its_reason() {
        for case in RESPONSES {
            let request_method = if case.head { Method::Head } else { Method::Get };
            let seen = response(case.bytes, request_method, |head| head.status);
            assert_eq!(error_of(&seen).as_deref(), case.error, "{}", case.name);
            if let (Reply::Whole(status), Ok(Some(seen))) = (case.reply, seen) {
                let interim = seen < 200;
                assert!(seen == status || interim, "{}: status {seen}", case.name);
            }
        }
    }

    #[test]
    fn max_forwards_is_a_number_for_the_methods_that_use_it() {
        use HeadError as E;
        for (value, expected) in [("5", Ok(Some(Some(5)))), ("0", Ok(Some(Some(0))))].into_iter().chain(
            ["", "-1", "+1", "1 2", "1,1", "0x1", "a", "1\r\nMax-Forwards: 1"]
                .map(|value| (value, Err(E::BadMaxForwards))),
        ) {
            for method in ["TRACE", "OPTIONS"] {
                let text = format!("{method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {value}\r\n\r\n");
                assert_eq!(request(text.as_bytes(), |head| head.max_forwards), expected, "{text}");
            }
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {value}\r\n\r\n");
            assert_eq!(request(text.as_bytes(), |head| head.max_forwards), Ok(Some(None)), "{text}");
        }
    }

    #[test]
    fn heads_are_limited() {
        let limits = HeadLimits::default();
        let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(bytes - 14));
        assert!(matches!(request(target(limits.request_line_bytes).as_bytes(), |_| ()), Ok(Some(()))));
        for bytes in [limits.request_line_bytes + 1, 40_000, 70_000] {
            assert_eq!(request(target(bytes).as_bytes(), |_| ()), Err(HeadError::LineTooLong), "{bytes}");
        }

        let fixed = "GET / HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len();
        let head =
            |bytes: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(bytes - fixed));
        assert!(matches!(request(head(limits.head_bytes).as_bytes(), |_| ()), Ok(Some(()))));
        for bytes in [limits.head_bytes + 1, 3_000_000] {
            assert_eq!(ask(head(bytes).as_bytes(), usize::MAX, |_| ()), Err(HeadError::TooLarge));
            assert_eq!(ask(head(bytes).as_bytes(), 4096, |_| ()), Err(HeadError::TooLarge));
        }

        let many = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n - 1));
        assert!(matches!(request(many(FIELDS_MAX).as_bytes(), |_| ()), Ok(Some(()))));
        assert_eq!(request(many(FIELDS_MAX + 1).as_bytes(), |_| ()), Err(HeadError::TooManyFields));

        let options =
            |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {}\r\n\r\n", "a,".repeat(n));
        assert!(matches!(request(options(64).as_bytes(), |_| ()), Ok(Some(()))));
        assert_eq!(request(options(65).as_bytes(), |_| ()), Err(HeadError::TooManyOptions));
    }

    #[test]
    fn a_head_that_drips_is_parsed_a_few_times_only() {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "Field: value\r\n".repeat(100));
        let (mut scan, mut parses) = (HeadScan::default(), 0);
        for end in 1..text.len() {
            let before = scan.checked;
            let mut slots = FieldSlots::new();
            assert!(matches!(
                scan.request(&text.as_bytes()[..end], &HeadLimits::default(), &mut slots),
                Ok(None)
            ));
            parses += usize::from(scan.checked != before);
            assert!(scan.scanned + 2 >= end || scan.checked == 1);
        }
        assert!(parses <= 11, "{parses}");
    }

    #[test]
    fn responses_that_are_believed() {
        type Case = (&'static str, Method, (u16, &'static str, Framing, bool));
        let cases: &[Case] = &[
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Method::Get, (200, "OK", Framing::Length(5), true)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Method::Head, (200, "OK", Framing::None, true)),
            ("HTTP/1.1 200 \r\n", Method::Get, (200, "", Framing::UntilClose, false)),
            ("HTTP/1.1 200\r\n", Method::Get, (200, "", Framing::UntilClose, false)),
            (
                "HTTP/1.1 599 A b\tc\r\nTransfer-Encoding: chunked\r\n",
                Method::Get,
                (599, "A b\tc", Framing::Chunked, true),
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n", Method::Get, (200, "OK", Framing::Length(0), false)),
            ("HTTP/1.0 204 \r\nConnection: keep-alive\r\n", Method::Get, (204, "", Framing::None, true)),
            ("HTTP/1.1 304 \r\nConnection: close\r\n", Method::Get, (304, "", Framing::None, false)),
            (
                "HTTP/1.1 103 Early Hints\r\nLink: a\r\n",
                Method::Get,
                (103, "Early Hints", Framing::None, true),
            ),
        ];
        for (text, request_method, expected) in cases {
            let bytes = format!("{text}\r\nrest");
            let seen = response(bytes.as_bytes(), *request_method, |head| {
                assert_eq!(head.len, text.len() + 2);
                (head.status, head.reason.to_owned(), head.framing, head.keep_alive)
            });
            let (status, reason, framing, keep_alive) = *expected;
            assert_eq!(seen, Ok(Some((status, reason.to_owned(), framing, keep_alive))), "{text}");
        }
    }

    #[test]
    fn a_response_head_that_does_not_end_is_refused() {
        let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(2_000_000));
        assert_eq!(tell(large.as_bytes(), Method::Get, 4096, |_| ()), Err(HeadError::TooLarge));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300), step in 1usize..50) {
            let _either = ask(&bytes, step, |_| ());
            let _either = tell(&bytes, Method::Get, step, |_| ());
        }

        #[test]
        fn heads_mean_the_same_however_they_are_cut(
            parts in prop::collection::vec(prop::sample::select(vec![
                "GET ", "/", " HTTP/1.1", " HTTP/1.0", "\r\n", "\n", "\r", "Host: a\r\n", "Content-Length: 5\r\n", ":",
                "Transfer-Encoding: chunked\r\n", "Connection: ", "close, x", " ", "\r\n\r\n", "\0", "HTTP/1.1 200 OK\r\n",
            ]), 0..14),
            step in 1usize..20,
        ) {
            let bytes = parts.concat().into_bytes();
            let summary = |head: &RequestHead<'_>| (head.len, head.framing, head.keep_alive, head.host.to_owned());
            let (whole, cut) = (ask(&bytes, usize::MAX, summary), ask(&bytes, step, summary));
            prop_assert!(whole == cut || is_seen_later(&whole, &cut), "{whole:?} {cut:?}");
            let summary = |head: &ResponseHead<'_>| (head.len, head.framing, head.keep_alive);
            let (whole, cut) =
                (tell(&bytes, Method::Get, usize::MAX, summary), tell(&bytes, Method::Get, step, summary));
            prop_assert!(whole == cut || is_seen_later(&whole, &cut), "{whole:?} {cut:?}");
        }
    }

    /// True when only the whole head has an error: in fragments the error is found later.
    fn is_seen_later<T>(whole: &Result<Option<T>, HeadError>, cut: &Result<Option<T>, HeadError>) -> bool {
        whole.is_err() && matches!(cut, Ok(None))
    }
}
