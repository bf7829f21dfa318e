//! The operator's API: who may call it, what it answers, and what it never does.

use serde_json::{Value, json};

use super::{ADMIN_KEY, OTHER, OWN_KEY, call, set, stored, world};
use crate::support::world::{LOCATION, Place, World};
use crate::{Cases, cases};

pub(super) fn cases() -> Cases<Place> {
    cases![
        without_an_admin_key_the_operators_api_does_not_exist,
        a_missing_or_wrong_admin_key_is_answered_401_before_anything_is_read,
        a_location_may_be_configured_before_it_installs_and_keeps_its_settings,
        a_merge_patch_leaves_what_it_does_not_name_and_resets_what_is_null,
        an_unknown_or_wrong_setting_is_refused_by_its_name_and_nothing_changes,
        a_key_is_written_sealed_and_shown_by_its_ending_alone,
        the_sender_name_has_an_address_of_its_own,
        locations_are_listed_by_id_in_pages,
        a_receiving_number_belongs_to_one_location,
        two_changes_at_once_both_land,
        a_body_that_is_too_large_or_no_json_is_refused,
    ]
}

const PATH: &str = "/api/admin/locations/LOCother000000000001";

async fn code(answer: reqwest::Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.expect("JSON");
    assert!(body["request_id"].is_string(), "{body}");
    (status, body["error"]["code"].as_str().unwrap_or_default().to_owned())
}

async fn without_an_admin_key_the_operators_api_does_not_exist(place: Place) {
    let w = World::connected(place).await;
    for path in ["/api/admin/locations", PATH] {
        let answer = w.http.get(format!("{}{path}", w.base)).bearer_auth(ADMIN_KEY).send().await.unwrap();
        assert_eq!(code(answer).await, (404, "not_found".into()));
    }
    w.end();
}

async fn a_missing_or_wrong_admin_key_is_answered_401_before_anything_is_read(place: Place) {
    let w = world(place, &[]).await;
    for header in ["", "Bearer ", "Bearer wrong", "Basic admin-key-of-the-tests", "admin-key-of-the-tests"] {
        for (method, path) in [("GET", "/api/admin/locations"), ("GET", PATH), ("PATCH", PATH)] {
            let request = w.http.request(method.parse().unwrap(), format!("{}{path}", w.base));
            let request = if header.is_empty() { request } else { request.header("authorization", header) };
            let answer = request.body("x".repeat(300 * 1024)).send().await;
            // A server that does not read the body may close on it.
            let Ok(answer) = answer else { continue };
            assert_eq!(answer.headers()["www-authenticate"], "Bearer");
            assert_eq!(code(answer).await, (401, "unauthorized".into()), "{method} {path} {header}");
        }
    }
    w.end();
}

async fn a_location_may_be_configured_before_it_installs_and_keeps_its_settings(place: Place) {
    let w = world(place, &[]).await;
    let (status, unknown) = call(&w, "GET", PATH, None).await;
    assert_eq!((status, unknown["error"]["code"].as_str()), (404, Some("unknown_location")));
    let view = set(&w, OTHER, json!({"sender_id": "EARLY", "receiving_numbers": ["0917 123 4567"]})).await;
    assert_eq!((view["installation"].as_str(), view["sender_id"].as_str()), (Some("never"), Some("EARLY")));
    w.install(OTHER).await;
    let w = w.restart().await;
    let (_, view) = call(&w, "GET", PATH, None).await;
    assert_eq!((view["installation"].as_str(), view["sender_id"].as_str()), (Some("installed"), Some("EARLY")));
    assert_eq!(view["receiving_numbers"], json!(["+639171234567"]));
    w.end();
}

async fn a_merge_patch_leaves_what_it_does_not_name_and_resets_what_is_null(place: Place) {
    let w = world(place, &[]).await;
    set(&w, LOCATION, json!({"enabled": false, "daily_parts": 7, "provider_kind": "custom"})).await;
    let view = set(&w, LOCATION, json!({"enabled": null, "status_on_accept": "pending"})).await;
    let shown = |name: &str| view[name].clone();
    assert_eq!((shown("enabled"), shown("daily_parts")), (Value::Null, json!(7)));
    assert_eq!((shown("provider_kind"), shown("status_on_accept")), (json!("custom"), json!("pending")));
    let before = stored(&w, LOCATION).await;
    set(&w, LOCATION, json!({})).await;
    assert_eq!(stored(&w, LOCATION).await, before, "nothing named, nothing changed");
    w.end();
}

async fn an_unknown_or_wrong_setting_is_refused_by_its_name_and_nothing_changes(place: Place) {
    let w = world(place, &[]).await;
    for (patch, named) in [
        (json!({"sender": "X"}), "`sender`"),
        (json!({"enabled": true, "sender_id": "TwelveChars1"}), "`sender_id`"),
        (json!({"cast_api_key": "hunter2"}), "`cast_api_key`"),
        (json!([]), "object"),
    ] {
        let (status, body) = call(&w, "PATCH", PATH, Some(&patch)).await;
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert_eq!((status, body["error"]["code"].as_str()), (400, Some("bad_request")));
        assert!(message.contains(named) && !message.contains("hunter2"), "{message}");
    }
    assert_eq!(call(&w, "GET", PATH, None).await.0, 404, "nothing was stored");
    let (status, body) = call(&w, "PATCH", "/api/admin/locations/a%2Fb", Some(&json!({}))).await;
    assert_eq!((status, body["error"]["code"].as_str()), (400, Some("bad_request")));
    w.end();
}

