//! What is set for a location and matters to replies: its receiving numbers and how the CRM knows this app there.
//!
//! Cases look at what the CRM stored, where, and how many posts that took.

use cast_ghl_provider::domain::id::{DocId, LocationId};
use cast_ghl_provider::domain::inbound::{Reply, ReplyState};
use cast_ghl_provider::domain::message::{FailureCode, State};
use cast_ghl_provider::domain::settings::LocationSettings;
use cast_ghl_provider::fake::ghl::ProviderKind;
use serde_json::{Value, json};

use super::{OTHER, fate, set, world};
use crate::support::world::{LOCATION, PHONE, Place, World};
use crate::{Cases, cases};

const FROM: &str = "09171234567";
/// The location's number as an operator writes it and as the gateway does.
const NUMBER: &str = "0918 123 4567";
const TO: &str = "+639181234567";
const POST: &str = "/conversations/messages/inbound";

pub(super) fn cases() -> Cases<Place> {
    cases![
        a_reply_goes_to_the_location_its_number_or_sim_is_assigned_to_whoever_wrote_last,
        an_explicit_location_wins_over_an_assigned_number,
        a_number_that_is_assigned_twice_or_no_more_routes_nothing,
        a_stop_to_an_assigned_number_covers_its_location_alone_and_a_start_to_it_lifts_that,
        an_opted_out_person_is_the_reason_an_agent_reads_before_approval_and_switch,
        a_reply_begins_with_the_provider_kind_that_is_set,
        what_the_crm_took_wins_over_the_provider_kind_until_another_is_set,
    ]
}

/// Two locations that both messaged the usual phone, [`LOCATION`] last.
async fn two(place: Place) -> World {
    let w = world(place, &[]).await;
    w.install(OTHER).await;
    for location in [OTHER, LOCATION] {
        w.sms_to(location, PHONE, "hi").await;
        w.send_all().await;
        w.pass(std::time::Duration::from_secs(1)).await;
    }
    w
}

/// A reply with an id of its own; its document's.
async fn reply(w: &World, mut body: Value) -> DocId {
    body["from"] = json!(FROM);
    body["id"] = json!(cast_ghl_provider::random::hex::<8>());
    let (status, answer) = w.reply(body).await;
    assert_eq!(status, 202, "{answer}");
    w.reply_all().await;
    DocId(answer["id"].as_str().expect("an id").to_owned())
}

/// Where the CRM stored what, in its order.
fn shown(w: &World) -> Vec<(String, String)> {
    w.ghl.inbound().into_iter().map(|posted| (posted.location_id, posted.message.unwrap_or_default())).collect()
}

fn at(location: &str, text: &str) -> (String, String) {
    (location.to_owned(), text.to_owned())
}

async fn a_reply_goes_to_the_location_its_number_or_sim_is_assigned_to_whoever_wrote_last(place: Place) {
    let w = two(place).await;
    set(&w, OTHER, json!({"receiving_numbers": [NUMBER, "SIM 2"]})).await;
    for (text, to) in [("to its number", TO), ("as it is written here", "09181234567"), ("to its SIM", "SIM 2")] {
        reply(&w, json!({"message": text, "to": to})).await;
        assert_eq!(shown(&w).last(), Some(&at(OTHER, text)));
    }
    for (text, to) in [("to nobody's", json!("09191234567")), ("to a name", json!("CAST")), ("to nothing", Value::Null)]
    {
        reply(&w, json!({"message": text, "to": to})).await;
        assert_eq!(shown(&w).last(), Some(&at(LOCATION, text)), "who wrote last");
    }
    w.end();
}

async fn an_explicit_location_wins_over_an_assigned_number(place: Place) {
    let w = two(place).await;
    set(&w, OTHER, json!({"receiving_numbers": [NUMBER]})).await;
    reply(&w, json!({"message": "for the other", "to": TO, "location_id": LOCATION})).await;
    assert_eq!(shown(&w), [at(LOCATION, "for the other")]);
    w.end();
}

