//! Status reports against a CRM that behaves as it really does: which of its answers are "not yet", which are final, how often
//! it may be called, and what an agent reads. No send waits for any of it.

use std::time::Duration;

use cast_ghl_provider::domain::message::{FailureCode, State};
use cast_ghl_provider::domain::report::{GivenUp, NOT_YET_LIMIT};
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::fake::ghl::{GhlFault, OutboundSms, RateLimit};
use serde_json::json;

use crate::support::world::{LOCATION, PHONE, Place, World};
use crate::{Cases, cases};

const MINUTE: Duration = Duration::from_secs(60);
const STATUS: &str = "/conversations/messages/";
const NOT_YET: &str = "No conversation provider found for this message";

pub fn cases() -> Cases<Place> {
    cases![
        not_yet_comes_as_403_and_formerly_as_401_and_never_refreshes_the_token,
        a_403_not_yet_is_asked_again_for_fifteen_minutes_and_then_it_is_not_ours,
        any_other_403_is_a_matter_of_scopes_and_is_not_repeated,
        a_401_is_refreshed_once_and_repeated_once_and_then_waits_for_a_token,
        what_the_crm_refuses_or_does_not_know_is_given_up_and_the_sms_stays_sent,
        a_crm_that_refuses_failed_after_delivered_is_asked_once,
        all_calls_of_a_location_together_stay_within_eighty_in_ten_seconds,
        a_redirect_is_trouble_told_again_and_never_followed,
        a_429_waits_as_its_headers_say_at_most_ten_minutes_and_each_is_counted,
        three_429_in_a_row_let_a_report_rest_a_minute_and_nothing_is_dropped,
        a_spent_day_holds_back_statuses_until_the_next_and_no_sms,
        every_failure_reads_as_a_sentence_an_agent_can_act_on,
    ]
}

async fn not_yet_comes_as_403_and_formerly_as_401_and_never_refreshes_the_token(place: Place) {
    let w = World::connected(place).await;
    for status in [403, 401] {
        w.ghl.fault_next(STATUS, GhlFault::refusal(status, NOT_YET));
        let answer = sent(&w).await;
        w.report_all().await;
        assert_eq!(w.told(&answer), Some(("delivered".into(), None)), "{status}");
    }
    assert_eq!((w.counted("reports", "not_yet"), w.ghl.refreshes(LOCATION).rotated), (2, 0));
    w.end();
}

async fn a_403_not_yet_is_asked_again_for_fifteen_minutes_and_then_it_is_not_ours(place: Place) {
    let w = World::connected(place).await;
    w.ghl.set_status_ready_after(24 * 60 * MINUTE);
    let answer = sent(&w).await;
    w.live(NOT_YET_LIMIT - MINUTE).await;
    assert_eq!(given_up(&w, &answer).await, None);
    w.live(3 * MINUTE).await;
    assert_eq!(given_up(&w, &answer).await, Some(GivenUp::NotOurs));
    let calls = status_calls(&w);
    assert!((10..40).contains(&calls), "{calls}");
    w.live(10 * MINUTE).await;
    assert_eq!((status_calls(&w), w.ghl.refreshes(LOCATION).rotated), (calls, 0));
    w.end();
}

async fn any_other_403_is_a_matter_of_scopes_and_is_not_repeated(place: Place) {
    let w = World::connected(place).await;
    w.ghl.fault_next(STATUS, GhlFault::refusal(403, "The token does not have access to this resource"));
    let answer = sent(&w).await;
    w.live(5 * MINUTE).await;
    assert_eq!((given_up(&w, &answer).await, status_calls(&w)), (Some(GivenUp::Scopes), 1));
    assert_eq!(w.ghl.refreshes(LOCATION).rotated, 0);
    w.end();
}

