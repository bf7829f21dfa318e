//! STOP and START: what is held back, for whom, from when on, and what lifts it.
//!
//! Cases count what Cast took and read what the agent reads. How the CRM is told is `dnd`'s.

mod dnd;

use std::time::Duration;

use cast_ghl_provider::domain::dnd::Mirror;
use cast_ghl_provider::domain::id::{DocId, LocationId};
use cast_ghl_provider::domain::inbound::{Reply, ReplyAccepted, ReplyProgress, ReplyState};
use cast_ghl_provider::domain::message::{DOCUMENT_VERSION, FailureCode, State};
use cast_ghl_provider::domain::opt_out::{LiftedBy, Scope, Suppression, Wish};
use cast_ghl_provider::domain::phone::Phone;
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::ghl::Install;
use cast_ghl_provider::operator::{self, OptOutsRequest, Reveal};
use cast_ghl_provider::queue::Step;
use cast_ghl_provider::store::Inserted;
use serde_json::json;

use crate::support::world::{INBOUND_KEY, LOCATION, PHONE, Place, World};
use crate::{Cases, cases};

const FROM: &str = "09171234567";
const OTHER: &str = "LOCother000000000001";
const STRANGERS: &str = "COMstranger000000001";
const THIRD: &str = "LOCthird000000000001";
const DAY: Duration = Duration::from_secs(24 * 3600);

pub fn cases() -> Cases<Place> {
    let mut all: Cases<Place> = cases![
        once_a_stop_is_answered_nothing_more_is_sent_and_the_agent_reads_why,
        a_stop_shows_in_the_conversation_and_is_never_answered,
        a_stop_in_the_middle_of_a_campaign_stops_it_at_its_answer,
        a_stop_between_two_parts_stops_the_rest_and_the_report_says_how_far_it_came,
        a_stop_that_names_nobody_covers_all_who_messaged_in_thirty_days,
        a_stop_that_names_a_location_covers_that_one_alone,
        a_stop_of_somebody_nobody_messaged_covers_everybody_until_a_start,
        a_start_lifts_what_the_stop_set_even_after_months_of_silence,
        a_stop_is_heeded_although_its_sender_waits_behind_a_stuck_reply,
        the_words_are_the_operators_and_the_sentence_says_them,
        with_opting_out_switched_off_a_stop_is_a_reply_like_any_other,
        after_a_crash_before_the_suppression_nothing_is_done_about_the_reply_before_it_is_heeded,
        after_a_crash_before_the_mark_hearing_it_again_changes_nothing,
        a_late_repeat_of_a_stop_does_not_undo_the_start_after_it,
        an_operator_lists_opt_outs_masked_and_lifts_one,
        a_stop_nobody_could_route_covers_the_location_a_person_routes_it_to,
    ];
    all.extend(dnd::cases());
    all
}

/// On replicas.
pub fn replica_cases() -> Cases<Place> {
    cases![a_stop_taken_by_a_standby_holds_back_what_the_leader_sends]
}

async fn connect(w: &World, location: &str, company: &str) {
    let page = w.callback(&w.ghl.marketplace_code(Install::location(location, company))).await;
    assert_eq!(page.status(), 200);
}

/// A connected location that messaged the usual phone.
async fn messaged(place: Place) -> World {
    let w = World::connected(place).await;
    w.sms("hi").await;
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 1);
    w
}

/// An id of the gateway: without one the same words within a minute are a repeat.
fn fresh() -> String {
    cast_ghl_provider::random::hex::<8>()
}

/// The person says something; its reply's id.
async fn say(w: &World, words: &str) -> String {
    let (status, answer) = w.reply(json!({"id": fresh(), "from": FROM, "message": words})).await;
    assert_eq!(status, 202, "{answer}");
    answer["id"].as_str().expect("an id").to_owned()
}

async fn say_to(w: &World, words: &str, location: &str) {
    let body = json!({"id": fresh(), "from": FROM, "message": words, "location_id": location});
    let (status, answer) = w.reply(body).await;
    assert_eq!(status, 202, "{answer}");
}

