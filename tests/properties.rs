//! Checks the properties of `tests/properties` over a bounded number of inputs: the stored inputs of the fuzz targets,
//! the raw messages of `tests/corpus`, and mutants of these messages. `fuzz/` checks the same properties without a
//! bound.
#![allow(unreachable_pub, reason = "modules of a test are part of one crate")]

mod corpus;
#[path = "properties/mod.rs"]
mod properties;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use corpus::{REQUESTS, RESPONSES};
use properties::Input;

/// A property, and the name of its fuzz target.
type Property = (&'static str, fn(&[u8]));

const PROPERTIES: [Property; 5] = [
    ("chunks", properties::chunks::check),
    ("exchange", properties::exchange::check),
    ("request_head", properties::request_head::check),
    ("response_head", properties::response_head::check),
    ("rewrite", properties::rewrite::check),
];

#[test]
fn they_hold_for_the_stored_inputs_of_the_fuzz_targets() {
    for (target, check) in PROPERTIES {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{target}: {error}"));
        let mut inputs = 0;
        for entry in entries {
            check(&fs::read(entry.unwrap().path()).unwrap());
            inputs += 1;
        }
        assert!(inputs > 0, "no input in {}", directory.display());
    }
}

#[test]
fn they_hold_for_the_raw_messages() {
    let messages = REQUESTS.iter().map(|case| case.bytes).chain(RESPONSES.iter().map(|case| case.bytes));
    for message in messages {
        for (flags, step) in [(0, 255), (1, 0), (2, 6), (3, 40), (6, 255)] {
            PROPERTIES.iter().for_each(|(_, check)| check(&Input::to_bytes(flags, step, message)));
        }
    }
}

/// One change of a message: the kind, the place and the byte.
type Edit = (u8, prop::sample::Index, u8);

fn edit(message: &mut Vec<u8>, (what, at, byte): Edit) {
    let at = at.index(message.len() + 1);
    let end = message.len().min(at + usize::from(byte % 16));
    match what {
        0 => message.insert(at, byte),
        1 => drop(message.drain(at..end)),
        2 => {
            let part = message[at..end].to_vec();
            message.splice(at..at, part);
        }
        _ if at < message.len() => message[at] = byte,
        _ => {}
    }
}

/// Makes raw messages with up to four changes.
fn mutant(messages: Vec<&'static [u8]>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"\r\n\0 :;,0a\xff".to_vec())];
    let edits = prop::collection::vec((0..4u8, any::<prop::sample::Index>(), byte), 0..4);
    (prop::sample::select(messages), edits).prop_map(|(message, edits)| {
        let mut message = message.to_vec();
        edits.into_iter().for_each(|change| edit(&mut message, change));
        message
    })
}

fn requests() -> Vec<&'static [u8]> {
    REQUESTS.iter().map(|case| case.bytes).filter(|bytes| bytes.len() < 5000).collect()
}

fn responses() -> Vec<&'static [u8]> {
    RESPONSES.iter().map(|case| case.bytes).filter(|bytes| bytes.len() < 5000).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn they_hold_for_mutants_of_requests(message in mutant(requests()), flags: u8, step: u8) {
        let input = Input::to_bytes(flags & !2, step, &message);
        PROPERTIES.iter().for_each(|(_, check)| check(&input));
    }

    #[test]
    fn they_hold_for_mutants_of_responses(message in mutant(responses()), flags: u8, step: u8) {
        let input = Input::to_bytes(flags | 2, step, &message);
        PROPERTIES.iter().for_each(|(_, check)| check(&input));
    }

    #[test]
    fn they_hold_for_bodies(message in mutant(requests()), flags: u8, step: u8) {
        let body = message.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(0, |at| at + 4);
        properties::chunks::check(&Input::to_bytes(flags, step, &message[body..]));
    }

    #[test]
    fn the_exchange_ends_whatever_both_sides_send(
        request in mutant(requests()), next in mutant(requests()), response in mutant(responses()),
        script in prop::collection::vec(any::<u8>(), 0..20), flags: u8,
    ) {
        let message = [&request[..], &next, b"\xfe", &response, b"\xfe", &script].concat();
        properties::exchange::check(&Input::to_bytes(flags, 0, &message));
    }
}
