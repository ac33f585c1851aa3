//! Measures how many POSTs get a 502 because their backend closes kept connections: `cargo bench --bench kept`.
//!
//! 16 clients send a POST at random times, on average every 100 ms, to 16 backends in turn. The backends close a connection
//! after 100 ms without a request, or after a random time from 50 to 150 ms. The close is seen at once, or after 5 ms, as
//! on a network with a round-trip time of 5 ms. The program fails if a backend got a POST twice.

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::scripted::Closing;
use harness::{CROSSBEAM, EDGE, Server, Variant};
use neraca::cluster::{BackendSettings, Cluster, ClusterSettings, HealthSettings, Policy};
use neraca::router::Router;

const TIME: Duration = Duration::from_secs(20);
const CLIENTS: u64 = 16;

/// A number below 1000 that looks random.
fn chance(n: u64) -> u64 {
    let mixed = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33) % 1000
}

fn fixed(_: u64) -> Duration {
    Duration::from_millis(100)
}

fn random(n: u64) -> Duration {
    Duration::from_micros(50_000 + chance(n) * 100)
}

/// Returns the number of POSTs, of those with a 502, and of new connections.
fn measure(variant: Variant, idle: fn(u64) -> Duration, window: Duration) -> (u64, u64, u64) {
    let backends: Vec<Closing> = (0..CLIENTS).map(|_| Closing::start(idle, window)).collect();
    let settings = ClusterSettings {
        policy: Policy::RoundRobin,
        health: HealthSettings { passive: false, ..HealthSettings::default() },
        ..ClusterSettings::default()
    };
    let members: Vec<BackendSettings> = backends.iter().map(|backend| backend.address.into()).collect();
    let cluster = Cluster::with_settings(&members, settings, 1, Instant::now());
    let server = Server::start(Router::new(cluster), variant.options());
    let (posts, failed, end) = (AtomicU64::new(0), AtomicU64::new(0), Instant::now() + TIME);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (server, posts, failed) = (&server, &posts, &failed);
            scope.spawn(move || {
                let mut client = server.client();
                let mut n = number << 32;
                while Instant::now() < end {
                    n += 1;
                    thread::sleep(Duration::from_micros(200 * chance(n)));
                    client.send(format!("POST /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
                    posts.fetch_add(1, Relaxed);
                    failed.fetch_add(u64::from(client.message().status() == 502), Relaxed);
                }
            });
        }
    });
    let mut seen = HashSet::new();
    for (line, times) in backends.iter().flat_map(|backend| backend.seen.lock().clone()) {
        assert!(times == 1 && seen.insert(line.clone()), "sent twice: {line}");
    }
    (posts.into_inner(), failed.into_inner(), server.stats().connected)
}

fn main() {
    println!("engine  closes after    seen after   POSTs  with 502  connections");
    for (engine, variant) in [("thread", CROSSBEAM), ("async ", EDGE)] {
        for (name, idle) in [("100 ms      ", fixed as fn(u64) -> Duration), ("50 to 150 ms", random)] {
            for window in [Duration::ZERO, Duration::from_millis(5)] {
                let (posts, failed, connected) = measure(variant, idle, window);
                println!("{engine}  {name}   {window:>10?} {posts:>7} {failed:>9} {connected:>12}");
            }
        }
    }
}
