//! What a person does about messages, through a store of their own beside a bridge that goes on working: list, show, retry,
//! drop. The command line's own side (arguments, output, exit codes) is in `process::messages`.

use std::time::Duration;

use cast_ghl_provider::domain::id::{DocId, GhlMessageId, LocationId};
use cast_ghl_provider::domain::message::{AttemptResult, Message, State};
use cast_ghl_provider::domain::transition::{self, Rules};
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::fake::ghl::OutboundSms;
use cast_ghl_provider::operator::{
    self, Done, List, ListRequest, MessageView, OperatorError, Reveal, Shown, list, retry, show,
};
use cast_ghl_provider::store::{Store, Unreadable, UnreadableFate, UnreadableKept};

use crate::crash::claim;
use crate::support::step::{Running, begin_step};
use crate::support::world::{COMPANY, LOCATION, PHONE, Place, World};
use crate::{Cases, cases};

pub fn cases() -> Cases<Place> {
    cases![
        a_parked_message_is_listed_and_shown_by_each_of_its_names_without_text_or_number,
        a_resend_goes_out_under_a_new_idempotency_key_and_corrects_the_report,
        a_late_accepted_cancels_a_resend_not_yet_begun,
        a_late_accepted_of_the_first_try_settles_a_resend_under_way,
        a_resend_sends_only_the_parts_cast_did_not_take,
        an_expired_message_is_sent_when_a_person_asks_and_its_age_counts_anew,
        a_message_set_aside_for_its_crashes_is_sent_when_a_person_asks,
        a_dropped_message_needs_nobody_and_is_never_sent_again,
        a_waiting_message_that_is_dropped_ends_unsent_and_its_sender_is_told,
        what_was_sent_waits_is_stripped_or_never_was_is_not_sent_again_and_says_why,
        of_two_people_who_retry_at_once_one_is_told_that_it_waits_already,
        a_webhook_an_earlier_release_could_not_read_becomes_a_message,
        a_reply_nobody_could_route_is_routed_when_a_person_asks,
        a_long_list_is_walked_in_pages_without_gaps,
    ]
}

/// Cast takes the SMS and answers 502.
async fn park(w: &World, text: &str) -> WebhookAnswer {
    w.cast.fault_next(CastFault::StatusAfterTaking(502));
    let answer = w.sms(text).await;
    w.send_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Parked);
    answer
}

async fn attention(store: &Store) -> List {
    list(store, &ListRequest { limit: 50, ..ListRequest::default() }).await.unwrap()
}

fn ids(list: &List) -> Vec<&str> {
    list.messages.iter().map(|row| row.id.as_str()).collect()
}

async fn view(store: &Store, name: &str, reveal: Reveal) -> MessageView {
    match show(store, name, reveal).await.unwrap_or_else(|e| panic!("{e}")) {
        Shown::Message(view) => *view,
        other => panic!("{other:?}"),
    }
}

fn crm_id(answer: &WebhookAnswer) -> String {
    answer.message_id.clone().expect("a message of the fake")
}

fn keys(w: &World) -> Vec<String> {
    w.cast.calls().into_iter().filter_map(|call| call.idempotency_key).collect()
}

fn refused<T: std::fmt::Debug>(result: Result<T, OperatorError>) -> String {
    result.unwrap_err().to_string()
}

async fn a_parked_message_is_listed_and_shown_by_each_of_its_names_without_text_or_number(place: Place) {
    let w = World::connected(place).await;
    let sent = w.sms("taken at once").await;
    w.send_all().await;
    let answer = park(&w, "a secret of two people").await;
    w.report_all().await;
    let store = w.command_store().await;
    let page = attention(&store).await;
    let id = w.message(&answer).await.id;
    assert_eq!(ids(&page), [id.as_str()]);
    let by_id = view(&store, id.as_str(), Reveal::Nothing).await;
    assert_eq!(view(&store, &crm_id(&answer), Reveal::Nothing).await, by_id);
    assert_eq!(by_id.attempts[0].result, AttemptResult::Unknown);
    assert!(by_id.report.as_ref().is_some_and(|report| report.told));

    let gateway_id = w.message(&sent).await.progress.parts[0].gateway_id.clone().expect("Cast gave one");
    let by_cast = view(&store, &gateway_id, Reveal::Nothing).await;
    assert_eq!(by_cast.row.id, w.message(&sent).await.id);

    for told in [serde_json::to_string(&page), serde_json::to_string(&by_id), serde_json::to_string(&by_cast)] {
        let told = told.unwrap();
        assert!(!told.contains("secret") && !told.contains("taken at once") && !told.contains("1234567"), "{told}");
    }
    let content = view(&store, id.as_str(), Reveal::Content).await.content.expect("it was asked for");
    assert_eq!((content.text.as_deref(), content.phone.as_deref()), (Some("a secret of two people"), Some(PHONE)));
    w.end();
}

