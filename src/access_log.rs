//! The access log: an app that wraps another app and writes a line for each finished request. The lines of all workers go
//! into one buffer, and a thread of its own writes the whole buffer at once. A worker never waits for a write: when the
//! buffer is full, a line is dropped and counted.
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::mem;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use neraca::app::{App, Client, Decision, Finished, Moment, Page, Sample, Terms};
use neraca::cluster::{Attempt, History, Permit, Start};
use neraca::config::AccessLogSettings;
use neraca::http::head::RequestHead;
use neraca::http::transform::Transform;
use neraca::observe::access_log::{Formatter, Note, Record, given_id};
use parking_lot::{Condvar, Mutex};

/// Maximum bytes that wait for the writer. As many may be in its hands.
const WAITING_MAX: usize = 1 << 22;
/// Time that the writer rests after a write. So it is not woken for each line.
const REST: Duration = Duration::from_millis(5);
/// Maximum time that the end of the process waits for the writer.
const END_MAX: Duration = Duration::from_secs(5);

/// What waits for the writer.
#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    /// Open the file again when as many of these bytes are written.
    reopen_at: Option<usize>,
    /// The writer ends when these lines are written. No line comes any more.
    is_closed: bool,
    /// The writer has nothing to do and must be woken.
    is_idle: bool,
}

/// The buffer between the workers and the writer. A worker holds its lock for the copy of one line, and the writer for the
/// exchange of the buffer with an empty one.
#[derive(Debug)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
    max: usize,
    /// Lines that were dropped, because the buffer was full or because they could not be written.
    dropped: AtomicU64,
}

impl Queue {
    fn new(max: usize) -> Self {
        Queue { waiting: Mutex::default(), wake: Condvar::new(), max, dropped: AtomicU64::new(0) }
    }

    /// Adds a line, or drops it.
    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.is_closed || waiting.lines.len() + line.len() > self.max {
            drop(waiting);
            self.dropped.fetch_add(1, Relaxed);
            return;
        }
        waiting.lines.extend_from_slice(line);
        let wakes = mem::take(&mut waiting.is_idle);
        drop(waiting);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Changes what waits, and wakes the writer.
    fn tell(&self, change: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting.lock();
        change(&mut waiting);
        waiting.is_idle = false;
        drop(waiting);
        self.wake.notify_one();
    }

    /// Waits until there is something to do, and takes all of it. `lines` is empty and becomes the next buffer.
    fn take(&self, lines: Vec<u8>) -> Waiting {
        let mut waiting = self.waiting.lock();
        while waiting.lines.is_empty() && waiting.reopen_at.is_none() && !waiting.is_closed {
            waiting.is_idle = true;
            self.wake.wait(&mut waiting);
        }
        let next = Waiting { lines, is_closed: waiting.is_closed, ..Waiting::default() };
        mem::replace(&mut waiting, next)
    }

    /// Waits for the time of a rest, or until the queue is closed.
    fn rest(&self) {
        self.wake.wait_while_for(&mut self.waiting.lock(), |waiting| !waiting.is_closed, REST);
    }
}

/// The way to the writer.
#[derive(Debug)]
pub(crate) struct AccessLog {
    settings: AccessLogSettings,
    queue: Arc<Queue>,
    /// Disconnected when the writer has ended.
    written: Receiver<()>,
}

impl AccessLog {
    /// Opens the file and starts the writer. The error is a message for the operator.
    pub(crate) fn start(settings: &AccessLogSettings) -> Result<Self, String> {
        let name = settings.file.as_deref().map_or("stdout".to_owned(), |path| path.display().to_string());
        let cannot = |error: io::Error| format!("cannot write the access log to '{name}': {error}");
        let output = match &settings.file {
            Some(path) => open(path),
            None => io::stdout().as_fd().try_clone_to_owned().map(File::from),
        };
        let output = output.map_err(cannot)?;
        let queue = Arc::new(Queue::new(WAITING_MAX));
        let (ends, written) = bounded(0);
        let writer = Writer {
            path: settings.file.clone(),
            output,
            torn: false,
            warned: false,
            queue: Arc::clone(&queue),
        };
        let body = move || {
            writer.run();
            drop::<Sender<()>>(ends);
        };
        thread::Builder::new().name("access-log".to_owned()).spawn(body).map_err(cannot)?;
        Ok(AccessLog { settings: settings.clone(), queue, written })
    }

