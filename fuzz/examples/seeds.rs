//! Writes the raw messages of `tests/corpus` as first inputs of the fuzz targets: `make fuzz-seeds`.
#![allow(unreachable_pub, reason = "modules of a program are part of one crate")]

#[path = "../../tests/corpus/mod.rs"]
mod corpus;
#[path = "../../tests/properties/mod.rs"]
mod properties;

use std::fs;
use std::io;
use std::path::Path;

use corpus::{REQUESTS, RESPONSES};
use properties::Input;

/// Longer messages do not become inputs: the fuzzer would spend its time on their length.
const MESSAGE_BYTES_MAX: usize = 5000;

fn main() -> io::Result<()> {
    let short = |bytes: &&[u8]| bytes.len() < MESSAGE_BYTES_MAX;
    let requests: Vec<&[u8]> = REQUESTS.iter().map(|case| case.bytes).filter(short).collect();
    let responses: Vec<&[u8]> = RESPONSES.iter().map(|case| case.bytes).filter(short).collect();
    let inputs = |messages: &[&[u8]], flags| -> Vec<Vec<u8>> {
        messages.iter().map(|message| Input::to_bytes(flags, 0, message)).collect()
    };
    let bodies: Vec<&[u8]> = requests.iter().chain(&responses).filter_map(|message| body(message)).collect();
    let exchanges = requests.iter().zip(responses.iter().cycle());
    let exchanges = exchanges
        .map(|(request, response)| Input::to_bytes(0, 0, &[request, &b"\xfe"[..], response].concat()));
    for (target, inputs) in [
        ("chunks", inputs(&bodies, 0)),
        ("exchange", exchanges.collect()),
        ("request_head", inputs(&requests, 0)),
        ("response_head", inputs(&responses, 0)),
        ("rewrite", [inputs(&requests, 0), inputs(&responses, 2)].concat()),
    ] {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&directory)?;
        for (n, input) in inputs.iter().enumerate() {
            fs::write(directory.join(format!("raw-{n:03}")), input)?;
        }
        println!("{target}: {} inputs", inputs.len());
    }
    Ok(())
}

/// What follows the head, if something follows.
fn body(message: &[u8]) -> Option<&[u8]> {
    let head = message.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    Some(&message[head..]).filter(|body| !body.is_empty())
}