async fn a_401_is_refreshed_once_and_repeated_once_and_then_waits_for_a_token(place: Place) {
    let w = World::connected(place).await;
    w.ghl.fault_next(STATUS, GhlFault::refusal(401, "Invalid JWT"));
    let answer = sent(&w).await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    assert_eq!((w.ghl.refreshes(LOCATION).rotated, status_calls(&w)), (1, 2));

    w.ghl.fault_all(STATUS, Some(GhlFault::refusal(401, "Invalid JWT")));
    let answer = sent(&w).await;
    w.pass(Duration::from_secs(6)).await;
    w.app.reporter().step().await.expect("the store answers");
    assert_eq!((w.ghl.refreshes(LOCATION).rotated, status_calls(&w)), (2, 4));
    let report = w.message(&answer).await.progress.report.expect("a report");
    assert!(report.no_token && report.given_up.is_none());
    w.ghl.fault_all(STATUS, None);
    w.live(2 * MINUTE).await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn what_the_crm_refuses_or_does_not_know_is_given_up_and_the_sms_stays_sent(place: Place) {
    let w = World::connected(place).await;
    for (n, (status, end)) in
        [(404, GivenUp::Unknown), (400, GivenUp::Refused), (422, GivenUp::Refused)].into_iter().enumerate()
    {
        w.ghl.fault_next(STATUS, GhlFault::refusal(status, "No"));
        let answer = sent(&w).await;
        w.live(2 * MINUTE).await;
        assert_eq!((given_up(&w, &answer).await, status_calls(&w)), (Some(end), n + 1), "{status}");
        assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    }
    w.end();
}

async fn a_crm_that_refuses_failed_after_delivered_is_asked_once(place: Place) {
    let w = World::connected(place).await;
    let answer = sent(&w).await;
    w.report_all().await;
    let id = w.cast.taken()[0].message_id.clone();
    w.ghl.fault_next(STATUS, GhlFault::refusal(422, "The status of a delivered message cannot be changed"));
    w.receipt(json!({"message_id": id, "status": "failed"})).await;
    w.live(2 * MINUTE).await;
    assert_eq!((given_up(&w, &answer).await, status_calls(&w)), (Some(GivenUp::Refused), 2));
    let progress = w.message(&answer).await.progress;
    assert_eq!((progress.state, progress.code), (State::Accepted, Some(FailureCode::Undelivered)), "we know better");
    w.end();
}

async fn all_calls_of_a_location_together_stay_within_eighty_in_ten_seconds(place: Place) {
    const MESSAGES: usize = 150;
    let w = World::connected(place).await;
    let mut answers = Vec::new();
    for n in 0..MESSAGES {
        answers.push(w.sms_to(LOCATION, &format!("0917{n:07}"), "hello").await);
    }
    w.live(Duration::from_secs(10)).await;
    for n in 0..20 {
        let from = format!("0917{n:07}");
        assert_eq!(w.reply(json!({"from": from, "message": "Yes", "id": format!("r{n}")})).await.0, 202);
    }
    w.live(Duration::from_secs(5)).await;
    let answered = w.ghl.inbound().len();
    assert_eq!(answered, 20, "replies go before the statuses that still wait");
    assert!(w.ghl.told_count() < MESSAGES);
    w.live(MINUTE).await;
    assert_eq!(w.ghl.told_count(), MESSAGES);
    let times: Vec<i64> = w.ghl.calls().iter().filter(|c| !c.path.starts_with("/oauth")).map(|c| c.at.0).collect();
    for (i, from) in times.iter().enumerate() {
        let within = times[i..].iter().take_while(|at| **at - from < 10_000).count();
        assert!(within <= 80, "{within} calls in 10 s");
    }
    assert!(w.ghl.calls().iter().all(|call| call.status != Some(429)));
    w.end();
}

async fn a_redirect_is_trouble_told_again_and_never_followed(place: Place) {
    let w = World::connected(place).await;
    w.ghl.fault_next(STATUS, GhlFault::Redirect);
    let answer = sent(&w).await;
    w.report_all().await;
    assert_eq!((w.told(&answer), status_calls(&w)), (Some(("delivered".into(), None)), 2));
    assert_eq!((w.counted("reports", "trouble"), given_up(&w, &answer).await), (1, None));
    w.end();
}

async fn a_429_waits_as_its_headers_say_at_most_ten_minutes_and_each_is_counted(place: Place) {
    let w = World::connected(place).await;
    for (n, (retry_after, wait)) in [("90", 90), ("7200", 600)].into_iter().enumerate() {
        w.ghl.fault_next(STATUS, GhlFault::RateLimited { retry_after: Some(retry_after.into()) });
        let answer = sent(&w).await;
        w.live(Duration::from_secs(5 + wait - 2)).await;
        assert_eq!((w.told(&answer), status_calls(&w)), (None, 2 * n + 1), "{retry_after}");
        w.live(Duration::from_secs(4)).await;
        assert_eq!((w.told(&answer), status_calls(&w)), (Some(("delivered".into(), None)), 2 * n + 2), "{retry_after}");
    }
    // Without that header, the interval it names.
    let interval = Duration::from_secs(40);
    w.ghl.set_rate_limit(Some(RateLimit { max: 1, interval, ..RateLimit::default() }));
    let answer = sent(&w).await;
    w.live(Duration::from_secs(5 + 38)).await;
    assert_eq!((w.told(&answer), status_calls(&w)), (None, 5), "another was told just before");
    w.live(Duration::from_secs(4)).await;
    assert_eq!((w.told(&answer), status_calls(&w)), (Some(("delivered".into(), None)), 6));
    assert_eq!(w.counted("rate_limited", "status"), 3);
    w.end();
}

async fn three_429_in_a_row_let_a_report_rest_a_minute_and_nothing_is_dropped(place: Place) {
    let w = World::connected(place).await;
    for _ in 0..3 {
        w.ghl.fault_next(STATUS, GhlFault::RateLimited { retry_after: None });
    }
    let answer = sent(&w).await;
    w.live(Duration::from_secs(5 + 10 + 10 + 50)).await;
    assert_eq!((status_calls(&w), w.told(&answer)), (3, None), "it rests a minute in its document");
    let w = w.restart().await;
    w.live(Duration::from_secs(20)).await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn a_spent_day_holds_back_statuses_until_the_next_and_no_sms(place: Place) {
    const HOUR: Duration = Duration::from_secs(3600);
    let w = World::connected(place).await;
    w.ghl.set_rate_limit(Some(RateLimit { daily: 2, ..RateLimit::default() }));
    let mut answers = Vec::new();
    for _ in 0..4 {
        answers.push(sent(&w).await);
    }
    w.live(MINUTE).await;
    assert_eq!((w.cast.taken_count(), w.ghl.told_count()), (4, 2));
    let calls = status_calls(&w);
    w.pass(HOUR).await;
    w.live(MINUTE).await;
    assert_eq!(status_calls(&w), calls, "the day is spent: nobody is asked again");
    let late = sent(&w).await;
    assert_eq!(w.cast.taken_count(), 5, "a spent day holds back no SMS");
    w.ghl.set_rate_limit(Some(RateLimit::default()));
    let into_the_day = w.now().0.rem_euclid(24 * 3600 * 1000);
    w.pass(24 * HOUR - Duration::from_millis(u64::try_from(into_the_day).expect("positive"))).await;
    w.live(11 * MINUTE).await;
    for answer in answers.iter().chain([&late]) {
        assert_eq!(w.told(answer), Some(("delivered".into(), None)));
    }
    w.end();
}

async fn every_failure_reads_as_a_sentence_an_agent_can_act_on(place: Place) {
    let w = World::start(place, &[("LONG_MESSAGE", "reject"), ("ATTACHMENTS", "reject")]).await;
    let stranger = w.sms_to("LOCstranger", PHONE, "never installed").await;
    w.install(LOCATION).await;
    let attached = OutboundSms {
        attachments: vec!["https://files.example.com/a.pdf".to_owned()],
        ..OutboundSms::new(LOCATION, PHONE, "see this")
    };
    let mut failed: Vec<(&str, WebhookAnswer)> = vec![
        ("invalid_phone", w.sms_to(LOCATION, "(02) 8123-4567", "hi").await),
        ("invalid_phone", w.sms_to(LOCATION, "+14155550100", "hi").await),
        ("empty_message", w.sms(" ").await),
        ("too_long", w.sms(&"A long story. ".repeat(60)).await),
        ("attachment_refused", w.ghl.send_sms(&attached, &w.key).await),
    ];
    w.send_all().await;
    for (code, fault) in [
        ("cast_rejected", CastFault::SuccessFalse("Sender ID not approved for this network".into())),
        ("cast_rejected", CastFault::Status(400, "{}".into())),
        ("unknown_outcome", CastFault::StatusAfterTaking(502)),
    ] {
        w.cast.fault_next(fault);
        failed.push((code, w.sms(code).await));
        w.send_all().await;
    }
    let undelivered = sent(&w).await;
    let id = w.cast.taken().pop().and_then(|call| call.message_id);
    w.receipt(json!({"message_id": id, "status": "expired"})).await;
    failed.push(("undelivered", undelivered));
    // Longer than an installation is waited for.
    w.live(16 * MINUTE).await;
    w.cast.fault_all(Some(CastFault::KeyRefused(402)));
    failed.push(("expired", w.sms("old news").await));
    w.send_all().await;
    w.pass(25 * 60 * MINUTE).await;
    w.live(2 * MINUTE).await;
    w.install("LOCstranger").await;
    failed.push(("not_installed", stranger));
    w.live(2 * MINUTE).await;
    for (code, answer) in &failed {
        assert_eq!(w.told(answer), Some(("failed".into(), Some((*code).to_owned()))));
        let sentence = w.sentence(answer);
        let lower = sentence.to_lowercase();
        assert!(sentence.split_whitespace().count() >= 4 && sentence.chars().count() <= 200, "{code}: {sentence}");
        assert!(sentence.starts_with(|c: char| c.is_uppercase() || c == '+' || c == '('), "{code}: {sentence}");
        for never in ["ghl", "highlevel", "leadconnector", code] {
            assert!(!lower.contains(never), "{code} says {never}: {sentence}");
        }
    }
    w.end();
}

/// An SMS that Cast took.
async fn sent(w: &World) -> WebhookAnswer {
    let answer = w.sms("hello").await;
    w.send_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    answer
}

async fn given_up(w: &World, answer: &WebhookAnswer) -> Option<GivenUp> {
    w.message(answer).await.progress.report.and_then(|report| report.given_up)
}

fn status_calls(w: &World) -> usize {
    w.ghl.calls().iter().filter(|call| call.path.starts_with(STATUS) && call.path.ends_with("/status")).count()
}