    /// Returns the number of lines that were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.queue.dropped.load(Relaxed)
    }

    /// Opens the file again, for an operator who has renamed it. The lines so far go into the old file.
    pub(crate) fn reopen(&self) {
        self.queue.tell(|waiting| waiting.reopen_at = Some(waiting.lines.len()));
    }

    /// Ends the log and waits until all lines are written. Later lines are dropped.
    pub(crate) fn finish(&self) {
        self.queue.tell(|waiting| waiting.is_closed = true);
        let _ = self.written.recv_timeout(END_MAX);
        match self.dropped() {
            0 => {}
            dropped => log::warn!("{dropped} lines of the access log were dropped"),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The thread that writes.
struct Writer {
    /// None for stdout.
    path: Option<PathBuf>,
    output: File,
    /// The last write ended within a line.
    torn: bool,
    /// The operator was told of a failed write.
    warned: bool,
    queue: Arc<Queue>,
}

impl Writer {
    /// Writes until the queue is closed and empty.
    fn run(mut self) {
        let mut spare = Vec::new();
        loop {
            let Waiting { mut lines, reopen_at, is_closed, .. } = self.queue.take(spare);
            let (before, after) = lines.split_at(reopen_at.unwrap_or(0));
            self.write(before);
            if reopen_at.is_some() {
                self.reopen();
            }
            self.write(after);
            if is_closed {
                return;
            }
            lines.clear();
            spare = lines;
            self.queue.rest();
        }
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok(file) => {
                self.output = file;
                self.torn = false;
            }
            Err(error) => {
                log::warn!(
                    "cannot open the access log '{}' again, so the old file is used: {error}",
                    path.display()
                );
            }
        }
    }

    /// Writes the lines. Lines that cannot be written are counted as dropped.
    fn write(&mut self, batch: &[u8]) {
        if batch.is_empty() {
            return;
        }
        // The line that was torn is counted, and the next line begins a line of its own.
        let ended = if self.torn { self.write_all(b"\n") } else { Ok(()) };
        let result = ended.map_err(|(_, why)| (batch.len(), why)).and_then(|()| self.write_all(batch));
        if let Err((unwritten, why)) = result {
            // A line of which only a part was written is not there either, and its line end is unwritten.
            let unwritten = &batch[batch.len() - unwritten..];
            let lines = unwritten.iter().filter(|byte| **byte == b'\n').count();
            self.queue.dropped.fetch_add(lines as u64, Relaxed);
            if !std::mem::replace(&mut self.warned, true) {
                log::warn!("cannot write the access log, and its lines are dropped until that works: {why}");
            }
        }
    }

    /// Writes all bytes. The error says how many bytes were not written.
    fn write_all(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.output.write(rest) {
                Ok(0) => return Err((rest.len(), io::ErrorKind::WriteZero.into())),
                Ok(n) => {
                    self.torn = rest[n - 1] != b'\n';
                    rest = &rest[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((rest.len(), error)),
            }
        }
        Ok(())
    }
}

/// An app whose finished requests are logged.
#[derive(Debug)]
pub(crate) struct Logged<A> {
    app: Arc<A>,
    log: Arc<AccessLog>,
}

impl<A> Logged<A> {
    /// Wraps `app`.
    pub(crate) fn new(app: Arc<A>, log: Arc<AccessLog>) -> Self {
        Logged { app, log }
    }
}

/// The view of one worker.
#[derive(Debug)]
pub(crate) struct View<V> {
    of_app: V,
    ids: Ids,
    sample: Sample,
    formatter: Formatter,
    /// The time since 1970 of the wake-up. A request ends at the time of a wake-up, too.
    now: Duration,
    /// The last line.
    line: Vec<u8>,
}

/// Makes IDs: 32 hexadecimal digits each.
#[derive(Debug)]
struct Ids {
    /// The first half of each ID.
    first: [u8; 16],
    /// The base of the second half.
    seed: u64,
    /// The number of IDs so far.
    made: u64,
}

impl Ids {
    fn new(first: u64, seed: u64) -> Self {
        Ids { first: hexadecimal(first), seed, made: 0 }
    }

    fn next(&mut self) -> [u8; 32] {
        self.made = self.made.wrapping_add(1);
        // An odd factor gives another product for each number.
        let second = (self.seed ^ self.made).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut id = [0; 32];
        id[..16].copy_from_slice(&self.first);
        id[16..].copy_from_slice(&hexadecimal(second));
        id
    }
}

fn hexadecimal(number: u64) -> [u8; 16] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 16];
    for (two, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        two.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    text
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

impl<A: App> App for Logged<A> {
    type View = View<A::View>;

    fn view(&self) -> Self::View {
        let [chance, first, seed] = [0, 1, 2].map(|part| RandomState::new().hash_one(part));
        View {
            of_app: self.app.view(),
            ids: Ids::new(first, seed),
            sample: Sample::new(self.log.settings.one_of, chance),
            formatter: Formatter::new(self.log.settings.format),
            now: since_1970(),
            line: Vec::new(),
        }
    }

    fn refresh(&self, view: &mut Self::View) {
        view.now = since_1970();
        self.app.refresh(&mut view.of_app);
    }

    fn sweep(&self, now: Instant) {
        self.app.sweep(now);
    }

    fn decide(
        &self,
        view: &mut Self::View,
        head: &RequestHead<'_>,
        client: &Client<'_>,
        now: &Moment,
    ) -> Decision {
        self.app.decide(&mut view.of_app, head, client, now)
    }

    fn retry(
        &self,
        view: &mut Self::View,
        terms: Option<&Terms>,
        history: &History<'_>,
        permit: &mut Option<Permit>,
        now: &Moment,
    ) -> Option<Start> {
        self.app.retry(&mut view.of_app, terms, history, permit, now)
    }

    fn page(&self, view: &Self::View, status: u16) -> Option<Arc<Page>> {
        self.app.page(&view.of_app, status)
    }

    fn note(
        &self,
        view: &mut Self::View,
        head: &RequestHead<'_>,
        client: &Client<'_>,
        note: &mut Option<Box<Note>>,
    ) -> bool {
        let given = if client.is_trusted() { given_id(head) } else { None };
        let note = note.get_or_insert_default();
        match given {
            Some(id) => view.formatter.note(id, head, note),
            None => view.formatter.note(&view.ids.next(), head, note),
        }
        true
    }

    fn finished<'a>(
        &self,
        view: &mut Self::View,
        client: &Client<'_>,
        request: impl FnOnce() -> Finished<'a>,
    ) {
        let request = request();
        self.app.finished(&mut view.of_app, client, || request);
        if !view.sample.takes(request.status, request.end) {
            return;
        }
        let total = request.duration();
        let record = Record {
            began: view.now.saturating_sub(total),
            note: request.note,
            listener: client.local,
            client: client.address(),
            status: request.status,
            end: request.end,
            backend: request.attempt.map(|attempt| attempt.backend().address()),
            attempts: request.attempts,
            received_bytes: request.received_bytes,
            sent_bytes: request.sent_bytes,
            queue: request.queued,
            connect: request.attempt.and_then(Attempt::connect_time),
            first_byte: request.attempt.and_then(|attempt| attempt.outcome()?.first_byte),
            total,
            encryption: request.transform.and_then(Transform::encryption),
        };
        view.line.clear();
        view.formatter.write(&record, &mut view.line);
        self.log.queue.push(&view.line);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn writer(path: Option<&Path>, output: File) -> Writer {
        let path = path.map(Path::to_owned);
        Writer { path, output, torn: false, warned: false, queue: Arc::new(Queue::new(WAITING_MAX)) }
    }

    #[test]
    fn lines_for_which_there_is_no_room_are_dropped_and_counted() {
        let queue = Queue::new(15);
        // number of lines, lines dropped so far
        for (lines, dropped) in [(3, 0), (1, 1), (4, 5)] {
            (0..lines).for_each(|_| queue.push(b"line\n"));
            assert_eq!(queue.dropped.load(Relaxed), dropped);
            assert_eq!(queue.waiting.lock().lines, b"line\n".repeat(3));
        }
        assert_eq!(queue.take(Vec::new()).lines, b"line\n".repeat(3));
        queue.push(b"line\n");
        assert_eq!(queue.dropped.load(Relaxed), 5, "there is room again");
        queue.tell(|waiting| waiting.is_closed = true);
        queue.push(b"line\n");
        assert_eq!(queue.dropped.load(Relaxed), 6, "the log has ended");
        let last = queue.take(Vec::new());
        assert!(last.is_closed && last.lines == b"line\n");
    }

    #[test]
    fn an_idle_writer_is_woken_by_a_line_a_reopening_and_the_end() {
        let changes: [fn(&Queue); 3] = [
            |queue| queue.push(b"line\n"),
            |queue| queue.tell(|waiting| waiting.reopen_at = Some(0)),
            |queue| queue.tell(|waiting| waiting.is_closed = true),
        ];
        for change in changes {
            let queue = Queue::new(15);
            thread::scope(|scope| {
                let writer = scope.spawn(|| queue.take(Vec::new()));
                while !queue.waiting.lock().is_idle {
                    thread::yield_now();
                }
                change(&queue);
                let taken = writer.join().unwrap();
                assert!(taken.lines == b"line\n" || taken.reopen_at == Some(0) || taken.is_closed);
            });
        }
    }

    #[test]
    fn lines_before_a_reopening_go_into_the_old_file() {
        let folder = std::env::temp_dir().join(format!("neraca-order-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let (path, old) = (folder.join("log"), folder.join("old"));
        let writer = writer(Some(&path), open(&path).unwrap());
        fs::rename(&path, &old).unwrap();
        let queue = Arc::clone(&writer.queue);
        queue.push(b"1\n");
        queue.tell(|waiting| waiting.reopen_at = Some(waiting.lines.len()));
        queue.push(b"2\n");
        queue.tell(|waiting| waiting.is_closed = true);
        writer.run();
        assert_eq!(fs::read_to_string(&old).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "2\n");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn ids_have_32_digits_and_differ() {
        let mut ids = Ids::new(0x0123_4567_89ab_cdef, 7);
        let mut all: Vec<_> = (0..1000).map(|_| String::from_utf8(ids.next().to_vec()).unwrap()).collect();
        assert!(all.iter().all(|id| id.starts_with("0123456789abcdef")));
        assert!(all.iter().all(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1000);
    }

    #[test]
    fn a_line_that_was_written_in_part_is_dropped_and_ends_before_the_next_line() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut writer = writer(None, File::from(OwnedFd::from(ours)));
        // Longer than what the socket takes at once.
        let long = [&[b'x'; 1 << 20][..], b"\n"].concat();
        let mut read = Vec::new();
        for round in 1..=3 {
            let batch = [b"first\n", &long[..], b"last\n"].concat();
            writer.write(&batch);
            assert!(writer.torn && batch.len() > read.len(), "round {round}");
            assert_eq!(writer.queue.dropped.load(Relaxed), 2 * round);
            // The end of the bytes for now is an error.
            let _ = theirs.read_to_end(&mut read);
        }
        writer.write(b"end\n");
        let _ = theirs.read_to_end(&mut read);
        assert!(!writer.torn && writer.queue.dropped.load(Relaxed) == 6);
        let text = String::from_utf8(read).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.trim_end_matches('x')).collect();
        assert_eq!(lines, ["first", "", "first", "", "first", "", "end"]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_is_used_on() {
        let folder = std::env::temp_dir().join(format!("neraca-reopen-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let (path, old) = (folder.join("log"), folder.join("old"));
        let mut writer = writer(Some(&path), open(&path).unwrap());
        writer.write(b"1\n");
        fs::rename(&path, &old).unwrap();
        fs::create_dir(&path).unwrap();
        writer.reopen();
        writer.write(b"2\n");
        fs::remove_dir(&path).unwrap();
        writer.reopen();
        writer.write(b"3\n");
        assert_eq!(fs::read_to_string(&old).unwrap(), "1\n2\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        fs::remove_dir_all(&folder).unwrap();
    }
}
