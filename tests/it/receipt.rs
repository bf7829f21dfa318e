//! Receipts as the gateway posts them: who may, what is read, how they find their message, and what the CRM shows then.

use std::time::Duration;

use cast_ghl_provider::domain::id::DocId;
use cast_ghl_provider::domain::message::State;
use cast_ghl_provider::domain::receipt::{KEPT_FOR, KeptReceipt};
use cast_ghl_provider::domain::time::UnixMillis;
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::store::{Collection, Query};
use serde_json::json;

use crate::support::step::begin_step;
use crate::support::world::{INBOUND_KEY, LOCATION, Place, RECEIPTS, World, header};
use crate::{Cases, cases};

const SECOND: Duration = Duration::from_secs(1);
/// The parts of [`long_text`].
const PARTS: usize = 3;

pub fn cases() -> Cases<Place> {
    cases![
        only_the_key_opens_the_endpoint_and_without_a_key_of_its_own_it_does_not_exist,
        a_receipt_for_an_unknown_sms_is_202_and_so_is_an_unknown_status_and_without_message_id_it_is_400,
        a_failed_receipt_corrects_delivered_and_says_why_in_the_gateways_words,
        under_status_pending_a_delivered_receipt_ends_it_and_without_one_it_stays_pending,
        a_delivered_receipt_costs_no_call_where_the_crm_shows_delivered_already,
        the_parts_of_a_split_message_combine_and_one_failed_part_is_said,
        a_receipt_that_is_faster_than_the_answer_to_its_send_waits_for_it_even_over_a_restart,
        a_receipt_is_looked_for_an_hour_and_then_forgotten,
        the_same_receipts_again_in_any_order_change_nothing,
        a_crash_between_message_and_receipt_costs_a_repeat_and_no_second_report,
        a_receipt_before_the_first_report_is_the_only_thing_told,
        a_receipt_vouches_for_an_sms_whose_answer_was_in_doubt_but_named_it,
        a_receipt_that_cannot_be_stored_is_503_and_one_nobody_waits_for_leaves_no_trace,
    ]
}

async fn only_the_key_opens_the_endpoint_and_without_a_key_of_its_own_it_does_not_exist(place: Place) {
    let w = World::start(place, &[]).await;
    let body = || json!({"message_id": "m1", "status": "delivered"}).to_string();
    let closed: [&[(&str, &str)]; 3] = [&[], &[("x-api-key", "wrong")], &[("authorization", "Bearer wrong")]];
    for headers in closed {
        assert_eq!(w.post(RECEIPTS, headers, body()).await.status(), 401, "{headers:?}");
    }
    assert_eq!(kept(&w).await.len(), 0);
    let bearer = format!("Bearer {INBOUND_KEY}");
    let open: [&[(&str, &str)]; 2] = [&[("x-api-key", INBOUND_KEY)], &[("authorization", &bearer)]];
    for headers in open {
        assert_eq!(w.post(RECEIPTS, headers, body()).await.status(), 202, "{headers:?}");
    }
    assert_eq!(w.get(RECEIPTS).await.status(), 405);
    let w = w.restart_with(&[("INBOUND_API_KEY", "")]).await;
    assert_eq!(w.post(RECEIPTS, &[("x-api-key", INBOUND_KEY)], body()).await.status(), 404);
    w.end();
}

