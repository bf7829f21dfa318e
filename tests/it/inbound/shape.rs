//! What the docs and the live API disagree on about a reply: the bridge takes GHL's own answer for it, and remembers it.
//!
//! Cases count posts: an objection costs one call, once. And the look before a post is repeated.

use std::time::Duration;

use cast_ghl_provider::domain::id::{DocId, LocationId};
use cast_ghl_provider::domain::inbound::ReplyState;
use cast_ghl_provider::domain::post::PostKind;
use cast_ghl_provider::fake::ghl::{AddresseeRule, GhlFault, PhoneRule, ProviderIdRule, ProviderKind};
use cast_ghl_provider::operator;
use serde_json::json;

use super::{FROM, SECOND, calls, messaged, reply, state, taken, texts};
use crate::support::world::{LOCATION, Place, World};
use crate::{Cases, cases};

const POST: &str = "/conversations/messages/inbound";

pub fn cases() -> Cases<Place> {
    cases![
        the_type_of_a_custom_provider_is_switched_both_ways_and_remembered,
        a_400_that_names_the_provider_id_drops_it_and_the_refusal_is_remembered,
        a_provider_id_that_is_wrong_with_either_type_is_dropped_after_the_type_was_switched,
        all_objections_at_once_are_met_one_after_the_other,
        where_ghl_insists_on_a_conversation_id_the_known_one_is_named,
        where_no_conversation_is_known_a_lagging_search_and_already_exists_still_lead_to_it,
        a_post_that_landed_unseen_is_found_by_our_alt_id_and_not_repeated,
        a_post_that_did_not_land_is_repeated_after_the_look,
        where_no_conversation_is_known_better_twice_than_lost,
        a_conversation_that_may_not_be_read_does_not_keep_the_reply_back,
        a_reply_nobody_could_route_goes_where_a_person_sends_it,
    ]
}

/// Posts a reply and steps until nothing is due; how many calls that took to the inbound endpoint.
async fn posts(w: &World, text: &str) -> usize {
    let before = calls(w, POST);
    taken(w, json!({"id": text, "from": FROM, "message": text})).await;
    w.reply_all().await;
    assert_eq!(texts(w).last().map(String::as_str), Some(text));
    calls(w, POST) - before
}

async fn the_type_of_a_custom_provider_is_switched_both_ways_and_remembered(place: Place) {
    let mut w = messaged(place).await;
    w.ghl.set_provider_kind(LOCATION, ProviderKind::Custom);
    assert_eq!(posts(&w, "one").await, 2);
    assert_eq!(posts(&w, "two").await, 1);
    w = w.restart().await;
    assert_eq!(posts(&w, "three").await, 1, "also over a restart");
    assert!(w.ghl.inbound().iter().all(|posted| posted.kind == "Custom" && posted.provider_id.is_some()));
    w.ghl.set_provider_kind(LOCATION, ProviderKind::Default);
    assert_eq!((posts(&w, "four").await, posts(&w, "five").await), (2, 1));
    let installation = w.installation(LOCATION).await.expect("connected");
    assert_eq!(installation.post.kind, Some(PostKind::Sms));
    w.install(LOCATION).await;
    let installation = w.installation(LOCATION).await.expect("connected");
    assert_eq!(installation.post.kind, Some(PostKind::Sms), "a new install forgets nothing about the location");
    w.end();
}

async fn a_400_that_names_the_provider_id_drops_it_and_the_refusal_is_remembered(place: Place) {
    let w = messaged(place).await;
    w.ghl.set_provider_id_rule(ProviderIdRule::Refused);
    assert_eq!((posts(&w, "one").await, posts(&w, "two").await), (2, 1));
    assert!(w.ghl.inbound().iter().all(|posted| posted.provider_id.is_none() && posted.kind == "SMS"));
    w.end();
}

async fn a_provider_id_that_is_wrong_with_either_type_is_dropped_after_the_type_was_switched(place: Place) {
    let w =
        World::start(place, &[("DEFAULT_LOCATION_ID", LOCATION), ("GHL_CONVERSATION_PROVIDER_ID", "PRVwrong")]).await;
    w.install(LOCATION).await;
    assert_eq!(posts(&w, "one").await, 4, "SMS, Custom, Custom without, SMS without");
    assert_eq!(posts(&w, "two").await, 1);
    let provider = cast_ghl_provider::fake::ghl::FakeGhlOptions::default().provider_id;
    let w = w.restart_with(&[("GHL_CONVERSATION_PROVIDER_ID", &provider)]).await;
    assert_eq!(posts(&w, "three").await, 1);
    assert_eq!(w.ghl.inbound()[2].provider_id, Some(provider), "another id is tried anew");
    w.end();
}

async fn all_objections_at_once_are_met_one_after_the_other(place: Place) {
    let w = messaged(place).await;
    w.ghl.set_provider_kind(LOCATION, ProviderKind::Custom);
    w.ghl.set_phone_rule(PhoneRule::Refused);
    w.ghl.set_addressee_rule(AddresseeRule::Conversation);
    assert_eq!((posts(&w, "one").await, posts(&w, "two").await), (4, 1));
    w.end();
}

