//! The shape of every JSON answer, errors above all: `{"error":{"code","message"},"request_id"}`.
//!
//! Invariant: never a stack, an inner error or a secret in one. The request id is filled in by `layer`.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// What GHL and the gateway wait before they try again.
pub(super) const RETRY_AFTER: HeaderValue = HeaderValue::from_static("30");

/// The code of a missing or wrong API key.
const UNAUTHORIZED: &str = "unauthorized";

/// An error on its way out; `layer` puts the request id into it.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: Cow<'static, str>,
}

impl Problem {
    /// One whose sentence names what was sent; it must hold no value that could be a secret.
    pub(super) fn saying(status: StatusCode, code: &'static str, message: String) -> Self {
        Self { status, code, message: Cow::Owned(message) }
    }

    pub(super) const fn new(status: StatusCode, code: &'static str, message: &'static str) -> Self {
        Self { status, code, message: Cow::Borrowed(message) }
    }

    /// An API key that is missing or wrong.
    pub(super) const fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, UNAUTHORIZED, "The API key is missing or wrong.")
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

/// An error.
#[derive(Serialize, ToSchema)]
pub(super) struct ErrorBody<'a> {
    error: ErrorInner<'a>,
    /// The answer's `x-request-id`.
    request_id: &'a str,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ErrorInner<'a> {
    /// For a program, in snake_case.
    code: &'a str,
    /// For a person: one sentence.
    message: &'a str,
}

impl Problem {
    /// The answer of the request with this id.
    pub(super) fn answer(&self, request_id: &str) -> Response {
        let body = ErrorBody { error: ErrorInner { code: self.code, message: &self.message }, request_id };
        let mut response = (self.status, Json(body)).into_response();
        if matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if self.code == UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
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
