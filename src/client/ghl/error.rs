//! What went wrong in a call to GHL, with everything a caller may branch on.
//!
//! Owns GHL's error shapes, its rate-limit headers and the few phrases that mean something. Invariant: no token, body or
//! phone number in `Debug` or `Display`. Pure, but for the answer it reads. Decides nothing: what follows is the caller's.

use std::fmt;
use std::time::Duration;

use reqwest::header::{DATE, RETRY_AFTER};
use serde_json::Value;

use crate::client::lenient;
use crate::client::retry_after::{http_date, retry_after};
use crate::client::transport::{Answer, Reached};
use crate::domain::time::UnixMillis;
use crate::domain::words::{SHOWN, clean, mask_numbers};

/// A call to GHL that did not do what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GhlError {
    /// No answer came back.
    #[error("no answer from GHL ({reached}): {detail}")]
    Transport {
        /// Whether GHL may have acted on the request.
        reached: Reached,
        /// One line for logs, without URL, headers or body.
        detail: String,
    },
    /// GHL answered, and not with a 2xx.
    #[error(transparent)]
    Api(Box<ApiRefusal>),
    /// A 2xx whose body is not JSON, broke off, is larger than 256 KiB, or lacks what the call is for. GHL may have acted.
    #[error("GHL answered HTTP {status} with a body that cannot be used")]
    Unreadable {
        /// The HTTP status seen.
        status: u16,
    },
    /// A 2xx to an inbound message without a message id: it was not stored.
    #[error("GHL took the message but did not store it")]
    NotStored,
}

/// GHL's answer when it is not a 2xx; a redirect counts.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub struct ApiRefusal {
    /// The HTTP status seen.
    pub status: u16,
    /// GHL's words on one line, a list joined by `; `, phone numbers masked, at most 1000 characters, for recognising
    /// phrases in them; `Display` and `Debug` show 200. Empty if the body said nothing.
    pub message: String,
    /// `error` where it is a word (`invalid_grant`), or its `code`.
    pub code: Option<String>,
    /// What GHL's support asks for.
    pub trace_id: Option<String>,
    /// `Retry-After`, not yet capped. A date is measured from the answer's own `Date`, so no clock of ours matters.
    pub retry_after: Option<Duration>,
    /// What the rate-limit headers said.
    pub limits: RateLimits,
}

/// GHL's rate-limit headers (`X-RateLimit-…`); each may be missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Length of the short window, in milliseconds.
    pub interval_ms: Option<u64>,
    /// Calls left in the short window.
    pub remaining: Option<u64>,
    /// Calls left today.
    pub daily_remaining: Option<u64>,
}

impl ApiRefusal {
    /// "No conversation provider found for this message": not yet for some seconds after the webhook, and for ever if the
    /// message is not ours. 403 today, 401 formerly: check it before taking a 401 for a stale token.
    #[must_use]
    pub fn is_not_yet(&self) -> bool {
        matches!(self.status, 401 | 403) && self.says("no conversation provider found")
    }

    /// "Location is not active": a paused or unpaid sub-account, not a dead grant.
    #[must_use]
    pub fn is_location_inactive(&self) -> bool {
        self.status / 100 == 4 && self.says("location is not active")
    }

    /// `invalid_grant`: this code or refresh token is refused.
    #[must_use]
    pub fn is_invalid_grant(&self) -> bool {
        self.status / 100 == 4
            && (self.code.as_deref() == Some("invalid_grant")
                || self.says("invalid_grant")
                || self.says("invalid grant")
                || self.says("refresh token is invalid"))
    }

    /// "Incorrect conversationProviderId/type": the message kind does not fit the provider (`SMS` against `Custom`).
    #[must_use]
    pub fn is_wrong_kind(&self) -> bool {
        matches!(self.status, 400 | 422) && self.says("conversationproviderid/type")
    }

