//! The cases of `experiments/grade/cases.json`, and the judgement about what was seen. README.md beside the file explains
//! the format.

use std::collections::BTreeMap;

use itertools::Itertools;
use serde::{Deserialize, Deserializer, Serialize};

use crate::run::message::{Message, Unfinished, response};
use crate::run::origin::{BODY, Seen};

/// Reads the file that this program was built with: the cases of requests, then those of responses.
pub(crate) fn all() -> Vec<Case> {
    let file = serde_json::from_str(include_str!("../../grade/cases.json"));
    let file: BTreeMap<String, Vec<Case>> = file.expect("cases.json is checked by a test");
    file.into_values().flatten().collect()
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
    #[serde(default = "get", deserialize_with = "bytes")]
    pub(crate) request: Vec<u8>,
    /// The raw response of the backend; None for a case of requests.
    #[serde(default, deserialize_with = "bytes")]
    pub(crate) response: Option<Vec<u8>>,
    pub(crate) allowed: Vec<Outcome>,
    /// The allowed status codes of a refusal; empty for every status from 400.
    #[serde(default)]
    pub(crate) status: Vec<u16>,
    /// Number of requests that the bytes of the client contain, if it is not 1.
    pub(crate) count: Option<usize>,
    /// The body of a whole response, if it is not [`BODY`].
    body: Option<String>,
    /// Fields that a forwarded message must have and must not have: `name` or `name: value`.
    #[serde(default)]
    has: Vec<String>,
    #[serde(default)]
    lacks: Vec<String>,
}

fn get() -> Vec<u8> {
    b"GET / HTTP/1.1\r\nHost: test\r\n\r\n".to_vec()
}

/// A piece of a raw message. Each character is one byte (U+0000 to U+00FF).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Part {
    Text(String),
    Repeat { repeat: String, times: usize },
}

/// The visible end of a case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
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
    #[default]
    Other,
}

/// The result of one case.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CaseResult {
    pub(crate) name: String,
    pub(crate) rule: String,
    pub(crate) why: String,
    pub(crate) outcome: Outcome,
    pub(crate) passed: bool,
    /// One sentence about the outcome.
    pub(crate) seen: String,
}

fn bytes<'de, T: From<Vec<u8>>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    let byte = |c: char| u8::try_from(u32::from(c)).unwrap_or(b'?');
    let latin = |text: &str| text.chars().map(byte).collect::<Vec<u8>>();
    let part = |part: &Part| match part {
        Part::Text(text) => latin(text),
        Part::Repeat { repeat, times } => latin(repeat).repeat(*times),
    };
    Ok(Vec::deserialize(from)?.iter().flat_map(part).collect::<Vec<u8>>().into())
}

impl Case {
    /// True when the client asked with HEAD.
    fn to_head(&self) -> bool {
        self.request.starts_with(b"HEAD ")
    }

    /// Returns the complete responses among received bytes, and the state of the rest. `ended` is true when the balancer
    /// closed the connection.
    pub(crate) fn responses(&self, received: &[u8], ended: bool) -> (Vec<Message>, Option<Unfinished>) {
        let (mut rest, mut found) = (received, Vec::new());
        while !rest.is_empty() {
            match response(rest, self.to_head(), ended) {
                Ok(message) => {
                    rest = &rest[message.bytes..];
                    found.push(message);
                }
                Err(unfinished) => return (found, Some(unfinished)),
            }
        }
        (found, None)
    }

    /// Judges what client and backends have seen.
    pub(crate) fn judge(&self, received: &[u8], ended: bool, seen: &Seen) -> CaseResult {
        let (responses, rest) = self.responses(received, ended);
        let outcome = self.outcome(&responses, rest, ended, seen);
        let is_allowed = |r: &Message| self.status.is_empty() || self.status.contains(&r.status);
        let forwarded = if self.response.is_none() { &seen.requests } else { &responses };
        let wrong = match outcome {
            Outcome::Forwarded => self.wrong_field(forwarded),
            Outcome::Refused | Outcome::Error if !responses.iter().all(is_allowed) => {
                Some("another status than the rule says".into())
            }
            _ => None,
        };
        let statuses = responses.iter().map(|response| response.status).join(", ");
        let (valid, invalid) = (seen.requests.len(), seen.invalid);
        let said = [
            Some(format!("{outcome:?}").to_lowercase()),
            (!statuses.is_empty()).then(|| format!("status {statuses}")),
            (outcome == Outcome::Other)
                .then(|| format!("{valid} valid and {invalid} invalid requests reached a backend")),
        ];
        CaseResult {
            name: self.name.clone(),
            rule: self.rule.clone(),
            why: self.why.clone(),
            outcome,
            passed: self.allowed.contains(&outcome) && wrong.is_none(),
            seen: said.into_iter().chain([wrong]).flatten().join("; "),
        }
    }

