//! Replies as the gateway posts them: who may, what is read, what is a repeat of what, and where each is kept.

mod delivery;
mod shape;

use std::time::Duration;

use cast_ghl_provider::clock::Clock;
use cast_ghl_provider::domain::id::DocId;
use cast_ghl_provider::domain::inbound::{Reply, ReplyState};
use cast_ghl_provider::store::Query;
use serde_json::{Value, json};

use crate::support::world::{INBOUND_KEY, LOCATION, Place, World};
use crate::{Cases, cases};

const INBOUND: &str = "/api/cast/v1/inbound";
/// The usual phone as the gateway writes it.
const FROM: &str = "09171234567";
const SECOND: Duration = Duration::from_secs(1);

pub fn cases() -> Cases<Place> {
    let mut all: Cases<Place> = cases![
        only_the_key_in_one_of_two_headers_opens_the_endpoint,
        without_a_key_of_its_own_the_endpoint_does_not_exist,
        the_same_id_is_202_once_and_200_duplicate_ever_after,
        without_an_id_the_same_content_of_the_same_time_is_a_duplicate_however_late,
        with_neither_the_same_content_is_a_duplicate_for_a_minute_also_across_its_edge,
        camel_case_is_read_like_snake_case,
        a_name_or_a_foreign_number_is_kept_and_never_posted,
        what_is_malformed_is_400_and_what_is_too_large_413_and_stored_nowhere,
    ];
    all.extend(delivery::cases());
    all.extend(shape::cases());
    all
}

async fn only_the_key_in_one_of_two_headers_opens_the_endpoint(place: Place) {
    let w = World::start(place, &[]).await;
    let (bearer, wrong) = (format!("Bearer {INBOUND_KEY}"), format!("{INBOUND_KEY}x"));
    let closed: [&[(&str, &str)]; 7] = [
        &[],
        &[("x-api-key", "")],
        &[("x-api-key", &wrong)],
        &[("x-api-key", &INBOUND_KEY[1..])],
        &[("authorization", INBOUND_KEY)],
        &[("authorization", &format!("Basic {INBOUND_KEY}"))],
        &[("authorization", &format!("Bearer {wrong}")), ("x-api-key", &wrong)],
    ];
    for headers in closed {
        let answer = w.post(INBOUND, headers, json!({"from": "GLOBE", "message": "x"}).to_string()).await;
        assert_eq!(answer.status(), 401, "{headers:?}");
        assert_eq!(code(answer).await, "unauthorized");
    }
    assert_eq!(replies(&w).await.len(), 0);
    let open: [&[(&str, &str)]; 4] = [
        &[("x-api-key", INBOUND_KEY)],
        &[("authorization", &bearer)],
        &[("authorization", &format!("bearer {INBOUND_KEY}"))],
        &[("authorization", "Bearer wrong"), ("x-api-key", INBOUND_KEY)],
    ];
    for (n, headers) in open.into_iter().enumerate() {
        let answer = w.post(INBOUND, headers, json!({"from": "GLOBE", "message": n}).to_string()).await;
        assert_eq!(answer.status(), 202, "{headers:?}");
    }
    w.end();
}

async fn without_a_key_of_its_own_the_endpoint_does_not_exist(place: Place) {
    let w = World::start(place, &[("INBOUND_API_KEY", "")]).await;
    for key in [INBOUND_KEY, ""] {
        let answer = w.post(INBOUND, &[("x-api-key", key)], json!({"from": FROM, "message": "x"}).to_string()).await;
        assert_eq!(answer.status(), 404);
        assert_eq!(code(answer).await, "not_found");
    }
    assert_eq!(w.get(INBOUND).await.status(), 404);
    w.end();
}

