//! The installer's own Cast key, entered on a page behind a link of the success page.
//!
//! Invariant: the token in the path is the secret, so that no other site can post here; nothing of the page leaves it (no
//! referrer, no store), the key is never shown again, and a link works once, within half an hour.

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};

use super::Shared;
use super::layer::RawBody;
use super::page::{form_page, next_steps, page};
use crate::domain::id::LocationId;
use crate::domain::settings::SharedKey;
use crate::operator::Entered;
use crate::store::StoreError;

const TITLE: &str = "Your own Cast key";

/// The page on which an installer enters the location's own key.
#[utoipa::path(
    get, path = "/connect/{token}", tag = "Pages",
    params(("token" = String, Path, description = "Of the link on the success page")),
    responses(
        (status = 200, description = "A form", content_type = "text/html"),
        (status = 410, description = "The link was used or is older than 30 minutes", content_type = "text/html"),
        (status = 503, description = "The store does not answer now", content_type = "text/html"),
    ),
)]
pub(super) async fn form(State(shared): State<Shared>, Path(token): Path<String>) -> Response {
    match shared.locations.linked(&token, shared.clock.now()).await {
        Ok(Some(location)) => asking(StatusCode::OK, &location, None),
        Ok(None) => over(),
        Err(e) => unavailable(&e),
    }
}

/// Takes the key, once.
#[utoipa::path(
    post, path = "/connect/{token}", tag = "Pages",
    params(("token" = String, Path, description = "Of the link on the success page")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`cast_api_key`"),
    responses(
        (status = 200, description = "It is stored, and the link is used", content_type = "text/html"),
        (status = 400, description = "It is no key; the link still holds", content_type = "text/html"),
        (status = 410, description = "The link was used or is older than 30 minutes", content_type = "text/html"),
        (status = 503, description = "The store does not answer now", content_type = "text/html"),
    ),
)]
pub(super) async fn enter(
    State(shared): State<Shared>,
    Path(token): Path<String>,
    Extension(body): Extension<RawBody>,
) -> Response {
    let now = shared.clock.now();
    let field = url::form_urlencoded::parse(&body.0).find(|(name, _)| name == "cast_api_key");
    let key = field.map(|(_, value)| value.into_owned()).unwrap_or_default();
    match shared.locations.enter_key(&token, &key, now).await {
        Ok(Entered::Saved(location)) => page(
            StatusCode::OK,
            "Your key is stored",
            html! {
                p { "The sub-account " code { (location) } " sends on its own Cast key from now on, and messages that waited are on their way." }
                (next_steps())
            },
        ),
        Ok(Entered::Refused(_)) => match shared.locations.linked(&token, now).await {
            Ok(Some(location)) => {
                let wrong = "That is no Cast API key: it has 16 to 256 characters and no spaces. Copy it again, alone and whole.";
                asking(StatusCode::BAD_REQUEST, &location, Some(wrong))
            }
            Ok(None) => over(),
            Err(e) => unavailable(&e),
        },
        Ok(Entered::Over) => over(),
        Err(e) => unavailable(&e),
    }
}

/// What the success page says about keys, and the link to this one.
pub(super) async fn invitation(shared: &Shared, location: &LocationId) -> Markup {
    let why = match shared.settings.shared_key {
        SharedKey::Allow => return html! {},
        SharedKey::Approve => {
            "Its messages wait until whoever runs Cast SMS for you approves it, or until it has a Cast key of its own."
        }
        SharedKey::Off => "It needs a Cast key of its own before it can send.",
    };
    match shared.locations.get(location).await {
        Ok(view) if view.cast_api_key.is_some() => {
            return html! { p { "It sends on its own Cast key, as before." } };
        }
        Ok(view) if view.approved == Some(true) && shared.settings.shared_key == SharedKey::Approve => return html! {},
        Ok(_) | Err(_) => {}
    }
    match shared.locations.new_link(location, shared.clock.now()).await {
        Ok(token) => html! {
            p { (why) }
            p { a.button href={ "connect/" (token) } { "Enter a Cast key" } }
            p.muted { "This link works once, for 30 minutes. Reload this page for another." }
        },
        Err(e) => {
            tracing::warn!(location.id = %location, error = %e, "no link for a key could be made");
            html! { p { (why) " Reload this page in a minute to enter one." } }
        }
    }
}

/// The same of an agency's sub-accounts: one link holds for one of them, so whoever runs the bridge gives them out.
pub(super) fn agency_invitation(shared_key: SharedKey) -> Markup {
    let why = match shared_key {
        SharedKey::Allow => return html! {},
        SharedKey::Approve => "Messages of a sub-account wait until it is approved, or has a Cast key of its own.",
        SharedKey::Off => "Each sub-account needs a Cast key of its own before it can send.",
    };
    html! { p { (why) " Whoever runs Cast SMS for you has a link to enter it by." } }
}

fn asking(status: StatusCode, location: &LocationId, wrong: Option<&str>) -> Response {
    form_page(
        status,
        TITLE,
        html! {
            p { "Enter the Cast.ph API key that pays for the SMS of the sub-account " code { (location) } "." }
            @if let Some(wrong) = wrong { p { strong { (wrong) } } }
            form method="post" {
                p {
                    label for="key" { "API key" } br;
                    input #key name="cast_api_key" type="password" autocomplete="off" required maxlength="256" size="40";
                }
                button type="submit" { "Store this key" }
            }
            p.muted { "It is kept encrypted and is never shown again." }
        },
    )
}

fn over() -> Response {
    page(
        StatusCode::GONE,
        "This link is over",
        html! { p { "It was used, or it is older than 30 minutes. Connect the sub-account again, or ask whoever runs Cast SMS for you." } },
    )
}

fn unavailable(e: &StoreError) -> Response {
    tracing::error!(error = %e, "a key could not be stored");
    page(
        StatusCode::SERVICE_UNAVAILABLE,
        "This could not be stored",
        html! { p { "Nothing was changed. Wait a minute and try again." } },
    )
}
