//! The bytes that each connection of the client has received, from `ss`. They show starved connections and the fairness
//! among the other connections.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::run::child::printed;
use crate::run::histogram::Histogram;

/// A snapshot, taken shortly before the client ends.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RawSockets {
    /// Bytes received by each connection.
    pub(crate) received: Histogram,
    /// Milliseconds since the last received byte, or since the connection was opened.
    pub(crate) silent_ms: Histogram,
    /// Connections that are not established although the client has asked more than once (a SYN each second): the
    /// listen queue of the target is full.
    pub(crate) unopened: u64,
}

/// Takes a snapshot of the connections to an address, without the connections from the ports of the prober. None without
/// `ss`.
pub(crate) fn snapshot(to: SocketAddr, prober: &Mutex<BTreeSet<u16>>) -> Option<RawSockets> {
    let filter = format!("dst = {to}");
    let words = ["ss", "-tinH", "state", "established", "state", "syn-sent", &filter];
    of_client(|| printed(Path::new("."), &words).ok(), prober)
}

/// Parses the output of `ss`. A connection has two lines: its state, queues and addresses, then indented words
/// `name:value`. Values of 0 are omitted. Reads the ports after `ss` has ended, because the prober opens connections
/// while `ss` runs.
fn of_client(ss: impl FnOnce() -> Option<String>, prober: &Mutex<BTreeSet<u16>>) -> Option<RawSockets> {
    let (text, mut found) = (ss()?, RawSockets::default());
    let not_from = prober.lock().ok()?;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let port = line.split_whitespace().nth(3).and_then(|from| from.rsplit_once(':')?.1.parse().ok());
        let Some(info) = lines.next_if(|next| next.starts_with(char::is_whitespace)) else { continue };
        if port.is_none_or(|port| not_from.contains(&port)) {
            continue;
        }
        let number = |name: &str| {
            info.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse::<u64>().ok())
        };
        if line.starts_with("SYN-SENT") {
            found.unopened += u64::from(info.contains(" retrans:"));
        } else {
            found.received.record(number("bytes_received:").unwrap_or(0));
            found.silent_ms.record(number("lastrcv:").unwrap_or(0));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_two_lines() {
        let text = "ESTAB 0 54 127.0.0.1:1001 127.0.0.1:80\n\t bbr rto:204 bytes_received:234 lastsnd:1 lastrcv:12\n\
                    ESTAB 0 0  127.0.0.1:1002 127.0.0.1:80\n\t bbr rto:204 lastsnd:1 lastrcv:3000\n\
                    ESTAB 0 0  127.0.0.1:1003 127.0.0.1:80\n\t bbr bytes_received:9 lastrcv:1\n\
                    ESTAB 0 0  127.0.0.1:1004 127.0.0.1:80\n\t bbr bytes_received:300\n\
                    SYN-SENT 0 1 127.0.0.1:1005 127.0.0.1:80\n\t bbr rto:1000 lastsnd:600 lastrcv:4000 unacked:1 retrans:1/2 lost:1\n\
                    SYN-SENT 0 1 127.0.0.1:1006 127.0.0.1:80\n\t bbr rto:1000 lastsnd:1\n\
                    garbage\n";
        let sockets = of_client(|| Some(text.into()), &Mutex::new(BTreeSet::from([1003]))).unwrap();
        assert_eq!(sockets.received, Histogram::of(&[0, 234, 300]));
        assert_eq!(sockets.silent_ms, Histogram::of(&[0, 12, 3000]));
        assert_eq!(sockets.unopened, 1);
        assert_eq!(of_client(|| Some(String::new()), &Mutex::default()), Some(RawSockets::default()));
    }

    #[test]
    fn a_probe_that_is_sent_during_the_snapshot_is_no_connection_of_the_client() {
        let ports = Mutex::<BTreeSet<u16>>::default();
        let ss = || {
            ports.lock().unwrap().insert(1001);
            Some("SYN-SENT 0 1 127.0.0.1:1001 127.0.0.1:80\n\t bbr retrans:1/1\n".to_owned())
        };
        assert_eq!(of_client(ss, &ports), Some(RawSockets::default()));
    }
}
