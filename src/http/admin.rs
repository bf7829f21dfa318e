//! The operator's API: what is set for each location. Authenticated before anything is read; what is done is `operator`'s.
//!
//! Invariant: without `ADMIN_API_KEY` none of this exists; a key that was set is never in an answer. JSON merge patches
//! (RFC 7396): an absent member stays, null goes back to the default, an unknown one is refused by its name.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Shared;
use super::answer::{ErrorBody, Problem};
use super::layer::RawBody;
use crate::domain::id::LocationId;
use crate::domain::settings::SettingsPatch;
use crate::operator::{LocationError, LocationList, LocationView};

const PAGE: usize = 50;
const MOST: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pages {
    /// `next` of the page before.
    after: Option<String>,
    /// Most locations of the page, 1 to 500; 50 unless told.
    limit: Option<usize>,
}

/// What may be set for a location. An absent member stays as it is; null goes back to what the operator's variables say.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it documents what `SettingsPatch::read` reads, which tells an absent member from null")]
pub(super) struct Settings {
    /// The sender name: 1 to 11 letters, digits, spaces, `.`, `_` or `-`.
    sender_id: Option<String>,
    /// The location's own Cast key, 16 to 256 visible characters. It is sealed, and never shown again.
    #[schema(write_only)]
    cast_api_key: Option<String>,
    /// `delivered` or `pending`.
    status_on_accept: Option<String>,
    /// `default` or `custom`.
    provider_kind: Option<String>,
    /// At most 50 mobile numbers or names of SIMs.
    receiving_numbers: Option<Vec<String>>,
    /// `false`: nothing is sent for it, and its messages fail as `disabled`.
    enabled: Option<bool>,
    /// `true`: it may send on the operator's key under `SHARED_KEY=approve`.
    approved: Option<bool>,
    /// Most parts a day on the operator's key; 0 is no limit.
    daily_parts: Option<u64>,
}

/// A sender name, or null for the operator's.
#[derive(ToSchema)]
#[expect(dead_code, reason = "as for `Settings`")]
pub(super) struct SenderId {
    sender_id: Option<String>,
}

/// Locations that are installed, were, or are configured.
#[utoipa::path(
    get, path = "/api/admin/locations", tag = "Operator", 
    params(
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<usize>, Query, description = "Most locations of the page, 1 to 500; 50 unless told"),
    ), security(("admin_api_key" = [])),
    responses(
        (status = 200, description = "A page, by id", body = LocationList),
        (status = 400, description = "`bad_request`", body = ErrorBody),
        (status = 401, description = "`unauthorized`", body = ErrorBody),
        (status = 503, description = "`unavailable`: the store does not answer now", body = ErrorBody),
    ),
)]
pub(super) async fn list(
    State(shared): State<Shared>,
    query: Result<Query<Pages>, QueryRejection>,
) -> Result<Json<LocationList>, Problem> {
    let Ok(Query(pages)) = query else { return Err(bad("The query has `after` and `limit` alone.".to_owned())) };
    let after = pages.after.as_deref().map(location_id).transpose()?;
    let limit = pages.limit.unwrap_or(PAGE);
    if !(1..=MOST).contains(&limit) {
        return Err(bad(format!("`limit` is 1 to {MOST}.")));
    }
    shared.locations.list(after.as_ref(), limit).await.map(Json).map_err(problem)
}

/// One location with its settings.
#[utoipa::path(
    get, path = "/api/admin/locations/{locationId}", tag = "Operator", security(("admin_api_key" = [])),
    params(("locationId" = String, Path, description = "The CRM's id of the sub-account")),
    responses(
        (status = 200, description = "What is set", body = LocationView),
        (status = 400, description = "`bad_request`: not an id", body = ErrorBody),
        (status = 401, description = "`unauthorized`", body = ErrorBody),
        (status = 404, description = "`unknown_location`: neither installed nor configured", body = ErrorBody),
        (status = 503, description = "`unavailable`: the store does not answer now", body = ErrorBody),
    ),
)]
pub(super) async fn show(
    State(shared): State<Shared>,
    Path(location): Path<String>,
) -> Result<Json<LocationView>, Problem> {
    let location = location_id(&location)?;
    shared.locations.get(&location).await.map(Json).map_err(problem)
}

