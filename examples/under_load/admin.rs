//! Measures the latency of requests beside the clients of an admin listener.
//!
//! 300 clients take time of the CPUs wherever they connect. So there are three measurements in each round: without such
//! clients, with 300 clients of the admin listener of another idle balancer, and with 300 clients of the admin listener of the
//! balancer that serves the requests. The last two differ only in what the clients do to this balancer. 100 clients each
//!
//! - send the head of a request slowly;
//! - send bytes that are no request, or break off, and connect again every 10 ms;
//! - get `/metrics` in a loop.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::service::{Service, servers};
use crate::wrk::Wrk;
use crate::{Arguments, Outcome};

const CLIENTS: usize = 300;
const ROUNDS: usize = 10;
const SECONDS: u64 = 3;
/// Connections of wrk. With more, the queues before the CPUs would hide what the admin clients do.
const CONNECTIONS: usize = 20;

pub(crate) fn run(arguments: &Arguments, place: &Path, engine: &str) -> Outcome<bool> {
    let (_servers, backends) = servers(arguments, place, engine, 3)?;
    let balancer =
        |name| Service::balance(arguments, place, name, engine, &backends, &["--admin", "127.0.0.1:0"]);
    let (here, elsewhere) = (balancer("here")?, balancer("elsewhere")?);
    let url = format!("http://{}/", here.addresses[0]);
    Wrk::start(&url, 1, CONNECTIONS)?.finish()?;
    let places = [None, elsewhere.admin, here.admin];
    let (mut p99s, mut failed) = (vec![[0.0; 3]; ROUNDS], 0);
    for (round, p99) in p99s.iter_mut().enumerate() {
        // Each round begins with another of the three.
        for turn in 0..places.len() {
            let which = (round + turn) % places.len();
            let clients = places[which].map(Clients::start);
            let load = Wrk::start(&url, SECONDS, CONNECTIONS)?.finish()?;
            drop(clients);
            p99[which] = load.p99_ms;
            failed += load.failed;
        }
    }
    let median_of = |which: usize| middle(p99s.iter().map(|p99| p99[which]).collect())[1];
    println!(
        "{engine}: p99 {:.2} ms without admin clients, {:.2} ms with {CLIENTS} elsewhere, {:.2} ms with {CLIENTS} here; \
         {failed} requests failed",
        median_of(0),
        median_of(1),
        median_of(2)
    );
    for (one, other, what) in [(2, 1, "here / elsewhere"), (1, 0, "elsewhere / none"), (2, 0, "here / none")]
    {
        let [low, median, high] = middle(p99s.iter().map(|p99| p99[one] / p99[other]).collect());
        println!("{engine}:   {what}: {median:.2} ({low:.2} to {high:.2})");
    }
    Ok(failed == 0)
}

/// Returns the second lowest value, the median and the second highest value. Between the second ones of ten rounds lies the
/// true median with a probability of 97.9 %.
fn middle(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    [values[1], (values[last / 2] + values[values.len() / 2]) / 2.0, values[last - 1]]
}

/// Clients that run until they are dropped.
struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(admin: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |number: usize| {
            let stop = Arc::clone(&stop);
            let visit = [slow, broken, scrape][number % 3];
            thread::spawn(move || {
                while !stop.load(Relaxed) {
                    // The listener may refuse and close as it likes.
                    if visit(admin, &stop).is_err() {
                        thread::sleep(Duration::from_millis(10));
                    }
                }
            })
        };
        let threads = (0..CLIENTS).map(client).collect();
        Clients { stop, threads }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn connect(admin: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    Ok(stream)
}

fn slow(admin: SocketAddr, stop: &AtomicBool) -> std::io::Result<()> {
    let mut stream = connect(admin)?;
    for byte in b"GET /status.json HTTP/1.1\r\nHost: a\r\n\r\n".iter().cycle() {
        if stop.load(Relaxed) {
            break;
        }
        stream.write_all(&[*byte])?;
        thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn broken(admin: SocketAddr, _stop: &AtomicBool) -> std::io::Result<()> {
    connect(admin)?.write_all(b"\x16\x03\x01 no request\r\n\r\n")?;
    connect(admin)?.write_all(b"GET /metrics HTTP/1.1\r\nHo")?;
    thread::sleep(Duration::from_millis(10));
    Ok(())
}

fn scrape(admin: SocketAddr, stop: &AtomicBool) -> std::io::Result<()> {
    let mut stream = connect(admin)?;
    let mut bytes = [0; 16 * 1024];
    while !stop.load(Relaxed) {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")?;
        // One read waits for the answer; what is left of it comes with the next one.
        if stream.read(&mut bytes)? == 0 {
            break;
        }
    }
    Ok(())
}
