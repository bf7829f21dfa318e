//! A MongoDB that is away, silent, slow or breaks off, seen from a bridge that stays.

use std::time::Duration;

use cast_ghl_provider::clock::Clock;
use cast_ghl_provider::domain::message::State;
use cast_ghl_provider::fake::cast::CastFault;

use super::store::{assert_degraded, assert_put_off, until_taken};
use super::{put_off, stored, texts, unposted};
use crate::process::serving::{Serving, Spot};
use crate::support::proxy::{End, Proxy, Toward, Way, before_mongo};
use crate::support::step::begin_step;
use crate::support::world::{Place, World, word};
use crate::{Cases, cases};

/// Each gets a place in a MongoDB that is not to be stopped; the proxy before it is.
pub fn cases() -> Cases<Place> {
    cases![
        while_mongodb_refuses_webhooks_are_put_off_and_what_was_taken_is_sent_when_it_is_back,
        a_mongodb_that_falls_silent_puts_webhooks_off_and_takes_them_when_it_speaks_again,
        a_write_that_arrives_after_it_was_put_off_is_one_job,
        a_write_whose_acknowledgement_comes_late_is_a_duplicate_when_it_is_sent_again,
        a_write_whose_acknowledgement_is_lost_is_a_duplicate_when_it_is_sent_again,
        a_slow_mongodb_delays_and_loses_nothing,
        an_outcome_that_cannot_be_written_lands_when_mongodb_is_back_and_nothing_is_sent_twice,
    ]
}

/// The same for a real process, on the machine's clock.
pub fn process_cases() -> Cases<Spot> {
    cases![a_process_whose_mongodb_breaks_every_connection_tries_a_few_times_a_second_and_recovers]
}

/// A bridge whose MongoDB can be cut off.
async fn world(place: Place) -> (World, Proxy) {
    let (proxy, place) = before_mongo(&place).await;
    (World::connected(place).await, proxy)
}

async fn while_mongodb_refuses_webhooks_are_put_off_and_what_was_taken_is_sent_when_it_is_back(place: Place) {
    let (mut w, proxy) = world(place).await;
    let before = w.sms("before").await;
    assert_eq!(word(&before), "accepted");
    let later = unposted(&w, "during");
    proxy.set(Way::Refuse).await;
    put_off(&w, &later).await;
    assert!(w.app.worker().step().await.is_err(), "nothing is claimed");
    assert_eq!(w.get("/health").await.status(), 200);
    proxy.set(Way::Pass).await;
    assert_eq!(word(&w.ghl.deliver(&later, &w.key).await), "accepted");
    w.lead().await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(texts(&w), ["before", "during"]);
    assert_eq!(w.told(&before), Some(("delivered".into(), None)));
    w.end();
}

async fn a_mongodb_that_falls_silent_puts_webhooks_off_and_takes_them_when_it_speaks_again(place: Place) {
    one_job_through(Way::Hang, place).await;
}

async fn a_write_that_arrives_after_it_was_put_off_is_one_job(place: Place) {
    one_job_through(Way::Hold(Toward::Server), place).await;
}

/// The write may have landed late or not at all: the redelivery makes one job of it either way.
async fn one_job_through(way: Way, place: Place) {
    let (mut w, proxy) = world(place).await;
    let webhook = unposted(&w, "through the silence");
    proxy.set(way).await;
    put_off(&w, &webhook).await;
    proxy.set(Way::Pass).await;
    let again = w.ghl.deliver(&webhook, &w.key).await;
    assert_eq!(again.status, Some(200), "{}", again.body);
    w.lead().await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!((w.cast.calls().len(), stored(&w).await), (1, 1));
    assert_eq!(w.told(&again), Some(("delivered".into(), None)));
    w.end();
}