async fn a_receipt_for_an_unknown_sms_is_202_and_so_is_an_unknown_status_and_without_message_id_it_is_400(
    place: Place,
) {
    let w = World::connected(place).await;
    for body in [
        json!({"message_id": "nobody-knows", "status": "delivered"}),
        json!({"messageId": 12345, "status": "pending", "at": "2026-05-28T20:26:40Z"}),
        json!({"message_id": "odd", "status": "enroute", "error": {"code": 7, "message": "still trying"}}),
    ] {
        let (status, answer) = w.receipt(body.clone()).await;
        assert_eq!((status, &answer["accepted"]), (202, &json!(true)), "{body}");
    }
    for body in
        [json!({"status": "delivered"}), json!({"message_id": "", "status": "x"}), json!("delivered"), json!([])]
    {
        let (status, answer) = w.receipt(body.clone()).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!("bad_request")), "{body}");
    }
    assert_eq!(kept(&w).await.len(), 3);
    // Kept with the message it turns out to be for, and nothing changes.
    let answer = sent(&w, "hello").await;
    w.report_all().await;
    let id = ids(&w)[0].clone();
    assert_eq!(w.receipt(json!({"message_id": id, "status": "enroute"})).await.0, 202);
    w.match_all().await;
    w.report_all().await;
    let receipt = w.message(&answer).await.progress.parts[0].receipt.clone().expect("kept");
    assert_eq!(receipt.status, "enroute");
    assert_eq!(shown(&w, &answer), ["delivered"]);
    w.end();
}

async fn a_failed_receipt_corrects_delivered_and_says_why_in_the_gateways_words(place: Place) {
    let w = World::connected(place).await;
    let mut answers = Vec::new();
    for status in ["failed", "expired", "rejected", "undelivered"] {
        answers.push((sent(&w, status).await, status));
    }
    w.report_all().await;
    for ((answer, status), id) in answers.iter().zip(ids(&w)) {
        assert_eq!(shown(&w, answer), ["delivered"]);
        let error = json!({"code": "EC_27", "message": "Absent\nsubscriber"});
        assert_eq!(w.receipt(json!({"message_id": id, "status": status, "error": error})).await.0, 202);
    }
    w.match_all().await;
    w.report_all().await;
    for (answer, status) in &answers {
        assert_eq!(w.told(answer), Some(("failed".into(), Some("undelivered".into()))), "{status}");
        assert_eq!(w.sentence(answer), "This SMS was not delivered: Absent subscriber");
        assert_eq!(shown(&w, answer), ["delivered", "failed"]);
        assert_eq!(w.message(answer).await.progress.state, State::Accepted, "it was sent, and is never sent again");
    }
    assert_eq!((w.cast.taken_count(), w.counted("receipts", "failed")), (4, 4));
    w.end();
}

async fn under_status_pending_a_delivered_receipt_ends_it_and_without_one_it_stays_pending(place: Place) {
    let w = World::start(place, &[("STATUS_ON_ACCEPT", "pending")]).await;
    w.install(LOCATION).await;
    let (first, second) = (sent(&w, "first").await, sent(&w, "second").await);
    w.report_all().await;
    assert_eq!((shown(&w, &first), shown(&w, &second)), (vec!["pending".to_owned()], vec!["pending".to_owned()]));
    assert_eq!(w.receipt(json!({"message_id": ids(&w)[0], "status": "delivered"})).await.0, 202);
    w.match_all().await;
    w.report_all().await;
    assert_eq!(shown(&w, &first), ["pending", "delivered"]);
    assert_eq!(shown(&w, &second), ["pending"]);
    w.end();
}

async fn a_delivered_receipt_costs_no_call_where_the_crm_shows_delivered_already(place: Place) {
    let w = World::connected(place).await;
    let answer = sent(&w, "hello").await;
    w.report_all().await;
    let calls = w.ghl.calls().len();
    w.receipt(json!({"message_id": ids(&w)[0], "status": "delivered"})).await;
    w.match_all().await;
    w.report_all().await;
    assert_eq!((shown(&w, &answer), w.ghl.calls().len()), (vec!["delivered".to_owned()], calls));
    assert_eq!(w.counted("receipts", "delivered"), 1);
    // Confirmed by the phone: what comes later is late.
    w.receipt(json!({"message_id": ids(&w)[0], "status": "failed"})).await;
    w.match_all().await;
    w.report_all().await;
    assert_eq!(shown(&w, &answer), ["delivered"]);
    w.end();
}

