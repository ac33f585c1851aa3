//! The framing of a body, which tells where the body ends (RFC 9112 section 6).
//!
//! A message is refused when two programs could find different ends. Such a difference allows request smuggling.

use super::digits;
use super::error::HeadError;
use super::list::trim;
use super::method::{Method, Version};

/// The end of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The body has exactly this number of bytes.
    Length(u64),
    /// The body is chunks, then trailers.
    Chunked,
    /// The body ends when the sender closes the connection. Only for responses.
    UntilClose,
}

/// The Content-Length and Transfer-Encoding fields of one head, collected field by field.
#[derive(Debug, Default, Clone, Copy)]
#[doc(hidden)]
pub struct FramingFields {
    length: Option<u64>,
    coded: bool,
    chunked: bool,
    other_coding: bool,
}

impl FramingFields {
    /// Adds one Content-Length field: a number, or a list that repeats one number (RFC 9110 section 8.6).
    ///
    /// # Errors
    ///
    /// [`HeadError::BadLength`] or [`HeadError::LengthsDiffer`].
    pub fn content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for element in value.split(|&b| b == b',') {
            let length = digits::parse(trim(element)).ok_or(HeadError::BadLength)?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(HeadError::LengthsDiffer);
            }
        }
        Ok(())
    }

    /// Adds one Transfer-Encoding field. Several fields are one list. Nothing may follow `chunked`, not even a second
    /// `chunked` (RFC 9112 section 6.1).
    ///
    /// # Errors
    ///
    /// [`HeadError::BadCoding`].
    pub fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        self.coded = true;
        for element in value.split(|&b| b == b',') {
            let coding = trim(element);
            if coding.is_empty() || self.chunked {
                return Err(HeadError::BadCoding);
            } else if coding.eq_ignore_ascii_case(b"chunked") {
                self.chunked = true;
            } else {
                self.other_coding = true;
            }
        }
        Ok(())
    }

    /// Returns the value of Content-Length, even when no body follows.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Returns the framing of a request with these fields. Without a field the request has no body (RFC 9112 section
    /// 6.3, rule 7).
    ///
    /// # Errors
    ///
    /// The reason why the framing is refused.
    pub fn request(&self, version: Version) -> Result<Framing, HeadError> {
        Ok(self.body(version)?.unwrap_or(Framing::None))
    }

    /// Returns the framing of a response with these fields. The fields are checked even when no body follows.
    ///
    /// # Errors
    ///
    /// The reason why the framing is refused.
    pub fn response(
        &self,
        version: Version,
        status: u16,
        request_method: Method,
    ) -> Result<Framing, HeadError> {
        let framing = self.body(version)?.unwrap_or(Framing::UntilClose);
        Ok(if has_no_body(status, request_method) { Framing::None } else { framing })
    }

    /// Returns the framing that the fields state (RFC 9112 section 6.3, rules 3 to 6); None without a field. A transfer
    /// coding in HTTP/1.0 is an error (section 6.1).
    fn body(&self, version: Version) -> Result<Option<Framing>, HeadError> {
        if !self.coded {
            return Ok(self.length.map(Framing::Length));
        }
        if version == Version::Http10 {
            return Err(HeadError::CodingInHttp10);
        }
        if self.length.is_some() {
            return Err(HeadError::LengthAndCoding);
        }
        if !self.chunked {
            return Err(HeadError::BadCoding);
        }
        if self.other_coding {
            return Err(HeadError::UnknownCoding);
        }
        Ok(Some(Framing::Chunked))
    }
}

