//! The end of a process with a call in flight (bridge §6), on the test's clock: it is waited for 35 s, then left in doubt for
//! the successor, who judges it at once.

use std::time::Duration;

use cast_ghl_provider::domain::message::State;
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::queue::Step;
use futures_util::poll;
use tokio::task::JoinHandle;

use crate::support::world::{Place, World};
use crate::{Cases, cases};

/// What a call in flight is given: more than Cast's own 30 s.
const GIVEN: Duration = Duration::from_secs(35);

pub fn cases() -> Cases<Place> {
    cases![
        a_call_that_ends_during_the_shutdown_is_recorded_and_nothing_new_is_begun,
        a_call_that_outlives_the_shutdown_is_left_in_doubt_and_never_repeated,
    ]
}

/// Cases with two replicas: MongoDB alone.
pub fn replica_cases() -> Cases<Place> {
    cases![a_successor_judges_what_was_left_in_doubt_at_once]
}

async fn a_call_that_ends_during_the_shutdown_is_recorded_and_nothing_new_is_begun(place: Place) {
    let w = World::connected(place).await;
    let (first, running) = calling(&w).await;
    w.app.stop().begin();
    running.await.expect("the loop ends");
    let waiting = w.sms_to(crate::support::world::LOCATION, "+639181234567", "during the drain").await;
    let worker = w.app.worker().clone();
    let drain = worker.drain(GIVEN);
    tokio::pin!(drain);
    assert!(poll!(&mut drain).is_pending());
    w.clock.advance(GIVEN - Duration::from_secs(1));
    assert!(poll!(&mut drain).is_pending());
    w.cast.release();
    drain.await;
    assert_eq!(w.message(&first).await.progress.state, State::Accepted);
    assert_eq!(w.message(&waiting).await.progress.state, State::Queued);
    let w = w.restart().await;
    w.send_all().await;
    let texts: Vec<_> = w.cast.taken().into_iter().filter_map(|call| call.message).collect();
    assert_eq!(texts, ["in flight", "during the drain"]);
    w.end();
}

async fn a_call_that_outlives_the_shutdown_is_left_in_doubt_and_never_repeated(place: Place) {
    let w = World::connected(place).await;
    let answer = left_in_doubt(&w).await;
    let w = w.restart().await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Parked);
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("unknown_outcome".into()))));
    assert_eq!(w.cast.calls().len(), 1);
    w.end();
}

async fn a_successor_judges_what_was_left_in_doubt_at_once(place: Place) {
    let w = World::connected(place).await;
    let standby = w.replica().await;
    standby.leadership().step().await.unwrap();
    let answer = left_in_doubt(&w).await;
    w.app.leadership().release().await;
    standby.leadership().step().await.unwrap();
    assert!(standby.leadership().right().is_some(), "nobody holds it");
    // Its maker said that it gave up: no 45 s are waited out, the clock stands still.
    assert!(!matches!(standby.worker().step().await.unwrap(), Step::NotLeader));
    assert_eq!(w.message(&answer).await.progress.state, State::Parked);
    assert_eq!(w.cast.calls().len(), 1);
    w.end();
}

/// The running worker, its call to Cast in flight.
async fn calling(w: &World) -> (WebhookAnswer, JoinHandle<()>) {
    w.cast.fault_next(CastFault::Hang { after_taking: true });
    let answer = w.sms("in flight").await;
    let worker = w.app.worker().clone();
    let running = tokio::spawn(async move { worker.run().await });
    // The bucket starts empty, and the loop looks twice a second: time has to pass, and to be seen passing.
    while w.cast.taken_count() == 0 {
        w.pass(Duration::from_millis(100)).await;
        tokio::task::yield_now().await;
    }
    (answer, running)
}

/// Stops with a call in flight that does not end.
async fn left_in_doubt(w: &World) -> WebhookAnswer {
    let (answer, running) = calling(w).await;
    w.app.stop().begin();
    running.await.expect("the loop ends");
    let worker = w.app.worker().clone();
    let drain = worker.drain(GIVEN);
    tokio::pin!(drain);
    assert!(poll!(&mut drain).is_pending());
    assert_eq!(w.message(&answer).await.progress.state, State::Sending);
    w.clock.advance(GIVEN);
    drain.await;
    assert_eq!(w.message(&answer).await.progress.state, State::InDoubt);
    answer
}
