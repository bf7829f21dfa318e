//! The gateway's endpoint for receipts: authenticated, read leniently, stored, answered.
//!
//! Invariant: 202 means durable, whether or not the SMS is known: a receipt may be faster than the answer to the send, and the
//! leader alone looks for its message. The JSON is ours to define (cast contract, "Inbound and receipts").

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::Shared;
use super::answer::{ErrorBody, Problem};
use super::inbound::{Accepted, authenticated, text, time};
use super::layer::RawBody;
use crate::domain::json;
use crate::domain::receipt::{Fate, Receipt};
use crate::domain::words::{SHOWN, clean};
use crate::queue::EnqueueError;

/// Longer ids are none of the gateway's: no message would be found by them.
const LONGEST_ID: usize = 128;
/// Longest status word kept.
const LONGEST_STATUS: usize = 40;

/// What became of an SMS, from the SMS gateway. camelCase and snake_case are the same.
#[utoipa::path(
    post, path = "/api/cast/v1/receipts", tag = "SMS gateway", security(("inbound_api_key" = [])),
    request_body(
        content_type = "application/json", content = Object,
        description = "`message_id`, as Cast named the SMS when it took it; `status`: `delivered`, `failed`, `expired`, `rejected`, `undelivered` or `pending`; and what is known of `error` and `at`",
        example = json!({"message_id": "abc123def456", "status": "delivered", "at": "2026-11-21T10:00:00+08:00"}),
    ),
    responses(
        (status = 202, description = "It is stored, whether or not the SMS is known", body = Accepted),
        (status = 400, description = "`bad_request`: what is wrong with it", body = ErrorBody),
        (status = 401, description = "`unauthorized`", body = ErrorBody),
        (status = 413, description = "`too_large`: more than 256 KiB", body = ErrorBody),
        (status = 503, description = "`unavailable`: it can't be stored now; send it again after `Retry-After`", body = ErrorBody),
    ),
)]
pub(super) async fn receive(
    State(shared): State<Shared>,
    headers: HeaderMap,
    Extension(body): Extension<RawBody>,
) -> Response {
    if !authenticated(&shared, &headers) {
        shared.metrics.receipt("unauthorized");
        return Problem::unauthorized().into_response();
    }
    let (gateway_id, receipt) = match read_receipt(&body.0) {
        Ok(read) => read,
        Err(message) => {
            shared.metrics.receipt("bad_request");
            return Problem::new(StatusCode::BAD_REQUEST, "bad_request", message).into_response();
        }
    };
    match shared.enqueue.receipt(&gateway_id, receipt).await {
        Ok(answer) => {
            let body = Accepted { accepted: true, id: answer.id.0 };
            (StatusCode::ACCEPTED, Json(body)).into_response()
        }
        // Logged where the bound is watched, once.
        Err(EnqueueError::Full(_)) => {
            shared.metrics.receipt("disk_full");
            Problem::unavailable().into_response()
        }
        Err(EnqueueError::Store(e)) => {
            tracing::error!(error = %e, "a receipt could not be stored");
            Problem::unavailable().into_response()
        }
    }
}

/// Reads the gateway's post: the SMS by the gateway's id, and what became of it. A time nobody can read is left out: when it
/// happened decides nothing.
///
/// # Errors
/// What is wrong with it, in a sentence that names the member and repeats nothing.
pub fn read_receipt(body: &[u8]) -> Result<(String, Receipt), &'static str> {
    let value = json::read(body).ok_or("The body is not JSON.")?;
    let object = value.as_object().ok_or("The body is not a JSON object.")?;
    let id =
        text(object, &["message_id", "messageId"]).ok_or("`message_id` is missing: what the gateway calls the SMS.")?;
    let id = id.trim();
    if id.is_empty() || id.chars().count() > LONGEST_ID || id.chars().any(char::is_control) {
        return Err("`message_id` is 1 to 128 characters: what the gateway calls the SMS.");
    }
    let status = text(object, &["status"]).ok_or("`status` is missing: what became of the SMS, in a word.")?;
    let status = clean(&status, LONGEST_STATUS);
    let at = time(object, &["at"]).unwrap_or_default();
    Ok((id.to_owned(), Receipt { fate: Fate::of(&status), at, status, words: words(object) }))
}

