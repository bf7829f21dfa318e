//! The API as a document, and the document as a page.
//!
//! Invariant: nothing is written by hand: `http::router` makes routes and document of the same annotated handlers, and the page
//! of that document. The page needs nothing from outside and runs no script.

use std::sync::Arc;

use axum::Extension;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde_json::{Map, Value};
use utoipa::Modify;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

use super::page::page;

/// What the routes are added to.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Cast SMS bridge",
        description = "Makes Cast.ph the SMS provider of a CRM's sub-accounts. Errors are \
            `{\"error\":{\"code\",\"message\"},\"request_id\"}`; every answer carries `x-request-id`.",
        license(name = "MIT", identifier = "MIT"),
    ),
    modifiers(&Keys),
)]
pub(super) struct Api;

struct Keys;

impl Modify for Keys {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("ADMIN_API_KEY")).build();
        components.add_security_scheme("admin_api_key", SecurityScheme::Http(bearer));
        let header = |name: &str, words: &str| {
            SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(name, words)))
        };
        let inbound = header("X-API-Key", "INBOUND_API_KEY; also as `Authorization: Bearer`");
        components.add_security_scheme("inbound_api_key", inbound);
        let signature = header("X-GHL-Signature", "The CRM's signature of the raw body; also as `x-wh-signature`");
        components.add_security_scheme("signature", signature);
    }
}

/// The document, made once.
#[derive(Debug, Clone)]
pub(super) struct Document(Arc<Value>);

impl Document {
    pub(super) fn new(api: &utoipa::openapi::OpenApi) -> Self {
        Self(Arc::new(serde_json::to_value(api).unwrap_or_default()))
    }
}

/// This API as an OpenAPI 3.1 document.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "Process",
    responses((status = 200, description = "The document", content_type = "application/json")),
)]
pub(super) async fn json(Extension(document): Extension<Document>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document.0.to_string()).into_response()
}

/// The same for a person.
#[utoipa::path(
    get, path = "/api/docs", tag = "Process",
    responses((status = 200, description = "A page", content_type = "text/html")),
)]
pub(super) async fn docs(Extension(document): Extension<Document>) -> Response {
    let api = &document.0;
    let title = text(api.pointer("/info/title"));
    page(
        StatusCode::OK,
        title,
        html! {
            p { (text(api.pointer("/info/description"))) }
            p.muted { a href="openapi.json" { "openapi.json" } ", version " (text(api.pointer("/info/version"))) }
            @for (tag, operations) in by_tag(api) {
                h2 { (tag) }
                @for operation in operations { (section(api, &operation)) }
            }
        },
    )
}

/// One method of one path.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    is: &'a Value,
}

fn by_tag(api: &Value) -> Vec<(&str, Vec<Operation<'_>>)> {
    let mut groups: Vec<(&str, Vec<Operation<'_>>)> = Vec::new();
    for (path, item) in members(api.get("paths")) {
        for (method, is) in members(Some(item)) {
            let tag = text(is.pointer("/tags/0"));
            let operation = Operation { method, path, is };
            match groups.iter_mut().find(|(known, _)| *known == tag) {
                Some((_, operations)) => operations.push(operation),
                None => groups.push((tag, vec![operation])),
            }
        }
    }
    groups
}

fn section(api: &Value, operation: &Operation<'_>) -> Markup {
    let Operation { method, path, is } = operation;
    let keys = is.get("security").and_then(Value::as_array).into_iter().flatten();
    let keys: Vec<&str> = keys.flat_map(|key| members(Some(key)).map(|(name, _)| name)).collect();
    html! {
        section {
            h3 { code { (method.to_uppercase()) " " (path) } }
            p { (text(is.get("summary"))) " " (text(is.get("description"))) }
            @if !keys.is_empty() { p.muted { "Needs " (keys.join(" or ")) "." } }
            @let parameters = is.get("parameters").and_then(Value::as_array);
            @if let Some(parameters) = parameters {
                ul {
                    @for parameter in parameters {
                        li { code { (text(parameter.get("name"))) } " (" (text(parameter.get("in"))) "): " (text(parameter.get("description"))) }
                    }
                }
            }
            @for (kind, content) in members(is.pointer("/requestBody/content")) {
                p { "Body, " code { (kind) } " " (text(is.pointer("/requestBody/description"))) }
                (schema(api, content.get("schema")))
            }
            ul {
                @for (status, answer) in members(is.get("responses")) {
                    li {
                        strong { (status) } " " (text(answer.get("description")))
                        @for (_, content) in members(answer.get("content")) {
                            @if !status.starts_with('4') && !status.starts_with('5') { (schema(api, content.get("schema"))) }
                        }
                    }
                }
            }
        }
    }
}

/// The members of a schema; of a named one, its members where they are used.
fn schema(api: &Value, schema: Option<&Value>) -> Markup {
    let schema = schema.map(|schema| resolved(api, schema));
    let properties = schema.and_then(|schema| schema.get("properties"));
    html! {
        @if properties.is_some() {
            ul {
                @for (name, member) in members(properties) {
                    @let described = resolved(api, member);
                    li { code { (name) } " " (kind(api, member)) " " (text(member.get("description").or(described.get("description")))) }
                }
            }
        }
    }
}

fn resolved<'a>(api: &'a Value, schema: &'a Value) -> &'a Value {
    let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix('#'));
    pointer.and_then(|pointer| api.pointer(pointer)).unwrap_or(schema)
}

/// A schema's type in words.
fn kind(api: &Value, schema: &Value) -> String {
    let schema = resolved(api, schema);
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | ");
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        return choices.iter().map(|choice| kind(api, choice)).collect::<Vec<_>>().join(" or ");
    }
    match schema.get("type") {
        Some(Value::String(one)) if one == "array" => {
            format!("list of {}", schema.get("items").map(|items| kind(api, items)).unwrap_or_default())
        }
        Some(Value::String(one)) => one.clone(),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => String::new(),
    }
}

fn members(value: Option<&Value>) -> impl Iterator<Item = (&str, &Value)> {
    let object: Option<&Map<String, Value>> = value.and_then(Value::as_object);
    object.into_iter().flatten().map(|(name, value)| (name.as_str(), value))
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}
