//! Outbound, end to end: a signed webhook becomes an SMS and a status, through the real router, store, clients and fakes.

use std::time::Duration;

use cast_ghl_provider::domain::message::{FailureCode, Message, State};
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::fake::ghl::OutboundSms;
use cast_ghl_provider::queue::Step;

use crate::support::world::{LOCATION, PHONE, Place, World, word};
use crate::{Cases, cases};

pub fn cases() -> Cases<Place> {
    cases![
        a_report_the_crm_has_not_heard_outlives_the_retention_of_its_message,
        a_signed_webhook_becomes_one_sms_and_is_reported_delivered,
        a_long_text_goes_out_in_parts_each_within_the_limits_of_cast,
        a_landline_a_foreign_number_and_junk_end_failed_with_a_sentence,
        an_empty_message_ends_failed_and_attachments_become_links,
        what_cast_refuses_is_reported_in_its_own_words,
        an_answer_that_says_nothing_parks_the_message_and_says_that_it_may_have_arrived,
        a_429_delays_the_same_message_and_sends_it_once,
        a_refused_key_pauses_sending_and_loses_nothing,
        a_gateway_out_of_reach_delays_and_never_doubles,
        messages_of_a_lane_go_out_in_order_while_others_pass,
        the_status_waits_out_the_window_in_which_the_crm_knows_no_provider,
        a_message_before_the_installation_is_held_and_sent_when_the_token_comes,
        a_message_without_an_installation_fails_after_the_wait_and_is_reported_when_a_token_comes,
        an_expired_message_is_not_sent,
        a_settled_message_is_stripped_after_its_retention_and_still_answers_a_redelivery,
    ]
}