/// Sends from a location to the usual phone; whether Cast took it.
async fn arrives(w: &World, location: &str) -> bool {
    let before = w.cast.taken_count();
    let answer = w.sms_to(location, PHONE, "a message").await;
    w.send_all().await;
    let taken = w.cast.taken_count() > before;
    assert_eq!(held_back(w, &answer).await, !taken);
    taken
}

async fn held_back(w: &World, answer: &WebhookAnswer) -> bool {
    let progress = w.message(answer).await.progress;
    progress.state == State::Rejected && progress.code == Some(FailureCode::OptedOut)
}

async fn suppression(w: &World, location: Option<&str>) -> Option<Suppression> {
    let scope = location.map_or(Scope::Everywhere, |id| Scope::Location(LocationId::parse(id).unwrap()));
    let id = scope.document(&Phone::parse(PHONE).unwrap());
    w.app.store().get::<Suppression>(&id).await.unwrap().map(|stored| stored.record)
}

async fn once_a_stop_is_answered_nothing_more_is_sent_and_the_agent_reads_why(place: Place) {
    let w = messaged(place).await;
    say(&w, " Stop. ").await;
    // Nothing but the answer: no loop has run since.
    let answer = w.sms("one more thing").await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.cast.taken_count(), 1);
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("opted_out".into()))));
    assert_eq!(w.sentence(&answer), "This person replied STOP. They can text START.");
    assert!(w.message(&answer).await.progress.attempts.is_empty(), "no call was begun");
    let other = w.sms_to(LOCATION, "09181234567", "to somebody else").await;
    w.send_all().await;
    assert_eq!(w.message(&other).await.progress.state, State::Accepted);
    w.end();
}

async fn a_stop_shows_in_the_conversation_and_is_never_answered(place: Place) {
    let w = messaged(place).await;
    for words in ["STOP", "START"] {
        say(&w, words).await;
        w.live(Duration::from_secs(60)).await;
    }
    let shown: Vec<_> = w.ghl.inbound().into_iter().filter_map(|posted| posted.message).collect();
    assert_eq!(shown, ["STOP", "START"]);
    assert_eq!(w.cast.calls().len(), 1, "nobody is answered by SMS");
    w.end();
}

async fn a_stop_in_the_middle_of_a_campaign_stops_it_at_its_answer(place: Place) {
    let w = messaged(place).await;
    let mut campaign = Vec::new();
    for n in 0..12 {
        campaign.push(w.sms(&format!("offer {n}")).await);
    }
    let mut worked = 0;
    while worked < 5 {
        match w.app.worker().step().await.unwrap() {
            Step::Worked(_) => worked += 1,
            Step::Idle(wait) => w.clock.advance(wait.unwrap_or(DAY).min(Duration::from_secs(1))),
            Step::NotLeader => panic!("it leads"),
        }
    }
    let before = w.cast.calls().len();
    say(&w, "STOPALL").await;
    w.send_all().await;
    assert_eq!(w.cast.calls().len(), before, "the promise begins with the 202");
    let mut held = 0;
    for answer in &campaign {
        held += usize::from(held_back(&w, answer).await);
    }
    assert_eq!(held, 12 - 5);
    w.end();
}

async fn a_stop_between_two_parts_stops_the_rest_and_the_report_says_how_far_it_came(place: Place) {
    let w = messaged(place).await;
    let long = "These are many words of one long message. ".repeat(25);
    let answer = w.sms(&long).await;
    while w.cast.taken_count() < 2 {
        if let Step::Idle(wait) = w.app.worker().step().await.unwrap() {
            w.clock.advance(wait.unwrap_or(DAY).min(Duration::from_secs(1)));
        }
    }
    let parts = w.message(&answer).await.progress.parts.len();
    assert!(parts > 1);
    say(&w, "stop").await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.cast.taken_count(), 2);
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("opted_out".into()))));
    let said = w.sentence(&answer);
    let expected =
        format!("This person replied STOP. They can text START. (part 1 of {parts} was sent, the rest was not)");
    assert_eq!(said, expected);
    w.end();
}

