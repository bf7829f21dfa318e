//! The shape of every JSON answer, errors above all: `{"error":{"code","message"},"request_id"}`.
//!
//! Invariant: never a stack, an inner error or a secret in one. The request id is filled in by `layer`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// What GHL and the gateway wait before they try again.
pub(super) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("30");

/// An error on its way out; `layer` puts the request id into it.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: &'static str,
}

impl Problem {
    pub(super) const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message }
    }

    /// "Cannot take it now" as GHL repeats it: only a 429 is retried under every rule it ever documented.
    pub(super) const fn try_again() -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "try_again",
            "This can't be stored right now. Nothing was lost if you send it again.",
        )
    }

    /// The same for the gateway, whose rule is a 503.
    pub(super) const fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "This can't be stored right now. Send it again later.",
        )
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'a str,
    message: &'a str,
}

impl Problem {
    /// The answer of the request with this id.
    pub(super) fn answer(&self, request_id: &str) -> Response {
        let body = Body { error: Inner { code: self.code, message: self.message }, request_id };
        let mut response = (self.status, Json(body)).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        response
    }
}

impl IntoResponse for Problem {
    /// A marker: the outermost layer writes the body, since it knows the request id.
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

pub(super) async fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing at this address.")
}

pub(super) async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This address does not take this method; see the Allow header.",
    )
}
