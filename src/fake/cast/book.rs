//! The fake Cast's books and its judgement of one call.
//!
//! Owns the order of checks: path, key, shape, rate limit, number and text, refusal rules, fault. So a caller's own
//! mistake always shows, and a fault hits only a call that would have been served. Every send call is one ledger line.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::{CastFault, Faults};
use super::rule::{self, Bucket};
use super::{FakeCastOptions, key_fingerprint};
use crate::domain::time::UnixMillis;
use crate::fake::Unexpected;
use crate::fake::server::{Ending, Reply, chunked};
use crate::fake::wire::{self, Misfit, json_answer, present, raw_answer, set_header};

/// The one path of the contract.
const SEND: &str = "/api/sms/send";
const JSON: &str = "application/json; charset=utf-8";

/// One line of the ledger: a call to the send endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CastCall {
    /// When it came.
    pub at: UnixMillis,
    /// [`key_fingerprint`] of the key it carried; empty when it carried none.
    pub key: String,
    /// Its number, if the body could be read.
    pub to: Option<String>,
    /// Its text, if the body could be read.
    pub message: Option<String>,
    /// Its sender id, if any.
    pub sender_id: Option<String>,
    /// Its `Idempotency-Key`, if any.
    pub idempotency_key: Option<String>,
    /// The status it was answered with; `None` when it was left hanging or reset.
    pub status: Option<u16>,
    /// Whether Cast took the SMS: it is out, whatever the caller was told.
    pub taken: bool,
    /// The id of the SMS, if it was taken.
    pub message_id: Option<String>,
    /// Why it was refused, in the words of the answer.
    pub problem: Option<String>,
    /// Whether it broke the contract by itself: no fault, limit, refused key or refusal rule is behind the problem.
    pub breach: bool,
}

/// The send endpoint's body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendBody {
    to: String,
    message: String,
    #[serde(default, deserialize_with = "present")]
    sender_id: Option<String>,
}

pub(super) struct Book {
    pub(super) options: FakeCastOptions,
    pub(super) faults: Faults,
    pub(super) refused: Vec<(String, String)>,
    pub(super) calls: Vec<CastCall>,
    pub(super) taken: usize,
    pub(super) unexpected: Vec<Unexpected>,
    buckets: HashMap<String, Bucket>,
}

impl Book {
    pub(super) fn new(options: FakeCastOptions) -> Self {
        Self {
            options,
            faults: Faults::default(),
            refused: Vec::new(),
            calls: Vec::new(),
            taken: 0,
            unexpected: Vec::new(),
            buckets: HashMap::new(),
        }
    }

    pub(super) fn answer(&mut self, call: &Request<Bytes>) -> Reply {
        let at = self.options.clock.now();
        let path = call.uri().path();
        if path != SEND || call.method() != Method::POST {
            self.unexpected.push(Unexpected { at, method: call.method().to_string(), path: path.to_owned() });
            let status = if path == SEND { StatusCode::METHOD_NOT_ALLOWED } else { StatusCode::NOT_FOUND };
            return Reply::Answer(json_answer(status, &failure("Not found")));
        }
        let key = wire::header(call, "x-api-key");
        let mut line = CastCall {
            at,
            key: key.map(key_fingerprint).unwrap_or_default(),
            to: None,
            message: None,
            sender_id: None,
            idempotency_key: wire::header(call, "idempotency-key").map(str::to_owned),
            status: None,
            taken: false,
            message_id: None,
            problem: None,
            breach: false,
        };
        let reply = match self.admit(call, key.unwrap_or_default(), &mut line) {
            Ok(sms) => self.serve(&sms, &mut line),
            Err(refusal) => refusal.reply(&mut line),
        };
        let reply = match reply {
            Reply::Answer(answer) if self.options.latency > Duration::ZERO => {
                Reply::Late { by: self.options.latency, answer }
            }
            other => other,
        };
        line.status = reply.status();
        self.taken += usize::from(line.taken);
        self.calls.push(line);
        reply
    }

