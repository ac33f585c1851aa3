//! The line of a finished request.
use std::io::Write;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::batch::Request;
use super::date::{write_common_second, write_second};
use crate::http::digits;
use crate::http::head::Version;
use crate::observe::json::{Object, PART_BYTES, Part, is_plain};
use crate::observe::requests::RequestEnd;

/// The first part of the line of a request without a valid head.
const WITHOUT_HEAD: &[u8] =
    b",\"method\":null,\"target\":null,\"version\":null,\"host\":null,\"referer\":null,\
    \"user_agent\":null";

/// The format of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object.
    #[default]
    Json,
    /// The combined log format of Apache.
    Common,
}

/// The same time of two clocks.
#[derive(Debug, Clone, Copy)]
pub struct Time {
    /// The clock of the requests.
    pub instant: Instant,
    /// The time since 1970, which the lines tell.
    pub since_1970: Duration,
}

impl Time {
    /// Returns the time since 1970 of an earlier time.
    fn of(&self, earlier: Instant) -> Duration {
        self.since_1970.saturating_sub(self.instant.saturating_duration_since(earlier))
    }
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
}

impl Formatter {
    /// A formatter for lines of this format.
    pub fn new(format: Format) -> Self {
        Formatter { format, second: u64::MAX, text_of_second: Vec::new(), room: [0; PART_BYTES] }
    }

    /// Appends the line of a request, with its line end. `time` is a time after its end.
    pub fn write(&mut self, request: &Request<'_>, time: &Time, out: &mut Vec<u8>) {
        let began = time.of(request.record.began);
        let second = began.as_secs();
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
            Format::Json => {
                out.extend_from_slice(&self.text_of_second);
                digits::six(began.subsec_micros().into(), out);
                request.write_json(&mut self.room, out);
            }
            Format::Common => request.write_common(&self.text_of_second, out),
        }
        out.push(b'\n');
    }
}

fn version_text(version: Version) -> &'static [u8] {
    match version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
    }
}

impl Request<'_> {
    /// Appends what stands behind the time.
    fn write_json(&self, room: &mut [u8; PART_BYTES], out: &mut Vec<u8>) {
        let micros = |time: Duration| time.as_micros() as u64;
        let record = self.record;
        out.extend_from_slice(b"Z\"");
        let mut object = Object(out);
        object.text(",\"id\":\"", self.head.map(|(_, [id, ..])| id));
        let mut part = Part::new(room);
        part.address(b",\"listener\":", record.listener);
        part.address(b",\"client\":", Some(record.client));
        out.extend_from_slice(part.text());
        self.write_head(out);
        let mut part = Part::new(room);
        part.number(b",\"status\":", record.status.map(u64::from));
        part.copy(b",\"end\":\"");
        match record.end {
            RequestEnd::Complete => part.copy(b"complete\""),
            RequestEnd::ClientLost => part.copy(b"client_lost\""),
            RequestEnd::Stalled => part.copy(b"stalled\""),
            RequestEnd::CutOff => part.copy(b"cut_off\""),
        }
        part.address(b",\"backend\":", record.backend);
        part.number(b",\"attempts\":", Some(record.attempts.into()));
        part.number(b",\"received_bytes\":", Some(record.received_bytes));
        part.number(b",\"sent_bytes\":", Some(record.sent_bytes));
        part.number(b",\"queue_us\":", record.queue.map(micros));
        part.number(b",\"connect_us\":", record.connect.map(micros));
        part.number(b",\"first_byte_us\":", record.first_byte.map(micros));
        part.number(b",\"total_us\":", Some(micros(record.ended.saturating_duration_since(record.began))));
        out.extend_from_slice(part.text());
        let mut object = Object(out);
        if let Some(([version, cipher, server_name], is_resumed)) = self.encryption {
            object.text(",\"tls_version\":\"", Some(version));
            object.text(",\"tls_cipher\":\"", Some(cipher));
            object.text(",\"tls_sni\":\"", present(server_name));
            object.flag(",\"tls_resumed\":", is_resumed);
        }
        out.push(b'}');
    }

    fn write_head(&self, out: &mut Vec<u8>) {
        let Some((version, [_, method, target, host, referer, user_agent])) = self.head else {
            return out.extend_from_slice(WITHOUT_HEAD);
        };
        let mut object = Object(out);
        // Quotes and backslashes are in no token (RFC 9110 section 5.6.2) and in no authority (RFC 3986 section 3.2).
        object.plain(",\"method\":\"", method);
        object.text(",\"target\":\"", Some(target));
        object.plain(",\"version\":\"", version_text(version));
        object.plain(",\"host\":\"", host);
        object.text(",\"referer\":\"", present(referer));
        object.text(",\"user_agent\":\"", present(user_agent));
    }

    fn write_common(&self, second: &[u8], out: &mut Vec<u8>) {
        match self.record.client.ip() {
            IpAddr::V4(v4) => digits::address(v4, out),
            // Writing to memory does not fail.
            IpAddr::V6(v6) => {
                let _ = write!(out, "{v6}");
            }
        }
        out.extend_from_slice(b" - - [");
        out.extend_from_slice(second);
        out.extend_from_slice(b" +0000] \"");
        let (mut referer, mut user_agent): (&[u8], &[u8]) = (b"", b"");
        match self.head {
            Some((version, [_, method, target, _, from, agent])) => {
                escape(method, out);
                out.push(b' ');
                escape(target, out);
                out.push(b' ');
                out.extend_from_slice(version_text(version));
                (referer, user_agent) = (from, agent);
            }
            None => out.push(b'-'),
        }
        out.extend_from_slice(b"\" ");
        match self.record.status {
            Some(status) => digits::decimal(status.into(), out),
            None => out.push(b'-'),
        }
        out.push(b' ');
        digits::decimal(self.record.sent_bytes, out);
        for text in [referer, user_agent] {
            out.extend_from_slice(b" \"");
            escape(present(text).unwrap_or(b"-"), out);
            out.push(b'"');
        }
    }
}