async fn the_same_id_is_202_once_and_200_duplicate_ever_after(place: Place) {
    let w = messaged(place).await;
    let id = taken(&w, json!({"id": "gw-1", "from": FROM, "message": "Yes please"})).await;
    // Whatever else changed on the way, and however late.
    repeated(&w, json!({"id": "gw-1", "from": "0917 123 4567", "message": "Yes"}), &id).await;
    w.reply_all().await;
    let w = w.restart().await;
    w.jump(Duration::from_secs(24 * 3600)).await;
    repeated(&w, json!({"id": "gw-1", "from": FROM, "message": "Yes please"}), &id).await;
    let other = taken(&w, json!({"id": "gw-2", "from": FROM, "message": "Yes please"})).await;
    assert_ne!(other, id);
    w.reply_all().await;
    assert_eq!(texts(&w), ["Yes please", "Yes please"]);
    w.end();
}

async fn without_an_id_the_same_content_of_the_same_time_is_a_duplicate_however_late(place: Place) {
    let w = messaged(place).await;
    let at = |at: Value| json!({"from": FROM, "to": "CAST", "message": "Yes", "received_at": at});
    let id = taken(&w, at(json!("2026-05-28T20:26:40Z"))).await;
    w.jump(Duration::from_secs(3 * 3600)).await;
    for same in [json!("2026-05-29T04:26:40+08:00"), json!(1_780_000_000), json!(1_780_000_000_000_i64)] {
        repeated(&w, at(same), &id).await;
    }
    taken(&w, at(json!("2026-05-28T20:26:41Z"))).await;
    taken(&w, json!({"from": FROM, "to": "OTHER", "message": "Yes", "received_at": "2026-05-28T20:26:40Z"})).await;
    taken(&w, json!({"from": FROM, "to": "CAST", "message": "yes", "received_at": "2026-05-28T20:26:40Z"})).await;
    w.end();
}

async fn with_neither_the_same_content_is_a_duplicate_for_a_minute_also_across_its_edge(place: Place) {
    let w = messaged(place).await;
    let yes = || json!({"from": FROM, "message": "Yes"});
    // Twenty seconds before the minute ends, wherever the clock stands now.
    let into = Clock::Test(w.clock.clone()).now().0.rem_euclid(60_000);
    w.pass(Duration::from_millis(u64::try_from((100_000 - into) % 60_000).unwrap())).await;
    let id = taken(&w, yes()).await;
    w.pass(19 * SECOND).await;
    repeated(&w, yes(), &id).await;
    w.pass(40 * SECOND).await;
    repeated(&w, yes(), &id).await;
    w.pass(2 * SECOND).await;
    let second = taken(&w, yes()).await;
    assert_ne!(second, id, "61 s later it is said again: people do answer Yes twice");
    w.pass(50 * SECOND).await;
    repeated(&w, yes(), &second).await;
    taken(&w, json!({"from": FROM, "message": "Yes!"})).await;
    taken(&w, json!({"from": "09181234567", "message": "Yes"})).await;
    w.reply_all().await;
    assert_eq!(texts(&w), ["Yes", "Yes", "Yes!"], "the other number is nobody's");
    w.end();
}

async fn camel_case_is_read_like_snake_case(place: Place) {
    let w = World::start(place, &[]).await;
    w.install(LOCATION).await;
    let at = "2026-05-28T20:00:00Z";
    let id = taken(&w, json!({"from": FROM, "message": "x", "receivedAt": at, "locationId": LOCATION})).await;
    repeated(&w, json!({"from": FROM, "message": "x", "received_at": at, "location_id": LOCATION}), &id).await;
    let named = taken(&w, json!({"messageId": "gw-1", "from": FROM, "message": "y", "locationId": LOCATION})).await;
    repeated(&w, json!({"message_id": "gw-1", "from": FROM, "message": "y"}), &named).await;
    repeated(&w, json!({"id": "gw-1", "from": FROM, "message": "y"}), &named).await;
    w.reply_all().await;
    assert_eq!(texts(&w), ["x", "y"]);
    assert_eq!(w.ghl.inbound()[0].date.as_deref(), Some("2026-05-28T20:00:00.000Z"));
    w.end();
}

