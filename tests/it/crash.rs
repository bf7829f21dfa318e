//! What a crash leaves behind: each row of the crash table, through the real stores. To die is to drop everything and build
//! anew on the same store; to freeze is to not be stepped while another replica is.

mod landing;

use std::time::Duration;

use cast_ghl_provider::domain::leadership::JUDGE_AFTER;
use cast_ghl_provider::domain::message::{Message, State};
use cast_ghl_provider::domain::transition::{self, Claim, Rules};
use cast_ghl_provider::fake::WebhookAnswer;
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::queue::Step;
use cast_ghl_provider::store::Saved;

use crate::support::step::{begin_step, drain, lead, pass, report, silence};
use crate::support::world::{LOCATION, Place, World, word};
use crate::{Cases, cases};

pub fn cases() -> Cases<Place> {
    let mut all: Cases<Place> = cases![
        after_the_insert_a_redelivery_is_a_duplicate_and_one_sms_goes_out,
        after_the_claim_it_is_claimed_again_and_sent_once,
        during_the_call_the_message_is_parked_and_never_sent_again,
        during_the_call_under_resend_it_is_sent_again_with_the_same_idempotency_key,
        after_the_outcome_only_the_report_repeats,
        a_message_that_crashes_the_process_five_times_is_set_aside,
        an_unacknowledged_outcome_is_written_until_it_lands,
    ];
    all.extend(landing::cases());
    all
}

/// Cases that look into the embedded store's file.
pub fn embedded_cases() -> Cases<Place> {
    landing::embedded_cases()
}

/// Cases with two replicas: MongoDB alone.
pub fn replica_cases() -> Cases<Place> {
    cases![
        a_standby_takes_over_after_fifteen_silent_seconds_and_sends_what_waits,
        an_old_leader_who_wakes_up_with_a_late_accepted_corrects_the_parked_message,
        an_old_leader_who_wakes_up_with_a_claim_makes_no_call,
        a_clean_stop_hands_over_at_once,
        a_call_in_flight_of_a_lapsed_leader_is_not_judged_before_forty_five_seconds,
    ]
}

async fn after_the_insert_a_redelivery_is_a_duplicate_and_one_sms_goes_out(place: Place) {
    let w = World::connected(place).await;
    let sms = cast_ghl_provider::fake::ghl::OutboundSms::new(LOCATION, "0917 123 4567", "once");
    let webhook = w.ghl.build_webhook(&sms);
    w.ghl.deliver(&webhook, &w.key).await;
    let w = w.restart().await;
    let again = w.ghl.redeliver(&webhook, &w.key).await;
    assert_eq!((again.status, word(&again).as_str()), (Some(200), "duplicate"));
    w.send_all().await;
    assert_eq!(w.cast.taken_count(), 1);
    w.end();
}

async fn after_the_claim_it_is_claimed_again_and_sent_once(place: Place) {
    let w = World::connected(place).await;
    let answer = w.sms("claimed").await;
    claim(&w, &answer).await;
    let w = w.restart().await;
    w.send_all().await;
    let message = w.message(&answer).await;
    assert_eq!((message.progress.state, message.progress.crashes), (State::Accepted, 0));
    assert_eq!(w.cast.taken_count(), 1);
    w.end();
}

async fn during_the_call_the_message_is_parked_and_never_sent_again(place: Place) {
    let w = World::connected(place).await;
    let answer = die_during_the_call(&w, "in the air").await;
    assert_eq!(w.message(&answer).await.progress.state, State::Sending);
    let at_once = matches!(w.place(), Place::Embedded(_));
    let w = w.restart().await;
    w.send_all().await;
    // The kernel's lock proves that its maker is gone; other replicas may still hear from theirs.
    let state = w.message(&answer).await.progress.state;
    assert_eq!(state, if at_once { State::Parked } else { State::Sending });
    w.pass(JUDGE_AFTER).await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Parked);
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("unknown_outcome".into()))));
    assert_eq!(w.cast.calls().len(), 1);
    w.end();
}

async fn during_the_call_under_resend_it_is_sent_again_with_the_same_idempotency_key(place: Place) {
    let w = World::connected(place).await;
    let answer = die_during_the_call(&w, "twice at most").await;
    let w = w.restart_with(&[("UNKNOWN_SEND", "resend")]).await;
    w.send_all().await;
    w.pass(JUDGE_AFTER).await;
    w.send_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    let keys: Vec<_> = w.cast.calls().into_iter().map(|c| c.idempotency_key).collect();
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1], "an automatic try keeps the part's key");
    w.end();
}

async fn after_the_outcome_only_the_report_repeats(place: Place) {
    let w = World::connected(place).await;
    let answer = w.sms("recorded").await;
    w.send_all().await;
    let w = w.restart().await;
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.cast.calls().len(), 1);
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn a_message_that_crashes_the_process_five_times_is_set_aside(place: Place) {
    let mut w = World::connected(place).await;
    let answer = w.sms("poison").await;
    for _ in 0..5 {
        claim(&w, &answer).await;
        w = w.restart().await;
    }
    w.send_all().await;
    w.report_all().await;
    assert_eq!(w.message(&answer).await.progress.state, State::Dead);
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("internal_error".into()))));
    assert_eq!(w.cast.calls().len(), 0);
    w.end();
}

