//! The answers of the admin listener, without sockets.
use std::net::SocketAddr;

use super::*;
use crate::app::{Finished, ListenerId, ListenerSettings, RequestEnd};
use crate::cluster::{Cluster, History, Policy};
use crate::http::head::{FieldSlots, HeadLimits, HeadScan};

const TOKEN: &str = "secret";

struct Rig {
    admin: Admin,
    router: Arc<Router>,
    listener: ListenerId,
    start: Instant,
}

impl Rig {
    fn new(token: Option<&str>, is_ready: bool) -> Self {
        let start = Instant::now();
        let backends: [SocketAddr; 2] = ["127.0.0.1:9001", "127.0.0.1:9002"].map(|one| one.parse().unwrap());
        let cluster = Cluster::new(&backends, Policy::RoundRobin, 1, start);
        let (router, listener) = (Arc::new(Router::new(cluster).counting()), ListenerId::unused());
        let facts = EngineFacts {
            engine: "thread".into(),
            listeners: vec![(listener, "127.0.0.1:8080".parse().unwrap())],
            workers: vec![
                vec![
                    ("accepted", "Accepted.", 5),
                    ("closed", "Closed.", 1),
                    ("wait_ns", "Waited.", 250_000_000),
                ],
                vec![
                    ("accepted", "Accepted.", 2),
                    ("closed", "Closed.", 2),
                    ("wait_ns", "Waited.", 250_000_000),
                ],
            ],
            is_ready,
            configuration: None,
            access_log_dropped: Some(4),
            tls: Some(TlsFacts { complete: vec![("1.3", "full", 5)], failed: vec![("no_tls", 6)] }),
        };
        let facts = Box::new(move || facts.clone());
        let admin = Admin::new(Arc::clone(&router), facts, token.map(Into::into), start);
        Rig { admin, router, listener, start }
    }

    /// Lets one request end after `ms` milliseconds.
    fn finish(&self, status: u16, end: RequestEnd, ms: u64) {
        let settings = ListenerSettings::default();
        let client = Client::new("10.0.0.1:5".parse().unwrap(), self.listener, &settings);
        let ended = self.start + Duration::from_millis(ms);
        let request = Finished {
            method: Method::Get,
            status: Some(status),
            note: None,
            attempts: 0,
            queued: None,
            received_bytes: 0,
            sent_bytes: 0,
            attempt: None,
            transform: None,
            began: self.start,
            ended,
            end,
        };
        self.router.finished(&mut self.router.view(), &client, || request);
    }

    fn ask(&self, line: &str, fields: &str) -> (u16, String) {
        let bytes = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut slots = FieldSlots::new();
        let head = HeadScan::default().request(bytes.as_bytes(), &HeadLimits::default(), &mut slots);
        let answer = self.admin.answer(&head.unwrap().unwrap(), self.start + Duration::from_secs(1));
        let body = match &answer.body {
            Body::Bytes(bytes, range) => String::from_utf8_lossy(&bytes[range.clone()]).into_owned(),
            _ => String::new(),
        };
        (answer.status, String::from_utf8_lossy(&answer.fields).into_owned() + &body)
    }
}

#[test]
fn each_path_has_its_answer() {
    // request line, status while ready, status during a drain, a part of the fields or of the body
    let cases = [
        ("GET /", 302, 302, "Location: /status\r\n"),
        ("GET /healthz", 200, 200, "the process runs"),
        ("HEAD /healthz", 200, 200, ""),
        ("GET /ready", 200, 503, ""),
        ("GET /ready?x=1", 200, 503, ""),
        ("GET /metrics", 200, 200, "version=0.0.4"),
        ("GET /status", 200, 200, "<!doctype html>"),
        ("GET /status.json", 200, 200, "application/json"),
        ("POST /metrics", 405, 405, "Allow: GET, HEAD\r\n"),
        ("DELETE /ready", 405, 405, "Allow: GET, HEAD\r\n"),
        ("GET /backends/127.0.0.1:9001/drain", 405, 405, "Allow: POST\r\n"),
        ("GET /nowhere", 404, 404, "expected /status"),
        ("POST /backends/127.0.0.1:9001/kill", 404, 404, ""),
    ];
    for (line, ready, draining, part) in cases {
        for (is_ready, status) in [(true, ready), (false, draining)] {
            let (said, text) = Rig::new(None, is_ready).ask(line, "");
            assert_eq!(said, status, "{line}: {text}");
            assert!(text.contains(part), "{line}: {text}");
        }
    }
}

