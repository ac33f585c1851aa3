//! The access log: an app that wraps another app and tells of each finished request in a line. The requests of all workers go
//! into one batch, and a thread of its own makes their lines and writes them. A worker never waits for a write: when the batch
//! is full, a line is dropped and counted.
mod ids;
mod queue;
mod writer;

use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use ids::Ids;
use neraca::app::{App, Client, Decision, Finished, Moment, Page, Sample, Terms};
use neraca::cluster::{Attempt, History, Permit, Start};
use neraca::config::AccessLogSettings;
use neraca::http::head::RequestHead;
use neraca::http::transform::Transform;
use neraca::observe::access_log::{Note, Record, given_id};
use queue::{Queue, WAITING_MAX};
use writer::{Writer, open};

/// Maximum time that the end of the process waits for the writer.
const END_MAX: Duration = Duration::from_secs(5);

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
        let writer = Writer::new(settings.file.as_deref(), output, settings.format, Arc::clone(&queue));
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
        self.queue.tell(|waiting| waiting.reopen_at = Some(waiting.batch.len()));
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
}

impl<A: App> App for Logged<A> {
    type View = View<A::View>;

    fn view(&self) -> Self::View {
        let [chance, first, seed] = [0, 1, 2].map(|part| RandomState::new().hash_one(part));
        View {
            of_app: self.app.view(),
            ids: Ids::new(first, seed),
            sample: Sample::new(self.log.settings.one_of, chance),
        }
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
            Some(id) => note.take(id, head),
            None => note.take(&view.ids.next(), head),
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
        let record = Record {
            began: request.began,
            ended: request.ended,
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
        };
        self.log.queue.push(record, request.note, request.transform.and_then(Transform::encryption));
    }
}
