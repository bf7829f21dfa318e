//! Replicas whose clocks are five minutes off, either way: no message, report or reply waits for that, nothing expires, and
//! nobody takes over because of it. Their monotonic clocks differ by days besides: machines start when they start.

use std::time::Duration;

use cast_ghl_provider::clock::TestClock;
use cast_ghl_provider::domain::id::DocId;
use cast_ghl_provider::domain::inbound::{Reply, ReplyState};
use cast_ghl_provider::domain::message::State;
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::fake::ghl::OutboundSms;
use serde_json::json;

use super::member::{Member, leader, live};
use crate::support::step::{drain, lead, pass};
use crate::support::world::{INBOUND_KEY, LOCATION, PHONE, Place, World};
use crate::{Cases, cases};

const FIVE_MINUTES: i64 = 5 * 60 * 1000;
const DAYS: Duration = Duration::from_secs(9 * 24 * 3600);

pub fn cases() -> Cases<Place> {
    cases![
        a_message_through_a_replica_with_a_wrong_clock_is_sent_and_reported_without_delay,
        a_reply_through_a_replica_with_a_wrong_clock_is_posted_without_delay,
        what_a_leader_with_a_fast_clock_put_back_is_sent_at_once_by_its_successor,
        wrong_clocks_neither_bring_about_nor_prevent_a_take_over,
        a_lane_keeps_its_order_through_replicas_with_different_clocks_more_than_a_poll_apart,
    ]
}

fn off(w: &World, by: i64) -> TestClock {
    w.clock.of_another_machine(by, DAYS)
}

async fn a_message_through_a_replica_with_a_wrong_clock_is_sent_and_reported_without_delay(place: Place) {
    let w = World::connected(place).await;
    for by in [FIVE_MINUTES, -FIVE_MINUTES] {
        let replica = w.replica_on(&off(&w, by), &[]).await;
        let door = w.open(&replica).await;
        let answer = w.sms_at(&door.base, &OutboundSms::new(LOCATION, PHONE, "through another clock")).await;
        let before = w.now();
        drain(&w, &w.app).await;
        assert_eq!(w.message(&answer).await.progress.state, State::Accepted, "{by} ms off");
        assert!(w.now().since(before) <= Duration::from_secs(1));
        // The CRM's own window and `STATUS_DELAY`, and no more.
        for _ in 0..10 {
            while w.app.reporter().step().await.expect("the store answers") > 0 {}
            pass(&w, &w.app, Duration::from_secs(2)).await;
        }
        assert_eq!(w.told(&answer), Some(("delivered".into(), None)), "{by} ms off");
    }
    assert_eq!(w.cast.taken_count(), 2);
    w.end();
}

async fn a_reply_through_a_replica_with_a_wrong_clock_is_posted_without_delay(place: Place) {
    let w = World::connected(place).await;
    w.sms("so that the reply has a way").await;
    drain(&w, &w.app).await;
    for by in [FIVE_MINUTES, -FIVE_MINUTES] {
        let replica = w.replica_on(&off(&w, by), &[]).await;
        let door = w.open(&replica).await;
        let url = format!("{}/api/cast/v1/inbound", door.base);
        let body = json!({"from": "09171234567", "message": "Yes", "id": format!("reply-{by}")});
        let answer = w.http.post(url).header("x-api-key", INBOUND_KEY).json(&body).send().await.expect("an answer");
        let id: serde_json::Value = answer.json().await.expect("JSON");
        let id = DocId(id["id"].as_str().expect("an id").to_owned());
        w.reply_all().await;
        let stored = w.app.store().get::<Reply>(&id).await.expect("the store answers").expect("a reply");
        assert_eq!(stored.record.progress.state, ReplyState::Posted, "{by} ms off");
    }
    assert_eq!(w.ghl.inbound().len(), 2);
    w.end();
}

async fn what_a_leader_with_a_fast_clock_put_back_is_sent_at_once_by_its_successor(place: Place) {
    let w = World::connected(place).await;
    let fast = w.replica_on(&off(&w, FIVE_MINUTES), &[]).await;
    w.app.leadership().release().await;
    lead(&w, &fast).await;
    w.cast.fault_next(CastFault::RateLimited { retry_after: Some("20".into()) });
    let answer = w.sms("put back").await;
    drain(&w, &fast).await;
    assert_eq!(w.message(&answer).await.progress.state, State::Queued);
    fast.leadership().release().await;
    lead(&w, &w.app).await;
    drain(&w, &w.app).await;
    assert_eq!(w.message(&answer).await.progress.state, State::Accepted);
    w.end();
}

async fn wrong_clocks_neither_bring_about_nor_prevent_a_take_over(place: Place) {
    let w = World::connected(place).await;
    w.app.leadership().release().await;
    let mut members = vec![Member::start(&w, &w.clock, &[]).await];
    live(&w, &mut members, Duration::from_secs(2)).await;
    for by in [FIVE_MINUTES, -FIVE_MINUTES] {
        members.push(Member::start(&w, &off(&w, by), &[]).await);
    }
    for _ in 0..40 {
        live(&w, &mut members, Duration::from_secs(1)).await;
        assert_eq!(leader(&members), Some(0));
    }
    drop(members.remove(0));
    live(&w, &mut members, Duration::from_secs(20)).await;
    let second = leader(&members).expect("one of them took over");
    drop(members.remove(second));
    live(&w, &mut members, Duration::from_secs(20)).await;
    assert_eq!(leader(&members), Some(0));
    w.end();
}

async fn a_lane_keeps_its_order_through_replicas_with_different_clocks_more_than_a_poll_apart(place: Place) {
    let w = World::connected(place).await;
    let (fast, slow) =
        (w.replica_on(&off(&w, FIVE_MINUTES), &[]).await, w.replica_on(&off(&w, -FIVE_MINUTES), &[]).await);
    let (fast, slow) = (w.open(&fast).await, w.open(&slow).await);
    // Nothing can be sent, so that all of them are queued at once; the leader polls between them.
    w.cast.fault_all(Some(CastFault::RateLimited { retry_after: None }));
    for (n, base) in [&fast.base, &slow.base, &w.base, &slow.base, &fast.base].into_iter().enumerate() {
        let answer = w.sms_at(base, &OutboundSms::new(LOCATION, PHONE, &n.to_string())).await;
        assert_eq!(answer.status, Some(200));
        drain(&w, &w.app).await;
    }
    w.cast.fault_all(None);
    pass(&w, &w.app, Duration::from_secs(60)).await;
    drain(&w, &w.app).await;
    let texts: Vec<_> = w.cast.taken().into_iter().filter_map(|call| call.message).collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
    w.end();
}
