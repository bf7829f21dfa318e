//! What is set for a location, and what follows for its messages: sender, key, status, approval and the day's limit.

mod api;
mod connect;
mod document;
mod reply;

use std::time::Duration;

use cast_ghl_provider::domain::id::{DocId, LocationId};
use cast_ghl_provider::domain::message::{FailureCode, State};
use cast_ghl_provider::domain::settings::LocationSettings;
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::{CastFault, DEFAULT_API_KEY};
use cast_ghl_provider::queue::Step;
use serde_json::{Value, json};

use crate::support::world::{LOCATION, PHONE, Place, World};
use crate::{Cases, cases};

/// The operator's key for the tests' own API.
pub const ADMIN_KEY: &str = "admin-key-of-the-tests";
/// A key of a location's own, and how the fake's ledger calls it.
pub const OWN_KEY: &str = "cast_1111111111111111111111111111111111111111111111111111111111110wn1";
const OWN: &str = "0wn1";
const SHARED: &str = "ca57";
const OTHER: &str = "LOCother000000000001";

pub fn cases() -> Cases<Place> {
    let mut cases: Cases<Place> = cases![
        a_locations_own_sender_and_status_hold_for_its_messages_alone,
        what_a_location_wanted_reported_holds_for_a_message_whatever_receipt_comes,
        a_location_with_its_own_key_is_paced_and_paused_apart_from_the_others,
        a_location_that_gets_its_own_key_leaves_a_paused_shared_one_at_once,
        locations_with_the_same_key_share_its_limit,
        a_key_that_is_taken_away_sends_the_rest_on_the_shared_one,
        a_disabled_location_fails_at_once_and_says_why,
        under_approve_a_new_location_waits_and_sends_when_it_is_approved,
        under_approve_a_key_of_its_own_is_approval_enough,
        under_approve_a_message_nobody_approved_fails_as_awaiting_approval_when_it_is_too_old,
        a_message_that_waited_for_approval_while_the_process_was_down_still_says_so,
        under_off_a_location_without_a_key_fails_at_once_and_says_what_it_needs,
        the_days_limit_counts_accepted_parts_on_the_shared_key_and_ends_at_midnight_in_manila,
        the_days_count_survives_a_restart_and_never_counts_a_part_twice,
        a_message_of_several_parts_goes_whole_or_not_at_all_within_the_day,
        an_own_key_no_limit_of_the_shared_one_holds_for,
        an_own_key_is_sealed_anew_and_one_that_cant_be_opened_never_falls_back_on_the_shared_key,
    ];
    cases.extend(api::cases());
    cases.extend(connect::cases());
    cases.extend(document::cases());
    cases.extend(reply::cases());
    cases
}

/// A bridge with the operator's API and one connected location.
pub async fn world(place: Place, extra: &[(&str, &str)]) -> World {
    let vars: Vec<(&str, &str)> = [("ADMIN_API_KEY", ADMIN_KEY)].into_iter().chain(extra.iter().copied()).collect();
    let w = World::start(place, &vars).await;
    w.cast.set_api_keys(vec![DEFAULT_API_KEY.to_owned(), OWN_KEY.to_owned()]);
    w.install(LOCATION).await;
    w
}