#[test]
fn changes_need_the_token() {
    let drain = "POST /backends/127.0.0.1:9001/drain";
    // token of the process, request line, fields, status, drains afterwards
    let cases = [
        (None, drain, "Authorization: Bearer secret\r\n", 403, false),
        (Some(TOKEN), drain, "", 401, false),
        (Some(TOKEN), drain, "Authorization: Bearer secre\r\n", 401, false),
        (Some(TOKEN), drain, "Authorization: Bearer Secret\r\n", 401, false),
        (Some(TOKEN), drain, "Authorization: Basic secret\r\n", 401, false),
        (Some(TOKEN), "POST /backends/127.0.0.1:9009/drain", "Authorization: Bearer secret\r\n", 404, false),
        (Some(TOKEN), drain, "Authorization: Bearer\r\n", 401, false),
        (Some(TOKEN), drain, "Authorization: Bearer secret\r\n", 204, true),
        (Some(TOKEN), drain, "authorization: bearer secret\r\n", 204, true),
    ];
    for (token, line, fields, status, drains) in cases {
        let rig = Rig::new(token, true);
        assert_eq!(rig.ask(line, fields).0, status, "{line} {fields:?}");
        let backend = Arc::clone(&rig.router.cluster().members().backends()[0]);
        assert_eq!(backend.is_draining(), drains, "{line} {fields:?}");
        if drains {
            let enable = "POST /backends/127.0.0.1:9001/enable";
            assert_eq!((rig.ask(enable, fields).0, backend.is_draining()), (204, false));
        }
    }
}

#[test]
fn metrics_count_each_request_once() {
    let rig = Rig::new(None, true);
    for (status, end) in [
        (200, RequestEnd::Complete),
        (200, RequestEnd::Complete),
        (502, RequestEnd::Complete),
        (200, RequestEnd::CutOff),
    ] {
        rig.finish(status, end, 3);
    }
    let (_, text) = rig.ask("GET /metrics", "");
    let lines = [
        r#"neraca_requests_total{listener="127.0.0.1:8080",code="2xx",end="complete"} 2"#,
        r#"neraca_requests_total{listener="127.0.0.1:8080",code="2xx",end="cut_off"} 1"#,
        r#"neraca_requests_total{listener="127.0.0.1:8080",code="5xx",end="complete"} 1"#,
        r#"neraca_request_duration_seconds_bucket{le="0.0025",listener="127.0.0.1:8080"} 0"#,
        r#"neraca_request_duration_seconds_bucket{le="0.005",listener="127.0.0.1:8080"} 4"#,
        r#"neraca_request_duration_seconds_bucket{le="+Inf",listener="127.0.0.1:8080"} 4"#,
        r#"neraca_request_duration_seconds_count{listener="127.0.0.1:8080"} 4"#,
        r#"neraca_backend_available{cluster="default",backend="127.0.0.1:9002"} 1"#,
        r#"neraca_backend_failures_total{cluster="default",backend="127.0.0.1:9001",reason="refused"} 0"#,
        "neraca_client_connections 4",
        "neraca_engine_accepted_total 7",
        "neraca_engine_wait_seconds_total 0.5",
        "neraca_ready 1",
        "# TYPE neraca_access_log_dropped_total counter",
        "neraca_access_log_dropped_total 4",
        "neraca_tls_handshakes_total{version=\"1.3\",kind=\"full\"} 5",
        "neraca_tls_handshake_failures_total{reason=\"no_tls\"} 6",
    ];
    for line in lines {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let (_, open_metrics) = rig.ask("GET /metrics", "Accept: application/openmetrics-text\r\n");
    assert!(open_metrics.ends_with("# EOF\n") && !text.contains("# EOF"), "{open_metrics}");
    assert!(open_metrics.contains("\nneraca_access_log_dropped_total 4\n"), "{open_metrics}");
}

#[test]
fn the_status_tells_of_backends_and_of_the_last_picks() {
    let rig = Rig::new(Some(TOKEN), true);
    let json = || -> serde_json::Value {
        let (_, text) = rig.ask("GET /status.json", "");
        serde_json::from_str(text.split("\r\n\r\n").last().unwrap().lines().last().unwrap()).unwrap()
    };
    assert_eq!(json()["picks"].as_array().unwrap().len(), 0);
    // Somebody has looked, so the next pick is recorded.
    let cluster = rig.router.cluster();
    let attempt = cluster.pick(&cluster.members(), &History::NONE, rig.start).unwrap();
    cluster.members().backends()[1].drain(true);
    rig.finish(200, RequestEnd::Complete, 3);
    let status = json();
    assert_eq!(
        (&status["requests"], &status["failed"], &status["clients"]),
        (&1.into(), &0.into(), &4.into())
    );
    assert_eq!(status["access_log_dropped"], 4);
    let states: Vec<_> = status["backends"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(states, ["healthy", "draining"]);
    assert_eq!(status["backends"][0]["in_flight"], 1);
    assert_eq!(status["picks"][0]["picked"], attempt.backend().address().to_string());
    // Nobody has looked for a while.
    rig.admin.sweep(rig.start + Duration::from_secs(60));
    assert_eq!(cluster.picks_since(0).len(), 0);
}
