//! Tests of TLS at the level of records: what a client can send, when the balancer sends what, and how a connection ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use crate::harness::certificates::Authority;
use crate::harness::folder::Folder;
use crate::harness::scripted::Backend;
use crate::harness::wire::{End, Wire};
use crate::harness::{CROSSBEAM, EDGE, PATIENCE, Server, Variant, balancer_over, eventually};
use neraca::Options;
use neraca::router::Router;
use neraca::tls::{self, CertificateFiles, Tls, TlsSettings};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, SupportedProtocolVersion};

/// One variant of each engine, and each with a pool for the handshakes.
const ENGINES: [Variant; 4] = [CROSSBEAM, EDGE, CROSSBEAM.with_pool(), EDGE.with_pool()];
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

const HOST: &str = "a.example";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The type of a record with encrypted bytes (RFC 8446 section 5.1).
const ENCRYPTED: u8 = 23;

/// A balancer whose clients speak TLS, and its only backend, which does not.
struct Site {
    authority: Authority,
    backend: Backend,
    server: Server<Router>,
}

impl Site {
    fn new(variant: Variant) -> Self {
        Site::with(variant, &[HOST], |_| ())
    }

    /// With a certificate for these hosts, and with changed options.
    fn with(variant: Variant, hosts: &[&str], change: impl FnOnce(&mut Options)) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let folder = Folder::new(&format!("tls-traps-{}", NEXT.fetch_add(1, Relaxed)));
        let authority = Authority::new();
        let pair = authority.sign(hosts);
        folder.put("a.pem", &pair.certificate);
        folder.put("a.key", &pair.key);
        let files = CertificateFiles { certificate: folder.path("a.pem"), key: folder.path("a.key") };
        let settings = TlsSettings { certificates: vec![files], ..TlsSettings::default() };
        let (tls, remarks) = Tls::load(&settings, SystemTime::now());
        let tls = tls.unwrap_or_else(|| panic!("{remarks:?}"));
        let mut options = variant.options();
        options.client_transform = Some(tls::transforms(tls.config(), &tls::HANDSHAKES));
        change(&mut options);
        let backend = Backend::start(variant);
        let server = balancer_over(options, &[backend.settings()]);
        Site { authority, backend, server }
    }

    fn config(&self, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
        self.authority.client_with(&[version], None)
    }

    /// A client before its handshake.
    fn stranger(&self, version: &'static SupportedProtocolVersion) -> Peer {
        Peer::new(self.server.address(), &self.config(version))
    }

    /// A client behind its handshake.
    fn client(&self, version: &'static SupportedProtocolVersion) -> Peer {
        let mut peer = self.stranger(version);
        peer.shake_hands(usize::MAX);
        peer
    }

    /// Answers the next request at the backend.
    fn answer(&self, response: &str) -> Wire {
        let mut wire = self.backend.accept();
        wire.head();
        wire.send(response);
        wire
    }
}

/// A client with a session whose bytes on the wire are in the hand of the test.
struct Peer {
    stream: TcpStream,
    session: ClientConnection,
    /// The encrypted bytes that have come since the test has looked.
    records: Vec<u8>,
    plain: Vec<u8>,
}

