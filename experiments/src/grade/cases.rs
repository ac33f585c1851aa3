//! The cases of `experiments/grade/cases.json`, and the judgement about what was seen. README.md beside the file explains
//! the format.

use serde::{Deserialize, Serialize};

use crate::grade::origin::{BODY, Seen};
use crate::run::message::{Message, Progress, response};

const FILE: &str = include_str!("../../grade/cases.json");

/// The whole file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Corpus {
    pub(crate) requests: Vec<Case>,
    pub(crate) responses: Vec<Case>,
}

/// One case: a raw message and the allowed outcomes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The rule, such as `RFC 9112, 6.3`.
    pub(crate) rule: String,
    /// One sentence.
    pub(crate) why: String,
    /// The request that the client sends.
    #[serde(default)]
    request: Vec<Part>,
    /// The raw response of the backend (cases of responses).
    #[serde(default)]
    response: Vec<Part>,
    pub(crate) allowed: Vec<Outcome>,
    /// The allowed status codes of a refusal; empty for every status from 400.
    #[serde(default)]
    pub(crate) status: Vec<u16>,
    /// Number of requests that the bytes of the client contain.
    #[serde(default = "one")]
    pub(crate) count: usize,
    /// The body of a whole response.
    #[serde(default = "ok")]
    body: String,
    /// Fields that a forwarded message must have and must not have: `name` or `name: value`.
    #[serde(default)]
    has: Vec<String>,
    #[serde(default)]
    lacks: Vec<String>,
}

fn one() -> usize {
    1
}

fn ok() -> String {
    BODY.into()
}

/// A piece of a raw message. Each character is one byte (U+0000 to U+00FF).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Part {
    Text(String),
    Repeat { repeat: String, times: usize },
}

/// The visible end of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The backend got the requests, all valid, and the client got its whole responses.
    Forwarded,
    /// The client got an error of the balancer, and no complete request reached a backend.
    Refused,
    /// The client got a response of the balancer, and no complete request reached a backend.
    Answered,
    /// The connection was closed without a response, and no complete request reached a backend.
    Closed,
    /// The client got the start of a response, and then the connection visibly broke.
    Broken,
    /// The client got an error of the balancer instead of the backend's response.
    Error,
    /// Anything else.
    Other,
}

/// What the client received.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    /// True when the balancer closed the connection.
    pub(crate) ended: bool,
}

/// The result of one case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CaseResult {
    pub(crate) name: String,
    pub(crate) rule: String,
    pub(crate) why: String,
    pub(crate) outcome: Outcome,
    pub(crate) passed: bool,
    /// One sentence about the outcome.
    pub(crate) seen: String,
}

fn bytes(parts: &[Part]) -> Vec<u8> {
    let byte = |c: char| u8::try_from(u32::from(c)).unwrap_or(b'?');
    let latin = |text: &str| text.chars().map(byte).collect::<Vec<u8>>();
    let part = |part: &Part| match part {
        Part::Text(text) => latin(text),
        Part::Repeat { repeat, times } => latin(repeat).repeat(*times),
    };
    parts.iter().flat_map(part).collect()
}

impl Corpus {
    /// Reads the file that this program was built with.
    pub(crate) fn load() -> Result<Self, String> {
        serde_json::from_str(FILE).map_err(|error| format!("experiments/grade/cases.json: {error}"))
    }
}

impl Case {
    /// Returns the bytes that the client sends.
    pub(crate) fn sent(&self) -> Vec<u8> {
        match self.request.is_empty() {
            true => b"GET / HTTP/1.1\r\nHost: test\r\n\r\n".to_vec(),
            false => bytes(&self.request),
        }
    }

    /// Returns the raw response of the backend; None for a case of requests.
    pub(crate) fn answer(&self) -> Option<Vec<u8>> {
        (!self.response.is_empty()).then(|| bytes(&self.response))
    }

    /// True when the client asked with HEAD.
    fn to_head(&self) -> bool {
        self.sent().starts_with(b"HEAD ")
    }

