//! The thread that makes the lines and writes them.
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use neraca::observe::access_log::{Batch, Format, Formatter, Request, Time};

use super::queue::{Queue, Waiting};

/// Bytes of lines that are written at once; the last line may go beyond. More bytes leave the processor's cache.
const WRITE_BYTES: usize = 1 << 16;
/// Time that the writer rests after a write. After a rest its code and its memory have left the processor's cache, and to bring
/// them back takes about 0.1 ms. With a rest of 25 ms the writer needs 4.5 % of the time of a request at 5,000 requests/s, with
/// 250 ms 1.8 %.
const REST: Duration = Duration::from_millis(250);

pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The thread that writes.
pub(super) struct Writer {
    /// None for stdout.
    path: Option<PathBuf>,
    output: File,
    formatter: Formatter,
    /// Lines that are not written yet.
    lines: Vec<u8>,
    /// The last write ended within a line.
    torn: bool,
    /// The operator was told of a failed write.
    warned: bool,
    queue: Arc<Queue>,
}

impl Writer {
    /// Makes the writer of lines in `format`. `path` is None for stdout.
    pub(super) fn new(path: Option<&Path>, output: File, format: Format, queue: Arc<Queue>) -> Self {
        Writer {
            path: path.map(Path::to_owned),
            output,
            formatter: Formatter::new(format),
            lines: Vec::new(),
            torn: false,
            warned: false,
            queue,
        }
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        let mut spare = Batch::default();
        loop {
            let Waiting { mut batch, reopen_at, is_closed, .. } = self.queue.take(spare);
            let mut requests = batch.iter();
            if let Some(before) = reopen_at {
                self.write(requests.by_ref().take(before));
                self.reopen();
            }
            self.write(requests);
            if is_closed {
                return;
            }
            batch.clear();
            spare = batch;
            self.queue.rest(REST);
        }
    }

    /// Writes the lines of some requests.
    fn write<'b>(&mut self, requests: impl Iterator<Item = Request<'b>>) {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let time = Time { instant: Instant::now(), since_1970 };
        for request in requests {
            self.formatter.write(&request, &time, &mut self.lines);
            if self.lines.len() >= WRITE_BYTES {
                self.flush();
            }
        }
        self.flush();
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

    /// Writes the lines that are made. Lines that cannot be written are counted as dropped.
    fn flush(&mut self) {
        let lines = mem::take(&mut self.lines);
        self.write_lines(&lines);
        self.lines = lines;
        self.lines.clear();
    }

    fn write_lines(&mut self, batch: &[u8]) {
        if batch.is_empty() {
            return;
        }
        // The line that was torn is counted, and the next line begins a line of its own.
        let ended = if self.torn { self.write_all(b"\n") } else { Ok(()) };
        let result = ended.map_err(|(_, why)| (batch.len(), why)).and_then(|()| self.write_all(batch));
        if let Err((unwritten, why)) = result {
            // A line that was written in part counts, too: its line end is among the unwritten bytes.
            let unwritten = &batch[batch.len() - unwritten..];
            let lines = unwritten.iter().filter(|byte| **byte == b'\n').count();
            self.queue.dropped.fetch_add(lines as u64, Relaxed);
            if !mem::replace(&mut self.warned, true) {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use super::super::queue::WAITING_MAX;
    use super::super::queue::tests::push;
    use super::*;

    fn writer(path: Option<&Path>, output: File) -> Writer {
        Writer::new(path, output, Format::Common, Arc::new(Queue::new(WAITING_MAX)))
    }

    /// Makes an empty folder.
    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("neraca-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// Returns the statuses of the lines.
    fn statuses(path: &Path) -> String {
        let text = fs::read_to_string(path).unwrap();
        let status = |line: &str| line.split(' ').nth(6).unwrap().to_owned();
        text.lines().map(status).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn lines_before_a_reopening_go_into_the_old_file() {
        let folder = folder("order");
        let (path, old) = (folder.join("log"), folder.join("old"));
        let writer = writer(Some(&path), open(&path).unwrap());
        fs::rename(&path, &old).unwrap();
        let queue = Arc::clone(&writer.queue);
        [201, 202].into_iter().for_each(|status| push(&queue, status));
        queue.tell(|waiting| waiting.reopen_at = Some(waiting.batch.len()));
        push(&queue, 203);
        queue.tell(|waiting| waiting.is_closed = true);
        writer.run();
        assert_eq!(statuses(&old), "201 202");
        assert_eq!(statuses(&path), "203");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn many_lines_are_written_in_parts_and_none_twice() {
        let folder = folder("parts");
        let path = folder.join("log");
        let writer = writer(Some(&path), open(&path).unwrap());
        let all = 100..5100;
        all.clone().for_each(|status| push(&writer.queue, status));
        writer.queue.tell(|waiting| waiting.is_closed = true);
        writer.run();
        assert!(fs::metadata(&path).unwrap().len() as usize > 3 * WRITE_BYTES);
        assert_eq!(statuses(&path), all.map(|status| status.to_string()).collect::<Vec<_>>().join(" "));
        fs::remove_dir_all(&folder).unwrap();
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
            writer.write_lines(&batch);
            assert!(writer.torn && batch.len() > read.len(), "round {round}");
            assert_eq!(writer.queue.dropped.load(Relaxed), 2 * round);
            // The end of the bytes for now is an error.
            let _ = theirs.read_to_end(&mut read);
        }
        writer.write_lines(b"end\n");
        let _ = theirs.read_to_end(&mut read);
        assert!(!writer.torn && writer.queue.dropped.load(Relaxed) == 6);
        let text = String::from_utf8(read).unwrap();
        let lines: Vec<_> = text.lines().map(|line| line.trim_end_matches('x')).collect();
        assert_eq!(lines, ["first", "", "first", "", "first", "", "end"]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_again_is_used_on() {
        let folder = folder("reopen");
        let (path, old) = (folder.join("log"), folder.join("old"));
        let mut writer = writer(Some(&path), open(&path).unwrap());
        writer.write_lines(b"1\n");
        fs::rename(&path, &old).unwrap();
        fs::create_dir(&path).unwrap();
        writer.reopen();
        writer.write_lines(b"2\n");
        fs::remove_dir(&path).unwrap();
        writer.reopen();
        writer.write_lines(b"3\n");
        assert_eq!(fs::read_to_string(&old).unwrap(), "1\n2\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        fs::remove_dir_all(&folder).unwrap();
    }
}
