//! The textbook pool: while a backend is attached, the worker itself polls the two sockets of the exchange. In the
//! other pools a waiting connection rests in the table.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::engine::driver::Connection;
use crate::engine::options::{Pool, SWEEP};
use crate::engine::readiness::Readiness;
use crate::engine::transport::Tcp;
use crate::exchange::{Interest, Side};

/// True when the worker waits for this connection itself.
pub(super) fn holds(pool: Pool, connection: &mut Connection<Tcp>) -> bool {
    pool == Pool::Textbook && connection.backend().is_some()
}

/// Waits until a transfer of `interest` may be possible, at most for the time of a sweep.
pub(super) fn hold(connection: &mut Connection<Tcp>, interest: Interest) {
    let flags = |side| {
        let mut flags = PollFlags::empty();
        // RDHUP is asked for only if this side is read. Otherwise an ended stream would end every poll at once.
        flags.set(PollFlags::IN | PollFlags::RDHUP, interest.contains(Interest::read(side)));
        flags.set(PollFlags::OUT, interest.contains(Interest::write(side)));
        flags
    };
    let (client, Some(backend)) = connection.ends() else { return };
    let mut fds = [
        PollFd::from_borrowed_fd(client.transport.stream().as_fd(), flags(Side::Client)),
        PollFd::from_borrowed_fd(backend.transport.stream().as_fd(), flags(Side::Backend)),
    ];
    // A sweep at most, so that deadlines and a stop are noticed. An interrupted wait is an early return.
    let most = Timespec { tv_sec: 0, tv_nsec: i64::from(SWEEP.subsec_nanos()) };
    let _ = rustix::event::poll(&mut fds, Some(&most));
    let seen = fds.map(|fd| {
        let mut ready = Readiness::NONE;
        ready.set(Readiness::WRITABLE, fd.revents().intersects(PollFlags::OUT | PollFlags::HUP));
        ready.set(Readiness::READABLE, fd.revents().contains(PollFlags::IN));
        if fd.revents().intersects(PollFlags::RDHUP | PollFlags::HUP) {
            ready.insert(Readiness::READABLE | Readiness::ENDED);
        }
        if fd.revents().contains(PollFlags::ERR) {
            ready.insert(Readiness::BROKEN);
        }
        ready
    });
    client.ready.insert(seen[0]);
    backend.ready.insert(seen[1]);
}
