//! How a message's body ends (RFC 9112 section 6).
//!
//! Wherever two readers of one message could come to different ends, the message is refused.

use super::fields::trim;
use super::head::{HeadError, Method, Version};

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// Exactly this many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked,
    /// Until the sender closes; responses only.
    UntilClose,
}

/// What the Content-Length and Transfer-Encoding fields of one head say, gathered field by field.
#[derive(Debug, Default, Clone, Copy)]
pub struct FramingFields {
    length: Option<u64>,
    coded: bool,
    chunked: bool,
    other_coding: bool,
}

impl FramingFields {
    /// Takes in one Content-Length field: digits, or a list that repeats one number (RFC 9110 section 8.6).
    pub fn content_length(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for element in value.split(|&b| b == b',') {
            let length = number(trim(element)).ok_or(HeadError::BadLength)?;
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(HeadError::LengthsDiffer);
            }
        }
        Ok(())
    }

    /// Takes in one Transfer-Encoding field. Nothing may follow `chunked`, not even `chunked` again
    /// (RFC 9112 section 6.1); several fields are one list.
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

    /// The value of Content-Length, whether or not it frames anything.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// How a request with these fields ends. Without either field it has no body (RFC 9112 section 6.3, rule 7).
    pub fn request(&self, version: Version) -> Result<Framing, HeadError> {
        Ok(self.body(version)?.unwrap_or(Framing::None))
    }

    /// How a response with these fields ends. The fields are judged also where no body follows.
    pub fn response(&self, version: Version, status: u16, asked: Method) -> Result<Framing, HeadError> {
        let framing = self.body(version)?.unwrap_or(Framing::UntilClose);
        Ok(if has_no_body(status, asked) { Framing::None } else { framing })
    }

    /// RFC 9112 section 6.3, rules 3 to 6; a coding in HTTP/1.0 is faulty framing (section 6.1).
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

/// RFC 9112 section 6.3, rules 1 and 2. What follows a 101, or a 2xx to CONNECT, is a tunnel and not a body.
fn has_no_body(status: u16, asked: Method) -> bool {
    status < 200
        || matches!(status, 204 | 304)
        || asked == Method::Head
        || (asked == Method::Connect && status < 300)
}

/// A number of nothing but digits that fits 64 bits.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, b| {
        if !b.is_ascii_digit() {
            return None;
        }
        n.checked_mul(10)?.checked_add(u64::from(b - b'0'))
    })
}
