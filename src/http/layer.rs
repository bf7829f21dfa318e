//! What surrounds every request: its id, its span, panics, and the deadline and body of the endpoints that store.
//!
//! Invariant: from headers read to answer a storing endpoint takes at most its deadline, whatever the body or the store does.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tracing::Instrument;

use super::answer::Problem;
use super::{BODY_LIMIT, Shared, WEBHOOK_LIMIT};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The whole raw body, read within the deadline and the limit.
#[derive(Clone)]
pub(super) struct RawBody(pub Bytes);

/// The word a webhook's answer is counted under.
#[derive(Clone)]
pub(super) struct Counted(pub &'static str);

/// Outermost: request id, span, the body of problems, `Connection: close` once shutdown began.
pub(super) async fn every_request(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let path = request.extensions().get::<axum::extract::MatchedPath>().map_or("", |p| p.as_str()).to_owned();
    let span = tracing::info_span!("http.request", request.id = %id, http.method = %request.method(), http.path = path);
    let began = shared.clock.mono();
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let mut response = answered.unwrap_or_else(|panic| {
        let _in = span.enter();
        log_panic(panic.as_ref());
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong here.").into_response()
    });
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let allow = response.headers().get(header::ALLOW).cloned();
        response = problem.answer(&id);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    } else if response.status() == StatusCode::METHOD_NOT_ALLOWED
        && response.headers().get(header::CONTENT_TYPE).is_none()
    {
        let allow = response.headers().get(header::ALLOW).cloned();
        response = super::answer::wrong_method().await.answer(&id);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    if shared.condition.stopping_now() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let took = shared.clock.mono().since(began);
    let _in = span.enter();
    tracing::debug!(status = response.status().as_u16(), duration_ms = took.as_millis(), "answered");
    response
}

/// Webhooks: what can't be taken now is 429, a panic included.
pub(super) async fn guard_webhook(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let began = shared.clock.mono();
    let (mut response, early) = guard(&shared, request, next, WEBHOOK_LIMIT, Problem::try_again).await;
    let told = response.extensions_mut().remove::<Counted>().map(|counted| counted.0);
    // Neither early nor counted by the handler: the signature was refused.
    let word = early.or(told).unwrap_or("refused");
    shared.metrics.webhook(word, shared.clock.mono().since(began));
    response
}

/// The gateway's endpoints: what can't be taken now is 503.
pub(super) async fn guard_gateway(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    guard(&shared, request, next, BODY_LIMIT, Problem::unavailable).await.0
}

/// Reads the body and runs the handler under one deadline; answers also the word to count, when it ended early.
async fn guard(
    shared: &Shared,
    request: Request,
    next: Next,
    limit: usize,
    cannot: fn() -> Problem,
) -> (Response, Option<&'static str>) {
    let deadline = shared.settings.accept_timeout;
    let work = async {
        let (mut parts, body) = request.into_parts();
        let bytes = match read(body, &parts.headers, limit).await {
            Ok(bytes) => bytes,
            Err(Unread::TooLarge) => {
                let problem = Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "too_large",
                    "The body is larger than this address takes.",
                );
                return (problem.into_response(), Some("too_large"));
            }
            // The sender broke off: it hears nothing anyway, and may send again.
            Err(Unread::Broken) => return (cannot().into_response(), Some("broken_off")),
        };
        parts.extensions.insert(RawBody(bytes));
        (next.run(Request::from_parts(parts, Body::empty())).await, None)
    };
    // A panic inside becomes "try again": the message may not be lost to our fault.
    match tokio::time::timeout(deadline, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(panic)) => {
            log_panic(panic.as_ref());
            (cannot().into_response(), Some("panic"))
        }
        Err(_) => {
            tracing::warn!(deadline_ms = millis(deadline), "not stored within the deadline");
            (cannot().into_response(), Some("deadline"))
        }
    }
}

enum Unread {
    TooLarge,
    Broken,
}

async fn read(body: Body, headers: &axum::http::HeaderMap, limit: usize) -> Result<Bytes, Unread> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limit as u64) {
        return Err(Unread::TooLarge);
    }
    to_bytes(body, limit).await.map_err(|e| {
        use std::error::Error as _;
        let too_large = e.source().is_some_and(|s| s.is::<http_body_util::LengthLimitError>());
        if too_large { Unread::TooLarge } else { Unread::Broken }
    })
}

/// A caller's id is kept when it is short and plain, so that one request can be followed through several logs.
fn request_id(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|v| v.to_str().ok());
    let plain = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    given.filter(plain).map_or_else(crate::random::hex::<8>, str::to_owned)
}

/// The place of a panic is logged by the panic hook; its words may hold data and are not.
fn log_panic(_panic: &(dyn Any + Send)) {
    tracing::error!("a handler panicked");
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
