//! Replies on their way into the CRM: routed, their contact found, posted into the conversation.
//!
//! Better twice than lost, and never guessed into a stranger's CRM: cases count the calls the CRM saw, not the steps taken.

use std::time::Duration;

use cast_ghl_provider::domain::inbound::ReplyState;
use cast_ghl_provider::fake::ghl::{AddresseeRule, Direction, FakeGhlOptions, GhlFault, Install, PhoneRule};
use serde_json::json;

use super::{FROM, SECOND, calls, messaged, reply, state, taken, texts};
use crate::support::world::{LOCATION, PHONE, Place, World};
use crate::{Cases, cases};

const POST: &str = "/conversations/messages/inbound";
const UPSERT: &str = "/contacts/upsert";
const OTHER: &str = "LOCother000000000001";
const STRANGERS: &str = "COMstranger000000001";

pub fn cases() -> Cases<Place> {
    cases![
        a_reply_goes_into_the_contact_of_the_message_it_answers_and_looks_nobody_up,
        the_post_names_direction_time_our_id_and_nothing_the_crm_does_not_declare,
        attachments_without_text_are_posted_as_links,
        an_unknown_phone_is_upserted_in_the_default_location_and_remembered,
        without_a_route_a_reply_is_kept_unrouted,
        a_phone_of_two_companies_is_routed_to_neither,
        the_default_is_ignored_once_two_companies_are_installed,
        an_explicit_location_wins,
        a_reply_to_an_old_message_still_finds_its_location,
        replies_of_a_sender_stay_in_order_while_others_pass,
        a_sender_who_is_stuck_holds_up_nobody_else_however_much_they_wrote,
        a_refused_phone_property_is_left_out_and_the_refusal_remembered,
        an_answer_without_an_id_is_tried_three_times_and_then_set_aside,
        an_answer_nobody_saw_waits_thirty_seconds,
        a_rate_limit_is_waited_out,
        three_429_in_a_row_let_a_reply_rest_a_minute_and_nothing_is_dropped,
        a_redirect_is_no_refusal,
        look_ups_fallbacks_and_opt_outs_count_in_the_same_eighty_calls,
        a_deleted_contact_is_found_anew,
        without_a_token_a_reply_waits_and_goes_after_the_install,
        a_restart_between_any_two_steps_goes_on_where_it_was,
    ]
}

async fn a_reply_goes_into_the_contact_of_the_message_it_answers_and_looks_nobody_up(place: Place) {
    let w = messaged(place).await;
    let contacts = w.ghl.contacts();
    assert_eq!(contacts.len(), 1);
    let id = taken(&w, json!({"from": "0917 123-4567", "message": "Opo"})).await;
    w.reply_all().await;
    let posted = w.ghl.inbound();
    assert_eq!(posted.len(), 1);
    assert_eq!((posted[0].location_id.as_str(), posted[0].contact_id.as_str()), (LOCATION, contacts[0].id.as_str()));
    assert_eq!(posted[0].conversation_id, contacts[0].conversation_id);
    assert_eq!(calls(&w, "/contacts"), 0);
    assert_eq!(calls(&w, POST), 1);
    let reply = reply(&w, &id).await.progress;
    assert_eq!(
        (reply.state, reply.posted_message.as_deref()),
        (ReplyState::Posted, Some(posted[0].message_id.as_str()))
    );
    w.end();
}