async fn a_resend_goes_out_under_a_new_idempotency_key_and_corrects_the_report(place: Place) {
    let w = World::connected(place).await;
    let answer = park(&w, "once more").await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("unknown_outcome".into()))));
    let store = w.command_store().await;
    assert_eq!(retry(&store, &crm_id(&answer), w.now()).await.unwrap().done, Done::Retried);
    assert_eq!(attention(&store).await.messages, []);
    w.report_all().await;
    assert_eq!(w.ghl.statuses(&crm_id(&answer)).len(), 1, "nothing is told while it is on its way");
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    let keys = keys(&w);
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
    w.end();
}

/// The call hangs, is judged, and a person asks for a resend, all before the answer of the first call.
async fn resend_before_the_answer(w: &World) -> (WebhookAnswer, Running) {
    w.cast.fault_next(CastFault::Hang { after_taking: true });
    let answer = w.sms("late").await;
    let step = begin_step(w, w.app.worker()).await;
    let id = w.message(&answer).await.id;
    let judged = w.app.store().update::<Message>(&id, |m| {
        let attempt = m.progress.newest()?.id.clone();
        transition::judge(m, &attempt, m.accepted.at, &Rules::default()).ok().map(|p| m.with(p))
    });
    judged.await.unwrap().expect("judged, as a successor would");
    retry(&w.command_store().await, id.as_str(), w.now()).await.unwrap();
    (answer, step)
}

async fn a_late_accepted_cancels_a_resend_not_yet_begun(place: Place) {
    let w = World::connected(place).await;
    let (answer, step) = resend_before_the_answer(&w).await;
    assert_eq!(w.message(&answer).await.progress.state, State::Queued);
    w.cast.release();
    step.await.expect("the step ends").expect("the store answers");
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.cast.calls().len(), 1);
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn a_late_accepted_of_the_first_try_settles_a_resend_under_way(place: Place) {
    let w = World::connected(place).await;
    let (answer, first) = resend_before_the_answer(&w).await;
    // The bridge that waits for the first answer has this lane in hand: another one, restarted, would make the call.
    let right = w.app.leadership().right().expect("it leads");
    let id = w.message(&answer).await.id;
    let now = w.now();
    let begun = w.app.store().update::<Message>(&id, |m| {
        let Ok(transition::Claim::Go(p)) = transition::claim(m, right.epoch, now, &Rules::default()) else {
            return None;
        };
        let attempt = cast_ghl_provider::domain::id::AttemptId("second".into());
        transition::begin(&m.with(p.clone()), right.epoch, &[], attempt, now).ok().map(|p| m.with(p))
    });
    begun.await.unwrap().expect("begun");
    w.cast.release();
    first.await.expect("the step ends").expect("the store answers");
    let settled = w.message(&answer).await;
    assert_eq!(settled.progress.state, State::Accepted);
    let second = settled.progress.newest().expect("a second try").id.clone();
    let refused = transition::Recorded::Rejected { reason: "no".into() };
    let late = transition::record(&settled, &second, &refused, now, &Rules::default()).unwrap();
    assert_eq!((late.state, late.report), (State::Accepted, settled.progress.report.clone()));
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn a_resend_sends_only_the_parts_cast_did_not_take(place: Place) {
    let w = World::connected(place).await;
    w.cast.fault_next(CastFault::Pass);
    w.cast.fault_next(CastFault::Status(503, "{}".into()));
    let answer = w.sms("Magandang umaga po. ".repeat(60).trim()).await;
    w.send_all().await;
    let store = w.command_store().await;
    let shown = view(&store, &crm_id(&answer), Reveal::Nothing).await;
    assert_eq!((shown.row.state, shown.row.parts_sent, shown.row.parts_total), ("parked", 1, 3));
    retry(&store, &crm_id(&answer), w.now()).await.unwrap();
    w.send_all().await;
    w.report_all().await;
    let texts: Vec<_> = w.cast.taken().into_iter().filter_map(|call| call.message).collect();
    assert_eq!(texts.join(" "), "Magandang umaga po. ".repeat(60).trim(), "each part once, in order");
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn an_expired_message_is_sent_when_a_person_asks_and_its_age_counts_anew(place: Place) {
    let w = World::connected(place).await;
    let answer = w.sms("old").await;
    w.pass(Duration::from_secs(25 * 3600)).await;
    w.send_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Expired);
    let store = w.command_store().await;
    let expired = ListRequest { state: Some("expired".into()), limit: 5, ..ListRequest::default() };
    assert_eq!(list(&store, &expired).await.unwrap().messages.len(), 1);
    retry(&store, &crm_id(&answer), w.now()).await.unwrap();
    w.send_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    w.end();
}

async fn a_message_set_aside_for_its_crashes_is_sent_when_a_person_asks(place: Place) {
    let mut w = World::connected(place).await;
    let answer = w.sms("poison").await;
    for _ in 0..5 {
        claim(&w, &answer).await;
        w = w.restart().await;
    }
    w.send_all().await;
    let store = w.command_store().await;
    assert_eq!(attention(&store).await.messages[0].state, "dead");
    retry(&store, &crm_id(&answer), w.now()).await.unwrap();
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.cast.taken_count(), 1);
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn a_dropped_message_needs_nobody_and_is_never_sent_again(place: Place) {
    let w = World::connected(place).await;
    let answer = park(&w, "nobody needs this").await;
    let store = w.command_store().await;
    let name = crm_id(&answer);
    assert_eq!(operator::drop(&store, &name, w.now()).await.unwrap().done, Done::Dropped);
    assert_eq!(attention(&store).await.messages, []);
    let parked = ListRequest { state: Some("parked".into()), limit: 5, ..ListRequest::default() };
    let parked = list(&store, &parked).await.unwrap();
    assert!(parked.messages[0].dropped, "who asks for the state still finds it");
    assert!(refused(retry(&store, &name, w.now()).await).contains("dropped"));
    assert!(refused(operator::drop(&store, &name, w.now()).await).contains("dropped"));
    // What is known of it is still told.
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("unknown_outcome".into()))));
    w.send_all().await;
    assert_eq!(w.cast.calls().len(), 1);
    w.end();
}

