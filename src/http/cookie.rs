//! Cookies of a request (RFC 6265 section 4.2).

use super::fields::Fields;

/// Returns the value of the first cookie with this name; None when there is none. Names are case-sensitive.
pub(crate) fn value<'b>(fields: Fields<'b>, name: &str) -> Option<&'b [u8]> {
    let lines = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("cookie"));
    let cookies = lines.flat_map(|field| field.value.split(|&byte| byte == b';'));
    cookies
        .map(<[u8]>::trim_ascii)
        .find_map(|cookie| cookie.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
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
}