/// True when no body follows, even if the fields state a body (RFC 9112 section 6.3, rules 1 and 2). The bytes after a
/// 101, or after a 2xx to CONNECT, are a tunnel and not a body.
fn has_no_body(status: u16, request_method: Method) -> bool {
    status < 200
        || matches!(status, 204 | 304)
        || request_method == Method::Head
        || (request_method == Method::Connect && status < 300)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Framing::{Chunked, Length, UntilClose};
    use HeadError::{BadCoding, BadLength, CodingInHttp10, LengthAndCoding, LengthsDiffer, UnknownCoding};
    use Version::{Http10, Http11};

    fn collect(lengths: &[&str], codings: &[&str]) -> Result<FramingFields, HeadError> {
        let mut fields = FramingFields::default();
        for value in lengths {
            fields.content_length(value.as_bytes())?;
        }
        for value in codings {
            fields.transfer_encoding(value.as_bytes())?;
        }
        Ok(fields)
    }

    #[test]
    fn requests_by_rfc_9112_section_6_3() {
        type Case = (&'static [&'static str], &'static [&'static str], Version, Result<Framing, HeadError>);
        let cases: &[Case] = &[
            (&[], &[], Http11, Ok(Framing::None)),
            (&[], &[], Http10, Ok(Framing::None)),
            (&["0"], &[], Http11, Ok(Length(0))),
            (&["5"], &[], Http10, Ok(Length(5))),
            (&["18446744073709551615"], &[], Http11, Ok(Length(u64::MAX))),
            (&["18446744073709551616"], &[], Http11, Err(BadLength)),
            (&["99999999999999999999999999"], &[], Http11, Err(BadLength)),
            (&["5", "5"], &[], Http11, Ok(Length(5))),
            (&["5, 5"], &[], Http11, Ok(Length(5))),
            (&["5", "6"], &[], Http11, Err(LengthsDiffer)),
            (&["5,6"], &[], Http11, Err(LengthsDiffer)),
            (&["5,"], &[], Http11, Err(BadLength)),
            (&[""], &[], Http11, Err(BadLength)),
            (&["5", ""], &[], Http11, Err(BadLength)),
            (&["+5"], &[], Http11, Err(BadLength)),
            (&["-5"], &[], Http11, Err(BadLength)),
            (&["0x5"], &[], Http11, Err(BadLength)),
            (&["5 5"], &[], Http11, Err(BadLength)),
            (&["5.0"], &[], Http11, Err(BadLength)),
            (&["1_0"], &[], Http11, Err(BadLength)),
            (&["\u{b}5"], &[], Http11, Err(BadLength)),
            (&[], &["chunked"], Http11, Ok(Chunked)),
            (&[], &["CHUNKED"], Http11, Ok(Chunked)),
            (&[], &["chunked"], Http10, Err(CodingInHttp10)),
            (&["5"], &["chunked"], Http11, Err(LengthAndCoding)),
            (&["0"], &["chunked"], Http11, Err(LengthAndCoding)),
            (&["5"], &["identity"], Http11, Err(LengthAndCoding)),
            (&[], &[""], Http11, Err(BadCoding)),
            (&[], &["chunked,"], Http11, Err(BadCoding)),
            (&[], &[",chunked"], Http11, Err(BadCoding)),
            (&[], &["chunked, chunked"], Http11, Err(BadCoding)),
            (&[], &["chunked", "chunked"], Http11, Err(BadCoding)),
            (&[], &["chunked, identity"], Http11, Err(BadCoding)),
            (&[], &["chunked", "identity"], Http11, Err(BadCoding)),
            (&[], &["identity"], Http11, Err(BadCoding)),
            (&[], &["gzip"], Http11, Err(BadCoding)),
            (&[], &["xchunked"], Http11, Err(BadCoding)),
            (&[], &["chunked;q=1"], Http11, Err(BadCoding)),
            (&[], &["\u{b}chunked"], Http11, Err(BadCoding)),
            (&[], &["\u{c}chunked"], Http11, Err(BadCoding)),
            (&[], &["\"chunked\""], Http11, Err(BadCoding)),
            (&[], &["gzip, chunked"], Http11, Err(UnknownCoding)),
            (&[], &["gzip", "chunked"], Http11, Err(UnknownCoding)),
            (&[], &["identity, chunked"], Http11, Err(UnknownCoding)),
        ];
        for (lengths, codings, version, expected) in cases {
            let framing = collect(lengths, codings).and_then(|fields| fields.request(*version));
            assert_eq!(framing, *expected, "{lengths:?} {codings:?} {version:?}");
        }
    }

    #[test]
    fn responses_by_rfc_9112_section_6_3() {
        type Case =
            (u16, Method, &'static [&'static str], &'static [&'static str], Result<Framing, HeadError>);
        let cases: &[Case] = &[
            (200, Method::Head, &["5"], &[], Ok(Framing::None)),
            (200, Method::Head, &[], &["chunked"], Ok(Framing::None)),
            (100, Method::Get, &[], &[], Ok(Framing::None)),
            (103, Method::Get, &["5"], &[], Ok(Framing::None)),
            (101, Method::Get, &[], &[], Ok(Framing::None)),
            (204, Method::Get, &["5"], &[], Ok(Framing::None)),
            (304, Method::Get, &["5"], &[], Ok(Framing::None)),
            (200, Method::Connect, &["5"], &[], Ok(Framing::None)),
            (407, Method::Connect, &["5"], &[], Ok(Length(5))),
            (200, Method::Get, &["5"], &["chunked"], Err(LengthAndCoding)),
            (304, Method::Get, &["5"], &["chunked"], Err(LengthAndCoding)),
            (200, Method::Get, &[], &["chunked"], Ok(Chunked)),
            (200, Method::Get, &[], &["gzip"], Err(BadCoding)),
            (200, Method::Get, &[], &["identity"], Err(BadCoding)),
            (200, Method::Get, &[], &["gzip, chunked"], Err(UnknownCoding)),
            (200, Method::Get, &[], &["chunked, chunked"], Err(BadCoding)),
            (200, Method::Get, &["5", "6"], &[], Err(LengthsDiffer)),
            (200, Method::Head, &["five"], &[], Err(BadLength)),
            (200, Method::Get, &["5, 5"], &[], Ok(Length(5))),
            (200, Method::Get, &[], &[], Ok(UntilClose)),
            (404, Method::Post, &[], &[], Ok(UntilClose)),
        ];
        for (status, request_method, lengths, codings, expected) in cases {
            let framing = collect(lengths, codings)
                .and_then(|fields| fields.response(Http11, *status, *request_method));
            assert_eq!(framing, *expected, "{status} {request_method:?} {lengths:?} {codings:?}");
        }
        let coded = collect(&[], &["chunked"]).unwrap();
        assert_eq!(coded.response(Http10, 200, Method::Get), Err(CodingInHttp10));
    }
}
