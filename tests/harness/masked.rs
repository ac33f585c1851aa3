//! A transform for tests, in place of TLS: small records of masked bytes, a handshake, an end marker.
//!
//! A record is a byte with its kind and length, and a masked payload of at most seven bytes. The key of a direction
//! changes with each payload byte, so one byte that is lost or repeated spoils all records behind it. The client begins
//! the handshake with a hello. The server asks in two messages, and waits for the answer before it welcomes the client.

use std::io::{self, ErrorKind};

use neraca::engine::{Transform, TransformFactory};

/// Maximum payload bytes of a record.
const PAYLOAD_MAX: usize = 7;

/// Data records between two notes.
const RECORDS_PER_NOTE: u32 = 61;

/// The kinds of records, in the upper bits of the first byte.
const DATA: u8 = 0x00;
const HANDSHAKE: u8 = 0x10;
const NOTE: u8 = 0x20;
const END: u8 = 0x30;

const HELLO: &[u8] = b"hello";
const ASKS: [&[u8]; 2] = [b"who", b"is it"];
const ANSWER: &[u8] = b"it is I";
const WELCOME: &[u8] = b"ok";
const FAREWELL: &[u8] = b"bye";

/// The side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Begins the handshake.
    Client,
    Server,
}

/// The state of one end of a connection.
#[derive(Debug)]
pub(crate) struct Masked {
    role: Role,
    /// Received messages of the handshake.
    heard: usize,
    begun: bool,
    /// Sends a note, which means nothing, behind every few data records that were received.
    notes: bool,
    records: u32,
    partial: Vec<u8>,
    key_in: u8,
    key_out: u8,
    has_ended: bool,
    peer_has_ended: bool,
}

impl Masked {
    pub(crate) fn new(role: Role) -> Self {
        let (key_in, key_out) = if role == Role::Client { (195, 90) } else { (90, 195) };
        Masked {
            role,
            heard: 0,
            begun: false,
            notes: false,
            records: 0,
            partial: Vec::new(),
            key_in,
            key_out,
            has_ended: false,
            peer_has_ended: false,
        }
    }

    /// The same, and sends notes.
    pub(crate) fn with_notes(role: Role) -> Self {
        Masked { notes: true, ..Masked::new(role) }
    }

    fn put(&mut self, kind: u8, payload: &[u8], out: &mut Vec<u8>) {
        out.push(kind | payload.len() as u8);
        out.extend(payload.iter().map(|byte| {
            let masked = byte ^ self.key_out;
            self.key_out = next_key(self.key_out, *byte);
            masked
        }));
    }

    /// The answers to a message of the handshake.
    fn answer(&mut self, message: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let expected = match self.role {
            Role::Server => [HELLO, ANSWER].get(self.heard),
            Role::Client => [ASKS[0], ASKS[1], WELCOME].get(self.heard),
        };
        if expected.is_none_or(|expected| *expected != message) {
            return Err(ErrorKind::InvalidData.into());
        }
        self.heard += 1;
        match (self.role, self.heard) {
            (Role::Server, 1) => ASKS.iter().for_each(|ask| self.put(HANDSHAKE, ask, out)),
            (Role::Client, 2) => self.put(HANDSHAKE, ANSWER, out),
            (Role::Server, 2) => self.put(HANDSHAKE, WELCOME, out),
            _ => {}
        }
        Ok(())
    }

    fn take_record(
        &mut self,
        kind: u8,
        payload: &[u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        match kind {
            HANDSHAKE => return self.answer(payload, out),
            END if payload == FAREWELL => self.peer_has_ended = true,
            NOTE if payload == [self.role as u8] => {}
            DATA if !payload.is_empty() && !self.is_handshaking() => {
                plain.extend_from_slice(payload);
                self.records += 1;
                if self.notes && !self.has_ended && self.records.is_multiple_of(RECORDS_PER_NOTE) {
                    let to = if self.role == Role::Client { Role::Server } else { Role::Client };
                    self.put(NOTE, &[to as u8], out);
                }
            }
            _ => return Err(ErrorKind::InvalidData.into()),
        }
        Ok(())
    }
}

fn next_key(key: u8, plain: u8) -> u8 {
    key.wrapping_mul(29).wrapping_add(plain).wrapping_add(1)
}

impl Transform for Masked {
    fn decode(&mut self, received: &[u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.extend_from_slice(received);
        let mut at = 0;
        while let Some(first) = bytes.get(at) {
            let (kind, len) = (first & 0xf0, usize::from(first & 0x0f));
            if len > PAYLOAD_MAX || self.peer_has_ended {
                return Err(ErrorKind::InvalidData.into());
            }
            let Some(masked) = bytes.get(at + 1..at + 1 + len) else { break };
            let mut payload = [0; PAYLOAD_MAX];
            for (byte, masked) in payload.iter_mut().zip(masked) {
                *byte = masked ^ self.key_in;
                self.key_in = next_key(self.key_in, *byte);
            }
            self.take_record(kind, &payload[..len], plain, out)?;
            at += 1 + len;
        }
        self.partial = bytes[at..].to_vec();
        Ok(())
    }

    fn encode(&mut self, plain: [&[u8]; 2], out: &mut Vec<u8>) -> io::Result<usize> {
        let plain = plain.concat();
        let mut plain = plain.as_slice();
        if self.role == Role::Client && !std::mem::replace(&mut self.begun, true) {
            self.put(HANDSHAKE, HELLO, out);
        }
        if self.is_handshaking() {
            return Ok(0);
        }
        assert!(!self.has_ended, "bytes behind the end marker");
        let taken = plain.len();
        while !plain.is_empty() {
            let n = (1 + usize::from(self.key_out) % PAYLOAD_MAX).min(plain.len());
            self.put(DATA, &plain[..n], out);
            plain = &plain[n..];
        }
        Ok(taken)
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        assert!(!self.has_ended, "two end markers");
        self.put(END, FAREWELL, out);
        self.has_ended = true;
    }

    fn is_handshaking(&self) -> bool {
        self.heard < if self.role == Role::Client { 3 } else { 2 }
    }

    fn peer_has_ended(&self) -> bool {
        self.peer_has_ended
    }
}

/// Makes the engine's end of each connection. The engine sends notes to clients. A scripted backend closes its
/// connection without reading notes, which would make the close a reset.
pub(crate) fn factory(role: Role) -> TransformFactory {
    TransformFactory::new(move || match role {
        Role::Client => Box::new(Masked::new(role)),
        Role::Server => Box::new(Masked::with_notes(role)),
    })
}
