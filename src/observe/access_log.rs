//! The lines of the access log: one for each finished request.
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::json::Object;
use super::requests::RequestEnd;
use crate::http::digits;
use crate::http::head::{RequestHead, Version};
use crate::http::rewrite::REQUEST_ID;
use crate::http::transform::Encryption;

/// Maximum bytes of a target in the log.
const TARGET_BYTES: usize = 2048;
/// Maximum bytes of any other text of a request in the log.
const TEXT_BYTES: usize = 256;
/// Stands at the end of a text that was cut.
const CUT: &[u8] = b"...";
/// Maximum length of a request ID that a client may choose.
const ID_BYTES: usize = 128;

/// The texts of a note, in their order.
#[derive(Debug, Clone, Copy)]
enum Part {
    Id,
    Method,
    Target,
    Host,
    Referer,
    UserAgent,
}

/// What the log needs of a request head. Long texts are cut.
#[derive(Debug)]
pub struct Note {
    version: Version,
    /// All texts, one behind the other, and the end of each.
    text: Vec<u8>,
    ends: [u16; 6],
}

impl Note {
    /// Notes a request with this ID.
    pub fn new(id: &[u8], head: &RequestHead<'_>) -> Self {
        let (mut referer, mut user_agent): (&[u8], &[u8]) = (b"", b"");
        for field in head.fields.iter() {
            match field.name.len() {
                7 if field.name.eq_ignore_ascii_case("Referer") => referer = field.value,
                10 if field.name.eq_ignore_ascii_case("User-Agent") => user_agent = field.value,
                _ => {}
            }
        }
        let parts = [
            (id, ID_BYTES),
            (head.method_token.as_bytes(), TEXT_BYTES),
            (head.target.as_bytes(), TARGET_BYTES),
            (head.host.as_bytes(), TEXT_BYTES),
            (referer, TEXT_BYTES),
            (user_agent, TEXT_BYTES),
        ];
        let mut text =
            Vec::with_capacity(parts.iter().map(|(part, max)| part.len().min(max + CUT.len())).sum());
        let ends = parts.map(|(part, max)| {
            text.extend_from_slice(&part[..part.len().min(max)]);
            text.extend_from_slice(if part.len() > max { CUT } else { b"" });
            text.len() as u16
        });
        Note { version: head.version, text, ends }
    }

    /// Returns the ID of the request.
    pub fn id(&self) -> &[u8] {
        self.part(Part::Id)
    }

    fn part(&self, part: Part) -> &[u8] {
        let at = part as usize;
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.text[usize::from(begin)..usize::from(self.ends[at])]
    }

    fn version(&self) -> &'static str {
        match self.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        }
    }
}

/// Returns the ID that the client has given the request: 1 to 128 visible ASCII characters in X-Request-ID.
pub fn given_id<'b>(head: &RequestHead<'b>) -> Option<&'b [u8]> {
    let id = head.fields.get(REQUEST_ID)?;
    ((1..=ID_BYTES).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)).then_some(id)
}

/// The format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object.
    #[default]
    Json,
    /// The combined log format of Apache.
    Common,
}

/// A finished request, as its line tells it.
#[derive(Debug)]
pub struct Record<'a> {
    /// The time since 1970 at which the request began.
    pub began: Duration,
    /// The head; None when it was invalid.
    pub note: Option<&'a Note>,
    /// The listener's own address, if known.
    pub listener: Option<SocketAddr>,
    /// The client's address.
    pub client: SocketAddr,
    /// The status of the response; None when no response had begun.
    pub status: Option<u16>,
    /// How the request ended.
    pub end: RequestEnd,
    /// The backend of the last attempt.
    pub backend: Option<SocketAddr>,
    /// The number of attempts.
    pub attempts: u32,
    /// The bytes of the request body that came from the client.
    pub received_bytes: u64,
    /// The bytes sent to the client.
    pub sent_bytes: u64,
    /// The time in queues.
    pub queue: Option<Duration>,
    /// The time from the begin of the last attempt until its new connection was established.
    pub connect: Option<Duration>,
    /// The time from the begin of the last attempt to the first byte of its response.
    pub first_byte: Option<Duration>,
    /// The time from the first bytes of the request to its end.
    pub total: Duration,
    /// The encryption of the client's connection; None when it is not encrypted.
    pub encryption: Option<Encryption<'a>>,
}

