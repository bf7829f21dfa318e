//! One request, one answer, as plain data: status, the headers and at most 256 KiB of body, or why there is none.
//!
//! Owns the question on which double sending hangs: may the request have reached the other side? Invariant: `Reached::No`
//! only where it provably did not. Details never hold a URL, a header or a body. Must not import `cast` or `ghl`.

use std::error::Error as _;
use std::fmt;

use reqwest::header::HeaderMap;
use reqwest::{RequestBuilder, Response};

use crate::domain::json;
use crate::domain::words::{SHOWN, clean};

/// Largest answer read: a list of a hundred sub-accounts with their addresses is the longest, and an endless answer must not
/// fill memory.
pub(super) const BODY_LIMIT: usize = 256 * 1024;

/// Whether a request that got no answer may have reached the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Provably not: it was never built, or no connection was made (name, TCP or TLS).
    No,
    /// It may have: a time-out, a reset or an end of stream after a connection was made.
    Maybe,
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::No => "the request was not sent",
            Self::Maybe => "the request may have arrived",
        })
    }
}

/// A call without an answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reached: Reached,
    /// One line for logs and operators.
    pub(super) detail: String,
}

/// A call with an answer, whatever it says.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
}

/// How much of the body came.
pub(super) enum Body {
    Whole(Vec<u8>),
    /// More than [`BODY_LIMIT`].
    TooLarge,
    /// The connection broke or the time was up in the middle of it.
    Cut,
}

impl Body {
    /// The body as JSON, if it is whole and JSON: it may repeat what people wrote, half an emoji and all.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        match self {
            Self::Whole(bytes) => json::read(bytes),
            Self::TooLarge | Self::Cut => None,
        }
    }
}

impl Answer {
    /// A header's value, if it is readable text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Sends one request once.
pub(super) async fn call(request: RequestBuilder) -> Result<Answer, Failure> {
    let mut response = request.send().await.map_err(failure)?;
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let body = read(response).await;
    Ok(Answer { status, headers, body })
}

async fn read(mut response: Response) -> Body {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if chunk.len() > BODY_LIMIT - bytes.len() => return Body::TooLarge,
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk),
            Ok(None) => return Body::Whole(bytes),
            Err(_) => return Body::Cut,
        }
    }
}

fn failure(error: reqwest::Error) -> Failure {
    // The URL may hold a phone number in its query.
    let error = error.without_url();
    let cause = root_cause(&error);
    let (reached, what) = match (error.is_builder(), error.is_connect(), error.is_timeout()) {
        (true, _, _) => (Reached::No, "the request could not be built"),
        (_, true, true) => (Reached::No, "connecting timed out"),
        (_, true, false) => (Reached::No, "connecting failed"),
        (_, false, true) => (Reached::Maybe, "no answer in time"),
        (_, false, false) => (Reached::Maybe, "the connection broke before the answer"),
    };
    Failure { reached, detail: clean(&format!("{what}: {cause}"), SHOWN) }
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut last = None;
    while let Some(inner) = cause {
        last = Some(inner);
        cause = inner.source();
    }
    last.map_or_else(|| error.to_string(), ToString::to_string)
}