async fn a_name_or_a_foreign_number_is_kept_and_never_posted(place: Place) {
    let w = World::start(place, &[("DEFAULT_LOCATION_ID", LOCATION)]).await;
    w.install(LOCATION).await;
    for from in ["GLOBE", "8080", "+14155550100", "(02) 8123-4567"] {
        let id = taken(&w, json!({"from": from, "message": "Your promo", "location_id": LOCATION})).await;
        assert_eq!(state(&w, &id).await, ReplyState::NotAPhone);
    }
    w.reply_all().await;
    assert_eq!(calls(&w, "/con"), 0);
    w.end();
}

async fn what_is_malformed_is_400_and_what_is_too_large_413_and_stored_nowhere(place: Place) {
    let w = World::start(place, &[]).await;
    let key = [("x-api-key", INBOUND_KEY)];
    let malformed = [
        "",
        "not JSON",
        "[]",
        "{}",
        r#"{"message":"x"}"#,
        r#"{"from":"","message":"x"}"#,
        r#"{"from":{},"message":"x"}"#,
        r#"{"from":"09171234567"}"#,
        r#"{"from":"09171234567","message":" "}"#,
        r#"{"from":"09171234567","message":"x","received_at":"yesterday"}"#,
        r#"{"from":"09171234567","message":"x","location_id":"a/b"}"#,
        r#"{"from":"09171234567","attachments":"x"}"#,
    ];
    for body in malformed {
        let answer = w.post(INBOUND, &key, body).await;
        assert_eq!(answer.status(), 400, "{body}");
        assert_eq!(code(answer).await, "bad_request");
    }
    let fits = |bytes: usize| json!({"from": "GLOBE", "message": "x".repeat(bytes)}).to_string();
    let frame = fits(0).len();
    assert_eq!(w.post(INBOUND, &key, fits(256 * 1024 - frame)).await.status(), 202);
    let head = w.http.post(format!("{}{INBOUND}", w.base)).header("x-api-key", INBOUND_KEY);
    let answer = head.body(fits(256 * 1024 - frame + 1)).send().await.expect("an answer");
    assert_eq!(answer.status(), 413);
    assert_eq!(code(answer).await, "too_large");
    assert_eq!(replies(&w).await.len(), 1);
    w.end();
}

/// A connected location that messaged the usual phone.
async fn messaged(place: Place) -> World {
    let w = World::connected(place).await;
    w.sms("hi").await;
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 1);
    w
}

/// Posts a reply that must be new; answers its id.
async fn taken(w: &World, body: Value) -> String {
    let (status, answer) = w.reply(body).await;
    let id = answer["id"].as_str().expect("an id").to_owned();
    assert_eq!((status, &answer), (202, &json!({"accepted": true, "id": id})));
    id
}

/// Posts a reply that must be a repeat of `id`.
async fn repeated(w: &World, body: Value, id: &str) {
    assert_eq!(w.reply(body).await, (200, json!({"duplicate": true, "id": id})));
}

async fn replies(w: &World) -> Vec<Reply> {
    let all = w.app.store().find::<Reply>(Query::Page { after: None, limit: 1000 }).await;
    all.expect("the store answers").into_iter().map(|stored| stored.record).collect()
}

/// The texts the CRM stored, in its order.
fn texts(w: &World) -> Vec<String> {
    w.ghl.inbound().into_iter().filter_map(|posted| posted.message).collect()
}

/// Checks the shape of an error and answers its code.
async fn code(answer: reqwest::Response) -> String {
    let id = answer.headers()["x-request-id"].to_str().expect("plain").to_owned();
    let body: Value = answer.json().await.expect("JSON");
    assert_eq!(body["request_id"], json!(id));
    body["error"]["code"].as_str().expect("a code").to_owned()
}

async fn reply(w: &World, id: &str) -> Reply {
    let stored = w.app.store().get::<Reply>(&DocId(id.to_owned())).await.expect("the store answers");
    stored.expect("a reply").record
}

async fn state(w: &World, id: &str) -> ReplyState {
    reply(w, id).await.progress.state
}

/// Calls to the CRM's paths with this prefix, but for the status of messages.
fn calls(w: &World, prefix: &str) -> usize {
    w.ghl.calls().iter().filter(|call| call.path.starts_with(prefix) && !call.path.ends_with("/status")).count()
}
