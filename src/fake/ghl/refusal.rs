//! GHL's refusals in GHL's words and shapes.
//!
//! Owns every error body this fake sends: `{statusCode, message, error?, traceId}` with `message` a string or an array
//! of strings, and OAuth's `{error, error_description}` (ghl contract, head). No value of a request is quoted.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use crate::fake::wire::{Misfit, json_answer};

/// A call that is turned down.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refusal {
    status: StatusCode,
    body: Value,
    breach: bool,
}

impl Refusal {
    /// The usual shape.
    pub(super) fn new(status: StatusCode, message: &str) -> Self {
        Self { status, body: json!({"statusCode": status.as_u16(), "message": message}), breach: false }
    }

    /// The same refusal, as the caller's own mistake: it broke the contract, whatever a test turned.
    pub(super) fn breach(self) -> Self {
        Self { breach: true, ..self }
    }

    /// The same refusal, as one of the vendor's variations that a caller must be ready for.
    pub(super) fn variation(self) -> Self {
        Self { breach: false, ..self }
    }

    /// Whether the caller broke the contract.
    pub(super) fn is_breach(&self) -> bool {
        self.breach
    }

    /// The validators' shape: 422 with an array. A breach unless it is made a [`Refusal::variation`].
    pub(super) fn unprocessable(message: &str) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            body: json!({"statusCode": 422, "message": [message], "error": "Unprocessable Entity"}),
            breach: true,
        }
    }

    /// OAuth's shape.
    pub(super) fn oauth(status: StatusCode, error: &str, description: &str) -> Self {
        Self { status, body: json!({"error": error, "error_description": description}), breach: false }
    }

    pub(super) fn bad_request(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unauthorized(message: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    pub(super) fn forbidden(message: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    /// What the ledger says about it.
    pub(super) fn words(&self) -> String {
        let message = &self.body["message"];
        let words = message[0].as_str().or(message.as_str()).or(self.body["error_description"].as_str());
        words.unwrap_or_default().to_owned()
    }

    pub(super) fn answer(mut self, trace_id: &str) -> Response<Body> {
        self.body["traceId"] = json!(trace_id);
        json_answer(self.status, &self.body)
    }
}

impl From<Misfit> for Refusal {
    fn from(misfit: Misfit) -> Self {
        match misfit {
            Misfit::Media => Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Media Type").breach(),
            Misfit::Syntax => Self::bad_request("Unexpected token in JSON").breach(),
            Misfit::Undeclared(name) => Self::unprocessable(&format!("property {name} should not exist")),
            Misfit::Missing(name) => Self::unprocessable(&format!("{name} should not be empty")),
            Misfit::Twice(name) => Self::unprocessable(&format!("{name} must be given once")),
            Misfit::Wrong(expected) => Self::unprocessable(&format!("a property must be {expected}")),
        }
    }
}
