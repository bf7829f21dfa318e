//! A CRM that is away, silent, failing or breaks off: no send waits for it, and in the end it shows what became of each SMS.
//!
//! And its webhooks, cut off on their way in: whatever it saw of the answer, its next try makes one job of them.

use std::time::Duration;

use cast_ghl_provider::domain::message::{Message, State};
use cast_ghl_provider::domain::transition::{self, Rules};
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::fake::ghl::GhlFault;

use super::{sent, stored, texts, unposted};
use crate::support::blunt::{Blunt, Says};
use crate::support::proxy::{End, Proxy, Toward, Way};
use crate::support::step::begin_step;
use crate::support::world::{LOCATION, Place, World, word};
use crate::{Cases, cases};

const MINUTE: Duration = Duration::from_secs(60);
/// Where statuses are told.
const STATUS: &str = "/conversations/messages/";

pub fn cases() -> Cases<Place> {
    cases![
        whatever_it_answers_the_sms_is_sent_at_once_and_its_status_told_in_the_end,
        ten_minutes_of_500_cost_each_report_a_few_calls_and_no_send_a_second,
        while_it_refuses_connections_messages_are_sent_and_their_statuses_follow,
        a_name_that_does_not_resolve_delays_the_status_alone,
        a_crm_that_hangs_holds_up_no_send,
        a_status_cut_off_at_any_byte_is_told_again,
        an_answer_without_end_is_cut_off_and_the_status_told_later,
        a_correction_that_overtakes_a_hanging_report_is_what_the_crm_shows_at_last,
        a_webhook_cut_off_on_its_way_in_is_one_job_when_it_comes_again,
        an_answer_the_crm_never_saw_makes_its_next_try_a_duplicate,
    ]
}

async fn whatever_it_answers_the_sms_is_sent_at_once_and_its_status_told_in_the_end(place: Place) {
    let w = World::connected(place).await;
    let limited = |says: Option<&str>| GhlFault::RateLimited { retry_after: says.map(str::to_owned) };
    let faults = [
        GhlFault::refusal(500, "Internal server error"),
        GhlFault::Status(503, "<html>maintenance</html>".into()),
        GhlFault::StatusAfterApplying(502),
        GhlFault::Reset { after_applying: false },
        GhlFault::Reset { after_applying: true },
        GhlFault::Garbage,
        limited(None),
        limited(Some("7")),
        limited(Some("0")),
        limited(Some("Thu, 01 Jan 2015 00:00:00 GMT")),
        limited(Some("in a while")),
        // Longer than it may make us wait.
        limited(Some("99999999999999999999")),
        limited(Some("Fri, 01 Jan 2100 00:00:00 GMT")),
    ];
    let mut answers = Vec::new();
    for (n, fault) in faults.into_iter().enumerate() {
        let answer = w.sms_to(LOCATION, &format!("0917{n:07}"), "hello").await;
        let path = format!("{STATUS}{}", answer.message_id.as_deref().expect("a message of the fake"));
        w.ghl.fault_next(&path, fault.clone());
        w.ghl.fault_next(&path, fault);
        answers.push(answer);
    }
    w.send_all().await;
    assert_eq!(sent(&w, &answers).await, answers.len());
    // Two of them rest the location for ten minutes, twice each.
    for _ in 0..60 {
        w.pass(MINUTE).await;
        w.live(Duration::from_secs(2)).await;
    }
    assert_told(&w, &answers);
    assert_eq!(w.cast.calls().len(), answers.len());
    w.end();
}

async fn ten_minutes_of_500_cost_each_report_a_few_calls_and_no_send_a_second(place: Place) {
    const MESSAGES: usize = 40;
    let w = World::connected(place).await;
    w.ghl.fault_all(STATUS, Some(GhlFault::refusal(500, "Internal server error")));
    let answers = campaign(&w, MESSAGES).await;
    w.live(Duration::from_secs(3)).await;
    assert_eq!(sent(&w, &answers).await, MESSAGES);
    w.live(10 * MINUTE).await;
    // After 5, 10, 20 … 320 s, each up to a fifth earlier.
    let calls = status_calls(&w);
    assert!((6 * MESSAGES..=9 * MESSAGES).contains(&calls), "{calls} calls");
    w.ghl.fault_all(STATUS, None);
    w.live(11 * MINUTE).await;
    assert_told(&w, &answers);
    w.end();
}

