//! Cookies of a request, and the cookie that we set (RFC 6265 sections 4.1 and 4.2).

use std::io::Write;

use super::fields::Fields;

/// Returns the value of the first cookie with this name; None when there is none. Names are case-sensitive.
pub(crate) fn value<'b>(fields: Fields<'b>, name: &str) -> Option<&'b [u8]> {
    let lines = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("cookie"));
    let cookies = lines.flat_map(|field| field.value.split(|&byte| byte == b';'));
    cookies
        .map(<[u8]>::trim_ascii)
        .find_map(|cookie| cookie.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}

/// True for a name of a field or of a cookie (RFC 9110 section 5.6.2).
pub(crate) fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// A cookie of ours, whose value is a number.
#[derive(Debug, Clone)]
pub struct SetCookie {
    /// The name: a token.
    pub name: String,
    /// The value.
    pub value: u64,
    /// True when the client's connection is encrypted. Then the client must send the cookie over such connections only.
    pub secure: bool,
}

impl SetCookie {
    /// Writes the line of the Set-Cookie field. The cookie lasts until the browser ends. It holds for all paths, scripts
    /// cannot read it, and other sites cannot send requests with it, except by links.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let SetCookie { name, value, secure } = self;
        let secure = if *secure { "; Secure" } else { "" };
        let _infallible =
            write!(out, "Set-Cookie: {name}={value:016x}; Path=/; HttpOnly; SameSite=Lax{secure}\r\n");
    }
}

/// Returns the number in the value of a cookie of ours. None for any other value.
pub(crate) fn number(value: &[u8]) -> Option<u64> {
    let is_ours = value.len() == 16 && value.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let text = str::from_utf8(value).ok().filter(|_| is_ours)?;
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{FieldSlots, HeadLimits, HeadScan};

    #[test]
    fn a_cookie_is_found_by_its_whole_name() {
        // Cookie fields, the value of the cookie "id"
        let cases: [(&str, Option<&str>); 8] = [
            ("", None),
            ("Cookie: id=1\r\n", Some("1")),
            ("cookie: a=b; id=x=y;c=d\r\n", Some("x=y")),
            ("Cookie: sid=1; ident=2\r\n", None),
            ("Cookie: ID=1\r\n", None),
            ("Cookie: id=\r\n", Some("")),
            ("Cookie: a=b\r\nCookie: id=2; id=3\r\n", Some("2")),
            ("Cookie: ;; id ;id=4\r\n", Some("4")),
        ];
        for (lines, expected) in cases {
            let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
            let mut slots = FieldSlots::new();
            let head = HeadScan::default().request(bytes.as_bytes(), &HeadLimits::default(), &mut slots);
            let head = head.unwrap().unwrap();
            assert_eq!(value(head.fields, "id"), expected.map(str::as_bytes), "{lines:?}");
        }
    }

    #[test]
    fn a_cookie_of_ours_is_written_and_read() {
        for (value, secure, expected) in [
            (1, false, "Set-Cookie: a=0000000000000001; Path=/; HttpOnly; SameSite=Lax\r\n"),
            (u64::MAX, true, "Set-Cookie: a=ffffffffffffffff; Path=/; HttpOnly; SameSite=Lax; Secure\r\n"),
        ] {
            let mut out = Vec::new();
            SetCookie { name: "a".to_owned(), value, secure }.write(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            assert_eq!(number(&expected.as_bytes()[14..30]), Some(value));
        }
    }

    #[test]
    fn any_other_value_is_no_number() {
        let long = vec![b'0'; 100_000];
        let values: [&[u8]; 9] = [
            b"",
            b"0",
            b"000000000000000",
            b"00000000000000000",
            b"000000000000000A",
            b"+000000000000000",
            b"\"0000000000000\"",
            b"0000\xff\0\xc3\x28000000",
            &long,
        ];
        for value in values {
            assert_eq!(number(value), None, "{:?}", value.escape_ascii().to_string());
        }
    }
}