async fn a_number_that_is_assigned_twice_or_no_more_routes_nothing(place: Place) {
    let w = world(place, &[]).await;
    w.install(OTHER).await;
    // Two operators at the same moment: the API refuses the second of two that follow one another.
    for location in [LOCATION, OTHER] {
        let id = LocationId::parse(location).expect("an id");
        let twice = LocationSettings { receiving_numbers: vec![TO.into()], ..LocationSettings::new(id, w.now()) };
        w.app.store().insert(&twice).await.expect("the store answers");
    }
    let state = async |id: &DocId| {
        let stored = w.app.store().get::<Reply>(id).await.expect("the store answers");
        stored.expect("a reply").record.progress.state
    };
    let id = reply(&w, json!({"message": "whose?", "to": TO})).await;
    assert_eq!(state(&id).await, ReplyState::Unrouted);
    set(&w, OTHER, json!({"receiving_numbers": null})).await;
    let id = reply(&w, json!({"message": "the one's", "to": TO})).await;
    assert_eq!((state(&id).await, shown(&w)), (ReplyState::Posted, vec![at(LOCATION, "the one's")]));
    set(&w, LOCATION, json!({"receiving_numbers": []})).await;
    let id = reply(&w, json!({"message": "nobody's", "to": TO})).await;
    assert_eq!(state(&id).await, ReplyState::Unrouted);
    w.end();
}

async fn a_stop_to_an_assigned_number_covers_its_location_alone_and_a_start_to_it_lifts_that(place: Place) {
    let w = two(place).await;
    set(&w, OTHER, json!({"receiving_numbers": [NUMBER]})).await;
    let arrives = async |location: &str| {
        let answer = w.sms_to(location, PHONE, "once more").await;
        w.send_all().await;
        fate(&w, &answer).await == (State::Accepted, None)
    };
    reply(&w, json!({"message": "STOP", "to": TO})).await;
    assert_eq!((arrives(OTHER).await, arrives(LOCATION).await), (false, true));
    reply(&w, json!({"message": "START", "to": TO})).await;
    assert!(arrives(OTHER).await);
    reply(&w, json!({"message": "STOP"})).await;
    assert_eq!((arrives(OTHER).await, arrives(LOCATION).await), (false, false), "unnamed, it covers both");
    w.end();
}

async fn an_opted_out_person_is_the_reason_an_agent_reads_before_approval_and_switch(place: Place) {
    let w = world(place, &[("SHARED_KEY", "approve")]).await;
    reply(&w, json!({"message": "STOP", "location_id": LOCATION})).await;
    let unapproved = w.sms("not approved either").await;
    w.send_all().await;
    assert_eq!(fate(&w, &unapproved).await, (State::Rejected, Some(FailureCode::OptedOut)));
    set(&w, LOCATION, json!({"enabled": false})).await;
    let disabled = w.sms("nor switched on").await;
    w.send_all().await;
    assert_eq!(fate(&w, &disabled).await, (State::Rejected, Some(FailureCode::OptedOut)));
    w.end();
}

/// How many posts a reply took.
async fn posts(w: &World, text: &str) -> usize {
    let count = || w.ghl.calls().iter().filter(|call| call.path == POST).count();
    let before = count();
    reply(w, json!({"message": text})).await;
    assert_eq!(shown(w).last().map(|(_, text)| text.as_str()), Some(text));
    count() - before
}

async fn a_reply_begins_with_the_provider_kind_that_is_set(place: Place) {
    let w = two(place).await;
    w.ghl.set_provider_kind(LOCATION, ProviderKind::Custom);
    set(&w, LOCATION, json!({"provider_kind": "custom"})).await;
    assert_eq!(posts(&w, "no detour").await, 1);
    assert_eq!(w.ghl.inbound().pop().map(|posted| posted.kind).as_deref(), Some("Custom"));
    assert!(w.installation(LOCATION).await.expect("connected").post.is_empty(), "nothing was to be learnt");
    w.end();
}

async fn what_the_crm_took_wins_over_the_provider_kind_until_another_is_set(place: Place) {
    let w = two(place).await;
    // What is set is wrong: it costs one call, once.
    set(&w, LOCATION, json!({"provider_kind": "custom"})).await;
    assert_eq!((posts(&w, "one").await, posts(&w, "two").await), (2, 1));
    let w = w.restart().await;
    assert_eq!(posts(&w, "three").await, 1, "also over a restart");
    w.ghl.set_provider_kind(LOCATION, ProviderKind::Custom);
    set(&w, LOCATION, json!({"sender_id": "MYBRAND"})).await;
    assert_eq!((posts(&w, "four").await, posts(&w, "five").await), (2, 1), "another setting is no word about this one");
    w.ghl.set_provider_kind(LOCATION, ProviderKind::Default);
    set(&w, LOCATION, json!({"provider_kind": "default"})).await;
    assert_eq!(posts(&w, "six").await, 1, "the new word is taken at once");
    w.end();
}