    /// Nothing the call itself could mend: a redirect, which is not followed, a time-out on the way, or GHL's own trouble.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        matches!(self.status, 300..=399 | 408 | 425 | 500..)
    }

    /// "already exists": somebody made it first.
    #[must_use]
    pub fn is_already_there(&self) -> bool {
        matches!(self.status, 400 | 409 | 422) && self.says("already exist")
    }

    /// Whether a 400 or 422 names `property` as a whole word.
    #[must_use]
    pub fn names(&self, property: &str) -> bool {
        matches!(self.status, 400 | 422)
            && self.message.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).any(|word| word == property)
    }

    fn says(&self, phrase: &str) -> bool {
        self.message.to_ascii_lowercase().contains(phrase)
    }

    /// Reads an answer, whatever its body is.
    pub(super) fn read(answer: &Answer) -> Self {
        let said = Said::read(answer.body.json().as_ref());
        let number = |name: &str| answer.header(name).and_then(|value| value.trim().parse().ok());
        Self {
            status: answer.status,
            message: said.message,
            code: said.code,
            trace_id: said.trace_id,
            retry_after: hint(answer.header(RETRY_AFTER.as_str()), answer.header(DATE.as_str())),
            limits: RateLimits {
                interval_ms: number("x-ratelimit-interval-milliseconds"),
                remaining: number("x-ratelimit-remaining"),
                daily_remaining: number("x-ratelimit-daily-remaining"),
            },
        }
    }
}

impl fmt::Display for ApiRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GHL answered HTTP {}", self.status)?;
        if !self.message.is_empty() {
            write!(f, ": {}", clean(&self.message, SHOWN))?;
        }
        if let Some(trace_id) = &self.trace_id {
            write!(f, " (trace {trace_id})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ApiRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiRefusal")
            .field("status", &self.status)
            .field("message", &clean(&self.message, SHOWN))
            .field("code", &self.code)
            .field("trace_id", &self.trace_id)
            .field("retry_after", &self.retry_after)
            .field("limits", &self.limits)
            .finish()
    }
}

/// `Retry-After` measured from the server's `Date`; a date without one is no hint.
fn hint(value: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let value = value?;
    match date.and_then(http_date) {
        Some(now) => retry_after(value, now),
        None if value.trim().bytes().all(|b| b.is_ascii_digit()) => retry_after(value, UnixMillis(0)),
        None => None,
    }
}

/// The parts of an error body.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    message: String,
    code: Option<String>,
    trace_id: Option<String>,
}