/// A call of the operator's API: status and body.
pub async fn call(w: &World, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let method = method.parse().expect("a method");
    let mut request = w.http.request(method, format!("{}{path}", w.base)).bearer_auth(ADMIN_KEY);
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

/// Sets something for a location.
pub async fn set(w: &World, location: &str, patch: Value) -> Value {
    let (status, answer) = call(w, "PATCH", &format!("/api/admin/locations/{location}"), Some(&patch)).await;
    assert_eq!(status, 200, "{answer}");
    answer
}

/// State and code of a message.
async fn fate(w: &World, answer: &WebhookAnswer) -> (State, Option<FailureCode>) {
    let p = w.message(answer).await.progress;
    (p.state, p.code)
}

/// The keys Cast took messages by, in order.
fn keys(w: &World) -> Vec<String> {
    w.cast.taken().into_iter().map(|call| call.key.trim_start_matches('…').to_owned()).collect()
}

async fn a_locations_own_sender_and_status_hold_for_its_messages_alone(place: Place) {
    let w = world(place, &[("CAST_SENDER_ID", "SHARED")]).await;
    w.install(OTHER).await;
    set(&w, LOCATION, json!({"sender_id": "MYBRAND", "status_on_accept": "pending"})).await;
    let own = w.sms("with its own name").await;
    let other = w.sms_to(OTHER, PHONE, "with the operator's").await;
    w.send_all().await;
    w.report_all().await;
    let mut senders: Vec<_> = w.cast.taken().into_iter().map(|c| (c.message, c.sender_id)).collect();
    senders.sort();
    let sender = |text: &str, name: &str| (Some(text.to_owned()), Some(name.to_owned()));
    assert_eq!(senders, [sender("with its own name", "MYBRAND"), sender("with the operator's", "SHARED")]);
    assert_eq!(w.told(&own), Some(("pending".into(), None)));
    assert_eq!(w.told(&other), Some(("delivered".into(), None)));
    set(&w, LOCATION, json!({"sender_id": null})).await;
    w.sms("as before").await;
    w.send_all().await;
    assert_eq!(w.cast.taken().pop().and_then(|c| c.sender_id).as_deref(), Some("SHARED"));
    w.end();
}

async fn what_a_location_wanted_reported_holds_for_a_message_whatever_receipt_comes(place: Place) {
    let w = world(place, &[]).await;
    set(&w, LOCATION, json!({"status_on_accept": "pending"})).await;
    let answer = w.sms("how far is it?").await;
    w.send_all().await;
    w.report_all().await;
    set(&w, LOCATION, json!({"status_on_accept": null})).await;
    let w = w.restart().await;
    let id = w.message(&answer).await.progress.parts[0].gateway_id.clone().expect("an id");
    for (status, told) in [("pending", "pending"), ("delivered", "delivered")] {
        assert_eq!(w.receipt(json!({"message_id": id, "status": status})).await.0, 202);
        w.match_all().await;
        w.report_all().await;
        assert_eq!(w.told(&answer), Some((told.into(), None)), "a receipt says {status}");
    }
    let after = w.sms("by the operator's rule").await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.told(&after), Some(("delivered".into(), None)));
    w.end();
}

async fn a_location_with_its_own_key_is_paced_and_paused_apart_from_the_others(place: Place) {
    let w = world(place, &[]).await;
    w.install(OTHER).await;
    set(&w, OTHER, json!({"cast_api_key": OWN_KEY})).await;
    // The operator's key is refused: only its own locations wait.
    w.cast.set_api_keys(vec![OWN_KEY.to_owned()]);
    let waits = w.sms("waits for the operator").await;
    let goes = w.sms_to(OTHER, PHONE, "is paid for by its own key").await;
    w.send_all().await;
    assert_eq!(fate(&w, &goes).await.0, State::Accepted);
    assert_eq!(fate(&w, &waits).await.0, State::Queued);
    assert_eq!(keys(&w), [OWN]);
    w.cast.set_api_keys(vec![DEFAULT_API_KEY.to_owned()]);
    w.pass(Duration::from_secs(61)).await;
    w.send_all().await;
    assert_eq!(fate(&w, &waits).await.0, State::Accepted);
    w.end();
}

async fn a_location_that_gets_its_own_key_leaves_a_paused_shared_one_at_once(place: Place) {
    let w = world(place, &[]).await;
    w.cast.set_api_keys(vec![OWN_KEY.to_owned()]);
    let answers = [w.sms("one").await, w.sms_to(LOCATION, "+639181234567", "two").await];
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 0, "the shared key is refused, and rests for a minute");
    set(&w, LOCATION, json!({"cast_api_key": OWN_KEY})).await;
    w.send_all().await;
    for answer in &answers {
        assert_eq!(fate(&w, answer).await.0, State::Accepted);
    }
    assert_eq!(keys(&w), [OWN, OWN]);
    w.end();
}

async fn locations_with_the_same_key_share_its_limit(place: Place) {
    let w = world(place, &[("CAST_RATE_PER_SECOND", "1"), ("CAST_RATE_BURST", "1")]).await;
    w.install(OTHER).await;
    for location in [LOCATION, OTHER] {
        set(&w, location, json!({"cast_api_key": OWN_KEY})).await;
    }
    w.sms("one").await;
    w.sms_to(OTHER, PHONE, "two").await;
    assert!(matches!(w.app.worker().step().await.unwrap(), Step::Idle(_)), "a bucket begins empty");
    w.pass(Duration::from_secs(10)).await;
    while matches!(w.app.worker().step().await.unwrap(), Step::Worked(_)) {}
    assert_eq!(w.cast.taken_count(), 1, "one bucket, one token");
    w.send_all().await;
    assert_eq!(keys(&w), [OWN, OWN]);
    w.end();
}

async fn a_key_that_is_taken_away_sends_the_rest_on_the_shared_one(place: Place) {
    let w = world(place, &[]).await;
    set(&w, LOCATION, json!({"cast_api_key": OWN_KEY})).await;
    w.sms("first").await;
    w.send_all().await;
    w.sms("second").await;
    set(&w, LOCATION, json!({"cast_api_key": null})).await;
    w.send_all().await;
    set(&w, LOCATION, json!({"cast_api_key": OWN_KEY})).await;
    w.sms("third").await;
    w.send_all().await;
    assert_eq!(keys(&w), [OWN, SHARED, OWN]);
    w.end();
}

