//! The place that a redirect sends a client to.
use std::fmt;
use std::str::FromStr;

/// The Location of a redirect: a URL or a path, in which `{host}` stands for the host of the request without its port,
/// and `{target}` for its path with its query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Host,
    Target,
}

/// The error for a text that is no place for a redirect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidLocation;

impl fmt::Display for InvalidLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a URL such as 'https://{host}{target}', or a path such as '/new'")
    }
}

impl std::error::Error for InvalidLocation {}

impl FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        let is_url =
            ["http://", "https://"].into_iter().filter_map(|scheme| text.strip_prefix(scheme)).any(|rest| {
                rest.starts_with("{host}")
                    || rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
            });
        let is_path = text.starts_with("{target}") || (text.starts_with('/') && !text.starts_with("//"));
        if !is_url && !is_path {
            return Err(InvalidLocation);
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            let (literal, after) = rest.split_at(at);
            parts.push(literal_part(literal)?);
            (rest, _) = match (after.strip_prefix("{host}"), after.strip_prefix("{target}")) {
                (Some(after), _) => (after, parts.push(Part::Host)),
                (_, Some(after)) => (after, parts.push(Part::Target)),
                _ => return Err(InvalidLocation),
            };
        }
        parts.push(literal_part(rest)?);
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Location { parts })
    }
}

fn literal_part(text: &str) -> Result<Part, InvalidLocation> {
    match text.bytes().all(is_of_url) {
        true => Ok(Part::Text(text.to_owned())),
        false => Err(InvalidLocation),
    }
}

/// True for a byte that a URL may hold (RFC 3986 appendix A).
fn is_of_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)
}

impl Location {
    /// Returns the place for a request. None when the host is wanted and the request has none.
    ///
    /// The head of the request was checked: its host is an authority, and its target has neither blanks nor control
    /// characters. Bytes that a URL may not hold are encoded, and a target with several slashes at its front gets one:
    /// else the path would be the name of a host.
    pub fn of(&self, host: &str, target: &str) -> Option<String> {
        let mut place = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => place.push_str(text),
                Part::Host if host.is_empty() => return None,
                Part::Host => place.push_str(without_port(host)),
                Part::Target => {
                    let target = if target == "*" { "" } else { target };
                    // The text before ends with a slash: the path goes on.
                    if !place.ends_with('/') {
                        place.push('/');
                    }
                    target.trim_start_matches('/').chars().for_each(|one| push_encoded(one, &mut place));
                }
            }
        }
        Some(place)
    }
}

fn push_encoded(one: char, place: &mut String) {
    match u8::try_from(one) {
        Ok(byte) if is_of_url(byte) => place.push(one),
        Ok(byte) => place.push_str(&format!("%{byte:02X}")),
        Err(_) => {}
    }
}

/// Returns the host of an authority without its port.
pub(super) fn without_port(host: &str) -> &str {
    match host.rfind([':', ']']) {
        Some(at) if host.as_bytes()[at] == b':' => &host[..at],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_made_of_host_and_target() {
        // template, host, target, place
        let cases = [
            ("https://{host}{target}", "a:80", "/b?c", Some("https://a/b?c")),
            ("https://{host}{target}", "[::1]:80", "/", Some("https://[::1]/")),
            ("https://{host}{target}", "[::1]", "/", Some("https://[::1]/")),
            ("https://{host}{target}", "", "/b", None),
            ("https://{host}/x{target}", "a", "?b", Some("https://a/x/?b")),
            ("https://www.{host}/", "a", "/b", Some("https://www.a/")),
            ("/new", "a", "/b", Some("/new")),
            ("/new{target}", "a", "/b", Some("/new/b")),
            ("/new/{target}", "a", "/b", Some("/new/b")),
            ("{target}", "a", "//evil/b", Some("/evil/b")),
            ("{target}", "a", "/\\evil", Some("/%5Cevil")),
            ("{target}", "a", "/\\/evil\"<>", Some("/%5C/evil%22%3C%3E")),
            ("/{target}", "a", "//evil", Some("/evil")),
            ("https://b{target}", "a", "*", Some("https://b/")),
        ];
        for (template, host, target, place) in cases {
            let location: Location = template.parse().unwrap();
            assert_eq!(location.of(host, target).as_deref(), place, "{template} {host} {target}");
        }
    }

    #[test]
    fn a_template_is_a_url_or_a_path() {
        let bad = [
            "",
            "a",
            "//a",
            "ftp://a",
            "http://",
            "https:///a",
            "http://{target}",
            "{host}",
            "/{path}",
            "/{",
            "/}",
            "/a b",
            "/a\r\nb",
            "/\u{e4}",
            "/a\\b",
            "https://{hos}",
        ];
        for text in bad {
            assert_eq!(text.parse::<Location>(), Err(InvalidLocation), "{text:?}");
        }
    }
}
