//! What the process says of itself: `/health`, `/ready`, and `/metrics` on a listener of its own.
//!
//! Invariant: `/health` touches nothing; `/ready` is 503 only before start-up is complete and after shutdown began, since a
//! process without its store must still answer webhooks with 429.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use utoipa::ToSchema;

use super::Shared;
use crate::telemetry::Metrics;

#[derive(Serialize, ToSchema)]
struct Ready {
    status: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    degraded: Vec<&'static str>,
}

/// Does the process live? Touches nothing.
#[utoipa::path(get, path = "/health", tag = "Process", responses((status = 200, description = "It lives", body = Ready)))]
pub(super) async fn health() -> Response {
    Json(Ready { status: "ok", degraded: Vec::new() }).into_response()
}

/// May it be sent traffic? It may, whatever is `degraded`.
#[utoipa::path(
    get, path = "/ready", tag = "Process",
    responses(
        (status = 200, description = "It may", body = Ready),
        (status = 503, description = "Before start-up is complete, and after shutdown began", body = Ready),
    ),
)]
pub(super) async fn ready(State(shared): State<Shared>) -> Response {
    let degraded = shared.condition.degraded(shared.clock.mono());
    if shared.condition.ready() {
        return Json(Ready { status: "ready", degraded }).into_response();
    }
    let status = if shared.condition.stopping_now() { "stopping" } else { "starting" };
    (StatusCode::SERVICE_UNAVAILABLE, Json(Ready { status, degraded })).into_response()
}

/// The metrics listener's only route.
pub fn metrics_router(metrics: Metrics) -> Router {
    let page = |State(metrics): State<Metrics>| async move {
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        ([(header::CONTENT_TYPE, kind)], metrics.render())
    };
    Router::new().route("/metrics", get(page)).with_state(metrics)
}
