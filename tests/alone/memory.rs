//! A test that the program forwards 1 GiB in each direction with 64 MiB of memory.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;

use crate::harness::program::Program;
use crate::harness::scripted::Backend;
use crate::harness::wire::Wire;
use crate::harness::{VARIANTS, Variant};
use crate::own_cores;

const ALL: usize = 1 << 30;
const PART: usize = 64 * 1024;
/// The period of the bytes. No buffer size is a multiple of the period, so lost, repeated or moved bytes are noticed.
const PERIOD: usize = 65_521;

/// A source of the expected bytes: up to `PART` bytes at any offset.
struct Bytes(Vec<u8>);

impl Bytes {
    fn new() -> Self {
        Bytes((0..PERIOD + PART).map(|i| ((i % PERIOD) * 31 / 7) as u8).collect())
    }

    fn at(&self, offset: usize, len: usize) -> &[u8] {
        &self.0[offset % PERIOD..][..len]
    }

    fn write(&self, mut out: impl Write, chunked: bool) {
        for offset in (0..ALL).step_by(PART) {
            let part = self.at(offset, PART);
            if chunked {
                write!(out, "{PART:x}\r\n").unwrap();
            }
            out.write_all(part).unwrap();
            if chunked {
                out.write_all(b"\r\n").unwrap();
            }
        }
        if chunked {
            out.write_all(b"0\r\n\r\n").unwrap();
        }
    }

    /// Reads `len` bytes and compares them with the expected bytes at `offset`.
    fn check(&self, mut input: impl Read, offset: usize, len: usize) {
        let mut part = [0; PART];
        for from in (0..len).step_by(PART) {
            let part = &mut part[..PART.min(len - from)];
            input.read_exact(part).unwrap();
            assert!(*part == *self.at(offset + from, part.len()), "other bytes from {} on", offset + from);
        }
    }

    fn check_chunks(&self, mut input: impl BufRead) {
        let (mut offset, mut line) = (0, String::new());
        loop {
            line.clear();
            input.read_line(&mut line).unwrap();
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            self.check(&mut input, offset, size);
            offset += size;
            input.read_exact(&mut [0; 2]).unwrap();
            if size == 0 {
                assert_eq!(offset, ALL);
                return;
            }
        }
    }
}

fn passes(variant: Variant) {
    let backend = Backend::start(variant);
    let program = Program::start("balance", variant, &["--backend", &backend.address().to_string()]);
    let bytes = Bytes::new();
    let raw = |wire: &Wire| -> TcpStream { wire.stream.try_clone().unwrap() };
    let mut client = program.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut peer = backend.accept_request();
    peer.head();
    peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {ALL}\r\n\r\n"));
    assert_eq!(client.head().status(), 200);
    thread::scope(|scope| {
        scope.spawn(|| bytes.write(raw(&peer), false));
        bytes.check(raw(&client), 0, ALL);
    });
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    peer.head();
    thread::scope(|scope| {
        scope.spawn(|| bytes.write(raw(&client), true));
        bytes.check_chunks(BufReader::with_capacity(PART, raw(&peer)));
    });
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_eq!(client.message().text(), "ok");
    let peak = program.peak_kib();
    assert!(peak < 64 * 1024, "{peak} KiB");
}

#[test]
fn a_gibibyte_passes_either_way() {
    let _cores = own_cores();
    // The variants run one after the other, so each variant has the whole machine.
    for variant in VARIANTS {
        passes(variant);
    }
}
