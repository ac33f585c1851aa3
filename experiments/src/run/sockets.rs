//! The bytes that each connection of the client has received, from `ss`. They show starved connections and the fairness
//! among the other connections.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::run::histogram::Histogram;

/// A snapshot, taken shortly before the client ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawSockets {
    /// Bytes received by each connection.
    pub(crate) received: Histogram,
    /// Milliseconds since the last received byte, or since the connection was opened.
    pub(crate) silent_ms: Histogram,
}

/// Takes a snapshot of the connections to an address, without the connections from the ports `not_from`. None without
/// `ss`.
pub(crate) fn snapshot(to: SocketAddr, not_from: &BTreeSet<u16>) -> Option<RawSockets> {
    let filter = format!("dst = {to}");
    let output = Command::new("ss").args(["-tinH", "state", "established", &filter]).output().ok()?;
    output.status.success().then(|| parse(&String::from_utf8_lossy(&output.stdout), not_from))
}

/// Parses the output of `ss`. A connection has two lines: the addresses, then indented words `name:value`. Values of 0
/// are omitted.
fn parse(text: &str, not_from: &BTreeSet<u16>) -> RawSockets {
    let (mut received, mut silent_ms) = (Vec::new(), Vec::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let port = line.split_whitespace().nth(2).and_then(|from| from.rsplit_once(':')?.1.parse().ok());
        let Some(info) = lines.next_if(|next| next.starts_with(char::is_whitespace)) else { continue };
        if port.is_none_or(|port| not_from.contains(&port)) {
            continue;
        }
        let number = |name: &str| {
            info.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse::<u64>().ok())
        };
        received.push(number("bytes_received:").unwrap_or(0));
        silent_ms.push(number("lastrcv:").unwrap_or(0));
    }
    RawSockets { received: Histogram::of(&received), silent_ms: Histogram::of(&silent_ms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_two_lines() {
        let text = "0 54 127.0.0.1:1001 127.0.0.1:80\n\t bbr rto:204 bytes_received:234 lastsnd:1 lastrcv:12\n\
                    0 0  127.0.0.1:1002 127.0.0.1:80\n\t bbr rto:204 lastsnd:1 lastrcv:3000\n\
                    0 0  127.0.0.1:1003 127.0.0.1:80\n\t bbr bytes_received:9 lastrcv:1\n\
                    0 0  127.0.0.1:1004 127.0.0.1:80\n\t bbr bytes_received:300\n\
                    garbage\n";
        let sockets = parse(text, &BTreeSet::from([1003]));
        assert_eq!(sockets.received, Histogram::of(&[0, 234, 300]));
        assert_eq!(sockets.silent_ms, Histogram::of(&[0, 12, 3000]));
        assert_eq!(parse("", &BTreeSet::new()), RawSockets::default());
    }
}
