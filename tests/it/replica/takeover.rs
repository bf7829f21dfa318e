//! How long nobody leads, and what webhooks are answered meanwhile.

use std::time::Duration;

use cast_ghl_provider::domain::message::State;
use cast_ghl_provider::fake::cast::CastFault;
use cast_ghl_provider::fake::ghl::OutboundSms;

use super::member::{Member, leader, live};
use crate::support::step::{begin_step, open};
use crate::support::world::{LOCATION, PHONE, Place, World, word};
use crate::{Cases, cases};

const TICK: Duration = Duration::from_millis(100);

pub fn cases() -> Cases<Place> {
    cases![
        a_killed_leader_is_followed_within_twenty_seconds_at_whatever_moment_it_died,
        a_frozen_leader_is_followed_within_forty_seconds_and_does_nothing_when_it_wakes,
        webhooks_to_any_replica_are_answered_200_all_through_a_take_over,
        a_standby_does_not_take_over_from_a_leader_who_lives,
    ]
}

async fn a_killed_leader_is_followed_within_twenty_seconds_at_whatever_moment_it_died(place: Place) {
    let w = World::connected(place).await;
    // The world's own process does nothing from here on: the members are the replicas.
    w.app.leadership().release().await;
    let mut members = vec![];
    for _ in 0..3 {
        members.push(Member::start(&w, &w.clock, &[]).await);
    }
    // Moments spread over the cadence of beats and looks.
    for lived in [0, 700, 1_300, 2_900, 3_100, 4_600] {
        live(&w, &mut members, Duration::from_secs(4) + Duration::from_millis(lived)).await;
        let killed = members.remove(leader(&members).expect("one leads"));
        drop(killed);
        let mut silent = Duration::ZERO;
        while leader(&members).is_none() {
            assert!(silent <= Duration::from_secs(20), "nobody leads {silent:?} after the kill");
            w.clock.advance(TICK);
            silent += TICK;
            for member in &mut members {
                member.stand().await;
            }
        }
        assert!(silent > Duration::from_secs(10), "taken over after {silent:?}, while the dead might have had a right");
        members.push(Member::start(&w, &w.clock, &[]).await);
    }
    w.end();
}

async fn a_frozen_leader_is_followed_within_forty_seconds_and_does_nothing_when_it_wakes(place: Place) {
    let w = World::connected(place).await;
    w.app.leadership().release().await;
    let mut members = vec![Member::start(&w, &w.clock, &[]).await, Member::start(&w, &w.clock, &[]).await];
    live(&w, &mut members, Duration::from_secs(5)).await;
    let mut frozen = members.remove(leader(&members).expect("one leads"));
    w.cast.fault_next(CastFault::Hang { after_taking: true });
    let in_flight = w.sms_to(LOCATION, "+639170000001", "in flight when it froze").await;
    let call = begin_step(&w, frozen.app.worker()).await;
    let waiting = w.sms("who sends this").await;
    let mut silent = Duration::ZERO;
    while w.message(&waiting).await.progress.state != State::Accepted {
        assert!(silent <= Duration::from_secs(40), "nothing is sent {silent:?} after the freeze");
        live(&w, &mut members, TICK).await;
        silent += TICK;
    }
    // It wakes: the answer to its call is recorded, its term is over, and it sends nothing more.
    w.cast.release();
    call.await.expect("the call ends").expect("the store answers");
    frozen.stand().await;
    assert!(!frozen.leads());
    frozen.send().await;
    assert_eq!(w.message(&in_flight).await.progress.state, State::Accepted);
    assert_eq!(w.cast.taken_count(), 2);
    w.end();
}

async fn webhooks_to_any_replica_are_answered_200_all_through_a_take_over(place: Place) {
    let w = World::connected(place).await;
    w.app.leadership().release().await;
    let mut members = vec![];
    for _ in 0..3 {
        members.push(Member::start(&w, &w.clock, &[]).await);
    }
    live(&w, &mut members, Duration::from_secs(5)).await;
    let mut doors = vec![];
    for member in &members {
        doors.push(w.open(&member.app).await);
    }
    // The leader's loops stop; its port still takes webhooks, as that of a replica that only lost the right would.
    let silent = members.remove(leader(&members).expect("one leads"));
    let mut accepted = 0;
    for second in 0..25 {
        for door in &doors {
            let answer = w.sms_at(&door.base, &OutboundSms::new(LOCATION, PHONE, &format!("{second}"))).await;
            assert_eq!((answer.status, word(&answer).as_str()), (Some(200), "accepted"), "second {second}");
            accepted += 1;
        }
        live(&w, &mut members, Duration::from_secs(1)).await;
    }
    live(&w, &mut members, Duration::from_secs(5)).await;
    assert!(leader(&members).is_some());
    assert_eq!((w.cast.taken_count(), open(&silent.app).await), (accepted, 0));
    w.end();
}

async fn a_standby_does_not_take_over_from_a_leader_who_lives(place: Place) {
    let w = World::connected(place).await;
    w.app.leadership().release().await;
    let mut members = vec![];
    for _ in 0..3 {
        members.push(Member::start(&w, &w.clock, &[]).await);
    }
    live(&w, &mut members, Duration::from_secs(3)).await;
    let first = leader(&members).expect("one leads");
    for _ in 0..30 {
        live(&w, &mut members, Duration::from_secs(2)).await;
        assert_eq!(leader(&members), Some(first));
    }
    w.end();
}
