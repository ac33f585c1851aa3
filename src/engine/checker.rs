//! Active checks of the backends: one thread, off the request path. The rules are in [`CheckSettings`], and what a series
//! of results means is decided in `cluster/health/active.rs`.
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use smol::channel::{Receiver, Sender, bounded};
use smol::{LocalExecutor, Task, Timer, future};

use super::probe::Probe;
use super::transport::TransformFactory;
use crate::cluster::chance::Random;
use crate::cluster::{Backend, BackendId, CheckRequest, CheckSettings, CheckState};
use crate::http::head::{FieldSlots, HeadLimits, HeadScan, Method};
use crate::router::{NamedCluster, Router};

/// Maximum bytes of a response that a check reads.
const RESPONSE_MAX: usize = 64 * 1024;
/// The interval at which the checker notices new members and new settings.
const MEMBERS: Duration = Duration::from_millis(200);

/// The thread that checks the backends of all clusters. Dropping it ends the thread.
#[derive(Debug)]
pub struct Checker {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

/// The reason for a failed check.
#[derive(Debug)]
enum CheckError {
    /// The connection could not be made, or broke.
    Io(io::Error),
    /// The check took too long.
    TimedOut,
    /// The response was not valid HTTP, or did not end within the limit.
    NotHttp,
    /// The response had another status.
    Status(u16),
    /// The body did not contain the text.
    NoText,
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckError::Io(error) => write!(f, "{error}"),
            CheckError::TimedOut => f.write_str("no answer in time"),
            CheckError::NotHttp => f.write_str("the answer is not HTTP"),
            CheckError::Status(status) => write!(f, "the status is {status}"),
            CheckError::NoText => f.write_str("the body does not contain the expected text"),
        }
    }
}

impl From<io::Error> for CheckError {
    fn from(error: io::Error) -> Self {
        CheckError::Io(error)
    }
}

impl Checker {
    /// Starts the checks of the clusters that have some ([`NamedCluster::checks`]). Clusters, backends and rules that the
    /// router gets later count too.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(app: Arc<Router>) -> io::Result<Checker> {
        let (stop, stopped) = bounded(1);
        begin(&app.clusters());
        let work = move || {
            let executor = LocalExecutor::new();
            let checks = Checks { app: &app, executor: &executor };
            future::block_on(executor.run(checks.run(&stopped)));
        };
        let thread = thread::Builder::new().name("neraca-checks".into()).spawn(work)?;
        Ok(Checker { stop, thread: Some(thread) })
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.stop.close();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported already.
            let _ = thread.join();
        }
    }
}

/// A backend that is checked. Dropping the task ends it.
struct Checked {
    backend: Arc<Backend>,
    settings: Rc<CheckSettings>,
    _task: Task<()>,
}

/// The checks of all backends. Each backend has a task.
struct Checks<'a> {
    app: &'a Arc<Router>,
    executor: &'a LocalExecutor<'static>,
}

impl Checks<'_> {
    /// Keeps a task for each member of a cluster with checks, until `stopped` is closed.
    async fn run(&self, stopped: &Receiver<()>) {
        let mut running: BTreeMap<BackendId, Checked> = BTreeMap::new();
        loop {
            let clusters = self.app.clusters();
            begin(&clusters);
            let mut wanted: BTreeMap<BackendId, (Arc<Backend>, &CheckSettings)> = BTreeMap::new();
            for (cluster, settings) in clusters.iter().filter_map(|one| Some((&one.cluster, one.checks()?))) {
                let members = cluster.members();
                wanted.extend(members.backends().iter().map(|one| (one.id(), (Arc::clone(one), settings))));
            }
            running.retain(|id, checked| match wanted.get(id) {
                Some((_, settings)) => **settings == *checked.settings,
                None => {
                    checked.backend.end_checks();
                    false
                }
            });
            for (id, (backend, settings)) in wanted {
                running.entry(id).or_insert_with(|| {
                    let settings = Rc::new(settings.clone());
                    let checks = check_for_ever(Arc::clone(&backend), Rc::clone(&settings));
                    Checked { backend, settings, _task: self.executor.spawn(checks) }
                });
            }
            let ended = async {
                let _ = stopped.recv().await;
                true
            };
            let wait = async {
                Timer::after(MEMBERS).await;
                false
            };
            if future::or(ended, wait).await {
                return;
            }
        }
    }
}

/// Sets the state of the backends that were never checked.
fn begin(clusters: &[NamedCluster]) {
    for one in clusters {
        if let Some(settings) = one.checks() {
            one.cluster.begin_checks(settings);
        }
    }
}

/// Checks one backend again and again.
async fn check_for_ever(backend: Arc<Backend>, settings: Rc<CheckSettings>) {
    let mut random = Random::new(u64::from(backend.address().port()), 0);
    loop {
        let begun = Instant::now();
        let result = check(backend.address(), backend.transform(), &settings).await;
        note(&backend, &result, &settings);
        // From nine to eleven tenths of the interval.
        let tenths = 900 + random.below(201) as u32;
        let pause = settings.interval * tenths / 1000;
        Timer::at(begun + pause).await;
    }
}

fn note(backend: &Backend, result: &Result<(), CheckError>, settings: &CheckSettings) {
    let changed = backend.note_check(result.is_ok(), settings);
    match (changed, result) {
        (Some(CheckState::Up), _) => log::warn!("backend {} is up", backend.address()),
        (Some(_), Err(reason)) => log::warn!("backend {} is down: {reason}", backend.address()),
        _ => {}
    }
}

