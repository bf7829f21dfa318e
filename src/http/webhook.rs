//! GHL's webhooks: verify the raw bytes, read them leniently, store, answer.
//!
//! Invariant: nothing is read before it is verified ([`Verified`] is the proof), and 200 `accepted` or `duplicate` means
//! durable. What can't be sent is stored and reported; only a bad signature is refused.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use super::answer::{ErrorBody, Problem};
use super::layer::{Counted, RawBody};
use crate::domain::lifecycle::Hook;
use crate::domain::webhook::{Ignored, Read, read};
use crate::queue::{Answer, EnqueueError, Full};
use crate::signature::{SignatureError, SignatureHeaders};
use crate::store::Inserted;

/// A body whose signature was verified.
pub(super) struct Verified(Bytes);

impl FromRequestParts<Shared> for Verified {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let body = parts.extensions.remove::<RawBody>().map(|raw| raw.0).unwrap_or_default();
        let headers = SignatureHeaders {
            ghl: values(&parts.headers, "x-ghl-signature"),
            wh: values(&parts.headers, "x-wh-signature"),
        };
        match shared.keys.verify(&headers, &body) {
            Ok(scheme) => {
                shared.metrics.signature(scheme_word(scheme));
                Ok(Self(body))
            }
            Err(e) => {
                let (code, message) = match e {
                    SignatureError::Missing => ("signature_missing", "This request is not signed."),
                    SignatureError::NoMatch => {
                        ("signature_invalid", "The signature does not fit this body and our keys.")
                    }
                };
                shared.metrics.signature(code);
                tracing::warn!(code, "webhook refused");
                Err(Problem::new(StatusCode::UNAUTHORIZED, code, message))
            }
        }
    }
}

#[derive(Serialize, ToSchema)]
struct Taken {
    /// `accepted`, `duplicate`, `ignored` or `dead_letter`.
    status: &'static str,
    /// Of the stored document; absent for `ignored`.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// A message to be sent. Takes lifecycle events, too.
#[utoipa::path(
    post, path = "/api/ghl/v1/webhook/messages", tag = "CRM", security(("signature" = [])),
    request_body(content_type = "application/json", content = Object, description = "As the CRM writes it; `locationId` and `messageId` are needed"),
    responses(
        (status = 200, description = "It is stored, or nothing is to be done", body = Taken),
        (status = 401, description = "`signature_missing`, `signature_invalid`", body = ErrorBody),
        (status = 413, description = "`too_large`: more than 1 MiB", body = ErrorBody),
        (status = 429, description = "`try_again`: it can't be stored now; send it again after `Retry-After`", body = ErrorBody),
    ),
)]
pub(super) async fn receive_message(state: State<Shared>, verified: Verified) -> Response {
    receive(state, verified).await
}

/// A lifecycle event. Takes messages, too.
#[utoipa::path(
    post, path = "/api/ghl/v1/webhook", tag = "CRM", security(("signature" = [])),
    request_body(content_type = "application/json", content = Object, description = "As the CRM writes it"),
    responses(
        (status = 200, description = "It is stored, or nothing is to be done", body = Taken),
        (status = 401, description = "`signature_missing`, `signature_invalid`", body = ErrorBody),
        (status = 413, description = "`too_large`: more than 1 MiB", body = ErrorBody),
        (status = 429, description = "`try_again`: it can't be stored now; send it again after `Retry-After`", body = ErrorBody),
    ),
)]
pub(super) async fn receive_event(state: State<Shared>, verified: Verified) -> Response {
    receive(state, verified).await
}

async fn receive(State(shared): State<Shared>, verified: Verified) -> Response {
    let body = verified.0;
    let (word, mut response) = match read(&body, shared.settings.provider_id.as_deref()) {
        Read::Ignored(why) => ignored(ignored_word(why)),
        Read::Lifecycle(Hook::App(hook)) if hook.app_id.as_deref() == Some(&shared.settings.app_id) => {
            answer(&shared, shared.enqueue.event(*hook, &body).await, "accepted")
        }
        // GHL signs the hooks of every app with one key: this one is another's, or does not say whose it is.
        Read::Lifecycle(Hook::App(_)) => ignored("other_app"),
        Read::Lifecycle(Hook::ContactDnd(dnd)) => match shared.enqueue.contact_dnd(&dnd, &body).await.transpose() {
            Some(taken) => answer(&shared, taken, "accepted"),
            None => ignored("contact_dnd"),
        },
        Read::Lifecycle(Hook::Other) => ignored("lifecycle"),
        Read::Message(intake) => answer(&shared, shared.enqueue.message(*intake).await, "accepted"),
        Read::Unreadable(why) => {
            tracing::warn!(why, "a signed webhook can't be read: kept raw");
            answer(&shared, shared.enqueue.unreadable(&body, why).await, "dead_letter")
        }
    };
    response.extensions_mut().insert(Counted(word));
    response
}

fn ignored(why: &'static str) -> (&'static str, Response) {
    tracing::debug!(why, "webhook ignored");
    ("ignored", Json(Taken { status: "ignored", id: None }).into_response())
}

fn answer(shared: &Shared, stored: Result<Answer, EnqueueError>, new: &'static str) -> (&'static str, Response) {
    match stored {
        Ok(answer) => {
            let status = match answer.inserted {
                Inserted::Duplicate if new == "accepted" => "duplicate",
                Inserted::New | Inserted::Duplicate => new,
            };
            tracing::info!(job.id = %answer.id, status, "webhook");
            (status, Json(Taken { status, id: Some(answer.id.0) }).into_response())
        }
        // Logged where the bound is watched, once.
        Err(EnqueueError::Full(full)) => (full_word(full), Problem::try_again().into_response()),
        Err(EnqueueError::Store(e)) => {
            tracing::error!(error = %e, "a webhook could not be stored");
            shared.condition.store(false);
            ("not_stored", Problem::try_again().into_response())
        }
    }
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers.get_all(name).iter().map(axum::http::HeaderValue::as_bytes).collect()
}

fn scheme_word(scheme: crate::signature::Scheme) -> &'static str {
    match scheme {
        crate::signature::Scheme::Ed25519 => "ed25519",
        crate::signature::Scheme::RsaPkcs1Sha256 => "rsa",
        crate::signature::Scheme::EcdsaP256Sha256 => "p256",
    }
}

fn full_word(full: Full) -> &'static str {
    match full {
        Full::Backlog => "backlog_full",
        Full::Disk => "disk_full",
    }
}

fn ignored_word(why: Ignored) -> &'static str {
    match why {
        Ignored::Type => "type",
        Ignored::OtherProvider => "other_provider",
    }
}