async fn a_disabled_location_fails_at_once_and_says_why(place: Place) {
    let w = world(place, &[]).await;
    set(&w, LOCATION, json!({"enabled": false, "cast_api_key": OWN_KEY})).await;
    let answer = w.sms("not today").await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(fate(&w, &answer).await, (State::Rejected, Some(FailureCode::Disabled)));
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("disabled".into()))));
    assert!(w.sentence(&answer).starts_with("Sending is switched off for this sub-account."));
    set(&w, LOCATION, json!({"enabled": null})).await;
    w.sms("again").await;
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 1);
    w.end();
}

async fn under_approve_a_new_location_waits_and_sends_when_it_is_approved(place: Place) {
    let w = world(place, &[("SHARED_KEY", "approve")]).await;
    let answer = w.sms("patience").await;
    w.send_all().await;
    assert_eq!(fate(&w, &answer).await.0, State::Held);
    w.pass(Duration::from_secs(3600)).await;
    w.send_all().await;
    assert_eq!(fate(&w, &answer).await.0, State::Held, "longer than INSTALL_WAIT");
    assert_eq!(w.message(&answer).await.progress.crashes, 0);
    set(&w, LOCATION, json!({"approved": true})).await;
    w.send_all().await;
    assert_eq!(fate(&w, &answer).await.0, State::Accepted);
    assert_eq!(keys(&w), [SHARED]);
    w.end();
}

async fn under_approve_a_key_of_its_own_is_approval_enough(place: Place) {
    let w = world(place, &[("SHARED_KEY", "approve")]).await;
    let answer = w.sms("paid for by ourselves").await;
    w.send_all().await;
    assert_eq!(fate(&w, &answer).await.0, State::Held);
    set(&w, LOCATION, json!({"cast_api_key": OWN_KEY})).await;
    w.send_all().await;
    assert_eq!(fate(&w, &answer).await.0, State::Accepted);
    assert_eq!(keys(&w), [OWN]);
    w.end();
}

async fn under_approve_a_message_nobody_approved_fails_as_awaiting_approval_when_it_is_too_old(place: Place) {
    let w = world(place, &[("SHARED_KEY", "approve")]).await;
    let answer = w.sms("never approved").await;
    w.send_all().await;
    w.pass(Duration::from_secs(24 * 3600 - 5)).await;
    w.send_all().await;
    assert_eq!(fate(&w, &answer).await.0, State::Held);
    w.pass(Duration::from_secs(6)).await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(fate(&w, &answer).await, (State::Rejected, Some(FailureCode::AwaitingApproval)));
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("awaiting_approval".into()))));
    assert!(w.sentence(&answer).contains("is not approved to send yet"));
    assert_eq!(w.cast.calls().len(), 0);
    w.end();
}

async fn a_message_that_waited_for_approval_while_the_process_was_down_still_says_so(place: Place) {
    let w = world(place, &[("SHARED_KEY", "approve")]).await;
    let answer = w.sms("never approved").await;
    w.send_all().await;
    w.clock.advance(Duration::from_secs(48 * 3600));
    let w = w.restart().await;
    w.send_all().await;
    assert_eq!(fate(&w, &answer).await, (State::Rejected, Some(FailureCode::AwaitingApproval)));
    w.end();
}

async fn under_off_a_location_without_a_key_fails_at_once_and_says_what_it_needs(place: Place) {
    let w = world(place, &[("SHARED_KEY", "off")]).await;
    set(&w, LOCATION, json!({"approved": true})).await;
    let answer = w.sms("on whose key?").await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(fate(&w, &answer).await, (State::Rejected, Some(FailureCode::AwaitingApproval)));
    assert!(w.sentence(&answer).contains("needs a Cast API key of its own"));
    set(&w, LOCATION, json!({"cast_api_key": OWN_KEY})).await;
    w.sms("on our own").await;
    w.send_all().await;
    assert_eq!(keys(&w), [OWN]);
    w.end();
}

