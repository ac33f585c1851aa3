//! Counters of the handshakes with clients.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustls::Error;

/// The handshakes of this process. All its listeners and their successors after a reload share the counters.
pub static HANDSHAKES: Handshakes = Handshakes::new();

/// Counters of handshakes. All workers share them: a handshake takes so long that they do not contend for them.
#[derive(Debug)]
pub struct Handshakes {
    /// By version, 1.2 and 1.3, and then full or resumed.
    complete: [[AtomicU64; 2]; 2],
    failed: [AtomicU64; Failure::ALL.len()],
}

/// The reason why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The client speaks HTTP without TLS, or another protocol.
    Plain,
    /// The two sides have no version, cipher or protocol in common.
    Incompatible,
    /// The certificate of the client is missing or not accepted.
    Certificate,
    /// The client has sent an alert. For example, it does not accept our certificate.
    Alert,
    /// The bytes of the client are invalid.
    Invalid,
    /// The client left, or did not go on in time.
    Abandoned,
}

impl Failure {
    const ALL: [(Failure, &'static str); 6] = [
        (Failure::Plain, "no_tls"),
        (Failure::Incompatible, "nothing_in_common"),
        (Failure::Certificate, "client_certificate"),
        (Failure::Alert, "alert"),
        (Failure::Invalid, "invalid"),
        (Failure::Abandoned, "abandoned"),
    ];

    /// Returns the reason for an error of rustls.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Failure::Incompatible,
            Error::NoCertificatesPresented | Error::InvalidCertificate(_) => Failure::Certificate,
            Error::AlertReceived(_) => Failure::Alert,
            _ => Failure::Invalid,
        }
    }
}

impl Default for Handshakes {
    fn default() -> Self {
        Handshakes::new()
    }
}

impl Handshakes {
    /// No handshake yet.
    pub const fn new() -> Self {
        Handshakes {
            complete: [const { [const { AtomicU64::new(0) }; 2] }; 2],
            failed: [const { AtomicU64::new(0) }; Failure::ALL.len()],
        }
    }

    /// Counts a complete handshake. `is_old` says that its version is TLS 1.2.
    pub(super) fn note(&self, is_old: bool, is_resumed: bool) {
        self.complete[usize::from(!is_old)][usize::from(is_resumed)].fetch_add(1, Relaxed);
    }

    /// Counts a failed handshake.
    pub(super) fn note_failure(&self, failure: Failure) {
        self.failed[failure as usize].fetch_add(1, Relaxed);
    }

    /// Returns the complete handshakes: the version, `full` or `resumed`, and the number.
    pub fn complete(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let versions = ["1.2", "1.3"].into_iter().zip(&self.complete);
        versions.flat_map(|(version, kinds)| {
            let kinds = ["full", "resumed"].into_iter().zip(kinds);
            kinds.map(move |(kind, count)| (version, kind, count.load(Relaxed)))
        })
    }

    /// Returns the failed handshakes: the reason and the number.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.failed.iter().map(|count| count.load(Relaxed));
        Failure::ALL.into_iter().map(|(_, name)| name).zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use rustls::{AlertDescription, InvalidMessage, PeerIncompatible};

    use super::*;

    #[test]
    fn every_handshake_is_counted_at_its_place() {
        let handshakes = Handshakes::new();
        handshakes.note(true, false);
        (0..2).for_each(|_| handshakes.note(true, true));
        (0..3).for_each(|_| handshakes.note(false, false));
        (0..4).for_each(|_| handshakes.note(false, true));
        let complete: Vec<_> = handshakes.complete().collect();
        assert_eq!(
            complete,
            [("1.2", "full", 1), ("1.2", "resumed", 2), ("1.3", "full", 3), ("1.3", "resumed", 4)]
        );
        for (place, (failure, name)) in Failure::ALL.into_iter().enumerate() {
            (0..=place).for_each(|_| handshakes.note_failure(failure));
            assert_eq!(handshakes.failed().nth(place), Some((name, place as u64 + 1)));
        }
    }

    #[test]
    fn an_error_has_a_reason() {
        let cases = [
            (Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), Failure::Incompatible),
            (Error::NoApplicationProtocol, Failure::Incompatible),
            (Error::NoCertificatesPresented, Failure::Certificate),
            (Error::AlertReceived(AlertDescription::UnknownCA), Failure::Alert),
            (Error::InvalidMessage(InvalidMessage::InvalidCcs), Failure::Invalid),
        ];
        for (error, expected) in cases {
            assert_eq!(Failure::of(&error), expected, "{error}");
        }
    }
}