/// Returns the text; None when it is empty.
fn present(text: &[u8]) -> Option<&[u8]> {
    Some(text).filter(|text| !text.is_empty())
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddrV6};

    use super::super::note::{NOTE_BYTES, Note, given_id};
    use super::super::{Batch, Record};
    use super::*;
    use crate::http::head::{FieldSlots, HeadLimits, HeadScan, RequestHead};
    use crate::http::transform::Encryption;

    fn with_head<T>(fields: &[u8], target: &str, check: impl FnOnce(&RequestHead<'_>) -> T) -> T {
        let line = format!("GET {target} HTTP/1.1\r\nHost: a\r\n");
        let bytes = [line.as_bytes(), fields, b"\r\n"].concat();
        let mut slots = FieldSlots::new();
        let head = HeadScan::default().request(&bytes, &HeadLimits::default(), &mut slots).unwrap().unwrap();
        check(&head)
    }

    fn line(format: Format, fields: &[u8], target: &str) -> String {
        let mut note = Note::default();
        with_head(fields, target, |head| note.take(b"id-1", head));
        assert_eq!(note.id(), b"id-1");
        written(format, &[(record(), Some(&note), None)])
    }

    type Part<'p> = (Record, Option<&'p Note>, Option<Encryption<'p>>);

    /// Returns the lines. The first request has begun at 12:34:56.
    fn written(format: Format, requests: &[Part<'_>]) -> String {
        let (mut batch, mut out, mut formatter) = (Batch::default(), Vec::new(), Formatter::new(format));
        for (record, note, encryption) in requests {
            batch.push(*record, *note, *encryption);
        }
        assert_eq!(batch.len(), requests.len());
        assert!(batch.bytes() >= requests.len() * size_of::<Record>());
        let after = Duration::from_secs(200_000);
        let time = Time {
            instant: requests[0].0.began + after,
            since_1970: Duration::from_micros(1_709_210_096_000_042) + after,
        };
        batch.iter().for_each(|request| formatter.write(&request, &time, &mut out));
        batch.clear();
        assert!(batch.is_empty() && batch.bytes() == 0 && batch.iter().next().is_none());
        String::from_utf8(out).unwrap()
    }

    fn record() -> Record {
        let began = Instant::now();
        Record {
            began,
            ended: began + Duration::from_millis(2),
            listener: None,
            client: "10.0.0.1:5".parse().unwrap(),
            status: Some(200),
            end: RequestEnd::Complete,
            backend: Some("10.0.0.2:80".parse().unwrap()),
            attempts: 1,
            received_bytes: 12,
            sent_bytes: 321,
            queue: None,
            connect: Some(Duration::from_micros(5)),
            first_byte: Some(Duration::from_micros(7)),
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
        let write = |format, encryption| written(format, &[(record(), None, encryption)]);
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
        let record = Record { status: None, backend: None, ..record() };
        assert_eq!(
            written(Format::Common, &[(record, None, None)]),
            "10.0.0.1 - - [29/Feb/2024:12:34:56 +0000] \"-\" - 321 \"-\" \"-\"\n"
        );
        let json = written(Format::Json, &[(record, None, None)]);
        let object: serde_json::Value = serde_json::from_str(&json).unwrap();
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
                note.take(b"id", &head);
                let json = written(Format::Json, &[(record(), Some(&note), None)]);
                let object: serde_json::Value = serde_json::from_str(&json).unwrap();
                assert_eq!(object["method"], head.method_token);
                assert_eq!(object["host"], head.host);
            }
        }
    }

    #[test]
    fn the_longest_line_has_room() {
        let address = SocketAddrV6::new(Ipv6Addr::from([255; 16]), u16::MAX, 0, u32::MAX).into();
        let longest = Duration::from_micros(u64::MAX);
        let began = Instant::now();
        // An instant cannot be as late as the longest times.
        let ended = began + Duration::from_secs(1 << 32);
        let record = Record {
            began,
            ended,
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
        };
        let json = written(Format::Json, &[(record, None, None)]);
        let object: serde_json::Value = serde_json::from_str(&json).unwrap();
        for name in ["listener", "client", "backend"] {
            assert_eq!(object[name], address.to_string(), "{object}");
        }
        for name in ["received_bytes", "sent_bytes", "queue_us", "connect_us", "first_byte_us"] {
            assert_eq!(object[name], u64::MAX, "{object}");
        }
        assert_eq!(object["total_us"], (1u64 << 32) * 1_000_000);
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
    fn a_line_tells_nothing_of_the_requests_before() {
        let long = format!("/{}", "x".repeat(4000));
        let first = record();
        let mut last = Note::default();
        for format in [Format::Json, Format::Common] {
            let notes = ["/a", "/b", &long, "/c", "/d"].map(|target| {
                let mut note = Note::default();
                with_head(b"Referer: r\r\n", target, |head| {
                    last.take(&target.as_bytes()[..2], head);
                    note.take(&target.as_bytes()[..2], head);
                });
                assert_eq!(
                    written(format, &[(first, Some(&last), None)]),
                    written(format, &[(first, Some(&note), None)])
                );
                note
            });
            let later = |seconds| Record { began: first.began + Duration::from_secs(seconds), ..first };
            let encryption =
                Encryption { version: "v", cipher: "c", server_name: Some("s"), is_resumed: false };
            let requests = [
                (first, Some(&notes[0]), None),
                (first, Some(&notes[1]), Some(encryption)),
                (first, None, Some(encryption)),
                (later(1), Some(&notes[2]), None),
                (later(86_400), None, None),
                (first, Some(&notes[3]), Some(encryption)),
            ];
            let lines = written(format, &requests);
            let alone = requests.map(|(record, note, encryption)| {
                let line = written(format, &[(first, None, None), (record, note, encryption)]);
                line.split_once('\n').unwrap().1.to_owned()
            });
            assert_eq!(lines, alone.concat());
            let of_march = lines.lines().filter(|line| line.contains("Mar/2024") || line.contains("2024-03"));
            assert_eq!(of_march.count(), 1, "{lines}");
        }
        assert!(last.texts.capacity() <= 2 * NOTE_BYTES, "{}", last.texts.capacity());
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
}