async fn where_ghl_insists_on_a_conversation_id_the_known_one_is_named(place: Place) {
    let w = messaged(place).await;
    w.ghl.set_addressee_rule(AddresseeRule::Conversation);
    assert_eq!((posts(&w, "one").await, posts(&w, "two").await), (2, 1));
    assert_eq!(calls(&w, "/conversations/search"), 0, "it came with the message they answer");
    w.end();
}

async fn where_no_conversation_is_known_a_lagging_search_and_already_exists_still_lead_to_it(place: Place) {
    let w = World::start(place, &[("DEFAULT_LOCATION_ID", LOCATION)]).await;
    w.install(LOCATION).await;
    w.ghl.set_addressee_rule(AddresseeRule::Conversation);
    w.ghl.let_search_lag(1);
    assert_eq!((posts(&w, "one").await, posts(&w, "two").await), (2, 1));
    assert_eq!(calls(&w, "/conversations/search"), 2, "before and after GHL said that it exists");
    w.end();
}

async fn a_post_that_landed_unseen_is_found_by_our_alt_id_and_not_repeated(place: Place) {
    let w = messaged(place).await;
    let unseen = [GhlFault::StatusAfterApplying(502), GhlFault::Reset { after_applying: true }, GhlFault::Garbage];
    for (n, fault) in unseen.into_iter().enumerate() {
        w.ghl.fault_next(POST, fault);
        let id = taken(&w, json!({"id": n, "from": FROM, "message": format!("reply {n}")})).await;
        w.reply_all().await;
        assert_eq!(state(&w, &id).await, ReplyState::Received, "{n}");
        w.pass(31 * SECOND).await;
        w.reply_all().await;
        let progress = reply(&w, &id).await.progress;
        assert_eq!((progress.state, calls(&w, POST)), (ReplyState::Posted, n + 1), "posted once");
        assert_eq!(progress.posted_message.as_ref(), Some(&w.ghl.inbound()[n].message_id));
    }
    assert_eq!(texts(&w), ["reply 0", "reply 1", "reply 2"]);
    w.end();
}

async fn a_post_that_did_not_land_is_repeated_after_the_look(place: Place) {
    let w = messaged(place).await;
    w.ghl.fault_next(POST, GhlFault::Reset { after_applying: false });
    taken(&w, json!({"from": FROM, "message": "again"})).await;
    w.reply_all().await;
    w.pass(30 * SECOND).await;
    w.reply_all().await;
    assert_eq!((texts(&w), calls(&w, POST)), (vec!["again".to_owned()], 2));
    let looks = w.ghl.calls().iter().filter(|call| call.method == "GET" && call.path.ends_with("/messages")).count();
    assert_eq!(looks, 1);
    w.end();
}

async fn where_no_conversation_is_known_better_twice_than_lost(place: Place) {
    let w = World::start(place, &[("DEFAULT_LOCATION_ID", LOCATION)]).await;
    w.install(LOCATION).await;
    w.ghl.fault_next(POST, GhlFault::StatusAfterApplying(500));
    taken(&w, json!({"from": FROM, "message": "twice"})).await;
    w.reply_all().await;
    w.pass(30 * SECOND).await;
    w.reply_all().await;
    assert_eq!(texts(&w), ["twice", "twice"]);
    w.end();
}

async fn a_conversation_that_may_not_be_read_does_not_keep_the_reply_back(place: Place) {
    let w = messaged(place).await;
    let conversation = w.ghl.contacts()[0].conversation_id.clone();
    w.ghl.fault_next(POST, GhlFault::Reset { after_applying: false });
    let look = format!("/conversations/{conversation}/messages");
    w.ghl.fault_all(&look, Some(GhlFault::refusal(403, "The token is not authorized for this scope.")));
    taken(&w, json!({"from": FROM, "message": "again"})).await;
    w.reply_all().await;
    w.pass(30 * SECOND).await;
    w.reply_all().await;
    assert_eq!(texts(&w), ["again"]);
    w.end();
}

async fn a_reply_nobody_could_route_goes_where_a_person_sends_it(place: Place) {
    let w = World::connected(place).await;
    let id = taken(&w, json!({"from": FROM, "message": "who is this?"})).await;
    w.reply_all().await;
    w.pass(Duration::from_secs(60)).await;
    assert_eq!(state(&w, &id).await, ReplyState::Unrouted);
    let store = w.command_store().await;
    let location = LocationId::parse(LOCATION).unwrap();
    operator::route(&store, &id, &location, w.now()).await.unwrap();
    w.reply_all().await;
    assert_eq!((texts(&w).len(), w.ghl.inbound()[0].location_id.as_str()), (1, LOCATION));
    let no_reply = DocId("out:L:m".into());
    let refused = operator::route(&store, no_reply.as_str(), &location, w.now()).await.unwrap_err().to_string();
    assert!(refused.contains("this is no reply"), "{refused}");
    w.end();
}