/// The gateway's reason: `error` as text or a list of it, or its `message`, or at least its `code`.
fn words(object: &Map<String, Value>) -> Option<String> {
    let said = match json::member(object, &["error"])? {
        Value::Object(error) => {
            text(error, &["message"]).filter(|m| !m.trim().is_empty()).or_else(|| text(error, &["code"]))
        }
        Value::Array(items) => Some(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")),
        _ => text(object, &["error"]),
    };
    said.map(|said| clean(&said, SHOWN)).filter(|said| !said.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &Value) -> Result<(String, Receipt), &'static str> {
        read_receipt(body.to_string().as_bytes())
    }

    #[test]
    fn both_spellings_and_ids_as_numbers_are_read() {
        for (body, id) in [
            (json!({"message_id": "abc", "status": "delivered"}), "abc"),
            (json!({"messageId": " abc ", "status": "Delivered"}), "abc"),
            (json!({"message_id": 42, "status": " DELIVERED "}), "42"),
            (json!({"message_id": null, "messageId": "x", "status": "delivered", "more": []}), "x"),
        ] {
            let (read_id, receipt) = read(&body).unwrap_or_else(|e| panic!("{body}: {e}"));
            assert_eq!((read_id.as_str(), receipt.fate), (id, Fate::Delivered), "{body}");
        }
    }

    #[test]
    fn every_status_of_the_contract_has_its_meaning_and_others_have_none() {
        for (status, fate) in [
            ("delivered", Fate::Delivered),
            ("failed", Fate::Failed),
            ("expired", Fate::Failed),
            ("rejected", Fate::Failed),
            ("undelivered", Fate::Failed),
            ("pending", Fate::Pending),
            ("ENROUTE", Fate::Unclear),
            ("", Fate::Unclear),
        ] {
            let receipt = read(&json!({"message_id": "a", "status": status})).map(|(_, receipt)| receipt);
            assert_eq!(receipt.map(|r| r.fate), Ok(fate), "{status}");
        }
    }

    #[test]
    fn the_gateways_reason_is_read_in_every_shape_on_one_line_and_cut() {
        for (error, words) in [
            (json!({"code": 69, "message": "Absent\nsubscriber"}), Some("Absent subscriber".to_owned())),
            (json!({"code": 69}), Some("69".to_owned())),
            (json!({"message": " ", "code": "E1"}), Some("E1".to_owned())),
            (json!("switched off"), Some("switched off".to_owned())),
            (json!({"message": "x".repeat(500)}), Some(format!("{}…", "x".repeat(199)))),
            (json!(["no", 7, "never"]), Some("no; never".to_owned())),
            (json!([]), None),
            (json!(null), None),
        ] {
            let body = json!({"message_id": "a", "status": "failed", "error": error});
            assert_eq!(read(&body).map(|(_, receipt)| receipt.words), Ok(words), "{body}");
        }
    }

    #[test]
    fn a_time_is_kept_where_it_can_be_read_and_spoils_nothing() {
        let at =
            |at: Value| read(&json!({"message_id": "a", "status": "failed", "at": at})).map(|(_, r)| r.at.map(|t| t.0));
        assert_eq!(at(json!("2023-11-14T22:13:20Z")), Ok(Some(1_700_000_000_000)));
        assert_eq!(at(json!(1_700_000_000)), Ok(Some(1_700_000_000_000)));
        assert_eq!((at(json!("yesterday")), at(json!({}))), (Ok(None), Ok(None)));
    }

    #[test]
    fn what_names_no_sms_or_says_nothing_is_refused() {
        for bad in [
            json!([]),
            json!({"status": "delivered"}),
            json!({"message_id": " ", "status": "delivered"}),
            json!({"message_id": {}, "status": "delivered"}),
            json!({"message_id": "a\u{0}", "status": "delivered"}),
            json!({"message_id": "x".repeat(129), "status": "delivered"}),
            json!({"message_id": "a"}),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
        assert!(read_receipt(b"delivered").is_err());
    }
}