/// Changes settings by a JSON merge patch (RFC 7396). A location may be configured before it installs.
#[utoipa::path(
    patch, path = "/api/admin/locations/{locationId}", tag = "Operator", security(("admin_api_key" = [])),
    params(("locationId" = String, Path, description = "The CRM's id of the sub-account")),
    request_body = Settings,
    responses(
        (status = 200, description = "What is set now", body = LocationView),
        (status = 400, description = "`bad_request`: what is wrong, by its name; nothing was changed", body = ErrorBody),
        (status = 401, description = "`unauthorized`", body = ErrorBody),
        (status = 404, description = "`unknown_location`: an empty patch of a sub-account nobody knows", body = ErrorBody),
        (status = 409, description = "`number_taken`: a receiving number belongs to another sub-account", body = ErrorBody),
        (status = 413, description = "`too_large`", body = ErrorBody),
        (status = 503, description = "`unavailable`: the store does not answer now", body = ErrorBody),
    ),
)]
pub(super) async fn change(
    State(shared): State<Shared>,
    Path(location): Path<String>,
    Extension(body): Extension<RawBody>,
) -> Result<Json<LocationView>, Problem> {
    let patch = SettingsPatch::read(&json(&body)?).map_err(|e| bad(e.to_string()))?;
    apply(&shared, &location, &patch).await
}

/// Sets the sender name of a location.
#[utoipa::path(
    put, path = "/api/admin/locations/{locationId}/sender-id", tag = "Operator", security(("admin_api_key" = [])),
    params(("locationId" = String, Path, description = "The CRM's id of the sub-account")),
    request_body(content = SenderId, example = json!({"sender_id": "MYBRAND"})),
    responses(
        (status = 200, description = "What is set now", body = LocationView),
        (status = 400, description = "`bad_request`: what is wrong; nothing was changed", body = ErrorBody),
        (status = 401, description = "`unauthorized`", body = ErrorBody),
        (status = 413, description = "`too_large`", body = ErrorBody),
        (status = 503, description = "`unavailable`: the store does not answer now", body = ErrorBody),
    ),
)]
pub(super) async fn sender_id(
    State(shared): State<Shared>,
    Path(location): Path<String>,
    Extension(body): Extension<RawBody>,
) -> Result<Json<LocationView>, Problem> {
    let patch = SettingsPatch::sender_id_alone(&json(&body)?).map_err(|e| bad(e.to_string()))?;
    apply(&shared, &location, &patch).await
}

async fn apply(shared: &Shared, location: &str, patch: &SettingsPatch) -> Result<Json<LocationView>, Problem> {
    let location = location_id(location)?;
    shared.locations.change(&location, patch, shared.clock.now()).await.map(Json).map_err(problem)
}

fn location_id(raw: &str) -> Result<LocationId, Problem> {
    let wrong = |_| bad("This is not a sub-account's id: 1 to 64 letters, digits, `_` or `-`.".to_owned());
    LocationId::parse(raw).map_err(wrong)
}

fn json(body: &RawBody) -> Result<Value, Problem> {
    serde_json::from_slice(&body.0).map_err(|_| bad("The body is not JSON.".to_owned()))
}

fn bad(message: String) -> Problem {
    Problem::saying(StatusCode::BAD_REQUEST, "bad_request", message)
}

fn problem(e: LocationError) -> Problem {
    match e {
        LocationError::Unknown => Problem::saying(StatusCode::NOT_FOUND, "unknown_location", e.to_string()),
        LocationError::Taken(_) => Problem::saying(StatusCode::CONFLICT, "number_taken", e.to_string()),
        LocationError::Store(e) => {
            tracing::error!(error = %e, "settings can't be reached");
            Problem::unavailable()
        }
    }
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema as _;

    use super::*;
    use crate::domain::settings::SETTINGS;

    #[test]
    fn the_document_names_every_setting_and_no_other() {
        let schema = serde_json::to_value(Settings::schema()).expect("a schema");
        let mut named: Vec<&str> =
            schema["properties"].as_object().expect("members").keys().map(String::as_str).collect();
        let mut settings = SETTINGS;
        named.sort_unstable();
        settings.sort_unstable();
        assert_eq!(named, settings);
    }
}
