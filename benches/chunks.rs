//! Benchmarks of the chunked coding: 64 KiB of data in chunks of several sizes, whole and in fragments.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::BytesCount;
use neraca::http::chunks::{ChunkScan, Piece, write_size};

mod common;

const DATA_BYTES: usize = 64 * 1024;
const CHUNK_BYTES: [usize; 3] = [64, 4096, DATA_BYTES];

fn main() {
    common::run();
}

/// Scans the pieces from offset `at` to the end of `arrived`, and returns the number of data bytes.
fn scan(scan: &mut ChunkScan, arrived: &[u8], at: &mut usize) -> usize {
    let mut data = 0;
    while let Some(piece) = scan.next(black_box(&arrived[*at..])).unwrap() {
        *at += match piece {
            Piece::Data(n) => {
                data += n;
                n
            }
            Piece::Framing(n) | Piece::End(n) => n,
        };
    }
    data
}

#[divan::bench(args = CHUNK_BYTES, sample_size = 10)]
fn whole(bencher: Bencher, chunk: usize) {
    let body = common::chunked(DATA_BYTES, chunk);
    bencher.counter(BytesCount::of_slice(&body)).bench(|| {
        let data = scan(&mut ChunkScan::default(), &body, &mut 0);
        assert_eq!(data, DATA_BYTES);
    });
}

/// Scans a body in fragments of 1448 bytes, the payload of one TCP segment.
#[divan::bench(args = CHUNK_BYTES, sample_size = 10)]
fn in_segments(bencher: Bencher, chunk: usize) {
    let body = common::chunked(DATA_BYTES, chunk);
    bencher.counter(BytesCount::of_slice(&body)).bench(|| {
        let (mut chunks, mut at, mut data) = (ChunkScan::default(), 0, 0);
        for arrived in (1448..body.len()).step_by(1448).chain([body.len()]) {
            data += scan(&mut chunks, &body[..arrived], &mut at);
        }
        assert_eq!(data, DATA_BYTES);
    });
}

/// Writes the size lines of chunks.
#[divan::bench(args = CHUNK_BYTES, sample_size = 10)]
fn write(bencher: Bencher, chunk: usize) {
    let mut out = Vec::new();
    bencher.counter(BytesCount::new(DATA_BYTES)).bench_local(|| {
        out.clear();
        for i in 0..DATA_BYTES / chunk {
            write_size(black_box(chunk), i == 0, &mut out);
        }
        out.len()
    });
}