impl Record<'_> {
    /// Appends the line, with its line end.
    pub fn write(&self, format: Format, out: &mut Vec<u8>) {
        match format {
            Format::Json => self.write_json(out),
            Format::Common => self.write_common(out),
        }
        out.push(b'\n');
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let text = |part| self.note.map(|note| note.part(part));
        let given = |part| text(part).filter(|text| !text.is_empty());
        let micros = |time: Duration| time.as_micros() as u64;
        let mut time = Vec::with_capacity(32);
        write_time(self.began, &mut time);
        let mut object = Object(out);
        object.text("{\"time\":", Some(&time));
        object.text(",\"id\":", text(Part::Id));
        object.address(",\"listener\":", self.listener);
        object.address(",\"client\":", Some(self.client));
        object.text(",\"method\":", text(Part::Method));
        object.text(",\"target\":", text(Part::Target));
        object.text(",\"version\":", self.note.map(|note| note.version().as_bytes()));
        object.text(",\"host\":", text(Part::Host));
        object.text(",\"referer\":", given(Part::Referer));
        object.text(",\"user_agent\":", given(Part::UserAgent));
        object.number(",\"status\":", self.status.map(u64::from));
        object.text(",\"end\":", Some(self.end.name().as_bytes()));
        object.address(",\"backend\":", self.backend);
        object.number(",\"attempts\":", Some(self.attempts.into()));
        object.number(",\"received_bytes\":", Some(self.received_bytes));
        object.number(",\"sent_bytes\":", Some(self.sent_bytes));
        object.number(",\"queue_us\":", self.queue.map(micros));
        object.number(",\"connect_us\":", self.connect.map(micros));
        object.number(",\"first_byte_us\":", self.first_byte.map(micros));
        object.number(",\"total_us\":", Some(micros(self.total)));
        if let Some(encryption) = &self.encryption {
            object.text(",\"tls_version\":", Some(encryption.version.as_bytes()));
            object.text(",\"tls_cipher\":", Some(encryption.cipher.as_bytes()));
            object.text(",\"tls_sni\":", encryption.server_name.map(str::as_bytes));
            object.flag(",\"tls_resumed\":", encryption.is_resumed);
        }
        out.push(b'}');
    }

    fn write_common(&self, out: &mut Vec<u8>) {
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let ([year, month, day], [hour, minute, second]) = date(self.began.as_secs());
        let month = MONTHS[month as usize - 1];
        let client = self.client.ip();
        let _ =
            write!(out, "{client} - - [{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02} +0000] \"");
        match self.note {
            None => out.push(b'-'),
            Some(note) => {
                escape(note.part(Part::Method), out);
                out.push(b' ');
                escape(note.part(Part::Target), out);
                let _ = write!(out, " {}", note.version());
            }
        }
        let _ = match self.status {
            Some(status) => write!(out, "\" {status} {}", self.sent_bytes),
            None => write!(out, "\" - {}", self.sent_bytes),
        };
        for part in [Part::Referer, Part::UserAgent] {
            out.extend_from_slice(b" \"");
            match self.note.map(|note| note.part(part)) {
                None | Some(b"") => out.push(b'-'),
                Some(text) => escape(text, out),
            }
            out.push(b'"');
        }
    }
}

/// Appends a text between quotes: a quote, a backslash and each byte that is no visible ASCII or space are escaped.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

/// Appends a time since 1970 (RFC 3339), with microseconds.
fn write_time(since: Duration, out: &mut Vec<u8>) {
    let ([year, month, day], [hour, minute, second]) = date(since.as_secs());
    let fraction = u64::from(since.subsec_micros());
    digits::decimal(year, out);
    for (before, number) in [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)] {
        out.push(before);
        digits::two(number, out);
    }
    out.push(b'.');
    for part in [fraction / 10_000, fraction / 100, fraction] {
        digits::two(part, out);
    }
    out.push(b'Z');
}

