//! A test that a panic outside of a connection ends the process. A process without its event loop would serve nobody.
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;

use crate::harness::{PATIENCE, VARIANTS};
use crate::share_cores;
use neraca::app::{App, Client, Decision, Moment};
use neraca::engine;
use neraca::http::head::RequestHead;
use rustix::process::Signal;

/// Names the variant in the environment of the child process.
const VARIANT: &str = "NERACA_TEST_ABORT";

/// An app that panics in the event loop.
struct Broken;

impl App for Broken {
    type View = ();

    fn view(&self) {}

    fn refresh(&self, _: &mut ()) {
        panic!("as asked for");
    }

    fn decide(&self, _: &mut (), _: &RequestHead<'_>, _: &Client<'_>, _: &Moment) -> Decision {
        unreachable!("no request is sent")
    }
}

#[test]
fn a_panic_in_the_event_loop_aborts_the_process() {
    let _cores = share_cores();
    if let Ok(index) = std::env::var(VARIANT) {
        let variant = VARIANTS[index.parse::<usize>().unwrap()];
        let listeners = engine::listen(&[SocketAddr::from(([127, 0, 0, 1], 0))]).unwrap();
        let running = engine::start(Arc::new(Broken), listeners, variant.options()).unwrap();
        // No call stops the engine. If the panic ended only a thread, the engine would end by itself or run until the
        // timeout.
        let (sender, ended) = mpsc::channel();
        thread::spawn(move || {
            running.wait();
            sender.send(())
        });
        let _ = ended.recv_timeout(PATIENCE);
        return;
    }
    for (index, variant) in VARIANTS.into_iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "abort::a_panic_in_the_event_loop_aborts_the_process"])
            .env(VARIANT, index.to_string());
        let status = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{variant:?}: {status}");
    }
}
