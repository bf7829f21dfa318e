//! What must be written until it lands: an outcome behind a read that lags, a note of what GHL was told.

use std::time::Duration;

use cast_ghl_provider::domain::message::{Message, Progress, State};
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::store::{Saved, Stored};

use crate::support::step::begin_step;
use crate::support::world::{Place, World};
use crate::{Cases, cases};

pub fn cases() -> Cases<Place> {
    cases![an_outcome_is_kept_until_a_read_that_lags_shows_its_attempt_again]
}

pub fn embedded_cases() -> Cases<Place> {
    cases![what_ghl_was_told_is_noted_until_that_lands_and_told_once]
}

/// After another member became primary, a majority read may show the message as it was before its attempt.
async fn an_outcome_is_kept_until_a_read_that_lags_shows_its_attempt_again(place: Place) {
    let w = World::connected(place).await;
    w.cast.fault_next(CastFault::Hang { after_taking: true });
    let answer = w.sms("behind").await;
    let step = begin_step(&w, w.app.worker()).await;
    let now = stored(&w, &w.message(&answer).await).await;
    let before = Progress { state: State::Queued, attempts: Vec::new(), ..now.record.progress.clone() };
    let lagging = put(&w, &now, before).await;
    let asleep = w.clock.sleepers();
    w.cast.release();
    until(|| w.clock.sleepers() > asleep).await;
    put(&w, &lagging, now.record.progress).await;
    w.clock.advance(Duration::from_secs(5));
    step.await.expect("the step ends").expect("the store answers");
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    assert_eq!(w.cast.taken_count(), 1);
    w.end();
}

async fn what_ghl_was_told_is_noted_until_that_lands_and_told_once(place: Place) {
    let Place::Embedded(dir) = place.clone() else { unreachable!("an embedded case") };
    let w = World::connected(place).await;
    let answer = w.sms("noted").await;
    w.send_all().await;
    w.pass(Duration::from_secs(30)).await;
    let other = rusqlite::Connection::open(dir.join("cast-ghl.sqlite3")).unwrap();
    other
        .execute_batch("CREATE TRIGGER full BEFORE UPDATE ON messages BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        .unwrap();
    let (asleep, reporter) = (w.clock.sleepers(), w.app.reporter().clone());
    let step = tokio::spawn(async move { reporter.step().await });
    until(|| w.clock.sleepers() > asleep).await;
    other.execute_batch("DROP TRIGGER full").unwrap();
    w.pass(Duration::from_secs(5)).await;
    assert_eq!(step.await.expect("the step ends").expect("the store answers"), 1);
    w.report_all().await;
    let id = answer.message_id.as_deref().expect("a message id");
    assert_eq!(w.ghl.statuses(id).len(), 1);
    let report = w.message(&answer).await.progress.report.expect("a report");
    assert_eq!((report.told, report.due_at), (Some(report.revision), None));
    w.end();
}

async fn stored(w: &World, message: &Message) -> Stored<Message> {
    w.app.store().get::<Message>(&message.id).await.unwrap().expect("a message")
}

async fn put(w: &World, from: &Stored<Message>, progress: Progress) -> Stored<Message> {
    match w.app.store().save(from, &from.record.with(progress)).await.unwrap() {
        Saved::Done(done) => done,
        Saved::Conflict => panic!("nobody else writes"),
    }
}

/// Lets the others run until it is so.
async fn until(so: impl Fn() -> bool) {
    while !so() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