async fn the_parts_of_a_split_message_combine_and_one_failed_part_is_said(place: Place) {
    let w = World::start(place, &[("STATUS_ON_ACCEPT", "pending")]).await;
    w.install(LOCATION).await;
    let (whole, torn) = (sent(&w, &long_text()).await, sent(&w, &long_text()).await);
    w.report_all().await;
    let ids = ids(&w);
    assert_eq!(ids.len(), 2 * PARTS);
    for id in &ids[..PARTS - 1] {
        w.receipt(json!({"message_id": id, "status": "delivered"})).await;
    }
    w.match_all().await;
    w.report_all().await;
    assert_eq!(shown(&w, &whole), ["pending"], "one part is still out");
    w.receipt(json!({"message_id": ids[PARTS - 1], "status": "delivered"})).await;
    for (id, status) in ids[PARTS..].iter().zip(["undelivered", "delivered", "expired"]) {
        w.receipt(json!({"message_id": id, "status": status})).await;
    }
    w.match_all().await;
    w.report_all().await;
    assert_eq!(shown(&w, &whole), ["pending", "delivered"]);
    assert_eq!(w.told(&torn), Some(("failed".into(), Some("undelivered".into()))));
    assert!(w.sentence(&torn).starts_with("2 of 3 parts were not delivered"), "{}", w.sentence(&torn));
    w.end();
}

async fn a_receipt_that_is_faster_than_the_answer_to_its_send_waits_for_it_even_over_a_restart(place: Place) {
    let w = World::connected(place).await;
    w.cast.fault_next(CastFault::Hang { after_taking: true });
    let answer = w.sms("hello").await;
    let step = begin_step(&w, w.app.worker()).await;
    let id = ids(&w)[0].clone();
    assert_eq!(w.receipt(json!({"message_id": id, "status": "failed"})).await.0, 202);
    w.match_all().await;
    assert_eq!(w.counted("receipts", "failed"), 0, "nobody knows this id yet");
    w.cast.release();
    step.await.expect("a step ends").expect("the store answers");
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    let w = w.restart().await;
    w.pass(2 * SECOND).await;
    w.match_all().await;
    w.report_all().await;
    assert_eq!(shown(&w, &answer), ["failed"]);
    w.end();
}

async fn a_receipt_is_looked_for_an_hour_and_then_forgotten(place: Place) {
    let w = World::connected(place).await;
    w.receipt(json!({"message_id": "of-somebody-else", "status": "failed"})).await;
    for _ in 0..59 {
        w.match_all().await;
        w.pass(60 * SECOND).await;
    }
    assert_eq!(w.app.purger().step().await.unwrap(), 0);
    assert_eq!(kept(&w).await.len(), 1);
    w.pass(KEPT_FOR - 59 * 60 * SECOND).await;
    w.match_all().await;
    assert_eq!(w.counted("receipts", "unmatched"), 1);
    while w.app.purger().step().await.unwrap() > 0 {}
    assert_eq!(kept(&w).await.len(), 0);
    assert_eq!(
        w.app.store().tombstone(Collection::Receipts, &DocId::receipt("of-somebody-else")).await.unwrap(),
        None,
        "not even a tombstone is left"
    );
    w.end();
}

async fn the_same_receipts_again_in_any_order_change_nothing(place: Place) {
    let w = World::connected(place).await;
    let answer = sent(&w, "hello").await;
    let id = ids(&w)[0].clone();
    let all = ["failed", "pending", "delivered", "failed", "enroute", "pending"];
    for status in all.iter().chain(all.iter().rev()) {
        assert_eq!(w.receipt(json!({"message_id": id, "status": status})).await.0, 202);
        w.match_all().await;
    }
    // Several at once, before anybody looks.
    for status in ["failed", "delivered", "failed"] {
        w.receipt(json!({"message_id": id, "status": status})).await;
    }
    w.match_all().await;
    w.report_all().await;
    assert_eq!(shown(&w, &answer), ["delivered"]);
    w.end();
}