async fn the_post_names_direction_time_our_id_and_nothing_the_crm_does_not_declare(place: Place) {
    let w = messaged(place).await;
    let id = taken(&w, json!({"from": FROM, "message": "ñ 👍\nline", "received_at": 1_779_990_000})).await;
    let now = taken(&w, json!({"from": FROM, "message": "no time"})).await;
    w.pass(10 * SECOND).await;
    w.reply_all().await;
    let posted = w.ghl.inbound();
    assert_eq!(posted.len(), 2);
    let first = &posted[0];
    assert_eq!((first.direction, first.kind.as_str()), (Direction::Inbound, "SMS"));
    assert_eq!(first.message.as_deref(), Some("ñ 👍\nline"));
    assert_eq!(first.date.as_deref(), Some("2026-05-28T17:40:00.000Z"), "when the person sent it");
    assert_eq!(first.alt_id.as_deref(), Some(id.as_str()));
    assert_eq!(first.phone.as_deref(), Some(PHONE));
    assert_eq!(first.provider_id, Some(FakeGhlOptions::default().provider_id));
    assert!(first.attachments.is_empty());
    let accepted = reply(&w, &now).await.accepted;
    let at = jiff::Timestamp::from_millisecond(accepted.at.0).unwrap();
    let date: jiff::Timestamp = posted[1].date.as_deref().unwrap().parse().unwrap();
    assert_eq!(date, at, "without a time, when it came: not when it was posted");
    // `end` asserts that no call carried an undeclared property.
    w.end();
}

async fn attachments_without_text_are_posted_as_links(place: Place) {
    let w = messaged(place).await;
    let links = ["https://files.example.com/a.jpg", "https://files.example.com/b.jpg"];
    taken(&w, json!({"from": FROM, "attachments": links})).await;
    w.reply_all().await;
    let posted = w.ghl.inbound();
    assert_eq!((posted.len(), posted[0].message.as_deref()), (1, None));
    assert_eq!(posted[0].attachments, links);
    w.end();
}

async fn an_unknown_phone_is_upserted_in_the_default_location_and_remembered(place: Place) {
    let w = World::start(place, &[("DEFAULT_LOCATION_ID", LOCATION)]).await;
    w.install(LOCATION).await;
    for n in 0..3 {
        taken(&w, json!({"id": n, "from": FROM, "message": format!("hello {n}")})).await;
    }
    w.reply_all().await;
    assert_eq!(texts(&w), ["hello 0", "hello 1", "hello 2"]);
    assert_eq!(calls(&w, UPSERT), 1, "learnt once");
    let contacts = w.ghl.contacts();
    assert_eq!(contacts.len(), 1);
    assert_eq!((contacts[0].phone.as_str(), contacts[0].location_id.as_str()), (PHONE, LOCATION));
    assert_eq!(contacts[0].source.as_deref(), Some("Cast SMS"));
    w.end();
}

async fn without_a_route_a_reply_is_kept_unrouted(place: Place) {
    let w = World::connected(place).await;
    let id = taken(&w, json!({"from": FROM, "message": "who is this?"})).await;
    w.reply_all().await;
    assert_eq!(state(&w, &id).await, ReplyState::Unrouted);
    assert_eq!(reply(&w, &id).await.accepted.text.as_deref(), Some("who is this?"), "kept for a person");
    assert_eq!(calls(&w, "/con"), 0);
    w.end();
}

async fn a_phone_of_two_companies_is_routed_to_neither(place: Place) {
    let w = World::start(place, &[("DEFAULT_LOCATION_ID", LOCATION)]).await;
    w.install(LOCATION).await;
    connect_strangers(&w).await;
    for location in [LOCATION, OTHER] {
        w.sms_to(location, PHONE, "hi").await;
    }
    w.send_all().await;
    let id = taken(&w, json!({"from": FROM, "message": "which of you?"})).await;
    w.reply_all().await;
    assert_eq!(state(&w, &id).await, ReplyState::Unrouted);
    // Eight days later only one of them messaged the phone within a week.
    w.jump(Duration::from_secs(8 * 24 * 3600)).await;
    w.sms_to(OTHER, PHONE, "still there?").await;
    w.send_all().await;
    taken(&w, json!({"from": FROM, "message": "you!"})).await;
    w.reply_all().await;
    assert_eq!(w.ghl.inbound().len(), 1);
    assert_eq!(w.ghl.inbound()[0].location_id, OTHER);
    w.end();
}

async fn the_default_is_ignored_once_two_companies_are_installed(place: Place) {
    let w = World::start(place, &[("DEFAULT_LOCATION_ID", LOCATION)]).await;
    w.install(LOCATION).await;
    connect_strangers(&w).await;
    let id = taken(&w, json!({"from": FROM, "message": "hello"})).await;
    w.reply_all().await;
    assert_eq!(state(&w, &id).await, ReplyState::Unrouted);
    assert_eq!(calls(&w, "/con"), 0);
    w.end();
}

