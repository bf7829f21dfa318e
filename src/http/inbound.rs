//! The gateway's endpoint for replies: authenticated, read leniently, stored, answered.
//!
//! Invariant: 202 and 200 mean durable. The JSON is ours to define (cast contract, "Inbound and receipts"); camelCase and
//! snake_case are the same.

use axum::Extension;
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::Shared;
use super::answer::{ErrorBody, Problem};
use super::layer::{RawBody, bearer};
use crate::digest;
use crate::domain::id::LocationId;
use crate::domain::json;
use crate::domain::time::UnixMillis;
use crate::queue::{EnqueueError, NewReply};
use crate::store::Inserted;

#[derive(Serialize, ToSchema)]
pub(super) struct Accepted {
    pub accepted: bool,
    pub id: String,
}

#[derive(Serialize, ToSchema)]
struct Duplicate {
    duplicate: bool,
    id: String,
}

/// A person's reply, from the SMS gateway. camelCase and snake_case are the same.
#[utoipa::path(
    post, path = "/api/cast/v1/inbound", tag = "SMS gateway", security(("inbound_api_key" = [])),
    request_body(
        content_type = "application/json", content = Object,
        description = "`from`; `message` or `attachments`; and what is known of `to`, `id`, `received_at` and `location_id`",
        example = json!({"from": "09171234567", "message": "Yes please", "to": "CAST", "id": "65f0", "received_at": "2026-11-21T10:00:00+08:00"}),
    ),
    responses(
        (status = 202, description = "It is stored", body = Accepted),
        (status = 200, description = "It was stored before", body = Duplicate),
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
        shared.metrics.reply("unauthorized");
        return Problem::unauthorized().into_response();
    }
    let reply = match read_reply(&body.0) {
        Ok(reply) => reply,
        Err(message) => {
            shared.metrics.reply("bad_request");
            return Problem::new(StatusCode::BAD_REQUEST, "bad_request", message).into_response();
        }
    };
    match shared.enqueue.reply(reply).await {
        Ok(answer) => {
            tracing::info!(inbound.id = %answer.id, inserted = ?answer.inserted, "reply");
            let id = answer.id.0;
            match answer.inserted {
                Inserted::New => (StatusCode::ACCEPTED, Json(Accepted { accepted: true, id })).into_response(),
                Inserted::Duplicate => Json(Duplicate { duplicate: true, id }).into_response(),
            }
        }
        // Logged where the bound is watched, once.
        Err(EnqueueError::Full(_)) => {
            shared.metrics.reply("disk_full");
            Problem::unavailable().into_response()
        }
        Err(EnqueueError::Store(e)) => {
            tracing::error!(error = %e, "a reply could not be stored");
            Problem::unavailable().into_response()
        }
    }
}

pub(super) fn authenticated(shared: &Shared, headers: &HeaderMap) -> bool {
    let Some(key) = &shared.settings.inbound_api_key else { return false };
    let plain = headers.get("x-api-key").map(axum::http::HeaderValue::as_bytes);
    let bearer = bearer(headers);
    // Both are compared whatever the first one says, in constant time.
    let matches = |given: Option<&[u8]>| given.is_some_and(|g| digest::equal(g.trim_ascii(), key.expose().as_bytes()));
    matches(plain) | matches(bearer)
}

/// Reads the gateway's post; camelCase and snake_case are the same, unknown members are passed over.
///
/// # Errors
/// What is wrong with it, in a sentence that names the member and repeats nothing.
pub fn read_reply(body: &[u8]) -> Result<NewReply, &'static str> {
    let value = json::read(body).ok_or("The body is not JSON.")?;
    let object = value.as_object().ok_or("The body is not a JSON object.")?;
    let from = text(object, &["from"]).ok_or("`from` is missing: the sender's number, as text.")?;
    if from.trim().is_empty() || from.len() > 64 {
        return Err("`from` is 1 to 64 characters: the sender's number.");
    }
    let attachments = attachments(object)?;
    let message = text(object, &["message", "text"]);
    if message.as_deref().is_none_or(|m| m.trim().is_empty()) && attachments.is_empty() {
        return Err("`message` or `attachments` is missing.");
    }
    let location = match text(object, &["location_id", "locationId"]).as_deref().map(str::trim) {
        None | Some("") => None,
        Some(raw) => Some(LocationId::parse(raw).map_err(|_| "`location_id` is not a sub-account's id.")?),
    };
    let gateway_id = text(object, &["id", "message_id", "messageId"]).filter(|id| !id.is_empty());
    Ok(NewReply {
        from: from.trim().to_owned(),
        to: text(object, &["to"]).filter(|to| !to.trim().is_empty()),
        text: message,
        gateway_id,
        sent_at: received_at(object)?,
        location,
        attachments,
    })
}

