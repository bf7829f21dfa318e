//! The web server: routes, shapes of answers, deadlines, and a listener that ends when it is told to.
//!
//! Invariant: no handler here can call Cast or GHL but the OAuth exchange: it may enqueue, never deliver; a 2xx to a webhook
//! leaves only after the durable insert. Must not import delivery, client or config.

mod answer;
mod inbound;
mod install;
mod layer;
mod page;
mod receipt;
mod serve;
mod slots;
mod status;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};

pub use inbound::read_reply;
pub use receipt::read_receipt;
pub use serve::{Listener, ServeError, serve};
pub use slots::Slots;
pub use status::metrics_router;

use crate::clock::Clock;
use crate::domain::secret::Secret;
use crate::lifecycle::Condition;
use crate::oauth::Installer;
use crate::queue::Enqueue;
use crate::signature::VerifyKeys;
use crate::telemetry::Metrics;

/// Largest webhook body.
pub const WEBHOOK_LIMIT: usize = 1024 * 1024;
/// Largest body elsewhere.
pub const BODY_LIMIT: usize = 256 * 1024;

/// What the handlers work with.
pub struct HttpParts {
    pub enqueue: Enqueue,
    pub keys: VerifyKeys,
    pub installer: Installer,
    pub condition: Condition,
    pub metrics: Metrics,
    pub clock: Clock,
    pub slots: Slots,
    pub settings: HttpSettings,
}

/// How the web server behaves.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// From headers read to answer, on webhooks and the inbound endpoint.
    pub accept_timeout: Duration,
    /// Lifecycle events of another app are ignored.
    pub app_id: String,
    /// Messages of another provider are ignored.
    pub provider_id: Option<String>,
    /// Absent: the gateway's endpoints do not exist.
    pub inbound_api_key: Option<Secret>,
    /// The callback's path as the browser sees it.
    pub callback_path: String,
    /// Cookies of an https page say so.
    pub secure_cookies: bool,
}

type Shared = Arc<HttpParts>;

/// All routes of the public listener.
pub fn router(parts: HttpParts) -> Router {
    let with_gateway = parts.settings.inbound_api_key.is_some();
    let shared: Shared = Arc::new(parts);
    let webhooks = Router::new()
        .route("/api/ghl/v1/webhook/messages", post(webhook::receive))
        .route("/api/ghl/v1/webhook", post(webhook::receive))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), layer::guard_webhook));
    let mut others = Router::new()
        .route("/", get(install::home))
        .route("/install", get(install::begin))
        .route("/oauth-callback", get(install::callback))
        .route("/health", get(status::health))
        .route("/ready", get(status::ready));
    if with_gateway {
        let inbound = Router::new()
            .route("/api/cast/v1/inbound", post(inbound::receive))
            .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), layer::guard_gateway));
        let receipts = Router::new()
            .route("/api/cast/v1/receipts", post(receipt::receive))
            .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), layer::guard_receipts));
        others = others.merge(inbound).merge(receipts);
    }
    webhooks
        .merge(others)
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), layer::every_request))
        .with_state(shared)
}
