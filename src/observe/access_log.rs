//! The lines of the access log: one for each finished request.
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::json::{Object, PART_BYTES, Part, is_plain};
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
/// Bytes that a note keeps for the next request.
const NOTE_BYTES: usize = 1024;
/// The first part of the line of a request without a valid head.
const WITHOUT_HEAD: &[u8] =
    b",\"method\":null,\"target\":null,\"version\":null,\"host\":null,\"referer\":null,\
    \"user_agent\":null";

/// What the log needs of a request head, as its line tells it. Long texts are cut.
#[derive(Debug, Default)]
pub struct Note {
    /// The ID, and then the parts of the line.
    text: Vec<u8>,
    /// The end of the ID, and the end of the first part.
    ends: [usize; 2],
}

impl Note {
    /// Returns the ID of the request.
    pub fn id(&self) -> &[u8] {
        &self.text[..self.ends[0]]
    }

    fn first(&self) -> &[u8] {
        &self.text[self.ends[0]..self.ends[1]]
    }

    fn second(&self) -> &[u8] {
        &self.text[self.ends[1]..]
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

/// Writes lines of one format.
#[derive(Debug)]
pub struct Formatter {
    format: Format,
    /// The second of the last line, in seconds since 1970, and its text. Many requests begin in the same second.
    second: u64,
    text_of_second: Vec<u8>,
    /// For the parts of a line.
    room: [u8; PART_BYTES],
    /// A text that was cut.
    cut: Vec<u8>,
}

impl Formatter {
    /// A formatter for lines of this format.
    pub fn new(format: Format) -> Self {
        Formatter {
            format,
            second: u64::MAX,
            text_of_second: Vec::new(),
            room: [0; PART_BYTES],
            cut: Vec::new(),
        }
    }

    /// Notes a request with this ID. What the note held before is gone.
    pub fn note(&mut self, id: &[u8], head: &RequestHead<'_>, note: &mut Note) {
        let (mut referer, mut user_agent): (&[u8], &[u8]) = (b"", b"");
        for field in head.fields.iter() {
            match field.name.len() {
                7 if field.name.eq_ignore_ascii_case("Referer") => referer = field.value,
                10 if field.name.eq_ignore_ascii_case("User-Agent") => user_agent = field.value,
                _ => {}
            }
        }
        let Note { text: out, ends } = note;
        out.clear();
        // A new note grows once and not with each part. A long text of an earlier request is not kept for the next one.
        out.reserve(NOTE_BYTES / 2);
        out.shrink_to(NOTE_BYTES);
        out.extend_from_slice(&id[..id.len().min(ID_BYTES)]);
        ends[0] = out.len();
        let version: &[u8] = match head.version {
            Version::Http10 => b"HTTP/1.0",
            Version::Http11 => b"HTTP/1.1",
        };
        let cut = &mut self.cut;
        let (method, target) = (head.method_token.as_bytes(), head.target.as_bytes());
        match self.format {
            Format::Json => {
                let mut object = Object(out);
                // Quotes and backslashes are in no token (RFC 9110 section 5.6.2) and in no authority (RFC 3986 section 3.2).
                object.plain(",\"method\":\"", limited(method, TEXT_BYTES, cut));
                object.text(",\"target\":\"", Some(limited(target, TARGET_BYTES, cut)));
                object.plain(",\"version\":\"", version);
                object.plain(",\"host\":\"", limited(head.host.as_bytes(), TEXT_BYTES, cut));
                for (key, text) in [(",\"referer\":\"", referer), (",\"user_agent\":\"", user_agent)] {
                    object.text(key, Some(limited(text, TEXT_BYTES, cut)).filter(|text| !text.is_empty()));
                }
                ends[1] = out.len();
            }
            Format::Common => {
                escape(limited(method, TEXT_BYTES, cut), out);
                out.push(b' ');
                escape(limited(target, TARGET_BYTES, cut), out);
                out.push(b' ');
                out.extend_from_slice(version);
                ends[1] = out.len();
                for text in [referer, user_agent] {
                    out.extend_from_slice(b" \"");
                    escape(if text.is_empty() { b"-" } else { limited(text, TEXT_BYTES, cut) }, out);
                    out.push(b'"');
                }
            }
        }
    }

    /// Appends the line of a request, with its line end.
    pub fn write(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        let second = record.began.as_secs();
        if second != self.second {
            self.second = second;
            self.text_of_second.clear();
            match self.format {
                Format::Json => {
                    self.text_of_second.extend_from_slice(b"{\"time\":\"");
                    write_second(second, &mut self.text_of_second);
                    self.text_of_second.push(b'.');
                }
                Format::Common => write_common_second(second, &mut self.text_of_second),
            }
        }
        match self.format {
            Format::Json => record.write_json(&self.text_of_second, &mut self.room, out),
            Format::Common => record.write_common(&self.text_of_second, out),
        }
        out.push(b'\n');
    }
}

/// Returns the text, or its first `max` bytes with a mark, which `cut` then holds.
fn limited<'t>(text: &'t [u8], max: usize, cut: &'t mut Vec<u8>) -> &'t [u8] {
    if text.len() <= max {
        return text;
    }
    cut.clear();
    cut.extend_from_slice(&text[..max]);
    cut.extend_from_slice(CUT);
    cut
}

impl Record<'_> {
    fn write_json(&self, second: &[u8], room: &mut [u8; PART_BYTES], out: &mut Vec<u8>) {
        let micros = |time: Duration| time.as_micros() as u64;
        out.extend_from_slice(second);
        digits::six(self.began.subsec_micros().into(), out);
        out.extend_from_slice(b"Z\"");
        let mut object = Object(out);
        object.text(",\"id\":\"", self.note.map(Note::id));
        let mut part = Part::new(room);
        part.address(b",\"listener\":", self.listener);
        part.address(b",\"client\":", Some(self.client));
        out.extend_from_slice(part.text());
        out.extend_from_slice(self.note.map_or(WITHOUT_HEAD, Note::first));
        let mut part = Part::new(room);
        part.number(b",\"status\":", self.status.map(u64::from));
        part.copy(b",\"end\":\"");
        match self.end {
            RequestEnd::Complete => part.copy(b"complete\""),
            RequestEnd::ClientLost => part.copy(b"client_lost\""),
            RequestEnd::Stalled => part.copy(b"stalled\""),
            RequestEnd::CutOff => part.copy(b"cut_off\""),
        }
        part.address(b",\"backend\":", self.backend);
        part.number(b",\"attempts\":", Some(self.attempts.into()));
        part.number(b",\"received_bytes\":", Some(self.received_bytes));
        part.number(b",\"sent_bytes\":", Some(self.sent_bytes));
        part.number(b",\"queue_us\":", self.queue.map(micros));
        part.number(b",\"connect_us\":", self.connect.map(micros));
        part.number(b",\"first_byte_us\":", self.first_byte.map(micros));
        part.number(b",\"total_us\":", Some(micros(self.total)));
        out.extend_from_slice(part.text());
        let mut object = Object(out);
        if let Some(encryption) = &self.encryption {
            object.text(",\"tls_version\":\"", Some(encryption.version.as_bytes()));
            object.text(",\"tls_cipher\":\"", Some(encryption.cipher.as_bytes()));
            object.text(",\"tls_sni\":\"", encryption.server_name.map(str::as_bytes));
            object.flag(",\"tls_resumed\":", encryption.is_resumed);
        }
        out.push(b'}');
    }

    fn write_common(&self, second: &[u8], out: &mut Vec<u8>) {
        match self.client.ip() {
            IpAddr::V4(v4) => digits::address(v4, out),
            // Writing to memory does not fail.
            IpAddr::V6(v6) => {
                let _ = write!(out, "{v6}");
            }
        }
        out.extend_from_slice(b" - - [");
        out.extend_from_slice(second);
        out.extend_from_slice(b" +0000] \"");
        out.extend_from_slice(self.note.map_or(b"-", Note::first));
        out.extend_from_slice(b"\" ");
        match self.status {
            Some(status) => digits::decimal(status.into(), out),
            None => out.push(b'-'),
        }
        out.push(b' ');
        digits::decimal(self.sent_bytes, out);
        out.extend_from_slice(self.note.map_or(b" \"-\" \"-\"", Note::second));
    }
}

/// Appends a text between quotes: a quote, a backslash and each byte that is no visible ASCII or space are escaped.
fn escape(text: &[u8], out: &mut Vec<u8>) {
    if is_plain(text) {
        return out.extend_from_slice(text);
    }
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

/// Appends a time in seconds since 1970 (RFC 3339), without the fraction and the zone.
fn write_second(second: u64, out: &mut Vec<u8>) {
    let ([year, month, day], [hour, minute, second]) = date(second);
    digits::decimal(year, out);
    for (before, number) in [(b'-', month), (b'-', day), (b'T', hour), (b':', minute), (b':', second)] {
        out.push(before);
        digits::two(number, out);
    }
}

/// Appends a time in seconds since 1970 as the combined log format has it, without the zone.
fn write_common_second(second: u64, out: &mut Vec<u8>) {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let ([year, month, day], [hour, minute, second]) = date(second);
    let month = MONTHS[month as usize - 1];
    // Writing to memory does not fail.
    let _ = write!(out, "{day:02}/{month}/{year}:{hour:02}:{minute:02}:{second:02}");
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
    use std::net::{Ipv6Addr, SocketAddrV6};

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
        let (mut formatter, mut note, mut out) = (Formatter::new(format), Note::default(), Vec::new());
        with_head(fields, target, |head| formatter.note(b"id-1", head, &mut note));
        assert_eq!(note.id(), b"id-1");
        formatter.write(&record(Some(&note)), &mut out);
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
            Formatter::new(format).write(&Record { encryption, ..record(None) }, &mut out);
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
        Formatter::new(Format::Common).write(&record(None), &mut out);
        assert_eq!(out, b"10.0.0.1 - - [29/Feb/2024:12:34:56 +0000] \"-\" - 321 \"-\" \"-\"\n");
        out.clear();
        Formatter::new(Format::Json).write(&record(None), &mut out);
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
    fn a_method_and_a_host_need_no_escape() {
        for byte in 0..=255 {
            for (before, after) in
                [("G", " / HTTP/1.1\r\nHost: a\r\n\r\n"), ("GET / HTTP/1.1\r\nHost: a", "\r\n\r\n")]
            {
                let bytes = [before.as_bytes(), &[byte], after.as_bytes()].concat();
                let (mut slots, mut note) = (FieldSlots::new(), Note::default());
                let scanned = HeadScan::default().request(&bytes, &HeadLimits::default(), &mut slots);
                let Ok(Some(head)) = scanned else { continue };
                let (mut formatter, mut out) = (Formatter::new(Format::Json), Vec::new());
                formatter.note(b"id", &head, &mut note);
                formatter.write(&record(Some(&note)), &mut out);
                let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
                assert_eq!(object["method"], head.method_token);
                assert_eq!(object["host"], head.host);
            }
        }
    }

    #[test]
    fn the_longest_line_has_room() {
        let address = SocketAddrV6::new(Ipv6Addr::from([255; 16]), u16::MAX, 0, u32::MAX).into();
        let longest = Duration::from_micros(u64::MAX);
        let record = Record {
            listener: Some(address),
            client: address,
            status: Some(u16::MAX),
            end: RequestEnd::ClientLost,
            backend: Some(address),
            attempts: u32::MAX,
            received_bytes: u64::MAX,
            sent_bytes: u64::MAX,
            queue: Some(longest),
            connect: Some(longest),
            first_byte: Some(longest),
            total: longest,
            ..record(None)
        };
        let mut out = Vec::new();
        Formatter::new(Format::Json).write(&record, &mut out);
        let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
        for name in ["listener", "client", "backend"] {
            assert_eq!(object[name], address.to_string(), "{object}");
        }
        for name in ["received_bytes", "sent_bytes", "queue_us", "connect_us", "first_byte_us", "total_us"] {
            assert_eq!(object[name], u64::MAX, "{object}");
        }
        assert_eq!((&object["attempts"], &object["end"]), (&u32::MAX.into(), &"client_lost".into()));
    }

    #[test]
    fn a_long_text_is_cut() {
        for (length, kept, mark) in [(2048, 2048, ""), (2049, 2048, "..."), (4000, 2048, "...")] {
            let target = format!("/{}", "x".repeat(length - 1));
            let (json, common) = (line(Format::Json, b"", &target), line(Format::Common, b"", &target));
            let expected = format!("{}{mark}", &target[..kept]);
            assert!(json.contains(&format!(",\"target\":\"{expected}\",")), "{json}");
            assert!(common.contains(&format!("\"GET {expected} HTTP/1.1\"")), "{common}");
        }
    }

    #[test]
    fn a_note_and_a_formatter_keep_nothing_of_an_earlier_request() {
        let long = format!("/{}", "x".repeat(4000));
        for format in [Format::Json, Format::Common] {
            let (mut formatter, mut note) = (Formatter::new(format), Note::default());
            for (target, seconds) in [("/a", 0), ("/b", 1), (&long, 1), ("/a", 86_400), ("/a", 1)] {
                let (mut new, mut fresh) = (Formatter::new(format), Note::default());
                let (mut out, mut expected) = (Vec::new(), Vec::new());
                with_head(b"Referer: r\r\n", target, |head| {
                    formatter.note(target.as_bytes(), head, &mut note);
                    new.note(target.as_bytes(), head, &mut fresh);
                });
                let began = Duration::from_secs(seconds);
                formatter.write(&Record { began, ..record(Some(&note)) }, &mut out);
                new.write(&Record { began, ..record(Some(&fresh)) }, &mut expected);
                assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(expected).unwrap());
            }
            assert!(note.text.capacity() <= 2 * NOTE_BYTES, "{}", note.text.capacity());
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
