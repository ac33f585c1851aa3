//! Sends every case through a balancer and judges it.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::grade::cases::{self, Case, CaseResult, Outcome};
use crate::grade::choice::cell;
use crate::plans::model::Target;
use crate::run::lab::{Lab, Trouble, backend_ports, failed};
use crate::run::message::Unfinished;
use crate::run::origin::Origins;

/// Maximum time for the responses of a case.
const ANSWER: Duration = Duration::from_millis(2000);
/// Time for bytes that should not follow the last response.
const LINGER: Duration = Duration::from_millis(40);
/// Maximum time for the plain request between two cases.
const RECOVERY: Duration = Duration::from_millis(500);

/// Runs every case: those of requests, then those of responses. Returns the results and the command of the balancer.
///
/// The balancer is started anew after each bad response, and whenever a plain request fails: a balancer may take bad
/// backends out of use for a while.
pub(crate) fn run(lab: &Lab, target: &Target) -> Result<([Vec<CaseResult>; 2], String), Trouble> {
    let all = cases::all();
    let origins = Origins::start(&backend_ports(target)?).map_err(failed("--backends"))?;
    let mut server = lab.target(target, &cell(), &origins.ports)?;
    let mut results = [Vec::new(), Vec::new()];
    for case in &all {
        lab.pause(Duration::ZERO)?;
        let result = attempt(case, &origins, server.address(), ANSWER);
        let was_bad = case.response.is_some() && result.outcome != Outcome::Forwarded;
        results[usize::from(case.response.is_some())].push(result);
        if was_bad || !attempt(&all[0], &origins, server.address(), RECOVERY).passed {
            // The old process must end before the new one takes its port.
            drop(server);
            server = lab.target(target, &cell(), &origins.ports)?;
        }
    }
    Ok((results, lab.shorten(&server.command)))
}

fn attempt(case: &Case, origins: &Origins, address: SocketAddr, patience: Duration) -> CaseResult {
    origins.reset(case.response.as_deref());
    // Without a connection, nothing was received.
    let (received, ended) = exchange(case, address, patience).unwrap_or_default();
    case.judge(&received, ended, &origins.seen())
}

/// Sends the request of a case, and reads until every response is complete, the connection ends, or the time is over.
/// Returns the received bytes, and true when the balancer closed the connection.
fn exchange(case: &Case, address: SocketAddr, patience: Duration) -> io::Result<(Vec<u8>, bool)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(patience))?;
    // The balancer may refuse and close before it has read everything.
    let _ = stream.write_all(&case.request);
    let mut received = Vec::new();
    let deadline = Instant::now() + patience;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (responses, rest) = case.responses(&received, false);
        let complete = rest.is_none()
            && (responses.len() >= case.count.unwrap_or(1) || responses.iter().any(|r| r.status >= 400));
        let left = deadline.saturating_duration_since(Instant::now());
        let left = if complete { left.min(LINGER) } else { left };
        if left.is_zero() || rest == Some(Unfinished::Invalid) {
            return Ok((received, false));
        }
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut buffer) {
            Ok(n @ 1..) => received.extend_from_slice(&buffer[..n]),
            // The time is over.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((received, false)),
            Ok(_) | Err(_) => return Ok((received, true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a balancer, the backend itself gets the bytes: it accepts what is valid, and reads nothing else. The client
    /// sees how a response is broken.
    #[test]
    fn backend_and_client_read_strictly() {
        let all = cases::all();
        let is_valid = |case: &&Case| case.response.is_none() && case.allowed == [Outcome::Forwarded];
        let valid = all.iter().filter(is_valid).map(|case| (&*case.name, Outcome::Forwarded));
        let cases = [
            ("lengths that differ", Outcome::Other),
            ("length with a sign", Outcome::Other),
            ("chunked twice", Outcome::Other),
            ("space before a colon", Outcome::Other),
            ("until the close", Outcome::Forwarded),
            ("length to HEAD", Outcome::Forwarded),
            ("end within the body", Outcome::Broken),
            ("end within a chunk", Outcome::Broken),
            ("no HTTP", Outcome::Other),
        ];
        for (name, expected) in valid.chain(cases) {
            let case = all.iter().find(|case| case.name == name).unwrap();
            let origins = Origins::start(&[0]).unwrap();
            let judged = attempt(case, &origins, ([127, 0, 0, 1], origins.ports[0]).into(), ANSWER);
            assert_eq!(judged.outcome, expected, "{name}: {judged:?}");
            // A request that is not valid is not read.
            let may_be_read = case.response.is_some() || expected == Outcome::Forwarded;
            assert!(may_be_read || origins.seen().requests.is_empty(), "{name}: {judged:?}");
        }
    }
}
