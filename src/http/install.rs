//! The installer's way: home page, redirect to the CRM, callback.
//!
//! Invariant: a `state` that is present and not ours never leads to an exchange; what a stranger wrote into the URL is shown
//! escaped or not at all.

use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use serde::Deserialize;

use super::Shared;
use super::connect::{agency_invitation, invitation};
use super::page::{again, next_steps, page};
use crate::domain::agency::Progress;
use crate::domain::id::{CompanyId, LocationId};
use crate::domain::settings::SharedKey;
use crate::oauth::{Connected, InstallError, STATE_COOKIE, StateCheck, check_state};

/// What this is, and where to connect.
#[utoipa::path(get, path = "/", tag = "Pages", responses((status = 200, description = "A page", content_type = "text/html")))]
pub(super) async fn home() -> Response {
    page(
        StatusCode::OK,
        "Cast SMS for your CRM",
        html! {
            p { "Sends the SMS of a sub-account through Cast.ph, reports what became of each, and puts replies back into the conversation." }
            p { a.button href="install" { "Connect a sub-account" } }
            p.muted { a href="health" { "Health" } }
        },
    )
}

/// Sends the installer to the CRM, to choose a sub-account.
#[utoipa::path(get, path = "/install", tag = "Pages", responses((status = 302, description = "To the CRM")))]
pub(super) async fn begin(State(shared): State<Shared>) -> Response {
    let state = shared.installer.new_state();
    let mut response = Redirect::to(&shared.installer.authorize_url(&state)).into_response();
    // 302 and not axum's 303: some in-app browsers of agencies know no other.
    *response.status_mut() = StatusCode::FOUND;
    let secure = if shared.settings.secure_cookies { "; Secure" } else { "" };
    let path = &shared.settings.callback_path;
    let cookie = format!("{STATE_COOKIE}={state}; HttpOnly; SameSite=Lax; Path={path}; Max-Age=600{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[derive(Deserialize)]
pub(super) struct Callback {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// Where the CRM sends the installer back to; shows what was connected.
#[utoipa::path(
    get, path = "/oauth-callback", tag = "Pages", 
    params(
        ("code" = Option<String>, Query, description = "What the CRM grants the connection by"),
        ("state" = Option<String>, Query, description = "As `/install` gave it; absent when the marketplace began"),
        ("error" = Option<String>, Query, description = "Why it was not granted"),
        ("error_description" = Option<String>, Query, description = "The same in words"),
    ),
    responses(
        (status = 200, description = "Connected", content_type = "text/html"),
        (status = 400, description = "Nothing was connected, and why", content_type = "text/html"),
        (status = 502, description = "The CRM did not answer; try again", content_type = "text/html"),
        (status = 503, description = "It could not be stored; try again", content_type = "text/html"),
    ),
)]
pub(super) async fn callback(
    State(shared): State<Shared>,
    headers: HeaderMap,
    query: Result<Query<Callback>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Ok(Query(callback)) = query else {
        return page(
            StatusCode::BAD_REQUEST,
            "That link is broken",
            html! { p { "The address holds something that can't be read. Begin again:" } (again()) },
        );
    };
    if check_state(callback.state.as_deref(), cookie(&headers).as_deref()) == StateCheck::Mismatch {
        return page(
            StatusCode::BAD_REQUEST,
            "This connection was not begun here",
            html! {
                p { "The link does not belong to this browser, or it is older than ten minutes. Nothing was connected." }
                (again())
            },
        );
    }
    if let Some(error) = callback.error.filter(|e| !e.is_empty()) {
        let why = callback.error_description.filter(|d| !d.is_empty()).unwrap_or(error);
        let why: String = why.chars().filter(|c| !c.is_control()).take(200).collect();
        return page(
            StatusCode::BAD_REQUEST,
            "Your CRM did not connect",
            html! { p { "It said: " code { (why) } } p { "Nothing was connected." } (again()) },
        );
    }
    let Some(code) = callback.code.filter(|c| (1..=2048).contains(&c.len())) else {
        return page(
            StatusCode::BAD_REQUEST,
            "Nothing to connect",
            html! { p { "Your CRM sent no code along. Begin again:" } (again()) },
        );
    };
    match shared.installer.complete(&code).await {
        Ok(Connected::Location(location)) => connected(&shared, &location).await,
        Ok(Connected::Company(company)) => match shared.installer.progress(&company).await {
            Ok(progress) => agency_connected(&shared, &company, progress),
            Err(e) => {
                tracing::warn!(error = %e, "the progress of an agency can't be read");
                agency_connected(&shared, &company, Progress::default())
            }
        },
        Err(e) => failure(&e),
    }
}

async fn connected(shared: &Shared, location: &LocationId) -> Response {
    let invitation = invitation(shared, location).await;
    page(
        StatusCode::OK,
        "Connected",
        html! {
            p { "Cast SMS is connected to the sub-account " code { (location) } "." }
            (invitation)
            (next_steps())
            @if shared.settings.shared_key == SharedKey::Allow {
                p.muted { "Messages that were waiting for this connection are sent now." }
            }
        },
    )
}

fn agency_connected(shared: &Shared, company: &CompanyId, progress: Progress) -> Response {
    let Progress { connected, known, listed } = progress;
    page(
        StatusCode::OK,
        "Agency connected",
        html! {
            p { "Cast SMS is connected to the agency " code { (company) } ". Its sub-accounts follow." }
            p {
                @if known == 0 && listed {
                    "It is not installed in any sub-account yet."
                } @else if known == 0 {
                    "Looking for its sub-accounts. Reload this page to see how far it is."
                } @else if connected < known || !listed {
                    "Connecting " (connected) " of " (known) " sub-accounts. Reload this page to see how far it is."
                } @else if known == 1 {
                    "Its sub-account is connected."
                } @else {
                    "All " (known) " sub-accounts are connected."
                }
            }
            (agency_invitation(shared.settings.shared_key))
            (next_steps())
        },
    )
}

fn failure(error: &InstallError) -> Response {
    use std::error::Error as _;
    // The source names status and GHL's words, capped and masked by the client: for the log alone.
    let source = error.source().map(ToString::to_string);
    tracing::warn!(error = %error, source, "connecting failed");
    let (status, title, sentence) = match error {
        InstallError::CodeRefused(_) => (
            StatusCode::BAD_REQUEST,
            "Your CRM refused the code",
            "It was used already or is too old. Nothing was connected; begin again:",
        ),
        InstallError::AppRefused(_) => (
            StatusCode::BAD_GATEWAY,
            "Your CRM does not know this app",
            "It refused the app's own credentials. Tell whoever runs Cast SMS for you, and connect again later:",
        ),
        InstallError::Incomplete => (
            StatusCode::BAD_GATEWAY,
            "Your CRM's answer was incomplete",
            "It named neither a sub-account nor an agency. Nothing was connected; try again:",
        ),
        InstallError::Unavailable(_) => {
            (StatusCode::BAD_GATEWAY, "Your CRM did not answer", "Nothing was connected. Wait a minute and try again:")
        }
        InstallError::NotStored(_) | InstallError::Interrupted => (
            StatusCode::SERVICE_UNAVAILABLE,
            "This could not be stored",
            "The connection was made but could not be kept. Wait a minute and connect again:",
        ),
    };
    page(status, title, html! { p { (sentence) } (again()) })
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == STATE_COOKIE)
        .map(|(_, value)| value.to_owned())
}