impl Peer {
    fn new(address: SocketAddr, config: &Arc<ClientConfig>) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let session = ClientConnection::new(Arc::clone(config), HOST.try_into().unwrap()).unwrap();
        Peer { stream, session, records: Vec::new(), plain: Vec::new() }
    }

    /// Sends what the session has to send, at most so many bytes at a time.
    fn flush(&mut self, most: usize) {
        let mut out = Vec::new();
        while self.session.wants_write() {
            self.session.write_tls(&mut out).unwrap();
        }
        for part in out.chunks(most) {
            self.stream.write_all(part).unwrap();
        }
    }

    /// Reads at most so many bytes. Returns the end of the stream when it has come.
    fn fill(&mut self, most: usize) -> Option<End> {
        let mut part = vec![0; most.min(64 * 1024)];
        let n = match self.stream.read(&mut part) {
            Ok(0) if self.has_marker() => return Some(End::Eof),
            Ok(0) => return Some(End::Cut),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Some(End::Reset),
            Err(error) => panic!("{error} behind {:?}", String::from_utf8_lossy(&self.plain)),
        };
        self.records.extend_from_slice(&part[..n]);
        let mut rest = &part[..n];
        while !rest.is_empty() && self.session.read_tls(&mut rest).unwrap() > 0 {
            self.session.process_new_packets().unwrap();
            let _ = self.session.reader().read_to_end(&mut self.plain);
        }
        None
    }

    /// True when close_notify has come.
    fn has_marker(&mut self) -> bool {
        self.session.process_new_packets().unwrap().peer_has_closed()
    }

    fn shake_hands(&mut self, most: usize) {
        while self.session.is_handshaking() {
            self.flush(most);
            if self.session.is_handshaking() {
                assert_eq!(self.fill(most), None, "the handshake is broken off");
            }
        }
        self.flush(most);
    }

    /// Sends the bytes in records of at most this size, and the records in writes of at most that size.
    fn send_in(&mut self, record: usize, write: usize, bytes: &[u8]) {
        for part in bytes.chunks(record) {
            self.session.writer().write_all(part).unwrap();
        }
        self.flush(write);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.send_in(usize::MAX, usize::MAX, bytes);
    }

    /// Reads the next response, which ends with these bytes.
    fn response(&mut self, mark: &str) -> String {
        while !String::from_utf8_lossy(&self.plain).contains(mark) {
            assert_eq!(self.fill(usize::MAX), None, "the response is broken off");
        }
        let text = String::from_utf8(std::mem::take(&mut self.plain)).unwrap();
        let at = text.find(mark).unwrap() + mark.len();
        self.plain = text.as_bytes()[at..].to_vec();
        text[..at].to_owned()
    }

    /// Returns all plain bytes that still come, and the end.
    fn rest(&mut self) -> (String, End) {
        loop {
            if let Some(end) = self.fill(usize::MAX) {
                return (String::from_utf8(std::mem::take(&mut self.plain)).unwrap(), end);
            }
        }
    }

    /// True when nothing has arrived that was not read.
    fn has_nothing(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    /// The types of the records that have come since the last call, which are whole.
    fn take_records(&mut self) -> Vec<u8> {
        let (mut types, mut at) = (Vec::new(), 0);
        while at < self.records.len() {
            types.push(self.records[at]);
            at += 5 + usize::from(u16::from_be_bytes([self.records[at + 3], self.records[at + 4]]));
        }
        assert_eq!(at, self.records.len(), "a part of a record");
        self.records.clear();
        types
    }

    /// Sends the end marker, and the end of the stream.
    fn finish(&mut self) {
        self.session.send_close_notify();
        self.flush(usize::MAX);
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

#[test]
fn decrypted_bytes_count_as_readable() {
    for (variant, version) in each() {
        let site = Site::new(variant);
        let mut client = site.client(version);
        // One record has all of them, so no event follows the first.
        client.send(&GET.repeat(5));
        let mut backend = site.answer(OK);
        client.response("ok");
        for _ in 0..4 {
            backend.head();
            backend.send(OK);
            client.response("ok");
        }
    }
}

#[test]
fn records_may_have_one_byte() {
    for (variant, version) in each() {
        let site = Site::new(variant);
        let mut client = site.client(version);
        let mut backend = None;
        for write in [usize::MAX, 1] {
            client.send_in(1, write, b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
            let backend = backend.get_or_insert_with(|| site.backend.accept());
            assert_eq!(backend.message().text(), "body");
            backend.send(OK);
            client.response("ok");
        }
    }
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    for (variant, version) in each() {
        let site = Site::new(variant);
        let mut client = site.stranger(version);
        client.shake_hands(1);
        client.send_in(usize::MAX, 1, GET);
        site.answer(OK);
        client.response("ok");
    }
}

#[test]
fn a_certificate_may_be_larger_than_a_record() {
    let hosts: Vec<String> = (0..600).map(|n| format!("host-{n}.of.a.certificate.example")).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).chain([HOST]).collect();
    for (variant, version) in each() {
        let site = Site::with(variant, &hosts, |_| ());
        let mut client = site.client(version);
        let chain = client.session.peer_certificates().unwrap();
        assert!(chain[0].len() > 16 * 1024, "{} bytes", chain[0].len());
        client.send(GET);
        site.answer(OK);
        client.response("ok");
    }
}

#[test]
fn an_upload_that_is_cut_off_is_not_whole() {
    for (variant, version) in each() {
        let site = Site::new(variant);
        let mut client = site.client(version);
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf");
        let mut backend = site.backend.accept();
        backend.head();
        assert_eq!(backend.take(4), b"half");
        client.stream.shutdown(Shutdown::Write).unwrap();
        // The backend sees no end of the request, and the client no response.
        backend.is_gone();
        assert_eq!(client.rest().0, "");
    }
}

#[test]
fn a_body_until_the_end_has_its_marker_only_when_it_is_whole() {
    for (variant, version) in each() {
        for whole in [true, false] {
            let site = Site::new(variant);
            let mut client = site.client(version);
            client.send(b"GET / HTTP/1.0\r\n\r\n");
            let backend = site.answer("HTTP/1.1 200 OK\r\n\r\npart");
            client.response("part");
            if whole {
                backend.finish();
            } else {
                backend.reset();
            }
            let (text, end) = client.rest();
            assert_eq!((text.as_str(), end == End::Eof), ("", whole), "{end:?}");
            assert_eq!(client.has_marker(), whole);
        }
    }
}

#[test]
fn a_client_may_end_its_direction_before_the_response() {
    for (variant, version) in each() {
        let site = Site::new(variant);
        let mut client = site.client(version);
        client.send(GET);
        client.finish();
        site.answer(OK);
        let (text, end) = client.rest();
        assert!(text.ends_with("ok"), "{text}");
        assert_eq!(end, End::Eof);
    }
}

#[test]
fn a_client_without_tls_gets_an_answer_that_it_can_read() {
    for variant in ENGINES {
        let site = Site::new(variant);
        for write in [usize::MAX, 1] {
            let mut client = Wire::connect(site.server.address());
            for part in GET.chunks(write) {
                // The balancer may have closed the connection behind the first byte.
                if client.try_send(part).is_err() {
                    break;
                }
            }
            let answer = client.message();
            assert_eq!(answer.status(), 400);
            assert_eq!(answer.field("Connection"), Some("close"));
            assert!(answer.text().contains("https://"), "{}", answer.text());
            client.is_gone();
        }
        assert!(site.backend.is_untouched());
    }
}

#[test]
fn a_ticket_leaves_with_the_first_answer() {
    for variant in ENGINES {
        let site = Site::new(variant);
        let config = site.config(&TLS13);
        for resumes in [false, true] {
            let mut client = Peer::new(site.server.address(), &config);
            client.shake_hands(usize::MAX);
            client.records.clear();
            client.send(GET);
            // The backend has the request, so the balancer has completed the handshake before.
            let mut backend = site.backend.accept();
            backend.head();
            assert!(client.has_nothing(), "a ticket on its own");
            // The next client needs a connection of its own.
            backend.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
            backend.finish();
            client.response("ok");
            assert_eq!(client.take_records(), [ENCRYPTED; 2], "the ticket, then head and body in one record");
            let expected = if resumes { HandshakeKind::Resumed } else { HandshakeKind::Full };
            assert_eq!(client.session.handshake_kind(), Some(expected));
        }
    }
}

#[test]
fn a_small_response_is_one_record() {
    for (variant, version) in each() {
        let site = Site::new(variant);
        let mut client = site.client(version);
        client.send(GET);
        let mut backend = site.answer(OK);
        client.response("ok");
        client.records.clear();
        client.send(GET);
        backend.head();
        backend.send(OK);
        client.response("ok");
        assert_eq!(client.take_records(), [ENCRYPTED]);
    }
}

#[test]
fn a_handshake_has_the_time_of_a_head() {
    for (variant, version) in each() {
        let site = Site::with(variant, &[HOST], |options| {
            let limits = &mut options.listener.limits;
            (limits.head_timeout, limits.idle_timeout) = (Duration::from_millis(100), 10 * PATIENCE);
        });
        // One client says nothing, one a part of its first message, and one does not end its handshake.
        let mut silent = site.stranger(version);
        let mut partial = site.stranger(version);
        let mut hello = Vec::new();
        partial.session.write_tls(&mut hello).unwrap();
        partial.stream.write_all(&hello[..20]).unwrap();
        let mut slow = site.stranger(version);
        slow.flush(usize::MAX);
        for client in [&mut silent, &mut partial, &mut slow] {
            let (text, _) = client.rest();
            assert_eq!(text, "");
        }
        eventually("all are closed", || site.server.stats().closed == 3);
    }
}

#[test]
fn early_data_are_not_offered() {
    for variant in ENGINES {
        let site = Site::new(variant);
        let mut config = ClientConfig::clone(&site.config(&TLS13));
        config.enable_early_data = true;
        let config = Arc::new(config);
        for resumes in [false, true] {
            let mut client = Peer::new(site.server.address(), &config);
            assert!(client.session.early_data().is_none(), "after a session: {resumes}");
            client.shake_hands(usize::MAX);
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            site.answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").finish();
            let (text, end) = client.rest();
            assert!(text.ends_with("ok"), "{text}");
            assert_eq!(end, End::Eof);
            let is_resumed = client.session.handshake_kind() == Some(HandshakeKind::Resumed);
            assert_eq!(is_resumed, resumes);
        }
    }
}

#[test]
fn a_backend_learns_that_the_connection_is_encrypted() {
    for (variant, version) in each() {
        let site = Site::new(variant);
        let mut client = site.client(version);
        client.send(GET);
        let mut backend = site.backend.accept();
        assert_eq!(backend.head().field("X-Forwarded-Proto"), Some("https"));
        backend.send(OK);
        client.response("ok");
    }
}

#[test]
fn a_client_that_reads_nothing_holds_its_backend_back() {
    for (variant, version) in each() {
        let site = Site::new(variant);
        let mut client = site.client(version);
        client.send(GET);
        let mut backend = site.backend.accept();
        backend.head();
        backend.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        backend.stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        let part = vec![b'a'; 1 << 20];
        let taken = (0..1000).take_while(|_| backend.try_send(&part).is_ok()).count();
        assert!(taken < 100, "{taken} MB are in buffers");
        client.response("\r\n\r\n");
    }
}

/// Each engine with each version.
fn each() -> impl Iterator<Item = (Variant, &'static SupportedProtocolVersion)> {
    ENGINES.into_iter().flat_map(|variant| VERSIONS.map(|version| (variant, version)))
}
