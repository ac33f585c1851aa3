//! Benchmarks of heads: parsing and checking a head, and rewriting it for the other side.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use divan::Bencher;
use divan::counter::BytesCount;
use neraca::http::framing::FramingFields;
use neraca::http::head::{FieldSlots, HeadError, HeadLimits, HeadScan, Method, Version};
use neraca::http::rewrite::{self, Coding, Persistence};

use common::{BROWSER_REQUEST, BROWSER_RESPONSE, Message, SMALL_REQUEST, SMALL_RESPONSE};

mod common;

const REQUESTS: [Message; 2] = [SMALL_REQUEST, BROWSER_REQUEST];
const RESPONSES: [Message; 2] = [SMALL_RESPONSE, BROWSER_RESPONSE];
const ORIGIN: rewrite::Origin<'static> = rewrite::Origin {
    client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
    encrypted: false,
    trusted: false,
    forwarded: false,
    id: None,
};
const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

fn main() {
    common::run();
}

#[divan::bench(args = REQUESTS, sample_size = 100)]
fn request_parse(bencher: Bencher, message: Message) {
    let limits = HeadLimits::default();
    bencher.counter(BytesCount::of_str(message.bytes)).bench(|| {
        let mut slots = FieldSlots::new();
        let head = HeadScan::default().request(black_box(message.bytes.as_bytes()), &limits, &mut slots);
        head.unwrap().unwrap().fields.iter().count()
    });
}

#[divan::bench(args = REQUESTS, sample_size = 100)]
fn request_rewrite(bencher: Bencher, message: Message) {
    let mut slots = FieldSlots::new();
    let bytes = message.bytes.as_bytes();
    let head = HeadScan::default().request(bytes, &HeadLimits::default(), &mut slots).unwrap().unwrap();
    let mut out = Vec::new();
    bencher.counter(BytesCount::of_slice(bytes)).bench_local(|| {
        out.clear();
        rewrite::request(black_box(&head), &ORIGIN, &mut out);
        out.len()
    });
}

#[divan::bench(args = RESPONSES, sample_size = 100)]
fn response_parse(bencher: Bencher, message: Message) {
    let limits = HeadLimits::default();
    bencher.counter(BytesCount::of_str(message.bytes)).bench(|| {
        let mut slots = FieldSlots::new();
        let bytes = black_box(message.bytes.as_bytes());
        let head = HeadScan::default().response(bytes, Method::Get, &limits, &mut slots);
        head.unwrap().unwrap().fields.iter().count()
    });
}

#[divan::bench(args = RESPONSES, sample_size = 100)]
fn response_rewrite(bencher: Bencher, message: Message) {
    let mut slots = FieldSlots::new();
    let (bytes, limits) = (message.bytes.as_bytes(), HeadLimits::default());
    let head = HeadScan::default().response(bytes, Method::Get, &limits, &mut slots).unwrap().unwrap();
    let mut out = Vec::new();
    bencher.counter(BytesCount::of_slice(bytes)).bench_local(|| {
        out.clear();
        rewrite::response(black_box(&head), Coding::Verbatim, Persistence::Implied, DATE, None, &mut out);
        out.len()
    });
}

/// A head that arrives in fragments of 64 bytes, as over a slow link.
#[divan::bench(sample_size = 100)]
fn request_in_pieces(bencher: Bencher) {
    let (bytes, limits) = (BROWSER_REQUEST.bytes.as_bytes(), HeadLimits::default());
    bencher.counter(BytesCount::of_slice(bytes)).bench(|| {
        let mut scan = HeadScan::default();
        let mut arrived = 0;
        loop {
            arrived = bytes.len().min(arrived + 64);
            let mut slots = FieldSlots::new();
            if let Some(head) = scan.request(black_box(&bytes[..arrived]), &limits, &mut slots).unwrap() {
                break head.len;
            }
        }
    });
}

/// The method that adds a framing field.
type TakeIn = fn(&mut FramingFields, &[u8]) -> Result<(), HeadError>;
const FRAMINGS: [(&str, &[u8], TakeIn); 3] = [
    ("Content-Length: 128", b"128", FramingFields::content_length),
    ("Content-Length: 128, 128", b"128, 128", FramingFields::content_length),
    ("Transfer-Encoding: chunked", b"chunked", FramingFields::transfer_encoding),
];

#[divan::bench(args = FRAMINGS.map(|(name, ..)| name), sample_size = 100)]
fn framing(bencher: Bencher, name: &str) {
    let (_, value, take_in) = FRAMINGS.into_iter().find(|framing| framing.0 == name).unwrap();
    bencher.counter(BytesCount::of_slice(value)).bench(|| {
        let mut fields = FramingFields::default();
        take_in(&mut fields, black_box(value)).unwrap();
        fields.response(Version::Http11, 200, Method::Get).unwrap()
    });
}