async fn an_explicit_location_wins(place: Place) {
    let w = messaged(place).await;
    connect_strangers(&w).await;
    taken(&w, json!({"from": FROM, "message": "for the other", "location_id": OTHER})).await;
    w.reply_all().await;
    let posted = w.ghl.inbound();
    assert_eq!((posted.len(), posted[0].location_id.as_str()), (1, OTHER));
    assert_eq!(calls(&w, UPSERT), 1, "it did not know this phone");
    w.end();
}

/// The week is for telling companies apart; a phone that one location alone ever messaged is that location's.
async fn a_reply_to_an_old_message_still_finds_its_location(place: Place) {
    let w = messaged(place).await;
    w.jump(Duration::from_secs(9 * 24 * 3600)).await;
    taken(&w, json!({"from": FROM, "message": "sorry, I was away"})).await;
    w.reply_all().await;
    assert_eq!(texts(&w), ["sorry, I was away"]);
    assert_eq!(calls(&w, UPSERT), 0);
    w.end();
}

async fn replies_of_a_sender_stay_in_order_while_others_pass(place: Place) {
    let w = messaged(place).await;
    w.sms_to(LOCATION, "09181234567", "hi").await;
    w.send_all().await;
    w.ghl.fault_next(POST, GhlFault::refusal(502, "bad gateway"));
    for n in 0..5 {
        taken(&w, json!({"id": n, "from": FROM, "message": format!("first {n}")})).await;
    }
    w.app.inbound().step().await.unwrap();
    for n in 5..8 {
        taken(&w, json!({"id": n, "from": "09181234567", "message": format!("second {n}")})).await;
    }
    w.reply_all().await;
    assert_eq!(texts(&w), ["second 5", "second 6", "second 7"]);
    w.pass(30 * SECOND).await;
    w.reply_all().await;
    assert_eq!(texts(&w)[3..], ["first 0", "first 1", "first 2", "first 3", "first 4"]);
    w.end();
}

async fn a_sender_who_is_stuck_holds_up_nobody_else_however_much_they_wrote(place: Place) {
    let w = messaged(place).await;
    for n in 0..40 {
        let body = json!({"id": n, "from": "09180000001", "message": format!("{n}"), "location_id": OTHER});
        taken(&w, body).await;
    }
    w.reply_all().await;
    taken(&w, json!({"from": FROM, "message": "and me?"})).await;
    w.reply_all().await;
    assert_eq!(texts(&w), ["and me?"], "the other location has no token, and is not this one's affair");
    w.ghl.add_location(OTHER, STRANGERS);
    connect_strangers(&w).await;
    w.pass(60 * SECOND).await;
    w.reply_all().await;
    assert_eq!(texts(&w).len(), 41);
    assert_eq!(texts(&w)[1..], (0..40).map(|n| n.to_string()).collect::<Vec<_>>(), "all of them, in order");
    w.end();
}

async fn a_refused_phone_property_is_left_out_and_the_refusal_remembered(place: Place) {
    let mut w = messaged(place).await;
    w.ghl.set_phone_rule(PhoneRule::Refused);
    for (n, total) in [2, 3, 4].into_iter().enumerate() {
        taken(&w, json!({"id": n, "from": FROM, "message": "hi"})).await;
        w.reply_all().await;
        assert_eq!((calls(&w, POST), w.ghl.inbound().len()), (total, n + 1), "only the first costs two calls");
        w = w.restart().await;
    }
    assert!(w.ghl.inbound().iter().all(|posted| posted.phone.is_none()));
    w.install(LOCATION).await;
    taken(&w, json!({"id": 3, "from": FROM, "message": "hi"})).await;
    w.reply_all().await;
    assert_eq!(calls(&w, POST), 5, "a new install forgets nothing about the location");
    w.end();
}

