//! A wall clock that an administrator or a bad time server sets an hour back or forward under a running bridge.
//!
//! Wall time orders, delays and expires; sending, pacing, leadership and judgement go by the monotonic clock (bridge §5).

use std::time::Duration;

use cast_ghl_provider::clock::Clock;
use cast_ghl_provider::domain::message::State;
use cast_ghl_provider::fake::cast::CastFault;
use serde_json::json;

use super::{sent, texts};
use crate::support::step::begin_step;
use crate::support::world::{LOCATION, Place, World};
use crate::{Cases, cases};

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

pub fn cases() -> Cases<Place> {
    cases![
        a_clock_set_back_an_hour_holds_up_no_send_and_no_report_of_what_comes_after,
        a_clock_set_forward_an_hour_expires_nothing_and_a_day_what_has_waited_that_long,
        a_clock_that_jumps_during_a_call_changes_nothing_about_its_outcome,
        a_clock_that_jumps_during_a_pause_neither_ends_nor_prolongs_it,
    ]
}

fn set_back(w: &World) {
    w.clock.set_wall(Clock::Test(w.clock.clone()).now().before(HOUR));
}

fn set_forward(w: &World, by: Duration) {
    w.clock.set_wall(Clock::Test(w.clock.clone()).now().after(by));
}

async fn a_clock_set_back_an_hour_holds_up_no_send_and_no_report_of_what_comes_after(place: Place) {
    let w = World::connected(place).await;
    let told = w.sms("sent and told before").await;
    w.live(MINUTE).await;
    assert_eq!(w.told(&told), Some(("delivered".into(), None)));
    let before = w.sms("accepted before").await;
    let epoch = w.app.leadership().right().expect("it leads").epoch;
    set_back(&w);
    let after = w.sms_to(LOCATION, "09181234567", "accepted after").await;
    w.live(MINUTE).await;
    assert_eq!(texts(&w).len(), 3);
    assert_eq!(w.app.leadership().right().expect("it leads").epoch, epoch, "in the same term");
    for answer in [&before, &after] {
        assert_eq!(w.told(answer), Some(("delivered".into(), None)));
    }
    let (status, _) = w.reply(json!({"from": "09171234567", "message": "a reply after it"})).await;
    assert_eq!(status, 202);
    w.live(MINUTE).await;
    assert_eq!(w.ghl.inbound().len(), 1);
    assert_eq!(w.cast.calls().len(), 3);
    w.end();
}

async fn a_clock_set_forward_an_hour_expires_nothing_and_a_day_what_has_waited_that_long(place: Place) {
    let w = World::connected(place).await;
    w.cast.stop().await;
    let waiting = w.sms("waits").await;
    w.live(MINUTE).await;
    set_forward(&w, HOUR);
    w.live(MINUTE).await;
    assert_eq!(w.message(&waiting).await.progress.state, State::Queued);
    w.cast.restart().await.expect("its port is free");
    w.live(MINUTE).await;
    assert_eq!(w.told(&waiting), Some(("delivered".into(), None)));
    w.cast.stop().await;
    let (old, next) = (w.sms("a day old").await, w.sms("behind it").await);
    w.live(MINUTE).await;
    set_forward(&w, 24 * HOUR);
    let fresh = w.sms("fresh").await;
    w.cast.restart().await.expect("its port is free");
    w.live(2 * MINUTE).await;
    for answer in [&old, &next] {
        assert_eq!(w.told(answer), Some(("failed".into(), Some("expired".into()))));
    }
    assert_eq!(w.told(&fresh), Some(("delivered".into(), None)));
    assert_eq!(texts(&w), ["waits", "fresh"]);
    w.end();
}

async fn a_clock_that_jumps_during_a_call_changes_nothing_about_its_outcome(place: Place) {
    let w = World::connected(place).await;
    let mut answers = Vec::new();
    for jump in [set_back, |w: &World| set_forward(w, HOUR)] {
        w.cast.fault_next(CastFault::Hang { after_taking: true });
        answers.push(w.sms("in the air").await);
        let step = begin_step(&w, w.app.worker()).await;
        jump(&w);
        w.pass(MINUTE).await;
        w.cast.release();
        step.await.expect("a step ends").expect("the store answers");
    }
    w.live(MINUTE).await;
    assert_eq!(sent(&w, &answers).await, 2);
    for answer in &answers {
        assert_eq!(w.told(answer), Some(("delivered".into(), None)));
    }
    assert_eq!(w.cast.calls().len(), 2);
    w.end();
}

async fn a_clock_that_jumps_during_a_pause_neither_ends_nor_prolongs_it(place: Place) {
    let w = World::connected(place).await;
    let mut answers = Vec::new();
    for jump in [set_back, |w: &World| set_forward(w, HOUR)] {
        w.cast.fault_next(CastFault::RateLimited { retry_after: Some("40".into()) });
        answers.push(w.sms("limited").await);
        w.send_all().await;
        let calls = w.cast.calls().len();
        jump(&w);
        w.live(Duration::from_secs(39)).await;
        assert_eq!(w.cast.calls().len(), calls, "not before");
        w.live(Duration::from_secs(2)).await;
        assert_eq!(w.cast.calls().len(), calls + 1);
    }
    assert_eq!(sent(&w, &answers).await, 2);
    w.end();
}