async fn a_write_whose_acknowledgement_comes_late_is_a_duplicate_when_it_is_sent_again(place: Place) {
    let (mut w, proxy) = world(place.clone()).await;
    let beside = World::start(place, &[]).await;
    let webhook = unposted(&w, "stored unseen");
    proxy.set(Way::Hold(Toward::Client)).await;
    put_off(&w, &webhook).await;
    assert_eq!(stored(&beside).await, 1, "it reached the database");
    proxy.set(Way::Pass).await;
    assert_eq!(word(&w.ghl.deliver(&webhook, &w.key).await), "duplicate");
    w.lead().await;
    w.send_all().await;
    assert_eq!(texts(&w), ["stored unseen"]);
    w.end();
}

async fn a_write_whose_acknowledgement_is_lost_is_a_duplicate_when_it_is_sent_again(place: Place) {
    let (mut w, proxy) = world(place).await;
    let webhook = unposted(&w, "stored unseen");
    proxy.set(Way::Cut { toward: Toward::Client, after: 0, end: End::Reset }).await;
    put_off(&w, &webhook).await;
    proxy.set(Way::Pass).await;
    assert_eq!(word(&w.ghl.deliver(&webhook, &w.key).await), "duplicate");
    w.lead().await;
    w.send_all().await;
    assert_eq!(texts(&w), ["stored unseen"]);
    w.end();
}

async fn a_slow_mongodb_delays_and_loses_nothing(place: Place) {
    let (w, proxy) = world(place).await;
    proxy.set(Way::Slow(Toward::Client, Duration::from_millis(40))).await;
    let mut answers = Vec::new();
    for n in 0..3 {
        answers.push(w.sms(&format!("message {n}")).await);
    }
    w.send_all().await;
    w.report_all().await;
    assert_eq!(texts(&w), ["message 0", "message 1", "message 2"]);
    for answer in &answers {
        assert_eq!(w.told(answer), Some(("delivered".into(), None)));
    }
    w.end();
}

async fn an_outcome_that_cannot_be_written_lands_when_mongodb_is_back_and_nothing_is_sent_twice(place: Place) {
    let (mut w, proxy) = world(place).await;
    w.cast.fault_next(CastFault::Hang { after_taking: true });
    let answer = w.sms("in the air").await;
    let mut step = begin_step(&w, w.app.worker()).await;
    proxy.set(Way::Refuse).await;
    w.cast.release();
    put_off(&w, &unposted(&w, "meanwhile")).await;
    assert!(!step.is_finished(), "it is written until it lands");
    proxy.set(Way::Pass).await;
    let clock = w.clock.clone();
    let passing = async {
        loop {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        ended = &mut step => ended.expect("a step ends").expect("the store answers"),
        () = passing => unreachable!("time passes for ever"),
    };
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    w.lead().await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    assert_eq!(texts(&w)[0], "in the air");
    assert!(texts(&w)[1..].iter().all(|text| text == "meanwhile"), "{:?}", texts(&w));
    w.end();
}

async fn a_process_whose_mongodb_breaks_every_connection_tries_a_few_times_a_second_and_recovers(spot: Spot) {
    let (proxy, store) = before_mongo(&spot.store).await;
    let mut serving = Serving::connected(&Spot { store, ..spot }, &[]).await;
    let webhook = serving.webhook("through the trouble");
    let began = (Clock::System.mono(), proxy.taken());
    proxy.set(Way::Cut { toward: Toward::Server, after: 0, end: End::Reset }).await;
    for _ in 0..3 {
        assert_put_off(&serving, &webhook).await;
    }
    assert_degraded(&serving).await;
    let (seconds, tries) = (Clock::System.mono().since(began.0).as_secs_f64(), proxy.taken() - began.1);
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let bound = tries as f64 <= 64.0 + 20.0 * seconds;
    assert!(tries > 0 && bound, "{tries} connections in {seconds} s");
    proxy.set(Way::Pass).await;
    until_taken(&serving, &webhook).await;
    assert_eq!(serving.taken(1).await, ["through the trouble"]);
    serving.process.kill();
    serving.end();
}
