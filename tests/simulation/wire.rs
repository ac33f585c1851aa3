//! Chance, and sockets without a network.
use std::collections::VecDeque;
use std::io::{self, ErrorKind};

/// A small generator of numbers; a seed replays.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to `most`.
    pub fn up_to(&mut self, most: usize) -> usize {
        (self.next() % (most as u64 + 1)) as usize
    }

    /// True that many times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.up_to(99) < percent
    }

    pub fn pick<'s, T>(&mut self, from: &'s [T]) -> &'s T {
        &from[self.up_to(from.len() - 1)]
    }
}

/// How much moves at once.
#[derive(Debug, Clone)]
pub enum Pace {
    /// As much as there is.
    Whole,
    /// One byte.
    Bytes,
    /// Anything from nothing to a few thousand bytes.
    Chance(Rng),
}

impl Pace {
    /// From 1 to `most`, or now and then 0, which stands for not now.
    pub fn share(&mut self, most: usize) -> usize {
        match self {
            Pace::Whole => most,
            Pace::Bytes => most.min(1),
            Pace::Chance(rng) => {
                let few = *rng.pick(&[0, 1, 2, 7, 60, 700, 5000]);
                most.min(rng.up_to(few))
            }
        }
    }
}

/// How a peer leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Eof,
    Reset,
}

/// One connection as an engine sees it, with its peer's end in hand.
#[derive(Debug, Default)]
pub struct Socket {
    /// What the peer sent and was not read.
    pub arriving: VecDeque<u8>,
    /// How the peer left, behind that.
    pub end: Option<End>,
    /// The end was told to the engine.
    pub end_told: bool,
    /// All that was written.
    pub written: Vec<u8>,
    /// How much the peer takes before it is asked again.
    pub window: usize,
    /// The peer takes nothing any more.
    pub stalled: bool,
    /// The engine will write no more.
    pub shut: bool,
}

impl Socket {
    pub fn is_readable(&self) -> bool {
        !self.arriving.is_empty() || self.end.is_some()
    }

    pub fn read(&mut self, room: &mut [u8], pace: &mut Pace) -> io::Result<usize> {
        assert!(!room.is_empty(), "a read was asked for without room");
        assert!(!self.end_told, "a read behind the end");
        if self.end == Some(End::Reset) {
            self.end_told = true;
            return Err(ErrorKind::ConnectionReset.into());
        }
        if self.arriving.is_empty() && self.end.is_some() {
            self.end_told = true;
            return Ok(0);
        }
        let n = pace.share(room.len().min(self.arriving.len()));
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        for (byte, place) in self.arriving.drain(..n).zip(room) {
            *place = byte;
        }
        Ok(n)
    }

    pub fn write(&mut self, slices: [&[u8]; 2], pace: &mut Pace) -> io::Result<usize> {
        let most = slices[0].len() + slices[1].len();
        assert!(most > 0, "a write was asked for and nothing is pending");
        assert!(!self.shut, "a write behind the end");
        if self.end == Some(End::Reset) {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let n = pace.share(most.min(self.window));
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.window -= n;
        let first = n.min(slices[0].len());
        self.written.extend_from_slice(&slices[0][..first]);
        self.written.extend_from_slice(&slices[1][..n - first]);
        Ok(n)
    }

    /// The peer reads on; true when that makes a difference.
    pub fn drain(&mut self, pace: &mut Pace) -> bool {
        if self.stalled || self.window > 0 {
            return false;
        }
        self.window = match pace {
            Pace::Whole => usize::MAX,
            _ => pace.share(5000),
        };
        true
    }
}