    /// Everything that can be wrong with a call before any fault.
    fn admit(&mut self, call: &Request<Bytes>, key: &str, line: &mut CastCall) -> Result<SendBody, Refusal> {
        if !self.options.api_keys.iter().any(|known| known == key) {
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, "Invalid API key"));
        }
        let sms: SendBody = wire::json(call).map_err(|misfit| Refusal::of(&misfit))?;
        line.to = Some(sms.to.clone());
        line.message = Some(sms.message.clone());
        line.sender_id.clone_from(&sms.sender_id);

        let FakeCastOptions { rate_per_second, burst, .. } = self.options;
        let now = self.options.clock.mono();
        let bucket = self.buckets.entry(key.to_owned()).or_insert_with(|| Bucket::full(burst, now));
        if let Err(wait) = bucket.take(rate_per_second, burst, now) {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            return Err(Refusal::too_many(Some(seconds.to_string())));
        }
        self.check(&sms)?;
        Ok(sms)
    }

    fn check(&self, sms: &SendBody) -> Result<(), Refusal> {
        let breach = |words: &str| Err(Refusal::breach(StatusCode::BAD_REQUEST, words));
        let refused = |words: &str| Err(Refusal::new(StatusCode::BAD_REQUEST, words));
        if !rule::is_mobile(&sms.to) {
            return breach("Invalid phone number");
        }
        if sms.message.is_empty() {
            return breach("Message is required");
        }
        if sms.message.chars().count() > rule::MAX_CHARS {
            return breach("Message exceeds 450 characters");
        }
        if rule::segments(&sms.message) > rule::MAX_SEGMENTS {
            return breach("Message exceeds 3 SMS parts");
        }
        if let Some(sender_id) = &sms.sender_id {
            if !rule::is_sender_id(sender_id) {
                return breach("Invalid sender_id");
            }
            let known = &self.options.sender_ids;
            if !known.is_empty() && !known.contains(sender_id) {
                return refused("Unknown sender_id");
            }
        }
        let rule = self.refused.iter().find(|(suffix, _)| sms.to.ends_with(suffix.as_str()));
        match rule {
            Some((_, reason)) => refused(reason),
            None => Ok(()),
        }
    }

    /// Serves a call that is in order, or fails it as told.
    fn serve(&mut self, sms: &SendBody, line: &mut CastCall) -> Reply {
        let fault = self.faults.strike(&sms.to);
        let id = if fault.takes() { self.take(line) } else { Value::Null };
        let parts = rule::segments(&sms.message);
        let success = json!({"success": true, "message_id": id, "parts": parts});
        match fault {
            CastFault::Pass => ok(&success),
            CastFault::Status(code, body) => Reply::Answer(raw_answer(wire::status(code), JSON, body)),
            CastFault::StatusAfterTaking(code) => {
                Reply::Answer(json_answer(wire::status(code), &failure("Internal server error")))
            }
            CastFault::Hang { after_taking } => {
                Reply::Hang { released: after_taking.then(|| json_answer(StatusCode::OK, &success)) }
            }
            CastFault::ResetBeforeTaking | CastFault::ResetAfterTaking => Reply::Reset,
            CastFault::Garbage => Reply::Answer(raw_answer(StatusCode::OK, "text/html", "<html>OK</html>")),
            CastFault::WithoutSuccess => ok(&json!({})),
            CastFault::SuccessWithoutId => ok(&json!({"success": true})),
            CastFault::NumericId => {
                let number = self.taken + 1_000_001;
                line.message_id = Some(number.to_string());
                ok(&json!({"success": true, "message_id": number, "parts": parts}))
            }
            CastFault::SuccessFalse(words) => {
                let body = failure(&words);
                line.problem = Some(words);
                ok(&body)
            }
            CastFault::RateLimited { retry_after } => Refusal::too_many(retry_after).reply(line),
            CastFault::Redirect => {
                let mut answer = json_answer(StatusCode::TEMPORARY_REDIRECT, &json!({}));
                set_header(&mut answer, "location", "/api/sms/moved");
                Reply::Answer(answer)
            }
            CastFault::SlowBody => {
                let body = success.to_string().into_bytes();
                let half = Bytes::from(body).split_to(10);
                stream(vec![half], Ending::Stalled)
            }
            CastFault::BigBody => stream(big_body(&id), Ending::Whole),
            CastFault::KeyRefused(code) => Refusal::new(wire::status(code), "This API key may not send").reply(line),
        }
    }

    /// Takes the SMS of this line and gives its id.
    fn take(&mut self, line: &mut CastCall) -> Value {
        let id = format!("{:06x}{:06x}", self.options.clock.now().0 & 0xff_ffff, self.taken + 1);
        line.taken = true;
        line.message_id = Some(id.clone());
        Value::String(id)
    }
}

/// A call Cast turns down.
struct Refusal {
    status: StatusCode,
    words: String,
    retry_after: Option<String>,
    breach: bool,
}

impl Refusal {
    fn new(status: StatusCode, words: &str) -> Self {
        Self { status, words: words.to_owned(), retry_after: None, breach: false }
    }

    /// A call that breaks the contract.
    fn breach(status: StatusCode, words: &str) -> Self {
        Self { breach: true, ..Self::new(status, words) }
    }

    fn too_many(retry_after: Option<String>) -> Self {
        Self { retry_after, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded") }
    }

    fn of(misfit: &Misfit) -> Self {
        let bad = |words: String| Self::breach(StatusCode::BAD_REQUEST, &words);
        match misfit {
            Misfit::Media => Self::breach(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json"),
            Misfit::Syntax => bad("Invalid JSON".to_owned()),
            Misfit::Undeclared(name) => bad(format!("Unknown field {name}")),
            Misfit::Missing(name) => bad(format!("{name} is required")),
            Misfit::Twice(name) => bad(format!("{name} is given twice")),
            Misfit::Wrong(expected) => bad(format!("Invalid type, expected {expected}")),
        }
    }

    fn reply(self, line: &mut CastCall) -> Reply {
        let mut answer = json_answer(self.status, &failure(&self.words));
        if let Some(value) = &self.retry_after {
            set_header(&mut answer, "retry-after", value);
        }
        line.problem = Some(self.words);
        line.breach = self.breach;
        Reply::Answer(answer)
    }
}

fn failure(words: &str) -> Value {
    json!({"success": false, "error": words})
}

fn ok(body: &Value) -> Reply {
    Reply::Answer(json_answer(StatusCode::OK, body))
}

fn stream(chunks: Vec<Bytes>, ending: Ending) -> Reply {
    let body: Body = chunked(chunks, ending);
    let answer: Response<Body> = raw_answer(StatusCode::OK, JSON, body);
    Reply::Answer(answer)
}

/// 8 MiB in chunks that share one allocation.
fn big_body(id: &Value) -> Vec<Bytes> {
    let filler = Bytes::from(vec![b'x'; 64 * 1024]);
    let head = format!(r#"{{"success":true,"message_id":{id},"filler":""#);
    let mut chunks = vec![Bytes::from(head)];
    chunks.extend(std::iter::repeat_n(filler, 128));
    chunks.push(Bytes::from_static(br#""}"#));
    chunks
}