async fn a_signed_webhook_becomes_one_sms_and_is_reported_delivered(place: Place) {
    let w = World::connected(place).await;
    let answer = w.sms("Hello from the CRM").await;
    assert_eq!((answer.status, word(&answer).as_str()), (Some(200), "accepted"));
    w.send_all().await;
    w.report_all().await;
    let taken = w.cast.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(texts(&w), ["Hello from the CRM"]);
    assert_eq!(taken[0].to.as_deref(), Some("09171234567"));
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn a_long_text_goes_out_in_parts_each_within_the_limits_of_cast(place: Place) {
    let w = World::connected(place).await;
    let text = "Magandang umaga po. ".repeat(60);
    let answer = w.sms(text.trim()).await;
    w.send_all().await;
    w.report_all().await;
    let taken = w.cast.taken();
    assert_eq!(taken.len(), 3);
    assert_eq!(texts(&w).join(" "), text.trim());
    let keys: std::collections::HashSet<_> = taken.iter().map(|c| c.idempotency_key.clone()).collect();
    assert_eq!(keys.len(), 3, "each part has a key of its own");
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn a_landline_a_foreign_number_and_junk_end_failed_with_a_sentence(place: Place) {
    let w = World::connected(place).await;
    let mut answers = vec![];
    for phone in ["(02) 8123-4567", "+14155550100", "call me"] {
        answers.push(w.sms_to(LOCATION, phone, "hi").await);
    }
    let nobody = OutboundSms { phone: None, ..OutboundSms::new(LOCATION, "", "hi") };
    answers.push(w.ghl.send_sms(&nobody, &w.key).await);
    w.send_all().await;
    w.report_all().await;
    for answer in &answers {
        assert_eq!(answer.status, Some(200));
        assert_eq!(w.told(answer), Some(("failed".into(), Some("invalid_phone".into()))));
    }
    assert!(w.sentence(&answers[1]).contains("+14155550100 is not a Philippine mobile number"));
    assert_eq!(w.cast.calls().len(), 0);
    w.end();
}

async fn an_empty_message_ends_failed_and_attachments_become_links(place: Place) {
    let w = World::connected(place).await;
    let empty = w.sms("  ").await;
    let link = "https://files.example.com/a.pdf".to_owned();
    let sms = OutboundSms { text: None, attachments: vec![link.clone()], ..OutboundSms::new(LOCATION, PHONE, "") };
    let attached = w.ghl.send_sms(&sms, &w.key).await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.told(&empty), Some(("failed".into(), Some("empty_message".into()))));
    assert_eq!(w.told(&attached), Some(("delivered".into(), None)));
    assert_eq!(texts(&w), [link]);
    w.end();
}

async fn what_cast_refuses_is_reported_in_its_own_words(place: Place) {
    let w = World::connected(place).await;
    w.cast.fault_next(CastFault::SuccessFalse("Sender ID not approved".into()));
    let first = w.sms("one").await;
    w.send_all().await;
    w.cast.fault_next(CastFault::Status(400, r#"{"success":false,"error":"Invalid content"}"#.into()));
    let second = w.sms("two").await;
    w.send_all().await;
    w.report_all().await;
    for (answer, words) in [(&first, "Sender ID not approved"), (&second, "Invalid content")] {
        assert_eq!(w.told(answer), Some(("failed".into(), Some("cast_rejected".into()))));
        assert!(w.sentence(answer).contains(words), "{}", w.sentence(answer));
    }
    w.end();
}

async fn an_answer_that_says_nothing_parks_the_message_and_says_that_it_may_have_arrived(place: Place) {
    let w = World::connected(place).await;
    let faults =
        [CastFault::Garbage, CastFault::StatusAfterTaking(502), CastFault::ResetAfterTaking, CastFault::Redirect];
    let mut answers = vec![];
    for (n, fault) in faults.into_iter().enumerate() {
        w.cast.fault_next(fault);
        answers.push(w.sms(&format!("message {n}")).await);
        w.send_all().await;
        // The pause of a sick key: three in a row.
        w.pass(Duration::from_secs(6)).await;
        w.send_all().await;
    }
    w.report_all().await;
    for answer in &answers {
        assert_eq!(w.message(answer).await.progress.state, State::Parked);
        assert_eq!(w.told(answer), Some(("failed".into(), Some("unknown_outcome".into()))));
        assert_eq!(
            w.sentence(answer),
            "Cast did not confirm this SMS; it may have arrived. Check before sending again."
        );
    }
    assert_eq!(w.cast.calls().len(), 4, "none was tried twice");
    w.end();
}

async fn a_429_delays_the_same_message_and_sends_it_once(place: Place) {
    let w = World::connected(place).await;
    w.cast.fault_next(CastFault::RateLimited { retry_after: Some("7".into()) });
    let first = w.sms("first").await;
    let _second = w.sms_to(LOCATION, "+639181234567", "second").await;
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 0, "the whole key waits");
    assert_eq!(w.message(&first).await.progress.crashes, 0);
    w.pass(Duration::from_secs(7)).await;
    w.send_all().await;
    assert_eq!(texts(&w), ["first", "second"], "the same message goes first");
    w.end();
}

async fn a_refused_key_pauses_sending_and_loses_nothing(place: Place) {
    let w = World::connected(place).await;
    w.cast.fault_all(Some(CastFault::KeyRefused(401)));
    let answer = w.sms("waits").await;
    w.send_all().await;
    w.pass(Duration::from_secs(30)).await;
    w.send_all().await;
    assert_eq!(w.cast.calls().len(), 1, "one probe a minute");
    w.cast.fault_all(None);
    w.pass(Duration::from_secs(31)).await;
    w.send_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    assert_eq!(w.cast.taken_count(), 1);
    w.end();
}

async fn a_gateway_out_of_reach_delays_and_never_doubles(place: Place) {
    let w = World::connected(place).await;
    w.cast.stop().await;
    let answer = w.sms("later").await;
    w.send_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Queued);
    w.cast.restart().await.expect("the port is free");
    w.pass(Duration::from_secs(30)).await;
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 1);
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    w.end();
}

async fn messages_of_a_lane_go_out_in_order_while_others_pass(place: Place) {
    let w = World::connected(place).await;
    for n in 0..5 {
        w.sms(&format!("lane {n}")).await;
        w.sms_to(LOCATION, "0918 123 4567", &format!("other {n}")).await;
    }
    w.send_all().await;
    let of = |to: &str| -> Vec<String> {
        w.cast.taken().into_iter().filter(|c| c.to.as_deref() == Some(to)).filter_map(|c| c.message).collect()
    };
    assert_eq!(of("09171234567"), ["lane 0", "lane 1", "lane 2", "lane 3", "lane 4"]);
    assert_eq!(of("09181234567"), ["other 0", "other 1", "other 2", "other 3", "other 4"]);
    w.end();
}