async fn while_it_refuses_connections_messages_are_sent_and_their_statuses_follow(place: Place) {
    let w = World::connected(place).await;
    w.ghl.stop().await;
    let answers = campaign(&w, 5).await;
    w.live(10 * MINUTE).await;
    assert_eq!(sent(&w, &answers).await, 5);
    let tried = w.counted("reports", "trouble");
    assert!((6 * 5..=9 * 5).contains(&tried), "{tried} tries");
    w.ghl.restart().await.expect("its port is free");
    w.live(11 * MINUTE).await;
    assert_told(&w, &answers);
    assert_eq!(w.cast.calls().len(), 5);
    w.end();
}

async fn a_name_that_does_not_resolve_delays_the_status_alone(place: Place) {
    // A label of 64 characters is refused by every resolver before it asks the network.
    let nowhere = format!("http://{}.test", "a".repeat(64));
    let w = World::connected(place).await;
    let address = w.ghl.url();
    let w = w.restart_with(&[("GHL_API_URL", &nowhere)]).await;
    let answer = w.sms("hello").await;
    w.live(MINUTE).await;
    assert_eq!((sent(&w, std::slice::from_ref(&answer)).await, status_calls(&w)), (1, 0));
    assert!((2..=6).contains(&w.counted("reports", "trouble")), "{}", w.counted("reports", "trouble"));
    let w = w.restart_with(&[("GHL_API_URL", &address)]).await;
    w.live(2 * MINUTE).await;
    assert_told(&w, &[answer]);
    w.end();
}

async fn a_crm_that_hangs_holds_up_no_send(place: Place) {
    let w = World::connected(place).await;
    w.ghl.fault_all(STATUS, Some(GhlFault::Hang { after_applying: false }));
    let first = w.sms("reported into the void").await;
    w.send_all().await;
    w.pass(Duration::from_secs(6)).await;
    let reporter = w.app.reporter().clone();
    let step = tokio::spawn(async move { reporter.step().await });
    w.ghl.until(|_| status_calls(&w) > 0).await;
    let second = w.sms("sent meanwhile").await;
    w.send_all().await;
    assert_eq!(texts(&w), ["reported into the void", "sent meanwhile"]);
    w.ghl.fault_all(STATUS, None);
    w.ghl.stop().await;
    step.await.expect("a step ends").expect("the store answers");
    w.ghl.restart().await.expect("its port is free");
    w.live(MINUTE).await;
    assert_told(&w, &[first, second]);
    w.end();
}

async fn a_status_cut_off_at_any_byte_is_told_again(place: Place) {
    let w = World::connected(place).await;
    let proxy = Proxy::to(w.ghl.url().trim_start_matches("http://")).await;
    let w = w.restart_with(&[("GHL_API_URL", &proxy.url())]).await;
    let mut answers = Vec::new();
    for toward in [Toward::Server, Toward::Client] {
        for after in [0, 1, 200] {
            proxy.set(Way::Cut { toward, after, end: End::Reset }).await;
            let answer = w.sms(&format!("{toward:?} {after}")).await;
            w.live(Duration::from_secs(7)).await;
            proxy.set(Way::Pass).await;
            answers.push(answer);
        }
    }
    w.live(MINUTE).await;
    assert_told(&w, &answers);
    assert_eq!(w.cast.calls().len(), answers.len());
    w.end();
}

async fn an_answer_without_end_is_cut_off_and_the_status_told_later(place: Place) {
    const HALF_A_GIBIBYTE: usize = 512 * 1024 * 1024;
    let mut w = World::connected(place).await;
    let address = w.ghl.url();
    for head in ["HTTP/1.1 500 Oops\r\n\r\n", "HTTP/1.1 200 OK\r\nX-Pad: "] {
        let blunt = Blunt::start(Says::Flood { head: head.to_owned(), most: HALF_A_GIBIBYTE }).await;
        w = w.restart_with(&[("GHL_API_URL", blunt.url())]).await;
        let answer = w.sms("hello").await;
        w.live(Duration::from_secs(8)).await;
        assert_eq!((sent(&w, std::slice::from_ref(&answer)).await, blunt.asked()), (1, 1));
        assert!(blunt.written() < 32 * 1024 * 1024, "{} bytes of {head:?}", blunt.written());
        w = w.restart_with(&[("GHL_API_URL", &address)]).await;
        w.live(MINUTE).await;
        assert_told(&w, &[answer]);
    }
    w.end();
}

