//! The web server: routes, shapes of answers, deadlines, and a listener that ends when it is told to.
//!
//! Invariant: no handler here can call Cast or GHL but the OAuth exchange: it may enqueue, never deliver; a 2xx to a webhook
//! leaves only after the durable insert. Must not import delivery, client or config.

mod admin;
mod answer;
mod connect;
mod inbound;
mod install;
mod layer;
mod openapi;
mod page;
mod receipt;
mod serve;
mod slots;
mod status;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use axum::middleware::from_fn_with_state;
use axum::{Extension, Router};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use inbound::read_reply;
pub use receipt::read_receipt;
pub use serve::{Listener, ServeError, serve};
pub use slots::Slots;
pub use status::metrics_router;

use self::openapi::{Api, Document};
use crate::clock::Clock;
use crate::domain::secret::Secret;
use crate::domain::settings::SharedKey;
use crate::lifecycle::Condition;
use crate::oauth::Installer;
use crate::operator::Locations;
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
    pub locations: Locations,
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
    /// Absent: the operator's API does not exist.
    pub admin_api_key: Option<Secret>,
    /// Whether installers are asked for a key of their own.
    pub shared_key: SharedKey,
    /// The callback's path as the browser sees it.
    pub callback_path: String,
    /// Cookies of an https page say so.
    pub secure_cookies: bool,
}

type Shared = Arc<HttpParts>;

/// All routes of the public listener.
pub fn router(parts: HttpParts) -> Router {
    let shared: Shared = Arc::new(parts);
    let (routes, api) = routes(&shared).split_for_parts();
    routes
        .layer(Extension(Document::new(&api)))
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::wrong_method)
        .layer(from_fn_with_state(Arc::clone(&shared), layer::every_request))
        .with_state(shared)
}

/// The routes, and with them what is said of each in the API's document.
fn routes(shared: &Shared) -> OpenApiRouter<Shared> {
    let webhooks = OpenApiRouter::new()
        .routes(routes!(webhook::receive_message))
        .routes(routes!(webhook::receive_event))
        .layer(from_fn_with_state(Arc::clone(shared), layer::guard_webhook));
    let connect = OpenApiRouter::new()
        .routes(routes!(connect::form, connect::enter))
        .layer(from_fn_with_state(Arc::clone(shared), layer::guard_page));
    let mut all = OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(install::home))
        .routes(routes!(install::begin))
        .routes(routes!(install::callback))
        .merge(connect)
        .merge(webhooks);
    if shared.settings.inbound_api_key.is_some() {
        let gateway = OpenApiRouter::new()
            .routes(routes!(inbound::receive))
            .layer(from_fn_with_state(Arc::clone(shared), layer::guard_gateway));
        let receipts = OpenApiRouter::new()
            .routes(routes!(receipt::receive))
            .layer(from_fn_with_state(Arc::clone(shared), layer::guard_receipts));
        all = all.merge(gateway).merge(receipts);
    }
    if shared.settings.admin_api_key.is_some() {
        let admin = OpenApiRouter::new()
            .routes(routes!(admin::list))
            .routes(routes!(admin::show, admin::change))
            .routes(routes!(admin::sender_id))
            .layer(from_fn_with_state(Arc::clone(shared), layer::guard_admin));
        all = all.merge(admin);
    }
    all.routes(routes!(status::health))
        .routes(routes!(status::ready))
        .routes(routes!(openapi::json))
        .routes(routes!(openapi::docs))
}