/// Makes one check. A check without a request only connects, also when the backend has a transform. Another port than that
/// of the backend has no transform.
async fn check(
    address: SocketAddr,
    transform: Option<&TransformFactory>,
    settings: &CheckSettings,
) -> Result<(), CheckError> {
    let transform = transform.filter(|_| settings.request.is_some() && settings.port.is_none());
    let address = SocketAddr::new(address.ip(), settings.port.unwrap_or(address.port()));
    let attempt = async {
        let mut probe = Probe::connect(address, transform).await?;
        match &settings.request {
            Some(request) => ask(&mut probe, address, request).await,
            None => Ok(()),
        }
    };
    let late = async {
        Timer::after(settings.timeout).await;
        Err(CheckError::TimedOut)
    };
    future::or(attempt, late).await
}

/// Sends the request of a check, and compares the response. The request is HTTP/1.0, so the body has no chunks.
async fn ask(probe: &mut Probe, address: SocketAddr, request: &CheckRequest) -> Result<(), CheckError> {
    let host = request.host.clone().unwrap_or_else(|| address.to_string());
    let head = format!("GET {} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: neraca-check\r\n\r\n", request.path);
    probe.write(head.as_bytes()).await?;
    let mut bytes = vec![0; RESPONSE_MAX];
    let (mut filled, mut scan, mut body) = (0, HeadScan::default(), None);
    loop {
        let read = probe.read(&mut bytes[filled..]).await?;
        filled += read;
        if body.is_none() {
            let mut slots = FieldSlots::new();
            let limits = HeadLimits::default();
            let head = scan.response(&bytes[..filled], Method::Get, &limits, &mut slots);
            if let Some(head) = head.map_err(|_| CheckError::NotHttp)? {
                let expected = match request.status {
                    Some(status) => head.status == status,
                    None => (200..400).contains(&head.status),
                };
                if !expected {
                    return Err(CheckError::Status(head.status));
                }
                body = Some(head.len);
            }
        }
        let Some(text) = &request.contains else {
            match body {
                Some(_) => return Ok(()),
                None if read == 0 => return Err(CheckError::NotHttp),
                None => continue,
            }
        };
        if body.is_some_and(|at| contains(&bytes[at..filled], text.as_bytes())) {
            return Ok(());
        }
        if read == 0 || filled == bytes.len() {
            return Err(if body.is_some() { CheckError::NoText } else { CheckError::NotHttp });
        }
    }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A backend that answers one connection with these bytes; None: it accepts and does not answer.
    fn answers(bytes: Option<&'static str>) -> (SocketAddr, JoinHandle<String>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            let mut part = [0; 512];
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read(&mut part) {
                    Ok(0) | Err(_) => break,
                    Ok(read) => request.extend_from_slice(&part[..read]),
                }
            }
            match bytes {
                // The client may have gone when it has read enough.
                Some(bytes) => drop(stream.write_all(bytes.as_bytes())),
                None => drop(stream.read(&mut part)),
            }
            String::from_utf8(request).unwrap()
        });
        (address, thread)
    }

    fn request(status: Option<u16>, contains: Option<&str>) -> Option<CheckRequest> {
        let (host, contains) = (None, contains.map(str::to_owned));
        Some(CheckRequest { path: "/up?x=1".into(), host, status, contains })
    }

    #[test]
    fn a_check_is_good_when_status_and_text_are_as_expected() {
        const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready";
        // answer, expected status and text, the end of the check
        let cases: [(&'static str, Option<u16>, Option<&str>, &str); 10] = [
            (OK, None, None, "good"),
            (OK, Some(200), Some("ready"), "good"),
            (OK, None, Some("ead"), "good"),
            (OK, Some(204), None, "the status is 200"),
            (OK, None, Some("steady"), "the body does not contain the expected text"),
            ("HTTP/1.0 302 Found\r\n\r\n", None, None, "good"),
            ("HTTP/1.1 503 Busy\r\n\r\nready", None, Some("ready"), "the status is 503"),
            ("HTTP/1.1 503 Busy\r\n\r\n", Some(503), None, "good"),
            ("SSH-2.0-x\r\n", None, None, "the answer is not HTTP"),
            ("HTTP/1.1 200 OK\r\nContent-Le", None, None, "the answer is not HTTP"),
        ];
        for (answer, status, text, expected) in cases {
            let (address, thread) = answers(Some(answer));
            let settings = CheckSettings { request: request(status, text), ..CheckSettings::default() };
            let said = match future::block_on(check(address, None, &settings)) {
                Ok(()) => "good".to_owned(),
                Err(error) => error.to_string(),
            };
            assert_eq!(said, expected, "{answer:?}");
            let request = thread.join().unwrap();
            assert!(request.starts_with("GET /up?x=1 HTTP/1.0\r\nHost: 127.0.0.1:"), "{request}");
        }
    }

    #[test]
    fn a_check_fails_when_nobody_listens_or_answers() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let timeout = Duration::from_millis(50);
        let connect = CheckSettings { timeout, ..CheckSettings::default() };
        assert!(future::block_on(check(address, None, &connect)).is_ok(), "a connection is enough");
        let transform = TransformFactory::new(|| unreachable!("a check without a request has no handshake"));
        assert!(future::block_on(check(address, Some(&transform), &connect)).is_ok());
        let elsewhere = CheckSettings { port: Some(address.port()), ..connect.clone() };
        let nobody = TcpListener::bind(("127.0.0.1", 0)).and_then(|one| one.local_addr()).unwrap();
        assert!(future::block_on(check(nobody, None, &elsewhere)).is_ok(), "the other port is checked");
        drop(listener);
        assert!(matches!(future::block_on(check(address, None, &connect)), Err(CheckError::Io(_))));
        let (address, thread) = answers(None);
        let silent = CheckSettings { timeout, request: request(None, None), ..CheckSettings::default() };
        assert!(matches!(future::block_on(check(address, None, &silent)), Err(CheckError::TimedOut)));
        thread.join().unwrap();
    }
}