async fn a_stop_that_names_nobody_covers_all_who_messaged_in_thirty_days(place: Place) {
    let w = World::connected(place).await;
    connect(&w, OTHER, STRANGERS).await;
    connect(&w, THIRD, STRANGERS).await;
    w.sms_to(THIRD, PHONE, "long ago").await;
    w.send_all().await;
    w.jump(DAY * 5).await;
    for location in [LOCATION, OTHER] {
        assert!(arrives(&w, location).await);
    }
    w.jump(DAY * 26).await;
    let id = say(&w, "STOP").await;
    w.reply_all().await;
    assert!(suppression(&w, Some(LOCATION)).await.is_some_and(|held| held.stands() && !held.explicit));
    for (location, sends) in [(LOCATION, false), (OTHER, false), (THIRD, true)] {
        assert_eq!(arrives(&w, location).await, sends, "{location}");
    }
    let reply = w.app.store().get::<Reply>(&DocId(id)).await.unwrap().expect("kept").record;
    assert!(reply.progress.heard_at.is_some(), "whether it could be routed or not");
    w.end();
}

async fn a_stop_that_names_a_location_covers_that_one_alone(place: Place) {
    let w = messaged(place).await;
    connect(&w, OTHER, STRANGERS).await;
    assert!(arrives(&w, OTHER).await);
    say_to(&w, "UNSUBSCRIBE", OTHER).await;
    assert!(!arrives(&w, OTHER).await);
    assert!(arrives(&w, LOCATION).await);
    // A START to the one it was not about lifts nothing.
    say_to(&w, "START", LOCATION).await;
    assert!(!arrives(&w, OTHER).await);
    say_to(&w, "START", OTHER).await;
    assert!(arrives(&w, OTHER).await);
    w.end();
}

async fn a_stop_of_somebody_nobody_messaged_covers_everybody_until_a_start(place: Place) {
    let w = World::connected(place).await;
    say(&w, "STOP").await;
    assert!(suppression(&w, None).await.is_some_and(|held| held.stands() && held.mirror == Mirror::default()));
    assert!(!arrives(&w, LOCATION).await);
    say(&w, "START").await;
    assert!(arrives(&w, LOCATION).await);
    w.end();
}

async fn a_start_lifts_what_the_stop_set_even_after_months_of_silence(place: Place) {
    let w = messaged(place).await;
    say(&w, "STOP").await;
    w.jump(DAY * 100).await;
    assert!(!arrives(&w, LOCATION).await, "it is not forgotten");
    say(&w, "Start!").await;
    assert!(arrives(&w, LOCATION).await);
    let held = suppression(&w, Some(LOCATION)).await.expect("kept");
    assert_eq!(held.lifted.map(|lifted| lifted.by), Some(LiftedBy::Person));
    w.end();
}

async fn a_stop_is_heeded_although_its_sender_waits_behind_a_stuck_reply(place: Place) {
    let w = messaged(place).await;
    // The other location has no token: this reply waits for days, and whatever its sender writes waits behind it.
    say_to(&w, "a question", OTHER).await;
    w.reply_all().await;
    say(&w, "STOP").await;
    assert!(!arrives(&w, LOCATION).await);
    say(&w, "START").await;
    w.reply_all().await;
    assert!(arrives(&w, LOCATION).await);
    assert!(w.ghl.inbound().is_empty(), "none of them could be posted yet");
    w.end();
}

async fn the_words_are_the_operators_and_the_sentence_says_them(place: Place) {
    let words = [("OPT_OUT_WORDS", "TIGIL,Ayoko na"), ("OPT_IN_WORDS", "SIGE")];
    let w = World::start(place, &words).await;
    w.install(LOCATION).await;
    assert!(arrives(&w, LOCATION).await);
    say(&w, "STOP").await;
    assert!(arrives(&w, LOCATION).await);
    say(&w, "ayoko  NA!").await;
    let answer = w.sms("still there?").await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.sentence(&answer), "This person replied TIGIL. They can text SIGE.");
    say(&w, "sige").await;
    assert!(arrives(&w, LOCATION).await);
    w.end();
}

