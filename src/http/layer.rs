//! What surrounds every request: its id, its span, panics, and the deadline and body of the endpoints that store.
//!
//! Invariant: from headers read to answer a storing endpoint takes at most its deadline, whatever the body or the store does,
//! and it reads no body without a slot.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, StreamExt};
use tracing::Instrument;

use super::answer::Problem;
use super::slots::Slot;
use super::{BODY_LIMIT, HttpParts, Shared, WEBHOOK_LIMIT};
use crate::digest;

/// A body that nobody will look at gets this long to arrive: below every `ACCEPT_TIMEOUT`.
const DISCARD: Duration = Duration::from_secs(1);

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
    let (mut response, early) = guard(&shared, request, next, Door::Webhook).await;
    let told = response.extensions_mut().remove::<Counted>().map(|counted| counted.0);
    // Neither early nor counted by the handler: the signature was refused.
    let word = early.or(told).unwrap_or("refused");
    shared.metrics.webhook(word, shared.clock.mono().since(began));
    response
}

/// The gateway's endpoints: what can't be taken now is 503.
pub(super) async fn guard_gateway(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let (response, early) = guard(&shared, request, next, Door::Gateway).await;
    if let Some(word) = early {
        shared.metrics.reply(word);
    }
    response
}

/// The same for receipts.
pub(super) async fn guard_receipts(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let (response, early) = guard(&shared, request, next, Door::Gateway).await;
    if let Some(word) = early {
        shared.metrics.receipt(word);
    }
    response
}

/// The operator's endpoints: nothing is read before the key is right.
pub(super) async fn guard_admin(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let key = shared.settings.admin_api_key.as_ref();
    let matches = |given: &[u8]| key.is_some_and(|key| digest::equal(given, key.expose().as_bytes()));
    if !bearer(request.headers()).is_some_and(matches) {
        tracing::warn!("the operator's API was refused: the key is missing or wrong");
        return Problem::unauthorized().into_response();
    }
    guard(&shared, request, next, Door::Gateway).await.0
}

/// The installer's page: its token in the path is the key, and the store is asked for it.
pub(super) async fn guard_page(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    guard(&shared, request, next, Door::Gateway).await.0
}

/// The token of `Authorization: Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Who comes in, and what holds for them.
#[derive(Debug, Clone, Copy)]
enum Door {
    Webhook,
    /// The gateway, and whoever else hears 503 when it can't be done now.
    Gateway,
}

impl Door {
    fn limit(self) -> usize {
        match self {
            Self::Webhook => WEBHOOK_LIMIT,
            Self::Gateway => BODY_LIMIT,
        }
    }

    fn slot(self, shared: &HttpParts, length: Option<u64>) -> Option<Slot<'_>> {
        match self {
            Self::Webhook => shared.slots.webhook(length),
            Self::Gateway => shared.slots.reply(),
        }
    }

    /// "Cannot take it now", as this caller understands it.
    fn cannot(self) -> Response {
        match self {
            Self::Webhook => Problem::try_again(),
            Self::Gateway => Problem::unavailable(),
        }
        .into_response()
    }
}

/// Reads the body and runs the handler under one deadline; answers also the word to count, when it ended early.
async fn guard(shared: &Shared, request: Request, next: Next, door: Door) -> (Response, Option<&'static str>) {
    let deadline = shared.settings.accept_timeout;
    let length = declared(request.headers());
    if length.is_some_and(|length| length > door.limit() as u64) {
        return too_large();
    }
    let Some(_slot) = door.slot(shared, length) else {
        // Read and kept nowhere: to close on unread bytes would reset the connection, and the answer with it.
        let _ = tokio::time::timeout(DISCARD, discard(request.into_body())).await;
        return (door.cannot(), Some("busy"));
    };
    let work = async {
        let (mut parts, body) = request.into_parts();
        let bytes = match read(body, door.limit()).await {
            Ok(bytes) => bytes,
            Err(Unread::TooLarge) => return too_large(),
            // The sender broke off: it hears nothing anyway, and may send again.
            Err(Unread::Broken) => return (door.cannot(), Some("broken_off")),
        };
        parts.extensions.insert(RawBody(bytes));
        (next.run(Request::from_parts(parts, Body::empty())).await, None)
    };
    // A panic inside becomes "try again": the message may not be lost to our fault.
    match tokio::time::timeout(deadline, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(panic)) => {
            log_panic(panic.as_ref());
            (door.cannot(), Some("panic"))
        }
        Err(_) => {
            tracing::warn!(deadline_ms = millis(deadline), "not stored within the deadline");
            (door.cannot(), Some("deadline"))
        }
    }
}

async fn discard(body: Body) {
    let mut frames = body.into_data_stream();
    while let Some(Ok(_)) = frames.next().await {}
}

enum Unread {
    TooLarge,
    Broken,
}

fn too_large() -> (Response, Option<&'static str>) {
    let sentence = "The body is larger than this address takes.";
    (Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", sentence).into_response(), Some("too_large"))
}

fn declared(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn read(body: Body, limit: usize) -> Result<Bytes, Unread> {
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