async fn the_days_limit_counts_accepted_parts_on_the_shared_key_and_ends_at_midnight_in_manila(place: Place) {
    // The world begins at 2026-05-28T20:26:40Z: 04:26:40 of the 29th in Manila, 19:33:20 before its midnight.
    let w = world(place, &[("LOCATION_DAILY_PARTS", "2")]).await;
    w.install(OTHER).await;
    w.cast.fault_next(CastFault::RateLimited { retry_after: None });
    w.sms("one").await;
    w.sms("two").await;
    let third = w.sms("three").await;
    w.live(Duration::from_secs(10)).await;
    assert_eq!(w.cast.taken_count(), 2, "what was not sent costs nothing");
    assert_eq!(fate(&w, &third).await, (State::Rejected, Some(FailureCode::DailyLimit)));
    assert!(w.sentence(&third).contains("It can send again tomorrow"));
    w.sms_to(OTHER, PHONE, "another's day").await;
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 3);
    set(&w, LOCATION, json!({"daily_parts": 3})).await;
    w.sms("a limit of its own").await;
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 4);
    w.pass(Duration::from_secs(19 * 3600)).await;
    let before = w.sms("before midnight").await;
    w.send_all().await;
    assert_eq!(fate(&w, &before).await.1, Some(FailureCode::DailyLimit));
    w.pass(Duration::from_secs(3600)).await;
    w.sms("tomorrow").await;
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 5);
    w.end();
}

async fn the_days_count_survives_a_restart_and_never_counts_a_part_twice(place: Place) {
    let w = world(place, &[("LOCATION_DAILY_PARTS", "3")]).await;
    w.sms("one").await;
    w.send_all().await;
    let w = w.restart().await;
    w.cast.fault_next(CastFault::Status(503, String::new()));
    let unknown = w.sms("perhaps").await;
    w.send_all().await;
    assert_eq!(fate(&w, &unknown).await.0, State::Parked);
    w.sms("three").await;
    let fourth = w.sms("four").await;
    w.send_all().await;
    assert_eq!(fate(&w, &fourth).await.1, Some(FailureCode::DailyLimit), "one in doubt counts, once");
    assert_eq!(keys(&w).len(), 2);
    w.end();
}

async fn a_message_of_several_parts_goes_whole_or_not_at_all_within_the_day(place: Place) {
    let w = world(place, &[("LOCATION_DAILY_PARTS", "3")]).await;
    let long = "twenty characters... ".repeat(40);
    let two = w.sms(&long).await;
    w.send_all().await;
    assert_eq!(fate(&w, &two).await.0, State::Accepted);
    assert_eq!(w.cast.taken_count(), 2);
    let again = w.sms(&format!("again {long}")).await;
    w.send_all().await;
    assert_eq!(fate(&w, &again).await.1, Some(FailureCode::DailyLimit));
    assert_eq!(w.cast.taken_count(), 2);
    w.sms("but one still fits").await;
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 3);
    w.end();
}

async fn an_own_key_no_limit_of_the_shared_one_holds_for(place: Place) {
    let w = world(place, &[("LOCATION_DAILY_PARTS", "1")]).await;
    set(&w, LOCATION, json!({"cast_api_key": OWN_KEY})).await;
    for n in 0..3 {
        w.sms(&format!("message {n}")).await;
    }
    w.send_all().await;
    assert_eq!(keys(&w), [OWN, OWN, OWN]);
    w.end();
}

async fn an_own_key_is_sealed_anew_and_one_that_cant_be_opened_never_falls_back_on_the_shared_key(place: Place) {
    let first = format!("a:{}", "A".repeat(43) + "=");
    let both = format!("b:{},{first}", "B".repeat(42) + "A=");
    let w = world(place, &[("TOKEN_ENCRYPTION_KEYS", &first)]).await;
    set(&w, LOCATION, json!({"cast_api_key": OWN_KEY})).await;
    let w = w.restart_with(&[("TOKEN_ENCRYPTION_KEYS", &both)]).await;
    while w.app.rekeyer().step().await.unwrap() {}
    let stored = stored(&w, LOCATION).await.cast_key.expect("a key");
    assert_eq!(format!("{:?}", stored.sealed), "Sealed(kid b)");
    let w = w.restart_with(&[("TOKEN_ENCRYPTION_KEYS", &first)]).await;
    let answer = w.sms("whose key?").await;
    w.send_all().await;
    assert_eq!(fate(&w, &answer).await.0, State::Held);
    w.pass(Duration::from_secs(120)).await;
    w.send_all().await;
    assert_eq!(w.cast.calls().len(), 0, "not on the operator's account");
    let w = w.restart_with(&[("TOKEN_ENCRYPTION_KEYS", &both)]).await;
    w.pass(Duration::from_secs(60)).await;
    w.send_all().await;
    assert_eq!(keys(&w), [OWN]);
    w.end();
}

/// What is stored for a location.
pub async fn stored(w: &World, location: &str) -> LocationSettings {
    let id = DocId::settings(&LocationId::parse(location).expect("an id"));
    w.app.store().get::<LocationSettings>(&id).await.expect("the store answers").expect("settings").record
}