    fn wrong_field(&self, messages: &[Message]) -> Option<String> {
        let has = self.has.iter().map(|field| (field, true, "is missing"));
        let mut wanted = has.chain(self.lacks.iter().map(|field| (field, false, "is")));
        let wrong = wanted.find(|(field, has, _)| messages.iter().any(|message| message.has(field) != *has));
        wrong.map(|(field, _, said)| format!("`{field}` {said} in the forwarded message"))
    }

    fn outcome(&self, responses: &[Message], rest: Option<Unfinished>, ended: bool, seen: &Seen) -> Outcome {
        let (is_request, reached) = (self.response.is_none(), seen.requests.len());
        let all_good = responses.len() == reached && responses.iter().all(|r| r.status == 200);
        match (responses, rest) {
            _ if is_request && seen.invalid > 0 => Outcome::Other,
            (_, None) if is_request && reached == self.count.unwrap_or(1) && all_good => Outcome::Forwarded,
            ([one], None) if is_request && reached == 0 && one.status >= 400 => Outcome::Refused,
            ([_], None) if is_request && reached == 0 => Outcome::Answered,
            ([], None) if ended && (!is_request || reached == 0) => Outcome::Closed,
            _ if is_request => Outcome::Other,
            ([one], None) if self.is_own(one) => Outcome::Forwarded,
            ([one], None) if one.status >= 500 => Outcome::Error,
            ([], Some(Unfinished::Head | Unfinished::Body)) if ended => Outcome::Broken,
            _ => Outcome::Other,
        }
    }

    /// True when a response is the one that the backend sent: it has the wanted body, and the backend's status.
    fn is_own(&self, message: &Message) -> bool {
        let status = format!(" {}", message.status);
        let sent = String::from_utf8_lossy(self.response.as_deref().unwrap_or_default());
        let mut starts = sent.split('\n').filter(|line| line.starts_with("HTTP/1."));
        let body = if self.to_head() { b"" } else { self.body.as_deref().unwrap_or(BODY).as_bytes() };
        starts.any(|line| line.contains(&status)) && message.body == body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::message::request;

    #[test]
    fn every_case_has_a_name_a_rule_and_an_outcome() {
        let cases = all();
        assert!(cases.iter().map(|case| &case.name).all_unique());
        for case in &cases {
            assert!(case.rule.starts_with("RFC 911") && case.why.ends_with('.'), "{}", case.name);
            assert!(!case.allowed.is_empty() && !case.allowed.contains(&Outcome::Other), "{}", case.name);
        }
        // The plain request between two cases is the first one.
        assert!(cases[0].response.is_none() && cases.is_sorted_by_key(|case| case.response.is_some()));
    }

    /// Without a backend's response, the case is one of requests, which both ends judge. Otherwise the client judges.
    #[test]
    fn a_case_is_judged_by_what_both_ends_saw() {
        let case = |json: &str| -> Case {
            serde_json::from_str(&format!(r#"{{"name":"n","rule":"r","why":"w.",{json}}}"#)).unwrap()
        };
        let forward = &case(r#""allowed":["forwarded"],"lacks":["te"]"#);
        let refuse = &case(r#""allowed":["refused"],"status":[400]"#);
        let part = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok";
        let cut = &Case { response: Some(part.into()), ..case(r#""allowed":["broken","error"]"#) };
        let good = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let [refused, other, bad] =
            ["400", "501", "502"].map(|status| format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"));
        let [refused, other, bad] = [&*refused, &*other, &*bad];
        let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let te = "GET / HTTP/1.1\r\nHost: a\r\nTE: x\r\n\r\n";
        // What the client got, whether its connection ended, the valid requests, the number of invalid ones.
        type Row<'a> = (&'a Case, &'a str, bool, &'a [&'a str], usize, Outcome, bool);
        let cases: [Row<'_>; 14] = [
            (forward, good, true, &[plain], 0, Outcome::Forwarded, true),
            (forward, good, true, &[te], 0, Outcome::Forwarded, false),
            (forward, good, true, &[plain, plain], 0, Outcome::Other, false),
            (forward, good, true, &[], 0, Outcome::Answered, false),
            (forward, refused, true, &[], 1, Outcome::Other, false),
            (refuse, refused, true, &[], 0, Outcome::Refused, true),
            (refuse, refused, true, &[plain], 0, Outcome::Other, false),
            (refuse, other, true, &[], 0, Outcome::Refused, false),
            (refuse, "", true, &[], 0, Outcome::Closed, false),
            (cut, part, true, &[], 0, Outcome::Broken, true),
            (cut, part, false, &[], 0, Outcome::Other, false),
            (cut, good, true, &[], 0, Outcome::Forwarded, false),
            (cut, bad, false, &[], 0, Outcome::Error, true),
            (cut, "", true, &[], 0, Outcome::Closed, false),
        ];
        for (case, received, ended, reached, invalid, outcome, passed) in cases {
            let requests = reached.iter().map(|text| request(text.as_bytes()).unwrap());
            let seen = Seen { requests: requests.collect(), invalid };
            let judged = case.judge(received.as_bytes(), ended, &seen);
            assert_eq!((judged.outcome, judged.passed), (outcome, passed), "{judged:?}");
        }
    }
}