async fn the_status_waits_out_the_window_in_which_the_crm_knows_no_provider(place: Place) {
    let w = World::connected(place).await;
    w.ghl.set_status_ready_after(Duration::from_secs(20));
    let answer = w.sms("early").await;
    w.send_all().await;
    assert_eq!(w.app.reporter().step().await.unwrap(), 0, "not before STATUS_DELAY");
    w.pass(Duration::from_secs(5)).await;
    w.app.reporter().step().await.unwrap();
    assert_eq!(w.told(&answer), None, "refused with 403 not yet");
    w.report_all().await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    let refreshed = w.ghl.refreshes(LOCATION);
    assert_eq!(refreshed.rotated, 0, "a 403 not yet is no reason to refresh");
    w.end();
}

async fn a_message_before_the_installation_is_held_and_sent_when_the_token_comes(place: Place) {
    let w = World::start(place, &[]).await;
    let answer = w.sms("too early").await;
    assert_eq!(word(&answer), "accepted");
    w.send_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Held);
    assert_eq!(w.cast.calls().len(), 0);
    w.install(LOCATION).await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.cast.taken_count(), 1);
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn a_message_without_an_installation_fails_after_the_wait_and_is_reported_when_a_token_comes(place: Place) {
    let w = World::start(place, &[]).await;
    let answer = w.sms("never").await;
    w.send_all().await;
    w.pass(Duration::from_secs(15 * 60)).await;
    w.send_all().await;
    let message = w.message(&answer).await;
    assert_eq!((message.progress.state, message.progress.code), (State::Rejected, Some(FailureCode::NotInstalled)));
    w.report_all().await;
    assert_eq!(w.told(&answer), None, "there is no token to report with");
    w.install(LOCATION).await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("not_installed".into()))));
    assert_eq!(w.cast.calls().len(), 0);
    w.end();
}

async fn an_expired_message_is_not_sent(place: Place) {
    let w = World::connected(place).await;
    w.cast.fault_all(Some(CastFault::KeyRefused(402)));
    let answer = w.sms("old news").await;
    w.send_all().await;
    w.pass(Duration::from_secs(24 * 3600)).await;
    w.cast.fault_all(None);
    assert!(matches!(w.app.worker().step().await.unwrap(), Step::Worked(_)));
    w.report_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Expired);
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("expired".into()))));
    assert_eq!(w.cast.taken_count(), 0);
    w.end();
}

async fn a_settled_message_is_stripped_after_its_retention_and_still_answers_a_redelivery(place: Place) {
    let w = World::connected(place).await;
    let webhook = w.ghl.build_webhook(&OutboundSms::new(LOCATION, PHONE, "once for a long time"));
    let answer = w.ghl.deliver(&webhook, &w.key).await;
    let unreadable = w.ghl.post_signed(b"not json".to_vec(), &w.key).await;
    assert_eq!(word(&unreadable), "dead_letter");
    w.send_all().await;
    w.report_all().await;
    let id = w.message(&answer).await.id;
    assert_eq!(w.app.purger().step().await.unwrap(), 0, "nothing is old yet");
    w.pass(Duration::from_secs(31 * 24 * 3600)).await;
    assert_eq!(w.app.purger().step().await.unwrap(), 2);
    assert!(w.app.store().get::<Message>(&id).await.unwrap().is_none(), "a tombstone reads as absent");
    assert_eq!(word(&w.ghl.redeliver(&webhook, &w.key).await), "duplicate");
    w.pass(Duration::from_secs(370 * 24 * 3600)).await;
    assert_eq!(w.app.purger().step().await.unwrap(), 2);
    assert_eq!(word(&w.ghl.redeliver(&webhook, &w.key).await), "accepted", "forgotten after REPLAY_MEMORY");
    w.end();
}

async fn a_report_the_crm_has_not_heard_outlives_the_retention_of_its_message(place: Place) {
    let w = World::start(place, &[("RETENTION", "1h"), ("MESSAGE_MAX_AGE", "1h")]).await;
    w.install(LOCATION).await;
    let answer = w.sms_to(LOCATION, "+14155550100", "to nobody").await;
    w.send_all().await;
    w.jump(Duration::from_secs(2 * 3600)).await;
    w.app.purger().step().await.expect("the store answers");
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("invalid_phone".into()))));
    let id = w.message(&answer).await.id;
    w.app.purger().step().await.expect("the store answers");
    assert!(w.app.store().get::<Message>(&id).await.expect("the store answers").is_none(), "told, it is stripped");
    w.end();
}

/// What Cast took, in its order.
fn texts(w: &World) -> Vec<String> {
    w.cast.taken().into_iter().filter_map(|c| c.message).collect()
}
