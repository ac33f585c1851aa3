//! The access log: an app that wraps another app and tells a writer of each finished request. The writer has a thread of
//! its own. A worker never waits for the writer: when too many lines wait, a line is dropped and counted.
use std::fs::{File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use neraca::app::{App, Client, Decision, Finished, Moment, Page, Sample, Terms};
use neraca::cluster::{Attempt, History, Permit, Start};
use neraca::config::AccessLogSettings;
use neraca::http::head::RequestHead;
use neraca::http::transform::Transform;
use neraca::observe::access_log::{Note, Record, given_id};

/// Maximum number of lines that wait for the writer.
const WAITING_MAX: usize = 1 << 14;
/// Bytes after which the writer writes, even when more lines wait.
const BATCH_BYTES: usize = 1 << 17;
/// Time that the writer rests after a write. So it is not woken for each line.
const REST: Duration = Duration::from_millis(5);
/// Maximum time that the end of the process waits for the writer.
const END_MAX: Duration = Duration::from_secs(5);

/// What the writer is told.
enum Message {
    Line(Vec<u8>),
    /// Open the file again. Lines before this message are in the old file.
    Reopen,
    /// Write all lines before this message, and then drop the sender.
    Flush(#[allow(dead_code, reason = "its drop is the answer")] Sender<()>),
}

/// The way to the writer.
#[derive(Debug)]
pub(crate) struct AccessLog {
    settings: AccessLogSettings,
    sender: Sender<Message>,
    /// Lines that were dropped, because too many waited or because they could not be written.
    dropped: Arc<AtomicU64>,
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
        let (sender, messages) = bounded(WAITING_MAX);
        let dropped = Arc::default();
        let writer = Writer {
            path: settings.file.clone(),
            output,
            torn: false,
            warned: false,
            dropped: Arc::clone(&dropped),
        };
        let builder = thread::Builder::new().name("access-log".to_owned());
        builder.spawn(move || writer.run(&messages)).map_err(cannot)?;
        Ok(AccessLog { settings: settings.clone(), sender, dropped })
    }

    /// Passes a line to the writer, or drops it.
    fn pass(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.sender.try_send(Message::Line(line))
        {
            self.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Returns the number of lines that were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Opens the file again, for an operator who has renamed it.
    pub(crate) fn reopen(&self) {
        let _ = self.sender.send_timeout(Message::Reopen, END_MAX);
    }

    /// Waits until all lines are written.
    pub(crate) fn finish(&self) {
        let (done, written) = bounded(0);
        if self.sender.send_timeout(Message::Flush(done), END_MAX).is_ok() {
            let _ = written.recv_timeout(END_MAX);
        }
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
    dropped: Arc<AtomicU64>,
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut batch = Vec::new();
        while let Ok(first) = messages.recv() {
            for message in std::iter::once(first).chain(messages.try_iter()) {
                match message {
                    Message::Line(line) => {
                        batch.extend_from_slice(&line);
                        if batch.len() >= BATCH_BYTES {
                            self.write(&mut batch);
                        }
                    }
                    Message::Reopen => {
                        self.write(&mut batch);
                        self.reopen();
                    }
                    Message::Flush(_done) => self.write(&mut batch),
                }
            }
            self.write(&mut batch);
            thread::sleep(REST);
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
    fn write(&mut self, batch: &mut Vec<u8>) {
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
            self.dropped.fetch_add(lines as u64, Relaxed);
            if !std::mem::replace(&mut self.warned, true) {
                log::warn!("cannot write the access log, and its lines are dropped until that works: {why}");
            }
        }
        batch.clear();
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
    /// The first half of each ID that this worker makes, and the base of the second half.
    seed: [u64; 2],
    /// The number of IDs so far.
    ids: u64,
    sample: Sample,
}

impl<V> View<V> {
    /// Makes an ID: 32 hexadecimal digits.
    fn id(&mut self) -> [u8; 32] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.ids = self.ids.wrapping_add(1);
        // An odd factor gives another product for each number.
        let low = (self.seed[1] ^ self.ids).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let value = u128::from(self.seed[0]) << 64 | u128::from(low);
        std::array::from_fn(|at| DIGITS[(value >> (124 - 4 * at)) as usize & 15])
    }
}

impl<A: App> App for Logged<A> {
    type View = View<A::View>;

    fn view(&self) -> Self::View {
        let [chance, high, low] = [0, 1, 2].map(|part| RandomState::new().hash_one(part));
        let sample = Sample::new(self.log.settings.one_of, chance);
        View { of_app: self.app.view(), seed: [high, low], ids: 0, sample }
    }

    fn refresh(&self, view: &mut Self::View) {
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

    fn note(&self, view: &mut Self::View, head: &RequestHead<'_>, client: &Client<'_>) -> Option<Box<Note>> {
        let given = if client.is_trusted() { given_id(head) } else { None };
        let note = match given {
            Some(id) => Note::new(id, head),
            None => Note::new(&view.id(), head),
        };
        Some(Box::new(note))
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
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let record = Record {
            began: now.saturating_sub(total),
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
        let mut line = Vec::with_capacity(512);
        record.write(self.log.settings.format, &mut line);
        self.log.pass(line);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use neraca::observe::access_log::Format;

    use super::*;

    fn writer(path: Option<&Path>, output: File) -> Writer {
        let path = path.map(Path::to_owned);
        Writer { path, output, torn: false, warned: false, dropped: Arc::default() }
    }

    #[test]
    fn lines_for_which_there_is_no_room_are_dropped_and_counted() {
        let settings = AccessLogSettings { file: None, format: Format::Json, one_of: 1 };
        let (sender, messages) = bounded(3);
        let log = AccessLog { settings, sender, dropped: Arc::default() };
        // number of lines passed, lines dropped so far
        for (lines, dropped) in [(3, 0), (1, 1), (4, 5)] {
            (0..lines).for_each(|_| log.pass(b"line\n".to_vec()));
            assert_eq!((log.dropped(), messages.len()), (dropped, 3));
        }
        drop(messages);
        log.pass(b"line\n".to_vec());
        assert_eq!(log.dropped(), 6, "the writer is gone");
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
            writer.write(&mut batch.clone());
            assert!(writer.torn && batch.len() > read.len(), "round {round}");
            assert_eq!(writer.dropped.load(Relaxed), 2 * round);
            // The end of the bytes for now is an error.
            let _ = theirs.read_to_end(&mut read);
        }
        writer.write(&mut b"end\n".to_vec());
        let _ = theirs.read_to_end(&mut read);
        assert!(!writer.torn && writer.dropped.load(Relaxed) == 6);
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
        writer.write(&mut b"1\n".to_vec());
        fs::rename(&path, &old).unwrap();
        fs::create_dir(&path).unwrap();
        writer.reopen();
        writer.write(&mut b"2\n".to_vec());
        fs::remove_dir(&path).unwrap();
        writer.reopen();
        writer.write(&mut b"3\n".to_vec());
        assert_eq!(fs::read_to_string(&old).unwrap(), "1\n2\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        fs::remove_dir_all(&folder).unwrap();
    }
}
