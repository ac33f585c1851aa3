//! Changes the configuration file every 100 ms: backends come and go, the settings of their cluster change, and each tenth file
//! has an error. Checks that
//!
//! - no request fails, as wrk and `/metrics` count them;
//! - upgraded connections that were open before still echo after it;
//! - the memory of the program stays level.
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::service::{Service, servers};
use crate::wrk::Wrk;
use crate::{Arguments, Outcome};

const PERIOD: Duration = Duration::from_millis(100);
const BACKENDS: usize = 5;
const TUNNELS: usize = 50;
/// The memory is read at this time and at the end.
const FIRST_READING: Duration = Duration::from_secs(5);
/// Maximum growth of the memory in KB between the two readings.
const GROWTH_KB_MAX: u64 = 2048;

pub(crate) fn run(arguments: &Arguments, place: &Path, engine: &str) -> Outcome<bool> {
    let (_servers, backends) = servers(arguments, place, engine, BACKENDS)?;
    let echoes = [echo_server()?, echo_server()?];
    let file = place.join("neraca.toml");
    fs::write(&file, configuration(0, &backends, &echoes))?;
    let mut command = Command::new(&arguments.neraca);
    command.args(["balance", "--engine", engine, "--admin", "127.0.0.1:0", "--config"]).arg(&file);
    let balancer = Service::start(&mut command, place, "balancer", 1)?;
    let address = balancer.addresses[0];
    let mut tunnels = (0..TUNNELS).map(|_| tunnel(address)).collect::<Outcome<Vec<_>>>()?;

    let mut wrk = Wrk::start(&format!("http://{address}/"), arguments.seconds, arguments.connections)?;
    let (begin, mut written) = (Instant::now(), 0);
    let (mut first_kb, mut last_kb) = (None, 0);
    while wrk.is_running() {
        written += 1;
        // An editor replaces the file as a whole, too.
        let next = place.join("next.toml");
        fs::write(&next, configuration(written, &backends, &echoes))?;
        fs::rename(&next, &file)?;
        balancer.signal(Signal::HUP)?;
        thread::sleep((PERIOD * written).saturating_sub(begin.elapsed()));
        balancer.discard_messages()?;
        last_kb = balancer.resident_kb()?;
        if begin.elapsed() >= FIRST_READING {
            first_kb.get_or_insert(last_kb);
        }
    }
    let load = wrk.finish()?;
    let alive = tunnels.iter_mut().filter_map(|tunnel| echoes_back(tunnel).ok()).count();

    let first_kb = first_kb.ok_or("the run was too short to read the memory at 5 s")?;
    let is_bad =
        |labels: &str| ["code=\"5", "end=\"cut_off", "end=\"stalled"].iter().any(|bad| labels.contains(bad));
    let counted = balancer.metric("neraca_requests_total{", |_| true)?;
    let failed = balancer.metric("neraca_requests_total{", is_bad)? + load.failed as f64;
    let reloads = |result: &str| {
        balancer.metric("neraca_configuration_reloads_total{", |labels| labels.contains(result))
    };
    let (loaded, refused) = (reloads("loaded")?, reloads("refused")?);
    if engine == "thread" {
        println!(
            "| engine | files | loaded | refused | requests | requests/s | failed | tunnels | KB at 5 s | KB at the end |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    }
    println!(
        "| {engine} | {written} | {loaded} | {refused} | {} | {:.0} | {failed} | {alive} of {TUNNELS} | {first_kb} | {last_kb} |",
        load.requests, load.per_second
    );
    let has_run = load.requests > 0
        && counted >= load.requests as f64
        && refused > 0.0
        && loaded + refused >= f64::from(written) / 2.0;
    let is_level = last_kb.saturating_sub(first_kb) <= GROWTH_KB_MAX;
    for (good, what) in [
        (has_run, "too few requests or loads of the file were counted"),
        (failed == 0.0, "requests have failed"),
        (alive == TUNNELS, "tunnels have ended"),
        (is_level, "the memory grows"),
    ] {
        if !good {
            eprintln!("{engine}: {what}");
        }
    }
    Ok(has_run && failed == 0.0 && alive == TUNNELS && is_level)
}

/// Returns the file with this number. All 26 sets of at least two backends come in turn, and the settings change with periods
/// of their own.
fn configuration(number: u32, backends: &[SocketAddr], echoes: &[SocketAddr; 2]) -> String {
    const POLICIES: [&str; 7] =
        ["least-requests", "round-robin", "two-choices", "peak-ewma", "random", "hash:source", "first"];
    let number = number as usize;
    let sets: Vec<u32> = (0..1 << backends.len()).filter(|set: &u32| set.count_ones() >= 2).collect();
    let set = sets[number * 7 % sets.len()];
    let members = backends.iter().enumerate().filter(|(at, _)| set & (1 << at) != 0);
    let cap = if number.is_multiple_of(4) { ", cap = 300" } else { "" };
    let members: Vec<_> =
        members.map(|(at, one)| format!("{{ address = \"{one}\", weight = {}{cap} }}", 1 + at % 2)).collect();
    // All tunnels begin with the first file. Later files have one backend of two.
    let echoes = if number == 0 { &echoes[..] } else { &echoes[number % 2..][..1] };
    let echoes: Vec<_> = echoes.iter().map(|one| format!("\"{one}\"")).collect();
    let error = if number % 10 == 9 { "polcy = 1\n" } else { "" };
    format!(
        "[[listeners]]\nlisten = \"127.0.0.1:0\"\n\
         [clusters.web]\nbackends = [{}]\npolicy = \"{}\"\nejection_ms = {}\nslow_start_ms = {}\nretry_percent = {}\n\
         queue = {}\n{error}\
         [clusters.tunnels]\nbackends = [{}]\npolicy = \"{}\"\n\
         [[routes]]\npath = \"/tunnel\"\ncluster = \"tunnels\"\n\
         [[routes]]\ncluster = \"web\"\n",
        members.join(", "),
        POLICIES[number % POLICIES.len()],
        100 + number % 3,
        number % 5 * 100,
        20 + number % 2,
        2000 + number % 11,
        echoes.join(", "),
        POLICIES[number / 2 % POLICIES.len()],
    )
}

/// Starts a server that agrees to every upgrade and sends back what it gets. It ends with the process.
fn echo_server() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || echo(client));
        }
    });
    Ok(address)
}

fn echo(mut client: TcpStream) -> std::io::Result<()> {
    head(&mut client)?;
    client.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    )?;
    let mut bytes = [0; 64];
    loop {
        let length = client.read(&mut bytes)?;
        if length == 0 {
            return Ok(());
        }
        client.write_all(&bytes[..length])?;
    }
}

/// Reads to the end of a head, and no byte more.
fn head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ => head.push(byte[0]),
        }
    }
    Ok(head)
}

/// Opens an upgraded connection through the balancer.
fn tunnel(address: SocketAddr) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(
        b"GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let head = head(&mut stream)?;
    if !head.starts_with(b"HTTP/1.1 101 ") {
        return Err(format!("no upgrade: {}", String::from_utf8_lossy(&head)).into());
    }
    echoes_back(&mut stream)?;
    Ok(stream)
}

/// Sends some bytes and expects the same bytes.
fn echoes_back(tunnel: &mut TcpStream) -> std::io::Result<()> {
    let (sent, mut received) = (*b"are you there?", [0; 14]);
    tunnel.write_all(&sent)?;
    tunnel.read_exact(&mut received)?;
    if received == sent { Ok(()) } else { Err(ErrorKind::InvalidData.into()) }
}