/// Returns the date and the time of day in UTC, of a time in seconds since 1970.
fn date(seconds: u64) -> ([u64; 3], [u64; 3]) {
    let of_day = seconds % 86_400;
    // Years begin in March here, so a leap day is the last day of its year. Day 0 is the first of March of year 0.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    ([year, month, day], [of_day / 3600, of_day / 60 % 60, of_day % 60])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{FieldSlots, HeadLimits, HeadScan};

    fn with_head<T>(fields: &[u8], target: &str, check: impl FnOnce(&RequestHead<'_>) -> T) -> T {
        let line = format!("GET {target} HTTP/1.1\r\nHost: a\r\n");
        let bytes = [line.as_bytes(), fields, b"\r\n"].concat();
        let mut slots = FieldSlots::new();
        let head = HeadScan::default().request(&bytes, &HeadLimits::default(), &mut slots).unwrap().unwrap();
        check(&head)
    }

    fn line(format: Format, fields: &[u8], target: &str) -> String {
        let note = with_head(fields, target, |head| Note::new(b"id-1", head));
        let mut out = Vec::new();
        record(Some(&note)).write(format, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn record(note: Option<&Note>) -> Record<'_> {
        Record {
            began: Duration::from_micros(1_709_210_096_000_042),
            note,
            listener: None,
            client: "10.0.0.1:5".parse().unwrap(),
            status: note.map(|_| 200),
            end: RequestEnd::Complete,
            backend: note.map(|_| "10.0.0.2:80".parse().unwrap()),
            attempts: 1,
            received_bytes: 12,
            sent_bytes: 321,
            queue: None,
            connect: Some(Duration::from_micros(5)),
            first_byte: Some(Duration::from_micros(7)),
            total: Duration::from_millis(2),
            encryption: None,
        }
    }

    #[test]
    fn each_format_tells_a_request_in_one_line() {
        let fields = b"User-Agent: x \"y\"\\\r\nReferer: \xff\xc3\xa9\r\n";
        assert_eq!(
            line(Format::Common, fields, "/a?b"),
            "10.0.0.1 - - [29/Feb/2024:12:34:56 +0000] \"GET /a?b HTTP/1.1\" 200 321 \"\\xff\\xc3\\xa9\" \
             \"x \\\"y\\\"\\\\\"\n"
        );
        assert_eq!(
            line(Format::Json, fields, "/a?b"),
            "{\"time\":\"2024-02-29T12:34:56.000042Z\",\"id\":\"id-1\",\"listener\":null,\
             \"client\":\"10.0.0.1:5\",\"method\":\"GET\",\"target\":\"/a?b\",\"version\":\"HTTP/1.1\",\
             \"host\":\"a\",\"referer\":\"\u{fffd}\u{e9}\",\"user_agent\":\"x \\\"y\\\"\\\\\",\"status\":200,\
             \"end\":\"complete\",\"backend\":\"10.0.0.2:80\",\"attempts\":1,\"received_bytes\":12,\
             \"sent_bytes\":321,\"queue_us\":null,\"connect_us\":5,\"first_byte_us\":7,\"total_us\":2000}\n"
        );
    }

    #[test]
    fn only_json_tells_of_the_encryption() {
        let version = ("TLSv1.3", "TLS_AES_128_GCM_SHA256");
        // server name, resumed, the end of the line
        let cases = [
            (Some("a.example"), false, "\"tls_sni\":\"a.example\",\"tls_resumed\":false}\n"),
            (None, true, "\"tls_sni\":null,\"tls_resumed\":true}\n"),
        ];
        let write = |format, encryption| {
            let mut out = Vec::new();
            Record { encryption, ..record(None) }.write(format, &mut out);
            String::from_utf8(out).unwrap()
        };
        for (server_name, is_resumed, end) in cases {
            let encryption =
                Some(Encryption { version: version.0, cipher: version.1, server_name, is_resumed });
            let plain = write(Format::Json, None);
            let before = plain.strip_suffix("}\n").unwrap();
            let expected = format!(
                "{before},\"tls_version\":\"TLSv1.3\",\"tls_cipher\":\"TLS_AES_128_GCM_SHA256\",{end}"
            );
            assert_eq!(write(Format::Json, encryption), expected);
            assert_eq!(write(Format::Common, encryption), write(Format::Common, None));
        }
    }

    #[test]
    fn a_request_without_a_valid_head_has_a_line_too() {
        let mut out = Vec::new();
        record(None).write(Format::Common, &mut out);
        assert_eq!(out, b"10.0.0.1 - - [29/Feb/2024:12:34:56 +0000] \"-\" - 321 \"-\" \"-\"\n");
        out.clear();
        record(None).write(Format::Json, &mut out);
        let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
        for name in
            ["id", "method", "target", "version", "host", "referer", "user_agent", "status", "backend"]
        {
            assert!(object[name].is_null(), "{name}: {object}");
        }
    }

    #[test]
    fn every_byte_of_a_field_keeps_the_line_whole() {
        for byte in (0x20..=0xff).chain([b'\t']).filter(|&byte| byte != 0x7f) {
            let field = [b"User-Agent: a".as_slice(), &[byte], b"b\r\n"].concat();
            let json = line(Format::Json, &field, "/");
            let object: serde_json::Value = serde_json::from_str(&json).unwrap();
            let expected = String::from_utf8_lossy(&[b'a', byte, b'b']).into_owned();
            assert_eq!(object["user_agent"], expected.as_str(), "{json}");
            for text in [json, line(Format::Common, &field, "/")] {
                assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "{text}");
            }
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        for (length, kept, mark) in [(2048, 2048, ""), (2049, 2048, "..."), (4000, 2048, "...")] {
            let target = format!("/{}", "x".repeat(length - 1));
            with_head(b"", &target, |head| {
                let expected = format!("{}{mark}", &target[..kept]);
                assert_eq!(Note::new(b"", head).part(Part::Target), expected.as_bytes());
            });
        }
    }

    #[test]
    fn an_id_of_a_client_is_short_and_visible() {
        let long = "x".repeat(129);
        for (value, given) in [("a", true), ("", false), ("a b", false), (&long[1..], true), (&long, false)] {
            let field = format!("x-request-id: {value}\r\n");
            let id = with_head(field.as_bytes(), "/", |head| given_id(head).map(<[u8]>::to_vec));
            assert_eq!(id, given.then(|| value.as_bytes().to_vec()), "{value}");
        }
        assert!(with_head(b"", "/", |head| given_id(head).is_none()));
    }

    #[test]
    fn dates_of_the_calendar() {
        let cases = [
            (0, [1970, 1, 1]),
            (951_782_400, [2000, 2, 29]),
            (951_868_800, [2000, 3, 1]),
            (1_735_689_599, [2024, 12, 31]),
            (4_107_542_400, [2100, 3, 1]),
        ];
        for (seconds, expected) in cases {
            assert_eq!(date(seconds).0, expected, "{seconds}");
        }
        assert_eq!(date(1_735_689_599).1, [23, 59, 59]);
    }
}