async fn a_crash_between_message_and_receipt_costs_a_repeat_and_no_second_report(place: Place) {
    let w = World::connected(place).await;
    let answer = sent(&w, "hello").await;
    w.report_all().await;
    let id = ids(&w)[0].clone();
    w.receipt(json!({"message_id": id, "status": "failed"})).await;
    let waiting = kept(&w).await.pop().expect("kept");
    w.match_all().await;
    w.report_all().await;
    // As if the process had died before it settled the receipt: it stands as it stood before.
    let store = w.app.store();
    let again = |_: &KeptReceipt| Some(waiting.clone());
    store.update::<KeptReceipt>(&waiting.id, again).await.expect("the store answers").expect("put back");
    let w = w.restart().await;
    let before = w.message(&answer).await;
    w.match_all().await;
    w.report_all().await;
    assert_eq!(w.message(&answer).await, before);
    assert_eq!(shown(&w, &answer), ["delivered", "failed"]);
    assert!(due(&w).await.is_empty(), "and it is settled now");
    w.end();
}

async fn a_receipt_before_the_first_report_is_the_only_thing_told(place: Place) {
    let w = World::connected(place).await;
    let answer = sent(&w, "hello").await;
    w.receipt(json!({"message_id": ids(&w)[0], "status": "rejected"})).await;
    w.match_all().await;
    w.report_all().await;
    assert_eq!(shown(&w, &answer), ["failed"]);
    assert!(w.sentence(&answer).contains("the network refused it"), "{}", w.sentence(&answer));
    w.end();
}

async fn a_receipt_vouches_for_an_sms_whose_answer_was_in_doubt_but_named_it(place: Place) {
    let w = World::connected(place).await;
    w.cast.fault_next(CastFault::Status(502, json!({"message_id": "behind-the-proxy"}).to_string()));
    let answer = w.sms("hello").await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Parked);
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("unknown_outcome".into()))));
    w.receipt(json!({"message_id": "behind-the-proxy", "status": "delivered"})).await;
    w.match_all().await;
    w.report_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    assert_eq!(w.cast.calls().len(), 1);
    w.end();
}

async fn a_receipt_that_cannot_be_stored_is_503_and_one_nobody_waits_for_leaves_no_trace(place: Place) {
    let w = World::start(place, &[]).await;
    w.receipt(json!({"message_id": "m1", "status": "delivered"})).await;
    w.jump(2 * KEPT_FOR).await;
    w.match_all().await;
    // A tombstone that is not forgotten yet can't take a new receipt: better asked again than lost.
    let (store, now) = (w.app.store(), w.now());
    assert_eq!(store.purge(Collection::Receipts, now, UnixMillis(0), 10).await.unwrap(), 1);
    let answer = w.post(RECEIPTS, &[("x-api-key", INBOUND_KEY)], r#"{"message_id":"m1","status":"failed"}"#).await;
    assert_eq!(answer.status(), 503);
    assert!(!header(&answer, "retry-after").is_empty());
    assert_eq!(w.app.purger().step().await.unwrap(), 1);
    assert_eq!(w.receipt(json!({"message_id": "m1", "status": "failed"})).await.0, 202);
    w.end();
}

/// An SMS that Cast took.
async fn sent(w: &World, text: &str) -> WebhookAnswer {
    let answer = w.sms(text).await;
    w.send_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    answer
}

fn long_text() -> String {
    "Magandang umaga po. ".repeat(60).trim().to_owned()
}

/// What Cast calls the SMS it took, in its order.
fn ids(w: &World) -> Vec<String> {
    w.cast.taken().into_iter().filter_map(|call| call.message_id).collect()
}

/// Every status the CRM was told of a message.
fn shown(w: &World, answer: &WebhookAnswer) -> Vec<String> {
    let id = answer.message_id.as_deref().expect("a message id");
    w.ghl.statuses(id).into_iter().map(|told| told.status).collect()
}

async fn kept(w: &World) -> Vec<KeptReceipt> {
    let all = w.app.store().find::<KeptReceipt>(Query::Page { after: None, limit: 100 }).await;
    all.expect("the store answers").into_iter().map(|stored| stored.record).collect()
}

async fn due(w: &World) -> Vec<KeptReceipt> {
    let due = w.app.store().find::<KeptReceipt>(Query::Due { now: w.now(), limit: 100 }).await;
    due.expect("the store answers").into_iter().map(|stored| stored.record).collect()
}