async fn with_opting_out_switched_off_a_stop_is_a_reply_like_any_other(place: Place) {
    let w = messaged(place).await;
    say(&w, "STOP").await;
    assert!(!arrives(&w, LOCATION).await);
    let w = w.restart_with(&[("OPT_OUT", "false")]).await;
    assert!(arrives(&w, LOCATION).await, "whatever was replied before");
    w.pass(Duration::from_secs(120)).await;
    say(&w, "STOP").await;
    w.reply_all().await;
    assert!(arrives(&w, LOCATION).await);
    let w = w.restart_with(&[("OPT_OUT", "true")]).await;
    assert!(!arrives(&w, LOCATION).await, "the first STOP was not forgotten");
    w.end();
}

/// A STOP as a process leaves it that died between storing the reply and the suppression.
async fn left_unheard(w: &World) -> DocId {
    let accepted = ReplyAccepted {
        v: DOCUMENT_VERSION,
        at: w.now(),
        replica: "gone".into(),
        counter: 1,
        from: FROM.into(),
        phone: Phone::parse(FROM).ok(),
        to: None,
        text: Some("STOP".into()),
        attachments: Vec::new(),
        sent_at: w.now(),
        location: None,
        wish: Some(Wish::Stop),
    };
    let reply = Reply::accept(DocId::inbound(&"ab".repeat(32)), accepted, DAY);
    assert_eq!(w.app.store().insert(&reply).await.unwrap(), Inserted::New);
    reply.id
}

async fn after_a_crash_before_the_suppression_nothing_is_done_about_the_reply_before_it_is_heeded(place: Place) {
    let w = messaged(place).await;
    let id = left_unheard(&w).await;
    let w = w.restart().await;
    w.app.inbound().step().await.unwrap();
    assert!(suppression(&w, Some(LOCATION)).await.is_some_and(|held| held.stands()));
    assert!(!arrives(&w, LOCATION).await);
    w.reply_all().await;
    let reply = w.app.store().get::<Reply>(&id).await.unwrap().expect("kept").record;
    assert_eq!(reply.progress.state, ReplyState::Posted);
    w.end();
}

async fn after_a_crash_before_the_mark_hearing_it_again_changes_nothing(place: Place) {
    let w = messaged(place).await;
    let id = DocId(say(&w, "STOP").await);
    w.clock.advance(Duration::from_secs(1));
    let store = w.command_store().await;
    operator::lift_opt_outs(&store, &Phone::parse(PHONE).unwrap(), None, w.now()).await.unwrap();
    let unmarked = |r: &Reply| Some(r.with(ReplyProgress { heard_at: None, ..r.progress.clone() }));
    w.app.store().update::<Reply>(&id, unmarked).await.unwrap();
    let w = w.restart().await;
    w.reply_all().await;
    let held = suppression(&w, Some(LOCATION)).await.expect("kept");
    assert_eq!(held.lifted.map(|lifted| lifted.by), Some(LiftedBy::Operator), "the later word holds");
    assert!(arrives(&w, LOCATION).await);
    w.end();
}

async fn a_late_repeat_of_a_stop_does_not_undo_the_start_after_it(place: Place) {
    let w = messaged(place).await;
    let stop = json!({"id": "gw-1", "from": FROM, "message": "STOP"});
    assert_eq!(w.reply(stop.clone()).await.0, 202);
    w.pass(Duration::from_secs(5)).await;
    say(&w, "START").await;
    w.pass(Duration::from_secs(5)).await;
    assert_eq!(w.reply(stop).await.0, 200);
    w.reply_all().await;
    assert!(arrives(&w, LOCATION).await);
    w.end();
}