    /// Returns the received complete responses, and the state of the rest.
    pub(crate) fn responses(&self, received: &Received) -> (Vec<Message>, Option<Progress>) {
        let (mut rest, mut found) = (&received.bytes[..], Vec::new());
        while !rest.is_empty() {
            match response(rest, self.to_head(), received.ended) {
                Progress::Done(message) => {
                    rest = &rest[message.bytes..];
                    found.push(message);
                }
                other => return (found, Some(other)),
            }
        }
        (found, None)
    }

    /// Makes the result of the case.
    pub(crate) fn result(&self, outcome: Outcome, passed: bool, seen: String) -> CaseResult {
        let Case { name, rule, why, .. } = self.clone();
        CaseResult { name, rule, why, outcome, passed, seen }
    }

    /// Judges what client and backends have seen.
    pub(crate) fn judge(&self, received: &Received, seen: &Seen) -> CaseResult {
        let (responses, rest) = self.responses(received);
        let is_request = self.response.is_empty();
        let (outcome, said) = match is_request {
            true => self.request_outcome(&responses, rest.as_ref(), received.ended, seen),
            false => self.response_outcome(&responses, rest.as_ref(), received.ended),
        };
        let is_allowed = |r: &Message| self.status.is_empty() || self.status.contains(&r.status);
        let wrong = match outcome {
            Outcome::Forwarded => self.wrong_field(if is_request { &seen.requests } else { &responses }),
            Outcome::Refused | Outcome::Error if !responses.iter().all(is_allowed) => {
                Some("another status than the rule says".into())
            }
            _ => None,
        };
        let passed = self.allowed.contains(&outcome) && wrong.is_none();
        self.result(outcome, passed, [Some(said), wrong].into_iter().flatten().collect::<Vec<_>>().join("; "))
    }

    fn wrong_field(&self, messages: &[Message]) -> Option<String> {
        let missing = self.has.iter().find(|name| messages.iter().any(|message| !message.has(name)));
        let extra = self.lacks.iter().find(|name| messages.iter().any(|message| message.has(name)));
        let missing = missing.map(|name| format!("`{name}` is missing in the forwarded message"));
        missing.or(extra.map(|name| format!("`{name}` is in the forwarded message")))
    }

    fn request_outcome(
        &self,
        responses: &[Message],
        rest: Option<&Progress>,
        ended: bool,
        seen: &Seen,
    ) -> (Outcome, String) {
        use Outcome::{Answered, Closed, Forwarded, Other, Refused};
        let (reached, count) = (seen.requests.len(), self.count);
        let all_good = responses.len() == reached && responses.iter().all(|r| r.status == 200);
        match (responses, rest) {
            _ if seen.invalid > 0 => (Other, "an invalid request reached a backend".into()),
            (_, None) if reached == count && all_good => (Forwarded, "forwarded".into()),
            ([one], None) if reached == 0 && one.status >= 400 => {
                (Refused, format!("refused with {}", one.status))
            }
            ([one], None) if reached == 0 => (Answered, format!("answered with {}", one.status)),
            ([], None) if reached == 0 && ended => (Closed, "closed without a response".into()),
            ([], None) if reached == 0 => (Other, "no response".into()),
            _ => {
                let statuses: Vec<String> = responses.iter().map(|r| r.status.to_string()).collect();
                let got = if statuses.is_empty() { "no complete response" } else { &statuses.join(", ") };
                (Other, format!("{reached} of {count} requests reached a backend, the client got {got}"))
            }
        }
    }

    fn response_outcome(
        &self,
        responses: &[Message],
        rest: Option<&Progress>,
        ended: bool,
    ) -> (Outcome, String) {
        use Outcome::{Broken, Closed, Error, Forwarded, Other};
        match (responses, rest) {
            ([one], None) => match (one.status, one.body.len()) {
                (status, _) if self.is_own(one) => (Forwarded, format!("forwarded with {status}")),
                (status @ 500.., _) => (Error, format!("answered with {status}")),
                (status, bytes) => (Other, format!("the client got {status} and {bytes} bytes")),
            },
            ([], Some(Progress::Partial { .. })) if ended => {
                (Broken, "the connection broke within the response".into())
            }
            ([], None) if ended => (Closed, "closed without a response".into()),
            ([], Some(Progress::Invalid)) => (Other, "an invalid response reached the client".into()),
            ([], _) => (Other, "no complete response".into()),
            _ => (Other, format!("the client got bytes behind {} responses", responses.len())),
        }
    }