async fn a_key_is_written_sealed_and_shown_by_its_ending_alone(place: Place) {
    let w = world(place, &[]).await;
    let view = set(&w, LOCATION, json!({"cast_api_key": OWN_KEY})).await;
    assert_eq!(view["cast_api_key"]["ending"], json!("0wn1"));
    assert!(!view.to_string().contains("cast_1111"), "{view}");
    let key = stored(&w, LOCATION).await.cast_key.expect("a key");
    let document = serde_json::to_string(&key).unwrap();
    assert!(!document.contains("cast_1111") && document.contains("\"ct\""), "{document}");
    let view = set(&w, LOCATION, json!({"cast_api_key": null})).await;
    assert_eq!(view["cast_api_key"], Value::Null);
    w.end();
}

async fn the_sender_name_has_an_address_of_its_own(place: Place) {
    let w = world(place, &[]).await;
    let path = format!("{PATH}/sender-id");
    let (status, view) = call(&w, "PUT", &path, Some(&json!({"sender_id": "MYBRAND"}))).await;
    assert_eq!((status, view["sender_id"].as_str()), (200, Some("MYBRAND")));
    for wrong in [json!({}), json!({"sender_id": "A", "enabled": false}), json!({"sender_id": ""}), json!("A")] {
        assert_eq!(call(&w, "PUT", &path, Some(&wrong)).await.0, 400, "{wrong}");
    }
    let (status, body) = call(&w, "GET", &path, None).await;
    assert_eq!((status, body["error"]["code"].as_str()), (405, Some("method_not_allowed")));
    w.end();
}

async fn locations_are_listed_by_id_in_pages(place: Place) {
    let w = world(place, &[]).await;
    set(&w, "LOCa", json!({"enabled": true})).await;
    set(&w, "LOCz", json!({"enabled": true})).await;
    set(&w, LOCATION, json!({"sender_id": "MAIN"})).await;
    let mut after = String::new();
    let mut seen = Vec::new();
    loop {
        let (status, page) = call(&w, "GET", &format!("/api/admin/locations?limit=1{after}"), None).await;
        assert_eq!(status, 200, "{page}");
        seen.extend(
            page["locations"].as_array().unwrap().iter().map(|l| l["location_id"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["LOCa", LOCATION, "LOCz"]);
    for wrong in ["?limit=0", "?limit=501", "?limit=x", "?colour=blue", "?after=a/b"] {
        assert_eq!(call(&w, "GET", &format!("/api/admin/locations{wrong}"), None).await.0, 400, "{wrong}");
    }
    w.end();
}

async fn a_receiving_number_belongs_to_one_location(place: Place) {
    let w = world(place, &[]).await;
    set(&w, LOCATION, json!({"receiving_numbers": ["09171234567", "SIM 1"]})).await;
    let taken = json!({"receiving_numbers": ["+63 917 123 4567"]});
    let (status, body) = call(&w, "PATCH", PATH, Some(&taken)).await;
    assert_eq!((status, body["error"]["code"].as_str()), (409, Some("number_taken")));
    let message = body["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains(LOCATION) && !message.contains("917"), "{message}");
    set(&w, LOCATION, json!({"receiving_numbers": ["SIM 1"]})).await;
    set(&w, OTHER, taken).await;
    w.end();
}

async fn two_changes_at_once_both_land(place: Place) {
    let w = world(place, &[]).await;
    let (a, b) = (json!({"sender_id": "MYBRAND"}), json!({"daily_parts": 9}));
    let (first, second) = tokio::join!(call(&w, "PATCH", PATH, Some(&a)), call(&w, "PATCH", PATH, Some(&b)));
    assert_eq!((first.0, second.0), (200, 200));
    let settings = stored(&w, OTHER).await;
    assert_eq!((settings.sender_id.as_deref(), settings.daily_parts), (Some("MYBRAND"), Some(9)));
    w.end();
}

async fn a_body_that_is_too_large_or_no_json_is_refused(place: Place) {
    let w = world(place, &[]).await;
    let patch = |body: String| w.http.patch(format!("{}{PATH}", w.base)).bearer_auth(ADMIN_KEY).body(body).send();
    assert_eq!(code(patch("not json".into()).await.unwrap()).await, (400, "bad_request".into()));
    let large = format!("{{\"sender_id\":\"{}\"}}", "x".repeat(300 * 1024));
    if let Ok(answer) = patch(large).await {
        assert_eq!(code(answer).await, (413, "too_large".into()));
    }
    w.end();
}
