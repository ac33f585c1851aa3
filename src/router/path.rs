//! The paths of requests, in the form in which routes compare them.
use std::borrow::Cow;

/// Returns the path of a request target in its normal form (RFC 3986 section 6.2.2): bytes that need no encoding are
/// decoded, the digits of other encoded bytes are in upper case, and dot segments are removed. An encoded slash stays
/// encoded, so it ends no segment. A target without a path, and `*`, have the path `/`.
pub(super) fn normal(target: &str) -> Cow<'_, str> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    if path.is_empty() || path == "*" {
        return Cow::Borrowed("/");
    }
    if !path.contains('%') && !path.contains("/.") {
        return Cow::Borrowed(path);
    }
    let decoded = decode_unreserved(path);
    Cow::Owned(if decoded.contains("/.") { without_dot_segments(&decoded) } else { decoded })
}

/// True when the first segments of a normal path are those of `prefix`, which has no slash at its end, or is empty.
pub(super) fn begins_with(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Decodes letters, digits and `-._~` (RFC 3986 section 6.2.2.2). A percent sign without two digits stays.
fn decode_unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let digits = after.get(1..3).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            out.push('%');
            rest = &after[1..];
            continue;
        };
        match byte {
            b'-' | b'.' | b'_' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        rest = &after[3..];
    }
    out.push_str(rest);
    out
}

/// Removes the segments `.` and `..` (RFC 3986 section 5.2.4). Nothing is above the root.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let last = segments.len().saturating_sub(1);
    for (place, segment) in segments.into_iter().enumerate() {
        let is_dots = matches!(segment, "." | "..");
        if segment == ".." {
            kept.pop();
        }
        if !is_dots {
            kept.push(segment);
        } else if place == last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_a_normal_form() {
        let cases = [
            ("/", "/"),
            ("", "/"),
            ("*", "/"),
            ("?a=/b", "/"),
            ("/a?b/../c", "/a"),
            ("/a/b", "/a/b"),
            ("/a/", "/a/"),
            ("//a", "//a"),
            ("/a//b", "/a//b"),
            ("/.", "/"),
            ("/..", "/"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/b/../../c/", "/c/"),
            ("/a//../b", "/a/b"),
            ("/.a/..b/...", "/.a/..b/..."),
            ("/%61pi", "/api"),
            ("/%41PI", "/API"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/a%2fb", "/a%2Fb"),
            ("/a/..%2fb", "/a/..%2Fb"),
            ("/a%5c..%5cb", "/a%5C..%5Cb"),
            ("/%2561", "/%2561"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%zz%7e", "/%zz~"),
            ("/%%41", "/%A"),
            ("/a;b=c", "/a;b=c"),
        ];
        for (target, path) in cases {
            assert_eq!(normal(target), path, "{target}");
            assert_eq!(normal(&normal(target)), path, "{target} again");
        }
    }

    #[test]
    fn a_prefix_ends_where_a_segment_ends() {
        let cases = [
            ("/api", "/api", true),
            ("/api/", "/api", true),
            ("/api/x", "/api", true),
            ("/apix", "/api", false),
            ("/ap", "/api", false),
            ("/API", "/api", false),
            ("/api%2Fx", "/api", false),
            ("/", "", true),
            ("/a", "", true),
            ("//api", "/api", false),
        ];
        for (path, prefix, begins) in cases {
            assert_eq!(begins_with(path, prefix), begins, "{path} {prefix}");
        }
    }
}