    /// True when a response is the one that the backend sent: it has the wanted body, and the backend's status.
    fn is_own(&self, message: &Message) -> bool {
        let raw = self.answer().unwrap_or_default();
        let status = format!(" {}", message.status);
        let starts = raw.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"HTTP/1."));
        let mut starts = starts.map(|line| String::from_utf8_lossy(line).into_owned());
        let body = if self.to_head() { b"" } else { self.body.as_bytes() };
        starts.any(|line| line.contains(&status)) && message.body == body
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::run::message::request;

    #[test]
    fn every_case_has_a_name_a_rule_and_an_outcome() {
        let corpus = Corpus::load().unwrap();
        let all: Vec<&Case> = corpus.requests.iter().chain(&corpus.responses).collect();
        let names: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for case in &all {
            assert!(case.rule.starts_with("RFC 911") && case.why.ends_with('.'), "{}", case.name);
            assert!(!case.allowed.is_empty() && !case.allowed.contains(&Outcome::Other), "{}", case.name);
        }
        assert!(corpus.requests.iter().all(|case| case.answer().is_none() && !case.sent().is_empty()));
        assert!(corpus.responses.iter().all(|case| case.answer().is_some()));
    }

    /// A request that must be forwarded is valid for the backends' own strict reader.
    #[test]
    fn what_must_be_forwarded_is_valid() {
        let corpus = Corpus::load().unwrap();
        for case in corpus.requests.iter().filter(|case| case.allowed == [Outcome::Forwarded]) {
            let sent = case.sent();
            let start = sent.iter().position(|byte| !b"\r\n".contains(byte)).unwrap();
            assert!(matches!(request(&sent[start..]), Progress::Done(_)), "{}", case.name);
        }
    }

    fn case(json: &str) -> Case {
        serde_json::from_str(&format!(r#"{{"name":"n","rule":"r","why":"w.",{json}}}"#)).unwrap()
    }

    #[test]
    fn requests_are_judged_by_both_ends() {
        let forward = case(r#""allowed":["forwarded"],"lacks":["te"]"#);
        let refuse = case(r#""allowed":["refused"],"status":[400]"#);
        let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let refused = "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n";
        let other = "HTTP/1.1 501 No\r\nContent-Length: 0\r\n\r\n";
        let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let te = "GET / HTTP/1.1\r\nHost: a\r\nTE: x\r\n\r\n";
        let cases = [
            (&forward, good, vec![plain], 0, true),
            (&forward, good, vec![te], 0, false),
            (&forward, good, vec![plain, plain], 0, false),
            (&forward, good, vec![], 0, false),
            (&forward, refused, vec![], 1, false),
            (&refuse, refused, vec![], 0, true),
            (&refuse, refused, vec![plain], 0, false),
            (&refuse, other, vec![], 0, false),
            (&refuse, "", vec![], 0, false),
        ];
        for (case, received, reached, invalid, passed) in cases {
            let received = Received { bytes: received.into(), ended: true };
            let requests = reached.iter().map(|text| match request(text.as_bytes()) {
                Progress::Done(message) => message,
                other => panic!("{other:?}"),
            });
            let judged = case.judge(&received, &Seen { requests: requests.collect(), invalid });
            assert_eq!(judged.passed, passed, "{judged:?}");
        }
    }

    #[test]
    fn responses_are_judged_by_the_client() {
        let cut =
            r#""response":["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"],"allowed":["broken","error"]"#;
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", true, Outcome::Broken, true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", false, Outcome::Other, false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true, Outcome::Forwarded, false),
            ("HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n", false, Outcome::Error, true),
            ("", true, Outcome::Closed, false),
        ];
        for (received, ended, outcome, passed) in cases {
            let judged = case(cut).judge(&Received { bytes: received.into(), ended }, &Seen::default());
            assert_eq!((judged.outcome, judged.passed), (outcome, passed), "{received:?}");
        }
    }
}
