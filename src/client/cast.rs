//! Cast.ph, the SMS gateway: one call, and the table that turns what was seen into one of four outcomes.
//!
//! Owns the wire format of `POST /api/sms/send` (Cast reference, v1) and the meaning of each answer. Invariant: an SMS that
//! may be out is never `NotSent`. Sends once, never waits: the worker is the one retry layer.
//! Must not import `ghl`, `store` or `queue`.

use std::time::Duration;

use reqwest::header::{HeaderValue, RETRY_AFTER};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use super::transport::{self, Body, Reached};
use super::{builder, lenient};
use crate::domain::outcome::{NotSent, SendOutcome};
use crate::domain::secret::Secret;
use crate::domain::time::UnixMillis;
use crate::domain::words::{SHOWN, clean};

const SEND_PATH: &str = "/api/sms/send";

/// One SMS part, ready for Cast. No `Debug`: it holds the text and the number.
#[derive(Clone, Copy)]
pub struct CastSms<'a> {
    /// `09…` or `08…`: 11 digits.
    pub to: &'a str,
    /// At most 450 characters and three SMS segments; not checked here.
    pub message: &'a str,
    /// Left out of the request when none is configured.
    pub sender_id: Option<&'a str>,
    /// Visible ASCII, the same over every automatic try of this part. Nothing documents that Cast reads it.
    pub idempotency_key: &'a str,
}

/// Calls Cast. Cheap to clone; the key is lent per call, since locations may have their own.
#[derive(Debug, Clone)]
pub struct CastClient {
    http: reqwest::Client,
    send_url: Url,
}

impl CastClient {
    /// A client for the Cast at `base_url`, whose own path is kept.
    #[must_use]
    pub fn new(http: reqwest::Client, base_url: Url) -> Self {
        let send_url = builder::join(&builder::base(base_url), SEND_PATH, "");
        Self { http, send_url }
    }

    /// Sends one SMS once and says what is known of it. `now` turns a `Retry-After` date into a wait.
    ///
    /// A request that cannot be built (a key that is no header value) comes out as [`NotSent::Unreachable`], so that
    /// the key waits: its next message would fail the same way.
    #[tracing::instrument(name = "cast.send", skip_all)]
    pub async fn send(&self, key: &Secret, sms: &CastSms<'_>, now: UnixMillis) -> SendOutcome {
        outcome(self.see(key, sms).await, now)
    }

    async fn see(&self, key: &Secret, sms: &CastSms<'_>) -> Seen {
        let Ok(mut api_key) = HeaderValue::from_str(key.expose()) else {
            tracing::error!("the Cast API key cannot be put in a header; nothing was sent");
            return Seen::NeverLeft;
        };
        api_key.set_sensitive(true);
        let request = self
            .http
            .post(self.send_url.clone())
            .header("X-API-Key", api_key)
            .header("Idempotency-Key", sms.idempotency_key)
            .json(&SendBody { to: sms.to, message: sms.message, sender_id: sms.sender_id });
        match transport::call(request).await {
            Ok(answer) => Seen::Answered {
                status: answer.status,
                retry_after: answer.header(RETRY_AFTER.as_str()).map(str::to_owned),
                body: answer.body,
            },
            Err(failure) => match failure.reached {
                Reached::No => {
                    // The outcome has no room for the reason, and an operator needs it.
                    tracing::warn!(error.detail = failure.detail, "Cast cannot be reached; nothing was sent");
                    Seen::NeverLeft
                }
                Reached::Maybe => Seen::NoAnswer { detail: failure.detail },
            },
        }
    }
}

#[derive(Serialize)]
struct SendBody<'a> {
    to: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_id: Option<&'a str>,
}

/// Everything that can be seen of one call.
enum Seen {
    /// Nothing can have reached Cast.
    NeverLeft,
    /// The request may have reached Cast, and no answer came back.
    NoAnswer { detail: String },
    /// An answer came, perhaps without all of its body.
    Answered { status: u16, retry_after: Option<String>, body: Body },
}

/// The table of the Cast contract.
fn outcome(seen: Seen, now: UnixMillis) -> SendOutcome {
    let (status, hint, body) = match seen {
        Seen::NeverLeft => {
            return SendOutcome::NotSent { why: NotSent::Unreachable, retry_after: None };
        }
        Seen::NoAnswer { detail } => return SendOutcome::Unknown { evidence: detail, gateway_id: None },
        Seen::Answered { status, retry_after, body } => (status, retry_after, body),
    };
    let retry_after: Option<Duration> = hint.and_then(|value| super::retry_after::retry_after(&value, now));
    match status {
        200..=299 => answered_2xx(status, &body),
        401..=403 => SendOutcome::NotSent { why: NotSent::KeyRefused { status }, retry_after },
        429 => SendOutcome::NotSent { why: NotSent::RateLimited, retry_after },
        400..=499 => SendOutcome::Rejected { reason: reason(status, body.json().as_ref()) },
        // 5xx whatever its body, redirects, and numbers nobody has defined: the SMS may be out.
        _ => SendOutcome::Unknown {
            evidence: format!("Cast answered HTTP {status}"),
            gateway_id: body.json().as_ref().and_then(gateway_id),
        },
    }
}

fn answered_2xx(status: u16, body: &Body) -> SendOutcome {
    let unknown = |what: &str, gateway_id| SendOutcome::Unknown {
        evidence: format!("Cast answered HTTP {status} {what}"),
        gateway_id,
    };
    match body {
        Body::Cut => return unknown("and broke off", None),
        Body::TooLarge => return unknown("with more than can be read", None),
        Body::Whole(_) => {}
    }
    let Some(reply) = body.json() else {
        return unknown("that is not JSON", None);
    };
    // Strictly: a word that may mean anything is no proof that the SMS left.
    match reply.get("success").and_then(Value::as_bool) {
        Some(true) => SendOutcome::Accepted {
            gateway_id: gateway_id(&reply),
            parts: lenient::number(&reply, &["parts"]).and_then(|parts| u32::try_from(parts).ok()),
        },
        Some(false) => SendOutcome::Rejected { reason: reason(status, Some(&reply)) },
        None => unknown("without `success`", gateway_id(&reply)),
    }
}

/// What Cast calls the SMS.
fn gateway_id(reply: &Value) -> Option<String> {
    lenient::id(reply, &["message_id", "messageId"])
}

/// Cast's own words, or a sentence that says there were none.
fn reason(status: u16, reply: Option<&Value>) -> String {
    reply
        .and_then(lenient::sentence_of_error)
        .map_or_else(|| format!("Cast refused this SMS without a reason (HTTP {status})"), |said| clean(&said, SHOWN))
}

#[cfg(test)]
mod tests;