async fn a_waiting_message_that_is_dropped_ends_unsent_and_its_sender_is_told(place: Place) {
    let w = World::start(place, &[]).await;
    w.ghl.add_location(LOCATION, COMPANY);
    let held = w.sms("held").await;
    w.send_all().await;
    assert_eq!(w.message(&held).await.progress.state, State::Held);
    let waiting = w.sms_to(LOCATION, "+639181234567", "waiting").await;
    let store = w.command_store().await;
    for answer in [&held, &waiting] {
        assert_eq!(operator::drop(&store, &crm_id(answer), w.now()).await.unwrap().done, Done::Stopped);
    }
    w.install(LOCATION).await;
    w.send_all().await;
    w.report_all().await;
    for answer in [&held, &waiting] {
        assert_eq!(w.told(answer), Some(("failed".into(), Some("not_sent".into()))));
        assert_eq!(w.sentence(answer), "This SMS was stopped and not sent.");
    }
    assert_eq!(w.cast.calls().len(), 0);
    assert_eq!(attention(&store).await.messages, []);
    w.end();
}

async fn what_was_sent_waits_is_stripped_or_never_was_is_not_sent_again_and_says_why(place: Place) {
    let w = World::connected(place).await;
    let sent = w.sms("sent").await;
    w.send_all().await;
    let waiting = w.sms("waiting").await;
    let store = w.command_store().await;
    assert!(refused(retry(&store, &crm_id(&sent), w.now()).await).contains("it was sent"));
    assert!(refused(operator::drop(&store, &crm_id(&sent), w.now()).await).contains("it was sent"));
    assert!(refused(retry(&store, &crm_id(&waiting), w.now()).await).contains("waits to be sent already"));
    for unknown in ["nothing", "out:L:nothing", "dead:00", "in:00", ""] {
        let why = retry(&store, unknown, w.now()).await.unwrap_err();
        assert!(matches!(&why, OperatorError::Unknown(name) if name == unknown), "{why}");
    }
    let id = w.message(&sent).await.id;
    w.report_all().await;
    w.pass(Duration::from_secs(31 * 24 * 3600)).await;
    while w.app.purger().step().await.unwrap() > 0 {}
    assert!(refused(retry(&store, id.as_str(), w.now()).await).contains("settled as accepted"));
    let Shown::Stripped(left) = show(&store, id.as_str(), Reveal::Content).await.unwrap() else { panic!("stripped") };
    assert_eq!(left.state, "accepted");
    assert!(matches!(retry(&store, &crm_id(&sent), w.now()).await, Err(OperatorError::Unknown(_))));
    w.end();
}

async fn of_two_people_who_retry_at_once_one_is_told_that_it_waits_already(place: Place) {
    let w = World::connected(place).await;
    let answer = park(&w, "two at once").await;
    let (one, other) = (w.command_store().await, w.command_store().await);
    let name = crm_id(&answer);
    let (first, second) = tokio::join!(retry(&one, &name, w.now()), retry(&other, &name, w.now()));
    let refusals = [first, second].into_iter().filter_map(Result::err).map(|e| e.to_string()).collect::<Vec<_>>();
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].contains("waits to be sent already"), "{}", refusals[0]);
    w.send_all().await;
    assert_eq!(w.message(&answer).await.progress.generation, 1);
    assert_eq!(w.cast.calls().len(), 2);
    w.end();
}

