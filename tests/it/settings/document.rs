//! The API's document: as complete as the router, and a page of its own.

use std::collections::BTreeSet;

use serde_json::Value;

use super::world;
use crate::support::world::{Place, World};
use crate::{Cases, cases};

pub(super) fn cases() -> Cases<Place> {
    cases![
        every_route_is_in_the_document_and_the_other_way_round,
        a_route_that_does_not_exist_is_not_in_the_document,
        the_page_shows_every_operation_and_needs_nothing_from_outside,
        every_reference_in_the_document_leads_somewhere,
    ]
}

async fn document(w: &World) -> Value {
    let answer = w.get("/api/openapi.json").await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    answer.json().await.expect("JSON")
}

fn paths(document: &Value) -> BTreeSet<String> {
    document["paths"].as_object().expect("paths").keys().cloned().collect()
}

/// The router's own list of its routes, as it shows itself for debugging.
fn routes(w: &World) -> BTreeSet<String> {
    let shown = format!("{:?}", w.app.router());
    let quoted = shown.split('"').skip(1).step_by(2);
    quoted.filter(|text| text.starts_with('/') && !text.contains("__private")).map(str::to_owned).collect()
}

async fn every_route_is_in_the_document_and_the_other_way_round(place: Place) {
    let w = world(place, &[]).await;
    let document = document(&w).await;
    let routes = routes(&w);
    assert!(routes.contains("/health") && routes.contains("/api/admin/locations/{locationId}"), "{routes:?}");
    assert_eq!(paths(&document), routes);
    for (path, item) in document["paths"].as_object().expect("paths") {
        let mut said: BTreeSet<String> = item.as_object().expect("methods").keys().map(|m| m.to_uppercase()).collect();
        if said.contains("GET") {
            said.insert("HEAD".to_owned());
        }
        let url = format!("{}{}", w.base, path.replace(['{', '}'], ""));
        let probe = w.http.delete(url).bearer_auth(super::ADMIN_KEY).send().await.expect("an answer");
        assert_eq!(probe.status().as_u16(), 405, "{path}");
        let allow = probe.headers()["allow"].to_str().expect("text").split(',').map(|m| m.trim().to_owned());
        assert_eq!(allow.collect::<BTreeSet<_>>(), said, "{path}");
    }
    w.end();
}

async fn a_route_that_does_not_exist_is_not_in_the_document(place: Place) {
    let w = World::start(place, &[("INBOUND_API_KEY", "")]).await;
    let paths = paths(&document(&w).await);
    assert!(!paths.iter().any(|path| path.starts_with("/api/admin") || path.starts_with("/api/cast")), "{paths:?}");
    w.end();
}

async fn the_page_shows_every_operation_and_needs_nothing_from_outside(place: Place) {
    let w = world(place, &[]).await;
    let document = document(&w).await;
    let answer = w.get("/api/docs").await;
    let policy = answer.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'unsafe-inline'"), "{policy}");
    let page = answer.text().await.unwrap();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            assert!(page.contains(&format!("{} {path}", method.to_uppercase())), "{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|words| !words.is_empty()), "{method} {path}");
        }
    }
    assert!(page.contains("write") || page.contains("cast_api_key"));
    for outside in ["http://", "https://", "<script", "<img", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    w.end();
}

async fn every_reference_in_the_document_leads_somewhere(place: Place) {
    fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(object) => {
                found.extend(object.get("$ref").and_then(Value::as_str));
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let w = world(place, &[]).await;
    let document = document(&w).await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 10);
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let keys = document["components"]["securitySchemes"].as_object().expect("keys");
    assert_eq!(keys.keys().collect::<Vec<_>>(), ["admin_api_key", "inbound_api_key", "signature"]);
    w.end();
}
