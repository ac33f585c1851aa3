//! Decodes request paths, and encodes paths for the Location field.
use std::borrow::Cow;

/// The reason why a path cannot name a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathError {
    /// `%` without two hexadecimal digits.
    Malformed,
    /// No served file can have this path.
    Unservable,
}

/// Splits a request target into its path and its query. The query keeps the question mark; an empty path becomes `/`.
pub(super) fn split(target: &str) -> (&str, &str) {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    (if path.is_empty() { "/" } else { path }, query)
}

/// Percent-decodes a path exactly once (RFC 3986 section 2.4). An encoded slash is refused, because the decoded slash
/// would split a segment.
pub(super) fn decode(path: &str) -> Result<Cow<'_, [u8]>, PathError> {
    let bytes = path.as_bytes();
    if !bytes.contains(&b'%') {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut slash = false;
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let [high, low, after @ ..] = rest else { return Err(PathError::Malformed) };
        let (Some(high), Some(low)) = (digit(*high), digit(*low)) else { return Err(PathError::Malformed) };
        decoded.push(high << 4 | low);
        slash |= decoded.last() == Some(&b'/');
        rest = after;
    }
    if slash { Err(PathError::Unservable) } else { Ok(Cow::Owned(decoded)) }
}

/// True for a name that may be a segment of a served path. Hidden files are private. Control bytes and backslashes are
/// refused, because programs interpret them in different ways.
pub(super) fn is_servable(name: &[u8]) -> bool {
    !name.starts_with(b".")
        && !name.iter().any(|&byte| byte == b'\\' || byte == b'/' || byte.is_ascii_control())
}

/// Appends a path, percent-encoded for a URI (RFC 3986 section 3.3).
pub(super) fn encode(path: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_exactly_once() {
        let cases: [(&str, Result<&[u8], PathError>); 13] = [
            ("/a/b.html", Ok(b"/a/b.html")),
            ("/a%20b", Ok(b"/a b")),
            ("/%41%7a%7A", Ok(b"/Azz")),
            ("/%2520", Ok(b"/%20")),
            ("/%ff", Ok(b"/\xff")),
            ("/a%2fb", Err(PathError::Unservable)),
            ("/a%2Fb", Err(PathError::Unservable)),
            ("/a%2Fb%", Err(PathError::Malformed)),
            ("/%", Err(PathError::Malformed)),
            ("/%4", Err(PathError::Malformed)),
            ("/%zz", Err(PathError::Malformed)),
            ("/%+1", Err(PathError::Malformed)),
            ("/%%41", Err(PathError::Malformed)),
        ];
        for (path, expected) in cases {
            assert_eq!(decode(path).as_deref(), expected.as_ref().map(|bytes| *bytes), "{path}");
        }
    }

    #[test]
    fn targets_split_at_the_first_question_mark() {
        for (target, expected) in [
            ("/a", ("/a", "")),
            ("/a?b?c", ("/a", "?b?c")),
            ("?b", ("/", "?b")),
            ("", ("/", "")),
            ("/%3F", ("/%3F", "")),
        ] {
            assert_eq!(split(target), expected, "{target}");
        }
    }

    #[test]
    fn names_that_are_not_served() {
        for name in [".", "..", ".htaccess", "..data", "a\\b", "a/b", "a\nb", "a\x7f"] {
            assert!(!is_servable(name.as_bytes()), "{name:?}");
        }
        for name in ["a", "a.b", "a..", "ä", "a b", "a%b"] {
            assert!(is_servable(name.as_bytes()), "{name:?}");
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let every: Vec<u8> = (0..=255).filter(|&byte| byte != b'/').collect();
        let mut encoded = Vec::new();
        encode(&every, &mut encoded);
        let encoded = String::from_utf8(encoded).unwrap();
        assert!(
            encoded.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\\"<>".contains(&byte)),
            "{encoded}"
        );
        assert_eq!(decode(&encoded).unwrap(), every);
    }
}