impl Said {
    /// `{statusCode, message, error?, traceId?}` with `message` text or list and `error` text or object, or OAuth's
    /// `{error, error_description}`; where none of these speaks, `msg`, `errors`, or a text or list that is all there is.
    fn read(body: Option<&Value>) -> Self {
        let Some(body) = body else {
            return Self::default();
        };
        let error = body.get("error");
        let nested = error.filter(|error| error.is_object());
        let word = error.and_then(Value::as_str);

        let mut sentences: Vec<String> = Vec::new();
        let spoken = [body.get("message"), body.get("error_description"), nested];
        for sentence in spoken.into_iter().flatten().filter_map(lenient::sentence) {
            if !sentences.contains(&sentence) {
                sentences.push(sentence);
            }
        }
        if sentences.is_empty() {
            let alone = (!body.is_object()).then_some(body);
            let last = [error, body.get("msg"), body.get("errors"), alone];
            sentences.extend(last.into_iter().flatten().find_map(lenient::sentence));
        }
        let code = nested
            .and_then(|error| lenient::id(error, &["code"]))
            .or_else(|| lenient::id(body, &["code"]))
            .or_else(|| word.map(|word| mask_numbers(&clean(word, SHOWN))));
        let trace_id = lenient::id(body, &["traceId", "trace_id"])
            .or_else(|| nested.and_then(|error| lenient::id(error, &["traceId"])));
        Self { message: mask_numbers(&clean(&sentences.join("; "), 1000)), code, trace_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::transport::Body;
    use proptest::prelude::*;
    use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
    use serde_json::json;

    fn refusal(status: u16, body: &Value) -> ApiRefusal {
        answer(status, &[], body.to_string().into_bytes())
    }

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: Vec<u8>) -> ApiRefusal {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        ApiRefusal::read(&Answer { status, headers, body: Body::Whole(body) })
    }

    #[test]
    fn every_known_error_shape_is_read() {
        for (body, message, code, trace) in [
            (
                json!({"statusCode": 401, "message": "Invalid JWT", "error": "Unauthorized", "traceId": "t-1"}),
                "Invalid JWT",
                Some("Unauthorized"),
                Some("t-1"),
            ),
            (
                json!({"statusCode": 422, "message": ["property a should not exist", "b must be a string"]}),
                "property a should not exist; b must be a string",
                None,
                None,
            ),
            (
                json!({"message": "Forbidden", "error": {"code": "E7", "message": "No conversation provider found"}}),
                "Forbidden; No conversation provider found",
                Some("E7"),
                None,
            ),
            (
                json!({"error": "invalid_grant", "error_description": "Invalid grant: refresh token is invalid"}),
                "Invalid grant: refresh token is invalid",
                Some("invalid_grant"),
                None,
            ),
            (json!({"error": "invalid_grant"}), "invalid_grant", Some("invalid_grant"), None),
            (json!({"message": "x", "error": {"message": "x"}}), "x", None, None),
            (json!({"code": 17}), "", Some("17"), None),
            (json!("Unauthorized"), "Unauthorized", None, None),
            (json!({"msg": "no", "errors": ["yes"]}), "no", None, None),
            (json!([]), "", None, None),
            (json!(null), "", None, None),
        ] {
            let read = refusal(400, &body);
            assert_eq!(read.message, message, "{body}");
            assert_eq!(read.code.as_deref(), code, "{body}");
            assert_eq!(read.trace_id.as_deref(), trace, "{body}");
        }
    }

    #[test]
    fn a_body_that_is_no_json_says_nothing() {
        let read = answer(502, &[], b"<html>secret page</html>".to_vec());
        assert_eq!(read.to_string(), "GHL answered HTTP 502");
        assert!(!format!("{read:?}").contains("secret page"));
    }

    #[test]
    fn phrases_are_recognised_with_their_status_only() {
        let provider = json!({"message": "No conversation provider found for this message"});
        assert!(refusal(403, &provider).is_not_yet());
        assert!(refusal(401, &provider).is_not_yet());
        assert!(!refusal(404, &provider).is_not_yet());
        assert!(!refusal(403, &json!({"message": "Forbidden resource"})).is_not_yet());

        let inactive = refusal(400, &json!({"message": "Location is not active"}));
        assert!(inactive.is_location_inactive() && !inactive.is_invalid_grant());

        for body in [
            json!({"error": "invalid_grant"}),
            json!({"message": "Invalid grant: refresh token is invalid", "error": "Bad Request"}),
            json!({"error": {"message": "The refresh token is invalid"}}),
        ] {
            assert!(refusal(400, &body).is_invalid_grant(), "{body}");
            assert!(!refusal(503, &body).is_invalid_grant(), "{body}");
        }
        assert!(refusal(400, &json!({"message": "Incorrect conversationProviderId/type"})).is_wrong_kind());
    }

    #[test]
    fn a_property_is_named_as_a_whole_word() {
        let both = refusal(422, &json!({"message": ["x is wrong", "property phone should not exist"]}));
        assert!(both.names("phone") && !both.names("ph") && !both.names("altId"));
        let provider = refusal(400, &json!({"message": "conversationProviderId is invalid"}));
        assert!(provider.names("conversationProviderId") && !provider.names("conversationId"));
        assert!(!refusal(403, &json!({"message": "phone"})).names("phone"));
    }

    #[test]
    fn limits_and_hints_come_from_the_headers() {
        let limited = answer(
            429,
            &[
                ("x-ratelimit-interval-milliseconds", "10000"),
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-daily-remaining", "199321"),
                ("retry-after", "12"),
            ],
            Vec::new(),
        );
        assert_eq!(limited.retry_after, Some(Duration::from_secs(12)));
        assert_eq!(
            limited.limits,
            RateLimits { interval_ms: Some(10_000), remaining: Some(0), daily_remaining: Some(199_321) }
        );
        let odd = answer(429, &[("x-ratelimit-remaining", "many"), ("retry-after", "later")], Vec::new());
        assert_eq!((odd.limits, odd.retry_after), (RateLimits::default(), None));
    }

    #[test]
    fn a_retry_date_is_measured_from_the_answers_own_date() {
        let date = "Sun, 06 Nov 1994 08:49:07 GMT";
        let then = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(hint(Some(then), Some(date)), Some(Duration::from_secs(30)));
        assert_eq!(hint(Some(then), None), None);
        assert_eq!(hint(Some("5"), None), Some(Duration::from_secs(5)));
        assert_eq!(hint(None, Some(date)), None);
    }

    #[test]
    fn numbers_are_masked_and_long_words_are_cut_where_they_are_shown() {
        let long = refusal(400, &json!({"message": format!("+639171234567 {}", "x".repeat(3000))}));
        assert_eq!(long.message.chars().count(), 1000);
        for shown in [format!("{long}"), format!("{long:?}"), format!("{:?}", GhlError::Api(Box::new(long.clone())))] {
            assert!(shown.chars().count() < 400, "{shown}");
            assert!(!shown.contains("9171234567"), "{shown}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(status in 300..1000u16, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read = answer(status, &[], body);
            prop_assert_eq!(read.status, status);
        }
    }
}