/// The call that hung may have landed last: the newest status is told once more after it.
async fn a_correction_that_overtakes_a_hanging_report_is_what_the_crm_shows_at_last(place: Place) {
    let w = World::connected(place).await;
    w.cast.fault_next(CastFault::Hang { after_taking: true });
    let answer = w.sms("late").await;
    let call = begin_step(&w, w.app.worker()).await;
    judge(&w, &answer).await;
    w.pass(Duration::from_secs(6)).await;
    w.ghl.fault_next(STATUS, GhlFault::Hang { after_applying: false });
    let reporter = w.app.reporter().clone();
    let hanging = tokio::spawn(async move { reporter.step().await });
    w.ghl.until(|_| status_calls(&w) > 0).await;
    w.cast.release();
    call.await.expect("a step ends").expect("the store answers");
    w.ghl.stop().await;
    hanging.await.expect("a step ends").expect("the store answers");
    w.ghl.restart().await.expect("its port is free");
    w.live(MINUTE).await;
    assert_told(&w, &[answer]);
    assert_eq!(w.cast.calls().len(), 1);
    w.end();
}

async fn a_webhook_cut_off_on_its_way_in_is_one_job_when_it_comes_again(place: Place) {
    let (w, proxy) = webhooks_through_a_proxy(place).await;
    let mut jobs = 0;
    for after in [0, 10, 300] {
        for end in [End::Reset, End::Close, End::Half] {
            let webhook = unposted(&w, &format!("{after} {end:?}"));
            proxy.set(Way::Cut { toward: Toward::Server, after, end }).await;
            let broken = w.ghl.deliver(&webhook, &w.key).await;
            assert!(!matches!(broken.status, Some(200)), "{after} {end:?}: {broken:?}");
            assert_eq!(stored(&w).await, jobs);
            proxy.set(Way::Pass).await;
            assert_eq!(word(&w.ghl.redeliver(&webhook, &w.key).await), "accepted", "{after} {end:?}");
            jobs += 1;
        }
    }
    w.send_all().await;
    assert_eq!((stored(&w).await, w.cast.taken_count()), (jobs, jobs));
    w.end();
}

async fn an_answer_the_crm_never_saw_makes_its_next_try_a_duplicate(place: Place) {
    let (w, proxy) = webhooks_through_a_proxy(place).await;
    for (n, after) in [0, 10, 100].into_iter().enumerate() {
        let webhook = unposted(&w, &format!("unseen {n}"));
        proxy.set(Way::Cut { toward: Toward::Client, after, end: End::Reset }).await;
        assert_eq!(w.ghl.deliver(&webhook, &w.key).await.status, None);
        proxy.set(Way::Pass).await;
        assert_eq!(word(&w.ghl.redeliver(&webhook, &w.key).await), "duplicate");
    }
    w.send_all().await;
    assert_eq!(texts(&w), ["unseen 0", "unseen 1", "unseen 2"]);
    w.end();
}

/// A bridge whose webhooks come through a proxy.
async fn webhooks_through_a_proxy(place: Place) -> (World, Proxy) {
    let w = World::connected(place).await;
    let proxy = Proxy::to(w.base.trim_start_matches("http://")).await;
    w.ghl.set_webhook_url(&format!("{}/api/ghl/v1/webhook/messages", proxy.url()));
    (w, proxy)
}

/// Parks a message whose call is still out, as a successor would.
async fn judge(w: &World, answer: &WebhookAnswer) {
    let id = w.message(answer).await.id;
    let judged = w.app.store().update::<Message>(&id, |m| {
        let attempt = m.progress.newest()?.id.clone();
        transition::judge(m, &attempt, m.accepted.at, &Rules::default()).ok().map(|p| m.with(p))
    });
    assert_eq!(judged.await.expect("the store answers").expect("judged").record.progress.state, State::Parked);
}

async fn campaign(w: &World, messages: usize) -> Vec<WebhookAnswer> {
    let mut answers = Vec::new();
    for n in 0..messages {
        answers.push(w.sms_to(LOCATION, &format!("0917{n:07}"), &format!("message {n}")).await);
    }
    answers
}

/// Calls to the status endpoint, however they ended.
fn status_calls(w: &World) -> usize {
    w.ghl.calls().iter().filter(|call| call.path.starts_with(STATUS)).count()
}

fn assert_told(w: &World, answers: &[WebhookAnswer]) {
    for answer in answers {
        assert_eq!(w.told(answer), Some(("delivered".into(), None)), "{answer:?}");
    }
}