async fn a_webhook_an_earlier_release_could_not_read_becomes_a_message(place: Place) {
    let w = World::connected(place).await;
    w.ghl.post_signed(b"not JSON at all".to_vec(), &w.key).await;
    let webhook = w.ghl.build_webhook(&OutboundSms::new(LOCATION, PHONE, "readable by now"));
    w.ghl.register_message(&webhook.location_id, &webhook.message_id);
    let kept = Unreadable {
        id: DocId::dead(&cast_ghl_provider::digest::sha256_hex(&webhook.body)),
        kept: UnreadableKept { v: 1, raw: base64(&webhook.body), why: "it is not JSON".into() },
        fate: UnreadableFate { settled_at: w.now(), strip_at: None, dropped_at: None },
    };
    w.app.store().insert(&kept).await.unwrap();
    let store = w.command_store().await;
    let page = attention(&store).await;
    assert_eq!(page.messages.len(), 2);
    assert!(page.messages.iter().all(|row| row.state == "unreadable" && row.why.is_some()));

    let rubbish = page.messages.iter().find(|row| row.id != kept.id).expect("the other").id.clone();
    assert!(refused(retry(&store, rubbish.as_str(), w.now()).await).contains("can't read it either: it is not JSON"));
    let Shown::Unreadable(shown) = show(&store, rubbish.as_str(), Reveal::Content).await.unwrap() else { panic!() };
    assert_eq!((shown.bytes, shown.body.as_deref()), (15, Some("not JSON at all")));
    assert_eq!(operator::drop(&store, rubbish.as_str(), w.now()).await.unwrap().done, Done::Dropped);

    let done = retry(&store, kept.id.as_str(), w.now()).await.unwrap();
    let location = LocationId::parse(LOCATION).unwrap();
    let message = GhlMessageId::parse(&webhook.message_id).unwrap();
    assert_eq!((done.done, done.message), (Done::Enqueued, Some(DocId::outbound(&location, &message))));
    assert!(refused(retry(&store, kept.id.as_str(), w.now()).await).contains("before"));
    assert_eq!(attention(&store).await.messages, []);
    w.send_all().await;
    assert_eq!(w.cast.taken()[0].message.as_deref(), Some("readable by now"));
    let again = w.ghl.redeliver(&webhook, &w.key).await;
    assert_eq!(crate::support::world::word(&again), "duplicate");
    w.end();
}

async fn a_reply_nobody_could_route_is_routed_when_a_person_asks(place: Place) {
    let w = World::connected(place).await;
    let (status, body) = w.reply(serde_json::json!({ "from": "09171234567", "message": "Who is this?" })).await;
    assert_eq!(status, 202, "{body}");
    w.reply_all().await;
    let store = w.command_store().await;
    let page = attention(&store).await;
    assert_eq!((page.messages.len(), page.messages[0].state), (1, "unrouted"));
    let id = page.messages[0].id.clone();
    // Whom they meant is known once somebody has written to them.
    w.sms("Hello").await;
    w.send_all().await;
    assert_eq!(retry(&store, id.as_str(), w.now()).await.unwrap().done, Done::Retried);
    w.reply_all().await;
    assert_eq!(w.ghl.inbound().len(), 1);
    assert!(refused(retry(&store, id.as_str(), w.now()).await).contains("in the CRM already"));
    assert_eq!(attention(&store).await.messages, []);
    w.end();
}

async fn a_long_list_is_walked_in_pages_without_gaps(place: Place) {
    let w = World::connected(place).await;
    for n in 0..3 {
        w.ghl.post_signed(format!("no JSON {n}").into_bytes(), &w.key).await;
        w.pass(Duration::from_secs(1)).await;
        park(&w, &format!("parked {n}")).await;
        // Three in a row pause the key.
        w.pass(Duration::from_secs(6)).await;
    }
    let store = w.command_store().await;
    let all = attention(&store).await;
    assert_eq!((all.messages.len(), all.next.as_ref()), (6, None));
    let mut walked = Vec::new();
    let mut after = None;
    loop {
        let page = list(&store, &ListRequest { after, limit: 2, ..ListRequest::default() }).await.unwrap();
        walked.extend(page.messages);
        after = page.next;
        if after.is_none() {
            break;
        }
        // Dropping what one has seen moves nothing that is still to come.
        operator::drop(&store, walked.last().expect("a row").id.as_str(), w.now()).await.unwrap();
    }
    assert_eq!(walked, all.messages);
    let elsewhere = LocationId::parse("LOCother").ok();
    let none = list(&store, &ListRequest { location: elsewhere, limit: 9, ..ListRequest::default() }).await.unwrap();
    assert_eq!(none.messages, []);
    w.end();
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