fn received_at(object: &Map<String, Value>) -> Result<Option<UnixMillis>, &'static str> {
    time(object, &["received_at", "receivedAt"])
        .map_err(|NoTime| "`received_at` is an RFC 3339 time with an offset, or an epoch number.")
}

/// Neither RFC 3339 nor an epoch number.
pub(super) struct NoTime;

/// An instant, if there is one; a blank is none.
pub(super) fn time(object: &Map<String, Value>, names: &[&str]) -> Result<Option<UnixMillis>, NoTime> {
    match json::member(object, names) {
        None => Ok(None),
        Some(Value::String(s)) if s.trim().is_empty() => Ok(None),
        Some(value) => json::instant(value).map(Some).ok_or(NoTime),
    }
}

/// Links, as text or as objects with a `url`; one alone instead of a list. Blank ones are none.
fn attachments(object: &Map<String, Value>) -> Result<Vec<String>, &'static str> {
    const WRONG: &str = "`attachments` is a list of https links.";
    let items = match json::member(object, &["attachments"]) {
        None => return Ok(Vec::new()),
        Some(Value::Array(items)) => items.as_slice(),
        Some(one) => std::slice::from_ref(one),
    };
    let links = items.iter().filter(|item| !item.is_null()).map(|item| item.get("url").unwrap_or(item).as_str());
    links
        .filter(|link| link.is_none_or(|link| !link.trim().is_empty()))
        .map(|link| {
            let link = link.ok_or(WRONG)?.trim();
            let web = link.starts_with("https://") || link.starts_with("http://");
            if web { Ok(link.to_owned()) } else { Err(WRONG) }
        })
        .collect()
}

/// Text, or a number written as one.
pub(super) fn text(object: &Map<String, Value>, names: &[&str]) -> Option<String> {
    match json::member(object, names)? {
        Value::String(s) => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_and_all_three_kinds_of_time_are_read() {
        for at in
            [r#""received_at":"2023-11-14T22:13:20Z""#, r#""receivedAt":1700000000"#, r#""receivedAt":"1700000000000""#]
        {
            let body = format!(r#"{{"from":"0917","message":"x","locationId":"L1",{at}}}"#);
            let reply = read_reply(body.as_bytes()).unwrap_or_else(|e| panic!("{at}: {e}"));
            assert_eq!(reply.sent_at, Some(UnixMillis(1_700_000_000_000)), "{at}");
            assert!(reply.location.is_some());
        }
    }

    #[test]
    fn half_an_emoji_does_not_lose_the_reply() {
        let reply = read_reply(br#"{"from":"0917","message":"cut \ud83d here"}"#).map(|reply| reply.text);
        assert!(reply == Ok(Some("cut \u{fffd} here".to_owned())));
    }

    #[test]
    fn attachments_without_text_are_a_message_and_nothing_at_all_is_not() {
        assert!(read_reply(br#"{"from":"0917","attachments":["https://x"]}"#).is_ok());
        for bad in [
            r#"{"from":"0917"}"#,
            r#"{"message":"x"}"#,
            "[]",
            "x",
            r#"{"from":" ","message":"x"}"#,
            r#"{"from":"0917","message":"x","received_at":"yesterday"}"#,
            r#"{"from":"0917","attachments":["javascript:x"]}"#,
            r#"{"from":"0917","message":"x","location_id":"a/b"}"#,
        ] {
            assert!(read_reply(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
