//! The switches for experiments: an app that does extra work for each request, to measure the cost of this work.
//!
//! All switches are here, in an app that wraps another app. So the other apps contain no code for experiments. The only
//! exception is [`Decision::AnswerAfter`], because only the exchange can delay an answer without blocking a worker.
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use neraca::app::{App, Client, Decision, Finished, Moment, Page, Terms};
use neraca::cluster::{History, Permit, Start};
use neraca::http::head::RequestHead;

use crate::faults::FaultFile;

/// The extra work for each request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Switches {
    /// Print one line on stdout with one write.
    pub(crate) access_log: bool,
    /// List this directory.
    pub(crate) list_directory: Option<PathBuf>,
    /// Read the served file below this directory once more.
    pub(crate) read_file: Option<PathBuf>,
    /// Delay the answer, like a backend with work to do.
    pub(crate) delay: Duration,
}

impl Switches {
    /// True when no switch is on.
    pub(crate) fn are_off(&self) -> bool {
        *self == Switches::default()
    }
}

/// An app that does extra work and then asks the wrapped app.
#[derive(Debug)]
pub(crate) struct Experiment<A> {
    app: Arc<A>,
    switches: Switches,
    faults: Option<FaultFile>,
    /// No switch is on, and there are no faults.
    is_off: bool,
}

impl<A> Experiment<A> {
    /// Wraps `app`.
    pub(crate) fn new(app: Arc<A>, switches: Switches, faults: Option<FaultFile>) -> Self {
        let is_off = switches.are_off() && faults.is_none();
        Experiment { app, switches, faults, is_off }
    }
}

impl<A: App> App for Experiment<A> {
    type View = A::View;

    fn view(&self) -> A::View {
        self.app.view()
    }

    fn refresh(&self, view: &mut A::View) {
        self.app.refresh(view);
    }

    fn sweep(&self, now: Instant) {
        self.faults.iter().for_each(FaultFile::read);
        self.app.sweep(now);
    }

    fn decide(
        &self,
        view: &mut A::View,
        head: &RequestHead<'_>,
        client: &Client<'_>,
        now: &Moment,
    ) -> Decision {
        if self.is_off {
            return self.app.decide(view, head, client, now);
        }
        let Switches { access_log, list_directory, read_file, delay } = &self.switches;
        if *access_log {
            let _ = io::stdout().write_all(line(head, client.peer, now).as_bytes());
        }
        if let Some(directory) = list_directory {
            let _ = fs::read_dir(directory).map(Iterator::count);
        }
        let decision = self.app.decide(view, head, client, now);
        let apply = |decision, faults: &FaultFile| faults.apply(decision, client.peer, now.instant);
        match self.faults.iter().fold(decision, apply) {
            Decision::Answer(answer) => {
                if let Some(root) = read_file
                    && answer.status == 200
                {
                    let _ = fs::read(file_of(root, head.target));
                }
                if delay.is_zero() { Decision::Answer(answer) } else { Decision::AnswerAfter(*delay, answer) }
            }
            decision => decision,
        }
    }

    fn retry(
        &self,
        view: &mut A::View,
        terms: Option<&Terms>,
        history: &History<'_>,
        permit: &mut Option<Permit>,
        now: &Moment,
    ) -> Option<Start> {
        self.app.retry(view, terms, history, permit, now)
    }

    fn page(&self, view: &A::View, status: u16) -> Option<Arc<Page>> {
        self.app.page(view, status)
    }

    fn finished<'a>(&self, view: &mut A::View, client: &Client<'_>, request: impl FnOnce() -> Finished<'a>) {
        self.app.finished(view, client, request);
    }
}

/// Returns the line of a request in the access log.
fn line(head: &RequestHead<'_>, client: SocketAddr, now: &Moment) -> String {
    let date = String::from_utf8_lossy(&now.date);
    format!("{client} [{date}] {:?} {}\n", head.method, head.target)
}

/// Returns the file of a request that was answered with 200. Does not decode percent-encoded names, because the
/// laboratory sends none.
fn file_of(root: &Path, target: &str) -> PathBuf {
    let path = target.split('?').next().unwrap_or_default();
    let index = if path.ends_with('/') { "index.html" } else { "" };
    root.join(format!("{}{index}", path.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use neraca::app::{ListenerId, ListenerSettings};
    use neraca::http::answer::{Answer, Body, Bytes};
    use neraca::http::head::{FieldSlots, HeadLimits, HeadScan};

    use super::*;

    fn with_head<T>(check: impl FnOnce(&RequestHead<'_>, &Client<'_>, &Moment) -> T) -> T {
        let bytes = b"GET /a?b HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut slots = FieldSlots::new();
        let head = HeadScan::default().request(bytes, &HeadLimits::default(), &mut slots).unwrap().unwrap();
        let now = Moment { instant: Instant::now(), date: *b"Sun, 06 Nov 1994 08:49:37 GMT", clients: 1 };
        let settings = ListenerSettings::default();
        let client = Client::new("10.0.0.1:5".parse().unwrap(), ListenerId::unused(), &settings);
        check(&head, &client, &now)
    }

    #[test]
    fn a_request_is_one_line() {
        let said = with_head(|head, client, now| line(head, client.peer, now));
        assert_eq!(said, "10.0.0.1:5 [Sun, 06 Nov 1994 08:49:37 GMT] Get /a?b\n");
    }

    #[test]
    fn the_file_of_a_target() {
        for (target, file) in
            [("/", "/r/index.html"), ("/a/b.css?v=1", "/r/a/b.css"), ("/a/?x", "/r/a/index.html")]
        {
            assert_eq!(file_of(Path::new("/r"), target), Path::new(file), "{target}");
        }
    }

    /// Answers every request with 204.
    #[derive(Debug)]
    struct Empty;

    impl App for Empty {
        type View = ();

        fn view(&self) {}

        fn refresh(&self, _view: &mut ()) {}

        fn decide(&self, _: &mut (), _: &RequestHead<'_>, _: &Client<'_>, _: &Moment) -> Decision {
            Decision::Answer(Answer {
                status: 204,
                fields: Bytes::Static(b""),
                body: Body::None,
                close: false,
            })
        }
    }

    #[test]
    fn an_answer_is_delayed_only_by_the_switch() {
        assert!(Switches::default().are_off());
        let at_once = Experiment::new(Arc::new(Empty), Switches::default(), None);
        let decision = with_head(|head, client, now| at_once.decide(&mut (), head, client, now));
        assert!(matches!(decision, Decision::Answer(_)), "{decision:?}");
        let delay = Duration::from_millis(5);
        let later = Experiment::new(Arc::new(Empty), Switches { delay, ..Switches::default() }, None);
        let decision = with_head(|head, client, now| later.decide(&mut (), head, client, now));
        assert!(matches!(decision, Decision::AnswerAfter(by, _) if by == delay), "{decision:?}");
    }
}