/// Two writers race on one document: the outcome is matched by attempt id, whatever else moved meanwhile.
async fn an_unacknowledged_outcome_is_written_until_it_lands(place: Place) {
    let w = World::connected(place).await;
    w.cast.fault_next(CastFault::Hang { after_taking: true });
    let answer = w.sms("racing").await;
    let worker = w.app.worker().clone();
    let step = begin_step(&w, &worker).await;
    // Somebody else judges it while the call is out, as a successor would.
    let id = w.message(&answer).await.id;
    let judged = w.app.store().update::<Message>(&id, |m| {
        let attempt = m.progress.newest()?.id.clone();
        transition::judge(m, &attempt, m.accepted.at, &Rules::default()).ok().map(|p| m.with(p))
    });
    assert_eq!(judged.await.unwrap().expect("judged").record.progress.state, State::Parked);
    w.cast.release();
    step.await.expect("the step ends").expect("the store answers");
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    w.report_all().await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    w.end();
}

async fn a_standby_takes_over_after_fifteen_silent_seconds_and_sends_what_waits(place: Place) {
    let w = World::connected(place).await;
    let standby = w.replica().await;
    let answer = w.sms("who sends this").await;
    for second in 0..15 {
        standby.leadership().step().await.unwrap();
        assert_eq!(standby.worker().step().await.unwrap(), Step::NotLeader, "second {second}");
        w.clock.advance(Duration::from_secs(1));
    }
    assert!(w.app.leadership().right().is_none(), "the silent leader's right has lapsed");
    lead(&w, &standby).await;
    drain(&w, &standby).await;
    assert_eq!(w.cast.taken_count(), 1);
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    w.app.leadership().step().await.unwrap();
    assert!(w.app.leadership().right().is_none(), "the old leader finds its term over");
    w.end();
}

async fn an_old_leader_who_wakes_up_with_a_late_accepted_corrects_the_parked_message(place: Place) {
    let w = World::connected(place).await;
    let standby = w.replica().await;
    w.cast.fault_next(CastFault::Hang { after_taking: true });
    let answer = w.sms("late").await;
    let frozen = w.app.worker().clone();
    let step = begin_step(&w, &frozen).await;
    silence(&w, &standby).await;
    drain(&w, &standby).await;
    pass(&w, &standby, JUDGE_AFTER).await;
    drain(&w, &standby).await;
    assert_eq!(w.message(&answer).await.progress.state, State::Parked);
    report(&w, &standby).await;
    assert_eq!(w.told(&answer), Some(("failed".into(), Some("unknown_outcome".into()))));
    w.cast.release();
    step.await.expect("the step ends").expect("the store answers");
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    report(&w, &standby).await;
    assert_eq!(w.told(&answer), Some(("delivered".into(), None)));
    assert_eq!(w.cast.calls().len(), 1);
    w.end();
}

async fn an_old_leader_who_wakes_up_with_a_claim_makes_no_call(place: Place) {
    let w = World::connected(place).await;
    let standby = w.replica().await;
    let answer = w.sms("claimed and frozen").await;
    claim(&w, &answer).await;
    silence(&w, &standby).await;
    // The old leader wakes: its right has lapsed, it does nothing.
    assert_eq!(w.app.worker().step().await.unwrap(), Step::NotLeader);
    drain(&w, &standby).await;
    assert_eq!(w.cast.calls().len(), 1);
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    w.end();
}

async fn a_clean_stop_hands_over_at_once(place: Place) {
    let w = World::connected(place).await;
    let standby = w.replica().await;
    standby.leadership().step().await.unwrap();
    assert!(standby.leadership().right().is_none());
    w.app.leadership().release().await;
    standby.leadership().step().await.unwrap();
    assert!(standby.leadership().right().is_some());
    w.end();
}

async fn a_call_in_flight_of_a_lapsed_leader_is_not_judged_before_forty_five_seconds(place: Place) {
    let w = World::connected(place).await;
    let standby = w.replica().await;
    w.cast.fault_next(CastFault::Hang { after_taking: true });
    let answer = w.sms("slow").await;
    let frozen = w.app.worker().clone();
    let step = begin_step(&w, &frozen).await;
    silence(&w, &standby).await;
    drain(&w, &standby).await;
    pass(&w, &standby, JUDGE_AFTER - Duration::from_secs(3)).await;
    drain(&w, &standby).await;
    assert_eq!(w.message(&answer).await.progress.state, State::Sending, "its maker may still answer");
    w.cast.release();
    step.await.expect("the step ends").expect("the store answers");
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    w.end();
}

/// Claims as the leader does, and dies before anything else.
pub async fn claim(w: &World, answer: &WebhookAnswer) {
    let id = w.message(answer).await.id;
    let right = w.app.leadership().right().expect("it leads");
    let stored = w.app.store().get::<Message>(&id).await.unwrap().expect("a message");
    let now = stored.record.accepted.at;
    let Ok(Claim::Go(p)) = transition::claim(&stored.record, right.epoch, now, &Rules::default()) else {
        panic!("claimable")
    };
    let saved = w.app.store().save(&stored, &stored.record.with(p)).await.unwrap();
    assert!(matches!(saved, Saved::Done(_)));
}

async fn die_during_the_call(w: &World, text: &str) -> WebhookAnswer {
    w.cast.fault_next(CastFault::Hang { after_taking: true });
    let answer = w.sms(text).await;
    let step = begin_step(w, w.app.worker()).await;
    step.abort();
    let _ = step.await;
    answer
}