async fn an_answer_without_an_id_is_tried_three_times_and_then_set_aside(place: Place) {
    let w = messaged(place).await;
    w.ghl.lose_inbound(2);
    taken(&w, json!({"id": 1, "from": FROM, "message": "third time lucky"})).await;
    settle(&w).await;
    assert_eq!((calls(&w, POST), texts(&w).len()), (3, 1));
    w.ghl.lose_inbound(10);
    let id = taken(&w, json!({"id": 2, "from": FROM, "message": "never"})).await;
    taken(&w, json!({"id": 3, "from": FROM, "message": "behind it"})).await;
    settle(&w).await;
    w.ghl.lose_inbound(0);
    settle(&w).await;
    let dead = reply(&w, &id).await;
    assert_eq!((dead.progress.state, dead.progress.not_stored), (ReplyState::Dead, 3));
    assert_eq!(dead.accepted.text.as_deref(), Some("never"), "kept for a person");
    w.end();
}

async fn an_answer_nobody_saw_waits_thirty_seconds(place: Place) {
    let w = messaged(place).await;
    let unseen = [
        GhlFault::refusal(502, "bad gateway"),
        GhlFault::Reset { after_applying: false },
        GhlFault::Status(500, "<html>".into()),
    ];
    for (n, fault) in unseen.into_iter().enumerate() {
        w.ghl.fault_next(POST, fault);
        taken(&w, json!({"id": n, "from": FROM, "message": format!("reply {n}")})).await;
        w.reply_all().await;
        w.pass(29 * SECOND).await;
        w.reply_all().await;
        assert_eq!((w.ghl.inbound().len(), calls(&w, POST)), (n, 2 * n + 1), "not before");
        w.pass(SECOND).await;
        w.reply_all().await;
        assert_eq!((w.ghl.inbound().len(), calls(&w, POST)), (n + 1, 2 * n + 2));
    }
    w.end();
}

async fn a_rate_limit_is_waited_out(place: Place) {
    let w = messaged(place).await;
    let (named, unnamed) = (Some("7".to_owned()), None);
    for (n, (retry_after, wait)) in [(named, 7), (unnamed, 10)].into_iter().enumerate() {
        w.ghl.fault_next(POST, GhlFault::RateLimited { retry_after });
        taken(&w, json!({"id": n, "from": FROM, "message": "hi"})).await;
        w.reply_all().await;
        w.pass(SECOND * (wait - 1)).await;
        w.reply_all().await;
        assert_eq!((w.ghl.inbound().len(), calls(&w, POST)), (n, 2 * n + 1), "not before {wait} s");
        w.pass(SECOND).await;
        w.reply_all().await;
        assert_eq!((w.ghl.inbound().len(), calls(&w, POST)), (n + 1, 2 * n + 2));
    }
    w.end();
}

async fn three_429_in_a_row_let_a_reply_rest_a_minute_and_nothing_is_dropped(place: Place) {
    let w = messaged(place).await;
    for _ in 0..3 {
        w.ghl.fault_next(POST, GhlFault::RateLimited { retry_after: None });
    }
    taken(&w, json!({"from": FROM, "message": "hi"})).await;
    w.reply_all().await;
    for (wait, posts) in [(10, 2), (10, 3), (58, 3)] {
        w.pass(SECOND * wait).await;
        w.reply_all().await;
        assert_eq!((calls(&w, POST), w.ghl.inbound().len()), (posts, 0));
    }
    w.pass(SECOND * 2).await;
    w.reply_all().await;
    assert_eq!((calls(&w, POST), w.ghl.inbound().len(), w.counted("rate_limited", "reply")), (4, 1, 3));
    w.end();
}

async fn a_redirect_is_no_refusal(place: Place) {
    let w = messaged(place).await;
    w.ghl.fault_next(POST, GhlFault::Redirect);
    let id = taken(&w, json!({"from": FROM, "message": "hi"})).await;
    w.reply_all().await;
    assert_eq!(state(&w, &id).await, ReplyState::Received);
    w.pass(SECOND * 31).await;
    w.reply_all().await;
    assert_eq!((state(&w, &id).await, w.ghl.inbound().len()), (ReplyState::Posted, 1));
    w.end();
}