async fn an_operator_lists_opt_outs_masked_and_lifts_one(place: Place) {
    let w = messaged(place).await;
    connect(&w, OTHER, STRANGERS).await;
    assert!(arrives(&w, OTHER).await);
    say(&w, "STOP").await;
    let store = w.command_store().await;
    let phone = Phone::parse(PHONE).unwrap();
    let all = OptOutsRequest { limit: 9, ..OptOutsRequest::default() };
    let listed = operator::opt_outs(&store, &all, Reveal::Nothing).await.unwrap();
    assert_eq!((listed.opt_outs.len(), listed.more), (2, false));
    assert!(!serde_json::to_string(&listed).unwrap().contains("1234567"));
    let one = OptOutsRequest { limit: 1, ..OptOutsRequest::default() };
    let page = operator::opt_outs(&store, &one, Reveal::Content).await.unwrap();
    assert_eq!((page.opt_outs[0].phone.as_str(), page.more), (PHONE, true));
    let other = LocationId::parse(OTHER).unwrap();
    let of_other = OptOutsRequest { location: Some(other.clone()), phone: Some(phone.clone()), ..all.clone() };
    assert_eq!(operator::opt_outs(&store, &of_other, Reveal::Nothing).await.unwrap().opt_outs.len(), 1);

    w.clock.advance(Duration::from_secs(1));
    let lifted = operator::lift_opt_outs(&store, &phone, Some(&other), w.now()).await.unwrap();
    assert_eq!(lifted[0].lifted_by, Some(LiftedBy::Operator));
    assert!(arrives(&w, OTHER).await);
    assert!(!arrives(&w, LOCATION).await);
    let again = operator::lift_opt_outs(&store, &phone, Some(&other), w.now()).await.unwrap_err().to_string();
    assert_eq!(again, "+63917*****67: nothing holds messages to this number back");
    let gone = OptOutsRequest { lifted: true, ..all };
    assert_eq!(operator::opt_outs(&store, &gone, Reveal::Nothing).await.unwrap().opt_outs.len(), 1);
    w.end();
}

async fn a_stop_nobody_could_route_covers_the_location_a_person_routes_it_to(place: Place) {
    let w = World::connected(place).await;
    connect(&w, OTHER, STRANGERS).await;
    for location in [LOCATION, OTHER] {
        assert!(arrives(&w, location).await);
    }
    connect(&w, THIRD, STRANGERS).await;
    let id = say(&w, "STOP").await;
    w.reply_all().await;
    let store = w.command_store().await;
    let nowhere = LocationId::parse("LOCnowhere0000000001").unwrap();
    let refused = operator::route(&store, &id, &nowhere, w.now()).await.unwrap_err().to_string();
    assert!(refused.contains("has not connected"), "{refused}");
    assert!(arrives(&w, THIRD).await, "it had not messaged them");
    let third = LocationId::parse(THIRD).unwrap();
    operator::route(&store, &id, &third, w.now()).await.unwrap();
    w.reply_all().await;
    assert_eq!(w.ghl.inbound()[0].location_id, THIRD);
    for location in [LOCATION, OTHER, THIRD] {
        assert!(!arrives(&w, location).await, "{location}");
    }
    let refused = operator::route(&store, &id, &third, w.now()).await.unwrap_err().to_string();
    assert!(refused.contains("in the CRM already"), "{refused}");
    w.end();
}

async fn a_stop_taken_by_a_standby_holds_back_what_the_leader_sends(place: Place) {
    let w = messaged(place).await;
    let standby = w.replica().await;
    let door = w.open(&standby).await;
    let body = json!({"from": FROM, "message": "STOP"}).to_string();
    let post = w.http.post(format!("{}/api/cast/v1/inbound", door.base)).header("x-api-key", INBOUND_KEY);
    assert_eq!(post.body(body).send().await.unwrap().status(), 202);
    assert!(!arrives(&w, LOCATION).await);
    w.end();
}