async fn look_ups_fallbacks_and_opt_outs_count_in_the_same_eighty_calls(place: Place) {
    const PEOPLE: usize = 100;
    let w = World::start(place, &[("DEFAULT_LOCATION_ID", LOCATION)]).await;
    w.install(LOCATION).await;
    w.ghl.set_addressee_rule(AddresseeRule::Conversation);
    for n in 0..PEOPLE {
        let from = format!("0917{n:07}");
        let stop = json!({"from": from, "message": "STOP", "id": n, "location_id": LOCATION});
        assert_eq!(w.reply(stop).await.0, 202);
    }
    w.live(SECOND * 90).await;
    let blocks = w.ghl.calls().iter().filter(|call| call.method == "PUT" && call.status == Some(200)).count();
    assert_eq!((w.ghl.inbound().len(), blocks), (PEOPLE, PEOPLE));
    let times: Vec<i64> = w.ghl.calls().iter().filter(|c| !c.path.starts_with("/oauth")).map(|c| c.at.0).collect();
    assert!(times.len() > 3 * 80, "enough to be limited: {}", times.len());
    for (i, from) in times.iter().enumerate() {
        let within = times[i..].iter().take_while(|at| **at - from < 10_000).count();
        assert!(within <= 80, "{within} calls in 10 s");
    }
    w.end();
}

async fn a_deleted_contact_is_found_anew(place: Place) {
    let w = messaged(place).await;
    w.ghl.fault_next(POST, GhlFault::refusal(400, "Contact not found"));
    taken(&w, json!({"from": FROM, "message": "still me"})).await;
    settle(&w).await;
    assert_eq!(texts(&w), ["still me"]);
    assert_eq!((calls(&w, UPSERT), calls(&w, POST)), (1, 2));
    w.end();
}

async fn without_a_token_a_reply_waits_and_goes_after_the_install(place: Place) {
    let w = World::start(place, &[("DEFAULT_LOCATION_ID", LOCATION)]).await;
    let id = taken(&w, json!({"from": FROM, "message": "early"})).await;
    for _ in 0..5 {
        w.pass(61 * SECOND).await;
        w.reply_all().await;
    }
    assert_eq!(state(&w, &id).await, ReplyState::Received);
    assert_eq!(calls(&w, "/"), 0, "there is nothing to ask with");
    w.install(LOCATION).await;
    w.pass(60 * SECOND).await;
    w.reply_all().await;
    assert_eq!(texts(&w), ["early"]);
    assert_eq!(state(&w, &id).await, ReplyState::Posted);
    w.end();
}

async fn a_restart_between_any_two_steps_goes_on_where_it_was(place: Place) {
    let mut w = World::start(place, &[("DEFAULT_LOCATION_ID", LOCATION)]).await;
    w.install(LOCATION).await;
    let id = taken(&w, json!({"from": FROM, "message": "step by step"})).await;
    let mut steps = 0;
    while state(&w, &id).await == ReplyState::Received {
        w = w.restart().await;
        assert_eq!(w.app.inbound().step().await.unwrap(), 1);
        steps += 1;
        assert!(steps < 10, "it never arrives");
    }
    let w = w.restart().await;
    w.reply_all().await;
    assert!(steps >= 3, "route, contact and post are steps of their own");
    assert_eq!((calls(&w, UPSERT), calls(&w, POST)), (1, 1), "no step is done twice");
    assert_eq!(texts(&w), ["step by step"]);
    w.end();
}

/// Installs the app in a location of another company.
async fn connect_strangers(w: &World) {
    let page = w.callback(&w.ghl.marketplace_code(Install::location(OTHER, STRANGERS))).await;
    assert_eq!(page.status(), 200);
}

/// Steps the inbound worker over ten minutes, longer than any wait but that for a token of its own.
async fn settle(w: &World) {
    for _ in 0..20 {
        w.reply_all().await;
        w.pass(30 * SECOND).await;
    }
}
